//! Snapshots: kept beside the log, and never a part of it.

use bytes::Bytes;
use stepstream_coordinator::ports::{Snapshot, StoreError};

use super::sample::{SharedStore, append, execution, own, tenant};

/// A snapshot after an append of two events; each sequence makes another one.
fn snapshot(number: u64, sequence: u64) -> Snapshot {
    let mut hash = [3; 32];
    hash[..8].copy_from_slice(&sequence.to_le_bytes());
    Snapshot {
        tenant: tenant("x"),
        execution: execution(number),
        sequence,
        first_seq: sequence - 1,
        hash,
        state_version: 1,
        state_hash: [4; 32],
        body: Bytes::from(format!("the state after {sequence}")),
    }
}

pub async fn a_snapshot_is_kept_for_one_tenant_until_a_newer_one_takes_its_place(store: SharedStore) {
    assert_eq!(store.snapshot(&tenant("x"), execution(1)).await.unwrap(), None);
    let first = snapshot(1, 10);
    store.put_snapshot(&first).await.unwrap();
    store.put_snapshot(&snapshot(2, 30)).await.unwrap();
    assert_eq!(store.snapshot(&tenant("x"), execution(1)).await.unwrap(), Some(first));
    assert_eq!(store.snapshot(&tenant("y"), execution(1)).await.unwrap(), None);

    let second = Snapshot { state_version: 2, ..snapshot(1, 20) };
    store.put_snapshot(&second).await.unwrap();
    assert_eq!(store.snapshot(&tenant("x"), execution(1)).await.unwrap(), Some(second));
    assert_eq!(store.snapshot(&tenant("x"), execution(2)).await.unwrap(), Some(snapshot(2, 30)));
}

pub async fn an_older_snapshot_or_another_tenants_changes_nothing(store: SharedStore) {
    let kept = snapshot(1, 20);
    store.put_snapshot(&kept).await.unwrap();
    store.put_snapshot(&snapshot(1, 19)).await.unwrap();
    store.put_snapshot(&Snapshot { tenant: tenant("y"), ..snapshot(1, 30) }).await.unwrap();
    assert_eq!(store.snapshot(&tenant("x"), execution(1)).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.snapshot(&tenant("y"), execution(1)).await.unwrap(), None);
    // One of the same place takes its place: what was damaged can be mended.
    let mended = Snapshot { body: Bytes::from_static(b"mended"), ..kept };
    store.put_snapshot(&mended).await.unwrap();
    assert_eq!(store.snapshot(&tenant("x"), execution(1)).await.unwrap(), Some(mended));
}

pub async fn snapshots_can_be_forgotten_and_the_logs_stay(store: SharedStore) {
    own(&store, "a").await;
    store.append(&[append(&tenant("x"), execution(1), 1, 10)]).await.unwrap();
    for number in 1..4 {
        store.put_snapshot(&snapshot(number, 10)).await.unwrap();
    }
    store.clear_snapshots().await.unwrap();
    for number in 1..4 {
        assert_eq!(store.snapshot(&tenant("x"), execution(number)).await.unwrap(), None);
    }
    assert_eq!(store.read(&tenant("x"), execution(1), 0, 10).await.unwrap().len(), 1);
    store.put_snapshot(&snapshot(1, 4)).await.unwrap();
    assert_eq!(store.snapshot(&tenant("x"), execution(1)).await.unwrap(), Some(snapshot(1, 4)));
}

pub async fn a_large_snapshot_survives_and_an_impossible_one_is_refused(store: SharedStore) {
    let large = Snapshot { body: vec![0xa5; 8 << 20].into(), ..snapshot(1, 10) };
    store.put_snapshot(&large).await.unwrap();
    let read = store.snapshot(&tenant("x"), execution(1)).await.unwrap().unwrap();
    assert!(read == large, "eight megabytes came back as {} bytes", read.body.len());
    for (first_seq, sequence) in [(0, 3), (4, 3), (1, u64::MAX)] {
        let impossible = Snapshot { first_seq, sequence, ..snapshot(2, 10) };
        let answer = store.put_snapshot(&impossible).await;
        assert!(matches!(answer, Err(StoreError::Refused { .. })), "{first_seq} to {sequence}: {answer:?}");
    }
}
