//! Code and a scope to a value, within a budget.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::away::{not_put_away, put_away};
use super::budget::{Budget, Fault};
use super::code::{Binary, Code, Loop, LoopKind, Root};
use super::decode::{self, Decoded};
use super::function::{add, no_operator, overflow, search};
use super::value::Value;
use super::{OutputView, Scope};

/// Bytes that an entry of a map costs beside its value.
const ENTRY_BYTES: usize = 64;

/// Evaluates against a scope.
pub(crate) fn evaluate(code: &Code, roots: &[Root], scope: &dyn Scope) -> Result<Value, Fault> {
    let budget = Budget::new();
    let run = Run {
        scope: Some(scope),
        roots,
        loaded: RefCell::new(vec![None; roots.len()]),
        locals: RefCell::new(Vec::new()),
        budget: &budget,
    };
    let value = run.value(code);
    scope.spend(budget.spent());
    value
}

/// Evaluates what names nothing from outside.
pub(crate) fn constant(code: &Code, budget: &Budget) -> Result<Value, Fault> {
    let run = Run { scope: None, roots: &[], loaded: RefCell::default(), locals: RefCell::new(Vec::new()), budget };
    run.value(code)
}

struct Run<'a> {
    scope: Option<&'a dyn Scope>,
    roots: &'a [Root],
    /// Each root at most once; the inner `None` is "asked for, not there".
    loaded: RefCell<Vec<Option<Option<Value>>>>,
    /// Values of the loops around, outermost first.
    locals: RefCell<Vec<Value>>,
    budget: &'a Budget,
}

