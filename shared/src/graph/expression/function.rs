//! The functions of expressions: CEL's standard ones and its string, list and math extensions.
//!
//! None reads a clock, a locale or chance, so an expression gives the same answer everywhere. Durations and timestamps
//! are absent: values are JSON-like, and points in time travel as text.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::away::put_away;
use super::budget::{Budget, Fault};
use super::value::Value;

/// Largest compiled pattern in bytes: it bounds how long a search can take per byte of text.
const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Steps that compiling a pattern costs.
const PATTERN_TICKS: u64 = 20_000;
/// Steps that a byte of searched text costs.
const SEARCH_TICKS_PER_BYTE: u64 = 4;

macro_rules! functions {
    ($($variant:ident $name:literal $style:ident $arity:expr => $result:expr;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function { $($variant),* }

        const ALL: &[(Function, &str, Style, std::ops::RangeInclusive<usize>)] =
            &[$((Function::$variant, $name, Style::$style, $arity)),*];

        impl Function {
            pub(crate) fn name(self) -> &'static str {
                match self { $(Function::$variant => $name),* }
            }

            /// What it gives, where that does not depend on its arguments.
            pub(crate) fn result_type(self) -> Option<&'static str> {
                match self { $(Function::$variant => $result),* }
            }
        }
    };
}

/// How a function may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `f(x)`
    Global,
    /// `x.f()`
    Method,
    Both,
}

// The arity counts the receiver.
functions! {
    Size "size" Both 1..=1 => Some("int");
    ToInt "int" Global 1..=1 => Some("int");
    ToUInt "uint" Global 1..=1 => Some("uint");
    ToDouble "double" Global 1..=1 => Some("double");
    ToText "string" Global 1..=1 => Some("string");
    ToBool "bool" Global 1..=1 => Some("bool");
    TypeOf "type" Global 1..=1 => Some("string");
    Dyn "dyn" Global 1..=1 => None;
    Contains "contains" Method 2..=2 => Some("bool");
    StartsWith "startsWith" Method 2..=2 => Some("bool");
    EndsWith "endsWith" Method 2..=2 => Some("bool");
    Matches "matches" Both 2..=2 => Some("bool");
    CharAt "charAt" Method 2..=2 => Some("string");
    IndexOf "indexOf" Method 2..=3 => Some("int");
    LastIndexOf "lastIndexOf" Method 2..=2 => Some("int");
    LowerAscii "lowerAscii" Method 1..=1 => Some("string");
    UpperAscii "upperAscii" Method 1..=1 => Some("string");
    Replace "replace" Method 3..=4 => Some("string");
    Split "split" Method 2..=3 => Some("list");
    Substring "substring" Method 2..=3 => Some("string");
    Trim "trim" Method 1..=1 => Some("string");
    Join "join" Method 1..=2 => Some("string");
    Reverse "reverse" Method 1..=1 => None;
    Distinct "distinct" Method 1..=1 => Some("list");
    Flatten "flatten" Method 1..=2 => Some("list");
    Slice "slice" Method 3..=3 => Some("list");
    Sort "sort" Method 1..=1 => Some("list");
    First "first" Method 1..=1 => None;
    Last "last" Method 1..=1 => None;
    Range "lists.range" Global 1..=1 => Some("list");
    Sum "sum" Both 1..=1 => None;
    Min "min" Both 1..=64 => None;
    Max "max" Both 1..=64 => None;
    Greatest "math.greatest" Global 1..=64 => None;
    Least "math.least" Global 1..=64 => None;
    Abs "math.abs" Global 1..=1 => None;
    Ceil "math.ceil" Global 1..=1 => Some("double");
    Floor "math.floor" Global 1..=1 => Some("double");
    Round "math.round" Global 1..=1 => Some("double");
    Trunc "math.trunc" Global 1..=1 => Some("double");
}

/// Why a call means nothing.
pub(crate) enum Unknown {
    Name,
    Style(Function),
    Arity(Function, std::ops::RangeInclusive<usize>),
}

