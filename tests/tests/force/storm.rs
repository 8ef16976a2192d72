//! Requests that mean something and requests that mean nothing, by several clients at once, from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepstream_coordinator::reading::Loaded;
use stepstream_shared::event::Wait;
use stepstream_shared::execution::ExecutionState;
use stepstream_shared::id::TenantId;
use stepstream_tests::harness::api::Api;
use stepstream_tests::harness::asking::Asking;
use stepstream_tests::harness::fleet::Fleet;
use stepstream_tests::harness::story::Story;
use stepstream_tests::poll;

/// Executions of each graph.
const EACH: usize = 6;
const CLIENTS: u64 = 6;
/// Requests of each client, half of them before the kill.
const REQUESTS: usize = 150;
/// Far beyond any healthy run.
const PATIENCE: Duration = Duration::from_secs(60);
const PEOPLE: [&str; 4] = ["ada", "bob", "cy", "eve"];
/// Of each graph, as [`documents`] has them.
const NODES: [&[&str]; 7] = [
    &["a", "ok", "ok", "ok", "b"],
    &["ask", "out", "b"],
    &["sig", "again", "b"],
    &["spend", "b"],
    &["k", "b"],
    &["a", "b"],
    &["sig"],
];
/// Of those, the one with children, and the children.
const PARENTS: usize = 4;
const CHILDREN: usize = 6;

