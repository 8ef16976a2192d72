//! Schedules: made, looked at, changed, held, and asked to start something.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepstream_shared::id::{ExecutionId, TriggerId};
use stepstream_shared::time::Timestamp;
use utoipa::ToSchema;

use super::Api;
use super::body::{Json as JsonBody, OptionalJson, content_type, receive};
use super::cursor::{AfterSchedule, page};
use super::problem::{Fault, Problem};
use super::query::Parameters;
use super::request::{Caller, IdempotencyKey, OfSchedule, Tenant};
use crate::schedules::{ScheduleDetail, ScheduleView};
use crate::service::{Backfill, Backfilled, ScheduleChange, Started};

/// Most schedules on a page: their definitions come with them.
const PAGE_MAX: u32 = 100;

/// A page of schedules.
#[derive(Serialize, ToSchema)]
pub(super) struct SchedulePage {
    items: Vec<ScheduleView>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Why a schedule is held.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseBody {
    /// For whoever wonders later, up to 1024 bytes.
    #[serde(default)]
    #[schema(required = false)]
    note: String,
}

/// A body without anything in it.
#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NothingBody {}

/// Which nominal times are to be carried out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackfillBody {
    /// The first is not before this moment.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// The last is not after this one, which is not in the future.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// All at once, and not one after the other.
    #[serde(default)]
    #[schema(required = false)]
    at_once: bool,
}

/// What a backfill will do.
#[derive(Serialize, ToSchema)]
pub(super) struct BackfillAnswer {
    /// Nominal times in the range.
    found: usize,
    /// Those of them that did not wait already.
    taken_up: usize,
}

/// What was started.
#[derive(Serialize, ToSchema)]
pub(super) struct Triggered {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    execution_id: ExecutionId,
    /// False when the same request had come before under the same key.
    created: bool,
}

/// A schedule that is gone.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    #[schema(value_type = String, example = "trigger_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    schedule_id: TriggerId,
}

/// Make a schedule.
///
/// The body is its document, in YAML or JSON. It begins now; nominal times before are for a backfill.
#[utoipa::path(
    post,
    path = "/v1/schedules",
    operation_id = "createSchedule",
    tag = "schedules",
    params(
        ("paused" = Option<bool>, Query, description = "Whether it is paused from the beginning (false)"),
        ("note" = Option<String>, Query, description = "Why it is paused"),
    ),
    request_body(description = "The document", content(
        (serde_json::Value = "application/json"),
        (String = "application/yaml"),
    )),
    responses(
        (status = 201, description = "It is there", body = ScheduleView,
            headers(("Location" = String, description = "Where the schedule can be looked at"))),
        (status = 404, description = "There is no such graph", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    Caller(by): Caller,
    mut query: Parameters,
    request: Request,
) -> Result<Response, Problem> {
    let paused = query.take::<bool>("paused").unwrap_or_default();
    let note = query.take::<String>("note");
    if note.is_some() && !paused {
        query.refuse("note", "`note` goes with `paused=true`");
    }
    query.finish()?;
    let (file, text) = document(request, &api).await?;
    let note = note.unwrap_or_default();
    let paused = paused.then_some((by.as_str(), note.as_str()));
    let schedule = api.service.create_schedule(&tenant, file, &text, paused).await?;
    let location = [(header::LOCATION, format!("/v1/schedules/{}", schedule.schedule_id))];
    Ok((StatusCode::CREATED, location, Json(schedule)).into_response())
}

/// The text of a document, and what it is called in messages.
async fn document(request: Request, api: &Api) -> Result<(&'static str, String), Problem> {
    let file = file_name(request.headers())?;
    let received = receive(request, api).await?;
    let text = std::str::from_utf8(&received.bytes).map_err(|error| {
        let detail = format!("the document is not UTF-8: byte {} begins no character", error.valid_up_to());
        Problem::invalid_body(Fault::plain(detail))
    })?;
    Ok((file, text.to_owned()))
}

fn file_name(headers: &HeaderMap) -> Result<&'static str, Problem> {
    match content_type(headers)?.as_deref() {
        Some("application/json") => Ok("schedule.json"),
        Some("application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml") => Ok("schedule.yaml"),
        None | Some("application/octet-stream") => Ok("schedule"),
        found => Err(Problem::wrong_content_type(found, "application/yaml or application/json")),
    }
}

