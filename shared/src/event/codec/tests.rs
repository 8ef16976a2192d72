use serde_json::json;

use super::*;
use crate::event::SkipReason;

fn envelope() -> Envelope {
    Envelope {
        at: Timestamp::from_micros(1_700_000_000_000_000),
        actor: Actor::User("ada".to_owned()),
        causation: Causation::Command { name: "start".to_owned(), key: None },
        trace: None,
    }
}

fn data(value: serde_json::Value) -> Data {
    Data::from_json(&value).unwrap()
}

fn events() -> Vec<EventData> {
    vec![
        EventData::StepCompleted {
            step: 3,
            attempt: 1,
            output: data(json!({"secret": "tulip"})),
            duration_us: 17,
            taken: Some(vec![0, 2]),
            routing_error: None,
        },
        EventData::StepSkipped { step: 4, reason: SkipReason::NotTaken, new: None },
        EventData::InputReceived { input: Data::null(), step: None, control: None },
        EventData::MapExpanded { step: 5, items: data(json!([1, 2, 3])) },
    ]
}

#[test]
fn an_append_survives_its_bytes() {
    let encoded = encode(&[7; 32], &envelope(), events(), [1; 16]).unwrap();
    let recorded = decode(&encoded.body).unwrap();
    assert_eq!(recorded.envelope, envelope());
    assert_eq!(recorded.events, events());
    verify(&[7; 32], &encoded.body, &encoded.hash).unwrap();
}

#[test]
fn any_flipped_bit_is_found() {
    let without_values = vec![EventData::StepSkipped { step: 4, reason: SkipReason::NotTaken, new: None }];
    for events in [events(), without_values] {
        let encoded = encode(&[7; 32], &envelope(), events, [1; 16]).unwrap();
        for at in 0..encoded.body.len() {
            for bit in 0..8 {
                let mut body = encoded.body.to_vec();
                body[at] ^= 1 << bit;
                // A flip in a field name or a length is malformed, any other breaks the chain; none passes unseen.
                assert!(verify(&[7; 32], &body, &encoded.hash).is_err(), "byte {at} bit {bit}");
            }
        }
        assert_eq!(verify(&[8; 32], &encoded.body, &encoded.hash), Err(CodecError::BrokenChain));
    }
}

#[test]
fn what_is_cut_off_or_added_is_found() {
    let encoded = encode(&[7; 32], &envelope(), events(), [1; 16]).unwrap();
    for length in 0..encoded.body.len() {
        assert!(verify(&[7; 32], &encoded.body[..length], &encoded.hash).is_err(), "{length} bytes");
        assert!(decode(&encoded.body[..length]).is_err(), "{length} bytes");
    }
    let longer = [&encoded.body[..], b"x"].concat();
    assert!(matches!(verify(&[7; 32], &longer, &encoded.hash), Err(CodecError::Malformed(_))));
}

#[test]
fn the_version_is_part_of_what_is_chained() {
    let body = |v| Body { v, e: b"content", p: vec![], s: &[] };
    assert_ne!(chain(&[7; 32], &body(1)), chain(&[7; 32], &body(2)));
}

#[test]
fn two_appends_with_equal_values_and_fresh_salts_do_not_look_alike() {
    let one = encode(&[7; 32], &envelope(), events(), [1; 16]).unwrap();
    let two = encode(&[7; 32], &envelope(), events(), [2; 16]).unwrap();
    assert_ne!(one.hash, two.hash);
}

#[test]
fn a_value_that_is_missing_or_too_many_is_found() {
    let events = [EventData::InputReceived { input: Data::hole(), step: None, control: None }];
    let content =
        ContentRef { t: Timestamp::default(), a: &Actor::System, c: &Causation::Outcome, x: &None, d: &events };
    let content = rmp_serde::to_vec_named(&content).unwrap();
    let body = |p: Vec<&'static [u8]>| {
        let s: &[u8] = if p.is_empty() { &[] } else { &[0; 16] };
        let p = p.into_iter().map(serde_bytes::Bytes::new).collect();
        rmp_serde::to_vec_named(&Body { v: 1, e: &content, p, s }).unwrap()
    };
    assert!(decode(&body(vec![b"\xc3"])).is_ok());
    assert!(matches!(decode(&body(vec![])), Err(CodecError::Malformed(_))));
    assert!(matches!(decode(&body(vec![b"\xc3", b"\xc3"])), Err(CodecError::Malformed(_))));
    assert!(matches!(decode(&body(vec![b"\xc1"])), Err(CodecError::Malformed(_))), "not MessagePack");
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let events = vec![EventData::InputReceived { input: Data::hole(), step: None, control: None }];
    assert!(matches!(encode(&[7; 32], &envelope(), events, [1; 16]), Err(CodecError::Malformed(_))));
}

#[test]
fn the_events_of_users_stand_outside_of_the_hashed_content() {
    let encoded = encode(&[7; 32], &envelope(), events(), [1; 16]).unwrap();
    let parsed = split(&encoded.body, &UPCASTS).unwrap();
    assert!(!parsed.e.windows(5).any(|window| window == b"tulip"));
    assert_eq!(parsed.p.len(), 2);
}

#[test]
fn a_newer_version_is_refused_whatever_its_shape() {
    let body = rmp_serde::to_vec_named(&json!({"v": 2, "unheard": "of"})).unwrap();
    assert_eq!(decode(&body), Err(CodecError::Newer { found: 2, known: 1 }));
}

#[test]
fn an_older_version_is_lifted_step_by_step() {
    // A reader of version 3, for which version 1 called the step of a skip `step` instead of `s`.
    fn one_to_two(value: rmpv::Value) -> rmpv::Value {
        rename(value, "step", "s")
    }
    fn two_to_three(value: rmpv::Value) -> rmpv::Value {
        value
    }
    fn rename(value: rmpv::Value, from: &str, to: &str) -> rmpv::Value {
        match value {
            rmpv::Value::Map(entries) => rmpv::Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let key = if key.as_str() == Some(from) { to.into() } else { key };
                        (key, rename(value, from, to))
                    })
                    .collect(),
            ),
            rmpv::Value::Array(items) => {
                rmpv::Value::Array(items.into_iter().map(|item| rename(item, from, to)).collect())
            }
            other => other,
        }
    }
    let content = json!({"t": 5, "d": [{"sk": {"step": 4, "r": "n"}}]});
    let content = rmp_serde::to_vec_named(&content).unwrap();
    let body = rmp_serde::to_vec_named(&Body { v: 1, e: &content, p: vec![], s: &[] }).unwrap();
    let recorded = decode_with(&body, &Upcasts(&[one_to_two, two_to_three])).unwrap();
    assert_eq!(recorded.events, [EventData::StepSkipped { step: 4, reason: SkipReason::NotTaken, new: None }]);
    assert!(decode(&body).is_err(), "without the upcast the old name means nothing");
}

#[test]
fn bytes_that_are_no_append_are_refused() {
    for body in [&b""[..], b"\xc0", b"\x80", b"garbage", &[0xdf, 0xff, 0xff, 0xff, 0xff]] {
        assert!(matches!(decode(body), Err(CodecError::Malformed(_))), "{body:?}");
    }
}

#[test]
fn the_start_of_a_log_is_bound_to_its_owner() {
    let id = ExecutionId::from_bytes([1; 20]);
    assert_ne!(genesis(&TenantId::default_tenant(), id), genesis(&"tenant_b".parse().unwrap(), id));
}
