//! The list of executions.

use stepstream_coordinator::ports::{Append, Appended, ListCursor, Listed, Summary};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};

use super::sample::{PARTITIONS, SharedStore, append, execution, following, own, summary, tenant};

/// Starts an execution that is listed in this state, and answers with its first append.
async fn listed(store: &SharedStore, tenant: &TenantId, number: u64, state: &str, created_at: u64) -> Append {
    let mut first = append(tenant, execution(number), 1, 1);
    first.summary = Some(summary(state, created_at, created_at));
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    first
}

fn ids(rows: &[Listed]) -> Vec<ExecutionId> {
    rows.iter().map(|row| row.execution).collect()
}

/// Pages through the list.
async fn all(store: &SharedStore, state: Option<&str>, limit: u32) -> Vec<ExecutionId> {
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(&tenant("x"), state, after, limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        let Some(last) = page.last() else { return seen };
        after = Some(ListCursor { created_at: last.summary.created_at, execution: last.execution });
        seen.extend(ids(&page));
    }
}

/// Twenty executions, of which pairs share their time of creation; answers with the newest first.
async fn twenty(store: &SharedStore) -> Vec<ExecutionId> {
    own(store, "a").await;
    let mut order = Vec::new();
    for number in 0..20 {
        let state = if number % 4 == 0 { "Completed" } else { "Running" };
        listed(store, &tenant("x"), number, state, number / 2).await;
        order.push((number / 2, execution(number)));
    }
    listed(store, &tenant("y"), 99, "Running", 5).await;
    order.sort_unstable();
    order.into_iter().rev().map(|(_, id)| id).collect()
}

pub async fn the_list_shows_the_newest_first_page_by_page(store: SharedStore) {
    let newest_first = twenty(&store).await;
    assert_eq!(all(&store, None, 100).await, newest_first);
    assert_eq!(all(&store, None, 3).await, newest_first);
    assert_eq!(all(&store, None, 1).await, newest_first);
}

pub async fn the_list_can_be_limited_to_a_state(store: SharedStore) {
    let newest_first = twenty(&store).await;
    let completed: Vec<ExecutionId> = (0..20).step_by(4).map(execution).collect();
    let expected: Vec<ExecutionId> = newest_first.into_iter().filter(|id| completed.contains(id)).collect();
    assert_eq!(all(&store, Some("Completed"), 2).await, expected);
    assert!(all(&store, Some("Paused"), 2).await.is_empty());
}

pub async fn a_list_row_changes_only_with_a_summary(store: SharedStore) {
    own(&store, "a").await;
    let silent = append(&tenant("x"), execution(1), 1, 1);
    store.append(std::slice::from_ref(&silent)).await.unwrap();
    assert_eq!(store.find(&tenant("x"), execution(1)).await.unwrap(), None);

    let mut loud = following(&silent, 1);
    loud.summary = Some(summary("Running", 10, 20));
    store.append(std::slice::from_ref(&loud)).await.unwrap();
    let expected = Listed {
        tenant: tenant("x"),
        execution: execution(1),
        partition: loud.partition,
        summary: summary("Running", 10, 20),
    };
    assert_eq!(store.find(&tenant("x"), execution(1)).await.unwrap(), Some(expected.clone()));

    let silent = following(&loud, 1);
    store.append(std::slice::from_ref(&silent)).await.unwrap();
    assert_eq!(store.find(&tenant("x"), execution(1)).await.unwrap(), Some(expected));

    let mut last = following(&silent, 1);
    last.summary = Some(summary("Completed", 10, 30));
    store.append(std::slice::from_ref(&last)).await.unwrap();
    let found = store.find(&tenant("x"), execution(1)).await.unwrap().unwrap();
    assert_eq!(found.summary, summary("Completed", 10, 30));
}

