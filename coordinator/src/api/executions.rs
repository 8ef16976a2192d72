//! Executions: begun, looked at, waited for.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use stepstream_shared::data::Data;
use stepstream_shared::error::ExecutionError;
use stepstream_shared::event::{Actor, Ending};
use stepstream_shared::execution::{ExecutionState, WaitReason};
use stepstream_shared::graph::{CompiledGraph, GraphDigest, LimitOverrides, NodeIx, Source, read_limits};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::admission::open_stream;
use super::asking::data;
use super::body::Json as JsonBody;
use super::closing::Closing;
use super::cursor::{AfterExecution, page};
use super::limits::{METADATA_MAX, PAGE_MAX, WAIT_DEFAULT, WAIT_MAX};
use super::problem::{Fault, Problem};
use super::query::Parameters;
use super::request::{Caller, IdempotencyKey, OfExecution, Tenant};
use super::trace::Trace;
use super::{Api, background, reference};
use crate::ports::{ListCursor, Listed};
use crate::reading::{Background, BackgroundOptions, Loaded};
use crate::service::{Start, Started};

/// Who asks, as the log has it: this API does not know its callers by name.
pub(super) const CALLER: &str = "api";
/// Every state's name, as the list can be asked for it.
pub(super) const STATES: [&str; 8] =
    ["Created", "Planning", "Running", "Paused", "Waiting", "Completed", "Failed", "Cancelled"];

/// What to run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartBody {
    /// `graph_…`, a name (the version registered last), `name@version`, or the document itself, which is registered.
    #[schema(value_type = GraphArgument)]
    graph: Value,
    /// What the graph takes; nothing given is the empty object.
    #[serde(default = "no_inputs")]
    #[schema(value_type = Value, required = false)]
    inputs: Value,
    /// Nodes before which it is paused.
    #[serde(default)]
    #[schema(required = false)]
    breakpoints: Vec<String>,
    /// Recorded with the execution's first event and never read by it, for whoever looks at it later; at most 16 KiB.
    /// It is no part of what an `Idempotency-Key` repeats.
    #[serde(default)]
    #[schema(required = false)]
    metadata: serde_json::Map<String, Value>,
    /// Limits that hold for this execution in the place of its graph's, under the names that a document has for them:
    /// `max_steps`, `wall_time`, `cost_usd`, `max_tokens`, `on_limit` …
    #[serde(default)]
    #[schema(value_type = Option<Object>, required = false)]
    limits: Option<serde_json::Map<String, Value>>,
    /// Run it in the background: it is queued and answered at once, and started when there is a place for it.
    #[serde(default)]
    #[schema(value_type = Option<BackgroundOptions>, required = false)]
    background: Option<Value>,
}

/// A graph by name or in full.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes the field to readers of the OpenAPI document")]
pub(super) enum GraphArgument {
    Reference(String),
    Document(serde_json::Map<String, Value>),
}

fn no_inputs() -> Value {
    Value::Object(serde_json::Map::new())
}

/// An execution that exists.
#[derive(Serialize, ToSchema)]
pub(super) struct Begun {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
    /// False when the same request had come before under the same key.
    created: bool,
}

