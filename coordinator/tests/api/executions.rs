use serde_json::{Value, json};

use crate::harness::{ECHO, HELD, Server, until};

#[tokio::test]
async fn an_execution_is_started_looked_at_and_waited_for() {
    let server = Server::new().await;
    let graph_id = server.register(ECHO).await.json()["graph_id"].clone();
    let answer = server.post("/v1/executions", &json!({"graph": "echo", "inputs": {"n": 1}})).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["created"], true);
    let id = answer.json()["execution_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("/v1/executions/{id}"));

    let seen = server.over(&id).await;
    assert_eq!(seen, server.get(&format!("/v1/executions/{id}")).await.json());
    assert_eq!(seen["execution_id"], id.as_str());
    assert_eq!((&seen["state"], &seen["reason"], &seen["error"]), (&json!("Completed"), &Value::Null, &Value::Null));
    assert_eq!((&seen["graph"], &seen["graph_id"]), (&json!("echo"), &graph_id));
    assert_eq!((&seen["inputs"], &seen["output"]), (&json!({"n": 1}), &json!({"n": 1})));
    assert_eq!(seen["steps"], json!({"completed": 1, "failed": 0, "skipped": 0, "total": 1}));
    assert!(seen["sequence"].as_u64().unwrap() >= 4 && seen["events"] == seen["sequence"]);
    assert!(seen["duration_ms"].is_u64() && seen["started_at"].is_string() && seen["ended_at"].is_string());
    server.stop().await;
}

#[tokio::test]
async fn a_graph_is_named_by_id_name_or_version_or_given_in_full() {
    let server = Server::new().await;
    let id = server.register(ECHO).await.json()["graph_id"].clone();
    let document = server.get("/v1/graphs/echo").await.json();
    for graph in [id.clone(), json!("echo"), json!("echo@1.0.0"), document] {
        let answer = server.post("/v1/executions", &json!({"graph": graph})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let execution = server.over(answer.json()["execution_id"].as_str().unwrap()).await;
        assert_eq!((&execution["graph_id"], &execution["output"]), (&id, &json!({})), "no inputs are empty inputs");
    }
    server.post("/v1/executions", &json!({"graph": "nothing"})).await.refused(404, "not-found");
    server.post("/v1/executions", &json!({"graph": "a\u{0}b"})).await.refused(400, "invalid-reference");
    let detail = server.post("/v1/executions", &json!({"graph": {"nodes": 3}})).await.refused(400, "invalid-graph");
    assert!(detail.contains("graph.json:"), "{detail}");
    let answer = server.post("/v1/executions", &json!({"graph": 3})).await;
    answer.refused(400, "invalid-body");
    assert_eq!(answer.json()["errors"][0]["pointer"], "#/graph");
    server.stop().await;
}

#[tokio::test]
async fn one_key_makes_one_execution() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let key = [("idempotency-key", "order 17")];
    let body = json!({"graph": "echo", "inputs": {"n": 1}});
    let first = server.post_with("/v1/executions", &key, &body).await;
    assert_eq!((first.status.as_u16(), &first.json()["created"]), (202, &json!(true)));
    let again = server.post_with("/v1/executions", &key, &body).await;
    assert_eq!((again.status.as_u16(), &again.json()["created"]), (200, &json!(false)));
    assert_eq!(again.json()["execution_id"], first.json()["execution_id"]);
    assert_eq!(again.header("location"), first.header("location"));

    let other = json!({"graph": "echo", "inputs": {"n": 2}});
    server.post_with("/v1/executions", &key, &other).await.refused(422, "idempotency-key-reused");

    // What the name stands for has changed; what was asked has not.
    server.register(&ECHO.replace("1.0.0", "2.0.0")).await;
    let later = server.post_with("/v1/executions", &key, &body).await;
    assert_eq!((later.status.as_u16(), &later.json()["created"]), (200, &json!(false)));
    assert_eq!(later.json()["execution_id"], first.json()["execution_id"]);

    let elsewhere = [key[0], ("stepstream-tenant", "tenant_other")];
    server.send_register_as("tenant_other", ECHO).await;
    let answer = server.post_with("/v1/executions", &elsewhere, &body).await;
    assert_eq!(answer.status, 202, "a key belongs to its tenant");
    assert_ne!(answer.json()["execution_id"], first.json()["execution_id"]);
    server.stop().await;
}

