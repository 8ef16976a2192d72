//! What only a bus with a server promises: its settings hold, and it survives what happens to servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::bus::{BusError, CoordinatorBus, QueueId, WorkerBus};
use stepstream_runtime::servers::{Credentials, NatsOptions, NatsServer};
use stepstream_shared::graph::Priority;
use stepstream_shared::id::PartitionId;
use stepstream_tests::contract::bus::{self, Fleet, Needs, job, jobs, outcome, queue, tenant};
use stepstream_tests::servers::{nats, nats_options};

const MIB: u64 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

fn options(needs: Needs) -> JetStreamOptions {
    JetStreamOptions {
        ack_wait: if needs == Needs::ShortWait { Duration::from_secs(1) } else { Duration::from_secs(120) },
        jobs_max_bytes: if needs == Needs::LittleRoom { 128 * 1024 } else { 64 * MIB },
        outcomes_max_bytes: 64 * MIB,
        commands_max_bytes: 8 * MIB,
        events_max_bytes: 8 * MIB,
        dead_max_bytes: 8 * MIB,
        ..JetStreamOptions::default()
    }
}

async fn connect(server: &NatsServer, needs: Needs) -> JetStreamBus {
    JetStreamBus::connect(&server.url(), options(needs)).await.expect("the server is there")
}

async fn coordinator(server: &NatsServer, needs: Needs) -> JetStreamBus {
    let bus = connect(server, needs).await;
    bus.setup().await.expect("the streams can be made");
    bus
}

/// Each with a connection of its own.
pub(crate) async fn fleet(needs: Needs) -> Fleet {
    let limited = NatsOptions { max_payload: bus::PAYLOAD_LIMIT, ..nats_options().expect("a directory") };
    let server = NatsServer::start(limited).await.expect("nats-server starts");
    Fleet {
        coordinator: Arc::new(coordinator(&server, needs).await),
        other_coordinator: Arc::new(coordinator(&server, needs).await),
        worker: Arc::new(connect(&server, needs).await),
        other_worker: Arc::new(connect(&server, needs).await),
        keep: Box::new(server),
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Tries until it works; what it fails with meanwhile must be worth trying again.
async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, BusError>) -> T {
    soon(what, async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(BusError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(other) => panic!("{what}: {other}"),
            }
        }
    })
    .await
}

async fn client(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(&server.url()).await.expect("the server is there")
}

#[tokio::test]
async fn setting_up_twice_changes_nothing_and_the_server_has_every_setting() {
    let server = nats().await.unwrap();
    let first = coordinator(&server, Needs::LongWait).await;
    let state = first.jobs_state().await.unwrap();
    let second = coordinator(&server, Needs::LongWait).await;
    first.setup().await.unwrap();
    assert_eq!(second.jobs_state().await.unwrap(), state);

    let context = async_nats::jetstream::new(client(&server).await);
    let jobs = context.get_stream("JOBS").await.unwrap().get_info().await.unwrap().config;
    assert_eq!(jobs.retention, async_nats::jetstream::stream::RetentionPolicy::WorkQueue);
    assert_eq!(jobs.discard, async_nats::jetstream::stream::DiscardPolicy::New);
    assert_eq!(jobs.duplicate_window, Duration::from_secs(120));
    for name in ["OUTCOMES", "COMMANDS", "EVENTS", "DEAD"] {
        context.get_stream(name).await.unwrap();
    }
}

#[tokio::test]
async fn asynchronous_persistence_is_asked_for_and_read_back() {
    let server = nats().await.unwrap();
    let options = JetStreamOptions { async_persistence: true, ..options(Needs::LongWait) };
    JetStreamBus::connect(&server.url(), options).await.unwrap().setup().await.unwrap();
    let info = client(&server).await.request("$JS.API.STREAM.INFO.JOBS", "".into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["config"]["persist_mode"], "async");
}

