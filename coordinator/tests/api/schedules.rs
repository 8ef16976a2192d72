use axum::body::Body;
use serde_json::{Value, json};

use crate::harness::{Answer, ECHO, Server, request, until};

/// A schedule that does not fire while a test runs.
fn yearly(name: &str) -> Value {
    json!({"name": name, "graph": "echo", "cron": "0 0 1 1 *", "inputs": {"at": "=schedule.time"}})
}

async fn send(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("stepstream-actor", "ann")];
    server.send(request(method, path, &headers, Body::from(body.to_string()))).await
}

async fn server() -> Server {
    let server = Server::new().await;
    server.register(ECHO).await;
    server
}

#[tokio::test]
async fn a_schedule_is_made_looked_at_changed_and_deleted() {
    let server = server().await;
    let made = server.post("/v1/schedules", &yearly("new-year")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let view = made.json();
    let id = view["schedule_id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), format!("/v1/schedules/{id}"));
    assert_eq!((&view["status"], &view["revision"], &view["paused"]), (&json!("active"), &json!(1), &Value::Null));
    assert!(view["next_at"].as_str().unwrap().ends_with("-01-01T00:00:00.000000Z"));
    for reference in ["new-year", id.as_str()] {
        let found = server.get(&format!("/v1/schedules/{reference}")).await.json();
        assert_eq!((&found["name"], found["next"].as_array().unwrap().len()), (&json!("new-year"), 10), "{found}");
    }
    let changed =
        send(&server, "PATCH", "/v1/schedules/new-year?revision=1", &json!({"jitter": "1h", "inputs": null})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let definition = &changed.json()["definition"];
    assert_eq!((&definition["jitter"], definition.get("inputs")), (&json!("1h"), None));
    let replaced = send(&server, "PUT", &format!("/v1/schedules/{id}?revision=2"), &yearly("renamed")).await;
    assert_eq!((replaced.status.as_u16(), &replaced.json()["revision"]), (200, &json!(3)));
    server.get("/v1/schedules/new-year").await.refused(404, "not-found");
    let gone = server.send(request("DELETE", "/v1/schedules/renamed", &[], Body::empty())).await;
    assert_eq!((gone.status.as_u16(), &gone.json()["schedule_id"]), (200, &json!(id)));
    server.get(&format!("/v1/schedules/{id}")).await.refused(404, "not-found");
    server.send(request("DELETE", "/v1/schedules/renamed", &[], Body::empty())).await.refused(404, "not-found");
    server.stop().await;
}

#[tokio::test]
async fn a_document_may_be_yaml_and_is_refused_with_places() {
    let server = server().await;
    let yaml = |text: &str| {
        request("POST", "/v1/schedules", &[("content-type", "application/yaml")], Body::from(text.to_owned()))
    };
    let made = server.send(yaml("name: a\ngraph: echo\nevery: 1h\n")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let detail = server.send(yaml("name: b\ngraph: echo\ncron: '0 0 30 2 *'\n")).await.refused(400, "invalid-schedule");
    assert!(detail.contains("schedule.yaml:3:7") && detail.contains("would never fire"), "{detail}");
    let detail =
        server.send(yaml("name: b\ngraph: echo\nevery: 1h\njitter: -1s\n")).await.refused(400, "invalid-schedule");
    assert!(detail.contains("schedule.yaml:4:9"), "{detail}");
    server.send(yaml("name: b\ngraph: missing\nevery: 1h\n")).await.refused(404, "not-found");
    let typo = "name: b\ngraph: echo\nevery: 1h\ninputs: { at: '=schedule.tim' }\n";
    server.send(yaml(typo)).await.refused(400, "invalid-inputs");
    server.send(yaml("name: a\ngraph: echo\nevery: 2h\n")).await.refused(409, "schedule-conflict");
    assert_eq!(server.get("/v1/schedules").await.json()["items"].as_array().unwrap().len(), 1, "nothing of these");
    server.stop().await;
}

#[tokio::test]
async fn inputs_that_do_not_fit_the_graph_are_refused_when_the_schedule_is_made() {
    let server = server().await;
    let strict = ECHO
        .replace("name: echo", "name: strict")
        .replace("nodes:", "inputs: { type: object, required: [n], properties: { n: { type: integer } } }\nnodes:");
    server.register(&strict).await;
    let mut schedule = yearly("strict");
    schedule["graph"] = json!("strict");
    server.post("/v1/schedules", &schedule).await.refused(400, "invalid-inputs");
    schedule["inputs"] = json!({"n": "=size(schedule.name)"});
    assert_eq!(server.post("/v1/schedules", &schedule).await.status, 201);
    server.stop().await;
}

#[tokio::test]
async fn a_change_of_what_somebody_else_has_changed_is_refused() {
    let server = server().await;
    server.post("/v1/schedules", &yearly("a")).await;
    server.post("/v1/schedules", &yearly("b")).await;
    let detail = send(&server, "PATCH", "/v1/schedules/a?revision=7", &json!({"jitter": "1h"}))
        .await
        .refused(409, "schedule-conflict");
    assert!(detail.contains("revision 1, not 7"), "{detail}");
    send(&server, "PATCH", "/v1/schedules/a", &json!({"name": "b"})).await.refused(409, "schedule-conflict");
    send(&server, "PATCH", "/v1/schedules/a", &json!({"cron": "x"})).await.refused(400, "invalid-schedule");
    send(&server, "PATCH", "/v1/schedules/a", &json!([1])).await.refused(400, "invalid-body");
    send(&server, "PATCH", "/v1/schedules/nobody", &json!({})).await.refused(404, "not-found");
    let unchanged = server.get("/v1/schedules/a").await.json();
    assert_eq!((&unchanged["revision"], &unchanged["definition"]), (&json!(1), &yearly("a")));
    server.stop().await;
}

#[tokio::test]
async fn a_pause_says_who_and_why_and_is_over_when_it_is_resumed() {
    let server = server().await;
    let made = server.post("/v1/schedules?paused=true&note=later", &yearly("a")).await.json();
    assert_eq!(
        (&made["status"], &made["paused"]["note"], &made["next_at"]),
        (&json!("paused"), &json!("later"), &Value::Null)
    );
    assert_eq!(send(&server, "POST", "/v1/schedules/a/resume", &json!({})).await.json()["status"], "active");
    let paused = send(&server, "POST", "/v1/schedules/a/pause", &json!({"note": "holidays"})).await.json();
    assert_eq!((&paused["paused"]["by"], &paused["paused"]["note"]), (&json!("ann"), &json!("holidays")));
    let long = json!({"note": "x".repeat(1025)});
    send(&server, "POST", "/v1/schedules/a/pause", &long).await.refused(413, "too-large");
    send(&server, "POST", "/v1/schedules?note=x", &yearly("c")).await.refused(400, "invalid-query");
    // Whoever asks for one gets one all the same.
    let started = send(&server, "POST", "/v1/schedules/a/trigger", &json!({})).await;
    assert_eq!(started.status, 202, "{started:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_execution_that_was_asked_for_knows_its_schedule_and_comes_once_under_a_key() {
    let server = server().await;
    let id = server.post("/v1/schedules", &yearly("a")).await.json()["schedule_id"].clone();
    let trigger = async |key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        server.send(request("POST", "/v1/schedules/a/trigger", &headers, Body::from("{}"))).await
    };
    let (first, again) = (trigger("k").await, trigger("k").await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (202, 200));
    let execution = first.json()["execution_id"].as_str().unwrap().to_owned();
    assert_eq!(again.json()["execution_id"], json!(execution));
    assert_ne!(trigger("l").await.json()["execution_id"], json!(execution));
    server.over(&execution).await;
    let events = server.get(&format!("/v1/executions/{execution}/events")).await.json();
    let created = &events["items"][0];
    let text = created.to_string();
    assert!(text.contains("schedule_event") && text.contains(id.as_str().unwrap()), "{created}");
    assert!(text.contains(r#""kind":"trigger""#), "{created}");
    let schedule = server.get("/v1/schedules/a").await.json();
    assert_eq!((&schedule["counts"]["triggered"], schedule["runs"].as_array().unwrap().len()), (&json!(2), 2));
    let run = schedule["runs"].as_array().unwrap().iter().find(|run| run["execution_id"] == json!(execution)).unwrap();
    assert_eq!((&run["kind"], &run["state"]), (&json!("trigger"), &json!("Completed")));
    server.stop().await;
}

#[tokio::test]
async fn a_schedule_fires_by_itself_and_a_backfill_starts_what_did_not() {
    let server = server().await;
    let every = json!({"name": "a", "graph": "echo", "every": "1s", "overlap": "allow_all",
        "inputs": {"at": "=schedule.time"}});
    server.post("/v1/schedules", &every).await;
    let fired = until("it has fired three times", async || {
        let schedule = server.get("/v1/schedules/a").await.json();
        (schedule["counts"]["started"].as_u64() >= Some(3)).then_some(schedule)
    })
    .await;
    let runs = fired["runs"].as_array().unwrap();
    let first = runs.last().unwrap();
    let output = server.over(first["execution_id"].as_str().unwrap()).await;
    let time: stepstream_shared::time::Timestamp = first["time"].as_str().unwrap().parse().unwrap();
    let told: stepstream_shared::time::Timestamp = output["output"]["at"].as_str().unwrap().parse().unwrap();
    assert_eq!(told, time);
    let past = |seconds| time.before(std::time::Duration::from_secs(seconds)).to_string();
    let range = json!({"from": past(5), "to": time.to_string(), "at_once": true});
    let taken = send(&server, "POST", "/v1/schedules/a/backfill", &range).await;
    assert_eq!((taken.status.as_u16(), taken.json()), (202, json!({"found": 6, "taken_up": 6})));
    until("all that was not there is", async || {
        let schedule = server.get("/v1/schedules/a").await.json();
        (schedule["counts"]["backfilled"] == 5 && schedule["waiting"] == 0).then_some(())
    })
    .await;
    send(&server, "POST", "/v1/schedules/a/backfill", &range).await;
    until("nothing waits", async || {
        let schedule = server.get("/v1/schedules/a").await.json();
        (schedule["waiting"] == 0).then_some(())
    })
    .await;
    assert_eq!(server.get("/v1/schedules/a").await.json()["counts"]["backfilled"], 5, "twice is once");
    let refused = [
        (json!({"from": past(0), "to": past(5)}), 400, "invalid-form"),
        (json!({"from": past(0), "to": "2999-01-01T00:00:00Z"}), 400, "invalid-form"),
        (json!({"from": past(5000), "to": past(0)}), 413, "too-large"),
        (json!({"from": "yesterday", "to": past(0)}), 400, "invalid-body"),
    ];
    for (range, status, name) in refused {
        send(&server, "POST", "/v1/schedules/a/backfill", &range).await.refused(status, name);
    }
    server.stop().await;
}

#[tokio::test]
async fn schedules_are_listed_by_name_for_one_tenant() {
    let server = server().await;
    for name in ["b", "a", "c"] {
        server.post("/v1/schedules", &yearly(name)).await;
    }
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = server.get("/v1/schedules?limit=2").await.json();
    assert_eq!(names(&first), ["a", "b"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = server.get(&format!("/v1/schedules?limit=2&cursor={cursor}")).await.json();
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["c".to_owned()], &Value::Null));
    server.get("/v1/schedules?cursor=%00").await.refused(400, "invalid-query");
    let other = [("stepstream-tenant", "tenant_other")];
    assert!(names(&server.get_with("/v1/schedules", &other).await.json()).is_empty());
    server.get_with("/v1/schedules/a", &other).await.refused(404, "not-found");
    server.get("/v1/schedules/%27%20or%201").await.refused(404, "not-found");
    server.stop().await;
}