#[tokio::test]
async fn many_starts_under_one_key_at_once_make_one_execution() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let body = json!({"graph": "echo"});
    let key = [("idempotency-key", "once")];
    let starts = (0..20).map(|_| server.post_with("/v1/executions", &key, &body));
    let answers = futures::future::join_all(starts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 19);
    let ids: Vec<Value> = answers.iter().map(|answer| answer.json()["execution_id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_is_not_printable_is_refused() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let body = json!({"graph": "echo"});
    let longest = "k".repeat(255);
    let start = async |key: &str| server.post_with("/v1/executions", &[("idempotency-key", key)], &body).await;
    assert_eq!(start(&longest).await.status, 202);
    for key in ["", "a\tb", "ü", &"k".repeat(256)] {
        let answer = start(key).await;
        answer.refused(400, "invalid-header");
        assert_eq!(answer.json()["errors"][0]["header"], "Idempotency-Key");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    server.post_with("/v1/executions", &twice, &body).await.refused(400, "invalid-header");
    server.stop().await;
}

#[tokio::test]
async fn inputs_that_do_not_fit_are_refused_one_by_one() {
    let server = Server::new().await;
    let schema = "inputs: { type: object, required: [url, n], properties: { n: { type: integer } } }\nnodes:";
    server.register(&ECHO.replace("nodes:", schema)).await;
    let answer = server.post("/v1/executions", &json!({"graph": "echo", "inputs": {"n": "x"}})).await;
    answer.refused(400, "invalid-inputs");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert!(errors.len() == 2 && errors.iter().all(|error| error["pointer"] == "#/inputs"), "{errors:?}");
    assert!(server.get("/v1/executions").await.json()["items"].as_array().unwrap().is_empty(), "nothing was accepted");
    server.stop().await;
}

#[tokio::test]
async fn a_failed_execution_says_why() {
    let server = Server::new().await;
    let document =
        ECHO.replace("task: echo", "retry: { max_attempts: 1 }, task: nobody").replace("name: echo", "name: fails");
    server.register(&document).await;
    let id = server.run("fails", json!({})).await;
    let execution = server.get(&format!("/v1/executions/{id}")).await.json();
    assert_eq!((&execution["state"], &execution["output"]), (&json!("Failed"), &Value::Null));
    assert_eq!(execution["error"]["category"], "ToolError");
    assert_eq!(execution["steps"]["failed"], 1);
    let steps = server.get(&format!("/v1/executions/{id}/steps")).await.json();
    assert_eq!(
        (&steps["items"][0]["state"], &steps["items"][0]["error"]["message"]),
        (&json!("Failed"), &json!("no callable nobody"))
    );
    server.stop().await;
}

#[tokio::test]
async fn executions_are_listed_newest_first_in_pages_and_by_state() {
    let server = Server::new().await;
    server.register(ECHO).await;
    server.register(HELD).await;
    let mut begun = Vec::new();
    for n in 0..5 {
        begun.push(server.run("echo", json!({"n": n})).await);
    }
    let held = server.begin("held", json!({})).await;
    begun.push(held.clone());
    begun.reverse();

    let mut seen = Vec::new();
    let mut path = "/v1/executions?limit=4".to_owned();
    loop {
        let page = server.get(&path).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 4);
        seen.extend(items.iter().map(|item| item["execution_id"].as_str().unwrap().to_owned()));
        let Value::String(cursor) = &page["next_cursor"] else { break };
        path = format!("/v1/executions?limit=4&cursor={cursor}");
    }
    assert_eq!(seen, begun);

    let running = server.get("/v1/executions?state=Running").await.json();
    let items = running["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["execution_id"]), (1, &json!(held)));
    assert_eq!((&items[0]["graph"], &items[0]["state"]), (&json!("held"), &json!("Running")));
    for field in ["graph_id", "created_at", "updated_at"] {
        assert!(items[0][field].is_string(), "{field}");
    }
    let full = server.get("/v1/executions?state=Completed&limit=5").await.json();
    assert_eq!((full["items"].as_array().unwrap().len(), &full["next_cursor"]), (5, &Value::Null));
    server.get("/v1/executions?state=running").await.refused(400, "invalid-query");
    server.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_the_execution_or_its_timeout() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let early = server.get(&format!("/v1/executions/{id}/wait?timeout_ms=0")).await;
    assert_eq!((early.status.as_u16(), &early.json()["state"]), (200, &json!("Running")));
    server.release(3);
    let path = format!("/v1/executions/{id}/wait?timeout_ms=60000");
    assert_eq!(server.get(&path).await.json()["state"], "Completed");
    server.get(&format!("/v1/executions/{id}/wait?timeout_ms=60001")).await.refused(400, "invalid-query");
    server.stop().await;
}

#[tokio::test]
async fn steps_are_listed_with_what_they_are_and_in_pages() {
    let server = Server::new().await;
    let graph = "
stepstream: 1
name: fan
version: 1.0.0
nodes:
  each: { map: { over: '=inputs.list', max_concurrency: 3 }, task: echo, with: '=item' }
";
    server.register(graph).await;
    let id = server.run("fan", json!({"list": [10, 20, 30]})).await;
    let all = server.get(&format!("/v1/executions/{id}/steps")).await.json();
    let all = all["items"].as_array().unwrap();
    assert_eq!(all.len(), 4, "the map and its three items");
    let mut indexes: Vec<&Value> = all.iter().map(|step| &step["index"]).filter(|index| !index.is_null()).collect();
    indexes.sort_by_key(|index| index.as_u64());
    assert_eq!(indexes, [&json!(0), &json!(1), &json!(2)]);
    let item = all.iter().find(|step| step["index"] == 1).unwrap();
    assert_eq!((&item["node"], &item["state"], &item["attempt"]), (&json!("each"), &json!("Completed"), &json!(1)));
    assert_eq!((&item["worker"], &item["iteration"]), (&json!("tester"), &json!([])));
    assert!(item["step_id"].as_str().unwrap().starts_with("step_") && item["ended_at"].is_string());

    let mut seen = Vec::new();
    let mut path = format!("/v1/executions/{id}/steps?limit=2");
    loop {
        let page = server.get(&path).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        let Value::String(cursor) = &page["next_cursor"] else { break };
        path = format!("/v1/executions/{id}/steps?limit=2&cursor={cursor}");
    }
    assert_eq!(&seen, all);
    server.stop().await;
}

#[tokio::test]
async fn the_trace_of_the_caller_is_in_the_log() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = server.post_with("/v1/executions", &[("traceparent", parent)], &json!({"graph": "echo"})).await;
    assert_eq!(answer.header("traceparent"), parent);
    let id = answer.json()["execution_id"].as_str().unwrap().to_owned();
    let events = until("events", async || {
        let page = server.get(&format!("/v1/executions/{id}/events")).await.json();
        page["items"].get(0).cloned()
    })
    .await;
    assert_eq!((&events["traceparent"], &events["actor"]), (&json!(parent), &json!("user:api")));

    let broken = server.post_with("/v1/executions", &[("traceparent", "00-x")], &json!({"graph": "echo"})).await;
    assert_eq!(broken.status, 202, "broken instrumentation does not stop the work");
    assert!(broken.headers.get("traceparent").is_none());
    server.stop().await;
}
