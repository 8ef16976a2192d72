//! Who owns what, and who lives.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stepstream_coordinator::ports::{Append, Appended, Member, PartitionOwner};
use stepstream_shared::id::PartitionId;

use super::sample::{LONG, PARTITIONS, SharedStore, append, execution, following, tenant};
use crate::poll::until;

const ONE: PartitionId = PartitionId(3);
/// Over at once, by any clock.
const SHORT: Duration = Duration::from_millis(1);

async fn state(store: &SharedStore) -> PartitionOwner {
    let mut all = store.partitions().await.unwrap();
    assert_eq!(all.len(), usize::from(PARTITIONS));
    all.swap_remove(usize::from(ONE.0))
}

async fn expired(store: &SharedStore) {
    until("the lease runs out", async || state(store).await.lease_expired.then_some(())).await;
}

pub async fn a_partition_is_taken_by_one_and_kept_by_renewing(store: SharedStore) {
    let fresh = PartitionOwner { partition: ONE, epoch: 0, owner: None, lease_expired: true };
    assert_eq!(state(&store).await, fresh);
    assert_eq!(store.acquire(ONE, "a", LONG, false).await.unwrap(), Some(1));
    let taken = PartitionOwner { partition: ONE, epoch: 1, owner: Some("a".to_owned()), lease_expired: false };
    assert_eq!(state(&store).await, taken);
    assert_eq!(store.acquire(ONE, "b", LONG, false).await.unwrap(), None);

    let held = [(ONE, 1), (PartitionId(4), 1)];
    assert_eq!(store.renew("a", &held, LONG).await.unwrap(), [ONE]);
    assert_eq!(store.renew("b", &held, LONG).await.unwrap(), []);
    assert_eq!(store.renew("a", &[(ONE, 2)], LONG).await.unwrap(), []);
    assert_eq!(store.renew("a", &[], LONG).await.unwrap(), []);
    assert_eq!(store.acquire(PartitionId(PARTITIONS), "a", LONG, false).await.unwrap(), None, "there is no such one");
}

pub async fn a_lease_that_ran_out_can_be_taken_and_the_old_holder_cannot_renew(store: SharedStore) {
    assert_eq!(store.acquire(ONE, "a", SHORT, false).await.unwrap(), Some(1));
    expired(&store).await;
    assert_eq!(store.acquire(ONE, "b", LONG, false).await.unwrap(), Some(2));
    assert_eq!(store.renew("a", &[(ONE, 1)], LONG).await.unwrap(), []);
    assert_eq!(store.renew("b", &[(ONE, 2)], LONG).await.unwrap(), [ONE]);
    assert_eq!(store.acquire(ONE, "a", LONG, false).await.unwrap(), None);
}

pub async fn a_lease_that_ran_out_but_was_not_taken_is_renewed(store: SharedStore) {
    assert_eq!(store.acquire(ONE, "a", SHORT, false).await.unwrap(), Some(1));
    expired(&store).await;
    assert_eq!(store.renew("a", &[(ONE, 1)], LONG).await.unwrap(), [ONE]);
    assert!(!state(&store).await.lease_expired);
}

pub async fn a_released_partition_can_be_taken_at_once_and_its_epoch_stays_spent(store: SharedStore) {
    assert_eq!(store.acquire(ONE, "a", LONG, false).await.unwrap(), Some(1));
    store.release("a", ONE, 1).await.unwrap();
    let free = PartitionOwner { partition: ONE, epoch: 1, owner: None, lease_expired: true };
    assert_eq!(state(&store).await, free);
    assert_eq!(store.renew("a", &[(ONE, 1)], LONG).await.unwrap(), []);
    assert_eq!(store.acquire(ONE, "a", LONG, false).await.unwrap(), Some(2));
}

pub async fn force_takes_a_partition_from_anybody(store: SharedStore) {
    assert_eq!(store.acquire(ONE, "a", LONG, false).await.unwrap(), Some(1));
    assert_eq!(store.acquire(ONE, "b", LONG, true).await.unwrap(), Some(2));
    assert_eq!(store.acquire(ONE, "b", LONG, true).await.unwrap(), Some(3));
    assert_eq!(store.renew("a", &[(ONE, 1)], LONG).await.unwrap(), []);
}

