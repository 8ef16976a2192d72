//! What goes into a log, and what does not.

use bytes::Bytes;
use stepstream_coordinator::ports::{Append, Appended, StoreError};
use stepstream_shared::id::PartitionId;

use super::sample::{LONG, PARTITIONS, SharedStore, append, execution, following, own, summary, tenant};

async fn one(store: &SharedStore, append: &Append) -> Appended {
    let answers = store.append(std::slice::from_ref(append)).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers[0].clone()
}

pub async fn the_sequences_of_an_execution_run_from_one_without_a_gap(store: SharedStore) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 3);
    let second = following(&first, 1);
    let third = following(&second, 4);
    for append in [&first, &second, &third] {
        assert_eq!(one(&store, append).await, Appended::Committed);
    }
    let log = store.read(&tenant("x"), execution(1), 0, 100).await.unwrap();
    let ranges: Vec<(u64, u64)> = log.iter().map(|row| (row.first_seq, row.last_seq)).collect();
    assert_eq!(ranges, [(1, 3), (4, 4), (5, 8)]);
    assert_eq!((log[1].hash, &log[1].body, log[1].epoch), (second.hash, &second.body, 1));

    let mut gap = following(&third, 1);
    gap.first_seq += 1;
    gap.last_seq += 1;
    assert_eq!(one(&store, &gap).await, Appended::Conflict, "an append after a gap");
}

pub async fn an_execution_starts_only_once(store: SharedStore) {
    own(&store, "a").await;
    assert_eq!(one(&store, &append(&tenant("x"), execution(1), 1, 2)).await, Appended::Committed);
    assert_eq!(one(&store, &append(&tenant("x"), execution(1), 1, 2)).await, Appended::Conflict);
    assert_eq!(store.read(&tenant("x"), execution(1), 0, 100).await.unwrap().len(), 1);
}

pub async fn an_append_that_does_not_follow_the_last_conflicts_and_leaves_the_rest_of_the_batch_committed(
    store: SharedStore,
) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 2);
    let second = following(&first, 2);
    assert_eq!(one(&store, &first).await, Appended::Committed);
    assert_eq!(one(&store, &second).await, Appended::Committed);

    let stale = following(&first, 1);
    let without_start = following(&append(&tenant("x"), execution(2), 1, 1), 1);
    let good = append(&tenant("x"), execution(3), 1, 1);
    let batch = [stale, without_start, good.clone(), append(&tenant("x"), execution(4), 1, 1)];
    let answers = store.append(&batch).await.unwrap();
    assert_eq!(answers, [Appended::Conflict, Appended::Conflict, Appended::Committed, Appended::Committed]);
    assert_eq!(store.read(&tenant("x"), execution(3), 0, 10).await.unwrap()[0].hash, good.hash);
    assert!(store.read(&tenant("x"), execution(2), 0, 10).await.unwrap().is_empty());

    // The right sequence after the wrong predecessor is as stale as a wrong sequence.
    let right = following(&second, 1);
    let mut wrong_predecessor = right.clone();
    wrong_predecessor.previous_first_seq = first.first_seq;
    assert_eq!(one(&store, &wrong_predecessor).await, Appended::Conflict);
    assert_eq!(one(&store, &right).await, Appended::Committed);
}

pub async fn an_append_that_overlaps_with_another_size_conflicts(store: SharedStore) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 2);
    assert_eq!(one(&store, &first).await, Appended::Committed);
    assert_eq!(one(&store, &following(&first, 3)).await, Appended::Committed);
    // In the place of the second append, shorter and longer.
    assert_eq!(one(&store, &following(&first, 1)).await, Appended::Conflict);
    assert_eq!(one(&store, &following(&first, 5)).await, Appended::Conflict);
    // From the middle of the second append.
    let mut middle = following(&first, 2);
    middle.first_seq = 4;
    middle.last_seq = 6;
    assert_eq!(one(&store, &middle).await, Appended::Conflict);
    assert_eq!(store.read(&tenant("x"), execution(1), 0, 100).await.unwrap().last().unwrap().last_seq, 5);
}

pub async fn the_same_append_again_is_already_there(store: SharedStore) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 2);
    let second = following(&first, 1);
    assert_eq!(one(&store, &first).await, Appended::Committed);
    assert_eq!(one(&store, &first).await, Appended::AlreadyThere);
    assert_eq!(one(&store, &second).await, Appended::Committed);
    assert_eq!(one(&store, &first).await, Appended::AlreadyThere, "also when the log has moved on");
    let other = append(&tenant("x"), execution(2), 1, 1);
    let answers = store.append(&[second, other]).await.unwrap();
    assert_eq!(answers, [Appended::AlreadyThere, Appended::Committed]);
    assert_eq!(store.read(&tenant("x"), execution(1), 0, 100).await.unwrap().len(), 2);
}

pub async fn an_append_under_a_wrong_epoch_is_fenced(store: SharedStore) {
    assert_eq!(one(&store, &append(&tenant("x"), execution(1), 1, 1)).await, Appended::Fenced, "nobody owns it yet");
    own(&store, "a").await;
    assert_eq!(one(&store, &append(&tenant("x"), execution(1), 0, 1)).await, Appended::Fenced);
    assert_eq!(one(&store, &append(&tenant("x"), execution(1), 2, 1)).await, Appended::Fenced);
    assert!(store.read(&tenant("x"), execution(1), 0, 10).await.unwrap().is_empty());
    assert_eq!(one(&store, &append(&tenant("x"), execution(1), 1, 1)).await, Appended::Committed);
}

