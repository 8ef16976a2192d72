//! Executions that nobody stands by, when coordinators are killed: each attempt begins once, what is deferred starts once,
//! and whoever is to be called back is called.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stepstream_coordinator::reading::Loaded;
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::execution::Rest;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;
use stepstream_tests::harness::api::Api;
use stepstream_tests::harness::fleet::Fleet;
use stepstream_tests::harness::receiver::{Call, Receiver};
use stepstream_tests::harness::story::{Story, at};
use stepstream_tests::poll;

use crate::storm::Chance;

/// Executions whose first callback is held, refused, or answered while their coordinator is killed.
const EACH: usize = 4;
const COORDINATORS: usize = 2;
/// More executions than any test here begins.
const MOST: u32 = 1000;

/// Begins an execution in the background through a coordinator, which then drives it.
async fn begin(api: &Api, nodes: &Value, background: &Value) -> String {
    let graph = json!({"stepstream": 1, "name": "unattended", "nodes": nodes});
    let body = json!({"graph": graph, "background": background});
    let answer = api.request(Method::POST, "/v1/executions").json(&body).send().await;
    let answer: Value = answer.expect("the coordinator answers").json().await.expect("answers are JSON");
    answer["execution_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Waits until this is so, by the log.
async fn until<T>(fleet: &Fleet, id: &str, what: &str, check: impl Fn(&Loaded) -> Option<T>) -> T {
    let (reader, tenant) = (fleet.reader(), TenantId::default_tenant());
    let execution: ExecutionId = id.parse().expect("an id");
    poll::until(&format!("{id}: {what}"), async || check(&reader.load(&tenant, execution, None).await.ok()?)).await
}

/// Waits until it has ended and owes nothing any more.
async fn settled(fleet: &Fleet, id: &str) -> Story {
    until(fleet, id, "is over", |loaded| (loaded.execution.rest() == Rest::Over).then_some(())).await;
    Story::of(&fleet.reader(), id).await
}

/// Kills one and has another one come.
async fn replaced(fleet: &mut Fleet, victim: usize) -> Api {
    fleet.coordinators[victim].kill9().await;
    fleet.add_coordinator().await
}

/// What came of an execution, of which everything is under one id, signed, and says the same.
fn told(receiver: &Receiver, id: &str) -> Vec<Call> {
    let calls: Vec<Call> =
        receiver.calls().into_iter().filter(|call| call.body["data"]["execution_id"] == json!(id)).collect();
    for call in &calls {
        assert!(call.is_signed, "{call:?}");
        assert!(!call.id.is_empty() && call.id == calls[0].id, "one id: {calls:?}");
        assert_eq!(call.body, calls[0].body);
    }
    calls
}

pub(crate) async fn callbacks(mut fleet: Fleet) {
    let receiver = Receiver::start(vec![200]).await;
    let nodes = json!({"a": {"task": "echo", "with": 7}});
    let (mut held, mut refused, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    for blow in 0..COORDINATORS {
        let victim = fleet.api(blow);
        let (held_before, refused_before) = (held.len(), refused.len());
        for _ in 0..EACH {
            held.push(begin(&victim, &nodes, &json!({"callback_url": receiver.holding_url()})).await);
            refused.push(begin(&victim, &nodes, &json!({"callback_url": receiver.refusing_url()})).await);
        }
        poll::until("each first callback has come", async || {
            let mut fresh = held[held_before..].iter().chain(&refused[refused_before..]);
            fresh.all(|id| !told(&receiver, id).is_empty()).then_some(())
        })
        .await;
        // Of these, the blow comes anywhere between the end and the record of what was answered.
        for _ in 0..EACH {
            answered.push(begin(&victim, &nodes, &json!({"callback_url": receiver.url()})).await);
        }
        let ended = |loaded: &Loaded| loaded.execution.state().is_terminal().then_some(());
        until(&fleet, &answered[answered.len() - EACH], "ended", ended).await;
        for id in &held[held_before..] {
            let story = Story::of(&fleet.reader(), id).await;
            assert_eq!(story.count("callback_delivered"), 0, "nobody has answered: {story}");
        }
        replaced(&mut fleet, blow).await;
        for id in held.iter().chain(&refused).chain(&answered) {
            settled(&fleet, id).await;
        }
    }
    let mut ids = BTreeSet::new();
    for (all, least) in [(&held, 2), (&refused, 2), (&answered, 1)] {
        for id in all {
            let (story, calls) = (settled(&fleet, id).await, told(&receiver, id));
            assert!(calls.len() >= least, "{calls:?}, {story}");
            assert_eq!(calls[0].body["type"], "execution.completed");
            assert_eq!(calls[0].body["data"]["output"], json!(7));
            assert_eq!((story.count("callback_delivered"), story.count("callback_given_up")), (1, 0), "{story}");
            ids.insert(calls[0].id.clone());
        }
    }
    assert_eq!(ids.len(), held.len() + refused.len() + answered.len(), "each has its own id");
    println!("{} callbacks for {} executions", receiver.calls().len(), ids.len());
}

pub(crate) async fn attempts(mut fleet: Fleet, seed: u64) {
    const FIRST: usize = 6;
    const ATTEMPTS: usize = 4;
    const BLOWS: usize = 4;
    let mut chance = Chance(seed);
    let receiver = Receiver::start(vec![200]).await;
    let fails = json!({"a": {
        "task": "fail", "with": {"category": "NetworkError", "message": "down"}, "retry": {"max_attempts": 1},
    }});
    let mut first = Vec::new();
    for number in 0..FIRST {
        let callback = if number % 2 == 0 { receiver.url() } else { receiver.refusing_url() };
        let retry = json!({"max_attempts": ATTEMPTS, "backoff_ms": 1000, "backoff_multiplier": 1.5});
        let asked = json!({"retry": retry, "callback_url": callback});
        first.push(begin(&fleet.api(number % COORDINATORS), &fails, &asked).await);
    }
    let mut living: Vec<usize> = (0..fleet.coordinators.len()).collect();
    for _ in 0..BLOWS {
        tokio::time::sleep(Duration::from_millis(chance.below(1500) as u64)).await; // Where it hits is chance.
        let victim = living.swap_remove(chance.below(living.len()));
        living.push(fleet.coordinators.len());
        replaced(&mut fleet, victim).await;
    }
    let (mut all, mut last) = (BTreeSet::new(), BTreeSet::new());
    for id in first {
        let mut this = id;
        for attempt in 1..=ATTEMPTS {
            let story = settled(&fleet, &this).await;
            assert_eq!(story.state().name(), "Failed", "{story}");
            assert!(all.insert(this.clone()), "{this} is an attempt at one thing");
            assert_eq!((story.count("execution_created"), story.count("execution_started")), (1, 1), "{story}");
            let run = story.loaded.execution.background().expect("in the background");
            assert_eq!(run.config().attempt as usize, attempt, "{story}");
            let calls = told(&receiver, &this);
            let followed = usize::from(attempt < ATTEMPTS);
            assert_eq!(story.count("background_retry_started"), followed, "{story}");
            assert_eq!(story.count("callback_delivered"), 1 - followed, "the last one alone calls back: {story}");
            assert_eq!(calls.is_empty(), followed == 1, "{calls:?}");
            let Some(next) = run.next() else {
                assert_eq!(calls[0].body["type"], "execution.failed");
                last.insert(calls[0].id.clone());
                break;
            };
            this = next.execution.to_string();
        }
    }
    assert_eq!((all.len(), last.len()), (FIRST * ATTEMPTS, FIRST), "as many as were asked for");
    let listed = fleet.reader().list(&TenantId::default_tenant(), None, None, MOST).await.expect("PostgreSQL answers");
    let listed: BTreeSet<String> = listed.iter().map(|row| row.execution.to_string()).collect();
    assert_eq!(listed, all, "there are no others");
}

pub(crate) async fn deferred(mut fleet: Fleet) {
    const MANY: u64 = 12;
    /// Moments are so far apart; blows come at every fourth.
    const APART: Duration = Duration::from_millis(500);
    let file = fleet.file("deferred");
    let begun = SystemClock.now();
    let mut all: Vec<(String, Timestamp)> = Vec::new();
    for number in 0..MANY {
        let script = format!("echo {number} >> '{}'", file.display());
        let nodes = json!({"a": {"task": "process", "with": {"argv": ["sh", "-c", script]}}});
        let moment = begun.after(Duration::from_secs(2) + APART * u32::try_from(number).expect("few"));
        // All by the one that is killed first.
        all.push((begin(&fleet.api(0), &nodes, &json!({"run_at": moment})).await, moment));
    }
    for (victim, (_, moment)) in all.iter().step_by(4).enumerate() {
        tokio::time::sleep(moment.since(SystemClock.now())).await; // Right at a moment.
        replaced(&mut fleet, victim).await;
    }
    for (id, moment) in &all {
        let story = settled(&fleet, id).await;
        assert_eq!(story.state().name(), "Completed", "{story}");
        for once in ["background_queued", "execution_started", "step_scheduled", "step_completed"] {
            assert_eq!(story.count(once), 1, "{once}: {story}");
        }
        let started = story.all("execution_started").map(at).next().expect("counted");
        assert!(started >= *moment, "not before its moment: {story}");
    }
    let text = std::fs::read_to_string(&file).expect("steps have run");
    let mut marks: Vec<u64> = text.lines().map(|line| line.parse().expect("a number")).collect();
    marks.sort_unstable();
    assert_eq!(marks, (0..MANY).collect::<Vec<_>>(), "each ran once");
}
