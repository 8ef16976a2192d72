//! Named user code: a type that implements [`Callable`], or an async closure.
//!
//! Inputs and outputs are typed by serde. An input that does not fit its type never reaches the code.

use std::future::Future;
use std::marker::PhantomData;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Context;
use crate::failure::Failure;

/// Code that a step runs. It may run more than once for the same step, so whatever it changes outside should be told
/// [`Context::idempotency_key`].
///
/// The future shares its thread with the worker's own bookkeeping: work that computes for long or blocks belongs on
/// `tokio::task::spawn_blocking`, or heartbeats stop with it.
pub trait Callable: Send + Sync + 'static {
    type Input: DeserializeOwned + Send;
    type Output: Serialize + Send;

    fn call(&self, context: &Context, input: Self::Input)
    -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// Whether values of the input that are in the artifact store are given as references, `{"$artifact": {…}}`, instead of
    /// being fetched before the call: for callables that pass them on, or read them part by part.
    fn takes_references(&self) -> bool {
        false
    }
}

/// A closure as a [`Callable`].
pub(crate) struct Closure<F, I, O>(F, PhantomData<fn(I) -> O>);

impl<F, I, O> Closure<F, I, O> {
    pub(crate) fn new(run: F) -> Self {
        Closure(run, PhantomData)
    }
}

impl<F, I, O, R> Callable for Closure<F, I, O>
where
    F: Fn(Context, I) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, Failure>> + Send,
    I: DeserializeOwned + Send + 'static,
    O: Serialize + Send + 'static,
{
    type Input = I;
    type Output = O;

    fn call(&self, context: &Context, input: I) -> impl Future<Output = Result<O, Failure>> + Send {
        (self.0)(context.clone(), input)
    }
}

/// A callable without its types, as the registry holds it.
pub(crate) trait Erased: Send + Sync + 'static {
    fn call<'a>(&'a self, context: &'a Context, input: Value) -> BoxFuture<'a, Result<Value, Failure>>;
    fn takes_references(&self) -> bool;
}

impl<C: Callable> Erased for C {
    fn call<'a>(&'a self, context: &'a Context, input: Value) -> BoxFuture<'a, Result<Value, Failure>> {
        let input = serde_json::from_value(input);
        async move {
            let input = input.map_err(|error| Failure::invalid_input(format!("the input does not fit: {error}")))?;
            let output = Callable::call(self, context, input).await?;
            serde_json::to_value(&output)
                .map_err(|error| Failure::invalid_output(format!("the output is not JSON-like: {error}")))
        }
        .boxed()
    }

    fn takes_references(&self) -> bool {
        Callable::takes_references(self)
    }
}
