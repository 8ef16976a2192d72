//! Values while an expression is evaluated: shared, never copied, ordered the same way on every machine.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::away::not_put_away;
use super::budget::{Budget, Fault};

/// A value. Lists and maps are shared, so naming a list of ten thousand items costs as much as naming a number.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Only what does not fit an `Int`, or what `uint()` made.
    UInt(u64),
    Double(f64),
    Text(Arc<str>),
    List(Arc<Vec<Value>>),
    /// Sorted, so that whoever iterates sees one order.
    Map(Arc<BTreeMap<Arc<str>, Value>>),
}

impl Value {
    pub(crate) fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    pub(crate) fn list(items: Vec<Value>) -> Value {
        Value::List(Arc::new(items))
    }

    pub(crate) fn map(entries: BTreeMap<Arc<str>, Value>) -> Value {
        Value::Map(Arc::new(entries))
    }

    /// A signed number where it fits, as JSON knows one kind of whole number.
    pub(crate) fn whole(number: u64) -> Value {
        i64::try_from(number).map_or(Value::UInt(number), Value::Int)
    }

    /// The name of the type, as CEL spells it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::UInt(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }

    /// Deep equality; numbers compare by value whatever their kind. Paid for by node, as shared lists may nest in lists.
    pub(crate) fn equals(&self, other: &Value, budget: &Budget) -> Result<bool, Fault> {
        budget.tick(1)?;
        let equal = self.is_alike(other, budget)?;
        if !equal {
            self.differs(other)?;
        }
        Ok(equal)
    }

    fn is_alike(&self, other: &Value, budget: &Budget) -> Result<bool, Fault> {
        Ok(match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => {
                budget.scan(a.len().min(b.len()))?;
                a == b
            }
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for ((key_a, a), (key_b, b)) in a.iter().zip(b.iter()) {
                    if key_a != key_b || !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => compare_numbers(self, other) == Some(Ordering::Equal),
        })
    }

    /// Fails where two values look different and may be the same: one of them stands for a value that was put away. That is
    /// too large to be null, a boolean or a number.
    fn differs(&self, other: &Value) -> Result<(), Fault> {
        let known = |value: &Value, other: &Value| match (value, other) {
            (Value::Map(entries), Value::Map(_) | Value::Text(_) | Value::List(_)) => not_put_away(entries),
            _ => Ok(()),
        };
        known(self, other)?;
        known(other, self)
    }

    /// `<` and its friends: numbers with numbers, texts with texts, booleans with booleans.
    pub(crate) fn compare(&self, other: &Value, budget: &Budget) -> Result<Ordering, Fault> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => {
                budget.scan(a.len().min(b.len()))?;
                Ok(a.cmp(b))
            }
            (Value::Double(a), _) | (_, Value::Double(a)) if a.is_nan() => {
                Err(Fault::wrong("not-a-number has no order"))
            }
            _ => compare_numbers(self, other).ok_or_else(|| {
                Fault::wrong(format!("{} and {} cannot be ordered", self.type_name(), other.type_name()))
            }),
        }
    }

    /// An order over all values, for `distinct`: by type, then within the type.
    pub(crate) fn total_order(&self, other: &Value, budget: &Budget) -> Result<Ordering, Fault> {
        budget.tick(1)?;
        let order = self.order(other, budget)?;
        if order.is_ne() {
            self.differs(other)?;
        }
        Ok(order)
    }

    fn order(&self, other: &Value, budget: &Budget) -> Result<Ordering, Fault> {
        fn rank(value: &Value) -> u8 {
            match value {
                Value::Null => 0,
                Value::Bool(_) => 1,
                Value::Int(_) | Value::UInt(_) | Value::Double(_) => 2,
                Value::Text(_) => 3,
                Value::List(_) => 4,
                Value::Map(_) => 5,
            }
        }
        Ok(match (self, other) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => {
                budget.scan(a.len().min(b.len()))?;
                a.cmp(b)
            }
            (Value::List(a), Value::List(b)) => {
                for (a, b) in a.iter().zip(b.iter()) {
                    let order = a.total_order(b, budget)?;
                    if order.is_ne() {
                        return Ok(order);
                    }
                }
                a.len().cmp(&b.len())
            }
            (Value::Map(a), Value::Map(b)) => {
                for ((key_a, a), (key_b, b)) in a.iter().zip(b.iter()) {
                    let order = key_a.cmp(key_b);
                    let order = if order.is_eq() { a.total_order(b, budget)? } else { order };
                    if order.is_ne() {
                        return Ok(order);
                    }
                }
                a.len().cmp(&b.len())
            }
            _ => compare_numbers(self, other).unwrap_or_else(|| match (self, other) {
                // Not-a-number, as the last of the numbers.
                (Value::Double(a), Value::Double(b)) => a.is_nan().cmp(&b.is_nan()),
                (Value::Double(a), _) if a.is_nan() => Ordering::Greater.then(rank(self).cmp(&rank(other))),
                _ => rank(self).cmp(&rank(other)),
            }),
        })
    }
}

/// By numeric value, exactly; `None` when one is no number.
fn compare_numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::UInt(a), Value::UInt(b)) => Some(a.cmp(b)),
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::UInt(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::UInt(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Value::Int(a), Value::Double(b)) => whole_to_double(i128::from(*a), *b),
        (Value::UInt(a), Value::Double(b)) => whole_to_double(i128::from(*a), *b),
        (Value::Double(a), Value::Int(b)) => whole_to_double(i128::from(*b), *a).map(Ordering::reverse),
        (Value::Double(a), Value::UInt(b)) => whole_to_double(i128::from(*b), *a).map(Ordering::reverse),
        _ => None,
    }
}

fn whole_to_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Beyond these a double is larger in size than any whole number we know; within, truncation is exact.
    if double >= 1e30 {
        return Some(Ordering::Less);
    }
    if double <= -1e30 {
        return Some(Ordering::Greater);
    }
    let truncated = double as i128;
    Some(whole.cmp(&truncated).then_with(|| 0.0_f64.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal)))
}
