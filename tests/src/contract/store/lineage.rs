//! Logs that continue others.

use std::sync::Arc;

use futures::future::join_all;
use stepstream_coordinator::ports::{Append, Appended, LINEAGE_DEPTH, Lineage, StoreError};
use stepstream_shared::id::ExecutionId;

use super::racing::{gapless, next_append};
use super::sample::{LONG, PARTITIONS, SharedStore, append, execution, following, own, summary, tenant};

/// The first append of an execution that continues another's log behind this append.
fn heir(number: u64, last: &Append, size: u64) -> Append {
    let first = append(&last.tenant, execution(number), 1, size);
    Append {
        first_seq: last.last_seq + 1,
        last_seq: last.last_seq + size,
        previous_first_seq: last.first_seq,
        origin: Some(Lineage { execution: last.execution, sequence: last.last_seq }),
        ..first
    }
}

async fn one(store: &SharedStore, append: &Append) -> Appended {
    store.append(std::slice::from_ref(append)).await.unwrap().remove(0)
}

async fn commit(store: &SharedStore, append: Append) -> Append {
    assert_eq!(one(store, &append).await, Appended::Committed, "{append:?}");
    append
}

/// So many appends of two events each.
async fn log(store: &SharedStore, number: u64, appends: usize) -> Vec<Append> {
    let mut log = vec![commit(store, append(&tenant("x"), execution(number), 1, 2)).await];
    while log.len() < appends {
        log.push(commit(store, following(log.last().unwrap(), 2)).await);
    }
    log
}

/// A continuation of `last`, of so many appends of three events each.
async fn fork(store: &SharedStore, number: u64, last: &Append, appends: usize) -> Vec<Append> {
    let mut log = vec![commit(store, heir(number, last, 3)).await];
    while log.len() < appends {
        log.push(commit(store, following(log.last().unwrap(), 3)).await);
    }
    log
}

/// The hashes of a log, read by pages of this size, and that nothing is missing in it.
async fn hashes(store: &SharedStore, id: ExecutionId, limit: u32) -> Vec<[u8; 32]> {
    let mut seen = Vec::new();
    let mut end = 0;
    loop {
        let page = store.read(&tenant("x"), id, end, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        if page.is_empty() {
            return seen;
        }
        for row in page {
            assert_eq!(row.first_seq, end + 1, "{id} by pages of {limit}");
            end = row.last_seq;
            seen.push(row.hash);
        }
    }
}

fn of(parts: &[&[Append]]) -> Vec<[u8; 32]> {
    parts.iter().flat_map(|part| part.iter().map(|append| append.hash)).collect()
}

pub async fn a_log_that_continues_another_reads_as_one(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 10).await;
    let own = fork(&store, 2, &origin[5], 4).await;
    let expected = of(&[&origin[..6], &own]);
    for limit in [1, 2, 3, 5, 6, 7, 9, 10, 100] {
        assert_eq!(hashes(&store, execution(2), limit).await, expected, "by pages of {limit}");
    }
    // One page has both sides of the border, and begins in the middle of an append on each side.
    for (after, firsts) in [
        (0, vec![1, 3, 5]),
        (9, vec![9, 11, 13]),
        (10, vec![11, 13, 16]),
        (11, vec![11, 13, 16]),
        (12, vec![13, 16, 19]),
        (14, vec![13, 16, 19]),
        (21, vec![22]),
        (24, vec![]),
        (u64::MAX, vec![]),
    ] {
        let page = store.read(&tenant("x"), execution(2), after, 3).await.unwrap();
        assert_eq!(page.iter().map(|row| row.first_seq).collect::<Vec<_>>(), firsts, "after {after}");
    }
    assert!(store.read(&tenant("x"), execution(2), 0, 0).await.unwrap().is_empty());
    // What it inherits is read as it is stored, bodies and all.
    let read = store.read(&tenant("x"), execution(2), 0, 100).await.unwrap();
    assert_eq!((&read[5].body, &read[6].body), (&origin[5].body, &own[0].body));
    let lineage = store.lineage(&tenant("x"), execution(2)).await.unwrap();
    assert_eq!(lineage, [Lineage { execution: execution(1), sequence: 12 }]);
    assert!(store.lineage(&tenant("x"), execution(1)).await.unwrap().is_empty());
    assert!(store.lineage(&tenant("x"), execution(9)).await.unwrap().is_empty());
}

