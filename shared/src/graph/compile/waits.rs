//! Compiles what a node waits for.

use super::expressions::Expressions;
use crate::graph::compiled::{WaitFor, WaitNode};
use crate::graph::document::tree::Tree;
use crate::graph::document::{WaitFields, WaitKind};

pub(crate) fn compile(
    wait: &WaitFields<'_>,
    with: Option<&Tree>,
    at: usize,
    expressions: &mut Expressions<'_, '_>,
) -> Option<WaitNode> {
    let form = match wait.form {
        Some(tree) => Some(expressions.schema(tree, wait.what.form_field())?),
        None => None,
    };
    let mut optional = |tree: Option<&Tree>| match tree {
        Some(tree) => expressions.template(tree, Some(at)).map(Some),
        None => Some(None),
    };
    let with = optional(with)?;
    let what = match &wait.what {
        WaitKind::Timer(tree) => WaitFor::Timer(optional(Some(tree))??),
        WaitKind::Until(tree) => WaitFor::Until(optional(Some(tree))??),
        WaitKind::Signal { name, correlation } => {
            WaitFor::Signal { name: name.clone(), correlation: optional(*correlation)? }
        }
        WaitKind::Approval { assignees, policy } => {
            WaitFor::Approval { assignees: optional(*assignees)?, policy: *policy }
        }
        WaitKind::Input { from } => WaitFor::Input { from: optional(*from)? },
        WaitKind::External => WaitFor::External,
    };
    Some(WaitNode { what, with, form, timeout: wait.timeout })
}

impl WaitKind<'_> {
    /// The field that holds the JSON Schema.
    const fn form_field(&self) -> &'static str {
        match self {
            WaitKind::Signal { .. } => "payload",
            _ => "form",
        }
    }
}
