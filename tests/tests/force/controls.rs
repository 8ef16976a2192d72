//! Each control, over the blow.

use std::time::Duration;

use serde_json::json;
use stepstream_tests::harness::asking::Asking;
use stepstream_tests::harness::stage::Scene;
use stepstream_tests::harness::story::at;

pub(crate) async fn a_pause_over_a_running_attempt_and_a_queued_job(mut scene: Scene) -> Scene {
    // Nobody serves this queue until the execution is paused and its coordinator gone.
    const QUEUE: &str = "late";
    const TIMER: Duration = Duration::from_secs(3);
    let runs = scene.mark("runs", 3.0, json!({"next": [{"to": "next"}]})).await;
    let next = scene.mark("next", 0.0, json!({})).await;
    let queued = scene.mark("queued", 0.0, json!({"queue": QUEUE})).await;
    let probe = scene.mark("probe", 0.0, json!({"queue": QUEUE})).await;
    let nodes = json!({"runs": runs, "next": next, "queued": queued, "timer": {"wait": {"timer": "3s"}}});
    let id = scene.begin(nodes).await;
    scene.until(&id, |loaded| (loaded.execution.at_work() == 1).then_some(())).await;
    scene.victim().await.says(&id, Asking::pause(), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::pause(), 409).await;
    scene.until(&id, |loaded| loaded.execution.is_quiescent().then_some(())).await;
    assert_eq!((scene.marks("runs").await, scene.marks("next").await), (1, 0), "what ran has ended");
    let worker = scene.worker_of(QUEUE).await;
    let other = scene.begin_at(&struck.api, json!({"nodes": {"probe": probe}}), &[]).await;
    scene.ends(&other, "Completed").await;
    assert_eq!(scene.marks("queued").await, 0, "what came to the queue later was run, and this not");
    struck.api.says(&id, Asking::resume().key("on"), 202).await;
    struck.api.says(&id, Asking::resume().key("on"), 202).await;
    let story = scene.ends(&id, "Completed").await;
    drop(worker);
    assert_eq!(story.count("execution_quiescent"), 1, "{story}");
    let paused = story.all("execution_paused").map(at).next().expect("it was paused");
    let resumed = story.all("execution_resumed").map(at).next().expect("it was resumed");
    let ran = paused.since(story.moment("step_waiting", "timer"));
    let fired = story.moment("step_completed", "timer");
    assert!(fired.since(resumed) >= TIMER.saturating_sub(ran), "its time stood still: {story}");
    for mark in ["runs", "next", "queued"] {
        assert_eq!(scene.marks(mark).await, 1, "{mark}");
    }
    scene
}

pub(crate) async fn a_pause_right_before(mut scene: Scene) -> Scene {
    let (first, second) = (
        scene.mark("first", 1.0, json!({"next": [{"to": "second"}]})).await,
        scene.mark("second", 0.0, json!({})).await,
    );
    scene.last_moment().await;
    let id = scene.begin(json!({"first": first, "second": second})).await;
    scene.victim().await.says(&id, Asking::pause().key("stop"), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::pause().key("stop"), 202).await;
    scene.until(&id, |loaded| loaded.execution.is_quiescent().then_some(())).await;
    assert_eq!(scene.marks("second").await, 0);
    struck.api.says(&id, Asking::resume(), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!((story.count("execution_paused"), story.count("execution_quiescent")), (1, 1), "{story}");
    assert_eq!((scene.marks("first").await, scene.marks("second").await), (1, 1));
    scene
}

pub(crate) async fn a_cancellation_half_way_through_its_undoing(mut scene: Scene) -> Scene {
    const STEPS: usize = 4;
    let mut nodes = serde_json::Map::new();
    for n in 0..STEPS {
        let next = if n + 1 < STEPS { format!("s{}", n + 1) } else { "w".to_owned() };
        let undo = scene.mark(&format!("undo-s{n}"), 0.6, json!({})).await;
        nodes.insert(format!("s{n}"), json!({"task": "echo", "undo": undo, "next": [{"to": next}]}));
    }
    nodes.insert("w".to_owned(), json!({"wait": {"external": true}}));
    let id = scene.begin(nodes.into()).await;
    scene.is(&id, "Waiting").await;
    scene.last_moment().await;
    scene.victim().await.says(&id, Asking::cancel(), 202).await;
    scene
        .until(&id, |loaded| loaded.execution.compensation().is_some_and(|one| one.undone().done >= 1).then_some(()))
        .await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::cancel(), 409).await;
    let story = scene.ends(&id, "Cancelled").await;
    let undone: Vec<_> = story.all("step_completed").filter(|event| !event["undoes"].is_null()).collect();
    let order: Vec<_> = undone.iter().filter_map(|event| event["node"].as_str()).collect();
    assert_eq!(order, ["s3", "s2", "s1", "s0"], "{story}");
    assert!(at(undone[STEPS - 1]) > struck.killed_at, "it was half way: {story}");
    assert_eq!(scene.all_marks().await, ["undo-s3", "undo-s2", "undo-s1", "undo-s0"]);
    scene
}