pub async fn a_log_and_its_continuation_grow_apart(store: SharedStore) {
    own(&store, "a").await;
    let mut origin = log(&store, 1, 3).await;
    let mut left = fork(&store, 2, &origin[2], 1).await;
    let mut right = fork(&store, 3, &origin[2], 1).await;
    for _ in 0..3 {
        for log in [&mut origin, &mut left, &mut right] {
            let next = commit(&store, following(log.last().unwrap(), 1)).await;
            log.push(next);
        }
    }
    assert_eq!(hashes(&store, execution(1), 2).await, of(&[&origin]));
    assert_eq!(hashes(&store, execution(2), 2).await, of(&[&origin[..3], &left]));
    assert_eq!(hashes(&store, execution(3), 2).await, of(&[&origin[..3], &right]));
}

pub async fn a_continuation_can_be_continued_anywhere(store: SharedStore) {
    own(&store, "a").await;
    let first = log(&store, 1, 5).await;
    let second = fork(&store, 2, &first[3], 4).await;
    let third = fork(&store, 3, &second[1], 3).await;
    let fourth = fork(&store, 4, &third[2], 2).await;
    let expected = of(&[&first[..4], &second[..2], &third, &fourth]);
    for limit in [1, 2, 3, 4, 5, 7, 100] {
        assert_eq!(hashes(&store, execution(4), limit).await, expected, "by pages of {limit}");
    }
    let lineage = store.lineage(&tenant("x"), execution(4)).await.unwrap();
    let ends = [(3, third[2].last_seq), (2, second[1].last_seq), (1, first[3].last_seq)];
    assert_eq!(lineage, ends.map(|(number, sequence)| Lineage { execution: execution(number), sequence }));

    // Behind what it has itself inherited, at the border and before: continued from where that is stored.
    for (number, at, expected) in [
        (5, &first[1], of(&[&first[..2]])),
        (6, &first[3], of(&[&first[..4]])),
        (7, &second[0], of(&[&first[..4], &second[..1]])),
    ] {
        let mut next = heir(number, at, 1);
        next.origin = Some(Lineage { execution: execution(4), sequence: at.last_seq });
        let next = commit(&store, next).await;
        let expected = [expected, of(&[&[next]])].concat();
        assert_eq!(hashes(&store, execution(number), 3).await, expected);
        let lineage = store.lineage(&tenant("x"), execution(number)).await.unwrap();
        assert_eq!(lineage[0], Lineage { execution: at.execution, sequence: at.last_seq });
    }
}

pub async fn what_an_origin_does_not_have_cannot_be_continued(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 4).await;
    let branch = fork(&store, 2, &origin[1], 2).await;
    let strange = commit(&store, append(&tenant("y"), execution(3), 1, 2)).await;
    let changed = |last: &Append, change: fn(&mut Append)| {
        let mut changed = heir(9, last, 1);
        change(&mut changed);
        changed
    };
    let shift = |append: &mut Append, by: i64| {
        append.first_seq = append.first_seq.wrapping_add_signed(by);
        append.last_seq = append.last_seq.wrapping_add_signed(by);
        append.origin.as_mut().unwrap().sequence = append.first_seq - 1;
    };
    let mut middle = heir(9, &origin[2], 1);
    shift(&mut middle, -1);
    let mut beyond = heir(9, &origin[3], 1);
    shift(&mut beyond, 1);
    let mut past_the_border = heir(9, &origin[2], 1);
    past_the_border.origin = Some(Lineage { execution: branch[0].execution, sequence: origin[2].last_seq });
    let cases = [
        ("the middle of an append", middle),
        ("beyond the end", beyond),
        ("another predecessor", changed(&origin[2], |append| append.previous_first_seq -= 2)),
        (
            "an execution that is not there",
            changed(&origin[2], |append| {
                append.origin = append.origin.map(|origin| Lineage { execution: execution(77), ..origin });
            }),
        ),
        ("what the origin's origin has behind the border", past_the_border),
        ("another tenant's log", Append { tenant: tenant("x"), ..heir(9, &strange, 1) }),
        ("a log of ours, as another tenant", Append { tenant: tenant("y"), ..heir(9, &origin[2], 1) }),
    ];
    for (what, append) in cases {
        let append = Append { summary: Some(summary("Running", 1, 1)), ..append };
        assert_eq!(one(&store, &append).await, Appended::Conflict, "{what}");
        for name in ["x", "y"] {
            assert!(store.read(&tenant(name), execution(9), 0, 10).await.unwrap().is_empty(), "{what}");
            assert!(store.lineage(&tenant(name), execution(9)).await.unwrap().is_empty(), "{what}");
            assert_eq!(store.find(&tenant(name), execution(9)).await.unwrap(), None, "{what}");
        }
    }
    assert!(!store.logged(None, 100).await.unwrap().iter().any(|(_, id, _)| *id == execution(9)));
    // Nothing was left behind that keeps it from beginning.
    commit(&store, append(&tenant("x"), execution(9), 1, 1)).await;
}

