//! Graphs: registered once, never changed, found by digest or by name.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::body::{content_type, receive};
use super::cursor::{AfterGraph, page};
use super::problem::{Fault, Problem};
use super::query::Parameters;
use super::request::Tenant;
use super::{Api, reference};

/// Most graphs on a page: the store reads whole documents to make it.
const PAGE_MAX: u32 = 100;

/// A registered graph.
#[derive(Serialize, ToSchema)]
pub(super) struct Graph {
    /// The digest of the document: equal documents are one graph.
    #[schema(value_type = String, example = "graph_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    graph_id: GraphDigest,
    name: String,
    version: String,
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
}

/// A page of graphs.
#[derive(Serialize, ToSchema)]
pub(super) struct GraphPage {
    items: Vec<Graph>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Register a graph.
///
/// The body is the graph document, in YAML or JSON. Registering the same document again changes nothing.
#[utoipa::path(
    post,
    path = "/v1/graphs",
    operation_id = "registerGraph",
    tag = "graphs",
    request_body(description = "The graph document", content(
        (serde_json::Value = "application/json"),
        (String = "application/yaml"),
    )),
    responses(
        (status = 201, description = "Registered", body = Graph,
            headers(("Location" = String, description = "Where the document can be read"))),
        (status = 200, description = "Registered already", body = Graph,
            headers(("Location" = String, description = "Where the document can be read"))),
    ),
)]
pub(super) async fn register(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    query: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    query.finish()?;
    let file = file_name(request.headers())?;
    let received = receive(request, &api).await?;
    let text = std::str::from_utf8(&received.bytes).map_err(|error| {
        let detail = format!("the document is not UTF-8: byte {} begins no character", error.valid_up_to());
        Problem::invalid_body(Fault::plain(detail))
    })?;
    let registered = api.service.register_graph(&tenant, file, text).await?;
    let graph = Graph {
        graph_id: registered.graph.digest,
        name: registered.graph.name.clone(),
        version: registered.graph.version.clone(),
        registered_at: registered.registered_at,
    };
    let location = [(header::LOCATION, format!("/v1/graphs/{}", graph.graph_id))];
    let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, location, axum::Json(graph)).into_response())
}

/// What the document is called in messages; the extension says how to read it, and without one the text does.
fn file_name(headers: &HeaderMap) -> Result<&'static str, Problem> {
    match content_type(headers)?.as_deref() {
        Some("application/json") => Ok("graph.json"),
        Some("application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml") => Ok("graph.yaml"),
        None | Some("application/octet-stream") => Ok("graph"),
        found => Err(Problem::wrong_content_type(found, "application/yaml or application/json")),
    }
}

/// List graphs, by name, then newest first.
#[utoipa::path(
    get,
    path = "/v1/graphs",
    operation_id = "listGraphs",
    tag = "graphs",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Most items on the page (100)"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = GraphPage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    mut query: Parameters,
) -> Result<axum::Json<GraphPage>, Problem> {
    let limit = query.limit(PAGE_MAX);
    let after = query.take::<AfterGraph>("cursor");
    query.finish()?;
    let rows = api.service.reader().list_graphs(&tenant, after.map(|after| after.0).as_ref(), limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| AfterGraph(row.digest));
    let items = rows
        .into_iter()
        .map(|row| Graph {
            graph_id: row.digest,
            name: row.name,
            version: row.version,
            registered_at: row.registered_at,
        })
        .collect();
    Ok(axum::Json(GraphPage { items, next_cursor }))
}

/// Get a graph document, in canonical JSON.
#[utoipa::path(
    get,
    path = "/v1/graphs/{reference}",
    operation_id = "getGraph",
    tag = "graphs",
    params(
        ("reference" = String, Path, description = "`graph_…`, a name (the version registered last) or `name@version`"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a copy that is there already"),
    ),
    responses(
        (status = 200, description = "The document", body = serde_json::Value, headers(
            ("ETag" = String, description = "The graph's id, quoted"),
            ("Content-Location" = String, description = "The same document under its id"),
        )),
        (status = 304, description = "The copy is this document"),
    ),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = path.map_err(|error| Problem::invalid_reference(error.body_text()))?;
    query.finish()?;
    let graph = reference::find(&api, &tenant, &name).await?;
    let etag = format!("\"{}\"", graph.digest);
    let held = headers.get_all(header::IF_NONE_MATCH).iter().any(|value| names(value, &etag));
    let head = [
        (header::ETAG, etag),
        (header::CONTENT_LOCATION, format!("/v1/graphs/{}", graph.digest)),
        // A name may mean another graph tomorrow.
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    if held {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((head, json, graph.canonical.clone()).into_response())
}

/// Whether a list of entity tags names this one.
fn names(value: &HeaderValue, etag: &str) -> bool {
    let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
    tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).any(|tag| tag == etag || tag == "*")
}