impl Function {
    pub(crate) fn find(name: &str, method: bool, arity: usize) -> Result<Function, Unknown> {
        let Some((function, _, style, arities)) = ALL.iter().find(|(_, known, ..)| *known == name) else {
            return Err(Unknown::Name);
        };
        match (style, method) {
            (Style::Global, true) | (Style::Method, false) => return Err(Unknown::Style(*function)),
            _ => {}
        }
        if !arities.contains(&arity) {
            return Err(Unknown::Arity(*function, arities.clone()));
        }
        Ok(*function)
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|(_, name, ..)| *name)
    }

    /// Written as it should be.
    pub(crate) fn usage(self) -> String {
        match ALL.iter().find(|(function, ..)| *function == self) {
            Some((_, name, Style::Method, _)) => format!("value.{name}(…)"),
            _ => format!("{}(…)", self.name()),
        }
    }

    pub(crate) fn call(self, args: &[Value], budget: &Budget) -> Result<Value, Fault> {
        use Value::{Bool, Double, Int, List, Map, Text, UInt};
        match (self, args) {
            (Function::Size, [Text(text)]) => {
                budget.scan(text.len())?;
                Ok(count(text.chars().count()))
            }
            (Function::Size, [List(items)]) => Ok(count(items.len())),
            (Function::Size, [Map(entries)]) => put_away(entries).map_or_else(|| Ok(count(entries.len())), Err),
            (Function::Dyn, [value]) => Ok(value.clone()),
            (Function::TypeOf, [value]) => Ok(Value::text(value.type_name())),
            (
                Function::ToInt | Function::ToUInt | Function::ToDouble | Function::ToText | Function::ToBool,
                [value],
            ) => self.convert(value, budget),
            (Function::Contains, [Text(text), Text(part)]) => {
                budget.scan(text.len())?;
                Ok(Bool(text.contains(&**part)))
            }
            (Function::StartsWith, [Text(text), Text(part)]) => Ok(Bool(text.starts_with(&**part))),
            (Function::EndsWith, [Text(text), Text(part)]) => Ok(Bool(text.ends_with(&**part))),
            (Function::Matches, [Text(text), Text(pattern)]) => {
                budget.tick(PATTERN_TICKS)?;
                search(pattern, text, budget).map(Bool)
            }
            (Function::CharAt, [Text(text), Int(at)]) => {
                budget.scan(text.len())?;
                let length = text.chars().count();
                match usize::try_from(*at) {
                    Ok(at) if at < length => Ok(Text(text.chars().skip(at).take(1).collect::<String>().into())),
                    Ok(at) if at == length => Ok(Value::text("")),
                    _ => Err(outside(*at, length)),
                }
            }
            (Function::IndexOf, [Text(text), Text(part), rest @ ..]) => {
                budget.scan(text.len())?;
                let from = match rest {
                    [] => 0,
                    [Int(from)] => byte_of(text, *from)?,
                    _ => return Err(self.mismatch(args)),
                };
                Ok(text[from..].find(&**part).map_or(Int(-1), |at| count(text[..from + at].chars().count())))
            }
            (Function::LastIndexOf, [Text(text), Text(part)]) => {
                budget.scan(text.len())?;
                Ok(text.rfind(&**part).map_or(Int(-1), |at| count(text[..at].chars().count())))
            }
            (Function::LowerAscii, [Text(text)]) => built(text.len(), budget, || text.to_ascii_lowercase()),
            (Function::UpperAscii, [Text(text)]) => built(text.len(), budget, || text.to_ascii_uppercase()),
            (Function::Trim, [Text(text)]) => built(text.len(), budget, || text.trim().to_owned()),
            (Function::Replace, [Text(text), Text(from), Text(to), rest @ ..]) => {
                budget.scan(text.len())?;
                let limit = match rest {
                    [] => usize::MAX,
                    [Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                    _ => return Err(self.mismatch(args)),
                };
                let times = text.matches(&**from).take(limit).count();
                built(text.len().saturating_add(times.saturating_mul(to.len())), budget, || {
                    text.replacen(&**from, to, limit)
                })
            }
            (Function::Split, [Text(text), Text(at), rest @ ..]) => {
                let limit = match rest {
                    [] => usize::MAX,
                    [Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                    _ => return Err(self.mismatch(args)),
                };
                budget.scan(text.len())?;
                let pieces = if limit == 0 { 0 } else { text.matches(&**at).count().saturating_add(1).min(limit) };
                budget.tick(pieces as u64)?;
                budget.build(text.len().saturating_add(pieces * 48))?;
                Ok(Value::list(if at.is_empty() {
                    // CEL gives the characters, without the empty ends that Rust adds.
                    let mut pieces: Vec<Value> = text
                        .char_indices()
                        .take(limit.saturating_sub(1))
                        .map(|(_, c)| Value::text(c.encode_utf8(&mut [0; 4])))
                        .collect();
                    let taken: usize = text.chars().take(pieces.len()).map(char::len_utf8).sum();
                    if limit > 0 && taken < text.len() {
                        pieces.push(Value::text(&text[taken..]));
                    }
                    pieces
                } else {
                    text.splitn(limit, &**at).map(Value::text).collect()
                }))
            }
            (Function::Substring, [Text(text), Int(from), rest @ ..]) => {
                budget.scan(text.len())?;
                let start = byte_of(text, *from)?;
                let end = match rest {
                    [] => text.len(),
                    [Int(to)] => byte_of(text, *to)?,
                    _ => return Err(self.mismatch(args)),
                };
                let part = text.get(start..end).ok_or_else(|| Fault::wrong("substring ends before it starts"))?;
                built(part.len(), budget, || part.to_owned())
            }
            (Function::Join, [List(items), rest @ ..]) => {
                let between = match rest {
                    [] => "",
                    [Text(between)] => between,
                    _ => return Err(self.mismatch(args)),
                };
                budget.tick(items.len() as u64)?;
                let mut length = between.len().saturating_mul(items.len());
                for item in items.iter() {
                    let Text(item) = item else {
                        return Err(Fault::wrong(format!("join needs a list of string, found {}", item.type_name())));
                    };
                    length = length.saturating_add(item.len());
                }
                built(length, budget, || {
                    let mut joined = String::with_capacity(length);
                    for (at, item) in items.iter().enumerate() {
                        if at > 0 {
                            joined.push_str(between);
                        }
                        if let Text(item) = item {
                            joined.push_str(item);
                        }
                    }
                    joined
                })
            }
            (Function::Reverse, [Text(text)]) => built(text.len(), budget, || text.chars().rev().collect()),
            (Function::Reverse, [List(items)]) => {
                collected(items.len(), budget, || items.iter().rev().cloned().collect())
            }
            (Function::Distinct, [List(items)]) => {
                let mut order: Vec<usize> = (0..items.len()).collect();
                sort(&mut order, |a, b| Ok(items[*a].total_order(&items[*b], budget)?.then(a.cmp(b))))?;
                let mut repeated = BTreeSet::new();
                for pair in order.windows(2) {
                    if items[pair[0]].total_order(&items[pair[1]], budget)?.is_eq() {
                        repeated.insert(pair[1]);
                    }
                }
                collected(items.len(), budget, || {
                    let kept = items.iter().enumerate().filter(|(at, _)| !repeated.contains(at));
                    kept.map(|(_, item)| item.clone()).collect()
                })
            }
            (Function::Flatten, [List(items), rest @ ..]) => {
                let depth = match rest {
                    [] => 1,
                    [Int(depth)] if *depth >= 0 => *depth,
                    _ => return Err(self.mismatch(args)),
                };
                let mut flat = Vec::new();
                flatten(items, depth.min(64), &mut flat, budget)?;
                Ok(Value::list(flat))
            }
            (Function::Slice, [List(items), Int(from), Int(to)]) => {
                let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
                let part = range.and_then(|(from, to)| items.get(from..to));
                let Some(part) = part else {
                    return Err(Fault::wrong(format!(
                        "slice({from}, {to}) lies outside a list of {} items",
                        items.len()
                    )));
                };
                collected(part.len(), budget, || part.to_vec())
            }
            (Function::Sort, [List(items)]) => {
                let mut sorted = items.to_vec();
                budget.build(items.len() * size_of::<Value>())?;
                sort(&mut sorted, |a, b| {
                    budget.tick(1)?;
                    a.compare(b, budget)
                })?;
                Ok(Value::list(sorted))
            }
            (Function::First, [List(items)]) => {
                items.first().cloned().ok_or_else(|| Fault::wrong("first() of an empty list"))
            }
            (Function::Last, [List(items)]) => {
                items.last().cloned().ok_or_else(|| Fault::wrong("last() of an empty list"))
            }
            (Function::Range, [Int(length)]) => {
                let length = usize::try_from(*length).map_err(|_| Fault::wrong("lists.range of a negative number"))?;
                collected(length, budget, || (0..length).map(count).collect())
            }
            (Function::Sum, [List(items)]) => {
                let mut sum = Int(0);
                for (at, item) in items.iter().enumerate() {
                    budget.tick(1)?;
                    sum = match (at, item) {
                        (0, Int(_) | UInt(_) | Double(_)) => item.clone(),
                        // One kind of number as JSON has it: a whole price among broken ones is no mistake.
                        (_, Int(whole)) if matches!(sum, Double(_)) => add(&sum, &Double(*whole as f64))?,
                        (_, Double(_)) if let Int(whole) = sum => add(&Double(whole as f64), item)?,
                        _ => add(&sum, item)?,
                    };
                }
                Ok(sum)
            }
            (Function::Min | Function::Max | Function::Greatest | Function::Least, _) => {
                let items = match args {
                    [List(items)] => &items[..],
                    _ => args,
                };
                let largest = matches!(self, Function::Max | Function::Greatest);
                let mut items = items.iter();
                let mut best = items.next().ok_or_else(|| Fault::wrong(format!("{} of an empty list", self.name())))?;
                for item in items {
                    budget.tick(1)?;
                    let order = item.compare(best, budget)?;
                    if if largest { order.is_gt() } else { order.is_lt() } {
                        best = item;
                    }
                }
                Ok(best.clone())
            }
            (Function::Abs, [Int(int)]) => int.checked_abs().map(Int).ok_or_else(overflow),
            (Function::Abs, [UInt(uint)]) => Ok(UInt(*uint)),
            (Function::Abs, [Double(double)]) => Ok(Double(double.abs())),
            (Function::Ceil, [Double(double)]) => Ok(Double(double.ceil())),
            (Function::Floor, [Double(double)]) => Ok(Double(double.floor())),
            (Function::Round, [Double(double)]) => Ok(Double(double.round())),
            (Function::Trunc, [Double(double)]) => Ok(Double(double.trunc())),
            (Function::Ceil | Function::Floor | Function::Round | Function::Trunc, [Int(int)]) => {
                Ok(Double(*int as f64))
            }
            _ => Err(self.mismatch(args)),
        }
    }

    fn convert(self, value: &Value, budget: &Budget) -> Result<Value, Fault> {
        use Value::{Bool, Double, Int, Text, UInt};
        let impossible = || {
            let shown: String = match value {
                Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
                Int(int) => int.to_string(),
                UInt(uint) => uint.to_string(),
                Double(double) => double.to_string(),
                other => other.type_name().to_owned(),
            };
            Fault::wrong(format!("{}({shown}) is not possible", self.name()))
        };
        match (self, value) {
            (Function::ToInt, Int(_)) | (Function::ToUInt, UInt(_)) | (Function::ToDouble, Double(_)) => {
                Ok(value.clone())
            }
            (Function::ToText, Text(_)) | (Function::ToBool, Bool(_)) => Ok(value.clone()),
            (Function::ToInt, UInt(uint)) => i64::try_from(*uint).map(Int).map_err(|_| impossible()),
            (Function::ToInt, Double(double))
                if *double > -9.223_372_036_854_776e18 && *double < 9.223_372_036_854_775e18 =>
            {
                Ok(Int(*double as i64))
            }
            (Function::ToInt, Text(text)) => text.parse().map(Int).map_err(|_| impossible()),
            (Function::ToUInt, Int(int)) => u64::try_from(*int).map(UInt).map_err(|_| impossible()),
            (Function::ToUInt, Double(double)) if *double >= 0.0 && *double < 1.844_674_407_370_955e19 => {
                Ok(UInt(*double as u64))
            }
            (Function::ToUInt, Text(text)) => text.parse().map(UInt).map_err(|_| impossible()),
            (Function::ToDouble, Int(int)) => Ok(Double(*int as f64)),
            (Function::ToDouble, UInt(uint)) => Ok(Double(*uint as f64)),
            (Function::ToDouble, Text(text)) => text.parse().map(Double).map_err(|_| impossible()),
            (Function::ToText, Int(int)) => Ok(Value::text(&int.to_string())),
            (Function::ToText, UInt(uint)) => Ok(Value::text(&uint.to_string())),
            (Function::ToText, Double(double)) => built(32, budget, || double.to_string()),
            (Function::ToText, Bool(bool)) => Ok(Value::text(if *bool { "true" } else { "false" })),
            (Function::ToBool, Text(text)) => text.parse().map(Bool).map_err(|_| impossible()),
            _ => Err(impossible()),
        }
    }

    fn mismatch(self, args: &[Value]) -> Fault {
        let types: Vec<&str> = args.iter().map(Value::type_name).collect();
        Fault::wrong(format!("{} does not take ({})", self.name(), types.join(", ")))
    }
}

thread_local! {
    /// Compiled patterns, most recently used first: a pattern is searched for in many texts, and a graph may have many.
    static PATTERNS: RefCell<VecDeque<(Arc<str>, Regex)>> = const { RefCell::new(VecDeque::new()) };
}

/// Most compiled patterns that a thread keeps.
const MAX_KEPT_PATTERNS: usize = 32;

pub(crate) fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_BYTES)
        .nest_limit(32)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern is too large (pattern limit)".to_owned(),
            other => format!("the pattern is not a regular expression: {}", last_line(&other.to_string())),
        })
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

