//! Whatever the API can do, the client library can: each operation of the API's document has a method that calls it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use stepstream_client::{Asker, Client, Many, ManyAction, Start};
use stepstream_coordinator::api::openapi;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::event::Message;
use stepstream_shared::event::message::InboxAction;
use stepstream_shared::execution::{Verdict, WaitReason};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;
use tokio::net::TcpListener;

use crate::harness::{ECHO, Server, until, within};

const ID: ExecutionId = ExecutionId::from_bytes([7; 20]);
const WHO: Asker<'static> = Asker { by: Some("ada"), key: None };

type Call = fn(Client) -> BoxFuture<'static, ()>;

/// An operation, and what calls it. Whether the call succeeds is no matter here.
macro_rules! calls {
    ($($operation:literal: |$client:ident| $call:expr;)*) => {
        vec![$(($operation, (|$client: Client| Box::pin(async move { let _ = $call.await; })) as Call)),*]
    };
}

fn table() -> Vec<(&'static str, Call)> {
    calls! {
        "livez": |client| client.alive();
        "readyz": |client| client.ready();
        "openapi": |client| client.api_document();
        "version": |client| client.version();
        "status": |client| client.status();

        "registerGraph": |client| client.register("echo.yaml", ECHO.to_owned());
        "listGraphs": |client| client.graphs(1);
        "getGraph": |client| client.graph("echo");

        "startExecution": |client| client.start(&Start::of("echo"));
        "listExecutions": |client| client.executions(None, 1);
        "controlExecutions": |client| client.control(&Many::all(ManyAction::Pause), WHO);
        "getExecution": |client| client.execution(ID).get();
        "waitForExecution": |client| client.execution(ID).finished();
        "listSteps": |client| client.execution(ID).steps();
        "readEvents": |client| client.execution(ID).events(0, 1);
        "getWaits": |client| client.execution(ID).waits();
        "getChildren": |client| client.execution(ID).children();
        "listArtifacts": |client| client.execution(ID).artifacts();
        "readArtifact": |client| client.execution(ID).artifact("node/page.png");
        "readContent": |client| client.content("blake3:00");

        "pauseExecution": |client| client.execution(ID).pause("lunch");
        "resumeExecution": |client| client.execution(ID).resume();
        "cancelExecution": |client| client.execution(ID).cancel("no more");
        "holdExecution": |client| client.execution(ID).hold(WaitReason::Approval);
        "giveInput": |client| client.execution(ID).release(&json!(1));
        "signalExecution": |client| client.execution(ID).signal("paid", None, &json!(1));
        "decide": |client| client.execution(ID).approve("sign_off").send();
        "answer": |client| client.execution(ID).answer("ask", &json!(1));
        "sendMessage": |client| client.execution(ID).send(Message::Control { action: InboxAction::Compact, reason: None });
        "setBreakpoint": |client| client.execution(ID).set_breakpoint("node");
        "removeBreakpoint": |client| client.execution(ID).remove_breakpoint("node");
        "setBudget": |client| client.execution(ID).set_budget(None, Some(5));
        "retryCallback": |client| client.execution(ID).retry_callback();
        "resolveStep": |client| client.execution(ID).resolve("pay", Verdict::Retry);
        "redriveExecution": |client| client.execution(ID).redrive(None);
        "listDeadLetters": |client| client.dead_letters(None, 1);

        "listBackground": |client| client.background(None, None, 1);

        "createSchedule": |client| client.create_schedule("s.yaml", "name: s".to_owned(), None, WHO);
        "listSchedules": |client| client.schedules(1);
        "getSchedule": |client| client.schedule("s");
        "replaceSchedule": |client| client.replace_schedule("s", "s.yaml", "name: s".to_owned(), Some(1), WHO);
        "changeSchedule": |client| client.change_schedule("s", &json!({"every": "1h"}), Some(1), WHO);
        "deleteSchedule": |client| client.delete_schedule("s", WHO);
        "pauseSchedule": |client| client.pause_schedule("s", "holidays", WHO);
        "resumeSchedule": |client| client.resume_schedule("s", WHO);
        "triggerSchedule": |client| client.trigger_schedule("s", WHO);
        "backfillSchedule": |client| {
            client.backfill_schedule("s", Timestamp::from_micros(0), Timestamp::from_micros(1), false, WHO)
        };

        "getTenantLimits": |client| client.tenant_limits();
        "setTenantLimits": |client| client.set_tenant_limits(&json!({}));
        "getTenantUsage": |client| client.tenant_usage();
    }
}

