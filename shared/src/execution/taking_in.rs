//! The two steps of a graph that another one takes in: the one that evaluates its inputs, and the one that gives its output.

use super::advance::expression_failed;
use super::decide::{Decision, Rejection};
use super::scope::View;
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::Input;
use crate::graph::expression::ExpressionError;
use crate::graph::{FrameIx, NodeIx};

impl Decision<'_> {
    pub(super) fn enter(&mut self, step: u32, ix: u32, at: FrameIx, iterations: Vec<u32>) -> Result<(), Rejection> {
        let graph = self.graph;
        let Some(frame) = graph.frame(at) else { return Err(Rejection::UnknownStep(step)) };
        let outside = graph.node(NodeIx(ix)).and_then(|node| node.frame);
        let inputs = self.execution.named_inputs(graph, outside);
        match self.input(frame.with.as_ref(), &self.view(NodeIx(ix)), inputs) {
            Ok(input) => self.schedule(step, ix, iterations, input)?,
            Err(error) => {
                self.schedule(step, ix, iterations, Input::None)?;
                return self.fail_step(step, expression_failed(&error), 0);
            }
        }
        let problems = match &frame.inputs {
            Some(schema) => {
                let given = self.execution.input_of(step).unwrap_or_default();
                crate::graph::form_problems(schema, &given.to_json())
            }
            None => Vec::new(),
        };
        if problems.is_empty() {
            return self.complete_step(step, Data::null(), 0);
        }
        let message = format!("the inputs do not fit the graph: {}", problems.join("; "));
        let error =
            ExecutionError::new(ErrorCategory::ValidationError, message).with_code(ErrorCode::new("invalid_inputs"));
        self.fail_step(step, error.cut(), 0)
    }

    pub(super) fn leave(&mut self, step: u32, ix: u32, at: FrameIx, iterations: Vec<u32>) -> Result<(), Rejection> {
        let graph = self.graph;
        let Some(frame) = graph.frame(at) else { return Err(Rejection::UnknownStep(step)) };
        let output = match self.execution.cut_by(graph, at).and_then(|by| Some((by, self.execution.step(by)?))) {
            Some((by, ended)) => match ended.error.as_deref() {
                Some(error) => {
                    let message = format!("{}: {}", self.node_name(by), error.message);
                    Err(ExecutionError { message, ..error.clone() }.cut())
                }
                // By an `end`.
                None => Ok(ended.output.clone()),
            },
            None => match &frame.output {
                Some(template) => {
                    let given: Result<Data, ExpressionError> = template.evaluate(&View {
                        execution: self.execution,
                        graph,
                        frame: Some(at),
                        inputs: self.execution.inputs_in(graph, Some(at)),
                        ending: None,
                        error: None,
                        item: None,
                        undoing: None,
                        iteration: None,
                        work: &self.work,
                    });
                    given.map_err(|error| expression_failed(&error))
                }
                None => Ok(self.last_output(Some(at))),
            },
        };
        self.schedule(step, ix, iterations, Input::None)?;
        match output {
            Ok(output) => self.complete_step(step, output, 0),
            Err(error) => self.fail_step(step, error, 0),
        }
    }
}
