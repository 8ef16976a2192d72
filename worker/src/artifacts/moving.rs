//! Values that are too large for the log, put away for the callable that gives them and back for the one that gets them.

use std::collections::BTreeMap;

use serde_json::Value;
use stepstream_shared::artifact::{
    ArtifactType, MAX_MOVED_BYTES, OUTPUT_NAME, VALUE_CONTENT_TYPE, mentions_references, references, replace_references,
};
use stepstream_shared::data::{Data, DataError};
use stepstream_shared::error::ErrorCategory;

use super::{ArtifactFailure, NewArtifact};
use crate::context::Context;
use crate::failure::Failure;

/// The input as its callable gets it: values in the place of the references that stand for them.
pub(crate) async fn input_of(context: &Context) -> Result<Value, Failure> {
    let data = &context.job().input;
    let mut input = data.to_json();
    if !mentions_references(data) {
        return Ok(input);
    }
    let mut wanted = references(&input);
    wanted.retain(|_, reference| reference.content_type == VALUE_CONTENT_TYPE);
    if wanted.is_empty() {
        return Ok(input);
    }
    let shelf = context.shelf()?;
    let size = wanted.values().fold(0_u64, |sum, reference| sum.saturating_add(reference.size));
    if size > MAX_MOVED_BYTES {
        let message = format!(
            "the input refers to values of {size} bytes in all; the limit is {MAX_MOVED_BYTES} (limit of moved values): take \
             the references themselves (`takes_references`) and read them one by one"
        );
        return Err(Failure::new(ErrorCategory::ValidationError, message).code("input_too_large"));
    }
    let mut values = BTreeMap::new();
    for digest in wanted.into_keys() {
        let content = shelf
            .store
            .get(context.tenant(), &digest, MAX_MOVED_BYTES)
            .await
            .map_err(|error| Failure::from(ArtifactFailure::from(error)))?;
        let value = serde_json::from_slice::<Value>(&content).map_err(|error| {
            let message = format!("the value {digest} of the input is no JSON: {error}");
            Failure::new(ErrorCategory::KernelInternal, message).code("artifact_corrupt")
        })?;
        values.insert(digest, value);
    }
    replace_references(&mut input, &values);
    Ok(input)
}

/// The output as it is reported: itself, or a reference to it.
pub(crate) async fn output_of(context: &Context, output: Value) -> Result<Data, Failure> {
    let found = Data::from_json(&output);
    let Some(shelf) = context.artifacts() else { return found.map_err(|error| refused(&error)) };
    match found {
        Ok(data) if data.len() <= shelf.inline_bytes => return Ok(data),
        Ok(data) if context.job().inline => return Ok(data),
        Err(error @ DataError::TooLarge { .. }) if context.job().inline => {
            let failure = refused(&error);
            let message = format!(
                "{}: expressions of the graph look into it, so it is not put into the artifact store",
                failure.error().message
            );
            return Err(Failure::invalid_output(message));
        }
        Ok(_) | Err(DataError::TooLarge { .. }) => {}
        Err(error) => return Err(refused(&error)),
    }
    let json = serde_json::to_vec(&output).map_err(|error| Failure::invalid_output(error.to_string()))?;
    if json.len() as u64 > MAX_MOVED_BYTES {
        return Err(Failure::invalid_output(format!(
            "the output is {} bytes; the limit is {MAX_MOVED_BYTES} (limit of moved values): store it as an artifact",
            json.len()
        )));
    }
    let artifact = NewArtifact::new(OUTPUT_NAME, ArtifactType::ToolOutput).content_type(VALUE_CONTENT_TYPE);
    let reference = context.store_artifact(artifact, json).await?;
    reference.to_data().map_err(|error| refused(&error))
}

fn refused(error: &DataError) -> Failure {
    Failure::invalid_output(format!("the output is refused: {error}"))
}