pub async fn of_many_that_take_a_partition_one_succeeds(store: SharedStore) {
    for round in 1..=5 {
        let takers = (0..16).map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.acquire(ONE, &format!("member {number}"), LONG, false).await.unwrap() })
        });
        let epochs: Vec<u64> = join_all(takers).await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(epochs, [round]);
        let owner = state(&store).await.owner.unwrap();
        store.release(&owner, ONE, round).await.unwrap();
    }
}

pub async fn only_the_holder_can_release(store: SharedStore) {
    assert_eq!(store.acquire(ONE, "a", LONG, false).await.unwrap(), Some(1));
    store.release("b", ONE, 1).await.unwrap();
    store.release("a", ONE, 0).await.unwrap();
    store.release("a", PartitionId(PARTITIONS), 1).await.unwrap();
    assert_eq!(state(&store).await.owner.as_deref(), Some("a"));
}

pub async fn members_leave_after_their_time_and_at_once_when_they_say_so(store: SharedStore) {
    let member = |id: &str| Member { id: id.to_owned(), name: format!("the {id}") };
    let ids = |members: Vec<Member>| members.into_iter().map(|member| member.id).collect::<Vec<_>>();
    assert_eq!(store.heartbeat(&member("a"), LONG).await.unwrap(), [member("a")]);
    assert_eq!(store.heartbeat(&member("b"), SHORT).await.unwrap(), [member("a"), member("b")]);
    until("b is dead", async || (ids(store.heartbeat(&member("a"), LONG).await.unwrap()) == ["a"]).then_some(())).await;
    assert_eq!(ids(store.heartbeat(&member("b"), LONG).await.unwrap()), ["a", "b"]);
    assert_eq!(ids(store.heartbeat(&member("c"), LONG).await.unwrap()), ["a", "b", "c"]);
    store.leave("b").await.unwrap();
    store.leave("nobody").await.unwrap();
    assert_eq!(ids(store.heartbeat(&member("c"), LONG).await.unwrap()), ["a", "c"]);
}

/// An owner from the end that was lost may have an epoch that the store does not remember.
pub async fn after_a_restore_nobody_owns_anything_and_no_epoch_comes_twice(store: SharedStore) {
    let member = |id: &str| Member { id: id.to_owned(), name: id.to_owned() };
    store.heartbeat(&member("a"), LONG).await.unwrap();
    let home = (1..).map(execution).find(|id| PartitionId::of(*id, PARTITIONS) == ONE).unwrap();
    assert_eq!(store.acquire(ONE, "a", LONG, false).await.unwrap(), Some(1));
    let first = append(&tenant("a"), home, 1, 2);
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    assert_eq!(store.meta().await.unwrap().incarnation, 1);

    assert_eq!(store.begin_incarnation().await.unwrap(), 2);
    assert_eq!(store.meta().await.unwrap().incarnation, 2);
    for partition in store.partitions().await.unwrap() {
        assert_eq!((partition.owner.as_deref(), partition.lease_expired), (None, true));
    }
    assert_eq!(store.renew("a", &[(ONE, 1)], LONG).await.unwrap(), []);
    assert_eq!(store.heartbeat(&member("b"), LONG).await.unwrap(), [member("b")]);
    for lost in [1, 2, 3, 1000] {
        let late = Append { epoch: lost, ..following(&first, 1) };
        assert_eq!(store.append(&[late]).await.unwrap(), [Appended::Fenced], "epoch {lost}");
    }
    let epoch = store.acquire(ONE, "b", LONG, false).await.unwrap().expect("it is free");
    assert!(epoch > 1000, "{epoch}");
    let next = Append { epoch, ..following(&first, 1) };
    assert_eq!(store.append(&[next]).await.unwrap(), [Appended::Committed]);
    assert_eq!(store.begin_incarnation().await.unwrap(), 3);
    assert!(store.acquire(ONE, "b", LONG, false).await.unwrap().expect("it is free") > epoch + 1000);
}