pub(crate) fn search(pattern: &Arc<str>, text: &str, budget: &Budget) -> Result<bool, Fault> {
    budget.tick(SEARCH_TICKS_PER_BYTE.saturating_mul(text.len() as u64))?;
    PATTERNS.with_borrow_mut(|kept| {
        let entry = match kept.iter().position(|(source, _)| source == pattern).and_then(|at| kept.remove(at)) {
            Some(entry) => entry,
            None => (Arc::clone(pattern), compile_pattern(pattern).map_err(Fault::Wrong)?),
        };
        let found = entry.1.is_match(text);
        kept.push_front(entry);
        kept.truncate(MAX_KEPT_PATTERNS);
        Ok(found)
    })
}

/// `+` of numbers.
pub(crate) fn add(a: &Value, b: &Value) -> Result<Value, Fault> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        (Value::UInt(a), Value::UInt(b)) => a.checked_add(*b).map(Value::UInt).ok_or_else(overflow),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        _ => Err(no_operator("+", a, b)),
    }
}

pub(crate) fn no_operator(symbol: &str, a: &Value, b: &Value) -> Fault {
    let numbers = |value: &Value| matches!(value, Value::Int(_) | Value::UInt(_) | Value::Double(_));
    let hint = match (numbers(a), numbers(b)) {
        (true, true) => "; convert one with int(…) or double(…)",
        _ if matches!(a, Value::Text(_)) || matches!(b, Value::Text(_)) => "; convert with string(…)",
        _ => "",
    };
    Fault::wrong(format!("{} {symbol} {} is not defined{hint}", a.type_name(), b.type_name()))
}

