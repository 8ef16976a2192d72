//! What children have of their parents, when coordinators are killed: copies of messages, and a share of the purse.

use serde_json::{Value, json};
use stepstream_coordinator::reading::Loaded;
use stepstream_shared::cost::Money;
use stepstream_tests::harness::api::Api;
use stepstream_tests::harness::asking::Asking;
use stepstream_tests::harness::stage::Scene;
use stepstream_tests::harness::story::Story;

/// So many families that some are split between two coordinators, whoever is asked.
const FAMILIES: usize = 5;

/// The children that run, once there are so many.
fn children(loaded: &Loaded, count: usize) -> Option<Vec<String>> {
    let started = loaded.execution.children().filter(|(_, child)| child.state().name() == "Running");
    let ids: Vec<String> = started.map(|(_, child)| child.id().to_string()).collect();
    (ids.len() == count).then_some(ids)
}

/// What guidance an execution has in its log, in order, and how many of them came for its parent.
fn guidance(story: &Story) -> (Vec<&str>, usize) {
    let received: Vec<&Value> = story.all("inbox_received").collect();
    let inherited = received.iter().filter(|event| !event["inherited_from"].is_null()).count();
    (received.iter().filter_map(|event| event["message"]["content"].as_str()).collect(), inherited)
}

async fn heirs(scene: &mut Scene, gate: bool) -> Vec<String> {
    let heir = format!("heir-of-{}", scene.name);
    let nodes = json!({
        "w": {"wait": {"signal": "go"}, "next": [{"to": "reader"}]},
        "reader": {"task": "echo", "inbox": true},
    });
    scene.knows(&heir, nodes).await;
    let child = json!({"graph": heir, "spawn": {"inherit_inbox": true}});
    let nodes = match gate {
        true => json!({"gate": {"wait": {"signal": "open"}, "next": [{"to": "k"}]}, "k": child}),
        false => json!({"k": child}),
    };
    let mut parents = Vec::new();
    for _ in 0..FAMILIES {
        parents.push(scene.begin(nodes.clone()).await);
    }
    parents
}

/// Each child has each message of its parent once, in their order, and reads all of them.
async fn each_has_each_once(scene: &Scene, api: &Api, parents: &[String], messages: &[&str]) {
    for parent in parents {
        let child = scene.until(parent, |loaded| children(loaded, 1)).await.remove(0);
        let count = messages.len();
        scene.until(&child, move |loaded| (loaded.execution.inbox().count() == count).then_some(())).await;
        api.says(&child, Asking::signal("go", 1).key("go"), 202).await;
        let story = scene.ends(&child, "Completed").await;
        assert_eq!(guidance(&story), (messages.to_vec(), count), "{story}");
        let read = story.all("inbox_delivered").filter_map(|event| event["message_sequences"].as_array()).flatten();
        assert_eq!(read.count(), count, "{story}");
        let story = scene.ends(parent, "Completed").await;
        assert_eq!(guidance(&story), (messages.to_vec(), 0), "{story}");
        assert_eq!((story.count("child_started"), story.count("child_finished")), (1, 1), "{story}");
    }
}

pub(crate) async fn messages_for_heirs_right_before(mut scene: Scene) -> Scene {
    let parents = heirs(&mut scene, false).await;
    for parent in &parents {
        scene.until(parent, |loaded| children(loaded, 1)).await;
    }
    scene.last_moment().await;
    let victim = scene.victim().await;
    for parent in &parents {
        victim.says(parent, Asking::guidance("first").key("first"), 202).await;
    }
    let struck = scene.struck().await;
    for parent in &parents {
        // Who lost the answer asks again.
        struck.api.says(parent, Asking::guidance("first").key("first"), 202).await;
        struck.api.says(parent, Asking::guidance("second").key("second"), 202).await;
    }
    each_has_each_once(&scene, &struck.api, &parents, &["first", "second"]).await;
    scene
}

pub(crate) async fn heirs_that_are_wanted_right_before(mut scene: Scene) -> Scene {
    let parents = heirs(&mut scene, true).await;
    let victim = scene.victim().await;
    for parent in &parents {
        scene.is(parent, "Waiting").await;
        victim.says(parent, Asking::guidance("early").key("early"), 202).await;
    }
    scene.last_moment().await;
    for parent in &parents {
        victim.says(parent, Asking::signal("open", 0), 202).await;
    }
    let struck = scene.struck().await;
    for parent in &parents {
        scene.until(parent, |loaded| children(loaded, 1)).await;
        struck.api.says(parent, Asking::guidance("late").key("late"), 202).await;
    }
    each_has_each_once(&scene, &struck.api, &parents, &["early", "late"]).await;
    scene
}

