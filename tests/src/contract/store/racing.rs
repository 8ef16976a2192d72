//! Many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use stepstream_coordinator::ports::{Append, Appended};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};

use super::sample::{LONG, PARTITIONS, SharedStore, append, execution, following, own, summary, tenant};
use crate::poll::until;

/// Reads a whole log, checks that it runs from 1 without a gap under epochs that never fall, and answers with its end.
///
/// # Panics
/// When it does not.
pub async fn gapless(store: &SharedStore, tenant: &TenantId, execution: ExecutionId) -> u64 {
    let mut last_seq = 0;
    let mut epoch = 0;
    loop {
        let page = store.read(tenant, execution, last_seq, 500).await.unwrap();
        if page.is_empty() {
            return last_seq;
        }
        for row in page {
            assert_eq!(row.first_seq, last_seq + 1, "{execution}");
            assert!(row.last_seq >= row.first_seq, "{execution}");
            assert!(row.epoch >= epoch, "{execution}: epoch {} after {epoch}", row.epoch);
            (last_seq, epoch) = (row.last_seq, row.epoch);
        }
    }
}

/// The append of one event that follows what is in the log: what a new owner, or one that was overtaken, makes.
pub async fn next_append(store: &SharedStore, id: ExecutionId, epoch: u64) -> Append {
    let mut next = append(&tenant("x"), id, epoch, 1);
    loop {
        let page = store.read(&tenant("x"), id, next.first_seq - 1, 500).await.unwrap();
        let Some(row) = page.last() else { return next };
        next.previous_first_seq = row.first_seq;
        next.first_seq = row.last_seq + 1;
        next.last_seq = row.last_seq + 1;
    }
}

pub async fn many_appenders_on_many_executions_leave_no_gap(store: SharedStore) {
    const APPENDERS: u64 = 64;
    const APPENDS: u64 = 12;
    own(&store, "a").await;
    let appenders = (0..APPENDERS).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut next = append(&tenant("x"), execution(number), 1, 1 + number % 3);
            for round in 0..APPENDS {
                next.summary = (round % 4 == 0).then(|| summary("Running", number, round));
                let answer = store.append(std::slice::from_ref(&next)).await.unwrap();
                assert_eq!(answer, [Appended::Committed]);
                next = following(&next, 1 + round % 3);
            }
            next.first_seq - 1
        })
    });
    for (number, end) in (0..).zip(join_all(appenders).await) {
        assert_eq!(gapless(&store, &tenant("x"), execution(number)).await, end.unwrap());
    }
    assert_eq!(store.list(&tenant("x"), None, None, 100).await.unwrap().len(), 64);
}

pub async fn of_two_writers_on_one_execution_one_wins_each_sequence(store: SharedStore) {
    const EACH: u64 = 40;
    own(&store, "a").await;
    let writers = (0..2).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut won = 0;
            while won < EACH {
                let next = next_append(&store, execution(1), 1).await;
                match store.append(&[next]).await.unwrap()[0] {
                    Appended::Committed => won += 1,
                    Appended::Conflict => {}
                    ref other => panic!("{other:?}"),
                }
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(gapless(&store, &tenant("x"), execution(1)).await, 2 * EACH);
}

pub async fn a_takeover_in_the_middle_of_a_stream_of_appends_loses_and_doubles_nothing(store: SharedStore) {
    const TAKEOVERS: u64 = 30;
    own(&store, "owner").await;
    let id = execution(1);
    let partition = PartitionId::of(id, PARTITIONS);
    let committed = Arc::new(AtomicU64::new(0));
    let mut owners = Vec::new();
    for epoch in 1..=TAKEOVERS {
        let (owned, count) = (Arc::clone(&store), Arc::clone(&committed));
        // Writes until it is fenced, from where the log ended when it took over: nothing may have been added since.
        owners.push(tokio::spawn(async move {
            let mut next = next_append(&owned, id, epoch).await;
            loop {
                match owned.append(std::slice::from_ref(&next)).await.unwrap()[0] {
                    Appended::Committed => count.fetch_add(1, Ordering::SeqCst),
                    Appended::Fenced => return,
                    ref other => panic!("{other:?} under epoch {epoch}"),
                };
                next = following(&next, 1);
            }
        }));
        let before = committed.load(Ordering::SeqCst);
        until("the new owner writes", async || (committed.load(Ordering::SeqCst) > before).then_some(())).await;
        assert_eq!(store.acquire(partition, "other", LONG, true).await.unwrap(), Some(epoch + 1));
    }
    for owner in join_all(owners).await {
        owner.unwrap();
    }
    assert_eq!(gapless(&store, &tenant("x"), id).await, committed.load(Ordering::SeqCst));
}
