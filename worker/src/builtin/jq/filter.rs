//! Compiling and running filters: the whole of jq that depends on the filter and its value only.

use std::collections::HashMap;

use jaq_core::data::JustLut;
use jaq_core::load::parse::Def;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars};
use jaq_json::{Num, Val};
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use stepstream_shared::data::{MAX_BYTES, MAX_DEPTH, MAX_NODES};

use super::{Answer, Input};

type Data = JustLut<Val>;
type Filter = jaq_core::Filter<Data>;

/// What reads something else than the value: the process, its clock, its time zone, its other inputs, its output.
const FORBIDDEN: &[&str] = &[
    "env",
    "$ENV",
    "$__prog_args",
    "now",
    "localtime",
    "strflocaltime",
    "input",
    "inputs",
    "input_filename",
    "input_line_number",
    "debug",
    "debug_empty",
    "stderr",
    "stderr_empty",
    "halt",
    "halt_error",
    "get_search_list",
];
/// Compiled filters that are kept; then all are forgotten, which is cheap and bounded.
const KEPT_FILTERS: usize = 128;

/// How much of the code an error shows.
const NEAR_CHARS: usize = 20;

#[derive(Default)]
pub(crate) struct Filters(HashMap<(String, Vec<String>), Filter>);

impl Filters {
    pub(crate) fn evaluate(&mut self, input: Input) -> Answer {
        let Input { filter, value, vars, all, timeout_ms: _ } = input;
        let (names, values): (Vec<String>, Vec<Value>) =
            vars.into_iter().map(|(name, value)| (format!("${name}"), value)).unzip();
        let key = (filter, names);
        if !self.0.contains_key(&key) {
            if self.0.len() >= KEPT_FILTERS {
                self.0.clear();
            }
            match compile(&key.0, &key.1) {
                Ok(compiled) => self.0.insert(key.clone(), compiled),
                Err(why) => return Answer::BadFilter(why),
            };
        }
        let filter = self.0.get(&key).expect("it was inserted above");
        run(filter, value, values, all)
    }
}

