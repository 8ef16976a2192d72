//! Each kind of wait, over the blow.

use std::time::Duration;

use serde_json::json;
use stepstream_shared::execution::{ExecutionState, WaitReason};
use stepstream_tests::harness::asking::Asking;
use stepstream_tests::harness::stage::Scene;
use stepstream_tests::harness::story::{Story, at};

/// A timer has fired once, not before its time.
fn fired(story: &Story, node: &str, after: Duration) {
    let (began, fired) = (story.moment("step_waiting", node), story.moment("step_completed", node));
    assert!(fired.since(began) >= after, "{:?} after {:?}: {story}", fired.since(began), after);
}

pub(crate) async fn a_timer_far_away(mut scene: Scene) -> Scene {
    let after = scene.mark("after", 0.0, json!({})).await;
    scene.last_moment().await;
    let id = scene.begin(json!({"t": {"wait": {"timer": "6s"}, "next": [{"to": "after"}]}, "after": after})).await;
    scene.is(&id, "Waiting").await;
    let struck = scene.struck().await;
    let story = scene.ends(&id, "Completed").await;
    fired(&story, "t", Duration::from_secs(6));
    assert!(story.moment("step_completed", "t") > struck.killed_at, "by another coordinator");
    assert_eq!(scene.marks("after").await, 1);
    scene
}

pub(crate) async fn a_timer_that_is_due_when_nobody_drives_it(mut scene: Scene) -> Scene {
    scene.last_moment().await;
    let id = scene.begin(json!({"t": {"wait": {"timer": "1s"}}})).await;
    scene.is(&id, "Waiting").await;
    scene.struck().await;
    fired(&scene.ends(&id, "Completed").await, "t", Duration::from_secs(1));
    scene
}

pub(crate) async fn a_signal_right_before(mut scene: Scene) -> Scene {
    let after = scene.mark("after", 0.0, json!({})).await;
    let nodes = json!({
        "one": {"wait": {"signal": "go"}, "next": [{"to": "after"}]},
        "two": {"wait": {"signal": "go"}, "next": [{"to": "after"}]},
        "after": after,
    });
    let id = scene.begin(nodes).await;
    scene.waits(&id, 2).await;
    scene.last_moment().await;
    let go = Asking::signal("go", 1).key("order-1");
    scene.victim().await.says(&id, go.clone(), 202).await;
    let struck = scene.struck().await;
    // Whoever sent it may believe that it was lost.
    struck.api.says(&id, go.clone(), 202).await;
    scene.waits(&id, 1).await;
    struck.api.says(&id, Asking::signal("go", 2).key("order-2"), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!((story.count("signal_received"), story.count("signal_delivered")), (2, 2), "{story}");
    assert_eq!(scene.marks("after").await, 1);
    scene
}

pub(crate) async fn a_signal_after(mut scene: Scene) -> Scene {
    let after = scene.mark("after", 0.0, json!({})).await;
    let id = scene.begin(json!({"w": {"wait": {"signal": "go"}, "next": [{"to": "after"}]}, "after": after})).await;
    scene.is(&id, "Waiting").await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::signal("go", json!({"n": 1})), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.count("signal_delivered"), 1, "{story}");
    assert_eq!(scene.marks("after").await, 1);
    scene
}

pub(crate) async fn a_signal_that_came_early(mut scene: Scene) -> Scene {
    let nodes = json!({
        "gate": {"wait": {"signal": "open"}, "next": [{"to": "w"}]},
        "w": {"wait": {"signal": "go"}},
    });
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.victim().await.says(&id, Asking::signal("go", 7), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::signal("open", 0), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.loaded.execution.output().to_json(), json!(7), "{story}");
    assert_eq!(story.count("signal_delivered"), 2, "{story}");
    scene
}

pub(crate) async fn an_approval_by_two(mut scene: Scene) -> Scene {
    let after = scene.mark("after", 0.0, json!({})).await;
    let wait = json!({"approval": {"assignees": ["ada", "bob", "cy"], "quorum": 2}});
    let id = scene.begin(json!({"ok": {"wait": wait, "next": [{"to": "after"}]}, "after": after})).await;
    scene.is(&id, "Waiting").await;
    let ada = Asking::decide("ok", true).by("ada");
    scene.victim().await.says(&id, ada.clone().key("ada-1"), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&id, ada.clone().key("ada-1"), 202).await;
    struck.api.says(&id, ada.key("ada-2"), 409).await;
    struck.api.says(&id, Asking::decide("ok", true).by("eve"), 403).await;
    struck.api.says(&id, Asking::decide("ok", true).by("bob"), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.count("approval_decided"), 2, "{story}");
    assert_eq!(scene.marks("after").await, 1);
    scene
}

pub(crate) async fn an_answer_by_a_person(mut scene: Scene) -> Scene {
    let wait = json!({"input": {"from": ["ada"], "form": {"type": "object", "required": ["size"]}}});
    let id = scene.begin(json!({"ask": {"wait": wait}})).await;
    scene.is(&id, "Waiting").await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::answer("ask", json!({"size": 1})).by("bob"), 403).await;
    struck.api.says(&id, Asking::answer("ask", json!({})).by("ada"), 400).await;
    let answer = Asking::answer("ask", json!({"size": 3})).by("ada").key("answer");
    let (first, second) = tokio::join!(struck.api.ask(&id, &answer), struck.api.ask(&id, &answer));
    assert_eq!((first.expect("an answer").0, second.expect("an answer").0), (202, 202));
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.count("input_received"), 1, "{story}");
    assert_eq!(story.loaded.execution.output().to_json(), json!({"size": 3}));
    scene
}

