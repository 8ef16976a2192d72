//! Nodes: what each kind may say.

use std::time::Duration;

use super::Document;
use super::delivery::{self, DeliveryFields};
use super::edge::{self, DocumentEdge};
use super::fields::{CALLABLE, Fields, Known, QUEUE, flag, matches, number, short, text};
use super::limits::{self, DiscoverFields};
use super::permits::{self, PermitFields};
use super::subgraph::{self, SubGraphFields};
use super::tree::{Key, Shape, Tree};
use super::wait::{self, WaitFields};
use super::{duration, word};
use crate::error::retry::{MAX_ATTEMPTS, MAX_DELAY};
use crate::error::{BackoffStrategy, ErrorCategory, Jitter, RetryPolicy};
use crate::graph::compiled::{Collect, Join, Priority, Reserve, Routing, Timeouts};
use crate::graph::diagnose::{Place, Reporter};
use crate::graph::suggest;

/// Most iterations of a loop.
pub(crate) const MAX_ITERATIONS: u32 = 10_000;
/// Most items of a map that may be in flight at once.
pub(crate) const MAX_CONCURRENCY: u32 = 10_000;
/// In flight at once when a map does not say.
pub(crate) const DEFAULT_CONCURRENCY: u32 = 16;
/// The queue of tasks that name none.
pub(crate) const DEFAULT_QUEUE: &str = "default";
/// Longest label, in bytes.
pub(crate) const MAX_LABEL_BYTES: usize = 512;

/// What every node may have, whatever it is.
const COMMON: [&str; 5] = ["label", "join", "route", "max_iterations", "next"];
const TASK: [&str; 14] = [
    "queue",
    "with",
    "retry",
    "timeout",
    "priority",
    "inbox",
    "reserve",
    "undo",
    "concurrency",
    "rate",
    "delivery",
    "claim",
    "reconcile",
    "dead_letter",
];
const WAIT: [&str; 1] = ["with"];
const GRAPH: [&str; 2] = ["with", "spawn"];

const FIELDS: Known = Known {
    what: "a node",
    fields: &[
        "task",
        "map",
        "wait",
        "graph",
        "spawn",
        "transform",
        "fail",
        "end",
        "route",
        "label",
        "join",
        "max_iterations",
        "next",
        "queue",
        "with",
        "retry",
        "timeout",
        "priority",
        "inbox",
        "reserve",
        "undo",
        "concurrency",
        "rate",
        "delivery",
        "claim",
        "reconcile",
        "dead_letter",
    ],
    later: &["cache", "cache_key", "description", "cost", "on_cancel", "signal", "approval", "agent"],
};

#[derive(Debug)]
pub(crate) struct DocumentNode<'t> {
    pub(crate) name: &'t str,
    pub(crate) place: Place,
    pub(crate) label: Option<String>,
    /// `None` when it could not be read; that was reported.
    pub(crate) kind: Option<Kind<'t>>,
    pub(crate) join: Join,
    pub(crate) join_place: Place,
    pub(crate) routing: Routing,
    pub(crate) max_iterations: Option<(u32, Place)>,
    pub(crate) next: Vec<DocumentEdge<'t>>,
}

#[derive(Debug)]
pub(crate) enum Kind<'t> {
    Task(TaskFields<'t>),
    Map {
        over: &'t Tree,
        max_concurrency: u32,
        collect: Collect,
        discover: Option<DiscoverFields>,
        task: TaskFields<'t>,
    },
    Wait {
        wait: WaitFields<'t>,
        with: Option<&'t Tree>,
    },
    /// Another document, whose steps are steps of the same execution.
    Inline {
        document: Box<Document<'t>>,
        with: Option<&'t Tree>,
    },
    Graph {
        sub: SubGraphFields,
        with: Option<&'t Tree>,
    },
    Route,
    Transform(&'t Tree),
    Fail {
        category: ErrorCategory,
        message: Option<&'t Tree>,
    },
    End {
        output: Option<&'t Tree>,
    },
}

#[derive(Debug)]
pub(crate) struct TaskFields<'t> {
    pub(crate) callable: String,
    pub(crate) queue: String,
    pub(crate) priority: Priority,
    pub(crate) with: Option<&'t Tree>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) timeouts: Timeouts,
    pub(crate) inbox: bool,
    pub(crate) reserve: Reserve,
    pub(crate) undo: Option<Box<TaskFields<'t>>>,
    pub(crate) permits: PermitFields<'t>,
    pub(crate) delivery: DeliveryFields,
}

