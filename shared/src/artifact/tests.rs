use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::id::Id;

fn reference(content: &[u8]) -> Reference {
    let digest = ContentHash::of(content);
    let id = artifact_id(Id::from_bytes([1; 20]), None, "a", &digest);
    Reference { id, digest, size: content.len() as u64, content_type: VALUE_CONTENT_TYPE.to_owned() }
}

#[test]
fn a_content_hash_is_what_it_prints() {
    let hash = ContentHash::of(b"tulips");
    assert_eq!(hash.to_string().parse::<ContentHash>(), Ok(hash));
    for wrong in
        ["", "blake3:", "sha256:00", &hash.hex(), &hash.to_string().to_uppercase(), "blake3:../../../etc/passwd"]
    {
        assert!(wrong.parse::<ContentHash>().is_err(), "{wrong}");
    }
}

#[test]
fn d50_the_id_of_an_artifact_follows_from_what_it_is() {
    let (execution, step, digest) = (Id::from_bytes([1; 20]), Id::from_bytes([2; 20]), ContentHash::of(b"x"));
    let id = artifact_id(execution, Some(step), "report", &digest);
    assert_eq!(id, artifact_id(execution, Some(step), "report", &digest));
    let others = [
        artifact_id(Id::from_bytes([3; 20]), Some(step), "report", &digest),
        artifact_id(execution, Some(Id::from_bytes([3; 20])), "report", &digest),
        artifact_id(execution, None, "report", &digest),
        artifact_id(execution, Some(step), "report2", &digest),
        artifact_id(execution, Some(step), "report", &ContentHash::of(b"y")),
    ];
    assert!(others.iter().all(|other| *other != id));
}

#[test]
fn types_have_the_content_types_of_the_specification() {
    for kind in ArtifactType::ALL {
        assert!(is_content_type(kind.content_type()), "{kind}");
        assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.name()));
    }
    assert_eq!(ArtifactType::SearchResults.content_type(), "application/json");
    assert_eq!(ArtifactType::Screenshot.content_type(), "image/png");
    assert_eq!(ArtifactType::default().content_type(), "application/octet-stream");
}

#[test]
fn a_content_type_cannot_end_its_header() {
    for good in ["text/plain", "text/plain; charset=utf-8", "application/vnd.x+json"] {
        assert!(is_content_type(good), "{good}");
    }
    for bad in ["", "text", "text/", "/plain", "text/plain\r\nx: y", "te xt/plain", "text/plain; a=\u{e9}"] {
        assert!(!is_content_type(bad), "{bad:?}");
    }
}

#[test]
fn references_are_found_and_replaced_wherever_they_stand() {
    let (a, b) = (reference(b"1"), reference(b"22"));
    let mut value = json!({"x": a.to_json(), "list": [b.to_json(), {"$artifact": "no"}, a.to_json()], "n": 1});
    let data = Data::from_json(&value).unwrap();
    assert!(mentions_references(&data));
    assert!(!mentions_references(&Data::from_json(&json!({"artifact": 1})).unwrap()));
    assert_eq!(references(&value).into_values().map(|found| found.size).sum::<u64>(), 3);
    let values = BTreeMap::from([(a.digest, json!("one")), (b.digest, json!([2]))]);
    replace_references(&mut value, &values);
    assert_eq!(value, json!({"x": "one", "list": [[2], {"$artifact": "no"}, "one"], "n": 1}));
}

#[test]
fn each_place_of_a_value_counts_and_what_was_stored_as_an_artifact_is_none() {
    let a = reference(b"22");
    let picture = Reference { content_type: "image/png".to_owned(), ..a.clone() };
    let lying = Reference { size: 0, ..a.clone() };
    let mut value = json!([lying.to_json(), a.to_json(), {"x": a.to_json()}, picture.to_json()]);
    assert_eq!(values_referred_to(&value), BTreeMap::from([(a.digest, Occurrences { count: 3, claimed: 2 })]));
    replace_references(&mut value, &BTreeMap::from([(a.digest, json!(22))]));
    assert_eq!(value, json!([22, 22, {"x": 22}, picture.to_json()]), "an artifact is its callable's own affair");
}

proptest! {
    #[test]
    fn whatever_looks_like_a_reference_is_read_or_left_alone(id in ".{0,40}", digest in ".{0,80}", size: u64, kind in ".{0,20}") {
        let value = json!({"$artifact": {"id": id, "digest": digest, "size": size, "content_type": kind}});
        if let Some(reference) = Reference::of(&value) {
            prop_assert_eq!(reference.to_json(), value);
        }
    }
}
