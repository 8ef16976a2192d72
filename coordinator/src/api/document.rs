//! The OpenAPI document: made from the handlers, served, and committed so that a change of it is seen in review.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{
    Content, ObjectBuilder, OpenApi as Document, OpenApiVersion, Ref, RefOr, Required, ResponseBuilder, Type,
};

use super::problem::{self, Fault, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stepstream",
        description = "Durable execution of step graphs: register graphs, start executions, follow and end them.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, Fault, super::events::Event, super::events::End)),
    tags(
        (name = "graphs", description = "Documents of nodes and edges, registered once and never changed"),
        (name = "executions", description = "Runs of graphs"),
        (name = "steering", description = "What people and programs ask of runs: to hold, to go on, to know something"),
        (name = "schedules", description = "Runs of graphs that begin by themselves, again and again"),
        (name = "tenant", description = "What all executions of a tenant may have together"),
        (name = "health", description = "This server"),
    ),
)]
struct Base;

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = openapi().to_pretty_json().expect("the document is made of maps with text keys");
    text.push('\n');
    text
});

/// The OpenAPI document of this API.
pub fn openapi() -> Document {
    let mut document = Base::openapi();
    // The version that can say what the events of a feed look like.
    document.openapi = OpenApiVersion::Version32;
    for router in [super::bounded(), super::held(), super::health()] {
        document.merge(router.into_openapi());
    }
    for (path, item) in &mut document.paths.paths {
        let reading = item.get.iter_mut().map(|operation| (operation, false));
        let changing = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
            .into_iter()
            .flatten()
            .map(|each| (each, true));
        for (operation, changes) in reading.chain(changing) {
            if changes && (of_executions(path) || path.starts_with("/v1/schedules")) {
                operation.parameters.get_or_insert_default().push(RefOr::T(actor()));
            }
            if changes && path.starts_with("/v1/executions/") {
                operation.parameters.get_or_insert_default().push(RefOr::T(key()));
            }
            if path.starts_with("/v1/") && path != "/v1/version" && path != "/v1/status" {
                operation.parameters.get_or_insert_default().push(RefOr::T(tenant()));
            }
            with_problems(operation);
        }
    }
    document
}

fn tenant() -> Parameter {
    ParameterBuilder::new()
        .name("Stepstream-Tenant")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("On whose behalf: `tenant_…` (`tenant_default`)"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn of_executions(path: &str) -> bool {
    path.starts_with("/v1/executions") || path == "/v1/controls"
}

fn actor() -> Parameter {
    ParameterBuilder::new()
        .name("Stepstream-Actor")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Who asks, by the name under which approvals know people (`api`)"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn key() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The same request under the same key is carried out once: 1 to 255 printable ASCII characters",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// Every operation can be refused, in one shape.
fn with_problems(operation: &mut Operation) {
    let problem = ResponseBuilder::new()
        .description("Refused or failed: `type` says why")
        .content(problem::MEDIA_TYPE, Content::new(Some(Ref::from_schema_name("Problem"))))
        .build();
    operation.responses.responses.insert("default".to_owned(), RefOr::T(problem));
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "health",
    responses((status = 200, description = "OpenAPI 3.2", body = serde_json::Value)))]
pub(super) async fn get() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
