//! Values that are too large for the log, put away for the callable that gives them and back for the one that gets them.

use std::collections::BTreeMap;

use serde_json::Value;
use stepstream_runtime::artifact::ArtifactError;
use stepstream_shared::artifact::{
    ArtifactType, MAX_MOVED_BYTES, OUTPUT_NAME, VALUE_CONTENT_TYPE, mentions_references, replace_references,
    values_referred_to,
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
    let wanted = values_referred_to(&input);
    if wanted.is_empty() {
        return Ok(input);
    }
    let shelf = context.shelf()?;
    let claimed = wanted.values().fold(0_u64, |sum, of| sum.saturating_add(of.claimed.saturating_mul(of.count)));
    if claimed > MAX_MOVED_BYTES {
        return Err(input_too_large(claimed));
    }
    let mut values = BTreeMap::new();
    // What a reference claims is only a claim: the sizes that count are those of what is fetched.
    let mut moved = 0_u64;
    for (digest, of) in wanted {
        let left = MAX_MOVED_BYTES.saturating_sub(moved) / of.count.max(1);
        let content = match shelf.store.get(context.tenant(), &digest, left).await {
            Ok(content) => content,
            Err(ArtifactError::TooLarge { found, .. }) => {
                return Err(input_too_large(moved.saturating_add(found.saturating_mul(of.count))));
            }
            Err(error) => return Err(ArtifactFailure::from(error).into()),
        };
        moved = moved.saturating_add((content.len() as u64).saturating_mul(of.count));
        let value = serde_json::from_slice::<Value>(&content).map_err(|error| {
            let message = format!("the value {digest} of the input is no JSON: {error}");
            Failure::new(ErrorCategory::KernelInternal, message).code("artifact_corrupt")
        })?;
        values.insert(digest, value);
    }
    replace_references(&mut input, &values);
    Ok(input)
}

fn input_too_large(size: u64) -> Failure {
    let message = format!(
        "the input refers to values of at least {size} bytes in all, each counted wherever it stands; the limit is \
         {MAX_MOVED_BYTES} (limit of moved values): take the references themselves (`takes_references`) and read them one by one"
    );
    Failure::new(ErrorCategory::ValidationError, message).code("input_too_large")
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
                "{}: expressions of the graph, or of the one that started it, look into it, so it is not put into the \
                 artifact store",
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
    // The work is done: what the callable has stored and noted leaves this one its place.
    let described = artifact.describe()?;
    let stored = shelf.store.put(context.tenant(), json.into()).await.map_err(ArtifactFailure::from)?;
    let reference = context.record_output(described, stored);
    reference.to_data().map_err(|error| refused(&error))
}

fn refused(error: &DataError) -> Failure {
    Failure::invalid_output(format!("the output is refused: {error}"))
}

#[cfg(test)]
mod tests;
