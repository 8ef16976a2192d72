//! The compiled form of an expression: names resolved, functions known, constants made.

use std::sync::Arc;

use super::function::Function;
use super::value::Value;

/// Something from outside, loaded at most once per evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    Inputs,
    Output,
    Error,
    Item,
    Index,
    Iteration,
    ExecutionId,
    Inbox,
    Schedule,
    StepOutput(String),
    StepError(String),
    StepIterations(String),
}

#[derive(Debug)]
pub(crate) enum Code {
    Constant(Value),
    /// By its place among the expression's roots.
    Root(u16),
    /// `has(steps.x.output)`: whether the root is there.
    Present(u16),
    /// `steps.x` as a whole, by its node's roots.
    Step {
        output: u16,
        error: u16,
        iterations: u16,
    },
    /// The variable of a loop, by how many loops are around that one.
    Local(u16),
    Select(Box<Code>, Arc<str>),
    Has(Box<Code>, Arc<str>),
    Index(Box<(Code, Code)>),
    List(Vec<Code>),
    Map(Vec<(Code, Code)>),
    Not(Box<Code>),
    Negate(Box<Code>),
    And(Box<(Code, Code)>),
    Or(Box<(Code, Code)>),
    If(Box<(Code, Code, Code)>),
    Binary(Binary, Box<(Code, Code)>),
    Call(Function, Vec<Code>),
    /// `matches` with a pattern that is known.
    Matches(Box<Code>, Arc<str>),
    Loop(Box<Loop>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// `range.kind(variable, body)`: the macros of CEL, run as what they are.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) kind: LoopKind,
    pub(crate) range: Code,
    /// `map(x, filter, body)` has one.
    pub(crate) filter: Option<Code>,
    pub(crate) body: Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl Binary {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Binary::Equal => "==",
            Binary::NotEqual => "!=",
            Binary::Less => "<",
            Binary::LessOrEqual => "<=",
            Binary::Greater => ">",
            Binary::GreaterOrEqual => ">=",
            Binary::In => "in",
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
            Binary::Remainder => "%",
        }
    }

    pub(crate) fn of(operator: &str) -> Option<Binary> {
        Some(match operator {
            "_==_" => Binary::Equal,
            "_!=_" => Binary::NotEqual,
            "_<_" => Binary::Less,
            "_<=_" => Binary::LessOrEqual,
            "_>_" => Binary::Greater,
            "_>=_" => Binary::GreaterOrEqual,
            "@in" => Binary::In,
            "_+_" => Binary::Add,
            "_-_" => Binary::Subtract,
            "_*_" => Binary::Multiply,
            "_/_" => Binary::Divide,
            "_%_" => Binary::Remainder,
            _ => return None,
        })
    }

    fn gives_bool(self) -> bool {
        use Binary::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual | In)
    }
}

impl Code {
    /// The type of the result where it is known without data.
    pub(crate) fn known_type(&self) -> Option<&'static str> {
        match self {
            Code::Constant(value) => Some(value.type_name()),
            Code::Present(_) | Code::Has(..) | Code::Not(_) | Code::And(_) | Code::Or(_) | Code::Matches(..) => {
                Some("bool")
            }
            Code::Binary(operator, _) if operator.gives_bool() => Some("bool"),
            Code::Binary(_, sides) => match (sides.0.known_type(), sides.1.known_type()) {
                (Some(left), _) => Some(left),
                (None, right) => right,
            },
            Code::List(_) => Some("list"),
            Code::Map(_) | Code::Step { .. } => Some("map"),
            Code::If(parts) => parts.1.known_type().filter(|known| parts.2.known_type() == Some(known)),
            Code::Call(function, _) => function.result_type(),
            Code::Loop(looped) => Some(match looped.kind {
                LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => "bool",
                LoopKind::Filter | LoopKind::Map => "list",
            }),
            Code::Root(_) | Code::Local(_) | Code::Select(..) | Code::Index(_) | Code::Negate(_) => None,
        }
    }

    /// Whether the value is the same in every evaluation.
    pub(crate) fn is_constant(&self) -> bool {
        match self {
            Code::Constant(_) => true,
            Code::Root(_) | Code::Present(_) | Code::Step { .. } | Code::Local(_) => false,
            Code::Select(of, _) | Code::Has(of, _) | Code::Not(of) | Code::Negate(of) | Code::Matches(of, _) => {
                of.is_constant()
            }
            Code::Index(pair) | Code::And(pair) | Code::Or(pair) | Code::Binary(_, pair) => {
                pair.0.is_constant() && pair.1.is_constant()
            }
            Code::If(parts) => parts.0.is_constant() && parts.1.is_constant() && parts.2.is_constant(),
            Code::List(items) | Code::Call(_, items) => items.iter().all(Code::is_constant),
            Code::Map(entries) => entries.iter().all(|(key, value)| key.is_constant() && value.is_constant()),
            // Its body names its variable, and evaluating it early gains nothing worth the care.
            Code::Loop(_) => false,
        }
    }
}
