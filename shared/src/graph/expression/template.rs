//! JSON with expressions in it.

use serde_json::Value as Json;

use super::Template;
use super::code::{Code, Root};
use super::parse::{Names, Problem, parse};
use super::value::Value;

/// A step on the way from the top of a template to a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Key(String),
    Item(usize),
}

/// A problem in one of a template's expressions, and where that stands.
#[derive(Debug)]
pub(crate) struct Misplaced {
    pub(crate) way: Vec<Way>,
    pub(crate) problem: Problem,
}

/// Expressions after this many bad ones are not looked at.
const MAX_PROBLEMS: usize = 50;

impl Template {
    /// Compiles every string that starts with `=`; gives all problems, not the first.
    pub(crate) fn compile(json: &Json, names: &Names<'_>) -> Result<Self, Vec<Misplaced>> {
        let mut building = Building { names, roots: Vec::new(), way: Vec::new(), problems: Vec::new() };
        let code = building.code(json);
        if !building.problems.is_empty() {
            return Err(building.problems);
        }
        Ok(Template { source: json.to_string(), code, roots: building.roots })
    }
}

impl Template {
    /// Text as it is, also when it starts with `=`.
    pub(crate) fn fixed(text: &str) -> Self {
        Template { source: Json::from(text).to_string(), code: Code::Constant(Value::text(text)), roots: Vec::new() }
    }
}

struct Building<'a> {
    names: &'a Names<'a>,
    roots: Vec<Root>,
    way: Vec<Way>,
    problems: Vec<Misplaced>,
}

impl Building<'_> {
    // Recursion is as deep as a document may nest.
    fn code(&mut self, json: &Json) -> Code {
        match json {
            Json::Null => Code::Constant(Value::Null),
            Json::Bool(bool) => Code::Constant(Value::Bool(*bool)),
            Json::Number(number) => Code::Constant(match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Value::Int(int),
                (None, Some(uint)) => Value::UInt(uint),
                (None, None) => Value::Double(number.as_f64().unwrap_or(0.0)),
            }),
            Json::String(text) => self.text(text),
            Json::Array(items) => {
                let items: Vec<Code> = items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| {
                        self.way.push(Way::Item(at));
                        let code = self.code(item);
                        self.way.pop();
                        code
                    })
                    .collect();
                // A list of constants is one constant, shared by every evaluation.
                if items.iter().all(|item| matches!(item, Code::Constant(_))) {
                    return Code::Constant(Value::list(items.into_iter().filter_map(into_constant).collect()));
                }
                Code::List(items)
            }
            Json::Object(entries) => {
                let entries: Vec<(&String, Code)> = entries
                    .iter()
                    .map(|(key, item)| {
                        self.way.push(Way::Key(key.clone()));
                        let code = self.code(item);
                        self.way.pop();
                        (key, code)
                    })
                    .collect();
                if entries.iter().all(|(_, code)| matches!(code, Code::Constant(_))) {
                    let constants = entries
                        .into_iter()
                        .filter_map(|(key, code)| into_constant(code).map(|value| (key.as_str().into(), value)));
                    return Code::Constant(Value::map(constants.collect()));
                }
                let keyed = entries.into_iter().map(|(key, code)| (Code::Constant(Value::text(key)), code));
                Code::Map(keyed.collect())
            }
        }
    }

    fn text(&mut self, text: &str) -> Code {
        let Some(source) = text.strip_prefix('=') else { return Code::Constant(Value::text(text)) };
        if source.starts_with('=') {
            return Code::Constant(Value::text(source));
        }
        if self.problems.len() >= MAX_PROBLEMS {
            return Code::Constant(Value::Null);
        }
        match parse(source, self.names, &mut self.roots) {
            Ok(code) => code,
            Err(problem) => {
                self.problems.push(Misplaced { way: self.way.clone(), problem });
                Code::Constant(Value::Null)
            }
        }
    }
}

fn into_constant(code: Code) -> Option<Value> {
    match code {
        Code::Constant(value) => Some(value),
        _ => None,
    }
}
