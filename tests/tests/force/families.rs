//! Parents and children, driven by different coordinators.

use serde_json::json;
use stepstream_coordinator::reading::Loaded;
use stepstream_tests::harness::api::Api;
use stepstream_tests::harness::asking::Asking;
use stepstream_tests::harness::stage::Scene;

/// More than enough for a parent and a child of different coordinators.
const TRIES: usize = 24;

/// Begins parents until one and its child are driven by different coordinators; gives all pairs, that one last.
async fn apart(scene: &mut Scene, parent_is_victims: bool) -> Vec<(String, String)> {
    let leaf = format!("leaf-of-{}", scene.name);
    scene.knows(&leaf, json!({"w": {"wait": {"signal": "go"}}})).await;
    let after = scene.mark("after", 0.0, json!({})).await;
    let nodes = json!({"k": {"graph": &leaf, "next": [{"to": "after"}]}, "after": after});
    let api = if parent_is_victims { scene.victim().await } else { scene.bystander().await };
    let mut pairs = Vec::new();
    for _ in 0..TRIES {
        let parent = scene.begin_at(&api, json!({"nodes": nodes}), &[]).await;
        let child = scene.until(&parent, |loaded| running(loaded, 1, &leaf)).await.remove(0);
        scene.is(&child, "Waiting").await;
        let found = scene.is_victims(&child).await != parent_is_victims;
        pairs.push((parent, child));
        if found {
            return pairs;
        }
    }
    panic!("{}: no child of another coordinator in {TRIES} tries", scene.name);
}

async fn all_end(scene: &Scene, pairs: &[(String, String)], api: &Api) {
    // The child ends at once where its coordinator lives, and nobody drives its parent then.
    for (_, child) in pairs.iter().rev() {
        api.says(child, Asking::signal("go", 1).key("go"), 202).await;
    }
    for (parent, child) in pairs {
        scene.ends(child, "Completed").await;
        let story = scene.ends(parent, "Completed").await;
        assert_eq!((story.count("child_started"), story.count("child_finished")), (1, 1), "{story}");
    }
    assert_eq!(scene.marks("after").await, pairs.len());
}

pub(crate) async fn a_child_of_a_lost_parent(mut scene: Scene) -> Scene {
    let pairs = apart(&mut scene, true).await;
    let struck = scene.struck().await;
    all_end(&scene, &pairs, &struck.api).await;
    scene
}

pub(crate) async fn a_lost_child(mut scene: Scene) -> Scene {
    let pairs = apart(&mut scene, false).await;
    let struck = scene.struck().await;
    all_end(&scene, &pairs, &struck.api).await;
    scene
}

/// The children of a graph that run, once there are so many.
fn running(loaded: &Loaded, count: usize, graph: &str) -> Option<Vec<String>> {
    let of = loaded.execution.children().filter(|(_, child)| child.graph() == graph);
    let started = of.filter(|(_, child)| child.state().name() == "Running");
    let ids: Vec<String> = started.map(|(_, child)| child.id().to_string()).collect();
    (ids.len() == count).then_some(ids)
}

pub(crate) async fn children_that_are_wanted_right_before(mut scene: Scene) -> Scene {
    scene.knows("wanted", json!({"w": {"wait": {"signal": "go"}}})).await;
    let child = json!({"graph": "wanted"});
    let nodes = json!({
        "gate": {"wait": {"signal": "open"}, "next": [{"to": "a"}, {"to": "b"}, {"to": "c"}, {"to": "d"}]},
        "a": child, "b": child, "c": child, "d": child,
    });
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.last_moment().await;
    scene.victim().await.says(&id, Asking::signal("open", 0), 202).await;
    let struck = scene.struck().await;
    let children = scene.until(&id, |loaded| running(loaded, 4, "wanted")).await;
    for child in &children {
        struck.api.says(child, Asking::signal("go", 1), 202).await;
    }
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.children().len(), 4);
    assert_eq!((story.count("child_spawned"), story.count("child_finished")), (4, 4), "{story}");
    // There are no others.
    let list = struck.api.get("/v1/executions?limit=100").await.expect("an answer");
    let list: serde_json::Value = list.json().await.expect("answers are JSON");
    let items = list["items"].as_array().expect("a list");
    assert!(list["next_cursor"].is_null(), "all are on one page");
    assert_eq!(items.iter().filter(|item| item["graph"] == "wanted").count(), 4, "{list}");
    scene
}