#[tokio::test]
async fn a_stream_that_differs_is_refused_and_left_alone() {
    let server = nats().await.unwrap();
    let context = async_nats::jetstream::new(client(&server).await);
    context
        .create_stream(async_nats::jetstream::stream::Config {
            name: "JOBS".into(),
            subjects: vec!["jobs.>".into()],
            ..Default::default()
        })
        .await
        .unwrap();
    let refused = connect(&server, Needs::LongWait).await.setup().await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, BusError::Misconfigured(_)), "{text}");
    assert!(text.contains("stream JOBS"), "{text}");
    assert!(text.contains(r#"retention is "limits", wanted "workqueue""#), "{text}");
    let config = context.get_stream("JOBS").await.unwrap().get_info().await.unwrap().config;
    assert_eq!(config.retention, async_nats::jetstream::stream::RetentionPolicy::Limits);
}

#[tokio::test]
async fn a_consumer_that_differs_is_refused() {
    let server = nats().await.unwrap();
    coordinator(&server, Needs::LongWait).await.declare_queue(&queue("default")).await.unwrap();
    let other = coordinator(&server, Needs::ShortWait).await;
    let text = other.declare_queue(&queue("default")).await.unwrap_err().to_string();
    assert!(text.contains("ack_wait is 120000000000, wanted 1000000000"), "{text}");
    assert!(text.contains("jobs~tenant_a~default~high"), "{text}");
}

#[tokio::test]
async fn a_stream_larger_than_the_server_is_refused_with_a_reason() {
    let server = nats().await.unwrap();
    let options = JetStreamOptions { jobs_max_bytes: 1 << 55, ..options(Needs::LongWait) };
    let refused = JetStreamBus::connect(&server.url(), options).await.unwrap().setup().await.unwrap_err();
    assert!(matches!(refused, BusError::Misconfigured(_)), "{refused}");
    assert!(refused.to_string().contains("less room"), "{refused}");
}

#[tokio::test]
async fn a_queue_with_a_name_that_reaches_further_is_refused() {
    let server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::LongWait).await;
    for name in ["*", ">", "a.b", ""] {
        let queue = QueueId { tenant: tenant("a"), name: name.into() };
        assert!(matches!(bus.declare_queue(&queue).await, Err(BusError::Misconfigured(_))), "{name}");
        assert!(matches!(bus.jobs(&queue, 1).await, Err(BusError::Misconfigured(_))), "{name}");
        let job = stepstream_shared::wire::Job { queue: name.into(), ..job(1, Priority::Low) };
        let sent = bus.publish_jobs(&[job]).await.remove(0);
        assert!(matches!(sent, Err(BusError::Misconfigured(_))), "{name}");
    }
}

