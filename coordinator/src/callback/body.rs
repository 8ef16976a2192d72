//! What a callback says.

use serde_json::{Value, json};
use stepstream_shared::execution::Execution;

use super::CALLBACK_OUTPUT_BYTES;

/// The body of the callback of an execution that has ended; the same for every attempt. `None` before the end.
pub(crate) fn callback_body(execution: &Execution) -> Option<Value> {
    let (run, status) = (execution.background()?, execution.background_status().filter(|status| status.is_finished())?);
    let config = run.config();
    let mut data = json!({
        "execution_id": execution.id(),
        "status": status,
        "mode": config.mode,
        "graph": execution.graph_name(),
        "graph_id": execution.graph(),
        "created_at": execution.created_at(),
        "started_at": execution.started_at(),
        "ended_at": execution.ended_at(),
        "attempt": config.attempt,
        "first_execution_id": config.first,
        "trigger_id": config.trigger_id,
        "error": execution.error(),
        "reason": execution.reason(),
    });
    if let Some(fields) = data.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        let output = execution.output().to_json();
        let bytes = output.to_string().len();
        if bytes > CALLBACK_OUTPUT_BYTES {
            let location = format!("/v1/executions/{}", execution.id());
            fields.insert("output_omitted".to_owned(), json!({"bytes": bytes, "get": location}));
        } else if status == stepstream_shared::background::BackgroundStatus::Completed {
            fields.insert("output".to_owned(), output);
        }
        if let (Some(binding), Some(bound)) = (&config.target_binding, run.bound()) {
            let mut shown = binding.to_json();
            shown["success"] = json!(bound.success());
            shown["error"] = json!(bound.error);
            // Where it is the output itself, that stands beside it.
            shown["applied_value"] = bound.value.to_json();
            fields.insert("target_binding".to_owned(), shown);
        }
    }
    Some(json!({
        "type": format!("execution.{}", status.name()),
        "timestamp": execution.ended_at(),
        "data": data,
    }))
}
