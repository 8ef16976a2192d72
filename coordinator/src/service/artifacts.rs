//! Artifacts at the edge: read for those who ask, and put away what is too large for the log.

use serde_json::Value;
use stepstream_runtime::artifact::ArtifactReader;
use stepstream_shared::artifact::{ContentHash, Reference, VALUE_CONTENT_TYPE, artifact_id};
use stepstream_shared::data::Data;
use stepstream_shared::execution::{Steering, input_name};
use stepstream_shared::graph::{CompiledGraph, NodeIx, NodeKind, WaitFor};
use stepstream_shared::id::{ExecutionId, TenantId};

use super::{Service, ServiceError};
use crate::artifacts::Artifacts;

impl Service {
    fn shelf(&self) -> Result<&Artifacts, ServiceError> {
        self.0.artifacts.as_ref().ok_or(ServiceError::NoArtifacts)
    }

    /// A content of a tenant, part by part.
    ///
    /// # Errors
    /// [`ServiceError::NoArtifacts`], [`ServiceError::Gone`] when the store does not have it.
    pub async fn open_content(&self, tenant: &TenantId, digest: &ContentHash) -> Result<ArtifactReader, ServiceError> {
        Ok(self.shelf()?.store.open(tenant, digest).await?)
    }

    /// The inputs as they go into the log: fields that are too large, and that the graph only passes on, as references. They
    /// are judged by the graph's schema before.
    pub(super) async fn put_inputs_away(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        graph: &CompiledGraph,
        inputs: Data,
    ) -> Result<Data, ServiceError> {
        let Some(shelf) = &self.0.artifacts else { return Ok(inputs) };
        if inputs.len() <= shelf.inline_bytes || graph.looked_into.inputs {
            return Ok(inputs);
        }
        let mut json = inputs.to_json();
        let problems = graph.input_problems(&json);
        if !problems.is_empty() {
            return Err(ServiceError::InvalidInputs(problems));
        }
        let Value::Object(fields) = &mut json else { return Ok(inputs) };
        let mut moved = false;
        for (name, value) in fields {
            if graph.looked_into.fields.contains(name) || Reference::of(value).is_some() {
                continue;
            }
            if let Some(reference) = put_away(shelf, tenant, execution, &input_name(name), value).await? {
                *value = reference.to_json();
                moved = true;
            }
        }
        if moved {
            Data::from_json(&json).map_err(|error| ServiceError::TooLarge(error.to_string()))
        } else {
            Ok(inputs)
        }
    }

    /// A signal as it goes into the log: its payload, if it is too large, as a reference, unless a wait of the graph judges
    /// it by a schema or its expressions look into it.
    pub(super) async fn put_payload_away(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        what: Steering,
    ) -> Result<Steering, ServiceError> {
        let Some(shelf) = &self.0.artifacts else { return Ok(what) };
        match what {
            Steering::Signal { name, correlation, payload } if payload.len() > shelf.inline_bytes => {
                let loaded = self.load(tenant, execution, None).await?;
                let needed = (0_u32..).zip(&loaded.graph.nodes).any(|(ix, node)| match &node.kind {
                    NodeKind::Wait(wait) => {
                        matches!(&wait.what, WaitFor::Signal { name: of, .. } if *of == name)
                            && (wait.form.is_some() || loaded.execution.keeps_inline(&loaded.graph, NodeIx(ix)))
                    }
                    _ => false,
                });
                let reference = match needed {
                    true => None,
                    false => {
                        let of = format!("signal.{name}");
                        put_away(shelf, tenant, execution, &of, &payload.to_json()).await?
                    }
                };
                let payload = match reference {
                    Some(reference) => {
                        reference.to_data().map_err(|error| ServiceError::TooLarge(error.to_string()))?
                    }
                    None => payload,
                };
                Ok(Steering::Signal { name, correlation, payload })
            }
            what => Ok(what),
        }
    }
}

/// Puts a value away if it is too large for the log.
async fn put_away(
    shelf: &Artifacts,
    tenant: &TenantId,
    execution: ExecutionId,
    name: &str,
    value: &Value,
) -> Result<Option<Reference>, ServiceError> {
    let stored_as = Data::from_json(value).map_err(|error| ServiceError::TooLarge(error.to_string()))?;
    if stored_as.len() <= shelf.inline_bytes {
        return Ok(None);
    }
    let content = serde_json::to_vec(value).map_err(|error| ServiceError::Internal(error.to_string()))?;
    let stored = shelf.store.put(tenant, content.into()).await?;
    Ok(Some(Reference {
        id: artifact_id(execution, None, name, &stored.digest),
        digest: stored.digest,
        size: stored.size,
        content_type: VALUE_CONTENT_TYPE.to_owned(),
    }))
}