pub async fn an_execution_begins_once_by_itself_or_as_a_continuation(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 4).await;
    let branch = fork(&store, 2, &origin[2], 2).await;
    assert_eq!(one(&store, &branch[0]).await, Appended::AlreadyThere, "the same again");
    assert_eq!(one(&store, &branch[1]).await, Appended::AlreadyThere);
    for (what, late) in [
        ("by itself", append(&tenant("x"), execution(2), 1, 1)),
        ("by itself, as long as what it shares", append(&tenant("x"), execution(2), 1, 6)),
        ("at the same place", heir(2, &origin[2], 3)),
        ("earlier", heir(2, &origin[0], 1)),
        ("later", heir(2, &origin[3], 1)),
        ("behind another origin", heir(2, &fork(&store, 3, &origin[0], 4).await[3], 1)),
    ] {
        assert_eq!(one(&store, &late).await, Appended::Conflict, "{what}");
    }
    assert_eq!(hashes(&store, execution(2), 10).await, of(&[&origin[..3], &branch]));

    // One that began by itself stays so.
    let plain = log(&store, 4, 3).await;
    for at in [&origin[0], &origin[2], &origin[3]] {
        assert_eq!(one(&store, &heir(4, at, 1)).await, Appended::Conflict);
    }
    assert_eq!(hashes(&store, execution(4), 10).await, of(&[&plain]));

    // And what follows a beginning follows its last append, not what it shares.
    let mut stale = following(&branch[0], 1);
    stale.previous_first_seq = origin[2].first_seq;
    assert_eq!(one(&store, &stale).await, Appended::Conflict);
    let mut first_again = following(&branch[1], 1);
    (first_again.first_seq, first_again.last_seq, first_again.previous_first_seq) = (7, 9, 1);
    assert_eq!(one(&store, &first_again).await, Appended::Conflict);
    commit(&store, following(&branch[1], 1)).await;
}

pub async fn a_continuation_is_seen_by_its_tenant_only(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 2).await;
    let first = Append { summary: Some(summary("Running", 3, 3)), ..heir(2, &origin[1], 1) };
    commit(&store, first).await;
    for after in [0, 3, 4] {
        assert!(store.read(&tenant("y"), execution(2), after, 10).await.unwrap().is_empty());
    }
    assert!(store.lineage(&tenant("y"), execution(2)).await.unwrap().is_empty());
    assert_eq!(store.find(&tenant("y"), execution(2)).await.unwrap(), None);
    let found = store.find(&tenant("x"), execution(2)).await.unwrap().unwrap();
    assert_eq!(found.summary, summary("Running", 3, 3));
    let mut logged: Vec<_> = store.logged(None, 10).await.unwrap().into_iter().map(|(_, id, _)| id).collect();
    logged.sort_unstable();
    let mut expected = [execution(1), execution(2)];
    expected.sort_unstable();
    assert_eq!(logged, expected, "each once");
}

pub async fn continuations_stand_or_fall_one_by_one_among_other_appends(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 3).await;
    fork(&store, 2, &origin[0], 1).await;
    let branch = fork(&store, 3, &origin[0], 1).await;
    let grown = following(&origin[2], 2);
    let batch = [
        heir(10, &origin[1], 1),
        append(&tenant("x"), execution(11), 1, 1),
        heir(2, &origin[1], 1),
        // What is on its way in this batch is not there for it.
        heir(12, &grown, 1),
        grown.clone(),
        Append { epoch: 7, ..heir(13, &origin[1], 1) },
        heir(14, &branch[0], 2),
    ]
    .map(|append| Append { summary: Some(summary("Running", 1, 1)), ..append });
    let answers = store.append(&batch).await.unwrap();
    use Appended::{Committed, Conflict, Fenced};
    assert_eq!(answers, [Committed, Committed, Conflict, Conflict, Committed, Fenced, Committed]);
    for (number, there) in [(10, true), (11, true), (12, false), (13, false), (14, true)] {
        assert_eq!(store.find(&tenant("x"), execution(number)).await.unwrap().is_some(), there, "{number}");
        assert_eq!(!hashes(&store, execution(number), 10).await.is_empty(), there, "{number}");
    }
    assert_eq!(store.append(&batch[..1]).await.unwrap(), [Appended::AlreadyThere]);
    commit(&store, heir(12, &grown, 1)).await;

    // More than fit into one statement of any adapter.
    let many: Vec<Append> =
        (100..1700)
            .map(|number| {
                if number % 4 == 0 {
                    heir(number, &origin[1], 2)
                } else {
                    append(&tenant("x"), execution(number), 1, 1)
                }
            })
            .collect();
    let answers = store.append(&many).await.unwrap();
    assert!(answers.iter().all(|answer| *answer == Appended::Committed));
}

