//! What every job bus promises. One rule is one function; each gets a fresh bus.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use stepstream_runtime::bus::{BusError, CoordinatorBus, Delivery, QueueId, WorkerBus};
use stepstream_shared::data::Data;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, Id, PartitionId, TenantId};
use stepstream_shared::wire::{ClaimId, Control, Job, Judgement, MacKey, Outcome, OutcomeResult, PROTOCOL};

/// What a rule needs of its bus beside the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Deliveries that stay silent come again within a second or two.
    ShortWait,
    /// They do not within the test: whatever comes again was given back.
    LongWait,
    /// At most a few hundred jobs fit.
    LittleRoom,
}

/// Two coordinators and two workers on one bus.
pub struct Fleet {
    pub coordinator: Arc<dyn CoordinatorBus>,
    pub other_coordinator: Arc<dyn CoordinatorBus>,
    pub worker: Arc<dyn WorkerBus>,
    pub other_worker: Arc<dyn WorkerBus>,
    /// Whatever must live as long as the fleet.
    pub keep: Box<dyn std::any::Any + Send + Sync>,
}

/// Calls a macro with the name of every rule and what it needs.
#[macro_export]
macro_rules! for_every_bus_rule {
    ($call:ident) => {
        $call! {
            jobs_arrive_once_each_and_most_urgent_first: LongWait,
            an_urgent_job_passes_a_backlog: LongWait,
            a_copy_of_a_job_is_reported_and_not_delivered: LongWait,
            a_refused_job_is_delivered_again: LongWait,
            a_job_refused_for_a_while_comes_after_it: LongWait,
            an_unsettled_job_is_delivered_again: ShortWait,
            signs_of_life_keep_a_job_from_others: ShortWait,
            two_workers_share_a_queue: LongWait,
            a_worker_gets_no_more_than_it_asked_for: LongWait,
            a_queue_declared_later_is_found_by_a_waiting_worker: LongWait,
            queues_and_tenants_do_not_mix: LongWait,
            a_full_queue_refuses_and_keeps_what_it_accepted: LittleRoom,
            calls_that_are_cancelled_lose_no_job: LongWait,
            a_job_that_nobody_came_for_goes_to_somebody_else: LongWait,
            many_publications_at_once_all_arrive: LongWait,
            a_job_exists_until_it_is_acknowledged: LongWait,
            a_job_that_is_withdrawn_goes_to_nobody: LongWait,
            the_state_counts_what_was_published: LongWait,
            outcomes_reach_their_partition_with_the_tenant_of_the_connection: LongWait,
            a_repeated_report_is_a_copy: LongWait,
            settled_outcomes_are_gone_and_others_come_again: ShortWait,
            calls_that_are_cancelled_lose_no_outcome: LongWait,
            the_next_owner_gets_what_the_last_one_left: LongWait,
            the_next_owner_gets_what_a_dead_one_had_taken: LongWait,
            a_request_is_answered_by_the_owner_of_its_partition: LongWait,
            a_request_that_nobody_takes_times_out_and_is_not_executed_later: LongWait,
            a_question_is_answered_by_the_owner_of_its_partition: LongWait,
            a_question_that_nobody_answers_says_so_and_can_be_asked_again: LongWait,
            hints_reach_the_listeners_of_their_tenant: LongWait,
            what_is_too_large_is_refused_with_the_limit: LongWait,
        }
    };
}

/// What every bus of this contract carries at most, in bytes: below the limit of a payload, so that it can be met.
pub const PAYLOAD_LIMIT: u32 = 1 << 20;

/// Far beyond any healthy run: reaching it means that something never happens.
const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Checks often and gives up late.
async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub fn tenant(name: &str) -> TenantId {
    format!("tenant_{name}").parse().expect("a tenant's name")
}

pub fn queue(name: &str) -> QueueId {
    QueueId { tenant: tenant("a"), name: name.into() }
}