pub(crate) fn read<'t>(key: &'t Key, tree: &'t Tree, reporter: &mut Reporter<'_>) -> DocumentNode<'t> {
    let mut node = DocumentNode {
        name: &key.name,
        place: key.place,
        label: None,
        kind: None,
        join: Join::All,
        join_place: key.place,
        routing: Routing::All,
        max_iterations: None,
        next: Vec::new(),
    };
    if let Some(mut fields) = Fields::of(tree, &FIELDS, reporter) {
        common(&mut node, &mut fields, reporter);
        node.kind = kind(&node, tree, fields, reporter);
    }
    node
}

fn common<'t>(node: &mut DocumentNode<'t>, fields: &mut Fields<'t>, reporter: &mut Reporter<'_>) {
    if let Some((label, place)) = fields.take("label").and_then(|tree| text(tree, "label", reporter)) {
        if label.len() > MAX_LABEL_BYTES {
            reporter.report(place, "out-of-range", format!("`label` has at most {MAX_LABEL_BYTES} bytes"));
        }
        node.label = Some(label.to_owned());
    }
    if let Some(tree) = fields.take("join") {
        node.join_place = tree.place;
        node.join = join(tree, reporter).unwrap_or(Join::Any);
    }
    if let Some(tree) = fields.take("max_iterations") {
        let iterations = number(tree, "max_iterations", 1..=MAX_ITERATIONS, reporter).unwrap_or(1);
        node.max_iterations = Some((iterations, tree.place));
    }
    if let Some(tree) = fields.take("route") {
        node.routing = routing(tree, reporter).unwrap_or_default();
    }
    if let Some(tree) = fields.take("next") {
        node.next = edge::read_all(tree, reporter);
    }
}

const JOIN: Known = Known { what: "`join`", fields: &["quorum"], later: &[] };

