use stepstream_shared::event::codec::CodecError;

use super::recorded::Recorded;
use super::*;

async fn is_verified(recorded: &Recorded) {
    let loaded = recorded.reader.verify(&recorded.tenant, recorded.id).await.unwrap();
    assert_eq!(loaded.execution, recorded.execution);
    assert_eq!((loaded.head, loaded.last_first_seq), (recorded.head, recorded.last_first_seq));
    let loaded = recorded.reader.load(&recorded.tenant, recorded.id, None).await.unwrap();
    assert_eq!(loaded.execution, recorded.execution);
}

#[tokio::test]
async fn a_log_that_continues_another_is_walked_and_verified_from_the_first_log_on() {
    let mut origin = Recorded::fan(20).await;
    let begin = origin.execution.sequence();
    origin.grow(begin + 10).await;
    let mut second = origin.fork(8, origin.execution.sequence()).await;
    origin.grow(begin + 15).await;
    second.grow(begin + 14).await;
    let mut third = second.fork(9, second.execution.sequence()).await;
    third.grow(begin + 20).await;
    for recorded in [&origin, &second, &third] {
        is_verified(recorded).await;
    }
    assert_ne!(origin.execution.state_hash(), third.execution.state_hash());

    let (reader, tenant) = (&third.reader, &third.tenant);
    // Any state on the way, on both sides of both borders.
    for to in [begin, begin + 10, begin + 11, begin + 14, begin + 15] {
        let loaded = reader.load(tenant, third.id, Some(to)).await.unwrap();
        assert_eq!((loaded.execution.sequence(), loaded.execution.id()), (to, third.id));
    }
    let events = reader.events(tenant, third.id, begin + 9, 100).await.unwrap();
    let sequences: Vec<u64> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (begin + 10..=third.execution.sequence()).collect::<Vec<_>>());
    let elsewhere = "tenant_b".parse().unwrap();
    assert!(matches!(reader.verify(&elsewhere, third.id).await, Err(ReadError::NotFound(_))));
}

#[tokio::test]
async fn a_continuation_that_is_not_chained_to_its_origin_is_found_out() {
    let mut origin = Recorded::fan(5).await;
    origin.grow(origin.execution.sequence() + 1).await;
    let border = origin.execution.sequence();
    let mut fork = origin.fork(8, border).await;
    fork.head = genesis(&fork.tenant, fork.id);
    fork.grow(border + 3).await;
    match fork.reader.verify(&fork.tenant, fork.id).await {
        Err(ReadError::Codec { after, source: CodecError::BrokenChain, .. }) => assert_eq!(after, border),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_long_continuation_is_loaded_from_its_snapshot() {
    let mut origin = Recorded::fan(3_000).await;
    origin.grow(5_000).await;
    let mut fork = origin.fork(8, origin.execution.sequence()).await;
    fork.grow(5_500).await;
    let loaded = fork.reader.load(&fork.tenant, fork.id, None).await.unwrap();
    assert!(fork.reader.keep_snapshot(loaded).await.unwrap());
    let kept_at = fork.execution.sequence();
    fork.grow(5_800).await;
    let loaded = fork.reader.load_present(&fork.tenant, fork.id).await.unwrap();
    assert_eq!((loaded.snapshot, &loaded.execution), (kept_at, &fork.execution));
    is_verified(&fork).await;
}