// The match in `value` only hands over, so that its frame, which nests, stays small.
impl Run<'_> {
    fn value(&self, code: &Code) -> Result<Value, Fault> {
        self.budget.tick(1)?;
        match code {
            Code::Constant(value) => Ok(value.clone()),
            Code::Root(root) => self.root(*root),
            Code::Present(root) => Ok(Value::Bool(self.load(*root)?.is_some())),
            Code::Step { output, error, iterations } => self.step(*output, *error, *iterations),
            Code::Local(at) => Ok(self.locals.borrow().get(usize::from(*at)).cloned().unwrap_or(Value::Null)),
            Code::Select(of, field) => self.select(of, field),
            Code::Has(of, field) => self.has(of, field),
            Code::Index(pair) => self.index(&pair.0, &pair.1),
            Code::List(items) => self.list(items),
            Code::Map(entries) => self.map(entries),
            Code::Not(of) => Ok(Value::Bool(!self.boolean(of)?)),
            Code::Negate(of) => self.negate(of),
            Code::And(pair) => self.decide(&pair.0, &pair.1, false),
            Code::Or(pair) => self.decide(&pair.0, &pair.1, true),
            Code::If(parts) => self.value(if self.boolean(&parts.0)? { &parts.1 } else { &parts.2 }),
            Code::Binary(operator, pair) => self.binary(*operator, &pair.0, &pair.1),
            Code::Call(function, args) => {
                let args = self.values(args)?;
                function.call(&args, self.budget)
            }
            Code::Matches(of, pattern) => self.matches(of, pattern),
            Code::Loop(looped) => self.looped(looped),
        }
    }

    fn values(&self, codes: &[Code]) -> Result<Vec<Value>, Fault> {
        let mut values = Vec::with_capacity(codes.len());
        for code in codes {
            values.push(self.value(code)?);
        }
        Ok(values)
    }

    fn root(&self, root: u16) -> Result<Value, Fault> {
        if let Some(value) = self.load(root)? {
            return Ok(value);
        }
        Err(Fault::Wrong(match self.roots.get(usize::from(root)) {
            Some(Root::StepOutput(node)) => {
                format!("`steps.{node}` has no output (not run, skipped or failed); test with has(steps.{node}.output)")
            }
            Some(Root::StepError(node)) => {
                format!("`steps.{node}` has no error; test with has(steps.{node}.error)")
            }
            Some(Root::Error) => "there is no `error`: no error edge led here".to_owned(),
            Some(Root::Output) => "the step has no output".to_owned(),
            Some(Root::Item | Root::Index) => "there is no `item` outside a map".to_owned(),
            Some(Root::Iteration) => "there is no `iteration` outside a loop".to_owned(),
            _ => "a name has no value here".to_owned(),
        }))
    }

    fn load(&self, at: u16) -> Result<Option<Value>, Fault> {
        let at = usize::from(at);
        if let Some(Some(known)) = self.loaded.borrow().get(at) {
            return Ok(known.clone());
        }
        let (Some(root), Some(scope)) = (self.roots.get(at), self.scope) else { return Ok(None) };
        let number = |number: u32| Decoded { value: Value::Int(i64::from(number)), nodes: 1 };
        let output = |view: Option<OutputView<'_>>| view.map(|view| decode::output(&view));
        let decoded = match root {
            Root::Inputs => Some(decode::one(scope.inputs())),
            Root::Output => output(scope.output()),
            Root::Error => scope.error().map(decode::error),
            Root::Item => scope.item().map(|(item, _)| decode::one(item)),
            Root::Index => scope.item().map(|(_, index)| number(index)),
            Root::Iteration => scope.iteration().map(number),
            Root::ExecutionId => Some(Decoded { value: Value::text(&scope.execution_id()), nodes: 1 }),
            Root::Inbox => Some(decode::one(&scope.inbox())),
            Root::Schedule => Some(decode::one(&scope.schedule())),
            Root::StepOutput(node) => output(scope.step(node).and_then(|step| step.output)),
            Root::StepError(node) => scope.step(node).and_then(|step| step.error).map(decode::error),
            Root::StepIterations(node) => scope.step(node).map(|step| number(step.iterations)),
        };
        let value = match decoded {
            Some(decoded) => {
                self.budget.decode(decoded.nodes)?;
                Some(decoded.value)
            }
            None => None,
        };
        if let Some(slot) = self.loaded.borrow_mut().get_mut(at) {
            *slot = Some(value.clone());
        }
        Ok(value)
    }

    fn step(&self, output: u16, error: u16, iterations: u16) -> Result<Value, Fault> {
        let mut entries = BTreeMap::new();
        for (name, root) in [("output", output), ("error", error), ("iterations", iterations)] {
            if let Some(value) = self.load(root)? {
                entries.insert(name.into(), value);
            }
        }
        Ok(Value::map(entries))
    }

    fn select(&self, of: &Code, field: &Arc<str>) -> Result<Value, Fault> {
        match self.value(of)? {
            Value::Map(entries) => {
                entries.get(field).cloned().ok_or_else(|| put_away(&entries).unwrap_or_else(|| no_key(field)))
            }
            other => Err(Fault::wrong(format!("a {} has no field `{field}`", other.type_name()))),
        }
    }

    fn has(&self, of: &Code, field: &Arc<str>) -> Result<Value, Fault> {
        match self.value(of)? {
            Value::Map(entries) if entries.contains_key(field) => Ok(Value::Bool(true)),
            Value::Map(entries) => not_put_away(&entries).map(|()| Value::Bool(false)),
            other => Err(Fault::wrong(format!("a {} has no fields", other.type_name()))),
        }
    }

    fn index(&self, of: &Code, key: &Code) -> Result<Value, Fault> {
        let of = self.value(of)?;
        let key = self.value(key)?;
        match (&of, &key) {
            (Value::Map(entries), Value::Text(key)) => {
                entries.get(key).cloned().ok_or_else(|| put_away(entries).unwrap_or_else(|| no_key(key)))
            }
            (Value::List(items), Value::Int(_) | Value::UInt(_) | Value::Double(_)) => {
                let at = match key {
                    Value::Int(at) => usize::try_from(at).ok(),
                    Value::UInt(at) => usize::try_from(at).ok(),
                    Value::Double(at) if at.fract() == 0.0 && (0.0..1e15).contains(&at) => Some(at as usize),
                    _ => None,
                };
                at.and_then(|at| items.get(at))
                    .cloned()
                    .ok_or_else(|| Fault::wrong(format!("the list has {} items, the index lies outside", items.len())))
            }
            _ => Err(Fault::wrong(format!("a {} cannot be indexed by a {}", of.type_name(), key.type_name()))),
        }
    }

    fn list(&self, items: &[Code]) -> Result<Value, Fault> {
        self.budget.build(items.len() * size_of::<Value>())?;
        Ok(Value::list(self.values(items)?))
    }

    fn map(&self, entries: &[(Code, Code)]) -> Result<Value, Fault> {
        self.budget.build(entries.len() * (size_of::<Value>() + ENTRY_BYTES))?;
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let key = match self.value(key)? {
                Value::Text(key) => key,
                other => return Err(Fault::wrong(format!("the keys of a map are text, not {}", other.type_name()))),
            };
            let value = self.value(value)?;
            if map.insert(Arc::clone(&key), value).is_some() {
                return Err(Fault::wrong(format!("the map has the key {key:?} twice")));
            }
        }
        Ok(Value::map(map))
    }

    fn boolean(&self, code: &Code) -> Result<bool, Fault> {
        match self.value(code)? {
            Value::Bool(bool) => Ok(bool),
            other => Err(Fault::wrong(format!("a boolean is needed, found {}", other.type_name()))),
        }
    }

    fn negate(&self, of: &Code) -> Result<Value, Fault> {
        match self.value(of)? {
            Value::Int(int) => int.checked_neg().map(Value::Int).ok_or_else(overflow),
            Value::Double(double) => Ok(Value::Double(-double)),
            other => Err(Fault::wrong(format!("-{} is not defined", other.type_name()))),
        }
    }

    /// `||` (decided by `true`) and `&&` (by `false`): one side that decides makes the other's error irrelevant.
    fn decide(&self, left: &Code, right: &Code, decisive: bool) -> Result<Value, Fault> {
        let left = match self.boolean(left) {
            Ok(left) if left == decisive => return Ok(Value::Bool(decisive)),
            Err(Fault::Spent(reason)) => return Err(Fault::Spent(reason)),
            other => other,
        };
        let right = self.boolean(right)?;
        if right == decisive {
            return Ok(Value::Bool(decisive));
        }
        left.map(Value::Bool)
    }

    fn binary(&self, operator: Binary, left: &Code, right: &Code) -> Result<Value, Fault> {
        let left = self.value(left)?;
        let right = self.value(right)?;
        let budget = self.budget;
        match operator {
            Binary::Equal => left.equals(&right, budget).map(Value::Bool),
            Binary::NotEqual => left.equals(&right, budget).map(|equal| Value::Bool(!equal)),
            Binary::Less => left.compare(&right, budget).map(|order| Value::Bool(order.is_lt())),
            Binary::LessOrEqual => left.compare(&right, budget).map(|order| Value::Bool(order.is_le())),
            Binary::Greater => left.compare(&right, budget).map(|order| Value::Bool(order.is_gt())),
            Binary::GreaterOrEqual => left.compare(&right, budget).map(|order| Value::Bool(order.is_ge())),
            Binary::In => contains(&left, &right, budget).map(Value::Bool),
            Binary::Add => concatenate(&left, &right, budget),
            _ => arithmetic(operator, &left, &right),
        }
    }

    fn matches(&self, of: &Code, pattern: &Arc<str>) -> Result<Value, Fault> {
        match self.value(of)? {
            Value::Text(text) => search(pattern, &text, self.budget).map(Value::Bool),
            other => Err(Fault::wrong(format!("matches does not take ({}, string)", other.type_name()))),
        }
    }

    fn looped(&self, looped: &Loop) -> Result<Value, Fault> {
        match self.value(&looped.range)? {
            Value::List(items) => self.over(looped, items.iter().cloned()),
            Value::Map(entries) => match put_away(&entries) {
                Some(fault) => Err(fault),
                None => self.over(looped, entries.keys().cloned().map(Value::Text)),
            },
            other => Err(Fault::wrong(format!("a {} cannot be gone over", other.type_name()))),
        }
    }

    fn over(&self, looped: &Loop, items: impl Iterator<Item = Value>) -> Result<Value, Fault> {
        match looped.kind {
            LoopKind::All => self.any(looped, items, false),
            LoopKind::Exists => self.any(looped, items, true),
            LoopKind::ExistsOne => {
                let mut found = 0_u32;
                for item in items {
                    found += u32::from(self.holds(&looped.body, item)?);
                }
                Ok(Value::Bool(found == 1))
            }
            LoopKind::Filter | LoopKind::Map => {
                let mut kept = Vec::new();
                for item in items {
                    if let Some(filter) = &looped.filter
                        && !self.holds(filter, item.clone())?
                    {
                        continue;
                    }
                    if looped.kind == LoopKind::Map {
                        let value = self.with(&looped.body, item)?;
                        self.budget.build(size_of::<Value>())?;
                        kept.push(value);
                    } else if self.holds(&looped.body, item.clone())? {
                        self.budget.build(size_of::<Value>())?;
                        kept.push(item);
                    }
                }
                Ok(Value::list(kept))
            }
        }
    }

    /// `exists` (decided by `true`) and `all` (by `false`): an error counts only when no item decides.
    fn any(&self, looped: &Loop, items: impl Iterator<Item = Value>, decisive: bool) -> Result<Value, Fault> {
        let mut wrong = None;
        for item in items {
            match self.holds(&looped.body, item) {
                Ok(holds) if holds == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(Fault::Spent(reason)) => return Err(Fault::Spent(reason)),
                Err(fault) => wrong = Some(fault),
            }
        }
        wrong.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn with(&self, body: &Code, item: Value) -> Result<Value, Fault> {
        self.locals.borrow_mut().push(item);
        let value = self.value(body);
        self.locals.borrow_mut().pop();
        value
    }

    fn holds(&self, body: &Code, item: Value) -> Result<bool, Fault> {
        match self.with(body, item)? {
            Value::Bool(bool) => Ok(bool),
            other => Err(Fault::wrong(format!("a boolean is needed, found {}", other.type_name()))),
        }
    }
}