fn join(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Join> {
    if matches!(tree.shape, Shape::Map(_)) {
        let mut fields = Fields::of(tree, &JOIN, reporter)?;
        let quorum = fields.required("quorum", reporter)?;
        // Zero is left to the compiler, which says why such a join cannot be.
        return number(quorum, "quorum", 0..=u32::MAX, reporter).map(Join::Quorum);
    }
    let words = [("all", Join::All), ("any", Join::Any), ("race", Join::Race), ("all_settled", Join::AllSettled)];
    word(tree, "join", &words, reporter).copied()
}

/// What the node is, by the key that says so.
fn kind<'t>(
    node: &DocumentNode<'t>,
    tree: &'t Tree,
    mut fields: Fields<'t>,
    reporter: &mut Reporter<'_>,
) -> Option<Kind<'t>> {
    let named: Vec<&str> = ["task", "wait", "graph", "transform", "fail", "end"]
        .into_iter()
        .filter(|name| tree.get(name).is_some())
        .collect();
    let name = short(node.name);
    if let [first, second, ..] = named.as_slice() {
        let message = format!("node `{name}` cannot be `{first}` and `{second}` at once");
        reporter.report_with(node.place, "node-kind", message, "make two nodes and an edge between them");
        return None;
    }
    let (what, allowed): (&str, &[&str]) = match named.first() {
        Some(&"task") if tree.get("map").is_some() => ("a map", &TASK),
        Some(&"task") => ("a task", &TASK),
        Some(&"wait") => ("a wait", &WAIT),
        Some(&"graph") => ("a sub-graph", &GRAPH),
        Some(&"transform") => ("a transform", &[]),
        Some(&"fail") => ("a `fail` node", &[]),
        Some(&"end") => ("an `end` node", &[]),
        _ if tree.get("map").is_some() => {
            let message = format!("the map `{name}` names no `task` to run for its items");
            reporter.report_with(node.place, "node-kind", message, "add `task: <callable>`");
            return None;
        }
        _ if tree.get("route").is_some() => ("a `route` node", &[]),
        _ => {
            let message = format!("node `{name}` does not say what it is");
            let hint =
                "give it one of `task`, `map` with `task`, `wait`, `graph`, `route`, `transform`, `fail` and `end`";
            // A kind of a later version was reported already.
            let later = ["agent"].iter().any(|later| tree.get(later).is_some());
            if !later {
                reporter.report_with(node.place, "node-kind", message, hint);
            }
            return None;
        }
    };
    let kind = match named.first() {
        Some(&"task") => task_or_map(&mut fields, reporter),
        Some(&"wait") => {
            let with = fields.take("with");
            fields.take("wait").and_then(|tree| wait::read(tree, reporter)).map(|wait| Kind::Wait { wait, with })
        }
        Some(&"graph") => {
            let (with, spawn) = (fields.take("with"), fields.take("spawn"));
            match fields.take("graph").and_then(|tree| subgraph::read(tree, spawn, reporter)) {
                Some(subgraph::Taken::Child(sub)) => Some(Kind::Graph { sub, with }),
                Some(subgraph::Taken::Inline(document)) => Some(Kind::Inline { document, with }),
                None => None,
            }
        }
        Some(&"transform") => fields.take("transform").map(Kind::Transform),
        Some(&"fail") => fields.take("fail").and_then(|tree| fail(tree, reporter)),
        Some(&"end") => fields.take("end").and_then(|tree| end(tree, reporter)),
        _ => Some(Kind::Route),
    };
    for key in fields.rest() {
        if !allowed.contains(&key.name.as_str()) {
            let message = format!("`{}` means nothing in {what}", key.name);
            let hint = suggest::hint("", allowed.iter().copied().chain(COMMON));
            reporter.report_with(key.place, "unknown-field", message, hint);
        }
    }
    kind
}

