//! Text to [`Code`]: the `cel` crate knows the grammar, this file what the names mean.
//!
//! The parser is asked not to expand macros: its expansions rebuild a list for each item, and its evaluator clones
//! values, swallows errors and walks maps in an order that changes from run to run. We run its syntax trees ourselves.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::Env;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo};

use super::budget::Budget;
use super::code::{Binary, Code, Loop, LoopKind, Root};
use super::evaluate::constant;
use super::function::{Function, Unknown, compile_pattern};
use super::value::Value;
use super::{MAX_DEPTH, MAX_SOURCE_BYTES};
use crate::graph::compiled::NodeIx;
use crate::graph::room::with_room;
use crate::graph::suggest;

/// Nesting that the grammar may open; the crate's own default of 96 can overflow a small stack.
const MAX_PARSER_DEPTH: u16 = 24;

/// Which names mean something at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) steps: &'a HashMap<String, NodeIx>,
    pub(crate) output: bool,
    pub(crate) error: bool,
    pub(crate) item: bool,
    pub(crate) iteration: bool,
    /// In the inputs that a schedule gives: there is `schedule`, and nothing of an execution yet.
    pub(crate) schedule: bool,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
    /// Characters before the place, in the text of the expression.
    pub(crate) at: usize,
}

impl Problem {
    fn new(reason: impl Into<String>, at: usize) -> Self {
        Problem { reason: reason.into(), hint: None, at }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Names that stand for types, so that `type(x) == int` reads as in CEL.
const TYPES: [&str; 8] = ["int", "uint", "double", "string", "bool", "list", "map", "null_type"];

/// Parses one expression; roots are added to `roots` where they are not there yet.
pub(crate) fn parse(source: &str, names: &Names<'_>, roots: &mut Vec<Root>) -> Result<Code, Problem> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(Problem::new(
            format!(
                "the expression has {} bytes; the limit is {MAX_SOURCE_BYTES} (expression length limit)",
                source.len()
            ),
            0,
        )
        .hint("put intermediate results in `transform` nodes"));
    }
    if source.trim().is_empty() {
        return Err(Problem::new("the expression is empty", 0));
    }
    let known = std::mem::take(roots);
    let parsed = with_room(|| catch_unwind(AssertUnwindSafe(|| parse_here(source, names, known))));
    match parsed {
        Ok(Ok(result)) => {
            let (code, all) = result?;
            *roots = all;
            Ok(code)
        }
        Ok(Err(_)) => Err(Problem::new("the parser gave up on this text", 0)),
        Err(no_result) => Err(Problem::new(no_result.to_string(), 0)),
    }
}

fn parse_here(source: &str, names: &Names<'_>, roots: Vec<Root>) -> Result<(Code, Vec<Root>), Problem> {
    let parser = Env::default().parser().enable_optional_syntax(false).max_recursion_depth(MAX_PARSER_DEPTH);
    let (tree, info) = parser.parse_with_source_info(source).map_err(|errors| syntax_problem(source, &errors))?;
    let mut resolver = Resolver { names, info, roots, locals: Vec::new(), budget: Budget::small() };
    let code = resolver.code(&tree, 0)?;
    Ok((code, resolver.roots))
}

/// The first error of the parser, in our words.
fn syntax_problem(source: &str, errors: &cel::ParseErrors) -> Problem {
    let Some(first) = errors.errors.first() else { return Problem::new("not a CEL expression", 0) };
    if errors.errors.iter().any(|error| error.msg.contains("Recursion limit")) {
        return Problem::new(
            format!("the expression nests deeper than {MAX_PARSER_DEPTH} levels (expression depth limit)"),
            0,
        )
        .hint("put intermediate results in `transform` nodes");
    }
    let message = first.msg.trim().trim_start_matches("Syntax error: ");
    // The parser lists every token it would have taken.
    let message = message.split(" expecting ").next().unwrap_or(message);
    let message = if message.contains("'<EOF>'") { "it ends too early" } else { message };
    let (line, column) = (usize::try_from(first.pos.0).unwrap_or(0), usize::try_from(first.pos.1).unwrap_or(0));
    let before: usize =
        source.split_inclusive('\n').take(line.saturating_sub(1)).map(|line| line.chars().count()).sum();
    let at = (before + column.saturating_sub(1)).min(source.chars().count());
    Problem::new(format!("not a CEL expression: {message}"), at)
}