fn numbered<K>(number: u32) -> Id<K> {
    let mut bytes = [7; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Id::from_bytes(bytes)
}

/// A job that is told apart by its number.
pub fn job(number: u32, priority: Priority) -> Job {
    let token = MacKey([1; 32]).token(&tenant("a"), 1, numbered(number), numbered(number), number, 1);
    Job {
        protocol: PROTOCOL,
        token,
        dispatch: 0,
        tenant: tenant("a"),
        partition: PartitionId(0),
        position: 1,
        graph: "graph".into(),
        node: "node".into(),
        callable: "echo".into(),
        queue: "default".into(),
        priority,
        input: Data::null(),
        inbox: Data::null(),
        scheduled_at: 0,
        start_to_close_ms: None,
        heartbeat_ms: None,
        inline: false,
        max_memory_mb: None,
        claim: false,
        trace: None,
    }
}

pub fn jobs(numbers: impl IntoIterator<Item = u32>) -> Vec<Job> {
    numbers.into_iter().map(|number| job(number, Priority::Normal)).collect()
}

pub fn outcome(number: u32) -> Outcome {
    Outcome {
        protocol: PROTOCOL,
        token: job(number, Priority::Normal).token,
        claim: ClaimId(u128::from(number)),
        worker: "worker".into(),
        report: 1,
        result: OutcomeResult::Completed { output: Data::null(), duration_us: 1 },
        notes: Vec::new(),
    }
}

fn text(bytes: usize) -> Data {
    Data::from_json(&serde_json::Value::String("x".repeat(bytes))).expect("a text within the limits")
}

pub async fn published(bus: &dyn CoordinatorBus, jobs: &[Job]) -> Vec<u64> {
    bus.declare_queue(&queue("default")).await.expect("the queue is declared");
    let results = bus.publish_jobs(jobs).await;
    assert_eq!(results.len(), jobs.len());
    results.into_iter().map(|result| result.expect("published").sequence).collect()
}

pub async fn take(worker: &dyn WorkerBus, max: usize) -> Vec<Delivery<Job>> {
    let taken = soon("a job comes", worker.jobs(&queue("default"), max)).await.expect("jobs can be taken");
    assert!((1..=max).contains(&taken.len()), "{} jobs came for {max} slots", taken.len());
    taken
}

async fn take_exactly(worker: &dyn WorkerBus, count: usize) -> Vec<Delivery<Job>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(take(worker, count - taken.len()).await);
    }
    taken
}

async fn nothing_comes(worker: &dyn WorkerBus) {
    let quiet = tokio::time::timeout(Duration::from_millis(400), worker.jobs(&queue("default"), 1)).await;
    assert!(quiet.is_err(), "a job came");
}

pub async fn take_outcomes(
    bus: &dyn CoordinatorBus,
    partition: PartitionId,
    count: usize,
) -> Vec<(TenantId, Delivery<Outcome>)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = soon("an outcome comes", bus.outcomes(partition, count - taken.len())).await;
        taken.extend(more.expect("outcomes can be taken"));
    }
    taken
}

fn number_of(job: &Job) -> u32 {
    job.token.ordinal
}

fn numbers(deliveries: &[Delivery<Job>]) -> Vec<u32> {
    deliveries.iter().map(|delivery| number_of(&delivery.message)).collect()
}

pub async fn jobs_arrive_once_each_and_most_urgent_first(fleet: Fleet) {
    let mut mixed = Vec::new();
    for number in 0..10 {
        mixed.extend([
            job(number + 200, Priority::Low),
            job(number + 100, Priority::Normal),
            job(number, Priority::High),
        ]);
    }
    published(&*fleet.coordinator, &mixed).await;
    let mut seen = Vec::new();
    while seen.len() < mixed.len() {
        for delivery in take(&*fleet.worker, 4).await {
            assert_eq!(delivery.deliveries, 1);
            seen.push(delivery.message.clone());
            delivery.settle.ack().await.expect("acknowledged");
        }
    }
    let wanted: Vec<u32> = (0..10).chain(100..110).chain(200..210).collect();
    assert_eq!(seen.iter().map(number_of).collect::<Vec<_>>(), wanted);
    assert_eq!(seen[10], job(100, Priority::Normal), "it arrives as it was sent");
    nothing_comes(&*fleet.worker).await;
}