/// How a node chooses among its edges.
fn routing(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<Routing> {
    word(tree, "route", &[("first", Routing::First), ("all", Routing::All)], reporter).copied()
}

const MAP: Known = Known {
    what: "`map`",
    fields: &["over", "max_concurrency", "collect", "discover"],
    later: &["batch", "quorum", "as"],
};

fn task_or_map<'t>(fields: &mut Fields<'t>, reporter: &mut Reporter<'_>) -> Option<Kind<'t>> {
    let callable = fields.take("task").and_then(|tree| text(tree, "task", reporter));
    let callable = callable.filter(|(name, place)| matches(name, *place, "a callable", &CALLABLE, reporter));
    let queue = fields.take("queue").and_then(|tree| text(tree, "queue", reporter));
    let queue = queue.filter(|(name, place)| matches(name, *place, "a queue", &QUEUE, reporter));
    let priorities = Priority::ALL.map(|priority| (priority.name(), priority));
    let priority = fields.take("priority").and_then(|tree| word(tree, "priority", &priorities, reporter).copied());
    let with = fields.take("with");
    let retry = fields.take("retry").and_then(|tree| retry(tree, reporter));
    let timeouts = fields.take("timeout").map(|tree| timeouts(tree, reporter)).unwrap_or_default();
    let inbox = fields.take("inbox").is_some_and(|tree| flag(tree, "inbox", reporter));
    let reserve = fields.take("reserve").map(|tree| limits::reserve(tree, reporter)).unwrap_or_default();
    let permits = permits::read(fields, reporter);
    let delivery =
        delivery::read(fields, queue.map_or(DEFAULT_QUEUE, |(name, _)| name), priority.unwrap_or_default(), reporter);
    let queue = queue.map_or(DEFAULT_QUEUE, |(name, _)| name);
    let priority = priority.unwrap_or_default();
    let undo = fields.take("undo").and_then(|tree| undo(tree, queue, priority, reporter));
    let map = fields.take("map");
    if let (Some(map), true) = (map, inbox) {
        let message = "the items of a map have no inbox: which of them would have it?";
        reporter.report_with(map.place, "bad-value", message, "let a task in front of the map take it");
    }
    let task = TaskFields {
        callable: callable?.0.to_owned(),
        queue: queue.to_owned(),
        priority,
        with,
        retry,
        timeouts,
        inbox,
        reserve,
        undo: undo.map(Box::new),
        permits,
        delivery,
    };
    let Some(map) = map else { return Some(Kind::Task(task)) };
    let mut fields = Fields::of(map, &MAP, reporter)?;
    let over = fields.required("over", reporter);
    let max_concurrency = match fields.take("max_concurrency") {
        Some(tree) => number(tree, "max_concurrency", 1..=MAX_CONCURRENCY, reporter).unwrap_or(DEFAULT_CONCURRENCY),
        None => DEFAULT_CONCURRENCY,
    };
    let words = [("all", Collect::All), ("all_settled", Collect::AllSettled)];
    let collect = fields
        .take("collect")
        .and_then(|tree| word(tree, "collect", &words, reporter).copied())
        .unwrap_or(Collect::All);
    let discover = fields.take("discover").and_then(|tree| limits::discover(tree, reporter));
    Some(Kind::Map { over: over?, max_concurrency, collect, discover, task })
}

const UNDO: Known = Known {
    what: "`undo`",
    fields: &["task", "queue", "with", "retry", "timeout"],
    later: &["priority", "map", "when", "catch"],
};

/// What undoes a step. It is taken from the queue of the step, unless it names its own, and is as urgent.
fn undo<'t>(tree: &'t Tree, queue: &str, priority: Priority, reporter: &mut Reporter<'_>) -> Option<TaskFields<'t>> {
    if let Shape::Text(name) = &tree.shape {
        let hint = format!("write `undo: {{ task: {} }}`", short(name));
        reporter.report_with(tree.place, "wrong-type", "`undo` is a map, not text", hint);
        return None;
    }
    if let Some(next) = tree.get("next") {
        let message = "an undo leads nowhere: when it has ended, the step that completed before is undone";
        reporter.report_with(next.place, "undo-with-edges", message, "remove `next`");
    }
    let known = Known { fields: &["task", "queue", "with", "retry", "timeout", "next"], ..UNDO };
    let known = if tree.get("next").is_some() { known } else { UNDO };
    let mut fields = Fields::of(tree, &known, reporter)?;
    let callable = fields.required("task", reporter).and_then(|tree| text(tree, "task", reporter));
    let callable = callable.filter(|(name, place)| matches(name, *place, "a callable", &CALLABLE, reporter));
    let own = fields.take("queue").and_then(|tree| text(tree, "queue", reporter));
    let own = own.filter(|(name, place)| matches(name, *place, "a queue", &QUEUE, reporter));
    Some(TaskFields {
        queue: own.map_or(queue, |(name, _)| name).to_owned(),
        priority,
        with: fields.take("with"),
        retry: fields.take("retry").and_then(|tree| retry(tree, reporter)),
        timeouts: fields.take("timeout").map(|tree| timeouts(tree, reporter)).unwrap_or_default(),
        inbox: false,
        reserve: Reserve::default(),
        undo: None,
        permits: PermitFields::default(),
        delivery: DeliveryFields::default(),
        callable: callable?.0.to_owned(),
    })
}

const FAIL: Known = Known { what: "`fail`", fields: &["category", "message"], later: &["code", "details"] };

fn fail<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Kind<'t>> {
    let mut fields = Fields::of(tree, &FAIL, reporter)?;
    let categories = ErrorCategory::ALL.map(|category| (category.name(), category));
    let message = fields.take("message");
    let category = *word(fields.required("category", reporter)?, "category", &categories, reporter)?;
    Some(Kind::Fail { category, message })
}

const END: Known = Known { what: "`end`", fields: &["output"], later: &[] };

