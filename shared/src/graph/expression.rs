//! Expressions: CEL, compiled once, bounded in length, depth, work and memory.
//!
//! The `cel` crate parses; what its trees mean is worked out here, because a coordinator needs what an evaluator for
//! trusted rules does not have: a budget that no operator can swallow, values that are shared instead of copied, one
//! order of map keys, and no clock. Numbers keep their kind (`1` is not `1.0`, though they are equal), map keys are text,
//! and missing data is an error that `has()` tests for.

mod away;
mod budget;
mod code;
mod decode;
mod encode;
mod evaluate;
mod function;
mod parse;
mod reads;
mod template;
mod value;

pub use budget::{MAX_BUILT_BYTES, MAX_DECODED_NODES, MAX_TICKS};

use crate::data::Data;
use crate::error::ExecutionError;
use budget::Fault;
use code::{Code, Root};
pub(crate) use parse::{Names, Problem};
pub(crate) use reads::Reads;
pub(crate) use template::Way;
use value::Value;

/// Longest expression in bytes. Longer ones belong into several `transform` nodes.
pub const MAX_SOURCE_BYTES: usize = 1024;
/// Deepest nesting of a compiled expression. Evaluation recurses; this many levels fit a thread of 2 MiB ten times over,
/// also without optimisation.
pub const MAX_DEPTH: usize = 128;

/// What an expression can see. Values are asked for only when an expression names them.
pub trait Scope {
    fn inputs(&self) -> &Data;
    /// `steps.<node>`; `None` for a node the graph does not have.
    fn step(&self, node: &str) -> Option<StepView<'_>>;
    /// `output`: of the step whose edges are being chosen.
    fn output(&self) -> Option<OutputView<'_>>;
    /// `error`: of the step whose error edges are being chosen, or that led here.
    fn error(&self) -> Option<&ExecutionError>;
    /// `item` and `index`, inside a map.
    fn item(&self) -> Option<(&Data, u32)>;
    /// `iteration`, from 1, of the innermost loop around the node.
    fn iteration(&self) -> Option<u32>;
    /// `execution.id`.
    fn execution_id(&self) -> String;
    /// `inbox`: guidance and evidence that have come, the latest last.
    fn inbox(&self) -> Data {
        Data::null()
    }
    /// `schedule`: what fires, in the inputs that a schedule gives.
    fn schedule(&self) -> Data {
        Data::null()
    }
    /// Told once for each evaluation: the steps it took. For whoever bounds the sum.
    fn spend(&self, _steps: u64) {}
}

/// A node as expressions see it: the latest iteration.
#[derive(Debug, Clone)]
pub struct StepView<'a> {
    pub output: Option<OutputView<'a>>,
    pub error: Option<&'a ExecutionError>,
    /// How many times the node has run to its end in the current iteration of the loops around its own loop.
    pub iterations: u32,
}

/// An output: one value, or the collected items of a map.
#[derive(Debug, Clone)]
pub enum OutputView<'a> {
    One(&'a Data),
    /// `Collect::All`: the items' outputs in order.
    All(Vec<&'a Data>),
    /// `Collect::AllSettled`: each item's output or error, in order.
    Settled(Vec<Result<&'a Data, &'a ExecutionError>>),
}

impl OutputView<'_> {
    /// The output as one value, as `steps.<node>.output` gives it; refused when it is larger than a value may be.
    pub fn to_data(&self) -> Result<Data, ExpressionError> {
        let least: usize = match self {
            OutputView::One(data) => return Ok((*data).clone()),
            OutputView::All(items) => items.iter().map(|item| item.len()).sum(),
            OutputView::Settled(items) => items.iter().flatten().map(|item| item.len()).sum(),
        };
        let fault =
            || Fault::Spent(format!("its result is more than {} bytes (payload limit)", crate::data::MAX_BYTES));
        let value =
            if least > crate::data::MAX_BYTES { Err(fault()) } else { encode::encode(&decode::output(self).value) };
        value.map_err(|fault| failed("output", fault))
    }
}

/// Why an expression gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{source_text}`: {reason}")]
pub struct ExpressionError {
    pub source_text: String,
    pub reason: String,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    source: String,
    code: Code,
    roots: Vec<Root>,
}

/// A JSON value in which strings that start with `=` are expressions; `==` escapes a literal `=`.
#[derive(Debug)]
pub struct Template {
    source: String,
    code: Code,
    roots: Vec<Root>,
}

/// A template that is exactly one whole value: it can be recorded by reference instead of by copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `=inputs`
    Inputs,
    /// `=steps.<node>.output`
    StepOutput(String),
    /// `=item`
    Item,
}

impl Expression {
    /// Compiles the text that follows the `=`.
    pub(crate) fn compile(source: &str, names: &Names<'_>) -> Result<Self, Problem> {
        let mut roots = Vec::new();
        let code = parse::parse(source, names, &mut roots)?;
        Ok(Expression { source: source.to_owned(), code, roots })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Data, ExpressionError> {
        give(&self.source, &self.code, &self.roots, scope)
    }

    /// As a guard: anything but a boolean is an error.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, ExpressionError> {
        match evaluate::evaluate(&self.code, &self.roots, scope) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => {
                let reason = format!("a condition gives a boolean, this gave a {}", other.type_name());
                Err(failed(&self.source, Fault::Wrong(reason)))
            }
            Err(fault) => Err(failed(&self.source, fault)),
        }
    }

    /// The type of the result where it is known without data.
    pub(crate) fn known_type(&self) -> Option<&'static str> {
        self.code.known_type()
    }
}

impl Template {
    /// The JSON it was written as.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn reference(&self) -> Option<Reference> {
        let Code::Root(root) = &self.code else { return None };
        match self.roots.get(usize::from(*root))? {
            Root::Inputs => Some(Reference::Inputs),
            Root::Item => Some(Reference::Item),
            Root::StepOutput(node) => Some(Reference::StepOutput(node.clone())),
            _ => None,
        }
    }

    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Data, ExpressionError> {
        give(&self.source, &self.code, &self.roots, scope)
    }

    /// As an expression of its own, for places that take either.
    pub(crate) fn into_expression(self) -> Expression {
        Expression { source: self.source, code: self.code, roots: self.roots }
    }
}

fn give(source: &str, code: &Code, roots: &[Root], scope: &dyn Scope) -> Result<Data, ExpressionError> {
    evaluate::evaluate(code, roots, scope)
        .and_then(|value| encode::encode(&value))
        .map_err(|fault| failed(source, fault))
}

/// Long sources are cut: errors travel in events.
fn failed(source: &str, fault: Fault) -> ExpressionError {
    let mut source_text: String = source.chars().take(200).collect();
    if source_text.len() < source.len() {
        source_text.push('…');
    }
    ExpressionError { source_text, reason: fault.reason() }
}

#[cfg(test)]
mod tests;