struct Resolver<'a> {
    names: &'a Names<'a>,
    info: SourceInfo,
    roots: Vec<Root>,
    /// Variables of the loops around, outermost first.
    locals: Vec<String>,
    /// For what can be worked out before any data is there.
    budget: Budget,
}

impl Resolver<'_> {
    /// Where an expression begins. The parser gives a selection the place of its dot.
    fn at(&self, mut expr: &IdedExpr) -> usize {
        while let Expr::Select(select) = &expr.expr {
            expr = &select.operand;
        }
        self.info.offset_for(expr.id).map_or(0, |(start, _)| start as usize)
    }

    fn problem(&self, expr: &IdedExpr, reason: impl Into<String>) -> Problem {
        Problem::new(reason, self.at(expr))
    }

    fn root(&mut self, root: Root) -> u16 {
        let at = self.roots.iter().position(|known| *known == root).unwrap_or_else(|| {
            self.roots.push(root);
            self.roots.len() - 1
        });
        // A template holds at most as many names as its document has bytes, far below what would not fit.
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|local| local == name)
    }

    fn code(&mut self, expr: &IdedExpr, depth: usize) -> Result<Code, Problem> {
        if depth > MAX_DEPTH {
            return Err(self
                .problem(expr, format!("the expression nests deeper than {MAX_DEPTH} levels (expression depth limit)"))
                .hint("put intermediate results in `transform` nodes"));
        }
        if self.roots.len() >= usize::from(u16::MAX) {
            return Err(self.problem(expr, "too many different names in one template"));
        }
        let code = match &expr.expr {
            Expr::Literal(literal) => Code::Constant(match literal {
                LiteralValue::Boolean(bool) => Value::Bool(*bool.inner()),
                LiteralValue::Int(int) => Value::Int(*int.inner()),
                LiteralValue::UInt(uint) => Value::UInt(*uint.inner()),
                LiteralValue::Double(double) => Value::Double(*double.inner()),
                LiteralValue::String(text) => Value::text(text.inner()),
                LiteralValue::Null => Value::Null,
                LiteralValue::Bytes(_) => {
                    return Err(self.problem(expr, "values are JSON-like: there are no bytes").hint("write text"));
                }
            }),
            Expr::Ident(name) => return self.name(expr, name),
            Expr::Select(select) => return self.select(expr, select, depth),
            Expr::Call(call) => self.call(expr, call, depth)?,
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.code(item, depth + 1)).collect::<Result<_, _>>()?;
                Code::List(items)
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(self.problem(expr, "not a map"));
                    };
                    let key = self.code(&entry.key, depth + 1)?;
                    if key.known_type().is_some_and(|known| known != "string") {
                        return Err(self.problem(&entry.key, "the keys of a map are text").hint("quote the key"));
                    }
                    if let Code::Constant(Value::Text(key)) = &key
                        && entries
                            .iter()
                            .any(|(other, _)| matches!(other, Code::Constant(Value::Text(other)) if other == key))
                    {
                        return Err(self.problem(&entry.key, format!("the map has the key {key:?} twice")));
                    }
                    entries.push((key, self.code(&entry.value, depth + 1)?));
                }
                Code::Map(entries)
            }
            Expr::Struct(structure) => {
                return Err(self
                    .problem(expr, format!("there is no type `{}`", structure.type_name))
                    .hint("write a map: {'key': value}"));
            }
            Expr::Comprehension(_) | Expr::Unspecified => return Err(self.problem(expr, "not supported")),
        };
        self.fold(expr, code)
    }

    /// Works out what needs no data, so that `1 / 0` is refused before anything runs. Only small results are kept.
    fn fold(&self, expr: &IdedExpr, code: Code) -> Result<Code, Problem> {
        if matches!(code, Code::Constant(_) | Code::List(_) | Code::Map(_)) || !code.is_constant() {
            return Ok(code);
        }
        match constant(&code, &self.budget) {
            Ok(value @ (Value::Null | Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Double(_))) => {
                Ok(Code::Constant(value))
            }
            Ok(Value::Text(text)) if text.len() <= MAX_SOURCE_BYTES => Ok(Code::Constant(Value::Text(text))),
            Err(super::budget::Fault::Wrong(reason)) => Err(self.problem(expr, reason)),
            Ok(_) | Err(super::budget::Fault::Spent(_)) => Ok(code),
        }
    }

    fn name(&mut self, expr: &IdedExpr, name: &str) -> Result<Code, Problem> {
        if let Some(at) = self.locals.iter().rposition(|local| local == name) {
            return Ok(Code::Local(at as u16));
        }
        let names = self.names;
        if names.schedule {
            return match name {
                "schedule" => Ok(Code::Root(self.root(Root::Schedule))),
                _ if TYPES.contains(&name) => Ok(Code::Constant(Value::text(name))),
                _ => Err(self
                    .problem(expr, format!("there is no `{name}` in the inputs of a schedule"))
                    .hint("there is `schedule`, such as `schedule.time`; what a graph sees itself, its nodes name")),
            };
        }
        let (there, root, elsewhere) = match name {
            "inputs" => (true, Root::Inputs, ""),
            "inbox" => (true, Root::Inbox, ""),
            "output" => (
                names.output,
                Root::Output,
                "`output` is there in the `when` of a step's own edges; elsewhere write `steps.<node>.output`",
            ),
            "error" => (
                names.error,
                Root::Error,
                "`error` is there in nodes that a `catch` edge leads to; elsewhere write `steps.<node>.error`",
            ),
            "item" => (names.item, Root::Item, "`item` is there in the `with` of a map"),
            "index" => (names.item, Root::Index, "`index` is there in the `with` of a map"),
            "iteration" => (
                names.iteration,
                Root::Iteration,
                "`iteration` is there inside a loop, whose header declares `max_iterations`",
            ),
            "steps" => {
                return Err(self
                    .problem(expr, "`steps` is no value of its own")
                    .hint("name a node: `steps.<node>.output`"));
            }
            "execution" => {
                return Err(self.problem(expr, "`execution` is no value of its own").hint("there is `execution.id`"));
            }
            _ if TYPES.contains(&name) => return Ok(Code::Constant(Value::text(name))),
            _ => return Err(self.unknown(expr, name)),
        };
        if !there {
            return Err(self.problem(expr, format!("there is no `{name}` at this place")).hint(elsewhere));
        }
        Ok(Code::Root(self.root(root)))
    }

    fn unknown(&self, expr: &IdedExpr, name: &str) -> Problem {
        let names = self.names;
        let mut known = vec!["inputs", "steps", "execution", "inbox"];
        known.extend(names.output.then_some("output"));
        known.extend(names.error.then_some("error"));
        known.extend(names.item.then_some("item"));
        known.extend(names.item.then_some("index"));
        known.extend(names.iteration.then_some("iteration"));
        known.extend(self.locals.iter().map(String::as_str));
        let hint = if self.names.steps.contains_key(name) {
            format!("for what the node gave, write `steps.{name}.output`")
        } else {
            suggest::hint(name, known)
        };
        self.problem(expr, format!("there is no `{name}`")).hint(hint)
    }

    /// `steps.x` or `steps["x"]`: the name of the node.
    fn step<'e>(&self, expr: &'e IdedExpr) -> Option<&'e str> {
        let is_steps =
            |of: &IdedExpr| matches!(&of.expr, Expr::Ident(name) if name == "steps") && !self.is_local("steps");
        match &expr.expr {
            Expr::Select(select) if is_steps(&select.operand) => Some(&select.field),
            Expr::Call(call) if call.func_name == "_[_]" => match call.args.as_slice() {
                [of, key] if is_steps(of) => match &key.expr {
                    Expr::Literal(LiteralValue::String(name)) => Some(name.inner()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    fn check_step(&self, expr: &IdedExpr, node: &str) -> Result<(), Problem> {
        if self.names.steps.contains_key(node) {
            return Ok(());
        }
        let hint = suggest::hint(node, self.names.steps_sorted());
        Err(self.problem(expr, format!("there is no node `{node}`")).hint(hint))
    }

    /// `steps.x.field`, with its root.
    fn step_field(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Option<Result<u16, Problem>> {
        let node = self.step(&select.operand)?.to_owned();
        if let Err(problem) = self.check_step(&select.operand, &node) {
            return Some(Err(problem));
        }
        let root = match select.field.as_str() {
            "output" => Root::StepOutput(node),
            "error" => Root::StepError(node),
            "iterations" => Root::StepIterations(node),
            field => {
                return Some(Err(self
                    .problem(expr, format!("a step has no `{field}`"))
                    .hint(suggest::hint(field, ["output", "error", "iterations"]))));
            }
        };
        Some(Ok(self.root(root)))
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr, depth: usize) -> Result<Code, Problem> {
        if let Some(node) = self.step(expr) {
            return self.whole_step(expr, node);
        }
        if let Some(root) = self.step_field(expr, select) {
            return root.map(Code::Root);
        }
        if matches!(&select.operand.expr, Expr::Ident(name) if name == "execution") && !self.is_local("execution") {
            return match select.field.as_str() {
                "id" => Ok(Code::Root(self.root(Root::ExecutionId))),
                other => {
                    Err(self.problem(expr, format!("an execution has no `{other}`")).hint("there is `execution.id`"))
                }
            };
        }
        let operand = self.code(&select.operand, depth + 1)?;
        if let Code::Root(root) = &operand
            && matches!(self.roots.get(usize::from(*root)), Some(Root::Error | Root::StepError(_)))
            && !ERROR_FIELDS.contains(&select.field.as_str())
        {
            return Err(self
                .problem(expr, format!("an error has no `{}`", select.field))
                .hint(suggest::hint(&select.field, ERROR_FIELDS)));
        }
        if let Some(known) = operand.known_type()
            && known != "map"
        {
            return Err(self.problem(expr, format!("a {known} has no field `{}`", select.field)));
        }
        Ok(Code::Select(Box::new(operand), select.field.as_str().into()))
    }

    fn whole_step(&mut self, expr: &IdedExpr, node: &str) -> Result<Code, Problem> {
        self.check_step(expr, node)?;
        Ok(Code::Step {
            output: self.root(Root::StepOutput(node.to_owned())),
            error: self.root(Root::StepError(node.to_owned())),
            iterations: self.root(Root::StepIterations(node.to_owned())),
        })
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr, depth: usize) -> Result<Code, Problem> {
        let depth = depth + 1;
        if let Some(target) = &call.target {
            return self.method(expr, call, target, depth);
        }
        let name = call.func_name.as_str();
        if let Some(operator) = Binary::of(name)
            && let [left, right] = call.args.as_slice()
        {
            return Ok(Code::Binary(operator, Box::new((self.code(left, depth)?, self.code(right, depth)?))));
        }
        match (name, call.args.as_slice()) {
            ("_&&_", [left, right]) => {
                Ok(Code::And(Box::new((self.boolean(left, depth)?, self.boolean(right, depth)?))))
            }
            ("_||_", [left, right]) => {
                Ok(Code::Or(Box::new((self.boolean(left, depth)?, self.boolean(right, depth)?))))
            }
            ("!_", [of]) => Ok(Code::Not(Box::new(self.boolean(of, depth)?))),
            ("-_", [of]) => Ok(Code::Negate(Box::new(self.code(of, depth)?))),
            ("_?_:_", [condition, yes, no]) => {
                Ok(Code::If(Box::new((self.boolean(condition, depth)?, self.code(yes, depth)?, self.code(no, depth)?))))
            }
            ("_[_]", [of, key]) => {
                if let Some(node) = self.step(expr) {
                    return self.whole_step(expr, node);
                }
                if matches!(&of.expr, Expr::Ident(name) if name == "steps") && !self.is_local("steps") {
                    return Err(self
                        .problem(expr, "the name of a node must be known before the graph runs")
                        .hint("write `steps.<node>` or `steps[\"<node>\"]`"));
                }
                Ok(Code::Index(Box::new((self.code(of, depth)?, self.code(key, depth)?))))
            }
            ("has", [of]) => self.has(of, depth),
            ("has", _) => Err(self.problem(expr, "has takes one selection").hint("for example has(inputs.url)")),
            _ => self.function(expr, name, false, call.args.iter().collect(), depth),
        }
    }

    /// An operand of `&&`, `||`, `!` and `?`: what is known to be no boolean is refused.
    fn boolean(&mut self, expr: &IdedExpr, depth: usize) -> Result<Code, Problem> {
        let code = self.code(expr, depth)?;
        match code.known_type() {
            Some(known) if known != "bool" => {
                Err(self.problem(expr, format!("a boolean is needed here, this is a {known}")))
            }
            _ => Ok(code),
        }
    }

    fn has(&mut self, of: &IdedExpr, depth: usize) -> Result<Code, Problem> {
        let Expr::Select(select) = &of.expr else {
            return Err(self.problem(of, "has takes a selection").hint("for example has(inputs.url)"));
        };
        if let Some(node) = self.step(of) {
            self.check_step(of, node)?;
            return Ok(Code::Constant(Value::Bool(true)));
        }
        if let Some(root) = self.step_field(of, select) {
            return root.map(Code::Present);
        }
        if matches!(&select.operand.expr, Expr::Ident(name) if name == "execution") && !self.is_local("execution") {
            return Ok(Code::Constant(Value::Bool(select.field == "id")));
        }
        Ok(Code::Has(Box::new(self.code(&select.operand, depth)?), select.field.as_str().into()))
    }

    fn method(&mut self, expr: &IdedExpr, call: &CallExpr, target: &IdedExpr, depth: usize) -> Result<Code, Problem> {
        let name = call.func_name.as_str();
        // `math.abs(x)` is a function with a dot in its name.
        if let Expr::Ident(space) = &target.expr
            && ["math", "lists"].contains(&space.as_str())
            && !self.is_local(space)
        {
            return self.function(expr, &format!("{space}.{name}"), false, call.args.iter().collect(), depth);
        }
        let kind = match name {
            "all" => LoopKind::All,
            "exists" => LoopKind::Exists,
            "exists_one" | "existsOne" => LoopKind::ExistsOne,
            "filter" => LoopKind::Filter,
            "map" => LoopKind::Map,
            _ => {
                let args = std::iter::once(target).chain(&call.args).collect();
                return self.function(expr, name, true, args, depth);
            }
        };
        let (variable, filter, body) = match call.args.as_slice() {
            [variable, body] => (variable, None, body),
            [variable, filter, body] if kind == LoopKind::Map => (variable, Some(filter), body),
            _ => {
                return Err(self
                    .problem(expr, format!("{name} takes a variable and an expression"))
                    .hint(format!("for example inputs.list.{name}(x, …)")));
            }
        };
        let Expr::Ident(variable) = &variable.expr else {
            return Err(self.problem(variable, format!("the first argument of {name} is the name of a variable")));
        };
        let range = self.code(target, depth)?;
        if let Some(known) = range.known_type()
            && !["list", "map"].contains(&known)
        {
            return Err(self.problem(target, format!("{name} goes over a list or a map, this is a {known}")));
        }
        self.locals.push(variable.clone());
        let filter = filter.map(|filter| self.boolean(filter, depth)).transpose();
        let body = if kind == LoopKind::Map { self.code(body, depth) } else { self.boolean(body, depth) };
        self.locals.pop();
        Ok(Code::Loop(Box::new(Loop { kind, range, filter: filter?, body: body? })))
    }

    fn function(
        &mut self,
        expr: &IdedExpr,
        name: &str,
        method: bool,
        args: Vec<&IdedExpr>,
        depth: usize,
    ) -> Result<Code, Problem> {
        let function = Function::find(name, method, args.len()).map_err(|unknown| match unknown {
            Unknown::Name => {
                let hint = match name {
                    "timestamp" | "duration" | "now" | "getFullYear" | "getHours" => {
                        "points in time are text here; compute with them in a task".to_owned()
                    }
                    _ => suggest::hint(
                        name,
                        Function::names()
                            .chain(["has", "all", "exists", "exists_one", "filter", "map"])
                            .collect::<Vec<_>>(),
                    ),
                };
                self.problem(expr, format!("there is no function `{name}`")).hint(hint)
            }
            Unknown::Style(function) => self
                .problem(expr, format!("`{name}` is not called like this"))
                .hint(format!("write {}", function.usage())),
            Unknown::Arity(function, arity) => {
                let receiver = usize::from(method);
                let (least, most) = (arity.start() - receiver, arity.end() - receiver);
                let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
                self.problem(expr, format!("`{name}` takes {wanted} argument(s), not {}", args.len() - receiver))
                    .hint(format!("write {}", function.usage()))
            }
        })?;
        let mut codes = args.iter().map(|arg| self.code(arg, depth)).collect::<Result<Vec<_>, _>>()?;
        if function == Function::Matches
            && let [_, Code::Constant(Value::Text(pattern))] = codes.as_slice()
        {
            compile_pattern(pattern).map_err(|reason| self.problem(args[1], reason))?;
            let pattern = Arc::clone(pattern);
            return Ok(Code::Matches(Box::new(codes.swap_remove(0)), pattern));
        }
        Ok(Code::Call(function, codes))
    }
}

/// What `error` and `steps.<node>.error` have.
const ERROR_FIELDS: [&str; 3] = ["category", "message", "code"];

impl Names<'_> {
    fn steps_sorted(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.steps.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}