fn end<'t>(tree: &'t Tree, reporter: &mut Reporter<'_>) -> Option<Kind<'t>> {
    match &tree.shape {
        Shape::Bool(true) => Some(Kind::End { output: None }),
        Shape::Map(_) => {
            let mut fields = Fields::of(tree, &END, reporter)?;
            Some(Kind::End { output: fields.take("output") })
        }
        _ => {
            let message = format!("`end` is `true` or a map with `output`, not {}", tree.kind());
            reporter.report_with(tree.place, "wrong-type", message, "write `end: true` or `end: { output: \"=…\" }`");
            None
        }
    }
}

const RETRY: Known = Known {
    what: "`retry`",
    fields: &["max_attempts", "backoff", "base", "max", "jitter"],
    later: &["on", "not_on", "factor", "requires_idempotency_key"],
};

/// What is not said: three attempts, exponential from half a second to half a minute.
pub(super) fn retry(tree: &Tree, reporter: &mut Reporter<'_>) -> Option<RetryPolicy> {
    let mut fields = Fields::of(tree, &RETRY, reporter)?;
    let mut policy = RetryPolicy::new(3, BackoffStrategy::Exponential, 500, 30_000);
    if let Some(tree) = fields.take("max_attempts") {
        policy.max_attempts = number(tree, "max_attempts", 1..=MAX_ATTEMPTS, reporter).unwrap_or(1);
    }
    if let Some(tree) = fields.take("backoff") {
        let words = [
            ("none", BackoffStrategy::None),
            ("constant", BackoffStrategy::Constant),
            ("linear", BackoffStrategy::Linear),
            ("exponential", BackoffStrategy::Exponential),
        ];
        policy.backoff = word(tree, "backoff", &words, reporter).copied().unwrap_or_default();
    }
    if let Some(tree) = fields.take("jitter") {
        let words = [("none", Jitter::None), ("full", Jitter::Full)];
        policy.jitter = word(tree, "jitter", &words, reporter).copied().unwrap_or_default();
    }
    let mut delay = |name: &str, reporter: &mut Reporter<'_>| -> Option<Option<u64>> {
        let Some(tree) = fields.take(name) else { return Some(None) };
        let delay = duration::read(tree, name, duration::Zero::Allowed, reporter)?;
        if delay > MAX_DELAY {
            reporter.report(tree.place, "out-of-range", format!("`{name}` of a retry is at most 7d"));
            return None;
        }
        Some(Some(millis(delay)))
    };
    let base = delay("base", reporter);
    let max = delay("max", reporter);
    let (base, max) = (base?, max?);
    policy.base_ms = base.unwrap_or(policy.base_ms);
    // A long first delay alone is no contradiction.
    policy.max_ms = max.unwrap_or(policy.max_ms.max(policy.base_ms));
    if policy.base_ms > policy.max_ms {
        match base {
            // Only `max` was said, and it is below the usual first delay.
            None => policy.base_ms = policy.max_ms,
            Some(_) => {
                reporter.report(tree.place, "bad-value", "the first delay, `base`, is longer than the longest, `max`");
                return None;
            }
        }
    }
    if policy.backoff == BackoffStrategy::None {
        policy.base_ms = 0;
    }
    Some(policy)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const TIMEOUT: Known = Known {
    what: "`timeout`",
    fields: &["schedule_to_start", "start_to_close", "heartbeat"],
    later: &["schedule_to_close", "total"],
};

pub(super) fn timeouts(tree: &Tree, reporter: &mut Reporter<'_>) -> Timeouts {
    if let Shape::Text(written) = &tree.shape {
        let hint = format!("write `timeout: {{ start_to_close: {} }}`", short(written));
        reporter.report_with(tree.place, "wrong-type", "`timeout` is a map, not text", hint);
        return Timeouts::default();
    }
    let Some(mut fields) = Fields::of(tree, &TIMEOUT, reporter) else { return Timeouts::default() };
    let mut read = |name: &str| duration::read(fields.take(name)?, name, duration::Zero::Refused, reporter);
    Timeouts {
        schedule_to_start: read("schedule_to_start"),
        start_to_close: read("start_to_close"),
        heartbeat: read("heartbeat"),
    }
}
