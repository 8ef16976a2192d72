//! `concurrency` and `rate` of a task: what its attempts share with those of other executions.

use std::time::Duration;

use super::duration;
use super::fields::{Fields, Known, number};
use super::tree::{Shape, Tree};
use crate::graph::diagnose::Reporter;

/// Most places of a key, most attempts in the time of a rate, and most of them at once.
pub(crate) const MAX_PERMITS: u32 = 1_000_000;

/// What a task says of permits. Nothing by default.
#[derive(Debug, Default)]
pub(crate) struct PermitFields<'t> {
    pub(crate) concurrency: Option<ConcurrencyFields<'t>>,
    pub(crate) rate: Option<RateFields<'t>>,
    /// The shorter of both patiences.
    pub(crate) patience: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct ConcurrencyFields<'t> {
    pub(crate) key: &'t Tree,
    pub(crate) max: u32,
}

#[derive(Debug)]
pub(crate) struct RateFields<'t> {
    pub(crate) key: &'t Tree,
    pub(crate) max: u32,
    pub(crate) per: Duration,
    pub(crate) burst: u32,
}

const CONCURRENCY: Known = Known { what: "`concurrency`", fields: &["key", "max", "timeout"], later: &["on_limit"] };
const RATE: Known = Known { what: "`rate`", fields: &["key", "max", "per", "burst", "timeout"], later: &["on_limit"] };

pub(crate) fn read<'t>(fields: &mut Fields<'t>, reporter: &mut Reporter<'_>) -> PermitFields<'t> {
    let mut permits = PermitFields::default();
    let mut patience = |fields: &mut Fields<'t>, reporter: &mut Reporter<'_>| {
        let tree = fields.take("timeout")?;
        let found = duration::read(tree, "timeout", duration::Zero::Refused, reporter)?;
        permits.patience = Some(permits.patience.map_or(found, |other| other.min(found)));
        Some(())
    };
    let concurrency = fields.take("concurrency").and_then(|tree| {
        let mut fields = map_of(tree, &CONCURRENCY, "concurrency: { key: NAME, max: 5 }", reporter)?;
        patience(&mut fields, reporter);
        let (key, max) = (fields.required("key", reporter), fields.required("max", reporter));
        let max = max.and_then(|tree| number(tree, "max", 1..=MAX_PERMITS, reporter));
        Some(ConcurrencyFields { key: key.filter(|tree| is_key(tree, "concurrency", reporter))?, max: max? })
    });
    let rate = fields.take("rate").and_then(|tree| {
        let mut fields = map_of(tree, &RATE, "rate: { key: NAME, max: 10, per: 1s }", reporter)?;
        patience(&mut fields, reporter);
        let key = fields.required("key", reporter);
        let max = fields.required("max", reporter).and_then(|tree| number(tree, "max", 1..=MAX_PERMITS, reporter));
        let per = fields.required("per", reporter);
        let per_place = per.map(|tree| tree.place);
        let per = per.and_then(|tree| duration::read(tree, "per", duration::Zero::Refused, reporter));
        let burst = fields.take("burst").and_then(|tree| number(tree, "burst", 1..=MAX_PERMITS, reporter));
        let key = key.filter(|tree| is_key(tree, "rate", reporter));
        let (key, max, per) = (key?, max?, per?);
        // Moments are kept in whole microseconds.
        if per.as_micros() < u128::from(max) {
            if let Some(place) = per_place {
                let message = format!("a rate of {max} in {} us is more than one in a microsecond", per.as_micros());
                reporter.report_with(place, "out-of-range", message, "make `per` longer or `max` smaller");
            }
            return None;
        }
        Some(RateFields { key, max, per, burst: burst.unwrap_or(1) })
    });
    permits.concurrency = concurrency;
    permits.rate = rate;
    permits
}

fn map_of<'t>(tree: &'t Tree, known: &Known, example: &str, reporter: &mut Reporter<'_>) -> Option<Fields<'t>> {
    if !matches!(tree.shape, Shape::Map(_)) {
        let message = format!("{} is a map, not {}", known.what, tree.kind());
        reporter.report_with(tree.place, "wrong-type", message, format!("write `{example}`"));
        return None;
    }
    Fields::of(tree, known, reporter)
}

fn is_key(tree: &Tree, what: &str, reporter: &mut Reporter<'_>) -> bool {
    let good = matches!(&tree.shape, Shape::Text(text) if !text.is_empty());
    if !good {
        let message = format!(
            "the `key` of `{what}` is a text or an expression, not {}",
            match &tree.shape {
                Shape::Text(_) => "nothing",
                _ => tree.kind(),
            }
        );
        reporter.report_with(
            tree.place,
            "wrong-type",
            message,
            "for example `key: payments` or `key: \"=inputs.customer\"`",
        );
    }
    good
}
