//! Schedules: one row for each, and one writer for each change.

use stepstream_coordinator::ports::{DueCursor, ScheduleWritten, StoreError, StoredSchedule};
use stepstream_shared::id::{PartitionId, TriggerId};
use stepstream_shared::time::Timestamp;

use super::sample::{PARTITIONS, SharedStore, tenant};

fn id(number: u64) -> TriggerId {
    TriggerId::derived("stepstream tests 2026 schedule", &[&number.to_le_bytes()])
}

fn micros(number: i64) -> Option<Timestamp> {
    Some(Timestamp::from_micros(number))
}

/// A schedule of tenant x.
fn schedule(number: u64, name: &str) -> StoredSchedule {
    StoredSchedule {
        tenant: tenant("x"),
        id: id(number),
        partition: PartitionId::of_schedule(id(number), PARTITIONS),
        name: name.to_owned(),
        version: 1,
        next_at: micros(1000),
        definition: format!(r#"{{"name":"{name}","text":"Grüße, 世界"}}"#),
        state: r#"{"n":1}"#.to_owned(),
    }
}

fn all() -> Vec<PartitionId> {
    (0..PARTITIONS).map(PartitionId).collect()
}

async fn written(store: &SharedStore, row: &StoredSchedule) -> ScheduleWritten {
    store.write_schedule(row).await.unwrap()
}

pub async fn a_schedule_changes_only_for_who_has_seen_it(store: SharedStore) {
    let first = schedule(1, "a");
    assert_eq!(written(&store, &first).await, ScheduleWritten::Done);
    assert_eq!(written(&store, &first).await, ScheduleWritten::Conflict, "it is there already");
    let second = StoredSchedule { version: 2, next_at: None, state: "{}".to_owned(), ..first.clone() };
    assert_eq!(written(&store, &second).await, ScheduleWritten::Done);
    assert_eq!(written(&store, &second).await, ScheduleWritten::Conflict, "somebody was faster");
    let far = StoredSchedule { version: 9, ..second.clone() };
    assert_eq!(written(&store, &far).await, ScheduleWritten::Conflict);
    assert_eq!(store.schedule(&tenant("x"), id(1)).await.unwrap(), Some(second.clone()));
    // Nobody makes one that is gone anew by changing it.
    assert!(store.remove_schedule(&tenant("x"), id(1)).await.unwrap());
    assert!(!store.remove_schedule(&tenant("x"), id(1)).await.unwrap());
    let third = StoredSchedule { version: 3, ..second };
    assert_eq!(written(&store, &third).await, ScheduleWritten::Conflict);
    assert_eq!(store.schedule(&tenant("x"), id(1)).await.unwrap(), None);
    let none = StoredSchedule { version: 0, ..first };
    assert!(matches!(store.write_schedule(&none).await, Err(StoreError::Refused { .. })));
}

pub async fn a_schedule_has_its_name_for_itself_within_its_tenant(store: SharedStore) {
    let (first, other) = (schedule(1, "a"), schedule(2, "b"));
    assert_eq!(written(&store, &first).await, ScheduleWritten::Done);
    assert_eq!(written(&store, &schedule(2, "a")).await, ScheduleWritten::NameTaken);
    assert_eq!(written(&store, &other).await, ScheduleWritten::Done);
    let renamed = StoredSchedule { version: 2, name: "a".to_owned(), ..other.clone() };
    assert_eq!(written(&store, &renamed).await, ScheduleWritten::NameTaken);
    assert_eq!(store.schedule_named(&tenant("x"), "b").await.unwrap(), Some(other.clone()), "nothing has changed");
    let elsewhere = StoredSchedule { tenant: tenant("y"), ..schedule(3, "a") };
    assert_eq!(written(&store, &elsewhere).await, ScheduleWritten::Done);
    assert_eq!(store.schedule_named(&tenant("y"), "a").await.unwrap(), Some(elsewhere));
    assert_eq!(store.schedule_named(&tenant("x"), "a").await.unwrap(), Some(first));
    assert_eq!(store.schedule_named(&tenant("x"), "A").await.unwrap(), None);
    let renamed = StoredSchedule { version: 2, name: "c".to_owned(), ..other };
    assert_eq!(written(&store, &renamed).await, ScheduleWritten::Done);
    assert_eq!(store.schedule_named(&tenant("x"), "b").await.unwrap(), None);
}

pub async fn another_tenants_schedule_is_not_there(store: SharedStore) {
    let first = schedule(1, "a");
    written(&store, &first).await;
    assert_eq!(store.schedule(&tenant("y"), id(1)).await.unwrap(), None);
    assert_eq!(store.schedule_named(&tenant("y"), "a").await.unwrap(), None);
    assert!(store.list_schedules(&tenant("y"), None, 10).await.unwrap().is_empty());
    assert!(!store.remove_schedule(&tenant("y"), id(1)).await.unwrap());
    let theirs = StoredSchedule { tenant: tenant("y"), version: 2, ..first.clone() };
    assert_eq!(written(&store, &theirs).await, ScheduleWritten::Conflict);
    assert_eq!(store.schedule(&tenant("x"), id(1)).await.unwrap(), Some(first));
}

pub async fn schedules_are_listed_by_name_page_by_page(store: SharedStore) {
    for (number, name) in [(1, "b"), (2, "a"), (3, "B"), (4, "a.1"), (5, "ab")] {
        written(&store, &schedule(number, name)).await;
    }
    for limit in [1, 2, 10] {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let after = seen.last().map(String::as_str);
            let page = store.list_schedules(&tenant("x"), after, limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit as usize);
            seen.extend(page.into_iter().map(|row| row.name));
        }
        assert_eq!(seen, ["B", "a", "a.1", "ab", "b"], "pages of {limit}");
    }
}