pub async fn a_continuation_under_a_lost_partition_is_fenced(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 2).await;
    let first = heir(2, &origin[1], 1);
    assert_eq!(store.acquire(first.partition, "b", LONG, true).await.unwrap(), Some(2));
    assert_eq!(one(&store, &first).await, Appended::Fenced);
    assert!(hashes(&store, execution(2), 10).await.is_empty());
    let first = commit(&store, Append { epoch: 2, ..first }).await;
    store.acquire(first.partition, "c", LONG, true).await.unwrap();
    assert_eq!(one(&store, &first).await, Appended::AlreadyThere);
}

pub async fn a_continuation_that_no_correct_caller_builds_is_refused(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 3).await;
    let spoilt = |change: fn(&mut Append)| {
        let mut bad = heir(2, &origin[1], 1);
        change(&mut bad);
        bad
    };
    let first = heir(3, &origin[1], 1);
    let bad = [
        ("its own origin", vec![spoilt(|append| append.execution = execution(1))]),
        ("a border elsewhere", vec![spoilt(|append| append.first_seq += 1)]),
        (
            "a border at the end of numbers",
            vec![spoilt(|append| {
                append.origin = append.origin.map(|origin| Lineage { sequence: u64::MAX, ..origin });
            })],
        ),
        ("no predecessor", vec![spoilt(|append| append.previous_first_seq = 0)]),
        ("an origin that begins in the same batch", vec![heir(2, &first, 1), first]),
    ];
    for (what, mut bad) in bad {
        for append in &mut bad {
            append.partition = stepstream_shared::id::PartitionId::of(append.execution, PARTITIONS);
        }
        let answer = store.append(&bad).await;
        assert!(matches!(answer, Err(StoreError::Refused { .. })), "{what}: {answer:?}");
    }
    assert!(hashes(&store, execution(2), 10).await.is_empty());
}

pub async fn a_lineage_has_a_limit_and_is_read_up_to_it(store: SharedStore) {
    own(&store, "a").await;
    let depth = LINEAGE_DEPTH as u64;
    let mut last = commit(&store, append(&tenant("x"), execution(0), 1, 1)).await;
    let mut all = vec![last.clone()];
    for number in 1..=depth {
        last = commit(&store, heir(number, &last, 1)).await;
        all.push(last.clone());
    }
    assert_eq!(store.lineage(&tenant("x"), execution(depth)).await.unwrap().len(), LINEAGE_DEPTH);
    for limit in [7, 100] {
        assert_eq!(hashes(&store, execution(depth), limit).await, of(&[&all]));
    }
    assert_eq!(one(&store, &heir(depth + 1, &last, 1)).await, Appended::Conflict, "one too deep");
    // What the deepest has from the one before it is not deeper than that.
    let mut beside = heir(depth + 2, &all[LINEAGE_DEPTH - 1], 1);
    beside.origin = Some(Lineage { execution: last.execution, sequence: last.last_seq - 1 });
    commit(&store, beside).await;
    commit(&store, following(&last, 1)).await;
}

pub async fn of_many_beginnings_of_one_execution_one_wins(store: SharedStore) {
    own(&store, "a").await;
    let origin = log(&store, 1, 8).await;
    for number in 100..120 {
        let mut beginnings: Vec<Append> = origin.iter().map(|last| heir(number, last, 2)).collect();
        beginnings.push(append(&tenant("x"), execution(number), 1, 2));
        let racing = beginnings.into_iter().map(|append| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { (one(&store, &append).await, append) })
        });
        let answers: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = answers.iter().filter(|(answer, _)| *answer == Appended::Committed).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let log = store.read(&tenant("x"), execution(number), 0, 100).await.unwrap();
        assert_eq!(log.last().unwrap().hash, won[0].1.hash);
        commit(&store, next_append(&store, execution(number), 1).await).await;
        assert_eq!(log_end(&store, number).await, won[0].1.last_seq + 1);
    }
}

/// Where a log ends that has no gap, under epochs that never fall: all are of one owner here.
async fn log_end(store: &SharedStore, number: u64) -> u64 {
    gapless(store, &tenant("x"), execution(number)).await
}