/// A small generator: the same seed gives the same storm, as far as clients go.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).expect("below a usize")
    }

    fn word(&mut self, all: &[&'static str]) -> &'static str {
        all[self.below(all.len())]
    }
}

/// A request under a key of its own, and the last answer to it.
struct Asked {
    execution: String,
    asking: Asking,
    status: u16,
}

/// What is run: everything that can wait, hold, fail and be undone, in a few steps each.
fn documents() -> Vec<Value> {
    let usage = json!({"usage": {"model": "m", "prompt_tokens": 4, "completion_tokens": 6, "cost": "0.02"}});
    let spend = json!({"task": "note", "with": {"notes": [usage]}, "next": [{"to": "b"}]});
    let echo = json!({"task": "echo", "inbox": true, "undo": {"task": "echo"}});
    let sleep = |next: &str| json!({"task": "sleep", "with": {"seconds": 0.2}, "undo": {"task": "echo"}, "next": [{"to": next}]});
    let catch = |next: &str| json!([{"to": next}, {"to": next, "catch": "any"}]);
    vec![
        json!({"nodes": {
            "a": sleep("ok"),
            "ok": {"wait": {"approval": {"assignees": ["ada", "bob", "cy"], "quorum": 2}}, "next": catch("b")},
            "b": echo,
        }}),
        json!({"nodes": {
            "ask": {"wait": {"input": {"from": ["ada", "bob"], "form": {"type": "integer"}}}, "next": catch("out")},
            "out": {"wait": {"external": true}, "next": catch("b")},
            "b": echo,
        }}),
        json!({"nodes": {
            "a": sleep("sig"),
            "sig": {"wait": {"signal": "go"}, "next": [{"to": "t"}]},
            "t": {"wait": {"timer": "1s"}, "next": [{"to": "again"}]},
            "again": {"wait": {"signal": "go"}, "next": [{"to": "b"}]},
            "b": echo,
        }}),
        json!({
            "limits": {"cost_usd": "0.01", "on_limit": "approve"},
            "nodes": {"spend": spend, "b": echo},
        }),
        json!({"nodes": {
            "k": {"graph": "stormy-child", "next": catch("b")},
            "other": {"graph": "stormy-child", "next": catch("b")},
            "b": echo,
        }}),
        json!({
            "limits": {"pause_after_failures": 2},
            "nodes": {"a": {
                "task": "fail", "with": {"category": "NetworkError", "message": "down", "until_attempt": 3},
                "retry": {"max_attempts": 5, "backoff": "constant", "base": "300ms", "max": "300ms"},
                "next": [{"to": "b"}],
            }, "b": echo},
        }),
    ]
}

/// Mostly what means something to an execution of this graph, at some time.
fn any_request(chance: &mut Chance, kind: usize) -> Asking {
    let strange = chance.below(8) == 0;
    let node = if strange { chance.word(&["nowhere", "a", "k"]) } else { chance.word(NODES[kind]) };
    let asking = match chance.below(20) {
        0..=2 => Asking::pause(),
        3..=6 => Asking::resume(),
        7 => Asking::guidance("a word"),
        8 => Asking::breakpoint(node, chance.below(2) == 0),
        9 => Asking::budget(chance.word(&["0.01", "1.00"])),
        10 => {
            if chance.below(2) == 0 {
                Asking::hold()
            } else {
                Asking::input()
            }
        }
        11 => {
            if chance.below(6) == 0 {
                Asking::cancel()
            } else {
                Asking::answer("ask", "no number")
            }
        }
        _ if strange => Asking::signal(chance.word(&["go", "nobody waits for it"]), 1),
        _ => match node {
            "ok" => Asking::decide("ok", chance.below(5) > 0),
            "ask" => Asking::answer("ask", 1),
            "out" => {
                if chance.below(3) == 0 {
                    Asking::gives_up("out")
                } else {
                    Asking::answer("out", 1)
                }
            }
            "sig" | "again" => Asking::signal("go", 1),
            _ => Asking::resume(),
        },
    };
    asking.by(chance.word(&PEOPLE))
}

/// One client: asks, and asks again under the same key when no answer came or just so.
async fn client(
    number: u64,
    seed: u64,
    apis: Vec<Api>,
    targets: Arc<Vec<(String, usize)>>,
    asked: Arc<AtomicUsize>,
    dead: Arc<AtomicBool>,
) -> Vec<Asked> {
    let mut chance = Chance(seed ^ number.wrapping_mul(0x0051_7cc1_b727_220a));
    let mut all = Vec::new();
    for n in 0..REQUESTS {
        let (execution, kind) = targets[chance.below(targets.len())].clone();
        let asking = any_request(&mut chance, kind).key(&format!("client-{number}-{n}"));
        // Some are asked twice at once, by way of both.
        let (first, twice) = (chance.below(2), chance.below(4) == 0);
        let asks = (0..=usize::from(twice)).map(async |time| {
            let place = if dead.load(Ordering::Relaxed) { 1 } else { (first + time) % 2 };
            let answer = match apis[place].ask(&execution, &asking).await {
                // The coordinator was killed with the request in hand: the other one knows what became of it.
                Err(_) if place == 0 => apis[1].ask(&execution, &asking).await,
                other => other,
            };
            let (code, body) = answer.expect("a coordinator that lives answers");
            assert!([202, 400, 403, 404, 409, 429].contains(&code), "{asking:?} to {execution}: {code} {body}");
            code
        });
        // One that is refused may be overtaken by what makes it possible.
        let status = futures::future::join_all(asks).await.into_iter().min().expect("at least one");
        asked.fetch_add(1, Ordering::Relaxed);
        all.push(Asked { execution, asking, status });
    }
    all
}

pub(crate) async fn rages(mut fleet: Fleet, seed: u64) {
    let child = json!({"stepstream": 1, "name": "stormy-child", "nodes": {"sig": {"wait": {"signal": "go"}}}});
    let answer = fleet.api(0).request(reqwest::Method::POST, "/v1/graphs").json(&child).send().await;
    assert!(answer.expect("an answer").status().is_success());
    let mut ids = Vec::new();
    for (kind, mut document) in documents().into_iter().enumerate() {
        document["stepstream"] = json!(1);
        document["name"] = json!(format!("storm-{kind}"));
        for n in 0..EACH {
            ids.push(fleet.api(n % 2).begin(&document, &json!({})).await);
        }
    }
    let mut targets: Vec<(String, usize)> =
        ids.iter().enumerate().map(|(place, id)| (id.clone(), place / EACH)).collect();
    for id in &ids[PARENTS * EACH..(PARENTS + 1) * EACH] {
        targets.extend(children_of(&fleet, id).await.into_iter().map(|child| (child, CHILDREN)));
    }
    let targets = Arc::new(targets);
    let (asked, dead) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let apis = vec![fleet.api(0), fleet.api(1)];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(number, seed, apis.clone(), targets.clone(), asked.clone(), dead.clone())))
        .collect();
    let half = usize::try_from(CLIENTS).expect("few") * REQUESTS / 2;
    poll::until("half of it is over", async || {
        let failed = clients.iter().any(tokio::task::JoinHandle::is_finished); // Says so below.
        (failed || asked.load(Ordering::Relaxed) >= half).then_some(())
    })
    .await;
    fleet.coordinators[0].kill9().await;
    dead.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.expect("a client has no complaint"));
    }
    let ended = futures::future::join_all(ids.iter().map(|id| driven_to_its_end(&fleet, &apis[1], id))).await;
    let stories: BTreeMap<String, Story> = ended.into_iter().flatten().map(|story| (story.id.clone(), story)).collect();
    for Asked { execution, asking, status } in &all {
        let story = &stories[execution];
        let key = asking.key.as_deref().expect("each has one");
        let done = story.done_under(key);
        match (asking.what(), status) {
            // A breakpoint that is there already is there.
            ("breakpoints", 202) => assert!(done <= 1, "{asking:?}: {story}"),
            (_, 202) => assert_eq!(done, 1, "{asking:?}: {story}"),
            _ => assert_eq!(done, 0, "{asking:?} was answered {status:?}: {story}"),
        }
    }
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    all.iter().for_each(|asked| *counts.entry(asked.status).or_default() += 1);
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    stories.values().for_each(|story| *ends.entry(story.state().name()).or_default() += 1);
    println!("seed {seed}: answers {counts:?}, ends {ends:?}");
}

