use serde_json::Value;
use stepstream_coordinator::api::openapi;

use crate::harness::Server;

/// Set to rewrite the committed document instead of comparing with it.
const UPDATE: &str = "UPDATE";
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

#[tokio::test]
async fn the_committed_document_is_the_one_that_is_served() {
    let server = Server::new().await;
    let served = server.get("/openapi.json").await;
    assert_eq!((served.status.as_u16(), served.header("content-type")), (200, "application/json"));
    server.stop().await;
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(COMMITTED, &served.body).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == served.body,
        "coordinator/openapi.json is not what the handlers say; `{UPDATE}=1 cargo test -p stepstream-coordinator --test \
         api openapi` rewrites it"
    );
}

#[test]
fn every_operation_says_who_asks_and_how_it_is_refused() {
    let document = serde_json::to_value(openapi()).unwrap();
    assert_eq!(document["openapi"], "3.2.0");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 42, "{:?}", paths.keys().collect::<Vec<_>>());
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
            assert!(operation["operationId"].is_string(), "{method} {path}");
            let tenant = operation["parameters"]
                .as_array()
                .is_some_and(|list| list.iter().any(|parameter| parameter["name"] == "Stepstream-Tenant"));
            let of_the_server = ["/v1/version", "/v1/status"].contains(&path.as_str());
            assert_eq!(tenant, path.starts_with("/v1/") && !of_the_server, "{method} {path}");
            let steers = method != "get" && (path.starts_with("/v1/executions") || path == "/v1/controls");
            let schedules = method != "get" && path.starts_with("/v1/schedules");
            let triggers = path == "/v1/schedules/{schedule}/trigger";
            for (header, there) in [("Stepstream-Actor", steers || schedules), ("Idempotency-Key", steers || triggers)]
            {
                let named = operation["parameters"]
                    .as_array()
                    .map_or(0, |list| list.iter().filter(|parameter| parameter["name"] == header).count());
                assert_eq!(named, usize::from(there), "{header} of {method} {path}");
            }
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(entries) => {
                if let Some(Value::String(reference)) = entries.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("references stay within the document");
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                entries.values().for_each(|entry| check(entry, document));
            }
            Value::Array(items) => items.iter().for_each(|item| check(item, document)),
            _ => {}
        }
    }
    let document = serde_json::to_value(openapi()).unwrap();
    check(&document, &document);
}