/// List schedules, by name.
#[utoipa::path(
    get,
    path = "/v1/schedules",
    operation_id = "listSchedules",
    tag = "schedules",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Most items on the page (100)"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = SchedulePage)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    mut query: Parameters,
) -> Result<Json<SchedulePage>, Problem> {
    let limit = query.limit(PAGE_MAX);
    let after = query.take::<AfterSchedule>("cursor");
    query.finish()?;
    let after = after.map(|after| after.0);
    let rows = api.service.reader().schedules(&tenant, after.as_deref(), limit + 1).await?;
    let (items, next_cursor) = page(rows, limit, |row| AfterSchedule(row.name.clone()));
    Ok(Json(SchedulePage { items, next_cursor }))
}

/// Get a schedule: what it is, when it will fire, and what it has started last.
#[utoipa::path(
    get,
    path = "/v1/schedules/{schedule}",
    operation_id = "getSchedule",
    tag = "schedules",
    params(("schedule" = String, Path, description = "`trigger_…` or a name")),
    responses((status = 200, description = "The schedule", body = ScheduleDetail)),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    query: Parameters,
) -> Result<Json<ScheduleDetail>, Problem> {
    query.finish()?;
    Ok(Json(api.service.reader().schedule(&tenant, &reference).await?))
}

/// Give a schedule another document.
///
/// With another timing it goes on from now; otherwise nominal times are dealt with as if nothing had been changed.
#[utoipa::path(
    put,
    path = "/v1/schedules/{schedule}",
    operation_id = "replaceSchedule",
    tag = "schedules",
    params(
        ("schedule" = String, Path, description = "`trigger_…` or a name"),
        ("revision" = Option<u64>, Query, description = "Only if it is in this revision"),
    ),
    request_body(description = "The document", content(
        (serde_json::Value = "application/json"),
        (String = "application/yaml"),
    )),
    responses(
        (status = 200, description = "The schedule", body = ScheduleView),
        (status = 409, description = "It is in another revision, or the name is taken", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn replace(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    Caller(by): Caller,
    mut query: Parameters,
    request: Request,
) -> Result<Json<ScheduleView>, Problem> {
    let revision = query.take::<u64>("revision");
    query.finish()?;
    let (file, text) = document(request, &api).await?;
    let change = ScheduleChange::Replace { file: file.to_owned(), text };
    Ok(Json(api.service.change_schedule(&tenant, &reference, &by, change, revision).await?))
}

/// Change some fields of a schedule's document.
///
/// A merge patch (RFC 7396): null takes a field away.
#[utoipa::path(
    patch,
    path = "/v1/schedules/{schedule}",
    operation_id = "changeSchedule",
    tag = "schedules",
    params(
        ("schedule" = String, Path, description = "`trigger_…` or a name"),
        ("revision" = Option<u64>, Query, description = "Only if it is in this revision"),
    ),
    request_body = serde_json::Value,
    responses(
        (status = 200, description = "The schedule", body = ScheduleView),
        (status = 409, description = "It is in another revision, or the name is taken", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn change(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    Caller(by): Caller,
    mut query: Parameters,
    JsonBody(patch): JsonBody<Value>,
) -> Result<Json<ScheduleView>, Problem> {
    let revision = query.take::<u64>("revision");
    query.finish()?;
    let change = ScheduleChange::Merge(patch);
    Ok(Json(api.service.change_schedule(&tenant, &reference, &by, change, revision).await?))
}

/// Delete a schedule. What it has started goes on.
#[utoipa::path(
    delete,
    path = "/v1/schedules/{schedule}",
    operation_id = "deleteSchedule",
    tag = "schedules",
    params(("schedule" = String, Path, description = "`trigger_…` or a name")),
    responses((status = 200, description = "It is gone", body = Deleted)),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    query: Parameters,
) -> Result<Json<Deleted>, Problem> {
    query.finish()?;
    Ok(Json(Deleted { schedule_id: api.service.delete_schedule(&tenant, &reference).await? }))
}

/// Hold a schedule: nothing is started, and nominal times pass.
#[utoipa::path(
    post,
    path = "/v1/schedules/{schedule}/pause",
    operation_id = "pauseSchedule",
    tag = "schedules",
    params(("schedule" = String, Path, description = "`trigger_…` or a name")),
    request_body = Option<PauseBody>,
    responses((status = 200, description = "The schedule", body = ScheduleView)),
)]
pub(super) async fn pause(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    Caller(by): Caller,
    query: Parameters,
    OptionalJson(body): OptionalJson<PauseBody>,
) -> Result<Json<ScheduleView>, Problem> {
    query.finish()?;
    let change = ScheduleChange::Pause { note: body.note };
    Ok(Json(api.service.change_schedule(&tenant, &reference, &by, change, None).await?))
}

/// Let a schedule go on from now. What came meanwhile is not made up for; a backfill can.
#[utoipa::path(
    post,
    path = "/v1/schedules/{schedule}/resume",
    operation_id = "resumeSchedule",
    tag = "schedules",
    params(("schedule" = String, Path, description = "`trigger_…` or a name")),
    request_body = Option<NothingBody>,
    responses((status = 200, description = "The schedule", body = ScheduleView)),
)]
pub(super) async fn resume(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    Caller(by): Caller,
    query: Parameters,
    OptionalJson(NothingBody {}): OptionalJson<NothingBody>,
) -> Result<Json<ScheduleView>, Problem> {
    query.finish()?;
    Ok(Json(api.service.change_schedule(&tenant, &reference, &by, ScheduleChange::Resume, None).await?))
}