/// Once both have started.
async fn children_of(fleet: &Fleet, id: &str) -> Vec<String> {
    let (reader, tenant, execution) = (fleet.reader(), TenantId::default_tenant(), id.parse().expect("an id"));
    poll::until("its children have started", async || {
        let loaded = reader.load(&tenant, execution, None).await.ok()?;
        let started = loaded.execution.children().filter(|(_, child)| child.state().name() == "Running");
        let started: Vec<String> = started.map(|(_, child)| child.id().to_string()).collect();
        (started.len() == 2).then_some(started)
    })
    .await
}

/// Gives an execution and its children whatever they wait for, until they are over.
async fn driven_to_its_end(fleet: &Fleet, api: &Api, id: &str) -> Vec<Story> {
    let (reader, tenant, began) = (fleet.reader(), TenantId::default_tenant(), Instant::now());
    let mut family = vec![id.to_owned()];
    loop {
        let mut open = false;
        for id in family.clone() {
            let Ok(loaded) = reader.load(&tenant, id.parse().expect("an id"), None).await else {
                open = true; // A child that is wanted and not there yet.
                continue;
            };
            for (_, child) in loaded.execution.children() {
                let child = child.id().to_string();
                if !family.contains(&child) {
                    family.push(child);
                    open = true;
                }
            }
            if !loaded.execution.state().is_terminal() {
                open = true;
                for asking in what_it_wants(&loaded) {
                    api.ask(&id, &asking).await.expect("a coordinator that lives answers");
                }
            }
        }
        if !open {
            break;
        }
        if began.elapsed() > PATIENCE {
            panic!("it comes to no end: {}", Story::of(&reader, id).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut stories = Vec::new();
    for id in &family {
        stories.push(Story::of(&reader, id).await);
    }
    stories
}

fn what_it_wants(loaded: &Loaded) -> Vec<Asking> {
    let execution = &loaded.execution;
    if execution.state() == ExecutionState::Paused {
        return vec![Asking::resume()];
    }
    let mut wants = Vec::new();
    if execution.is_held() {
        wants.extend([Asking::budget("9.00"), Asking::input()]);
    }
    for (_, run) in execution.waits() {
        match run.wait() {
            Wait::Signal { .. } => wants.push(Asking::signal("go", 1)),
            Wait::Approval { assignees, .. } => {
                wants.extend(assignees.iter().map(|who| Asking::decide("ok", true).by(who)));
            }
            Wait::UserInput { .. } => wants.push(Asking::answer("ask", 1).by("ada")),
            Wait::External {} => wants.push(Asking::answer("out", 1)),
            _ => {}
        }
    }
    wants
}