pub async fn an_urgent_job_passes_a_backlog(fleet: Fleet) {
    let backlog: Vec<Job> = (100..300).map(|number| job(number, Priority::Low)).collect();
    published(&*fleet.coordinator, &backlog).await;
    assert_eq!(numbers(&take_exactly(&*fleet.worker, 10).await), (100..110).collect::<Vec<_>>());
    published(&*fleet.coordinator, &[job(1, Priority::High)]).await;
    // Whatever was asked for before it came may still come first: less than one for each priority.
    let next = numbers(&take_exactly(&*fleet.worker, 4).await);
    assert!(next.contains(&1), "{next:?}");
}

pub async fn a_copy_of_a_job_is_reported_and_not_delivered(fleet: Fleet) {
    let first = published(&*fleet.coordinator, &[job(1, Priority::Normal)]).await;
    let again =
        fleet.coordinator.publish_jobs(&[job(1, Priority::Normal)]).await.remove(0).expect("a copy is no error");
    assert!(again.duplicate);
    assert_eq!(again.sequence, first[0]);
    let redispatched = Job { dispatch: 1, ..job(1, Priority::Normal) };
    let other = fleet.coordinator.publish_jobs(&[redispatched]).await.remove(0).expect("published");
    assert!(!other.duplicate, "another dispatch is another job");
    let taken = take_exactly(&*fleet.worker, 2).await;
    assert_eq!(taken.iter().map(|delivery| delivery.message.dispatch).collect::<Vec<_>>(), [0, 1]);
    nothing_comes(&*fleet.worker).await;
}

pub async fn a_refused_job_is_delivered_again(fleet: Fleet) {
    published(&*fleet.coordinator, &jobs([1])).await;
    let first = take(&*fleet.worker, 1).await.remove(0);
    first.settle.nak(None).await.expect("refused");
    let second = take(&*fleet.other_worker, 1).await.remove(0);
    assert_eq!((number_of(&second.message), second.deliveries), (1, 2));
}

pub async fn a_job_refused_for_a_while_comes_after_it(fleet: Fleet) {
    published(&*fleet.coordinator, &jobs([1])).await;
    let first = take(&*fleet.worker, 1).await.remove(0);
    let (began, pause) = (Instant::now(), Duration::from_millis(600));
    first.settle.nak(Some(pause)).await.expect("refused");
    let second = take(&*fleet.worker, 1).await.remove(0);
    assert_eq!(second.deliveries, 2);
    assert!(began.elapsed() >= pause - Duration::from_millis(20), "it came after {:?}", began.elapsed());
}

pub async fn an_unsettled_job_is_delivered_again(fleet: Fleet) {
    published(&*fleet.coordinator, &jobs([1])).await;
    drop(take(&*fleet.worker, 1).await);
    let second = take(&*fleet.other_worker, 1).await.remove(0);
    assert_eq!((number_of(&second.message), second.deliveries), (1, 2));
}

pub async fn signs_of_life_keep_a_job_from_others(fleet: Fleet) {
    published(&*fleet.coordinator, &jobs([1])).await;
    let held = take(&*fleet.worker, 1).await.remove(0);
    let pace = fleet.worker.ack_wait().min(Duration::from_secs(2)) / 4;
    let working = async {
        let mut beat = tokio::time::interval(pace);
        for _ in 0..10 {
            beat.tick().await;
            held.settle.progress().await.expect("told");
        }
    };
    let queue = queue("default");
    tokio::select! {
        () = working => {}
        _ = fleet.other_worker.jobs(&queue, 1) => panic!("another worker got the job"),
    }
    held.settle.ack().await.expect("acknowledged");
}

pub async fn two_workers_share_a_queue(fleet: Fleet) {
    published(&*fleet.coordinator, &jobs(0..100)).await;
    let mut seen = BTreeSet::new();
    for _ in 0..25 {
        for worker in [&fleet.worker, &fleet.other_worker] {
            for delivery in take_exactly(&**worker, 2).await {
                assert!(seen.insert(number_of(&delivery.message)), "a job came twice");
                delivery.settle.ack().await.expect("acknowledged");
            }
        }
    }
    assert_eq!(seen.len(), 100);
}

