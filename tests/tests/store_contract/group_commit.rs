//! Group commit in front of real stores. Its own rules are tested beside it, with stores that fail on purpose.

use std::sync::Arc;
use std::time::Instant;

use stepstream_coordinator::ports::Appended;
use stepstream_coordinator::store::{GroupCommit, MemoryStore, SqliteStore};
use stepstream_tests::contract::store::{PARTITIONS, SharedStore, append, execution, following, gapless, own, tenant};
use tokio_util::sync::CancellationToken;

/// One loop keeps this many executions going, as an engine does.
pub(crate) async fn drive(kind: &str, store: SharedStore, executions: u64, appends_each: u64) {
    own(&store, "a").await;
    let lanes = GroupCommit::new(Arc::clone(&store), 2, CancellationToken::new());
    let (mut submitter, mut completions) = lanes.port(8192);
    let mut next: Vec<_> = (0..executions).map(|number| append(&tenant("x"), execution(number), 1, 1)).collect();
    for (ticket, append) in (0..).zip(&next) {
        submitter.submit(append.clone(), ticket).unwrap();
    }
    let started = Instant::now();
    let mut open = executions * appends_each;
    while open > 0 {
        for (ticket, result) in completions.next().await.unwrap() {
            assert_eq!(result.unwrap(), Appended::Committed);
            open -= 1;
            let slot = &mut next[usize::try_from(ticket).unwrap()];
            *slot = following(slot, 1);
            if slot.first_seq <= appends_each {
                submitter.submit(slot.clone(), ticket).unwrap();
            }
        }
    }
    let rate = (executions * appends_each) as f64 / started.elapsed().as_secs_f64();
    println!("{kind}: {executions} executions, {rate:.0} appends/s");
    for number in 0..executions {
        assert_eq!(gapless(&store, &tenant("x"), execution(number)).await, appends_each);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_loop_drives_many_executions_in_memory() {
    drive("memory", Arc::new(MemoryStore::new(PARTITIONS)), 500, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_loop_drives_many_executions_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path().join("store.db"), PARTITIONS).await.unwrap());
    drive("SQLite", store.clone(), 500, 20).await;
    store.close().await;
}
