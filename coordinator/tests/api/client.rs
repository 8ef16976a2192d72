//! The client library against a coordinator, over a socket.

use serde_json::{Value, json};
use stepstream_client::{Client, Error, ManyAction, Message, RefusalKind, Start, State};
use stepstream_coordinator::api::{ApiLimits, serve};
use stepstream_shared::execution::WaitReason;
use stepstream_shared::id::{ExecutionId, TenantId};
use tokio::net::TcpListener;

use crate::harness::{APPROVAL, ECHO, HELD, Server, until, within};

pub(crate) async fn client(server: &Server) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, server.router.clone(), ApiLimits::default(), server.shutdown.clone()));
    Client::new(&format!("http://{address}"), TenantId::default_tenant()).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, kind: RefusalKind) -> String {
    let error = answer.expect_err("it is refused");
    let refusal = error.refusal().unwrap_or_else(|| panic!("no refusal: {error:?}"));
    assert_eq!(refusal.kind(), kind, "{refusal:?}");
    refusal.to_string()
}

#[tokio::test]
async fn a_program_starts_an_execution_once_and_reads_how_it_ended() {
    let server = Server::new().await;
    let client = client(&server).await;
    let graph = client.register("echo.yaml", ECHO.to_owned()).await.unwrap();
    assert_eq!((graph.name.as_str(), graph.version.as_str()), ("echo", "1.0.0"));
    assert_eq!(client.graphs(10).await.unwrap().len(), 1);
    assert_eq!(client.graph("echo@1.0.0").await.unwrap()["name"], "echo");

    let start = Start::of("echo").inputs(json!({"n": 1})).key("k").by("ada").metadata("ticket", "T-1");
    let first = client.start(&start).await.unwrap();
    let again = client.start(&start).await.unwrap();
    assert_eq!((first.created, again.created, again.execution_id), (true, false, first.execution_id));
    refused(client.start(&start.clone().inputs(json!({"n": 2}))).await, RefusalKind::Conflict);

    let execution = client.execution(first.execution_id);
    let ended = within("it ends", execution.finished()).await.unwrap();
    assert_eq!((ended.state, &ended.output), (State::Completed, &json!({"n": 1})));
    // What this version does not know by name is there as well.
    assert_eq!(ended.json["events"], json!(ended.sequence));
    let steps = execution.steps().await.unwrap();
    assert_eq!((steps.len(), steps[0].node.as_str(), steps[0].worker.as_deref()), (1, "say", Some("tester")));
    let events = execution.history().await.unwrap();
    assert_eq!(events[0]["metadata"], json!({"ticket": "T-1"}));
    assert_eq!(events[0]["actor"], json!("user:ada"));
    assert_eq!(execution.events(1, 2).await.unwrap(), events[1..3]);
    assert_eq!(client.executions(Some("Completed"), 10).await.unwrap()[0].execution_id, first.execution_id);
    assert!(execution.tree().await.unwrap().is_empty());

    refused(client.execution(ExecutionId::from_bytes([7; 20])).tree().await, RefusalKind::NotFound);
    refused(client.register("x.yaml", "nodes: 3".to_owned()).await, RefusalKind::Invalid);
    let large = Start::of("echo").metadata("x", "x".repeat(20_000));
    assert!(refused(client.start(&large).await, RefusalKind::Exhausted).contains("metadata limit"));
    server.stop().await;
}

#[tokio::test]
async fn a_feed_brings_every_event_once_and_says_when_it_is_over() {
    let server = Server::new().await;
    let client = client(&server).await;
    client.register("held.yaml", HELD.to_owned()).await.unwrap();
    let id = client.start(&Start::of("held")).await.unwrap().execution_id;
    let mut feed = client.execution(id).follow(0);
    let mut seen: Vec<Value> = Vec::new();
    loop {
        match within("the feed goes on", feed.next()).await.unwrap() {
            Message::Event(event) => {
                if event["type"] == "step_scheduled" {
                    server.release(1);
                }
                seen.push(event);
            }
            Message::End => break,
            Message::Lost(why) => panic!("{why}"),
        }
    }
    assert_eq!(seen, client.execution(id).history().await.unwrap());
    server.stop().await;
}

