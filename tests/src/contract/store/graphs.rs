//! Registered graphs, and what a store says about itself.

use stepstream_shared::time::Timestamp;

use super::sample::{PARTITIONS, SharedStore, graph, stored_graph, tenant};

pub async fn a_graph_is_registered_once_and_for_one_tenant(store: SharedStore) {
    let first = stored_graph(1, "g", "1");
    store.put_graph(&tenant("x"), &first).await.unwrap();
    let mut again = first.clone();
    again.registered_at = Timestamp::from_micros(9);
    store.put_graph(&tenant("x"), &again).await.unwrap();

    assert_eq!(store.get_graph(&tenant("x"), &graph(1)).await.unwrap(), Some(first));
    assert_eq!(store.get_graph(&tenant("x"), &graph(2)).await.unwrap(), None);
    assert_eq!(store.get_graph(&tenant("y"), &graph(1)).await.unwrap(), None);
    assert_eq!(store.find_graph(&tenant("y"), "g", None).await.unwrap(), None);
    assert!(store.list_graphs(&tenant("y"), None, 10).await.unwrap().is_empty());

    store.put_graph(&tenant("y"), &again).await.unwrap();
    assert_eq!(store.get_graph(&tenant("y"), &graph(1)).await.unwrap(), Some(again));
}

pub async fn a_graph_is_found_by_name_and_version_the_last_one_registered(store: SharedStore) {
    for (number, name, version) in [(1, "g", "1"), (2, "g", "2"), (3, "g", "1"), (4, "h", "1")] {
        store.put_graph(&tenant("x"), &stored_graph(number, name, version)).await.unwrap();
    }
    // Again: it stays the oldest.
    store.put_graph(&tenant("x"), &stored_graph(1, "g", "1")).await.unwrap();
    let find = async |name: &str, version: Option<&str>| {
        store.find_graph(&tenant("x"), name, version).await.unwrap().map(|found| found.digest)
    };
    assert_eq!(find("g", None).await, Some(graph(3)));
    assert_eq!(find("g", Some("1")).await, Some(graph(3)));
    assert_eq!(find("g", Some("2")).await, Some(graph(2)));
    assert_eq!(find("g", Some("3")).await, None);
    assert_eq!(find("G", None).await, None);
}

pub async fn graphs_are_listed_by_name_and_then_the_newest_first(store: SharedStore) {
    for (number, name) in [(1, "b"), (2, "a"), (3, "b"), (4, "B"), (5, "a")] {
        store.put_graph(&tenant("x"), &stored_graph(number, name, "1")).await.unwrap();
    }
    let expected: Vec<_> = [4, 5, 2, 3, 1].into_iter().map(graph).collect();
    for limit in [1, 2, 10] {
        let mut seen = Vec::new();
        loop {
            let page = store.list_graphs(&tenant("x"), seen.last(), limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit as usize);
            seen.extend(page.into_iter().map(|row| row.digest));
        }
        assert_eq!(seen, expected, "pages of {limit}");
    }
    assert!(store.list_graphs(&tenant("x"), Some(&graph(77)), 10).await.unwrap().is_empty());
}

pub async fn a_store_tells_what_it_is_and_how_durable(store: SharedStore) {
    let meta = store.meta().await.unwrap();
    assert_eq!(meta.incarnation, 1);
    assert_eq!(meta.partitions, PARTITIONS);
    assert_ne!(meta.mac_key, [0; 32]);
    assert_eq!(meta.mac_key, store.meta().await.unwrap().mac_key);
    let words = &meta.durability;
    let right = words.contains("in memory")
        || words.contains("journal_mode wal, synchronous FULL")
        || words.contains("fsync on, synchronous_commit on, full_page_writes on");
    assert!(right, "{words}");
}
