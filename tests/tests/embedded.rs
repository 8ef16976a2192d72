//! `stepstream run` as a process: killed, out of disk, as an ordinary user.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::store::SqliteStore;
use stepstream_tests::harness::graphs;
use stepstream_tests::harness::process::Process;
use stepstream_tests::harness::programs::{self, Said, stepstream};
use stepstream_tests::harness::verdict::{BY_EMBEDDED, Verdict};
use stepstream_tests::poll;

/// Nobody's id on every Linux.
const NOBODY: u32 = 65_534;

async fn verdict(data: &Path, id: &str) -> Verdict {
    let store = SqliteStore::open_read_only(data.join("stepstream.db")).await.expect("the store is there");
    Verdict::of(&Reader::new(Arc::new(store)), &[id.to_owned()], BY_EMBEDDED).await
}

fn write(directory: &Path, name: &str, document: &Value) -> String {
    let path = directory.join(name);
    std::fs::write(&path, document.to_string()).expect("writable");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_goes_on_where_it_was_and_every_step_completes_once() {
    const STEPS: usize = 200;
    let directory = tempfile::tempdir().expect("a directory");
    let graph = write(directory.path(), "graph.json", &graphs::fan(STEPS - 2, 4));
    let file = directory.path().join("marks");
    let input = graphs::inputs(&file, STEPS - 2).to_string();

    let mut command = programs::command(&stepstream(), directory.path());
    command.args(["run", &graph, "--input", &input, "--allow-process", "-o", "json"]);
    let mut run = Process::start("run", command, directory.path());
    poll::until("a third is done", async || {
        assert!(run.ended().is_none(), "it ended before it was killed: {}", run.log());
        (graphs::lines(&file) >= STEPS / 3).then_some(())
    })
    .await;
    run.kill9().await;
    let before = graphs::lines(&file);
    assert!(before < STEPS, "it was over before it was killed");

    let said = programs::run(directory.path(), &["resume", "--allow-process", "-o", "json"]).await.exited(0).json();
    assert_eq!(said["state"], "Completed", "{said}");
    // The map itself is a step, too.
    assert_eq!(said["steps"]["completed"], json!(STEPS + 1), "{said}");
    let id = said["execution_id"].as_str().expect("an id");
    let verdict = verdict(&directory.path().join(".stepstream"), id).await;
    assert_eq!(verdict.steps_by_workers(), STEPS);
    assert!(graphs::lines(&file) >= STEPS);
    // Only what was in flight may have run twice.
    assert!(graphs::lines(&file) <= STEPS + 4, "{} marks", graphs::lines(&file));
    programs::run(directory.path(), &["replay", id, "--verify"]).await.exited(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_disturbs_leaves_each_mark_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let graph = write(directory.path(), "graph.json", &graphs::fan(50, 8));
    let file = directory.path().join("marks");
    let input = graphs::inputs(&file, 50).to_string();
    let arguments = ["run", &graph, "--input", &input, "--allow-process", "-o", "json"];
    let said = programs::run(directory.path(), &arguments).await.exited(0).json();
    let verdict = verdict(&directory.path().join(".stepstream"), said["execution_id"].as_str().expect("an id")).await;
    assert_eq!(verdict.steps_by_workers(), 52);
    assert_eq!(graphs::lines(&file), 52);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_items_run_fifty_at_a_time_and_come_out_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let graph = json!({
        "stepstream": 1, "name": "many", "version": "1.0.0",
        "nodes": {"each": {"map": {"over": "=inputs.items", "max_concurrency": 50}, "task": "echo", "with": "=item"}},
        "output": "=steps.each.output",
    });
    let graph = write(directory.path(), "graph.json", &graph);
    let items: Vec<u32> = (0..10_000).collect();
    let input = format!("@{}", write(directory.path(), "input.json", &json!({"items": items})));
    let arguments = ["run", &graph, "--input", &input, "--slots", "100", "-o", "json"];
    let said = programs::run(directory.path(), &arguments).await.exited(0).json();
    assert!(said["output"] == json!(items), "the order is kept");
    let verdict = verdict(&directory.path().join(".stepstream"), said["execution_id"].as_str().expect("an id")).await;
    assert_eq!(verdict.steps_named("each"), 10_000);
    assert_eq!(verdict.executions[0].most_in_flight["each"], 50, "the window is used and kept");
}

/// Runs a script as root of a mount namespace of its own, where file systems can be mounted that nobody else sees.
async fn in_a_namespace(directory: &Path, script: &str) -> Said {
    let mut command = programs::command(Path::new("unshare"), directory);
    command.arg("--mount");
    // Where an ordinary user may mount anything, it is as root of a user namespace.
    if !nix::unistd::Uid::effective().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--", "sh", "-eu", "-c", script]).env("PROGRAM", stepstream());
    let said: Said = command.output().await.expect("unshare is installed (util-linux)").into();
    assert!(
        said.stdout.contains("mounted"),
        "this test needs a mount namespace with a small tmpfs, and was refused it: {said:#?}"
    );
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_a_run_with_its_own_code_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    // Each step's output is stored: 40 times 64 KiB and its copies in the write-ahead log need more than there is.
    let graph = json!({
        "stepstream": 1, "name": "large", "version": "1.0.0",
        "nodes": {
            "each": {
                "map": {"over": "=inputs.items", "max_concurrency": 1},
                "task": "process", "with": {"argv": ["head", "-c", "65536", "/dev/zero"]},
            },
        },
        "output": "=size(steps.each.output)",
    });
    let graph = write(directory.path(), "graph.json", &graph);
    let input = json!({"items": (0..40).collect::<Vec<_>>()}).to_string();
    let script = format!(
        "mkdir small
         mount -t tmpfs -o size=1500k tmpfs small
         echo mounted
         set +e
         \"$PROGRAM\" run '{graph}' --input '{input}' --data small/data --allow-process -o json
         echo \"run $?\"
         \"$PROGRAM\" get executions --data small/data -o json | tr -d '\\n '
         echo
         \"$PROGRAM\" resume --data small/data --allow-process
         echo \"still full $?\"
         mount -o remount,size=64m none small
         \"$PROGRAM\" resume --data small/data --allow-process -o json > resumed.json
         echo \"resume $?\"
         id=$(sed -n 's/.*\"execution_id\": *\"\\([^\"]*\\)\".*/\\1/p' resumed.json | head -n 1)
         \"$PROGRAM\" replay \"$id\" --verify --data small/data > /dev/null
         echo \"verify $?\""
    );
    let said = in_a_namespace(directory.path(), &script).await;
    assert!(said.stdout.contains("run 9"), "{said:#?}");
    assert!(said.stderr.contains("small/data"), "the message names the path: {said:#?}");
    assert!(said.stdout.contains("still full 9"), "{said:#?}");
    assert!(said.stdout.contains("resume 0"), "{said:#?}");
    assert!(said.stdout.contains("verify 0"), "{said:#?}");
    let resumed: Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("resumed.json")).expect("written")).expect("JSON");
    assert_eq!((&resumed["state"], &resumed["output"]), (&json!("Completed"), &json!(40)), "{resumed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_the_disk_has_no_room_for_fails_its_step_and_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    // Half a megabyte that does not compress, into what the log leaves of less than one.
    let graph = json!({
        "stepstream": 1, "name": "large", "version": "1.0.0",
        "nodes": {"give": {"task": "process", "with": {"argv": ["sh", "-c", "head -c 700000 /dev/urandom | base64 -w0"]}}},
        "output": "=steps.give.output",
    });
    let graph = write(directory.path(), "graph.json", &graph);
    let script = format!(
        "mkdir small
         mount -t tmpfs -o size=800k tmpfs small
         echo mounted
         set +e
         \"$PROGRAM\" run '{graph}' --data small/data --allow-process -o json > first.json
         echo \"full $?\"
         mount -o remount,size=64m none small
         \"$PROGRAM\" run '{graph}' --data small/data --allow-process -o json > second.json
         echo \"room $?\""
    );
    let said = in_a_namespace(directory.path(), &script).await;
    assert!(said.stdout.contains("full 1\nroom 0"), "{said:#?}");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(directory.path().join(name)).expect("written")).expect("JSON")
    };
    let first = read("first.json");
    assert_eq!(first["error"]["code"], "artifact_store_full", "{first}");
    assert!(read("second.json")["output"]["$artifact"]["size"].as_u64() > Some(700_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_ends_a_run_with_its_own_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let graph = write(directory.path(), "graph.json", &graphs::chain(1, 0.0));
    let input = graphs::inputs(&directory.path().join("marks"), 0).to_string();
    let script = format!(
        "mkdir small
         mount -t tmpfs -o size=8m tmpfs small
         echo mounted
         set +e
         \"$PROGRAM\" run '{graph}' --input '{input}' --data small/data --allow-process -o json > first.json
         echo \"first $?\"
         mount -o remount,ro none small
         \"$PROGRAM\" run '{graph}' --input '{input}' --data small/data --allow-process
         echo \"second $?\"
         \"$PROGRAM\" run '{graph}' --input '{input}' --data small/other --allow-process
         echo \"third $?\"
         \"$PROGRAM\" get executions --data small/data -o json
         echo \"get $?\""
    );
    let said = in_a_namespace(directory.path(), &script).await;
    for line in ["first 0", "second 9", "third 9", "get 0"] {
        assert!(said.stdout.contains(line), "{line}: {said:#?}");
    }
    assert!(said.stderr.contains("small/data") && said.stderr.contains("small/other"), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_runs_a_graph() {
    let directory = tempfile::tempdir().expect("a directory");
    let graph = write(directory.path(), "graph.json", &graphs::fan(5, 2));
    let input = graphs::inputs(&directory.path().join("marks"), 5).to_string();
    if !nix::unistd::Uid::effective().is_root() {
        programs::run(directory.path(), &["run", &graph, "--input", &input, "--allow-process"]).await.exited(0);
        return;
    }
    // The program is copied to where nobody can reach it: build folders of root are often closed to others.
    let program = directory.path().join("stepstream");
    std::fs::copy(stepstream(), &program).expect("copied");
    for path in [directory.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    let mut command = programs::command(Path::new("setpriv"), directory.path());
    command
        .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"])
        .arg(&program)
        .args(["run", &graph, "--input", &input, "--allow-process", "-o", "json"])
        .env("HOME", directory.path())
        .env("TMPDIR", directory.path());
    let said: Said = command.output().await.expect("setpriv is installed (util-linux)").into();
    let said = said.exited(0).json();
    assert_eq!(said["state"], "Completed", "{said}");
    assert_eq!(graphs::lines(&directory.path().join("marks")), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_store_says_what_it_survives() {
    use stepstream_coordinator::ports::EventStore;
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(directory.path().join("stepstream.db"), 4).await.expect("a store");
    let durability = store.meta().await.expect("meta").durability;
    assert!(durability.contains("journal_mode wal, synchronous FULL"), "{durability}");
}