pub async fn what_is_due_is_read_in_order_for_the_partitions_asked_for(store: SharedStore) {
    let moments = [(1, micros(300)), (2, micros(100)), (3, None), (4, micros(100)), (5, micros(-5)), (6, micros(1000))];
    for (number, next_at) in moments {
        written(&store, &StoredSchedule { next_at, ..schedule(number, &format!("n{number}")) }).await;
    }
    let before = Timestamp::from_micros(1000);
    let mut expected: Vec<(i64, TriggerId)> = vec![(300, id(1)), (100, id(2)), (100, id(4)), (-5, id(5))];
    expected.sort_unstable();
    for limit in [1, 2, 10] {
        let mut seen: Vec<(i64, TriggerId)> = Vec::new();
        loop {
            let after =
                seen.last().map(|(next_at, id)| DueCursor { next_at: Timestamp::from_micros(*next_at), id: *id });
            let page = store.due_schedules(&all(), before, after, limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.into_iter().filter_map(|row| Some((row.next_at?.as_micros(), row.id))));
        }
        assert_eq!(seen, expected, "pages of {limit}");
    }
    for partition in all() {
        let due = store.due_schedules(&[partition], before, None, 10).await.unwrap();
        let theirs = expected.iter().filter(|(_, id)| PartitionId::of_schedule(*id, PARTITIONS) == partition).count();
        assert_eq!(due.len(), theirs, "partition {partition}");
    }
    assert!(store.due_schedules(&[], before, None, 10).await.unwrap().is_empty());
    let later = StoredSchedule { version: 2, next_at: micros(2000), ..schedule(2, "n2") };
    assert_eq!(written(&store, &later).await, ScheduleWritten::Done);
    let due = store.due_schedules(&all(), before, None, 10).await.unwrap();
    assert_eq!(due.len(), expected.len() - 1, "who was looked after is not due any more");
}

pub async fn of_many_that_change_a_schedule_one_succeeds(store: SharedStore) {
    written(&store, &schedule(1, "a")).await;
    let changing = (0..8).map(|number| {
        let (store, row) =
            (store.clone(), StoredSchedule { version: 2, state: number.to_string(), ..schedule(1, "a") });
        tokio::spawn(async move { written(&store, &row).await })
    });
    let mut done = 0;
    for change in changing.collect::<Vec<_>>() {
        match change.await.unwrap() {
            ScheduleWritten::Done => done += 1,
            other => assert_eq!(other, ScheduleWritten::Conflict),
        }
    }
    assert_eq!(done, 1);
}