fn compile<'s>(code: &'s str, names: &'s [String]) -> Result<Filter, String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(odd) = names.iter().find(|name| {
        name.len() < 2 || name[1..].starts_with(|c: char| c.is_ascii_digit()) || !name[1..].chars().all(is_word)
    }) {
        return Err(format!("`{odd}` cannot be the name of a variable"));
    }
    let allowed = |name: &str| !FORBIDDEN.contains(&name);
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).filter(|def| allowed(def.name));
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs()).filter(|fun| allowed(fun.0));
    // The library's texts live for ever, the filter's do not; what they have in common is the shorter life.
    #[expect(clippy::map_identity, reason = "it shortens a lifetime inside a type")]
    let defs = defs.map(|def| -> Def<&'s str> { def });
    let funs = funs.map(|(name, arguments, run)| -> (&'s str, _, _) { (name, arguments, run) });
    let arena = Arena::default();
    let modules = Loader::new(defs)
        .load(&arena, File { code, path: () })
        .map_err(|errors| errors.into_iter().map(|(_, error)| describe(code, error)).collect::<Vec<_>>().join("; "))?;
    Compiler::default().with_global_vars(names.iter().map(String::as_str)).with_funs(funs).compile(modules).map_err(
        |errors| {
            let undefined = errors.into_iter().flat_map(|(_, undefined)| undefined);
            undefined
                .map(|(name, kind)| match allowed(name) {
                    true => format!("there is no {} `{name}`", kind.as_str()),
                    false => format!("`{name}` is not available: a filter sees its value and its variables only"),
                })
                .collect::<Vec<_>>()
                .join("; ")
        },
    )
}

fn describe(code: &str, error: jaq_core::load::Error<&str>) -> String {
    use jaq_core::load::Error;
    let at = |part: &str| {
        if part.is_empty() {
            // The library's empty text need not lie inside the code.
            return "at its end".to_owned();
        }
        let (line, column) = position(code, jaq_core::load::span(code, part).start);
        let near: String = part.chars().take(NEAR_CHARS).collect();
        format!("at line {line}, column {column}, near `{near}`")
    };
    match error {
        Error::Io(paths) => {
            paths.into_iter().map(|(path, why)| format!("`{path}`: {why}")).collect::<Vec<_>>().join("; ")
        }
        Error::Lex(errors) => errors
            .into_iter()
            .map(|(expected, part)| format!("expected {} {}", expected.as_str(), at(part)))
            .collect::<Vec<_>>()
            .join("; "),
        Error::Parse(errors) => errors
            .into_iter()
            .map(|(expected, part)| format!("expected {} {}", expected.as_str(), at(part)))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

fn position(code: &str, at: usize) -> (usize, usize) {
    let before = code.get(..at).unwrap_or(code);
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

fn run(filter: &Filter, value: Value, vars: Vec<Value>, all: bool) -> Answer {
    let val = |value: Value| Val::deserialize(value).map_err(|error| Answer::Failed(error.to_string()));
    let (value, vars) = match (val(value), vars.into_iter().map(val).collect::<Result<Vec<_>, _>>()) {
        (Ok(value), Ok(vars)) => (value, vars),
        (Err(answer), _) | (_, Err(answer)) => return answer,
    };
    let context = Ctx::<Data>::new(&filter.lut, Vars::new(vars));
    let mut outputs = Vec::new();
    let mut budget = Budget { nodes: MAX_NODES, bytes: MAX_BYTES };
    for output in filter.id.run((context, value)) {
        let output = match output {
            Ok(output) => output,
            // What is not an error here is `break` to a label outside, or `halt`, and both are gone.
            Err(exception) => match exception.get_err() {
                Ok(error) => return Answer::Failed(error.to_string()),
                Err(_) => return Answer::Failed("it left itself".to_owned()),
            },
        };
        match json(&output, 0, &mut budget) {
            Ok(output) => outputs.push(output),
            Err(why) => return Answer::BadOutput(why),
        }
        if !all && outputs.len() > 1 {
            break;
        }
    }
    match outputs.len() {
        _ if all => Answer::Output(outputs.into()),
        1 => Answer::Output(outputs.swap_remove(0)),
        0 => Answer::BadOutput("the filter has no output; write `[…]` around it or set `all`".to_owned()),
        _ => Answer::BadOutput("the filter has more than one output; write `[…]` around it or set `all`".to_owned()),
    }
}

/// What all outputs together may still take.
struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.nodes =
            self.nodes.checked_sub(1).ok_or(format!("the output has more than {MAX_NODES} nodes (node limit)"))?;
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or(format!("the output is longer than {MAX_BYTES} bytes (payload limit)"))?;
        Ok(())
    }
}

/// jq's values are a superset of JSON; the rest is refused, but for the numbers that JSON cannot write (`null`, as jq
/// prints them).
fn json(value: &Val, depth: usize, budget: &mut Budget) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("the output nests deeper than {MAX_DEPTH} levels (depth limit)"));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match value {
        Val::Null => budget.spend(1).map(|()| Value::Null),
        Val::Bool(flag) => budget.spend(1).map(|()| Value::Bool(*flag)),
        Val::Num(number) => budget.spend(9).map(|()| self::number(number)),
        Val::TStr(bytes) => budget.spend(bytes.len() + 1).map(|()| Value::String(text(bytes))),
        Val::BStr(_) => Err("the output holds raw bytes, which are not JSON-like".to_owned()),
        Val::Arr(items) => {
            budget.spend(1)?;
            items.iter().map(|item| json(item, depth + 1, budget)).collect()
        }
        Val::Obj(entries) => {
            budget.spend(1)?;
            let mut object = Map::new();
            for (key, item) in entries.iter() {
                let Val::TStr(key) = key else {
                    return Err(format!("the output has the key {key}, and keys are text"));
                };
                budget.spend(key.len() + 1)?;
                object.insert(text(key), json(item, depth + 1, budget)?);
            }
            Ok(Value::Object(object))
        }
    }
}

fn number(number: &Num) -> Value {
    let float = |float: f64| Number::from_f64(float).map_or(Value::Null, Value::Number);
    match number {
        Num::Int(int) => (*int as i64).into(),
        Num::Float(number) => float(*number),
        // Beyond sixty-four bits only the magnitude survives.
        Num::BigInt(_) | Num::Dec(_) => {
            let text = number.to_string();
            text.parse::<u64>().map(Value::from).unwrap_or_else(|_| text.parse().map_or(Value::Null, float))
        }
    }
}

#[cfg(test)]
mod tests;
