use serde_json::json;

use super::*;

fn check(bytes: &[u8]) -> Result<Data, DataError> {
    Data::from_msgpack(Bytes::copy_from_slice(bytes))
}

#[test]
fn a_value_survives_its_bytes() {
    let value = json!({"a": [1, -2, 3.5, "x", null, true], "b": {"c": {}}, "long": "y".repeat(70_000)});
    let data = Data::from_json(&value).unwrap();
    assert_eq!(data.to_json(), value);
    assert_eq!(check(data.as_msgpack()).unwrap(), data);
}

#[test]
fn both_ways_in_refuse_the_same_depth() {
    let nested = |levels: usize, innermost: serde_json::Value| (0..levels).fold(innermost, |inner, _| json!([inner]));
    for innermost in [json!([]), json!({}), json!(1)] {
        for levels in MAX_DEPTH - 2..=MAX_DEPTH + 1 {
            let value = nested(levels, innermost.clone());
            let scanned = check(&rmp_serde::to_vec(&value).unwrap());
            assert_eq!(Data::from_json(&value), scanned, "{levels} levels around {innermost}");
        }
    }
    assert!(Data::from_json(&nested(MAX_DEPTH, json!(1))).is_ok());
    assert_eq!(Data::from_json(&nested(MAX_DEPTH, json!([]))), Err(DataError::TooDeep));
}

#[test]
fn every_prefix_of_a_value_is_refused() {
    let data = Data::from_json(&json!({"a": [1, 70_000, "text", {"b": 2.5}], "c": "x".repeat(300)})).unwrap();
    for end in 0..data.len() {
        assert!(check(&data.as_msgpack()[..end]).is_err(), "{end} bytes of {}", data.len());
    }
}

#[test]
fn what_is_not_json_like_is_refused() {
    for (bytes, wanted) in [
        (&[0xc4, 1, 0][..], "raw bytes"),
        (&[0xc1][..], "extension"),
        (&[0xd4, 1, 0][..], "extension"),
        (&[0x81, 1, 1][..], "map key"),
        (&[0xa1, 0xff][..], "UTF-8"),
        (&[1, 2][..], "follows"),
        (&[0xdd, 0xff, 0xff, 0xff, 0xff][..], "too early"),
        (&[0xdb, 0xff, 0xff, 0xff, 0xff][..], "too early"),
    ] {
        let error = check(bytes).unwrap_err().to_string();
        assert!(error.contains(wanted), "{bytes:x?}: {error}");
    }
}

#[test]
fn bombs_are_refused_by_their_limit() {
    assert_eq!(check(&[0x91; 100]), Err(DataError::TooDeep));
    let mut wide = vec![0xdd, 0x00, 0x20, 0x00, 0x00];
    wide.extend(std::iter::repeat_n(0x90, 0x20_0000));
    assert_eq!(check(&wide), Err(DataError::TooManyNodes));
    assert!(matches!(check(&vec![0xc0; MAX_BYTES + 1]), Err(DataError::TooLarge { .. })));
    let mut deep = json!(1);
    for _ in 0..=MAX_DEPTH {
        deep = json!([deep]);
    }
    assert_eq!(Data::from_json(&deep), Err(DataError::TooDeep));
}