pub async fn a_worker_gets_no_more_than_it_asked_for(fleet: Fleet) {
    published(&*fleet.coordinator, &jobs(0..10)).await;
    let three = take_exactly(&*fleet.worker, 3).await;
    // Nothing was set aside for the first worker: all others come to the second.
    let seven = take_exactly(&*fleet.other_worker, 7).await;
    let all: BTreeSet<u32> = numbers(&three).into_iter().chain(numbers(&seven)).collect();
    assert_eq!(all, (0..10).collect());
}

pub async fn a_queue_declared_later_is_found_by_a_waiting_worker(fleet: Fleet) {
    let (worker, later) = (fleet.worker.clone(), queue("later"));
    let waiting = tokio::spawn({
        let later = later.clone();
        async move { worker.jobs(&later, 5).await }
    });
    let never = tokio::time::timeout(Duration::from_millis(200), fleet.other_worker.jobs(&later, 1)).await;
    assert!(never.is_err(), "there is no job yet");
    let sent = Job { queue: later.name.clone(), ..job(1, Priority::Low) };
    // Published before it is declared: a bus keeps it for whoever will come.
    fleet.coordinator.publish_jobs(std::slice::from_ref(&sent)).await.remove(0).expect("published");
    fleet.coordinator.declare_queue(&later).await.expect("declared");
    fleet.coordinator.declare_queue(&later).await.expect("declared again, which changes nothing");
    let taken = soon("the job comes", waiting).await.expect("no panic").expect("taken");
    assert_eq!(taken[0].message, sent);
}

pub async fn queues_and_tenants_do_not_mix(fleet: Fleet) {
    let place = |tenant_name: &str, name: &str| QueueId { tenant: tenant(tenant_name), name: name.into() };
    // Joined carelessly, some of these would have one name.
    let places = [place("a", "b_c"), place("a_b", "c"), place("a", "b-c"), place("a", "b"), place("a_b", "b")];
    for (number, place) in (0..).zip(&places) {
        fleet.coordinator.declare_queue(place).await.expect("declared");
        let sent = Job { tenant: place.tenant.clone(), queue: place.name.clone(), ..job(number, Priority::Normal) };
        fleet.coordinator.publish_jobs(&[sent]).await.remove(0).expect("published");
    }
    for (number, place) in (0..).zip(&places) {
        let taken = soon("its job comes", fleet.worker.jobs(place, 10)).await.expect("taken");
        assert_eq!(numbers(&taken), [number], "{place:?}");
    }
}

