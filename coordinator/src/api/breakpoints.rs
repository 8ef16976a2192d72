//! Nodes before which an execution is paused.

use axum::response::Response;
use stepstream_shared::execution::Steering;

use super::asking::{Asked, Asking};
use super::problem::Problem;
use super::request::OfNode;

/// Pause an execution before a node runs.
///
/// It is paused each time it is about to run the node, until the breakpoint is taken away.
#[utoipa::path(
    put,
    path = "/v1/executions/{execution_id}/breakpoints/{node}",
    operation_id = "setBreakpoint",
    tag = "steering",
    params(
        ("execution_id" = String, Path, description = "`exec_…`"),
        ("node" = String, Path, description = "The node's name in the graph"),
    ),
    responses(
        (status = 202, description = "It is set", body = Asked),
        (status = 404, description = "The graph has no such node", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn set(asking: Asking, OfNode(node): OfNode) -> Result<Response, Problem> {
    asking.carry_out(Steering::Breakpoint { node, on: true }).await
}

/// Do not pause an execution before a node any more.
///
/// One that is paused there stays so until it is resumed.
#[utoipa::path(
    delete,
    path = "/v1/executions/{execution_id}/breakpoints/{node}",
    operation_id = "removeBreakpoint",
    tag = "steering",
    params(
        ("execution_id" = String, Path, description = "`exec_…`"),
        ("node" = String, Path, description = "The node's name in the graph"),
    ),
    responses(
        (status = 202, description = "There is none", body = Asked),
        (status = 404, description = "The graph has no such node", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn remove(asking: Asking, OfNode(node): OfNode) -> Result<Response, Problem> {
    asking.carry_out(Steering::Breakpoint { node, on: false }).await
}