/// An execution in the list.
#[derive(Serialize, ToSchema)]
pub(super) struct ListedExecution {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
    /// Created, Planning, Running, Paused, Waiting, Completed, Failed or Cancelled.
    state: String,
    /// The graph's name.
    graph: String,
    #[schema(value_type = String)]
    graph_id: GraphDigest,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the state last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A page of executions, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct ExecutionPage {
    items: Vec<ListedExecution>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// An execution as it stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Execution {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
    /// Created, Planning, Running, Paused, Waiting, Completed, Failed or Cancelled.
    state: &'static str,
    /// Why it is paused, was cancelled, or waits.
    #[schema(required)]
    reason: Option<String>,
    /// What it waits for, such as `approval`, also while it is paused; `waits` has more.
    #[schema(value_type = Option<String>, required)]
    waiting_for: Option<WaitReason>,
    /// It is paused, and no worker has anything of it left.
    quiescent: bool,
    /// Nodes before which it is paused.
    breakpoints: Vec<String>,
    /// The graph's name.
    graph: String,
    #[schema(value_type = String)]
    graph_id: GraphDigest,
    inputs: Value,
    /// Null until it has completed.
    output: Value,
    /// Why it failed.
    #[schema(value_type = Option<Failure>, required)]
    error: Option<ExecutionError>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    ended_at: Option<Timestamp>,
    /// The last event this is the state after.
    sequence: u64,
    /// From being created to having ended; null until then.
    #[schema(required)]
    duration_ms: Option<u64>,
    steps: StepCounts,
    /// Once it has begun to undo what it has done; null before, and where there was nothing to undo. Until it is over,
    /// `state` says what it says of any other execution.
    #[schema(required)]
    compensation: Option<Compensation>,
    /// Of one that runs in the background.
    #[schema(required)]
    background: Option<Background>,
    /// How many events there are.
    events: u64,
    artifacts: ArtifactCounts,
}

/// Bytes outside the log; `artifacts` of the execution has them one by one.
#[derive(Serialize, ToSchema)]
pub(super) struct ArtifactCounts {
    count: usize,
    /// Of all contents together.
    bytes: u64,
}

/// What became of the steps that undo others, and how the execution ends, or has ended, after them.
#[derive(Serialize, ToSchema)]
pub(super) struct Compensation {
    /// Failed or Cancelled.
    ending: &'static str,
    /// Why it fails.
    #[schema(value_type = Option<Failure>, required)]
    error: Option<ExecutionError>,
    /// Why it is cancelled.
    #[schema(required)]
    reason: Option<String>,
    /// Steps that are undone.
    done: u32,
    /// Undo steps that failed for good.
    failed: u32,
    /// Steps that are still to be undone, the one included that is being undone.
    left: usize,
}

impl Compensation {
    fn of(loaded: &Loaded) -> Option<Self> {
        let compensation = loaded.execution.compensation()?;
        let (error, reason) = match compensation.ending() {
            Ending::Failed { error, .. } => (Some(error.clone()), None),
            Ending::Cancelled { reason } => (None, Some(reason.clone())),
        };
        Some(Compensation {
            ending: compensation.ending().name(),
            error,
            reason,
            done: compensation.undone().done,
            failed: compensation.undone().failed,
            left: loaded.execution.undo_left() + usize::from(compensation.step().is_some()),
        })
    }
}

/// How many steps of the graph ended how; those that have not ended are in the total only, and those that undo others
/// are in `compensation`.
#[derive(Serialize, ToSchema)]
pub(super) struct StepCounts {
    completed: u32,
    failed: u32,
    skipped: u32,
    total: usize,
}

/// What went wrong in an attempt, a step or an execution.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the core's error to readers of the OpenAPI document")]
pub(super) struct Failure {
    /// One of eight categories, such as Timeout or ToolError.
    category: String,
    message: String,
    code: Option<String>,
    http_status: Option<u16>,
    retry_after_ms: Option<u64>,
    details: Option<Value>,
}

/// Start an execution.
///
/// It is durable when this answers. With an `Idempotency-Key`, the same request gives the first answer back, and
/// another one is refused.
#[utoipa::path(
    post,
    path = "/v1/executions",
    operation_id = "startExecution",
    tag = "executions",
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 255,
            description = "Names this start: 1 to 255 printable ASCII characters"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context, kept in the log; malformed, ignored"),
        ("tracestate" = Option<String>, Header, description = "Goes with `traceparent`"),
    ),
    request_body = StartBody,
    responses(
        (status = 202, description = "Started", body = Begun,
            headers(("Location" = String, description = "Where the execution can be looked at"))),
        (status = 200, description = "The same request had come before under the same key", body = Begun,
            headers(("Location" = String, description = "Where the execution can be looked at"))),
        (status = 422, description = "The key was used for another request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn start(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Caller(by): Caller,
    Trace(trace): Trace,
    query: Parameters,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<Response, Problem> {
    query.finish()?;
    let inputs = data(&body.inputs, "inputs")?;
    let limits = limits(body.limits)?;
    let background = background::request(body.background)?;
    let named = body.graph.as_str().map(str::to_owned);
    let graph = resolve(&api, &tenant, body.graph).await?;
    let metadata = metadata(body.metadata)?;
    let (actor, breakpoints) = (Actor::User(by), body.breakpoints);
    let start =
        Start { graph, named, inputs, idempotency_key, actor, trace, metadata, breakpoints, limits, background };
    let Started { execution, created } = api.service.start(&tenant, start).await?;
    let status = if created { StatusCode::ACCEPTED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/v1/executions/{execution}"))];
    Ok((status, location, Json(Begun { execution_id: execution, created })).into_response())
}

fn metadata(fields: serde_json::Map<String, Value>) -> Result<Option<Data>, Problem> {
    if fields.is_empty() {
        return Ok(None);
    }
    let metadata = data(&Value::Object(fields), "metadata")?;
    if metadata.len() > METADATA_MAX {
        let found = metadata.len();
        return Err(Problem::too_large(format!(
            "`metadata` is {found} bytes; the limit is {METADATA_MAX} (metadata limit)"
        )));
    }
    Ok(Some(metadata))
}

/// Limits in the place of a graph's.
fn limits(given: Option<serde_json::Map<String, Value>>) -> Result<LimitOverrides, Problem> {
    let Some(given) = given else { return Ok(LimitOverrides::default()) };
    let text = Value::Object(given).to_string();
    read_limits(&Source { name: "limits.json", text: &text }).map_err(|problems| {
        let faults = problems.iter().map(|problem| Fault::at("#/limits", problem.message.clone()));
        Problem::invalid_limits(faults.collect())
    })
}

async fn resolve(api: &Api, tenant: &TenantId, argument: Value) -> Result<Arc<CompiledGraph>, Problem> {
    match argument {
        Value::String(name) => reference::find(api, tenant, &name).await,
        Value::Object(document) => {
            // Laid out in lines, so that what is wrong with it has a place that people can find.
            let text = serde_json::to_string_pretty(&document).map_err(|error| Problem::internal(&error))?;
            Ok(api.service.register_graph(tenant, "graph.json", &text).await?.graph)
        }
        _ => {
            let detail = "`graph` is neither a reference (text) nor a graph document (an object)";
            Err(Problem::invalid_body(Fault::at("#/graph", detail)))
        }
    }
}

/// List executions, newest first.
#[utoipa::path(
    get,
    path = "/v1/executions",
    operation_id = "listExecutions",
    tag = "executions",
    params(
        ("state" = Option<String>, Query, description = "Only those in this state, such as `Running`"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Most items on the page (100)"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = ExecutionPage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    mut query: Parameters,
) -> Result<Json<ExecutionPage>, Problem> {
    let state = query.take_with("state", |text| {
        let known = STATES.into_iter().find(|state| *state == text);
        known.ok_or_else(|| format!("the states are {}", STATES.join(", ")))
    });
    let limit = query.limit(PAGE_MAX);
    let after = query.take::<AfterExecution>("cursor");
    query.finish()?;
    let rows = api.service.reader().list(&tenant, state, after.map(|after| after.0), limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| {
        AfterExecution(ListCursor { created_at: row.summary.created_at, execution: row.execution })
    });
    Ok(Json(ExecutionPage { items: rows.into_iter().map(listed).collect(), next_cursor }))
}

fn listed(row: Listed) -> ListedExecution {
    ListedExecution {
        execution_id: row.execution,
        state: row.summary.state,
        graph: row.summary.graph_name,
        graph_id: row.summary.graph,
        created_at: row.summary.created_at,
        updated_at: row.summary.updated_at,
    }
}

/// Get an execution as it stands.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}",
    operation_id = "getExecution",
    tag = "executions",
    params(("execution_id" = String, Path, description = "`exec_…`")),
    responses((status = 200, description = "The execution", body = Execution)),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    query: Parameters,
) -> Result<Json<Execution>, Problem> {
    query.finish()?;
    Ok(Json(execution(&api.service.load(&tenant, id, None).await?)))
}

/// Wait until an execution is over.
///
/// Answers with the execution as soon as it is over, and after the timeout as it then stands: `state` says which.
#[utoipa::path(
    get,
    path = "/v1/executions/{execution_id}/wait",
    operation_id = "waitForExecution",
    tag = "executions",
    params(
        ("execution_id" = String, Path, description = "`exec_…`"),
        ("timeout_ms" = Option<u64>, Query, maximum = 60000, description = "How long to wait (25000)"),
    ),
    responses((status = 200, description = "The execution", body = Execution)),
)]
pub(super) async fn wait(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfExecution(id): OfExecution,
    Closing(closing): Closing,
    mut query: Parameters,
) -> Result<Json<Execution>, Problem> {
    let timeout = query.take_with("timeout_ms", |text| match text.parse().map(Duration::from_millis) {
        Ok(timeout) if timeout <= WAIT_MAX => Ok(timeout),
        _ => Err(format!("a wait lasts 0 to {} milliseconds", WAIT_MAX.as_millis())),
    });
    query.finish()?;
    let _permit = open_stream(&api)?;
    let over = tokio::select! {
        over = api.service.wait(&tenant, id, Some(timeout.unwrap_or(WAIT_DEFAULT))) => over?,
        // Whoever waits gets an answer, and asks another server.
        () = closing.cancelled() => None,
    };
    match over {
        Some(loaded) => Ok(Json(execution(&loaded))),
        None => Ok(Json(execution(&api.service.load(&tenant, id, None).await?))),
    }
}

fn execution(loaded: &Loaded) -> Execution {
    let execution = &loaded.execution;
    let counts = execution.counts();
    let reason = match execution.state() {
        ExecutionState::Waiting(reason) => Some(reason.to_string()),
        _ => execution.reason().map(str::to_owned),
    };
    Execution {
        execution_id: execution.id(),
        state: execution.state().name(),
        reason,
        waiting_for: execution.waiting_for(),
        quiescent: execution.is_quiescent(),
        breakpoints: execution
            .breakpoints()
            .filter_map(|ix| Some(loaded.graph.node(NodeIx(ix))?.name.clone()))
            .collect(),
        graph: execution.graph_name().to_owned(),
        graph_id: execution.graph(),
        inputs: execution.inputs().to_json(),
        output: execution.output().to_json(),
        error: execution.error().cloned(),
        created_at: execution.created_at(),
        started_at: execution.started_at(),
        ended_at: execution.ended_at(),
        sequence: execution.sequence(),
        duration_ms: execution.ended_at().map(|ended| ended.since(execution.created_at()).as_millis() as u64),
        steps: StepCounts {
            completed: counts.completed,
            failed: counts.failed,
            skipped: counts.skipped,
            total: execution.graph_steps(),
        },
        compensation: Compensation::of(loaded),
        background: Background::of(execution),
        events: execution.sequence(),
        artifacts: ArtifactCounts { count: execution.artifact_count(), bytes: execution.artifact_bytes() },
    }
}