type Seen = Arc<Mutex<Vec<(Method, String)>>>;

/// A server that keeps what it is asked, and knows nothing.
async fn recorder() -> (Client, Seen) {
    async fn keep(State(seen): State<Seen>, method: Method, uri: Uri) -> StatusCode {
        seen.lock().unwrap().push((method, uri.path().to_owned()));
        StatusCode::NOT_FOUND
    }
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(keep).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Client::new(&url, TenantId::default_tenant()).unwrap(), seen)
}

/// Whether a path is one that a template such as `/v1/graphs/{reference}` describes.
fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let fits = |(part, found): (&&str, &&str)| (part.starts_with('{') && !found.is_empty()) || part == found;
    template.len() == path.len() && template.iter().zip(&path).all(fits)
}

#[tokio::test]
async fn every_operation_of_the_document_has_a_method_of_the_client() {
    let document = serde_json::to_value(openapi()).unwrap();
    let mut operations: Map<String, Value> = Map::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no name"));
            operations.insert(name.to_owned(), json!([method, path]));
        }
    }
    let (client, seen) = recorder().await;
    for (name, call) in table() {
        let operation =
            operations.remove(name).unwrap_or_else(|| panic!("the API has no operation `{name}` (any more)"));
        within(name, call(client.clone())).await;
        let asked = std::mem::take(&mut *seen.lock().unwrap());
        let [(method, path)] = asked.as_slice() else { panic!("`{name}` is one request, not {asked:?}") };
        assert_eq!(operation[0], method.as_str().to_lowercase(), "{name}");
        assert!(fits(operation[1].as_str().unwrap(), path), "{name} is {operation}, and what was asked is {path}");
    }
    assert!(operations.is_empty(), "no method of the client calls {operations:?}: add one, and a line to the table");
}

#[tokio::test]
async fn a_program_sees_how_a_server_stands_and_what_it_can() {
    let server = Server::new().await;
    let client = crate::client::client(&server).await;
    client.alive().await.unwrap();
    until("it is ready", async || client.ready().await.ok()).await;
    let status = client.status().await.unwrap();
    assert_eq!((status.partitions, status.incarnation), (8, 1));
    assert!(status.json["refused_outcomes"].is_object(), "{:?}", status.json);
    assert_eq!(client.api_document().await.unwrap()["openapi"], "3.2.0");

    client.register("echo.yaml", ECHO.to_owned()).await.unwrap();
    let document = "name: s\ngraph: echo\nevery: 1h\n";
    let made = client.create_schedule("s.yaml", document.to_owned(), Some("not yet"), WHO).await.unwrap();
    let patch = json!({"every": "2h", "description": "seldom"});
    let changed = client.change_schedule("s", &patch, Some(made.revision), WHO).await.unwrap();
    assert!(changed.revision > made.revision, "{changed:?}");
    let kept = client.schedule("s").await.unwrap();
    assert!(kept.json.to_string().contains("seldom"), "{:?}", kept.json);
    // Somebody else has changed it meanwhile.
    let late = client.change_schedule("s", &json!({"every": "3h"}), Some(made.revision), WHO).await;
    assert!(matches!(&late, Err(error) if error.refusal().is_some()), "{late:?}");
    assert_eq!(client.schedule("s").await.unwrap().revision, changed.revision);
    // Without a store of artifacts there is no content.
    let missing = client.content(&format!("blake3:{}", "0".repeat(64))).await;
    assert!(missing.is_err());
    let gave_up = ExecutionError::new(ErrorCategory::ToolError, "gone");
    assert!(client.execution(ID).give_up("ask", gave_up).await.is_err());
    tokio::time::timeout(Duration::from_secs(60), server.stop()).await.unwrap();
}