pub(crate) async fn a_breakpoint_that_was_reached(mut scene: Scene) -> Scene {
    let (first, second) = (
        scene.mark("first", 0.0, json!({"next": [{"to": "second"}]})).await,
        scene.mark("second", 0.0, json!({})).await,
    );
    let id = scene.begin_with(json!({"nodes": {"first": first, "second": second}}), &["second"]).await;
    scene.is(&id, "Paused").await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::pause(), 409).await;
    assert_eq!(scene.marks("second").await, 0);
    struck.api.says(&id, Asking::resume(), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!((story.count("execution_paused"), story.count("execution_quiescent")), (1, 1), "{story}");
    assert_eq!((scene.marks("first").await, scene.marks("second").await), (1, 1));
    scene
}

pub(crate) async fn a_breakpoint_set_right_before(mut scene: Scene) -> Scene {
    let second = scene.mark("second", 0.0, json!({})).await;
    let nodes = json!({"gate": {"wait": {"signal": "open"}, "next": [{"to": "second"}]}, "second": second});
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.last_moment().await;
    scene.victim().await.says(&id, Asking::breakpoint("second", true), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::breakpoint("second", true), 202).await;
    struck.api.says(&id, Asking::signal("open", 0), 202).await;
    scene.is(&id, "Paused").await;
    assert_eq!(scene.marks("second").await, 0);
    struck.api.says(&id, Asking::resume(), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!((story.count("breakpoint_set"), story.count("execution_paused")), (1, 1), "{story}");
    assert_eq!(scene.marks("second").await, 1);
    scene
}

pub(crate) async fn a_pause_after_failures(mut scene: Scene) -> Scene {
    let fails = json!({
        "task": "fail", "with": {"category": "NetworkError", "message": "down", "until_attempt": 3},
        "retry": {"max_attempts": 5, "backoff": "constant", "base": "50ms", "max": "50ms"},
    });
    let id = scene.begin_with(json!({"limits": {"pause_after_failures": 2}, "nodes": {"a": fails}}), &[]).await;
    scene.is(&id, "Paused").await;
    let struck = scene.struck().await;
    scene.until(&id, |loaded| loaded.execution.is_quiescent().then_some(())).await;
    struck.api.says(&id, Asking::resume(), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!((story.count("step_retry_scheduled"), story.count("execution_paused")), (2, 1), "{story}");
    scene
}

pub(crate) async fn failures_counted_over_the_blow(mut scene: Scene) -> Scene {
    let fails = json!({
        "task": "fail", "with": {"category": "NetworkError", "message": "down", "until_attempt": 3},
        "retry": {"max_attempts": 5, "backoff": "constant", "base": "4s", "max": "4s"},
    });
    scene.last_moment().await;
    let id = scene.begin_with(json!({"limits": {"pause_after_failures": 2}, "nodes": {"a": fails}}), &[]).await;
    scene
        .until(&id, |loaded| {
            loaded
                .execution
                .open_steps()
                .next()
                .filter(|_| loaded.execution.step(0).is_some_and(|step| step.error().is_some()))
                .map(drop)
        })
        .await;
    let struck = scene.struck().await;
    scene.is(&id, "Paused").await;
    struck.api.says(&id, Asking::resume(), 202).await;
    let story = scene.ends(&id, "Completed").await;
    let failures: Vec<_> = story.all("step_retry_scheduled").map(at).collect();
    assert_eq!(failures.len(), 2, "{story}");
    assert!(failures[0] < struck.killed_at && struck.killed_at < failures[1], "one before, one after: {story}");
    assert_eq!(story.count("execution_paused"), 1, "{story}");
    scene
}

pub(crate) async fn queued_jobs_paused_right_before(mut scene: Scene) -> Scene {
    const QUEUE: &str = "later";
    const MANY: usize = 12;
    let queued = scene.mark("queued", 0.0, json!({"queue": QUEUE})).await;
    let probe = scene.mark("probe", 0.0, json!({"queue": QUEUE})).await;
    let mut ids = Vec::new();
    for _ in 0..MANY {
        ids.push(scene.begin(json!({"queued": queued})).await);
    }
    scene.last_moment().await;
    let victim = scene.victim().await;
    let asking = ids.iter().map(|id| victim.says(id, Asking::pause(), 202));
    futures::future::join_all(asking).await;
    let struck = scene.struck().await;
    for id in &ids {
        scene.until(id, |loaded| loaded.execution.is_quiescent().then_some(())).await;
    }
    let worker = scene.worker_of(QUEUE).await;
    let other = scene.begin_at(&struck.api, json!({"nodes": {"probe": probe}}), &[]).await;
    scene.ends(&other, "Completed").await;
    for id in &ids {
        struck.api.says(id, Asking::resume(), 202).await;
    }
    for id in &ids {
        scene.ends(id, "Completed").await;
    }
    drop(worker);
    // Most were taken off the bus in time and all others were there: each ran, and once.
    assert_eq!(scene.marks("queued").await, MANY);
    scene
}
