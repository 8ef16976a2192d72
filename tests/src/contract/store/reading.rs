//! Reading logs.

use stepstream_coordinator::ports::Append;

use super::sample::{SharedStore, append, execution, following, own, summary, tenant};

/// Ten appends of three events each.
async fn thirty_events(store: &SharedStore) -> Vec<Append> {
    own(store, "a").await;
    let mut log = vec![append(&tenant("x"), execution(1), 1, 3)];
    for place in 0..9 {
        log.push(following(&log[place], 3));
    }
    for append in &log {
        store.append(std::slice::from_ref(append)).await.unwrap();
    }
    log
}

pub async fn another_tenant_reads_and_finds_nothing(store: SharedStore) {
    own(&store, "a").await;
    let mut first = append(&tenant("x"), execution(1), 1, 1);
    first.summary = Some(summary("Running", 1, 1));
    store.append(std::slice::from_ref(&first)).await.unwrap();
    assert!(store.find(&tenant("x"), execution(1)).await.unwrap().is_some());

    assert!(store.read(&tenant("y"), execution(1), 0, 10).await.unwrap().is_empty());
    assert_eq!(store.find(&tenant("y"), execution(1)).await.unwrap(), None);
    assert!(store.list(&tenant("y"), None, None, 10).await.unwrap().is_empty());
    assert!(store.list(&tenant("y"), Some("Running"), None, 10).await.unwrap().is_empty());
}

pub async fn pages_of_a_log_follow_each_other(store: SharedStore) {
    let log = thirty_events(&store).await;
    let mut after = 0;
    let mut seen = Vec::new();
    loop {
        let page = store.read(&tenant("x"), execution(1), after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 4);
        after = last.last_seq;
        seen.extend(page);
    }
    let hashes: Vec<[u8; 32]> = seen.iter().map(|row| row.hash).collect();
    assert_eq!(hashes, log.iter().map(|append| append.hash).collect::<Vec<_>>());
    assert!(store.read(&tenant("x"), execution(1), 30, 10).await.unwrap().is_empty());
    assert!(store.read(&tenant("x"), execution(1), u64::MAX, 10).await.unwrap().is_empty());
    assert!(store.read(&tenant("x"), execution(1), 0, 0).await.unwrap().is_empty());
    assert!(store.read(&tenant("x"), execution(2), 0, 10).await.unwrap().is_empty());
}

pub async fn a_page_may_begin_in_the_middle_of_an_append(store: SharedStore) {
    thirty_events(&store).await;
    for (after, first_seq) in [(0, 1), (1, 1), (2, 1), (3, 4), (13, 13), (14, 13), (15, 16), (29, 28)] {
        let page = store.read(&tenant("x"), execution(1), after, 1).await.unwrap();
        assert_eq!(page[0].first_seq, first_seq, "after {after}");
    }
}
