//! What expressions give, and what they may cost.

mod bombs;
mod meaning;

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::error::{ErrorCategory, ErrorCode};
use crate::graph::compiled::NodeIx;

/// A scope whose every value is given.
struct Given {
    inputs: Data,
    steps: HashMap<String, (Option<Data>, Option<ExecutionError>, u32)>,
    output: Option<Data>,
    error: Option<ExecutionError>,
    item: Option<(Data, u32)>,
}

impl Given {
    fn inputs(json: Json) -> Self {
        let error = ExecutionError::new(ErrorCategory::NetworkError, "refused").with_code(ErrorCode::new("rate_limit"));
        Given {
            inputs: Data::from_json(&json).unwrap(),
            steps: HashMap::from([
                ("done".to_owned(), (Some(Data::from_json(&json!({"x": 5})).unwrap()), None, 2)),
                ("failed".to_owned(), (None, Some(error.clone()), 1)),
                ("waiting".to_owned(), (None, None, 0)),
            ]),
            output: Some(Data::from_json(&json!({"quality": 0.5})).unwrap()),
            error: Some(error),
            item: Some((Data::from_json(&json!({"id": 7})).unwrap(), 3)),
        }
    }
}

impl Scope for Given {
    fn inputs(&self) -> &Data {
        &self.inputs
    }

    fn step(&self, node: &str) -> Option<StepView<'_>> {
        self.steps.get(node).map(|(output, error, iterations)| StepView {
            output: output.as_ref().map(OutputView::One),
            error: error.as_ref(),
            iterations: *iterations,
        })
    }

    fn output(&self) -> Option<OutputView<'_>> {
        self.output.as_ref().map(OutputView::One)
    }

    fn error(&self) -> Option<&ExecutionError> {
        self.error.as_ref()
    }

    fn item(&self) -> Option<(&Data, u32)> {
        self.item.as_ref().map(|(item, index)| (item, *index))
    }

    fn iteration(&self) -> Option<u32> {
        Some(4)
    }

    fn execution_id(&self) -> String {
        "exec_1".to_owned()
    }
}

fn steps() -> HashMap<String, NodeIx> {
    ["done", "failed", "waiting"].into_iter().zip(0..).map(|(name, at)| (name.to_owned(), NodeIx(at))).collect()
}

fn everything(steps: &HashMap<String, NodeIx>) -> Names<'_> {
    Names { steps, output: true, error: true, item: true, iteration: true, schedule: false }
}

fn compiled(source: &str) -> Result<Expression, Problem> {
    let steps = steps();
    Expression::compile(source, &everything(&steps))
}

fn template(json: &Json) -> Template {
    let steps = steps();
    Template::compile(json, &everything(&steps)).unwrap()
}

/// The value, or the reason why there is none.
fn evaluated(source: &str, inputs: Json) -> Result<Json, String> {
    let expression = compiled(source).map_err(|problem| problem.reason)?;
    expression.evaluate(&Given::inputs(inputs)).map(|data| data.to_json()).map_err(|error| error.reason)
}