pub(crate) fn overflow() -> Fault {
    Fault::wrong("the number is out of range")
}

fn outside(at: i64, length: usize) -> Fault {
    Fault::wrong(format!("{at} lies outside a text of {length} characters"))
}

/// The byte where character number `at` begins; the end counts.
fn byte_of(text: &str, at: i64) -> Result<usize, Fault> {
    let skip = usize::try_from(at).map_err(|_| outside(at, text.chars().count()))?;
    let mut starts = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    starts.nth(skip).ok_or_else(|| outside(at, text.chars().count()))
}

fn count(number: usize) -> Value {
    Value::whole(number as u64)
}

fn built(length: usize, budget: &Budget, make: impl FnOnce() -> String) -> Result<Value, Fault> {
    budget.scan(length)?;
    budget.build(length)?;
    Ok(Value::Text(make().into()))
}

fn collected(length: usize, budget: &Budget, make: impl FnOnce() -> Vec<Value>) -> Result<Value, Fault> {
    budget.tick(length as u64)?;
    budget.build(length.saturating_mul(size_of::<Value>()))?;
    Ok(Value::list(make()))
}

fn flatten(items: &Arc<Vec<Value>>, depth: i64, flat: &mut Vec<Value>, budget: &Budget) -> Result<(), Fault> {
    for item in items.iter() {
        budget.tick(1)?;
        match item {
            Value::List(inner) if depth > 0 => flatten(inner, depth - 1, flat, budget)?,
            other => {
                budget.build(size_of::<Value>())?;
                flat.push(other.clone());
            }
        }
    }
    Ok(())
}

/// A merge sort whose comparison may fail; the one of the standard library may not.
fn sort<T: Clone>(
    items: &mut Vec<T>,
    mut compare: impl FnMut(&T, &T) -> Result<std::cmp::Ordering, Fault>,
) -> Result<(), Fault> {
    let mut width = 1;
    while width < items.len() {
        let mut merged = Vec::with_capacity(items.len());
        for pair in items.chunks(width * 2) {
            let (left, right) = pair.split_at(width.min(pair.len()));
            let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
            while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
                let next = if compare(a, b)?.is_le() { left.next() } else { right.next() };
                merged.extend(next.cloned());
            }
            merged.extend(left.cloned());
            merged.extend(right.cloned());
        }
        *items = merged;
        width *= 2;
    }
    Ok(())
}
