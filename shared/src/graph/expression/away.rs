//! Values that are not here: they were put into the artifact store, and a reference stands in their place.
//!
//! An expression that passes a reference on is fine. One whose answer depends on the value fails instead of answering for
//! the reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::budget::Fault;
use super::value::Value;
use crate::artifact::{REFERENCE_KEY, VALUE_CONTENT_TYPE};

type Entries = BTreeMap<Arc<str>, Value>;

/// Why a reference of any kind cannot be looked into: what it stands for is not here.
pub(super) fn put_away(entries: &Entries) -> Option<Fault> {
    (entries.len() == 1 && entries.contains_key(REFERENCE_KEY)).then(|| {
        Fault::wrong(
            "the value is in the artifact store and stands here as a reference (it came out of another execution, or through \
             a callable that passed it on): pass it on whole to a step, which is given the value",
        )
    })
}

/// Fails for a reference that stands for a value, as opposed to an artifact that a callable has stored as one: of that,
/// the reference itself is the value.
pub(super) fn not_put_away(entries: &Entries) -> Result<(), Fault> {
    let stands_for_value = match entries.get(REFERENCE_KEY) {
        Some(Value::Map(reference)) => matches!(
            reference.get("content_type"),
            Some(Value::Text(content_type)) if &**content_type == VALUE_CONTENT_TYPE
        ),
        _ => false,
    };
    match put_away(entries) {
        Some(fault) if stands_for_value => Err(fault),
        _ => Ok(()),
    }
}
