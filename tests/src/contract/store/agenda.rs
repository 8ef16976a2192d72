//! The agenda: which executions owe something, and which wait for a moment.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepstream_coordinator::ports::{
    Agenda, AgendaMove, AgendaRow, Append, Appended, Lineage, StoredGraph, TimerCursor,
};
use stepstream_coordinator::reading::Reader;
use stepstream_shared::data::Data;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::event::{Actor, Causation, Envelope, codec};
use stepstream_shared::execution::{Command, Execution, StartRequest, WaitReason};
use stepstream_shared::graph::{CompiledGraph, Graphs, LimitOverrides, Source, compile};
use stepstream_shared::id::PartitionId;
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::ClaimId;

use super::sample::{PARTITIONS, SharedStore, append, execution, following, own, tenant};

const FOREVER: Timestamp = Timestamp::from_micros(i64::MAX);

fn at(micros: i64) -> Agenda {
    Agenda::At(Timestamp::from_micros(micros))
}

fn all_partitions() -> Vec<PartitionId> {
    (0..PARTITIONS).map(PartitionId).collect()
}

async fn commit(store: &SharedStore, append: Append) -> Append {
    assert_eq!(store.append(std::slice::from_ref(&append)).await.unwrap(), [Appended::Committed]);
    append
}

/// Starts an execution that stands there.
async fn begun(store: &SharedStore, number: u64, agenda: Agenda) -> Append {
    let first = append(&tenant("x"), execution(number), 1, 1);
    commit(store, Append { agenda: Some(agenda.into()), ..first }).await
}

async fn then(store: &SharedStore, last: &Append, agenda: Option<Agenda>) -> Append {
    commit(store, Append { agenda: agenda.map(Into::into), ..following(last, 1) }).await
}

async fn place(store: &SharedStore, number: u64) -> Agenda {
    store.agenda(&tenant("x"), execution(number)).await.unwrap()
}