#[tokio::test]
async fn everything_can_be_asked_of_an_execution() {
    let server = Server::new().await;
    let client = client(&server).await;
    client.register("held.yaml", HELD.to_owned()).await.unwrap();
    let id = client.start(&Start::of("held").breakpoint("two")).await.unwrap().execution_id;
    let execution = client.execution(id).by("ada");
    execution.pause("lunch").await.unwrap();
    refused(execution.pause("lunch").await, RefusalKind::Conflict);
    assert_eq!(execution.get().await.unwrap().reason.as_deref(), Some("lunch"));
    execution.resume().await.unwrap();
    execution.hold(WaitReason::External).await.unwrap();
    let waits = execution.waits().await.unwrap();
    assert!(waits.held && waits.waiting_for == Some(WaitReason::External), "{waits:?}");
    execution.release(&json!({"go": true})).await.unwrap();
    execution.set_budget("5".parse().ok(), Some(1000)).await.unwrap();
    refused(execution.set_budget(None, None).await, RefusalKind::Invalid);
    execution.remove_breakpoint("two").await.unwrap();
    execution.set_breakpoint("three").await.unwrap();
    refused(execution.set_breakpoint("nine").await, RefusalKind::NotFound);
    assert_eq!(execution.get().await.unwrap().breakpoints, ["three"]);
    refused(execution.signal("nobody", None, &Value::Null).await, RefusalKind::NotFound);
    // A job that came back may be there twice.
    server.release(8);
    until("the breakpoint holds it", async || (execution.get().await.unwrap().state == State::Paused).then_some(()))
        .await;
    let done = execution.subtree(ManyAction::Cancel, Some("enough")).await.unwrap();
    assert!(done.len() == 1 && done[0].outcome.is_ok(), "{done:?}");
    let ended = within("it ends", execution.finished()).await.unwrap();
    assert_eq!((ended.state, ended.reason.as_deref()), (State::Cancelled, Some("enough")));
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_says_of_what_kind_it_is() {
    let server = Server::new().await;
    let client = client(&server).await;
    client.register("approval.yaml", APPROVAL.to_owned()).await.unwrap();
    let id = client.start(&Start::of("approval").inputs(json!({"version": "1"}))).await.unwrap().execution_id;
    server.once(&id.to_string(), "Waiting").await;
    let form = json!({"window": "tonight", "risk": 1});
    let (ada, bob, eve) =
        (client.execution(id).by("ada"), client.execution(id).by("bob"), client.execution(id).by("eve"));
    refused(eve.approve("sign_off").form(form.clone()).send().await, RefusalKind::Forbidden);
    let error = ada.approve("sign_off").form(json!({"window": 3})).send().await.unwrap_err();
    assert_eq!(error.refusal().unwrap().errors.len(), 2, "every fault: {error:?}");
    ada.clone().key("k").approve("sign_off").form(form.clone()).send().await.unwrap();
    ada.clone().key("k").approve("sign_off").form(form.clone()).send().await.unwrap();
    refused(ada.approve("sign_off").form(form.clone()).send().await, RefusalKind::Conflict);
    refused(bob.answer("sign_off", &json!(1)).await, RefusalKind::Conflict);
    let said = &ada.waits().await.unwrap().waits[0].decisions;
    assert_eq!((said.len(), said[0].by.as_str()), (1, "ada"));
    bob.approve("sign_off").form(form).comment("fine").send().await.unwrap();
    assert_eq!(within("it ends", bob.finished()).await.unwrap().state, State::Completed);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_from_one_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(&format!("http://{address}"), TenantId::default_tenant()).unwrap();
    let error = client.version().await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains(&address.to_string()), "{error:?}");
    let named = client.execution(ExecutionId::from_bytes([7; 20])).by("a\nb");
    assert!(matches!(named.resume().await, Err(Error::NotSendable { .. })));
}