#[tokio::test]
async fn a_wrong_address_fails_at_once_and_says_which() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wrong = [
        (format!("nats://user:secret@{free}"), false),
        ("nats://host.invalid:4222".to_owned(), false),
        ("nats://user:secret@[:".to_owned(), true),
    ];
    for (url, is_none) in wrong {
        let began = Instant::now();
        let refused = JetStreamBus::connect(&url, JetStreamOptions::default()).await.err().unwrap();
        match &refused {
            BusError::BadUrl(_) => assert!(is_none, "{refused}"),
            BusError::Unavailable(_) => assert!(!is_none, "{refused}"),
            other => panic!("{other}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{url} took {:?}", began.elapsed());
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_fails_within_the_limit() {
    // It accepts connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = JetStreamOptions { connect_timeout: Duration::from_millis(300), ..JetStreamOptions::default() };
    let began = Instant::now();
    let url = silent.local_addr().unwrap().to_string();
    let refused = JetStreamBus::connect(&url, options).await.err().unwrap();
    assert!(matches!(refused, BusError::Unavailable(_)), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_wrong_password_fails_clearly() {
    let server = {
        let credentials = Some(Credentials { user: "somebody".into(), password: "s\"cr\\t".into() });
        NatsServer::start(NatsOptions { credentials, ..nats_options().unwrap() }).await.unwrap()
    };
    let refused = JetStreamBus::connect(&server.url(), options(Needs::LongWait)).await.err().unwrap();
    assert!(refused.to_string().contains("authorization"), "{refused}");
    let url = server.url().replace("nats://", "nats://somebody:s%22cr%5Ct@");
    JetStreamBus::connect(&url, options(Needs::LongWait)).await.unwrap().setup().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_again_after_the_store_is_wiped() {
    let mut server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::LongWait).await;
    let worker = connect(&server, Needs::LongWait).await;
    let at = PartitionId(1);

    bus::published(&bus, &jobs(0..10)).await;
    let before = bus.jobs_state().await.unwrap();
    for delivery in bus::take(&worker, 5).await {
        delivery.settle.ack().await.unwrap();
    }
    worker.report(&tenant("a"), at, &outcome(1)).await.unwrap();
    bus::take_outcomes(&bus, at, 1).await.remove(0).1.settle.ack().await.unwrap();
    // Somebody waits on each of them while it happens.
    let jobs_wait = tokio::spawn({
        let worker = worker.clone();
        async move { while worker.jobs(&queue("other"), 1).await.is_err() {} }
    });
    let outcomes_wait = tokio::spawn({
        let bus = bus.clone();
        async move { bus.outcomes(PartitionId(2), 1).await }
    });
    let commands_wait = tokio::spawn({
        let bus = bus.clone();
        async move { bus.commands(at).await }
    });
    let other = QueueId { tenant: tenant("a"), name: "other".into() };
    bus.declare_queue(&other).await.unwrap();

    server.kill().await;
    std::fs::remove_dir_all(server.store_directory()).unwrap();
    server.restart().await.unwrap();

    // What was published is gone, and that can be seen.
    let after = eventually("the state is known", async || bus.jobs_state().await).await;
    assert_ne!(after.created_nanos, before.created_nanos);
    assert_eq!(after.last_sequence, 0);

    let sent = job(1, Priority::Normal);
    let published =
        eventually("a job is published", async || bus.publish_jobs(std::slice::from_ref(&sent)).await.remove(0)).await;
    assert!(!published.duplicate);
    let taken = bus::take(&worker, 5).await;
    assert_eq!(taken[0].message, sent);
    taken[0].settle.ack().await.unwrap();

    let waited_for = stepstream_shared::wire::Job { queue: other.name.clone(), ..job(2, Priority::High) };
    eventually("another is", async || bus.publish_jobs(std::slice::from_ref(&waited_for)).await.remove(0)).await;
    soon("the waiting worker gets it", jobs_wait).await.unwrap();

    eventually("an outcome is reported", async || worker.report(&tenant("a"), at, &outcome(2)).await).await;
    assert_eq!(bus::take_outcomes(&bus, at, 1).await[0].1.message, outcome(2));
    eventually("another is", async || worker.report(&tenant("a"), PartitionId(2), &outcome(3)).await).await;
    let outcomes = soon("the waiting owner gets it", outcomes_wait).await.unwrap().unwrap();
    assert_eq!(outcomes[0].1.message, outcome(3));

    let asking = eventually("it is answered", async || {
        bus.request(&tenant("a"), at, Bytes::from("question"), Duration::from_secs(5)).await
    });
    let answering = async {
        let command = soon("the command comes", commands_wait).await.unwrap().unwrap();
        command.reply.reply("answer".into()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer, Bytes::from("answer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_jobs_flow_loses_none() {
    const COUNT: u32 = 3000;
    let mut server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::ShortWait).await;
    let worker = connect(&server, Needs::ShortWait).await;
    bus.declare_queue(&queue("default")).await.unwrap();
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            for chunk in (0..COUNT).collect::<Vec<_>>().chunks(100) {
                let mut missing = jobs(chunk.iter().copied());
                while !missing.is_empty() {
                    let results = bus.publish_jobs(&missing).await;
                    let mut results = results.iter();
                    missing.retain(|_| results.next().is_some_and(Result::is_err));
                }
            }
        }
    });
    let taking = tokio::spawn(async move {
        let mut seen = BTreeSet::new();
        while seen.len() < COUNT as usize {
            for delivery in worker.jobs(&queue("default"), 50).await.unwrap() {
                seen.insert(delivery.message.token.ordinal);
                // One that is lost with the connection brings the job again.
                let _ = delivery.settle.ack().await;
            }
        }
    });
    soon("some jobs are published", async {
        loop {
            if bus.jobs_state().await.is_ok_and(|state| state.last_sequence > 200) {
                break;
            }
        }
    })
    .await;
    server.kill().await;
    server.restart().await.unwrap();
    soon("all are published", publishing).await.unwrap();
    soon("all are taken", taking).await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_an_operator_deleted_is_made_again() {
    let server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::LongWait).await;
    bus.declare_queue(&queue("default")).await.unwrap();
    let at = PartitionId(1);
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.outcomes(at, 1).await }
    });
    let worker = connect(&server, Needs::LongWait).await;
    let context = async_nats::jetstream::new(client(&server).await);
    let outcomes = context.get_stream("OUTCOMES").await.unwrap();
    soon("the owner pulls", async {
        while outcomes.consumer_info("outcomes_1").await.map_or(0, |info| info.num_waiting) == 0 {}
    })
    .await;
    outcomes.delete_consumer("outcomes_1").await.unwrap();
    worker.report(&tenant("a"), at, &outcome(1)).await.unwrap();
    assert_eq!(soon("the outcome comes", waiting).await.unwrap().unwrap()[0].1.message, outcome(1));

    context.get_stream("JOBS").await.unwrap().delete_consumer("jobs~tenant_a~default~normal").await.unwrap();
    bus.publish_jobs(&jobs([1])).await.remove(0).unwrap();
    // The coordinator looks after its queues when it looks at the stream.
    bus.jobs_state().await.unwrap();
    assert_eq!(bus::take(&worker, 1).await[0].message, job(1, Priority::Normal));
}

