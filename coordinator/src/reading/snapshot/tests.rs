use bytes::Bytes;

use super::*;
use crate::ports::EventStore;
use crate::reading::recorded::Recorded;

/// Items of the fans below: a log that is long enough for a snapshot, and a tail after it.
const ITEMS: usize = 3_000;
const KEPT_AT: u64 = 6_000;
const END: u64 = 6_500;

/// An execution with a snapshot that some events follow.
async fn recorded() -> (Recorded, Snapshot) {
    let mut recorded = Recorded::fan(ITEMS).await;
    recorded.grow(KEPT_AT).await;
    let loaded = recorded.reader.load(&recorded.tenant, recorded.id, None).await.unwrap();
    assert!(recorded.reader.keep_snapshot(loaded).await.unwrap());
    recorded.grow(END).await;
    let snapshot = recorded.store.snapshot(&recorded.tenant, recorded.id).await.unwrap().unwrap();
    assert!(snapshot.sequence >= KEPT_AT && snapshot.sequence < END);
    (recorded, snapshot)
}

/// Puts another snapshot in the place of the one that is there, and checks that nothing comes of it but work.
async fn left_aside(recorded: &Recorded, bad: &Snapshot) {
    recorded.store.clear_snapshots().await.unwrap();
    recorded.store.put_snapshot(bad).await.unwrap();
    let loaded = recorded.reader.load_present(&recorded.tenant, recorded.id).await.unwrap();
    assert_eq!(loaded.snapshot, 0, "it was used");
    is_present(recorded, &loaded);
}

fn is_present(recorded: &Recorded, loaded: &Loaded) {
    assert_eq!(loaded.execution, recorded.execution);
    assert_eq!((loaded.head, loaded.last_first_seq), (recorded.head, recorded.last_first_seq));
}

async fn verdict(recorded: &Recorded) -> Option<BadSnapshot> {
    match recorded.reader.verify(&recorded.tenant, recorded.id).await {
        Ok(loaded) => {
            is_present(recorded, &loaded);
            None
        }
        Err(ReadError::Snapshot { source, .. }) => Some(source),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_long_log_is_loaded_from_its_snapshot_and_gives_the_same_state() {
    let (recorded, snapshot) = recorded().await;
    let loaded = recorded.reader.load_present(&recorded.tenant, recorded.id).await.unwrap();
    assert_eq!(loaded.snapshot, snapshot.sequence);
    is_present(&recorded, &loaded);
    assert_eq!(verdict(&recorded).await, None);
}

#[tokio::test]
async fn a_snapshot_at_the_very_end_of_its_log_is_used() {
    let (recorded, _) = recorded().await;
    let loaded = recorded.reader.load(&recorded.tenant, recorded.id, None).await.unwrap();
    assert!(recorded.reader.keep_snapshot(loaded).await.unwrap());
    let loaded = recorded.reader.load_present(&recorded.tenant, recorded.id).await.unwrap();
    assert_eq!(loaded.snapshot, recorded.execution.sequence());
    is_present(&recorded, &loaded);
}

#[tokio::test]
async fn a_snapshot_that_does_not_hold_is_left_aside_and_found_out_by_verifying() {
    let (recorded, good) = recorded().await;
    let with = |change: fn(&mut Snapshot)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    let garbled = {
        let mut body = good.body.to_vec();
        // A digit of a number in the middle: still decodable, another state.
        let place =
            body.len() / 2 + body[body.len() / 2..].windows(3).position(|part| part == [0xa1, b'a', 1]).unwrap();
        body[place + 2] = 2;
        Snapshot { body: Bytes::from(body), ..good.clone() }
    };
    assert!(Execution::from_snapshot(&garbled.body).is_ok());
    let other_state = {
        let mut other = Recorded::fan(ITEMS).await;
        other.grow(KEPT_AT + 1).await;
        let state_hash = other.execution.state_hash();
        Snapshot { body: other.execution.to_snapshot().into(), state_hash, ..good.clone() }
    };
    let cases = [
        ("another hash", with(|bad| bad.state_hash[0] ^= 1), Some(BadSnapshot::OtherState)),
        ("a changed body", garbled, Some(BadSnapshot::Changed)),
        ("another append", with(|bad| bad.hash[0] ^= 1), Some(BadSnapshot::OtherLog)),
        ("another append's beginning", with(|bad| bad.first_seq -= 1), Some(BadSnapshot::OtherLog)),
        ("a state of another place", with(|bad| bad.sequence += 1), Some(BadSnapshot::OtherLog)),
        ("another state under its own hash", other_state, Some(BadSnapshot::OtherState)),
        // What another build wrote is neither right nor wrong.
        ("another version", with(|bad| bad.state_version += 1), None),
    ];
    for (what, bad, expected) in cases {
        left_aside(&recorded, &bad).await;
        assert_eq!(verdict(&recorded).await, expected, "{what}");
    }
    let undecodable = Snapshot { body: Bytes::from_static(b"\xc1 no state"), ..good };
    left_aside(&recorded, &undecodable).await;
    assert!(matches!(verdict(&recorded).await, Some(BadSnapshot::Undecodable(_))));
}

#[tokio::test]
async fn a_snapshot_beyond_the_end_of_its_log_is_left_aside_and_found_out() {
    let (mut longer, _) = recorded().await;
    longer.grow(END + 1).await;
    let loaded = longer.reader.load(&longer.tenant, longer.id, None).await.unwrap();
    let beyond = encode(&loaded);
    let (recorded, _) = recorded().await;
    left_aside(&recorded, &beyond).await;
    assert_eq!(verdict(&recorded).await, Some(BadSnapshot::BeyondTheEnd));
}

#[tokio::test]
async fn a_state_that_does_not_take_the_rest_of_the_log_is_left_aside() {
    let (recorded, good) = recorded().await;
    // Sound by itself, and in the right place, but what follows has happened in it already.
    let mut state = serde_json::to_value(&recorded.execution).unwrap();
    state["sequence"] = good.sequence.into();
    let state: Execution = serde_json::from_value(state).unwrap();
    let bad = Snapshot { state_hash: state.state_hash(), body: state.to_snapshot().into(), ..good };
    left_aside(&recorded, &bad).await;
    assert_eq!(verdict(&recorded).await, Some(BadSnapshot::OtherState));
}

#[tokio::test]
async fn a_short_log_and_an_ended_execution_have_no_snapshot_to_ask_for() {
    let mut recorded = Recorded::fan(3).await;
    let loaded = recorded.reader.load_present(&recorded.tenant, recorded.id).await.unwrap();
    is_present(&recorded, &loaded);
    while !recorded.execution.state().is_terminal() {
        recorded.grow(recorded.execution.sequence() + 1).await;
    }
    let loaded = recorded.reader.load_present(&recorded.tenant, recorded.id).await.unwrap();
    assert!(!recorded.reader.keep_snapshot(loaded).await.unwrap());
    assert_eq!(recorded.store.snapshot(&recorded.tenant, recorded.id).await.unwrap(), None);
}

#[test]
fn all_snapshots_of_an_execution_together_cost_a_few_times_the_last() {
    for end in [100_000_u64, 10_000_000] {
        let (mut last, mut written) = (0, 0);
        while next_snapshot(last) <= end {
            last = next_snapshot(last);
            written += last;
        }
        assert!(last > end * 3 / 4, "the last one is close to the end");
        assert!(written < 6 * end, "{written} for {end} events");
    }
    assert_eq!(next_snapshot(0), SNAPSHOT_EVERY);
}
