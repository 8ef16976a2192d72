//! Compiles what attempts at a task share with other executions.

use super::expressions::Expressions;
use crate::graph::compiled::{ConcurrencyRule, PermitRules, RateRule};
use crate::graph::document::PermitFields;
use crate::graph::document::tree::Tree;

/// `Some(None)` where nothing is shared; `None` for a problem, which was reported.
#[expect(clippy::option_option, reason = "nothing to compile, or nothing compiled")]
pub(crate) fn compile(
    fields: &PermitFields<'_>,
    at: usize,
    map: bool,
    expressions: &mut Expressions<'_, '_>,
) -> Option<Option<Box<PermitRules>>> {
    let mut key = |tree: &Tree| match map {
        true => expressions.item_template(tree, at),
        false => expressions.template(tree, Some(at)),
    };
    let concurrency = match &fields.concurrency {
        Some(rule) => Some(ConcurrencyRule { key: key(rule.key)?, max: rule.max }),
        None => None,
    };
    let rate = match &fields.rate {
        Some(rule) => Some(RateRule { key: key(rule.key)?, max: rule.max, per: rule.per, burst: rule.burst }),
        None => None,
    };
    if concurrency.is_none() && rate.is_none() {
        return Some(None);
    }
    Some(Some(Box::new(PermitRules { concurrency, rate, patience: fields.patience })))
}