#[tokio::test]
async fn messages_that_nobody_can_read_are_removed_and_counted() {
    let server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::LongWait).await;
    bus.declare_queue(&queue("default")).await.unwrap();
    let context = async_nats::jetstream::new(client(&server).await);
    for subject in ["jobs.tenant_a.default.normal", "outcomes.tenant_a.1", "outcomes.nobody.1"] {
        context.publish(subject, "not MessagePack".into()).await.unwrap().await.unwrap();
    }
    bus.publish_jobs(&jobs([1])).await.remove(0).unwrap();
    bus.report(&tenant("a"), PartitionId(1), &outcome(1)).await.unwrap();
    let taken = bus::take(&bus, 5).await;
    assert_eq!((taken.len(), &taken[0].message), (1, &job(1, Priority::Normal)));
    assert_eq!(bus::take_outcomes(&bus, PartitionId(1), 1).await[0].1.message, outcome(1));
    assert_eq!(bus.undecodable(), 3);
    bus.flush().await.unwrap();
    soon("only the readable job is left", async { while bus.jobs_state().await.unwrap().messages != 1 {} }).await;
}

#[tokio::test]
async fn acknowledgements_reach_the_server_before_the_bus_is_closed() {
    let server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::LongWait).await;
    bus::published(&bus, &jobs(0..500)).await;
    let worker = connect(&server, Needs::LongWait).await;
    let mut done = 0;
    while done < 500 {
        for delivery in bus::take(&worker, 500 - done).await {
            delivery.settle.ack().await.unwrap();
            done += 1;
        }
    }
    worker.close().await.unwrap();
    drop(worker);
    soon("all are settled", async { while bus.jobs_state().await.unwrap().messages != 0 {} }).await;
}

#[tokio::test]
async fn a_closed_bus_tells_whoever_waits_and_gives_back_what_it_holds() {
    let server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::LongWait).await;
    bus.declare_queue(&queue("default")).await.unwrap();
    let worker = connect(&server, Needs::LongWait).await;
    let waiting = tokio::spawn({
        let worker = worker.clone();
        async move { worker.jobs(&queue("default"), 1).await.err() }
    });
    let context = async_nats::jetstream::new(client(&server).await);
    let stream = context.get_stream("JOBS").await.unwrap();
    soon("the worker pulls", async {
        while stream.consumer_info("jobs~tenant_a~default~low").await.map_or(0, |info| info.num_waiting) == 0 {}
    })
    .await;
    worker.close().await.unwrap();
    assert!(soon("it is told", waiting).await.unwrap().is_some());
    bus.publish_jobs(&jobs([1])).await.remove(0).unwrap();
    assert_eq!(bus::take(&bus, 1).await[0].message, job(1, Priority::Normal));
}

#[tokio::test]
async fn the_live_feed_carries_events_once() {
    let server = nats().await.unwrap();
    let bus = coordinator(&server, Needs::LongWait).await;
    let execution = job(1, Priority::Normal).token.execution;
    let watcher = client(&server).await;
    let mut watching = watcher.subscribe("events.tenant_a.>").await.unwrap();
    // An answer from the server comes after it has heard the subscription.
    watcher.request("$JS.API.INFO", "".into()).await.unwrap();
    let event = ("step_completed".to_owned(), "evt_1".to_owned(), Bytes::from(json!({ "n": 1 }).to_string()));
    bus.feed(&tenant("a"), execution, vec![event.clone(), event.clone()]).await;
    let seen = soon("the event comes", watching.next()).await.unwrap();
    assert_eq!(seen.subject.as_str(), format!("events.tenant_a.{execution}.step_completed"));
    assert_eq!(seen.payload, event.2);
    let context = async_nats::jetstream::new(client(&server).await);
    soon("it is kept once", async {
        loop {
            let state = context.get_stream("EVENTS").await.unwrap().get_info().await.unwrap().state;
            if state.messages == 1 {
                break;
            }
        }
    })
    .await;
    assert_eq!(bus.feed_dropped(), 0);
}
