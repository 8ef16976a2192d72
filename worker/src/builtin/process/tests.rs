use std::path::Path;

use serde_json::json;

use super::*;
use crate::builtin::tests::{call, call_in, cancelled_when, code};

async fn run(argv: &[&str]) -> Result<Value, Failure> {
    call("process", json!({ "argv": argv })).await
}

#[tokio::test]
async fn a_program_is_run_without_a_shell() {
    let output = run(&["printf", "%s", "$HOME; echo *"]).await.unwrap();
    assert_eq!(output["stdout"], "$HOME; echo *");
    assert_eq!((&output["exit_code"], &output["stderr"]), (&json!(0), &json!("")));
    assert!(output["duration_ms"].is_u64());
}

#[tokio::test]
async fn a_worker_that_may_not_says_how_it_could() {
    let refused = Process { allowed: false };
    let input = serde_json::from_value(json!({ "argv": ["true"] })).unwrap();
    let failure = refused.call(&crate::builtin::tests::context(1), input).await.unwrap_err();
    assert_eq!(failure.error().category, ErrorCategory::PolicyViolation);
    assert!(failure.error().message.contains("--allow-process"));
}

#[tokio::test]
async fn only_a_named_part_of_the_environment_is_passed() {
    let input = json!({ "argv": ["env"], "env": { "GIVEN": "yes" }, "output": "lines" });
    let output = call("process", input).await.unwrap();
    let names: Vec<&str> =
        output["stdout"].as_array().unwrap().iter().filter_map(|line| line.as_str()?.split('=').next()).collect();
    assert!(names.contains(&"GIVEN") && names.contains(&"PATH"), "{names:?}");
    // Cargo sets many for its tests.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    assert!(names.iter().all(|name| ["GIVEN", "PATH", "HOME", "LANG"].contains(name)), "{names:?}");
}

#[tokio::test]
async fn input_and_directory_are_passed() {
    let dir = tempfile::tempdir().unwrap();
    let input = json!({ "argv": ["sh", "-c", "pwd; cat"], "cwd": dir.path(), "stdin": "given\n", "output": "lines" });
    let output = call("process", input).await.unwrap();
    assert_eq!(output["stdout"], json!([dir.path().canonicalize().unwrap(), "given"]));
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_is_no_failure() {
    let input = json!({ "argv": ["true"], "stdin": "x".repeat(1024 * 1024) });
    assert!(call("process", input).await.is_ok());
}

#[tokio::test]
async fn json_output_is_a_value() {
    let output = call("process", json!({ "argv": ["echo", "{\"a\": 1}"], "output": "json" })).await.unwrap();
    assert_eq!(output["stdout"], json!({ "a": 1 }));
    let failure = call("process", json!({ "argv": ["echo", "{"], "output": "json" })).await.unwrap_err();
    assert_eq!(code(&failure), "output_invalid");
}

#[tokio::test]
async fn a_failing_program_says_how_and_why() {
    let failure = run(&["sh", "-c", "echo first >&2; echo the reason >&2; exit 3"]).await.unwrap_err();
    assert_eq!((failure.error().category, code(&failure)), (ErrorCategory::ToolError, "execution_failed"));
    assert!(failure.error().is_retryable());
    assert_eq!(failure.error().message, "`sh` ended with exit code 3: the reason");
    let details = failure.error().details.as_ref().unwrap().to_json();
    assert_eq!((&details["exit_code"], &details["stderr"]), (&json!(3), &json!("first\nthe reason\n")));
    let failure = run(&["sh", "-c", "kill -9 $$"]).await.unwrap_err();
    assert_eq!(failure.error().details.as_ref().unwrap().to_json()["signal"], 9);
}

#[tokio::test]
async fn an_exit_code_may_be_allowed() {
    let input = json!({ "argv": ["sh", "-c", "exit 1"], "allow_exit_codes": [0, 1] });
    assert_eq!(call("process", input).await.unwrap()["exit_code"], 1);
}

#[tokio::test]
async fn what_cannot_be_run_is_said_plainly() {
    assert_eq!(code(&run(&["no-such-program-here"]).await.unwrap_err()), "not_found");
    assert_eq!(code(&run(&["/etc/passwd"]).await.unwrap_err()), "permission_denied");
    assert_eq!(code(&run(&[]).await.unwrap_err()), "invalid_input");
    assert_eq!(code(&run(&["echo", "a\0b"]).await.unwrap_err()), "invalid_input");
    for wrong in [
        json!({ "argv": ["true"], "cwd": "/no/such/place" }),
        json!({ "argv": ["true"], "env": { "A=B": "c" } }),
        json!({ "argv": ["true"], "max_output_bytes": 0 }),
    ] {
        assert_eq!(code(&call("process", wrong.clone()).await.unwrap_err()), "invalid_input", "{wrong}");
    }
}

#[tokio::test]
async fn output_beyond_its_limit_ends_the_program_and_names_the_limit() {
    for pipe in ["stdout", "stderr"] {
        let script = if pipe == "stdout" { "exec yes" } else { "exec yes >&2" };
        let input = json!({ "argv": ["sh", "-c", script], "max_output_bytes": 1000 });
        let failure = call("process", input).await.unwrap_err();
        assert_eq!(code(&failure), "output_invalid");
        assert!(failure.error().message.contains(&format!("1000 bytes to {pipe} (max_output_bytes)")), "{failure}");
    }
    let exact = json!({ "argv": ["printf", "%01000d", "0"], "max_output_bytes": 1000 });
    assert!(call("process", exact).await.is_ok());
}

#[tokio::test]
async fn output_beyond_its_limit_ends_a_program_that_never_reads_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo $$ > pid; yes; sleep 1000";
    let input = json!({
        "argv": ["sh", "-c", script], "cwd": dir.path(), "max_output_bytes": 1000, "stdin": "x".repeat(1024 * 1024),
    });
    let failure = tokio::time::timeout(crate::testing::FAR, call("process", input)).await.unwrap().unwrap_err();
    assert_eq!(code(&failure), "output_invalid");
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    until("it is gone", || !lives(&pid)).await;
}