fn no_key(key: &str) -> Fault {
    let shown: String = key.chars().take(60).collect();
    Fault::Wrong(format!("there is no key `{shown}`; test with has(…)"))
}

fn contains(needle: &Value, within: &Value, budget: &Budget) -> Result<bool, Fault> {
    match within {
        Value::List(items) => {
            for item in items.iter() {
                if needle.equals(item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(entries) => match needle {
            Value::Text(key) if entries.contains_key(key) => Ok(true),
            _ => not_put_away(entries).map(|()| false),
        },
        other => Err(Fault::wrong(format!("`in` looks into lists and maps, not into a {}", other.type_name()))),
    }
}

fn concatenate(left: &Value, right: &Value, budget: &Budget) -> Result<Value, Fault> {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => {
            let length = a.len().saturating_add(b.len());
            budget.scan(length)?;
            budget.build(length)?;
            let mut joined = String::with_capacity(length);
            joined.push_str(a);
            joined.push_str(b);
            Ok(Value::Text(joined.into()))
        }
        (Value::List(a), Value::List(b)) => {
            let length = a.len().saturating_add(b.len());
            budget.tick(length as u64)?;
            budget.build(length.saturating_mul(size_of::<Value>()))?;
            Ok(Value::list(a.iter().chain(b.iter()).cloned().collect()))
        }
        _ => add(left, right),
    }
}

fn arithmetic(operator: Binary, left: &Value, right: &Value) -> Result<Value, Fault> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => match operator {
            Binary::Divide | Binary::Remainder if *b == 0 => Err(Fault::wrong("division by zero")),
            Binary::Subtract => a.checked_sub(*b).map(Value::Int).ok_or_else(overflow),
            Binary::Multiply => a.checked_mul(*b).map(Value::Int).ok_or_else(overflow),
            Binary::Divide => a.checked_div(*b).map(Value::Int).ok_or_else(overflow),
            _ => a.checked_rem(*b).map(Value::Int).ok_or_else(overflow),
        },
        (Value::UInt(a), Value::UInt(b)) => match operator {
            Binary::Divide | Binary::Remainder if *b == 0 => Err(Fault::wrong("division by zero")),
            Binary::Subtract => a.checked_sub(*b).map(Value::UInt).ok_or_else(overflow),
            Binary::Multiply => a.checked_mul(*b).map(Value::UInt).ok_or_else(overflow),
            Binary::Divide => Ok(Value::UInt(a / b)),
            _ => Ok(Value::UInt(a % b)),
        },
        (Value::Double(a), Value::Double(b)) => match operator {
            Binary::Subtract => Ok(Value::Double(a - b)),
            Binary::Multiply => Ok(Value::Double(a * b)),
            Binary::Divide => Ok(Value::Double(a / b)),
            _ => Err(no_operator(operator.symbol(), left, right)),
        },
        _ => Err(no_operator(operator.symbol(), left, right)),
    }
}
