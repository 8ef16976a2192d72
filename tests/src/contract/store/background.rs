//! Background executions in the list, and their queue.

use stepstream_coordinator::ports::{Append, Appended, BackgroundFilter, InBackground, ListCursor, Summary};
use stepstream_shared::background::{BackgroundMode, BackgroundStatus};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::time::Timestamp;

use super::sample::{PARTITIONS, SharedStore, append, execution, following, own, summary, tenant};

fn shown(state: &str, at: u64, mode: BackgroundMode, status: BackgroundStatus, rank: Option<i64>) -> Summary {
    let background = Some(InBackground { mode, status, rank: rank.map(Timestamp::from_micros) });
    Summary { background, ..summary(state, at, at) }
}

async fn write(store: &SharedStore, append: &Append) {
    assert_eq!(store.append(std::slice::from_ref(append)).await.unwrap(), [Appended::Committed]);
}

async fn begin(store: &SharedStore, tenant: &TenantId, number: u64, summary: Summary) -> Append {
    let mut first = append(tenant, execution(number), 1, 1);
    first.summary = Some(summary);
    write(store, &first).await;
    first
}

async fn listed(store: &SharedStore, filter: BackgroundFilter, limit: u32) -> Vec<ExecutionId> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_background(&tenant("x"), filter, after, limit).await.unwrap();
        let Some(last) = page.last() else { return seen };
        after = Some(ListCursor { created_at: last.summary.created_at, execution: last.execution });
        seen.extend(page.iter().map(|row| row.execution));
    }
}

pub async fn background_executions_are_listed_by_mode_and_status(store: SharedStore) {
    use BackgroundMode::{Deferred, Silent};
    use BackgroundStatus::{Completed, Queued, Timeout};
    own(&store, "a").await;
    let x = tenant("x");
    begin(&store, &x, 1, summary("Running", 1, 1)).await;
    begin(&store, &x, 2, shown("Created", 2, Deferred, Queued, None)).await;
    begin(&store, &x, 3, shown("Failed", 3, Silent, Timeout, None)).await;
    begin(&store, &x, 4, shown("Completed", 4, Silent, Completed, None)).await;
    begin(&store, &tenant("y"), 5, shown("Completed", 5, Silent, Completed, None)).await;

    let numbers = |numbers: &[u64]| numbers.iter().copied().map(execution).collect::<Vec<_>>();
    let filter = |mode, status| BackgroundFilter { mode, status };
    assert_eq!(listed(&store, filter(None, None), 1).await, numbers(&[4, 3, 2]), "without what runs in the foreground");
    assert_eq!(listed(&store, filter(Some(Silent), None), 10).await, numbers(&[4, 3]));
    assert_eq!(listed(&store, filter(None, Some(Timeout)), 10).await, numbers(&[3]));
    assert_eq!(listed(&store, filter(Some(Deferred), Some(Completed)), 10).await, numbers(&[]));

    // As it was written, also by a rebuild.
    let row = store.find(&x, execution(3)).await.unwrap().unwrap();
    assert_eq!(row.summary, shown("Failed", 3, Silent, Timeout, None));
    let rows = store.list(&x, None, None, 10).await.unwrap();
    store.clear_list().await.unwrap();
    store.write_list(&rows).await.unwrap();
    assert_eq!(store.list(&x, None, None, 10).await.unwrap(), rows);
}

pub async fn the_queue_is_read_by_rank_for_the_partitions_asked_for(store: SharedStore) {
    use BackgroundMode::FireAndForget;
    use BackgroundStatus::{Queued, Running};
    own(&store, "a").await;
    let (x, y) = (tenant("x"), tenant("y"));
    let queued = |rank| shown("Created", 1, FireAndForget, Queued, Some(rank));
    // Ranks may lie before 1970: a priority is worth so much time.
    let mut appends = Vec::new();
    for (number, rank) in [(1, 50), (2, -7), (3, 50), (4, 90)] {
        appends.push(begin(&store, &x, number, queued(rank)).await);
    }
    begin(&store, &y, 5, queued(10)).await;
    begin(&store, &x, 6, shown("Created", 1, BackgroundMode::Deferred, Queued, None)).await;

    let all: Vec<PartitionId> = (0..PARTITIONS).map(PartitionId).collect();
    let read = async |partitions: &[PartitionId], each, limit| {
        let rows = store.queued(partitions, each, limit).await.unwrap();
        rows.into_iter().map(|row| row.execution).collect::<Vec<_>>()
    };
    let mut equal = [execution(1), execution(3)];
    equal.sort_unstable();
    // Every tenant's first, then what they have behind it.
    let expected = [execution(2), execution(5), equal[0], equal[1], execution(4)];
    assert_eq!(read(&all, 100, 100).await, expected);
    assert_eq!(read(&all, 100, 3).await, expected[..3]);
    assert_eq!(read(&all, 1, 100).await, expected[..2]);
    assert_eq!(read(&all, 3, 100).await, expected[..4]);
    assert_eq!(read(&all, 100, 1).await, expected[..1]);
    assert_eq!(read(&[], 100, 100).await, []);
    let of = PartitionId::of(execution(4), PARTITIONS);
    let there = |id: &ExecutionId| PartitionId::of(*id, PARTITIONS) == of;
    let found = read(&[of], 100, 100).await;
    let of_x: Vec<ExecutionId> = found.iter().copied().filter(|id| *id != execution(5)).collect();
    let expected_of_x: Vec<ExecutionId> = expected.into_iter().filter(|id| there(id) && *id != execution(5)).collect();
    assert_eq!(of_x, expected_of_x);
    assert_eq!(found.contains(&execution(5)), there(&execution(5)));

    // Started, it leaves the queue with its append.
    let mut started = following(&appends[1], 1);
    started.summary = Some(shown("Running", 2, FireAndForget, Running, None));
    write(&store, &started).await;
    let left = read(&all, 100, 100).await;
    assert_eq!(left.iter().copied().filter(|id| *id != execution(5)).collect::<Vec<_>>(), expected[2..]);
    assert_eq!(left[0], execution(5), "the first of its tenant as that one is, and more urgent");
}
