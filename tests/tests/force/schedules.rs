//! Schedules that fire every second, while whoever carries them out is killed again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::ports::{EventStore, ScheduleStore};
use stepstream_coordinator::reading::Reader;
use stepstream_shared::id::TenantId;
use stepstream_shared::time::Timestamp;
use stepstream_tests::harness::api::Api;
use stepstream_tests::harness::fleet::Fleet;
use stepstream_tests::poll;

const BLOWS: usize = 3;
/// Firings that are seen between blows.
const FIRINGS: u64 = 3;
/// Names of schedules, and what they do when one runs. Several, so that they lie in partitions of all.
const SCHEDULES: [(&str, &str); 5] =
    [("all-1", "allow_all"), ("all-2", "allow_all"), ("all-3", "allow_all"), ("one", "skip"), ("next", "buffer_one")];

async fn made(api: &Api) {
    // One that is over at once, and one that takes longer than a second.
    for (name, wait) in [("quick", "1ms"), ("slow", "1500ms")] {
        let nodes = json!({"rest": {"wait": {"timer": wait}}});
        let document = json!({"stepstream": 1, "name": name, "nodes": nodes});
        let answer = api.request(reqwest::Method::POST, "/v1/graphs").json(&document).send().await;
        let answer = answer.expect("the coordinator answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }
    for (name, overlap) in SCHEDULES {
        let graph = if overlap == "allow_all" { "quick" } else { "slow" };
        let schedule = json!({"name": name, "graph": graph, "every": "1s", "overlap": overlap, "catch_up": "5m",
            "inputs": {"schedule": "=schedule.name", "at": "=schedule.time"}});
        let answer = api.request(reqwest::Method::POST, "/v1/schedules").json(&schedule).send().await;
        let answer = answer.expect("the coordinator answers");
        assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap_or_default());
    }
}

async fn schedule(api: &Api, name: &str) -> Option<Value> {
    api.get(&format!("/v1/schedules/{name}")).await.ok()?.error_for_status().ok()?.json().await.ok()
}

fn started(schedule: &Value) -> u64 {
    schedule["counts"]["started"].as_u64().expect("a count")
}

/// Waits until every schedule has started so many more.
async fn fires(api: &Api, more: u64) {
    for (name, _) in SCHEDULES {
        let mut first = None;
        poll::until(&format!("{name} goes on"), async || {
            let now = started(&schedule(api, name).await?);
            (now >= *first.get_or_insert(now) + more).then_some(())
        })
        .await;
    }
}

/// Which coordinator carries a schedule out, by the database.
async fn owner(fleet: &Fleet, name: &str) -> usize {
    let row = fleet.store().schedule_named(&TenantId::default_tenant(), name).await.expect("PostgreSQL answers");
    let partition = row.expect("it is there").partition;
    poll::until("somebody owns it", async || {
        let owners = fleet.store().partitions().await.ok()?;
        let owner = owners.into_iter().find(|row| row.partition == partition)?;
        let id = owner.owner.filter(|_| !owner.lease_expired)?;
        id.strip_prefix("coordinator-")?.split('-').next()?.parse().ok()
    })
    .await
}

pub(crate) async fn fire(mut fleet: Fleet) {
    let mut api = fleet.api(1);
    made(&api).await;
    fires(&api, FIRINGS).await;
    for (blow, (name, _)) in SCHEDULES.iter().enumerate().take(BLOWS) {
        let victim = owner(&fleet, name).await;
        // Not at the same place within the second each time.
        tokio::time::sleep(Duration::from_millis(330 * blow as u64)).await;
        fleet.coordinators[victim].kill9().await;
        api = fleet.add_coordinator().await;
        fires(&api, FIRINGS).await;
    }
    let mut counted = BTreeMap::new();
    for (name, _) in SCHEDULES {
        let path = format!("/v1/schedules/{name}/pause");
        let answer = api.request(reqwest::Method::POST, &path).json(&json!({})).send().await.expect("it answers");
        assert!(answer.status().is_success());
    }
    // What was about to be written down when the pauses came is written down by now, or a little later.
    let reader = fleet.reader();
    let executions = poll::until("the schedules know of all that they started", async || {
        let executions = executions(&reader).await;
        for (name, _) in SCHEDULES {
            let known = started(&schedule(&api, name).await?);
            (executions.get(name)?.len() as u64 == known).then_some(())?;
        }
        Some(executions)
    })
    .await;
    for (name, overlap) in SCHEDULES {
        let theirs = &executions[name];
        let last = schedule(&api, name).await.expect("it answers");
        assert_eq!(last["counts"]["missed"], 0, "{last}");
        let times: Vec<Timestamp> = theirs.iter().map(|run| run.time).collect();
        let seconds = |from: Timestamp, to: Timestamp| to.since(from).as_secs();
        if overlap == "allow_all" {
            for pair in times.windows(2) {
                assert_eq!(pair[1], pair[0].after(Duration::from_secs(1)), "{name}: each second once: {times:?}");
            }
        } else {
            let span = seconds(times[0], times[times.len() - 1]) + 1;
            let skipped = last["counts"]["skipped"].as_u64().expect("a count");
            assert!(span <= times.len() as u64 + skipped, "{name}: each second is dealt with: {last}");
            for pair in theirs.windows(2) {
                assert!(pair[1].time > pair[0].time, "{name}: each once: {times:?}");
                let ended = pair[0].ended.expect("the next one waits for its end");
                assert!(pair[1].created >= ended, "{name}: two ran at the same time: {pair:?}");
            }
        }
        counted.insert(name, times.len());
    }
    println!("after {BLOWS} blows: {counted:?}");
}

#[derive(Debug)]
struct Ran {
    time: Timestamp,
    created: Timestamp,
    ended: Option<Timestamp>,
}

/// What each schedule started, by the logs, in the order of nominal times.
async fn executions(reader: &Reader) -> BTreeMap<String, Vec<Ran>> {
    let tenant = TenantId::default_tenant();
    let mut found: BTreeMap<String, Vec<Ran>> = BTreeMap::new();
    for listed in reader.list(&tenant, None, None, 10_000).await.expect("PostgreSQL answers") {
        let loaded = reader.load(&tenant, listed.execution, None).await.expect("it folds");
        let inputs = loaded.execution.inputs().to_json();
        let name = inputs["schedule"].as_str().expect("started by a schedule").to_owned();
        let time = inputs["at"].as_str().and_then(|text| text.parse().ok()).expect("a nominal time");
        let ended = loaded.execution.ended_at();
        found.entry(name).or_default().push(Ran { time, created: loaded.execution.created_at(), ended });
    }
    found.values_mut().for_each(|runs| runs.sort_by_key(|run| (run.time, run.created)));
    found
}