/// Start an execution of a schedule now.
///
/// Whatever else runs, and whether or not the schedule is paused. The execution is durable when this answers.
#[utoipa::path(
    post,
    path = "/v1/schedules/{schedule}/trigger",
    operation_id = "triggerSchedule",
    tag = "schedules",
    params(
        ("schedule" = String, Path, description = "`trigger_…` or a name"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 255,
            description = "Names this start: 1 to 255 printable ASCII characters"),
    ),
    request_body = Option<NothingBody>,
    responses(
        (status = 202, description = "Started", body = Triggered,
            headers(("Location" = String, description = "Where the execution can be looked at"))),
        (status = 200, description = "The same request had come before under the same key", body = Triggered,
            headers(("Location" = String, description = "Where the execution can be looked at"))),
    ),
)]
pub(super) async fn trigger(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    Caller(by): Caller,
    IdempotencyKey(key): IdempotencyKey,
    query: Parameters,
    OptionalJson(NothingBody {}): OptionalJson<NothingBody>,
) -> Result<Response, Problem> {
    query.finish()?;
    let Started { execution, created } = api.service.trigger_schedule(&tenant, &reference, &by, key.as_deref()).await?;
    let status = if created { StatusCode::ACCEPTED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/v1/executions/{execution}"))];
    Ok((status, location, Json(Triggered { execution_id: execution, created })).into_response())
}

/// Carry out nominal times of the past.
///
/// Those that were carried out already find their execution there, so that the same range again does nothing. They are
/// taken up, durably, when this answers.
#[utoipa::path(
    post,
    path = "/v1/schedules/{schedule}/backfill",
    operation_id = "backfillSchedule",
    tag = "schedules",
    params(("schedule" = String, Path, description = "`trigger_…` or a name")),
    request_body = BackfillBody,
    responses(
        (status = 202, description = "Taken up", body = BackfillAnswer),
        (status = 413, description = "There are more than 1000 nominal times in the range, or would wait",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn backfill(
    State(api): State<Api>,
    Tenant(tenant): Tenant,
    OfSchedule(reference): OfSchedule,
    query: Parameters,
    JsonBody(body): JsonBody<BackfillBody>,
) -> Result<Response, Problem> {
    query.finish()?;
    let BackfillBody { from, to, at_once } = body;
    let range = Backfill { from, to, at_once };
    let Backfilled { found, taken_up } = api.service.backfill_schedule(&tenant, &reference, range).await?;
    Ok((StatusCode::ACCEPTED, Json(BackfillAnswer { found, taken_up })).into_response())
}