/// Whether a process exists and is no zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn until(what: &str, mut check: impl FnMut() -> bool) {
    tokio::time::timeout(crate::testing::FAR, async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never happened: {what}"));
}

fn pids(dir: &Path) -> Option<(String, String)> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok().filter(|text| text.ends_with('\n'));
    read("child").zip(read("grandchild"))
}

/// A child that ignores TERM, with a grandchild.
const FAMILY: &str = "trap '' TERM; sleep 1000 & echo $! > grandchild; echo $$ > child; wait; wait";

#[tokio::test]
async fn a_cancelled_program_is_gone_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let context = cancelled_when(async move { until("both run", || pids(&path).is_some()).await });
    let input = json!({ "argv": ["sh", "-c", FAMILY], "cwd": dir.path() });
    let failure = call_in(&context, "process", input).await.unwrap_err();
    assert_eq!(code(&failure), "cancelled");
    let (child, grandchild) = pids(dir.path()).unwrap();
    until("both are gone", || !lives(&child) && !lives(&grandchild)).await;
}

#[tokio::test]
async fn a_dropped_attempt_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let input = json!({ "argv": ["sh", "-c", FAMILY], "cwd": dir.path() });
    let attempt = tokio::spawn(async move { call("process", input).await });
    until("both run", || pids(dir.path()).is_some()).await;
    let (child, grandchild) = pids(dir.path()).unwrap();
    assert!(lives(&child) && lives(&grandchild));
    attempt.abort();
    until("both are gone", || !lives(&child) && !lives(&grandchild)).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_neither_holds_the_step_nor_outlives_it() {
    let dir = tempfile::tempdir().unwrap();
    let input = json!({ "argv": ["sh", "-c", "sleep 1000 & echo $!"], "cwd": dir.path() });
    let output = call("process", input).await.unwrap();
    until("it is gone", || !lives(output["stdout"].as_str().unwrap())).await;
}

#[tokio::test]
async fn a_program_asked_to_end_may_end_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let context = cancelled_when(async move { until("it runs", || path.join("ready").exists()).await });
    let script = "trap 'echo saved > saved; exit 0' TERM; touch ready; while :; do sleep 0.05; done";
    let input = json!({ "argv": ["sh", "-c", script], "cwd": dir.path() });
    assert!(call_in(&context, "process", input).await.is_err());
    assert!(dir.path().join("saved").exists());
}

#[tokio::test]
async fn a_program_that_takes_too_much_memory_is_ended_with_all_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let mut job = crate::testing::job(1, "tested", Value::Null);
    job.max_memory_mb = Some(48);
    let context = crate::builtin::tests::context_of(job);
    // The shell keeps 64 MiB in a variable.
    let script =
        format!("sleep 600 & echo $$ > {}; x=$(head -c 67108864 /dev/zero | tr '\\0' a); wait; echo $x", pid.display());
    let input = json!({ "argv": ["sh", "-c", script] });
    let failure = call_in(&context, "process", input).await.unwrap_err();
    assert_eq!((failure.error().category, code(&failure)), (ErrorCategory::QuotaExceeded, "memory_limit"), "{failure}");
    assert!(failure.error().message.contains("limits.max_memory_mb is 48"), "{failure}");
    assert!(!failure.error().is_retryable());
    let leader: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let gone = || nix::sys::signal::killpg(nix::unistd::Pid::from_raw(leader), None).is_err();
    let deadline = Instant::now() + crate::testing::FAR;
    while !gone() {
        assert!(Instant::now() < deadline, "members of the group are left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_program_within_its_memory_is_left_alone() {
    let mut job = crate::testing::job(1, "tested", Value::Null);
    job.max_memory_mb = Some(512);
    let context = crate::builtin::tests::context_of(job);
    let input = json!({ "argv": ["sh", "-c", "sleep 0.3; echo done"] });
    assert_eq!(call_in(&context, "process", input).await.unwrap()["stdout"], "done\n");
}