pub(crate) async fn a_cascade_right_before(mut scene: Scene) -> Scene {
    scene.knows("deep", json!({"w": {"wait": {"signal": "go"}}})).await;
    scene.knows("middle", json!({"k": {"graph": "deep"}})).await;
    let nodes = json!({
        "a": {"graph": "middle"},
        "b": {"graph": "middle"},
        "alone": {"graph": "deep", "spawn": {"on_cancel": "detach"}},
    });
    let top = scene.begin(nodes).await;
    let middle = scene.until(&top, |loaded| running(loaded, 2, "middle")).await;
    let alone = scene.until(&top, |loaded| running(loaded, 1, "deep")).await.remove(0);
    let mut below = middle.clone();
    for id in &middle {
        below.extend(scene.until(id, |loaded| running(loaded, 1, "deep")).await);
    }
    scene.last_moment().await;
    scene.victim().await.says(&top, Asking::cancel().key("enough"), 202).await;
    let struck = scene.struck().await;
    struck.api.says(&top, Asking::cancel().key("enough"), 202).await;
    let story = scene.ends(&top, "Cancelled").await;
    let ended = story.loaded.execution.ended_at().expect("it has ended");
    for id in &below {
        let story = scene.ends(id, "Cancelled").await;
        assert!(story.loaded.execution.ended_at() <= Some(ended), "before its parent: {story}");
        assert_eq!(story.loaded.execution.reason(), Some("a test"), "{story}");
    }
    assert_eq!(story.count("child_finished"), 2, "{story}");
    struck.api.says(&alone, Asking::signal("go", 1), 202).await;
    scene.ends(&alone, "Completed").await;
    scene
}

pub(crate) async fn children_that_are_wanted_and_cancelled_at_once(mut scene: Scene) -> Scene {
    const CHILDREN: usize = 4;
    scene.knows("unwanted", json!({"w": {"wait": {"signal": "go"}}})).await;
    let nodes = json!({
        "gate": {"wait": {"signal": "open"}, "next": [{"to": "each"}]},
        "each": {"route": "all", "next": [{"to": "a"}, {"to": "b"}, {"to": "c"}, {"to": "d"}]},
        "a": {"graph": "unwanted"},
        "b": {"graph": "unwanted"},
        "c": {"graph": "unwanted", "spawn": {"on_cancel": "detach"}},
        "d": {"graph": "unwanted", "spawn": {"on_cancel": "wait_for_children"}},
    });
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.last_moment().await;
    let victim = scene.victim().await;
    victim.says(&id, Asking::signal("open", 0), 202).await;
    victim.says(&id, Asking::cancel(), 202).await;
    let struck = scene.struck().await;
    // Whatever becomes of them, they are there: nobody can tell an execution that was never started from one that is late.
    let children = scene
        .until(&id, |loaded| {
            let there = loaded.execution.children().filter(|(_, child)| child.state().name() != "Wanted");
            let there: Vec<(u32, String)> = there.map(|(step, child)| (step, child.id().to_string())).collect();
            (there.len() == CHILDREN).then_some(there)
        })
        .await;
    let policies: Vec<String> = scene
        .until(&id, |loaded| {
            Some(loaded.execution.children().map(|(_, child)| format!("{:?}", child.on_cancel())).collect())
        })
        .await;
    for ((_, child), policy) in children.iter().zip(&policies) {
        if policy == "CascadeCancel" {
            scene.ends(child, "Cancelled").await;
        } else {
            struck.api.says(child, Asking::signal("go", 1), 202).await;
            scene.ends(child, "Completed").await;
        }
    }
    let story = scene.ends(&id, "Cancelled").await;
    assert_eq!((story.count("child_spawned"), story.count("child_started")), (CHILDREN, CHILDREN), "{story}");
    scene
}

pub(crate) async fn background_children_right_before(mut scene: Scene) -> Scene {
    scene.knows("behind", json!({"w": {"wait": {"signal": "go"}}})).await;
    let nodes = json!({
        "gate": {"wait": {"signal": "open"}, "next": [{"to": "a"}, {"to": "b"}]},
        "a": {"graph": "behind", "spawn": {"background": true}},
        "b": {"graph": "behind", "spawn": {"background": true}},
    });
    let id = scene.begin(nodes).await;
    scene.is(&id, "Waiting").await;
    scene.last_moment().await;
    scene.victim().await.says(&id, Asking::signal("open", 0), 202).await;
    let struck = scene.struck().await;
    let story = scene.ends(&id, "Completed").await;
    assert_eq!(story.count("child_started"), 2, "{story}");
    for child in story.children() {
        struck.api.says(&child, Asking::signal("go", 1), 202).await;
        scene.ends(&child, "Completed").await;
    }
    scene
}