pub(crate) async fn an_answer_by_a_program(mut scene: Scene) -> Scene {
    let id = scene.begin(json!({"out": {"wait": {"external": true}}})).await;
    scene.is(&id, "Waiting").await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::decide("out", true), 409).await;
    struck.api.says(&id, Asking::answer("out", "done"), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.count("input_received"), 1, "{story}");
    scene
}

pub(crate) async fn a_program_that_gives_up(mut scene: Scene) -> Scene {
    let sorry = scene.mark("sorry", 0.0, json!({})).await;
    let nodes = json!({"out": {"wait": {"external": true}, "next": [{"to": "sorry", "catch": "any"}]}, "sorry": sorry});
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.last_moment().await;
    scene.victim().await.says(&id, Asking::gives_up("out").key("gone"), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::gives_up("out").key("gone"), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.of_node("step_failed", "out").count(), 1, "{story}");
    assert_eq!(scene.marks("sorry").await, 1);
    scene
}

pub(crate) async fn a_wait_that_times_out(mut scene: Scene) -> Scene {
    let late = scene.mark("late", 0.0, json!({})).await;
    let wait = json!({"approval": true, "timeout": "2s"});
    scene.last_moment().await;
    let nodes = json!({"ok": {"wait": wait, "next": [{"to": "late", "catch": ["Timeout"]}]}, "late": late});
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.struck().await;
    let story = scene.ends(&id, "Completed").await;
    let waited = story.moment("step_failed", "ok").since(story.moment("step_waiting", "ok"));
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(scene.marks("late").await, 1);
    scene
}

pub(crate) async fn messages_for_a_later_step(mut scene: Scene) -> Scene {
    let nodes = json!({
        "gate": {"wait": {"signal": "open"}, "next": [{"to": "reader"}]},
        "reader": {"task": "echo", "inbox": true, "next": [{"to": "second"}]},
        "second": {"task": "echo", "inbox": true},
    });
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.victim().await.says(&id, Asking::guidance("early").key("early"), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&id, Asking::guidance("early").key("early"), 202).await;
    struck.api.says(&id, Asking::guidance("late"), 202).await;
    struck.api.says(&id, Asking::signal("open", 0), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!((story.count("inbox_received"), story.count("inbox_delivered")), (2, 1), "{story}");
    scene
}

pub(crate) async fn a_held_execution(mut scene: Scene) -> Scene {
    let first = scene.mark("first", 1.5, json!({"next": [{"to": "second"}]})).await;
    let second = scene.mark("second", 0.0, json!({})).await;
    let id = scene.begin(json!({"first": first, "second": second})).await;
    scene.until(&id, |loaded| (loaded.execution.at_work() == 1).then_some(())).await;
    scene.victim().await.says(&id, Asking::hold(), 202).await;
    let struck = scene.struck().await;
    // What a worker had ends, whoever drives it, and nothing begins.
    scene.completed(&id, 1).await;
    let held = ExecutionState::Waiting(WaitReason::External);
    scene.until(&id, |loaded| (loaded.execution.state() == held).then_some(())).await;
    struck.api.says(&id, Asking::hold(), 409).await;
    assert_eq!(scene.marks("second").await, 0);
    struck.api.says(&id, Asking::input().key("given"), 202).await;
    struck.api.says(&id, Asking::input().key("given"), 202).await;
    let story = scene.ends(&id, "Completed").await;
    let given = story.all("input_received").map(at).next().expect("it was given");
    assert!(story.moment("step_completed", "second") > given, "{story}");
    assert_eq!((scene.marks("first").await, scene.marks("second").await), (1, 1));
    scene
}

pub(crate) async fn a_budget_that_is_used_up(mut scene: Scene) -> Scene {
    let after = scene.mark("after", 0.0, json!({})).await;
    let usage = json!({"usage": {"model": "small-model", "prompt_tokens": 4, "completion_tokens": 6, "cost": "0.02"}});
    let spends = json!({"task": "note", "with": {"notes": [usage]}, "next": [{"to": "after"}]});
    let document = json!({
        "limits": {"cost_usd": "0.01", "on_limit": "approve"},
        "nodes": {"spends": spends, "after": after},
    });
    let id = scene.begin_with(document, &[]).await;
    let held = ExecutionState::Waiting(WaitReason::CostThreshold);
    scene.until(&id, |loaded| (loaded.execution.state() == held).then_some(())).await;
    let struck = scene.struck().await;
    assert_eq!(scene.marks("after").await, 0);
    struck.api.says(&id, Asking::budget("1.00").key("more"), 202).await;
    struck.api.says(&id, Asking::budget("1.00").key("more"), 202).await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!((story.count("budget_set"), story.count("usage_recorded")), (1, 1), "{story}");
    assert_eq!(scene.marks("after").await, 1);
    scene
}