pub async fn an_append_that_is_not_committed_leaves_the_list_row_alone(store: SharedStore) {
    own(&store, "a").await;
    let first = listed(&store, &tenant("x"), 1, "Running", 1).await;
    let mut second = following(&first, 1);
    second.summary = Some(summary("Paused", 1, 2));
    assert_eq!(store.append(std::slice::from_ref(&second)).await.unwrap(), [Appended::Committed]);

    let stale = Append { summary: Some(summary("Failed", 1, 3)), ..following(&first, 1) };
    let intruder = Append { tenant: tenant("y"), summary: Some(summary("Failed", 1, 3)), ..first.clone() };
    let fenced = Append { epoch: 9, summary: Some(summary("Failed", 1, 3)), ..following(&second, 1) };
    // What an earlier try stored is there, but its row is older than the list by now.
    for (number, late) in (100..).zip([stale, intruder, fenced, first]) {
        let beside =
            Append { summary: Some(summary("Running", 1, 1)), ..append(&tenant("x"), execution(number), 1, 1) };
        let answers = store.append(&[late, beside]).await.unwrap();
        assert_ne!(answers[0], Appended::Committed);
        assert_eq!(answers[1], Appended::Committed);
        assert!(store.find(&tenant("x"), execution(number)).await.unwrap().is_some());
        let found = store.find(&tenant("x"), execution(1)).await.unwrap().unwrap();
        assert_eq!(found.summary.state, "Paused");
    }
    assert_eq!(store.find(&tenant("y"), execution(1)).await.unwrap(), None);
}

pub async fn a_list_that_was_cleared_can_be_written_anew_from_the_logs(store: SharedStore) {
    let newest_first = twenty(&store).await;
    let before = store.list(&tenant("x"), None, None, 100).await.unwrap();
    store.clear_list().await.unwrap();
    assert!(store.list(&tenant("x"), None, None, 100).await.unwrap().is_empty());
    assert_eq!(store.find(&tenant("y"), execution(99)).await.unwrap(), None);

    let mut logged = Vec::new();
    loop {
        let page = store.logged(logged.last().map(|(_, id, _)| *id), 6).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 6);
        logged.extend(page);
    }
    assert_eq!(logged.len(), 21);
    assert!(logged.is_sorted_by_key(|(_, id, _)| *id));
    assert!(logged.contains(&(tenant("y"), execution(99), PartitionId::of(execution(99), PARTITIONS))));

    store.write_list(&before).await.unwrap();
    assert_eq!(store.list(&tenant("x"), None, None, 100).await.unwrap(), before);
    assert_eq!(all(&store, None, 7).await, newest_first);
}

pub async fn rebuilding_the_list_does_not_undo_what_is_newer(store: SharedStore) {
    own(&store, "a").await;
    let first = listed(&store, &tenant("x"), 1, "Running", 1).await;
    let computed = store.list(&tenant("x"), None, None, 10).await.unwrap();
    let mut second = following(&first, 1);
    second.summary = Some(summary("Completed", 1, 2));
    store.append(std::slice::from_ref(&second)).await.unwrap();
    store.write_list(&computed).await.unwrap();
    let found = store.find(&tenant("x"), execution(1)).await.unwrap().unwrap();
    assert_eq!(found.summary.state, "Completed");
}

pub async fn executions_with_dead_letters_are_listed(store: SharedStore) {
    own(&store, "a").await;
    let held = |dead_letters, at| Summary { dead_letters, ..summary("Waiting", at, at + 10) };
    for (number, dead) in [(1, 1), (2, 0), (3, 2), (4, 1)] {
        let first = Append { summary: Some(held(dead, number)), ..append(&tenant("x"), execution(number), 1, 1) };
        store.append(std::slice::from_ref(&first)).await.unwrap();
        if number == 4 {
            // The last one was redriven.
            let next = Append { summary: Some(held(0, number)), ..following(&first, 1) };
            store.append(std::slice::from_ref(&next)).await.unwrap();
        }
    }
    let other = Append { summary: Some(held(1, 9)), ..append(&tenant("y"), execution(9), 1, 1) };
    store.append(std::slice::from_ref(&other)).await.unwrap();

    let found = store.list_dead(&tenant("x"), None, 10).await.unwrap();
    assert_eq!(ids(&found), [execution(3), execution(1)]);
    assert_eq!(found[0].summary.dead_letters, 2);
    let first = store.list_dead(&tenant("x"), None, 1).await.unwrap();
    let after = ListCursor { created_at: first[0].summary.created_at, execution: first[0].execution };
    assert_eq!(ids(&store.list_dead(&tenant("x"), Some(after), 10).await.unwrap()), [execution(1)]);

    // A rebuild finds them again.
    let all = store.list(&tenant("x"), None, None, 10).await.unwrap();
    store.clear_list().await.unwrap();
    assert!(store.list_dead(&tenant("x"), None, 10).await.unwrap().is_empty());
    store.write_list(&all).await.unwrap();
    assert_eq!(store.list_dead(&tenant("x"), None, 10).await.unwrap(), found);
}
