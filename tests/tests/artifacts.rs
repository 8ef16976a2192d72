//! Bytes outside the log, with real processes: values that move by themselves, and what is left when something dies.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::artifacts::collect;
use stepstream_runtime::artifact::{ArtifactStore, LEAST_GRACE};
use stepstream_shared::execution::StepState;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::programs;
use stepstream_tests::harness::verdict::BY_WORKERS;
use stepstream_tests::poll;

/// Bytes of text that the first step gives.
const LARGE: usize = 2 * 1024 * 1024;

/// A step that gives much, one of another queue, and one that is given what the first gave.
fn graph(queue: &str) -> Value {
    json!({
        "stepstream": 1, "name": "moves", "version": "1.0.0",
        "nodes": {
            "give": {"task": "jq", "with": {"filter": format!("{{text: (\"x\" * {LARGE})}}"), "value": null}, "next": [{"to": "between"}]},
            "between": {"task": "echo", "queue": queue, "with": 1, "next": [{"to": "take"}]},
            "take": {"task": "jq", "with": {"filter": ".text | length", "value": "=steps.give.output"}},
        },
        "output": "={'length': steps.take.output, 'all': steps.give.output}",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_reaches_the_next_step_although_everything_dies_in_between() {
    let mut fleet = Fleet::start(Plan { workers: 1, ..Plan::default() }).await;
    let id = fleet.api(0).begin(&graph("late"), &json!({})).await;
    let (tenant, execution): (TenantId, ExecutionId) = (TenantId::default_tenant(), id.parse().expect("an id"));
    poll::until("the first step has ended", async || {
        let loaded = fleet.reader().load(&tenant, execution, None).await.ok()?.execution;
        (loaded.step(0)?.state() == StepState::Completed).then_some(())
    })
    .await;
    for process in fleet.coordinators.iter_mut().chain(&mut fleet.workers) {
        process.kill9().await;
    }
    let api = fleet.add_coordinator().await;
    fleet.add_worker().await;
    let mut late = fleet.launch_worker_of("late", "worker-late");
    late.says("taking jobs").await;
    fleet.verdict(std::slice::from_ref(&id), BY_WORKERS).await;

    let ended = api.execution(&id).await.expect("an answer");
    assert_eq!(ended["output"]["length"], json!(LARGE), "{ended}");
    let reference = &ended["output"]["all"]["$artifact"];
    assert_eq!(reference["size"], json!(LARGE + r#"{"text":""}"#.len()), "{ended}");
    assert_eq!(ended["artifacts"]["count"], 1);
    // The log has the reference, and what people read has the bytes.
    let log: usize = fleet
        .reader()
        .events(&tenant, execution, 0, 1000)
        .await
        .expect("a log")
        .iter()
        .map(|event| event.to_string().len())
        .sum();
    assert!(log < 50_000, "{log} bytes of events");
    let list: Value =
        api.get(&format!("/v1/executions/{id}/artifacts")).await.expect("answers").json().await.expect("JSON");
    let item = &list["items"][0];
    assert_eq!(
        (&item["name"], &item["node"], &item["compression"]),
        (&json!("output"), &json!("give"), &json!("zstd"))
    );
    assert_eq!((&item["artifact_id"], &item["digest"]), (&reference["id"], &reference["digest"]));
    for wanted in [
        "output",
        "give%2Foutput",
        item["artifact_id"].as_str().expect("an id"),
        item["digest"].as_str().expect("a hash"),
    ] {
        let answer = api.get(&format!("/v1/executions/{id}/artifacts/{wanted}")).await.expect("answers");
        assert_eq!(answer.status(), 200, "{wanted}");
        assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"output\"");
        let value: Value = answer.json().await.expect("JSON");
        assert_eq!(value["text"].as_str().map(str::len), Some(LARGE), "{wanted}");
    }
    // Another tenant's is not there.
    let foreign =
        |path: String| api.request(reqwest::Method::GET, &path).header("Stepstream-Tenant", "tenant_other").send();
    let by_name = foreign(format!("/v1/executions/{id}/artifacts/output")).await.expect("answers").status();
    let by_hash =
        foreign(format!("/v1/artifacts/{}", item["digest"].as_str().expect("a hash"))).await.expect("answers").status();
    assert_eq!((by_name.as_u16(), by_hash.as_u16()), (404, 410));

    // From the command line, past the server.
    let artifacts = fleet.artifacts().display().to_string();
    let arguments = [
        "artifact",
        "get",
        &id,
        "give/output",
        "-o",
        "out.json",
        "--postgres",
        fleet.database(),
        "--artifacts",
        &artifacts,
    ];
    programs::run(fleet.directory(), &arguments).await.exited(0);
    let length = std::fs::metadata(fleet.file("out.json")).expect("written").len();
    assert_eq!(json!(length), reference["size"]);
}

/// Makes every file below look as old as this.
fn age(folder: &Path, by: Duration) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            age(&path, by);
        } else {
            let file = std::fs::File::options().write(true).open(&path).expect("ours");
            file.set_modified(std::time::SystemTime::now() - by).expect("settable");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_runs_move_values_too_and_d51_what_is_collected_stays_on_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let (here, data) = (directory.path(), directory.path().join(".stepstream"));
    std::fs::write(here.join("graph.json"), graph("default").to_string()).expect("writable");
    let run = programs::run(here, &["run", "graph.json", "-o", "json"]).await.exited(0).json();
    assert_eq!(run["output"]["length"], json!(LARGE), "{run}");
    let id = run["execution_id"].as_str().expect("an id").to_owned();
    let shown = programs::run(here, &["artifacts", &id]).await.exited(0);
    assert!(shown.stdout.contains("give") && shown.stdout.contains("tool_output"), "{shown:#?}");

    // One that nothing refers to: an attempt that died before it reported.
    let store = ArtifactStore::in_folder(&data.join("artifacts")).expect("a store");
    let tenant = TenantId::default_tenant();
    let orphan = store.put(&tenant, b"nobody's"[..].into()).await.expect("stored");
    let collect_now = ["admin", "collect-artifacts", "--older-than", "2h", "-o", "json"];
    let young = programs::run(here, &collect_now).await.exited(0).json();
    assert_eq!(
        (&young["deleted"], &young["young"], &young["referenced"]),
        (&json!(0), &json!(1), &json!(1)),
        "{young}"
    );
    age(&data.join("artifacts"), LEAST_GRACE * 3);
    let dry: Vec<&str> = collect_now.into_iter().chain(["--dry-run"]).collect();
    let dry = programs::run(here, &dry).await.exited(0).json();
    assert_eq!((&dry["deleted"], &dry["dry_run"]), (&json!(1), &json!(true)), "{dry}");
    assert!(store.exists(&tenant, &orphan.digest).await.expect("an answer"));
    let done = programs::run(here, &collect_now).await.exited(0).json();
    assert_eq!((&done["deleted"], &done["referenced"]), (&json!(1), &json!(1)), "{done}");
    assert!(!store.exists(&tenant, &orphan.digest).await.expect("an answer"));
    programs::run(here, &["admin", "collect-artifacts", "--older-than", "1m"]).await.exited(2);

    // Taken away by hand: the record stays, and says so.
    let list = programs::run(here, &["artifacts", &id, "-o", "json"]).await.exited(0).json();
    let digest = list["items"][0]["digest"].as_str().expect("a hash").parse().expect("a hash");
    assert!(store.delete(&tenant, &digest).await.expect("deleted"));
    let gone = programs::run(here, &["artifact", "get", &id, "output"]).await.exited(7);
    assert!(gone.stderr.contains("collected"), "{gone:#?}");
    programs::run(here, &["artifacts", &id]).await.exited(0);
    programs::run(here, &["replay", &id, "--verify"]).await.exited(0);
}

#[tokio::test]
async fn what_is_young_is_never_collected_whatever_is_asked() {
    use stepstream_coordinator::artifacts::CollectError;
    let directory = tempfile::tempdir().expect("a directory");
    let store = ArtifactStore::in_folder(directory.path()).expect("a store");
    let log = stepstream_coordinator::store::MemoryStore::new(1);
    let short = collect(&log, &store, LEAST_GRACE / 2, false).await;
    assert!(matches!(short, Err(CollectError::Grace { .. })), "{short:?}");
    let tenant = TenantId::default_tenant();
    let stored = store.put(&tenant, b"x"[..].into()).await.expect("stored");
    let collected = collect(&log, &store, LEAST_GRACE, false).await.expect("nothing is wrong");
    assert_eq!((collected.objects, collected.young, collected.deleted), (1, 1, 0));
    assert!(store.exists(&tenant, &stored.digest).await.expect("an answer"));
}
