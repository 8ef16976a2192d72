//! Artifacts: what is on record, and the bytes themselves.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use stepstream_runtime::artifact::{ArtifactError, ArtifactReader};
use stepstream_shared::artifact::ContentHash;
use stepstream_shared::id::TenantId;

use super::Api;
use super::admission::open_stream;
use super::problem::Problem;
use super::query::{Parameters, shown};
use super::request::{OfArtifact, OfExecution, Tenant};
use crate::reading::ArtifactList;
use crate::service::ServiceError;

/// Contents up to this size are read and checked before the answer begins, so that what is wrong with one is a problem
/// document; larger ones are checked while they are sent, and what is wrong then cuts the connection.
const CHECKED_FIRST: u64 = 8 * 1024 * 1024;

/// List the artifacts of an execution.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}/artifacts",
    operation_id = "listArtifacts",
    tag = "artifacts",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    responses((status = 200, description = "What is on record", body = ArtifactList)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    query: Parameters,
) -> Result<Json<ArtifactList>, Problem> {
    query.finish()?;
    Ok(Json(ArtifactList::of(&api.service.load(&tenant, id, None).await?)))
}

/// Read an artifact of an execution.
///
/// The bytes are checked against their hash; a transfer that ends before `Content-Length` has failed.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}/artifacts/{artifact}",
    operation_id = "readArtifact",
    tag = "artifacts",
    params(
        ("execution_id" = String, Path, description = "`exec_…`"),
        ("artifact" = String, Path, description = "`artifact_…`, `blake3:…`, a name or `node/name` (the slash as `%2F`)"),
    ),
    responses(
        (status = 200, description = "The content, under the content type on record", content_type = "*/*"),
        (status = 410, description = "It is on record and was collected", body = Problem,
            content_type = "application/problem+json"),
        (status = 501, description = "This coordinator has no artifact store", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    OfArtifact(wanted): OfArtifact,
    query: Parameters,
) -> Result<Response, Problem> {
    query.finish()?;
    let list = ArtifactList::of(&api.service.load(&tenant, id, None).await?);
    let absent = || ServiceError::NotThere(format!("{id} has no artifact `{}`", shown(&wanted)));
    let item = list.find(&wanted).ok_or_else(absent)?;
    let digest = item.content().ok_or_else(absent)?;
    send(&api, &tenant, digest, &item.content_type, &item.file_name()).await
}

/// Read a content of the tenant by its hash.
#[utoipa::path(
    get,
    path = "/v1/artifacts/{artifact}",
    operation_id = "readContent",
    tag = "artifacts",
    params(("artifact" = String, Path, description = "`blake3:…`, the hash of the content")),
    responses(
        (status = 200, description = "The content", content_type = "application/octet-stream"),
        (status = 410, description = "The store does not have it (any more)", body = Problem,
            content_type = "application/problem+json"),
        (status = 501, description = "This coordinator has no artifact store", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get_by_digest(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfArtifact(wanted): OfArtifact,
    query: Parameters,
) -> Result<Response, Problem> {
    query.finish()?;
    let digest = wanted.parse::<ContentHash>().map_err(|error| {
        let hint = "an `artifact_…` is read at /v1/executions/{execution_id}/artifacts/{artifact}";
        Problem::invalid_digest(format!("{error}; {hint}"))
    })?;
    send(&api, &tenant, digest, "application/octet-stream", &digest.hex()).await
}

async fn send(
    api: &Api,
    tenant: &TenantId,
    digest: ContentHash,
    content_type: &str,
    file_name: &str,
) -> Result<Response, Problem> {
    let permit = open_stream(api)?;
    let mut reader = api.service.open_content(tenant, &digest).await?;
    let size = reader.size();
    let body = if size <= CHECKED_FIRST {
        let mut content = Vec::new();
        while let Some(part) = reader.next().await.map_err(ServiceError::from)? {
            content.extend_from_slice(&part);
        }
        Body::from(content)
    } else {
        // The permit lives as long as the body.
        Body::from_stream(stream::unfold(Some((reader, permit)), |state| async move {
            let (mut reader, permit) = state?;
            match part_of(&mut reader).await {
                Ok(Some(part)) => Some((Ok(part), Some((reader, permit)))),
                Ok(None) => None,
                Err(error) => {
                    tracing::error!(%error, "an artifact was not sent to its end");
                    Some((Err(error), None))
                }
            }
        }))
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let text = |text: String| HeaderValue::from_str(&text).map_err(|error| Problem::internal(&error));
    headers.insert(header::CONTENT_TYPE, text(content_type.to_owned())?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    // What somebody's step has stored is never shown as a page of this server.
    headers.insert(header::CONTENT_DISPOSITION, text(format!("attachment; filename=\"{file_name}\""))?);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::ETAG, text(format!("\"{digest}\""))?);
    Ok(response)
}

async fn part_of(reader: &mut ArtifactReader) -> Result<Option<Bytes>, ArtifactError> {
    reader.next().await
}
