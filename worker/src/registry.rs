//! Which callables a worker has, by name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepstream_shared::error::ErrorCategory;

use crate::callable::{Callable, Closure, Erased};
use crate::context::Context;
use crate::failure::Failure;

/// Longest name of a callable.
pub const MAX_NAME_BYTES: usize = 128;
/// How many names an error lists; more would drown its message.
const LISTED_NAMES: usize = 20;

/// Callables by name.
#[derive(Default, Clone)]
pub struct Registry {
    callables: BTreeMap<String, Arc<dyn Erased>>,
    problems: Vec<RegistryError>,
}

/// Why a set of callables cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("`{0}` is registered twice; the second one would never run, or the first")]
    Duplicate(String),
    #[error("a callable's name has 1 to {MAX_NAME_BYTES} characters without control characters, found {0:?}")]
    Name(String),
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers an async closure: `async |context, input: Greet| Ok(…)`, or `|context, input: Greet| async move { … }`
    /// where it has captured something.
    pub fn register<F, I, O, R>(&mut self, name: impl Into<String>, run: F) -> &mut Self
    where
        F: Fn(Context, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Failure>> + Send,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
    {
        self.register_callable(name, Closure::new(run))
    }

    pub fn register_callable(&mut self, name: impl Into<String>, callable: impl Callable) -> &mut Self {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            self.problems.push(RegistryError::Name(name));
        } else {
            match self.callables.entry(name) {
                Entry::Occupied(taken) => self.problems.push(RegistryError::Duplicate(taken.key().clone())),
                Entry::Vacant(free) => {
                    free.insert(Arc::new(callable));
                }
            }
        }
        self
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.callables.keys().map(String::as_str)
    }

    /// The first thing that is wrong with what was registered.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        self.problems.first().map_or(Ok(()), |problem| Err(problem.clone()))
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Arc<dyn Erased>, Failure> {
        self.callables.get(name).ok_or_else(|| {
            let mut names: Vec<&str> = self.names().take(LISTED_NAMES).collect();
            let more = format!("and {} more", self.callables.len() - names.len());
            if self.callables.len() > names.len() {
                names.push(&more);
            }
            let known = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            Failure::new(
                ErrorCategory::ToolError,
                format!("this worker has no callable `{name}`; registered here: {known}"),
            )
            .code("not_found")
        })
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests;