/// All that is in the outbox of these partitions, read by pages of this size.
async fn outbox(store: &SharedStore, partitions: &[PartitionId], limit: u32) -> Vec<AgendaRow> {
    let mut seen: Vec<AgendaRow> = Vec::new();
    loop {
        let after = seen.last().map(|row| row.execution);
        let page = store.outbox(partitions, after, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        if page.is_empty() {
            return seen;
        }
        seen.extend(page);
    }
}

/// All timers of these partitions before a moment, read by pages of this size.
async fn timers(store: &SharedStore, partitions: &[PartitionId], before: Timestamp, limit: u32) -> Vec<AgendaRow> {
    let mut seen: Vec<AgendaRow> = Vec::new();
    loop {
        let after =
            seen.last().map(|row| TimerCursor { due_at: row.agenda.due_at().unwrap(), execution: row.execution });
        let page = store.timers(partitions, before, after, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        if page.is_empty() {
            return seen;
        }
        seen.extend(page);
    }
}

/// All of it: the outbox in the order of ids, then the timers in theirs.
async fn whole(store: &SharedStore) -> Vec<AgendaRow> {
    let mut rows = outbox(store, &all_partitions(), 100).await;
    rows.extend(timers(store, &all_partitions(), FOREVER, 100).await);
    rows
}

fn row(number: u64, agenda: Agenda) -> AgendaRow {
    let partition = PartitionId::of(execution(number), PARTITIONS);
    AgendaRow { tenant: tenant("x"), execution: execution(number), partition, agenda }
}

pub async fn an_execution_is_on_the_agenda_where_its_last_word_put_it(store: SharedStore) {
    own(&store, "a").await;
    let silent = commit(&store, append(&tenant("x"), execution(1), 1, 1)).await;
    assert!(whole(&store).await.is_empty());
    let mut last = silent;
    // From every place to every other, and to itself.
    let places = [Agenda::Now, at(5), Agenda::Nothing, Agenda::Nothing, at(7), at(3), at(3), Agenda::Now, Agenda::Now];
    for agenda in places.into_iter().chain([Agenda::Nothing, Agenda::Now, Agenda::Nothing]) {
        last = then(&store, &last, Some(agenda)).await;
        for _ in 0..2 {
            let expected = if agenda == Agenda::Nothing { vec![] } else { vec![row(1, agenda)] };
            assert_eq!((place(&store, 1).await, whole(&store).await), (agenda, expected));
            // Whoever says nothing leaves it there.
            last = then(&store, &last, None).await;
        }
    }
}

pub async fn an_append_that_is_not_committed_leaves_the_agenda_alone(store: SharedStore) {
    own(&store, "a").await;
    let mut beside = 100;
    for (number, stands) in [(1, Agenda::Now), (2, at(5))] {
        let first = begun(&store, number, stands).await;
        let second = then(&store, &first, None).await;
        for wrong in [Agenda::Now, at(9), Agenda::Nothing] {
            let stale = Append { agenda: Some(wrong.into()), ..following(&first, 1) };
            let fenced = Append { epoch: 9, agenda: Some(wrong.into()), ..following(&second, 1) };
            let intruder = Append { tenant: tenant("y"), agenda: Some(wrong.into()), ..following(&second, 1) };
            // What an earlier try stored is there, but it is not the last word by now.
            let late = Append { agenda: Some(wrong.into()), ..first.clone() };
            for refused in [stale, fenced, intruder, late] {
                beside += 1;
                let other = append(&tenant("x"), execution(beside), 1, 1);
                let answers = store.append(&[refused, Append { agenda: Some(at(1).into()), ..other }]).await.unwrap();
                assert_ne!(answers[0], Appended::Committed);
                assert_eq!((&answers[1], place(&store, number).await), (&Appended::Committed, stands));
                assert_eq!(place(&store, beside).await, at(1), "the rest of its batch is written");
            }
        }
    }
}

pub async fn a_continuation_enters_the_agenda_with_its_first_append(store: SharedStore) {
    own(&store, "a").await;
    let origin = begun(&store, 1, Agenda::Now).await;
    let heir = |number| Append {
        first_seq: 2,
        last_seq: 3,
        previous_first_seq: 1,
        origin: Some(Lineage { execution: origin.execution, sequence: 1 }),
        ..append(&tenant("x"), execution(number), 1, 2)
    };
    let first = commit(&store, Append { agenda: Some(Agenda::Now.into()), ..heir(2) }).await;
    commit(&store, Append { agenda: Some(at(4).into()), ..heir(3) }).await;
    assert_eq!(
        [place(&store, 1).await, place(&store, 2).await, place(&store, 3).await],
        [Agenda::Now, Agenda::Now, at(4)]
    );
    then(&store, &first, Some(Agenda::Nothing)).await;
    assert_eq!([place(&store, 1).await, place(&store, 2).await], [Agenda::Now, Agenda::Nothing]);
}

pub async fn the_outbox_is_read_page_by_page_for_the_partitions_asked_for(store: SharedStore) {
    own(&store, "a").await;
    for number in 0..30 {
        begun(&store, number, if number % 3 == 0 { at(5) } else { Agenda::Now }).await;
    }
    let wanted = [PartitionId(1), PartitionId(2), PartitionId(6)];
    let mut expected: Vec<AgendaRow> =
        (0..30).filter(|number| number % 3 != 0).map(|number| row(number, Agenda::Now)).collect();
    expected.retain(|row| wanted.contains(&row.partition));
    expected.sort_by_key(|row| row.execution);
    assert!(expected.len() > 3, "the sample is too small to show anything");
    for limit in [1, 2, 100] {
        assert_eq!(outbox(&store, &wanted, limit).await, expected);
    }
    assert!(store.outbox(&[], None, 10).await.unwrap().is_empty());
}

pub async fn the_timers_are_read_in_the_order_of_their_moments_also_when_many_share_one(store: SharedStore) {
    own(&store, "a").await;
    let mut rows = Vec::new();
    for number in 0..120 {
        // Four moments, one of them before 1970; and some that owe something instead.
        let agenda = if number % 5 == 0 { Agenda::Now } else { at([-7, 3, 3, 10][number as usize % 4]) };
        begun(&store, number, agenda).await;
        rows.push(row(number, agenda));
    }
    rows.retain(|row| row.agenda != Agenda::Now);
    rows.sort_by_key(|row| (row.agenda.due_at(), row.execution));
    for limit in [1, 3, 100] {
        assert_eq!(timers(&store, &all_partitions(), FOREVER, limit).await, rows);
    }
    let wanted = [PartitionId(0), PartitionId(3), PartitionId(5)];
    let due: Vec<AgendaRow> = rows
        .into_iter()
        .filter(|row| row.agenda.due_at() < Some(Timestamp::from_micros(10)) && wanted.contains(&row.partition))
        .collect();
    assert!(due.len() > 3, "the sample is too small to show anything");
    for limit in [1, 2, 100] {
        assert_eq!(timers(&store, &wanted, Timestamp::from_micros(10), limit).await, due);
    }
    assert!(store.timers(&[], FOREVER, None, 10).await.unwrap().is_empty());
}

pub async fn another_tenants_place_on_the_agenda_is_nowhere(store: SharedStore) {
    own(&store, "a").await;
    for (number, agenda) in [(1, Agenda::Now), (2, at(5))] {
        begun(&store, number, agenda).await;
        assert_eq!(store.agenda(&tenant("y"), execution(number)).await.unwrap(), Agenda::Nothing);
        assert_eq!(place(&store, number).await, agenda);
    }
    let theirs = append(&tenant("y"), execution(3), 1, 1);
    commit(&store, Append { agenda: Some(Agenda::Now.into()), ..theirs }).await;
    // Coordinators drive the executions of all tenants, and are told whose each is.
    let tenants: Vec<_> = whole(&store).await.into_iter().map(|row| (row.execution, row.tenant)).collect();
    assert!(tenants.contains(&(execution(1), tenant("x"))) && tenants.contains(&(execution(3), tenant("y"))));
}

pub async fn a_large_batch_moves_executions_on_the_agenda_each_its_own_way(store: SharedStore) {
    const MANY: u64 = 1_500;
    own(&store, "a").await;
    let ways = |number: u64, round: u64| match (number + round) % 4 {
        0 => Some(Agenda::Now),
        1 => Some(at(i64::try_from(number).unwrap())),
        2 => Some(Agenda::Nothing),
        _ => None,
    };
    let mut last: Vec<Append> = Vec::new();
    let mut stands: Vec<Agenda> = vec![Agenda::Nothing; MANY as usize];
    for round in 0..3 {
        let batch: Vec<Append> = (0..MANY)
            .map(|number| match last.get(number as usize) {
                None => append(&tenant("x"), execution(number), 1, 1),
                Some(last) => following(last, 1),
            })
            .zip((0..MANY).map(|number| ways(number, round)))
            .zip(&stands)
            // Half of them say where they stand.
            .map(|((append, to), from)| {
                let known = append.execution.as_bytes()[0].is_multiple_of(2);
                Append { agenda: to.map(|to| AgendaMove { from: known.then_some(*from), to }), ..append }
            })
            .collect();
        assert!(store.append(&batch).await.unwrap().iter().all(|each| *each == Appended::Committed));
        for (stands, append) in stands.iter_mut().zip(&batch) {
            *stands = append.agenda.map_or(*stands, |agenda| agenda.to);
        }
        last = batch;
        let mut expected: Vec<AgendaRow> = (0..MANY)
            .map(|number| row(number, stands[number as usize]))
            .filter(|row| row.agenda != Agenda::Nothing)
            .collect();
        expected.sort_by_key(|row| (row.agenda.due_at(), row.execution));
        assert!(whole(&store).await == expected, "round {round}");
    }
}

pub async fn an_agenda_that_was_cleared_can_be_written_anew(store: SharedStore) {
    own(&store, "a").await;
    for number in 0..12 {
        begun(&store, number, [Agenda::Now, at(3), Agenda::Nothing, at(9)][number as usize % 4]).await;
    }
    let before = whole(&store).await;
    assert_eq!(before.len(), 9);
    store.clear_agenda().await.unwrap();
    assert!(whole(&store).await.is_empty());
    store.write_agenda(&[]).await.unwrap();
    store.write_agenda(&before).await.unwrap();
    // Twice is the same as once, and what stands nowhere has no row.
    store.write_agenda(&before).await.unwrap();
    store.write_agenda(&[row(50, Agenda::Nothing)]).await.unwrap();
    assert_eq!(whole(&store).await, before);
}

pub async fn rebuilding_the_agenda_does_not_undo_what_is_newer(store: SharedStore) {
    own(&store, "a").await;
    for (number, computed, newer) in
        [(1, Agenda::Now, at(4)), (2, at(4), Agenda::Now), (3, at(4), at(9)), (4, at(9), at(4))]
    {
        let first = begun(&store, number, computed).await;
        store.clear_agenda().await.unwrap();
        // While the rebuild computes, the execution moves on.
        then(&store, &first, Some(newer)).await;
        store.write_agenda(&[row(number, computed)]).await.unwrap();
        assert_eq!((place(&store, number).await, whole(&store).await), (newer, vec![row(number, newer)]));
    }
}

/// Chance that is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Steps side by side that fail and wait, a map, and a limit for the whole.
const GRAPH: &str = "
stepstream: 1
name: walk
limits: { wall_time: 8h }
nodes:
  a: { task: t, retry: { max_attempts: 9, backoff: constant, base: 1h, max: 1h }, next: [ { to: c } ] }
  b: { task: t, timeout: { start_to_close: 10m }, retry: { max_attempts: 9, backoff: constant, base: 3s, max: 3s },
       next: [ { to: c } ] }
  c: { map: { over: '=[1, 2, 3]', max_concurrency: 2 }, task: t, with: '=item', next: [ { to: d } ] }
  d: { task: t }
";

/// An execution that is driven at random, with its place on the agenda kept as an engine keeps it.
async fn walk(store: &SharedStore, graph: &Arc<CompiledGraph>, seed: u64) {
    let (tenant, graphs) = (tenant("x"), Graphs::one(graph.clone()));
    let (id, mut dice) = (execution(seed), Dice(seed));
    let mut run = Execution::empty(id, tenant.clone());
    let (mut head, mut previous, mut stands) = (codec::genesis(&tenant, id), 0, Agenda::Nothing);
    let mut now = Timestamp::from_micros(1_700_000_000_000_000);
    for _ in 0..dice.below(30) {
        now = now.after(Duration::from_secs(dice.below(600)));
        let open: Vec<u32> = run.open_steps().collect();
        let step = open.get(dice.below(open.len().max(1) as u64) as usize).copied().unwrap_or(0);
        let attempt = run.step(step).map_or(1, |step| step.attempt());
        let (worker, claim) = ("w".to_owned(), ClaimId(1));
        let command = match dice.below(12) {
            _ if run.sequence() == 0 => Command::Create(Box::new(StartRequest {
                graph: graph.digest,
                inputs: Data::from_json(&json!({})).unwrap(),
                planning: dice.below(9) == 0,
                parent: None,
                origin: None,
                request_hash: None,
                metadata: None,
                breakpoints: Vec::new(),
                limits: LimitOverrides::default(),
                background: None,
                governed: false,
            })),
            0..=2 => Command::Completed { step, attempt, worker, claim, output: Data::null(), duration_us: 1 },
            3..=5 => {
                let error = ExecutionError::new(ErrorCategory::NetworkError, "no");
                Command::Failed { step, attempt, worker, claim, error, duration_us: 1, chance: 0.5 }
            }
            6 => Command::Started { step, attempt, worker, claim },
            7 => Command::Pause { reason: "because".to_owned() },
            8 => Command::Resume,
            9 => Command::Wait { reason: WaitReason::Approval },
            10 => match dice.below(12) {
                0 => Command::Cancel { reason: "because".to_owned() },
                1 => Command::Start,
                _ => Command::Input { input: Data::null() },
            },
            _ => {
                now = run.next_deadline().map_or(now, |due| due.max(now));
                Command::Tick { chance: 0.5 }
            }
        };
        let Ok(decided) = run.decide_in_place(&graphs, command, now) else { continue };
        let envelope = Envelope { at: decided.at, actor: Actor::System, causation: Causation::Deadline, trace: None };
        let (last_seq, count) = (run.sequence(), decided.events.len() as u64);
        let encoded = codec::encode(&head, &envelope, decided.events, [3; 16]).unwrap();
        let agenda = Agenda::from(run.rest());
        let first_seq = last_seq + 1 - count;
        let append = Append {
            first_seq,
            last_seq,
            previous_first_seq: previous,
            hash: encoded.hash,
            body: encoded.body,
            agenda: (agenda != stands).then_some(AgendaMove { from: Some(stands), to: agenda }),
            ..append(&tenant, id, 1, 1)
        };
        commit(store, append).await;
        (head, previous, stands) = (encoded.hash, first_seq, agenda);
    }
}

pub async fn the_agenda_rebuilt_from_the_logs_is_the_one_that_the_appends_left(store: SharedStore) {
    own(&store, "a").await;
    let graph = Arc::new(compile(&Source { name: "walk.yaml", text: GRAPH }).unwrap());
    let registered = StoredGraph {
        digest: graph.digest,
        name: graph.name.clone(),
        version: graph.version.clone(),
        document: graph.canonical.clone(),
        registered_at: Timestamp::default(),
    };
    store.put_graph(&tenant("x"), &registered).await.unwrap();
    for seed in 0..120 {
        walk(&store, &graph, seed).await;
    }
    let left = whole(&store).await;
    let owing = left.iter().filter(|row| row.agenda == Agenda::Now).count();
    assert!(owing > 10 && left.len() - owing > 10 && left.len() < 110, "{owing} owe something, {} in all", left.len());

    store.clear_agenda().await.unwrap();
    let reader = Reader::new(store.clone());
    let logged = store.logged(None, 1_000).await.unwrap();
    for (tenant, id, partition) in logged {
        let loaded = reader.load(&tenant, id, None).await.unwrap();
        let row: Vec<AgendaRow> = AgendaRow::of(&loaded.execution, partition).into_iter().collect();
        store.write_agenda(&row).await.unwrap();
    }
    assert_eq!(whole(&store).await, left);
}
