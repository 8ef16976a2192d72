//! What an expression looks into, as opposed to what it only passes on.
//!
//! `=steps.a.output`, `={'a': steps.a.output}` and `=flag ? inputs.doc : null` pass values on whole: whoever gets them may
//! get a reference in their place. `steps.a.output.total`, `size(inputs.doc)` and a condition look into them, so the
//! values themselves have to be there when the expression is evaluated.

use std::collections::BTreeSet;

use super::code::{Code, Loop, Root};
use super::{Expression, Template};

/// What a set of expressions looks into.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Nodes, by name, whose output is looked into.
    pub(crate) steps: BTreeSet<String>,
    /// `output` is.
    pub(crate) output: bool,
    /// `inputs` is, other than field by field.
    pub(crate) inputs: bool,
    /// Fields of `inputs` that are looked into.
    pub(crate) fields: BTreeSet<String>,
}

impl Expression {
    /// An expression that decides something: it looks into all that it names.
    pub(crate) fn reads(&self, reads: &mut Reads) {
        Walk { roots: &self.roots, reads }.code(&self.code, false);
    }
}

impl Template {
    /// A template whose value is `passed_on` to somebody who takes references, or is looked into here.
    pub(crate) fn reads(&self, passed_on: bool, reads: &mut Reads) {
        Walk { roots: &self.roots, reads }.code(&self.code, passed_on);
    }
}

struct Walk<'a> {
    roots: &'a [Root],
    reads: &'a mut Reads,
}

impl Walk<'_> {
    // Recursion is as deep as compiled expressions nest.
    fn code(&mut self, code: &Code, passed_on: bool) {
        match code {
            Code::Constant(_) | Code::Present(_) | Code::Local(_) => {}
            Code::Root(root) => self.root(*root, passed_on),
            Code::Step { output, .. } => self.root(*output, passed_on),
            Code::Select(of, field) if self.is_inputs(of) => {
                if !passed_on {
                    self.reads.fields.insert(field.to_string());
                }
            }
            // Whether a field is there is seen from outside.
            Code::Has(of, _) if self.is_inputs(of) => {}
            Code::Select(of, _) | Code::Has(of, _) | Code::Not(of) | Code::Negate(of) | Code::Matches(of, _) => {
                self.code(of, false);
            }
            Code::List(items) => items.iter().for_each(|item| self.code(item, passed_on)),
            Code::Map(entries) => {
                for (key, value) in entries {
                    self.code(key, false);
                    self.code(value, passed_on);
                }
            }
            Code::If(parts) => {
                self.code(&parts.0, false);
                self.code(&parts.1, passed_on);
                self.code(&parts.2, passed_on);
            }
            Code::Index(pair) | Code::And(pair) | Code::Or(pair) | Code::Binary(_, pair) => {
                self.code(&pair.0, false);
                self.code(&pair.1, false);
            }
            Code::Call(_, args) => args.iter().for_each(|arg| self.code(arg, false)),
            Code::Loop(looped) => {
                let Loop { range, filter, body, .. } = &**looped;
                self.code(range, false);
                self.code(body, false);
                filter.iter().for_each(|filter| self.code(filter, false));
            }
        }
    }

    fn is_inputs(&self, code: &Code) -> bool {
        matches!(code, Code::Root(root) if self.roots.get(usize::from(*root)) == Some(&Root::Inputs))
    }

    fn root(&mut self, root: u16, passed_on: bool) {
        if passed_on {
            return;
        }
        match self.roots.get(usize::from(root)) {
            Some(Root::Inputs) => self.reads.inputs = true,
            Some(Root::Output) => self.reads.output = true,
            Some(Root::StepOutput(node)) => {
                self.reads.steps.insert(node.clone());
            }
            Some(
                Root::Error
                | Root::Item
                | Root::Index
                | Root::Iteration
                | Root::ExecutionId
                | Root::Inbox
                | Root::Schedule
                | Root::StepError(_)
                | Root::StepIterations(_),
            )
            | None => {}
        }
    }
}