pub async fn an_append_of_a_partition_taken_over_meanwhile_is_fenced(store: SharedStore) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 1);
    assert_eq!(one(&store, &first).await, Appended::Committed);
    assert_eq!(store.acquire(first.partition, "b", LONG, true).await.unwrap(), Some(2));

    let elsewhere = (2..).map(execution).find(|id| PartitionId::of(*id, PARTITIONS) != first.partition).unwrap();
    let batch = [following(&first, 1), append(&tenant("x"), elsewhere, 1, 1)];
    assert_eq!(store.append(&batch).await.unwrap(), [Appended::Fenced, Appended::Committed]);

    let mut under_the_new_epoch = following(&first, 1);
    under_the_new_epoch.epoch = 2;
    assert_eq!(one(&store, &under_the_new_epoch).await, Appended::Committed);
}

pub async fn what_was_written_before_a_takeover_is_still_reported_as_there(store: SharedStore) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 1);
    assert_eq!(one(&store, &first).await, Appended::Committed);
    store.acquire(first.partition, "b", LONG, true).await.unwrap();
    assert_eq!(one(&store, &first).await, Appended::AlreadyThere);
}

pub async fn another_tenant_cannot_append_to_an_execution(store: SharedStore) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 1);
    assert_eq!(one(&store, &first).await, Appended::Committed);
    let mut intruder = following(&first, 1);
    intruder.tenant = tenant("y");
    assert_eq!(one(&store, &intruder).await, Appended::Conflict);
    assert_eq!(store.read(&tenant("x"), execution(1), 0, 10).await.unwrap().len(), 1);
}

pub async fn another_tenant_cannot_start_an_execution_that_is_there(store: SharedStore) {
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 1);
    assert_eq!(one(&store, &first).await, Appended::Committed);
    let mut intruder = first.clone();
    intruder.tenant = tenant("y");
    assert_eq!(one(&store, &intruder).await, Appended::Conflict, "even with the hash of the row that is there");
    assert!(store.read(&tenant("y"), execution(1), 0, 10).await.unwrap().is_empty());
}

pub async fn a_batch_that_no_correct_caller_builds_is_refused_whole(store: SharedStore) {
    own(&store, "a").await;
    let good = append(&tenant("x"), execution(1), 1, 2);
    let spoilt = |change: fn(&mut Append)| {
        let mut bad = following(&append(&tenant("x"), execution(2), 1, 2), 2);
        change(&mut bad);
        bad
    };
    let bad = [
        ("sequence 0", spoilt(|append| append.first_seq = 0)),
        ("an end before its beginning", spoilt(|append| append.last_seq = append.first_seq - 1)),
        ("no predecessor", spoilt(|append| append.previous_first_seq = 0)),
        ("a predecessor after itself", spoilt(|append| append.previous_first_seq = append.first_seq)),
        ("a sequence that no database has", spoilt(|append| append.last_seq = u64::MAX)),
        ("an epoch that no database has", spoilt(|append| append.epoch = u64::MAX)),
        ("another's partition", spoilt(|append| append.partition.0 = (append.partition.0 + 1) % PARTITIONS)),
        ("its execution twice", following(&good, 1)),
    ];
    for (what, bad) in bad {
        let answer = store.append(&[good.clone(), bad]).await;
        assert!(matches!(answer, Err(StoreError::Refused { .. })), "{what}: {answer:?}");
        assert!(store.read(&tenant("x"), execution(1), 0, 10).await.unwrap().is_empty(), "{what}");
    }
}

pub async fn an_empty_batch_is_nothing(store: SharedStore) {
    assert_eq!(store.append(&[]).await.unwrap(), []);
}

pub async fn a_batch_of_a_thousand_commits_in_the_order_of_the_answers(store: SharedStore) {
    own(&store, "a").await;
    // Every seventh is there already, under another hash; every third is to be listed.
    for number in (0..1000).step_by(7) {
        assert_eq!(one(&store, &append(&tenant("x"), execution(number), 1, 1)).await, Appended::Committed);
    }
    let batch: Vec<Append> = (0..1000)
        .map(|number: u64| Append {
            summary: number.is_multiple_of(3).then(|| summary("Running", number, number)),
            ..append(&tenant("x"), execution(number), 1, 1)
        })
        .collect();
    let answers = store.append(&batch).await.unwrap();
    for (number, answer) in (0..).zip(answers) {
        let expected = if number % 7 == 0 { Appended::Conflict } else { Appended::Committed };
        assert_eq!(answer, expected, "append {number}");
    }
    let listed = store.list(&tenant("x"), None, None, 1000).await.unwrap();
    let expected: Vec<_> = (0..1000).rev().filter(|number| number % 3 == 0 && number % 7 != 0).map(execution).collect();
    assert_eq!(listed.into_iter().map(|row| row.execution).collect::<Vec<_>>(), expected);
    assert_eq!(store.logged(None, 2000).await.unwrap().len(), 1000);
}

pub async fn a_body_of_four_megabytes_survives(store: SharedStore) {
    own(&store, "a").await;
    let mut big = append(&tenant("x"), execution(1), 1, 1);
    // Not a pattern that a database would compress to nothing.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    big.body = noise.take(4 << 20).collect::<Vec<u8>>().into();
    let mut empty = append(&tenant("x"), execution(2), 1, 1);
    empty.body = Bytes::new();
    assert_eq!(store.append(&[big.clone(), empty]).await.unwrap(), [Appended::Committed, Appended::Committed]);
    let read = store.read(&tenant("x"), execution(1), 0, 10).await.unwrap();
    assert!(read[0].body == big.body, "four megabytes came back as {} bytes", read[0].body.len());
    assert!(store.read(&tenant("x"), execution(2), 0, 10).await.unwrap()[0].body.is_empty());
}