pub async fn a_full_queue_refuses_and_keeps_what_it_accepted(fleet: Fleet) {
    fleet.coordinator.declare_queue(&queue("default")).await.expect("declared");
    let mut accepted = BTreeSet::new();
    let mut refused = None;
    for chunk in (0..10_000).collect::<Vec<u32>>().chunks(50) {
        let batch = jobs(chunk.iter().copied());
        for (job, result) in batch.iter().zip(fleet.coordinator.publish_jobs(&batch).await) {
            match result {
                Ok(_) => assert!(accepted.insert(number_of(job))),
                Err(BusError::Full(_)) => refused = Some(job.clone()),
                Err(other) => panic!("not an answer to a full queue: {other}"),
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("the queue is full at some point");
    let mut seen = BTreeSet::new();
    while seen.len() < accepted.len() {
        for delivery in take(&*fleet.worker, 100).await {
            delivery.settle.ack().await.expect("acknowledged");
            seen.insert(number_of(&delivery.message));
        }
    }
    assert_eq!(seen, accepted);
    until("there is room again", async || {
        fleet.coordinator.publish_jobs(std::slice::from_ref(&refused)).await.remove(0).is_ok()
    })
    .await;
    assert_eq!(numbers(&take(&*fleet.worker, 10).await), [number_of(&refused)]);
}

pub async fn calls_that_are_cancelled_lose_no_job(fleet: Fleet) {
    const COUNT: u32 = 300;
    fleet.coordinator.declare_queue(&queue("default")).await.expect("declared");
    let publishing = async {
        for number in 0..COUNT {
            fleet.coordinator.publish_jobs(&jobs([number])).await.remove(0).expect("published");
        }
    };
    let taking = async {
        let mut seen = BTreeSet::new();
        let mut round = 0;
        while seen.len() < COUNT as usize {
            round += 1;
            let brief = Duration::from_micros(100 + (round * 137) % 1900);
            let queue = queue("default");
            if let Ok(taken) = tokio::time::timeout(brief, fleet.worker.jobs(&queue, 7)).await {
                for delivery in taken.expect("taken") {
                    seen.insert(number_of(&delivery.message));
                    delivery.settle.ack().await.expect("acknowledged");
                }
            }
        }
    };
    soon("all jobs come", async { tokio::join!(publishing, taking) }).await;
}

pub async fn a_job_that_nobody_came_for_goes_to_somebody_else(fleet: Fleet) {
    fleet.coordinator.declare_queue(&queue("default")).await.expect("declared");
    // It waited, and whatever it left behind on the server still stands.
    nothing_comes(&*fleet.worker).await;
    let mixed: Vec<Job> = (0..).zip(Priority::ALL).map(|(number, priority)| job(number, priority)).collect();
    published(&*fleet.coordinator, &mixed).await;
    let taken = take_exactly(&*fleet.other_worker, 3).await;
    assert_eq!(numbers(&taken).into_iter().collect::<BTreeSet<_>>(), (0..3).collect());
}

pub async fn many_publications_at_once_all_arrive(fleet: Fleet) {
    const CALLERS: u32 = 4;
    const EACH: u32 = 5_000;
    fleet.coordinator.declare_queue(&queue("default")).await.expect("declared");
    let batches: Vec<Vec<Job>> = (0..CALLERS).map(|caller| jobs(caller * EACH..(caller + 1) * EACH)).collect();
    let publishing = futures::future::join_all(batches.iter().map(|batch| fleet.coordinator.publish_jobs(batch)));
    let mut sequences = BTreeSet::new();
    for result in soon("all are published", publishing).await.into_iter().flatten() {
        assert!(sequences.insert(result.expect("published").sequence));
    }
    let mut seen = BTreeSet::new();
    while seen.len() < (CALLERS * EACH) as usize {
        for delivery in take(&*fleet.worker, 500).await {
            delivery.settle.ack().await.expect("acknowledged");
            assert!(seen.insert(number_of(&delivery.message)), "a job came twice");
        }
    }
}

pub async fn a_job_exists_until_it_is_acknowledged(fleet: Fleet) {
    let sequence = published(&*fleet.coordinator, &jobs([1])).await[0];
    assert!(fleet.coordinator.job_exists(sequence).await.expect("known"));
    assert!(!fleet.coordinator.job_exists(sequence + 1).await.expect("known"));
    assert!(!fleet.coordinator.job_exists(0).await.expect("known"));
    let held = take(&*fleet.worker, 1).await.remove(0);
    assert!(fleet.coordinator.job_exists(sequence).await.expect("known"), "it is being worked on");
    held.settle.ack().await.expect("acknowledged");
    until("it is gone", async || !fleet.coordinator.job_exists(sequence).await.expect("known")).await;
}

pub async fn a_job_that_is_withdrawn_goes_to_nobody(fleet: Fleet) {
    let sequences = published(&*fleet.coordinator, &jobs([1, 2, 3])).await;
    assert!(fleet.coordinator.withdraw_job(sequences[1]).await.expect("taken off"));
    assert!(!fleet.coordinator.withdraw_job(sequences[1]).await.expect("known"), "it is gone");
    assert!(!fleet.coordinator.withdraw_job(sequences[2] + 1000).await.expect("known"), "it never was");
    assert!(!fleet.coordinator.withdraw_job(0).await.expect("known"));
    assert!(!fleet.coordinator.job_exists(sequences[1]).await.expect("known"));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        for delivery in take(&*fleet.worker, 10).await {
            seen.push(number_of(&delivery.message));
            delivery.settle.ack().await.expect("acknowledged");
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 3]);
}

pub async fn the_state_counts_what_was_published(fleet: Fleet) {
    let sequences = published(&*fleet.coordinator, &jobs(0..5)).await;
    let state = fleet.coordinator.jobs_state().await.expect("known");
    assert_eq!((state.messages, Some(state.last_sequence)), (5, sequences.iter().max().copied()));
    assert!(state.created_nanos > 1_700_000_000_000_000_000, "a point in our time");
    for delivery in take_exactly(&*fleet.worker, 5).await {
        delivery.settle.ack().await.expect("acknowledged");
    }
    until("they are gone", async || fleet.coordinator.jobs_state().await.expect("known").messages == 0).await;
    let later = fleet.coordinator.jobs_state().await.expect("known");
    assert_eq!((later.created_nanos, later.last_sequence), (state.created_nanos, state.last_sequence));
}

pub async fn outcomes_reach_their_partition_with_the_tenant_of_the_connection(fleet: Fleet) {
    for (number, tenant_name, partition) in [(1, "a", 1), (2, "b", 1), (3, "a", 11), (4, "a", 2)] {
        fleet.worker.report(&tenant(tenant_name), PartitionId(partition), &outcome(number)).await.expect("reported");
    }
    let first = take_outcomes(&*fleet.coordinator, PartitionId(1), 2).await;
    let seen: BTreeMap<u32, TenantId> =
        first.iter().map(|(tenant, delivery)| (delivery.message.token.ordinal, tenant.clone())).collect();
    assert_eq!(seen, [(1, tenant("a")), (2, tenant("b"))].into());
    assert_eq!(take_outcomes(&*fleet.coordinator, PartitionId(11), 1).await[0].1.message, outcome(3));
    assert_eq!(take_outcomes(&*fleet.coordinator, PartitionId(2), 1).await[0].1.message, outcome(4));
}

pub async fn a_repeated_report_is_a_copy(fleet: Fleet) {
    let (to, at) = (tenant("a"), PartitionId(3));
    let first = fleet.worker.report(&to, at, &outcome(1)).await.expect("reported");
    let again = fleet.worker.report(&to, at, &outcome(1)).await.expect("reported");
    assert_eq!((first.duplicate, again.duplicate), (false, true));
    assert_eq!(first.sequence, again.sequence);
    let next = Outcome { report: 2, ..outcome(1) };
    assert!(!fleet.worker.report(&to, at, &next).await.expect("reported").duplicate);
    let taken = take_outcomes(&*fleet.coordinator, at, 2).await;
    assert_eq!(taken.iter().map(|(_, delivery)| delivery.message.report).collect::<Vec<_>>(), [1, 2]);
}

pub async fn settled_outcomes_are_gone_and_others_come_again(fleet: Fleet) {
    let at = PartitionId(4);
    for number in 0..10 {
        fleet.worker.report(&tenant("a"), at, &outcome(number)).await.expect("reported");
    }
    for (_, delivery) in take_outcomes(&*fleet.coordinator, at, 10).await {
        if delivery.message.token.ordinal % 2 == 0 {
            delivery.settle.ack().await.expect("acknowledged");
        }
    }
    let mut again = BTreeSet::new();
    while again.len() < 5 {
        for (_, delivery) in take_outcomes(&*fleet.coordinator, at, 1).await {
            assert!(delivery.deliveries > 1);
            again.insert(delivery.message.token.ordinal);
            delivery.settle.ack().await.expect("acknowledged");
        }
    }
    assert_eq!(again, [1, 3, 5, 7, 9].into());
}

pub async fn calls_that_are_cancelled_lose_no_outcome(fleet: Fleet) {
    const COUNT: u32 = 300;
    let at = PartitionId(5);
    let reporting = async {
        for number in 0..COUNT {
            fleet.worker.report(&tenant("a"), at, &outcome(number)).await.expect("reported");
        }
    };
    let taking = async {
        let mut seen = BTreeSet::new();
        let mut round = 0;
        while seen.len() < COUNT as usize {
            round += 1;
            let brief = Duration::from_micros(100 + (round * 137) % 1900);
            if let Ok(taken) = tokio::time::timeout(brief, fleet.coordinator.outcomes(at, 7)).await {
                for (_, delivery) in taken.expect("taken") {
                    seen.insert(delivery.message.token.ordinal);
                    delivery.settle.ack().await.expect("acknowledged");
                }
            }
        }
    };
    soon("all outcomes come", async { tokio::join!(reporting, taking) }).await;
}

pub async fn the_next_owner_gets_what_the_last_one_left(fleet: Fleet) {
    let at = PartitionId(6);
    for number in 0..50 {
        fleet.worker.report(&tenant("a"), at, &outcome(number)).await.expect("reported");
    }
    for (_, delivery) in take_outcomes(&*fleet.coordinator, at, 10).await {
        delivery.settle.ack().await.expect("acknowledged");
    }
    soon("it leaves", fleet.coordinator.leave(at)).await;
    // What is reported from now on must not reach the last owner.
    fleet.worker.report(&tenant("a"), at, &outcome(50)).await.expect("reported");
    let taken = take_outcomes(&*fleet.other_coordinator, at, 41).await;
    let seen: BTreeSet<u32> = taken.iter().map(|(_, delivery)| delivery.message.token.ordinal).collect();
    assert_eq!(seen, (10..51).collect());
}

pub async fn the_next_owner_gets_what_a_dead_one_had_taken(fleet: Fleet) {
    let at = PartitionId(7);
    for number in 0..20 {
        fleet.worker.report(&tenant("a"), at, &outcome(number)).await.expect("reported");
    }
    drop(take_outcomes(&*fleet.coordinator, at, 5).await);
    drop(fleet.coordinator);
    let taken = take_outcomes(&*fleet.other_coordinator, at, 20).await;
    let seen: BTreeSet<u32> = taken.iter().map(|(_, delivery)| delivery.message.token.ordinal).collect();
    assert_eq!(seen, (0..20).collect());
}

pub async fn a_request_is_answered_by_the_owner_of_its_partition(fleet: Fleet) {
    let owner = fleet.coordinator.clone();
    let serving = tokio::spawn(async move {
        for _ in 0..20 {
            let request = owner.commands(PartitionId(3)).await.expect("a command");
            assert_eq!((&request.tenant, request.partition), (&tenant("a"), PartitionId(3)));
            let answer = [b"done: ", &request.body[..]].concat();
            request.reply.reply(answer.into()).await.expect("answered");
        }
    });
    let ask = |number: u32| {
        let asker = fleet.other_coordinator.clone();
        async move { asker.request(&tenant("a"), PartitionId(3), number.to_string().into(), PATIENCE).await }
    };
    let answers = soon("all are answered", futures::future::join_all((0..20).map(ask))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.expect("answered"), Bytes::from(format!("done: {number}")));
    }
    soon("the owner is done", serving).await.expect("no panic");
}

pub async fn a_request_that_nobody_takes_times_out_and_is_not_executed_later(fleet: Fleet) {
    let at = PartitionId(9);
    let patience = Duration::from_millis(200);
    let late = fleet.other_coordinator.request(&tenant("a"), at, "late".into(), patience).await;
    assert!(matches!(late, Err(BusError::Unavailable(_))), "{late:?}");
    let asker = fleet.other_coordinator.clone();
    let asking = tokio::spawn(async move { asker.request(&tenant("a"), at, "next".into(), PATIENCE).await });
    let request = soon("a command comes", fleet.coordinator.commands(at)).await.expect("a command");
    assert_eq!(request.body, Bytes::from("next"));
    request.reply.reply("ok".into()).await.expect("answered");
    assert_eq!(soon("the answer", asking).await.expect("no panic").expect("answered"), Bytes::from("ok"));
}

pub async fn a_question_is_answered_by_the_owner_of_its_partition(fleet: Fleet) {
    let (at, other) = (PartitionId(4), PartitionId(5));
    let coordinator = fleet.coordinator.clone();
    let owner = tokio::spawn(async move {
        let mut heard = Vec::new();
        while heard.len() < 3 {
            for asked in coordinator.asked(at, 8).await.expect("questions come") {
                let number = asked.outcome.token.ordinal;
                heard.push((asked.tenant, number));
                let granted = number != 2;
                asked.judge.judge(Judgement::new(1, u64::from(number), granted)).await.expect("answered");
            }
        }
        heard
    });
    let mut answers = Vec::new();
    for (number, worker) in [(1, &fleet.worker), (2, &fleet.other_worker), (3, &fleet.worker)] {
        // The owner may not listen yet: who gets no answer asks again.
        let answer = soon("an answer", async {
            loop {
                let asked = worker.ask(&tenant("a"), at, &outcome(number), Duration::from_millis(500)).await;
                if let Ok(judgement) = asked {
                    return judgement;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        answers.push(answer.await);
    }
    let expected = [(1, true), (2, false), (3, true)].map(|(at, granted)| Judgement::new(1, at, granted));
    assert_eq!(answers, expected);
    let heard = soon("the owner has heard all", owner).await.expect("no panic");
    assert_eq!(heard, [1, 2, 3].map(|number| (tenant("a"), number)));
    let elsewhere = fleet.worker.ask(&tenant("a"), other, &outcome(4), Duration::from_millis(100)).await;
    assert!(matches!(elsewhere, Err(BusError::Unavailable(_))), "{elsewhere:?}");
}

pub async fn a_question_that_nobody_answers_says_so_and_can_be_asked_again(fleet: Fleet) {
    let at = PartitionId(6);
    let coordinator = fleet.coordinator.clone();
    let owner = tokio::spawn(async move {
        let mut dropped = 0;
        loop {
            for asked in coordinator.asked(at, 1).await.expect("questions come") {
                // The first one that comes is not answered.
                if dropped == 0 {
                    dropped += 1;
                    continue;
                }
                asked.judge.judge(Judgement::new(1, 9, true)).await.expect("answered");
                return;
            }
        }
    });
    let mut refused = 0;
    let judgement = soon("an answer", async {
        loop {
            match fleet.worker.ask(&tenant("a"), at, &outcome(1), Duration::from_millis(200)).await {
                Ok(judgement) => return judgement,
                Err(BusError::Unavailable(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(judgement.granted && judgement.position == 9 && refused > 0, "{judgement:?} after {refused}");
    soon("the owner ends", owner).await.expect("no panic");
}

pub async fn hints_reach_the_listeners_of_their_tenant(fleet: Fleet) {
    let mut here = fleet.worker.controls(&tenant("a")).await.expect("listening");
    let mut there = fleet.other_worker.controls(&tenant("a")).await.expect("listening");
    let mut elsewhere = fleet.other_worker.controls(&tenant("b")).await.expect("listening");
    let execution: ExecutionId = numbered(1);
    let hints = [Control::Cancel { execution }, Control::Abandon { execution, ordinal: 2, attempt: 3 }];
    for hint in &hints {
        fleet.coordinator.control(&tenant("a"), hint).await.expect("told");
    }
    let other = Control::Cancel { execution: numbered(2) };
    fleet.coordinator.control(&tenant("b"), &other).await.expect("told");
    for listener in [&mut here, &mut there] {
        let heard = soon("hints come", listener.take(2).collect::<Vec<_>>()).await;
        assert_eq!(heard, hints);
    }
    assert_eq!(soon("its hint comes", elsewhere.next()).await, Some(other));
}

pub async fn what_is_too_large_is_refused_with_the_limit(fleet: Fleet) {
    const LIMIT: usize = PAYLOAD_LIMIT as usize;
    fleet.coordinator.declare_queue(&queue("default")).await.expect("declared");
    let large = Job { input: text(LIMIT), ..job(1, Priority::Normal) };
    let fits = job(2, Priority::Normal);
    let results = fleet.coordinator.publish_jobs(&[large, fits]).await;
    assert!(
        matches!(&results[0], Err(BusError::TooLarge { found, limit: LIMIT }) if *found > LIMIT),
        "{:?}",
        results[0]
    );
    assert!(results[1].is_ok(), "one failure does not stop the others");
    let result = OutcomeResult::Completed { output: text(LIMIT), duration_us: 1 };
    let large = Outcome { result, ..outcome(1) };
    let refused = fleet.worker.report(&tenant("a"), PartitionId(1), &large).await;
    assert!(matches!(refused, Err(BusError::TooLarge { limit: LIMIT, .. })), "{refused:?}");
}