const SHARE: Money = Money::from_micros(300_000);
const USED: Money = Money::from_micros(100_000);

/// Parents with a dollar, of which each of two children may spend thirty cents and spends ten.
async fn families(scene: &mut Scene, gate: bool) -> Vec<String> {
    let spender = format!("spender-of-{}", scene.name);
    let usage = json!({"usage": {"model": "m", "prompt_tokens": 7, "completion_tokens": 3, "cost": "0.10"}});
    let nodes = json!({
        "w": {"wait": {"signal": "go"}, "next": [{"to": "buy"}]},
        "buy": {"task": "note", "reserve": {"cost_usd": "0.10"}, "with": {"notes": [usage]}},
    });
    scene.knows(&spender, nodes).await;
    let child = json!({"graph": spender, "spawn": {"budget": {"cost_usd": "0.30"}}});
    let nodes = match gate {
        true => json!({
            "gate": {"wait": {"signal": "open"}, "next": [{"to": "a"}, {"to": "b"}]}, "a": child, "b": child,
        }),
        false => json!({"a": child, "b": child}),
    };
    let mut parents = Vec::new();
    for _ in 0..FAMILIES {
        let document = json!({"nodes": nodes, "limits": {"cost_usd": "1.00"}});
        parents.push(scene.begin_with(document, &[]).await);
    }
    parents
}

/// What is set aside while both children are there.
async fn shares_are_set_aside_once(scene: &Scene, parents: &[String]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for parent in parents {
        let both = scene.until(parent, |loaded| children(loaded, 2)).await;
        let story = Story::of(&scene.reader().await, parent).await;
        assert_eq!(story.loaded.execution.usage().reserved, SHARE.plus(SHARE), "{story}");
        all.push(both);
    }
    all
}

async fn the_purse_is_settled_once(scene: &Scene, parents: &[String]) {
    for parent in parents {
        let story = scene.ends(parent, "Completed").await;
        let usage = story.loaded.execution.usage();
        assert_eq!((usage.cost, usage.reserved), (USED.plus(USED), Money::ZERO), "{story}");
        assert_eq!((usage.of_children.cost, usage.tokens()), (USED.plus(USED), 20), "{story}");
        assert_eq!((story.count("child_spawned"), story.count("child_finished")), (2, 2), "{story}");
        for child in story.children() {
            let story = scene.ends(&child, "Completed").await;
            assert_eq!(story.loaded.execution.share().cost, Some(SHARE), "{story}");
            assert_eq!((story.loaded.execution.usage().cost, story.count("usage_recorded")), (USED, 1), "{story}");
        }
    }
}

pub(crate) async fn a_purse_that_is_shared_right_before(mut scene: Scene) -> Scene {
    let parents = families(&mut scene, true).await;
    for parent in &parents {
        scene.is(parent, "Waiting").await;
    }
    scene.last_moment().await;
    let victim = scene.victim().await;
    for parent in &parents {
        victim.says(parent, Asking::signal("open", 0), 202).await;
    }
    let struck = scene.struck().await;
    for child in shares_are_set_aside_once(&scene, &parents).await.concat() {
        struck.api.says(&child, Asking::signal("go", 1), 202).await;
    }
    the_purse_is_settled_once(&scene, &parents).await;
    scene
}

pub(crate) async fn a_purse_that_is_settled_right_before(mut scene: Scene) -> Scene {
    let parents = families(&mut scene, false).await;
    let all = shares_are_set_aside_once(&scene, &parents).await.concat();
    scene.last_moment().await;
    let victim = scene.victim().await;
    for child in &all {
        victim.says(child, Asking::signal("go", 1).key("go"), 202).await;
    }
    let struck = scene.struck().await;
    for child in &all {
        // Who lost the answer asks again, also of those that have ended.
        let (status, body) = struck.api.ask(child, &Asking::signal("go", 1).key("go")).await.expect("an answer");
        assert!([202, 409].contains(&status), "{child}: {status} {body}");
    }
    the_purse_is_settled_once(&scene, &parents).await;
    scene
}
