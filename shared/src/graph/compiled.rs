//! The compiled form of a graph: what the reducer walks. Indexes instead of names, loops found, expressions compiled.
//!
//! Loops are structured. The header of a loop is the node that declares `max_iterations`; an edge from inside the loop
//! back to its header is a *back edge*; the body is every node that can reach a back edge without leaving through the
//! header. Bodies nest or are disjoint, and are entered only through their header (the compiler refuses the rest), so
//! without back edges every graph is acyclic.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LimitOverrides;
use super::expression::{Expression, Template};
use super::policy::LongRunningPolicy;
use crate::cost::Money;
use crate::error::{ErrorCategory, RetryPolicy};
use crate::event::{ApprovalPolicy, CancellationPolicy, Share};
use crate::id::GraphId;

/// The content address of a graph document: BLAKE3 over its canonical JSON, cut to twenty bytes. Printed `graph_…`.
pub type GraphDigest = GraphId;

/// A node by its place in the canonical document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIx(pub u32);

/// An edge by its place among all edges of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EdgeIx(pub u32);

/// A loop by its place among all loops of the graph; a parent comes before its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoopIx(pub u32);

/// A graph that is taken in, by its place among them; one comes before those inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrameIx(pub u32);

/// A graph that passed the compiler.
#[derive(Debug)]
pub struct CompiledGraph {
    pub digest: GraphDigest,
    pub name: String,
    pub version: String,
    /// The document in canonical JSON (sorted keys, no blanks): what is stored and hashed.
    pub canonical: String,
    /// The `inputs` JSON Schema, compiled; `None` accepts anything.
    pub inputs: Option<Arc<jsonschema::Validator>>,
    pub limits: GraphLimits,
    /// Sorted by name, as in the canonical document: one digest, one set of indexes.
    pub nodes: Vec<Node>,
    /// Grouped by source node, in document order.
    pub edges: Vec<Edge>,
    /// Parents before children.
    pub loops: Vec<Loop>,
    /// Graphs that nodes take in, with their nodes among those of this one.
    pub frames: Vec<Frame>,
    /// Nodes without incoming edges other than back edges.
    pub start: Vec<NodeIx>,
    pub output: Option<Template>,
    pub looked_into: LookedInto,
    /// Name to place. Of nodes inside of others: `outer.inner`.
    pub by_name: HashMap<String, NodeIx>,
}

/// A graph inside of another one. Its nodes are steps of the same execution.
#[derive(Debug)]
pub struct Frame {
    /// The name of its document, where that has one.
    pub graph_name: Option<String>,
    /// The node by which it is entered, whose input are the inputs of the frame, and the one by which it is left.
    pub entry: NodeIx,
    pub exit: NodeIx,
    /// Of its nodes.
    pub region: LoopIx,
    /// What its inputs must match.
    pub inputs: Option<Arc<jsonschema::Validator>>,
    /// Its inputs, evaluated outside. `None`: those of the graph around it.
    pub with: Option<Template>,
    /// Its output, evaluated inside. `None`: what its only last node gave.
    pub output: Option<Template>,
    /// Names inside to places.
    pub by_name: HashMap<String, NodeIx>,
}

/// The values that expressions of the graph look into, beyond passing them on: those stay in the log whatever their size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookedInto {
    /// Nodes whose output is.
    pub outputs: BTreeSet<NodeIx>,
    /// The inputs of the execution are as a whole, or are given to another graph.
    pub inputs: bool,
    /// Fields of the inputs that are.
    pub fields: BTreeSet<String>,
    /// Nodes whose output, or a part of it, may be in the output of the execution: the graph that started it may look into
    /// that.
    pub returned: BTreeSet<NodeIx>,
}

/// The bounds a document sets for its executions (each within the limits of the installation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphLimits {
    pub max_steps: u32,
    /// From the start of the execution; `None` is no bound.
    pub wall_time: Option<Duration>,
    /// Prompt and completion together.
    pub max_tokens: Option<u64>,
    pub max_cost: Option<Money>,
    /// Somebody is asked once this much is spent.
    pub cost_alert: Option<Money>,
    /// Nothing may happen for as long as this while it runs; `None` is no bound.
    pub idle_timeout: Option<Duration>,
    /// What `discover` does not say itself.
    pub policy: LongRunningPolicy,
    /// Percent of a limit at which a warning is recorded.
    pub warn_at: u32,
    pub on_limit: OnLimit,
    /// So many attempts that fail in a row pause the execution; `None`: none do.
    pub pause_after_failures: Option<u32>,
    /// Mebibytes that the programs of one step may have in memory together; `None` is no bound.
    pub max_memory_mb: Option<u32>,
}

impl GraphLimits {
    /// What a document that names no limits has.
    pub const fn most() -> Self {
        GraphLimits {
            max_steps: super::MAX_STEPS,
            wall_time: None,
            max_tokens: None,
            max_cost: None,
            cost_alert: None,
            idle_timeout: None,
            policy: LongRunningPolicy::Standard,
            warn_at: 80,
            on_limit: OnLimit::Stop,
            pause_after_failures: None,
            max_memory_mb: None,
        }
    }
}

/// What becomes of an execution whose budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It fails.
    #[default]
    Stop,
    Pause,
    /// It waits (`cost_threshold`) until somebody gives it another budget.
    Approve,
    /// What would run next fails, which an error edge can take; the rest goes on.
    FailStep,
}

/// What a step may need at most; set aside before it is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserve {
    pub cost: Money,
    pub tokens: u64,
}

/// How much the items of a map may add to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discover {
    /// Items that are found, beside those that it began with.
    pub max_steps: u32,
    /// How far an item may lie from those; an item that one of them found lies at 1.
    pub max_depth: u32,
    /// How often the same work (name and input) may be found.
    pub same_step_repeats: u32,
}

#[derive(Debug)]
pub struct Node {
    pub name: String,
    /// A name for people, where the node's own had to be changed (imports keep the original here).
    pub label: Option<String>,
    pub kind: NodeKind,
    pub join: Join,
    pub routing: Routing,
    /// What undoes a completed step of this node, should the execution fail or be cancelled. Only of tasks and maps.
    pub undo: Option<Task>,
    /// Outgoing edges, in document order. Error edges stand among the others.
    pub out: Vec<EdgeIx>,
    /// How many edges other than back edges lead here.
    pub forward_in: u32,
    /// The innermost loop around this node; for a header, the loop it heads.
    pub in_loop: Option<LoopIx>,
    /// The nearest race join that this node runs only for: every forward path leads there.
    pub runs_for: Option<NodeIx>,
    /// The graph inside of this one that it is a node of: what its expressions see.
    pub frame: Option<FrameIx>,
    /// Of a race join: the nodes whose `runs_for` it is, and the races that begin the loops for which it is that. A race
    /// join among them has runners of its own.
    pub runners: Vec<NodeIx>,
}

#[derive(Debug)]
pub enum NodeKind {
    /// One step, run by a worker.
    Task(Task),
    /// One step by a worker for each item of a list, in bounded number at a time.
    Map(Map),
    /// Something outside, a person or time; nobody works meanwhile.
    Wait(WaitNode),
    /// Another graph, as an execution of its own.
    Graph(SubGraph),
    /// No work: enters a graph that is taken in.
    Enter(FrameIx),
    /// No work: a graph that was taken in is over.
    Inline(FrameIx),
    /// No work: only chooses edges.
    Route,
    /// An expression, evaluated by the coordinator.
    Transform(Template),
    /// Ends the execution as failed.
    Fail { category: ErrorCategory, message: Template },
    /// Ends the execution as completed, whatever else is open.
    End { output: Option<Template> },
}

#[derive(Debug)]
pub struct Task {
    pub callable: String,
    pub queue: String,
    pub priority: Priority,
    /// The input mapping. `None`: the inputs of the execution for a task, the item for a map.
    pub with: Option<Template>,
    /// `None`: the policy of the error's category.
    pub retry: Option<RetryPolicy>,
    pub timeouts: Timeouts,
    /// It is given the messages that have come for the execution.
    pub inbox: bool,
    pub reserve: Reserve,
    /// What its attempts share with those of other executions.
    pub permits: Option<Box<PermitRules>>,
    pub guarantee: Guarantee,
    /// A worker asks for the attempt before it runs it, and the log says who has it.
    pub claim: bool,
    /// Asks the target what became of an attempt that is in doubt.
    pub reconcile: Option<Box<Task>>,
    pub dead_letter: DeadLettering,
}

impl Task {
    /// How long the worker that has claimed an attempt may be silent.
    pub fn lease(&self) -> Duration {
        self.timeouts.heartbeat.unwrap_or(CLAIM_LEASE)
    }
}

/// How long the holder of a claim may be silent where its task does not say (`timeout.heartbeat`). Workers give three
/// signs of life in that time; as long as a job may be silent before the bus delivers it again.
pub const CLAIM_LEASE: Duration = Duration::from_secs(30);

/// How often a step runs, whatever dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guarantee {
    /// An attempt whose worker is lost is followed by another one.
    #[default]
    AtLeastOnce,
    /// An attempt whose worker is lost is in doubt, and nothing runs again by itself.
    AtMostOnce,
}

impl Guarantee {
    pub const ALL: [Guarantee; 2] = [Guarantee::AtLeastOnce, Guarantee::AtMostOnce];

    pub const fn name(self) -> &'static str {
        match self {
            Guarantee::AtLeastOnce => "at_least_once",
            Guarantee::AtMostOnce => "at_most_once",
        }
    }
}

/// Which failures of a step are held as dead letters, for somebody to look at and redrive, instead of failing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeadLettering {
    /// A job that killed its workers, as often as it was delivered.
    #[default]
    Poison,
    /// Any failure that is not tried again.
    Exhausted,
    Never,
}

impl DeadLettering {
    pub const ALL: [DeadLettering; 3] = [DeadLettering::Poison, DeadLettering::Exhausted, DeadLettering::Never];

    pub const fn name(self) -> &'static str {
        match self {
            DeadLettering::Poison => "poison",
            DeadLettering::Exhausted => "exhausted",
            DeadLettering::Never => "never",
        }
    }
}

/// What each attempt at a task needs before a worker is asked for it. One of the two is there, or both.
#[derive(Debug)]
pub struct PermitRules {
    pub concurrency: Option<ConcurrencyRule>,
    pub rate: Option<RateRule>,
    /// How long an attempt may wait for them.
    pub patience: Option<Duration>,
}

/// At most `max` attempts under a key at the same time.
#[derive(Debug)]
pub struct ConcurrencyRule {
    pub key: Template,
    pub max: u32,
}

/// At most `max` attempts under a key in each `per`, evenly spaced but for the first `burst`.
#[derive(Debug)]
pub struct RateRule {
    pub key: Template,
    pub max: u32,
    pub per: Duration,
    pub burst: u32,
}

/// A node that runs another graph.
#[derive(Debug)]
pub struct SubGraph {
    /// `name` (the version that is registered last when it is started) or `name@version`.
    pub reference: String,
    /// The inputs of the child. `None`: those of this execution.
    pub with: Option<Template>,
    pub spawn: Spawn,
}

/// How a child is started, and what it has of its parent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spawn {
    /// The step gives `{execution_id}` at once and the child goes on by itself.
    pub background: bool,
    pub on_cancel: CancellationPolicy,
    /// What comes for the parent comes for the child, too.
    pub inherit_inbox: bool,
    /// In the place of the limits of the child's graph.
    pub policies: LimitOverrides,
    /// What it is given of the parent's purse; where nothing is said, by `allocation`.
    pub budget: Share,
    pub allocation: Allocation,
}

/// How much a child is given of what is left in its parent's purse. By the names of the original specification, but for
/// the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocation {
    /// Half.
    #[default]
    EqualSplit,
    /// Four fifths.
    Priority,
    /// All of it.
    Rest,
}

impl Allocation {
    pub const ALL: [Allocation; 3] = [Allocation::EqualSplit, Allocation::Priority, Allocation::Rest];

    pub const fn name(self) -> &'static str {
        match self {
            Allocation::EqualSplit => "equal_split",
            Allocation::Priority => "priority",
            Allocation::Rest => "rest",
        }
    }

    /// Of what is left, rounded up.
    pub const fn of(self, left: u64) -> u64 {
        match self {
            Allocation::EqualSplit => left - left / 2,
            Allocation::Priority => left - left / 5,
            Allocation::Rest => left,
        }
    }
}

/// A node that waits.
#[derive(Debug)]
pub struct WaitNode {
    pub what: WaitFor,
    /// What is shown to whoever decides or answers; recorded as the step's input.
    pub with: Option<Template>,
    /// A JSON Schema of what comes: the payload of a signal, the form of an approval, an answer.
    pub form: Option<Arc<jsonschema::Validator>>,
    /// Then the wait fails as `Timeout`. Timers have none.
    pub timeout: Option<Duration>,
}

/// What is waited for. Expressions are evaluated once, when the wait begins.
#[derive(Debug)]
pub enum WaitFor {
    /// For a duration.
    Timer(Template),
    /// Until a moment.
    Until(Template),
    Signal {
        name: String,
        correlation: Option<Template>,
    },
    Approval {
        assignees: Option<Template>,
        policy: ApprovalPolicy,
    },
    /// What a person says.
    Input {
        from: Option<Template>,
    },
    /// What a program reports.
    External,
}

impl WaitFor {
    pub const fn name(&self) -> &'static str {
        match self {
            WaitFor::Timer(_) => "timer",
            WaitFor::Until(_) => "until",
            WaitFor::Signal { .. } => "signal",
            WaitFor::Approval { .. } => "approval",
            WaitFor::Input { .. } => "input",
            WaitFor::External => "external",
        }
    }
}

#[derive(Debug)]
pub struct Map {
    pub over: Expression,
    /// At least 1.
    pub max_concurrency: u32,
    pub collect: Collect,
    /// Its items may find more items.
    pub discover: Option<Discover>,
    pub task: Task,
}

/// How the results of a map come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// The list of outputs; the first item that fails for good fails the map.
    All,
    /// A list of `{status, value, error}`; the map completes whatever its items did.
    AllSettled,
}

/// How urgent a job is among the jobs of its queue.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    /// Most urgent first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    pub const fn name(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Priority {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Priority::ALL
            .into_iter()
            .find(|priority| priority.name() == text)
            .ok_or_else(|| format!("`{text}` is no priority; there are high, normal and low"))
    }
}

/// Enforced by the coordinator. `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// From the moment an attempt is scheduled until a worker starts it.
    pub schedule_to_start: Option<Duration>,
    /// From the start of an attempt until its outcome.
    pub start_to_close: Option<Duration>,
    /// Longest silence of a worker that runs the attempt.
    pub heartbeat: Option<Duration>,
}

/// When a node with several incoming edges runs. Edges that cannot be taken any more count as settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// Every edge is settled and at least one was taken.
    All,
    /// The first edge that is taken.
    Any,
    /// As `Any`, and whatever still runs only for this join is given up.
    Race,
    /// This many edges are taken.
    Quorum(u32),
    /// As `All`, and a predecessor that failed counts as settled instead of failing the execution.
    AllSettled,
}

/// Which of a node's edges are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// Every edge that holds.
    #[default]
    All,
    /// The first edge that holds, in document order.
    First,
}

#[derive(Debug)]
pub struct Edge {
    pub from: NodeIx,
    pub to: NodeIx,
    pub kind: EdgeKind,
    /// The loop whose next iteration this edge asks for: it leads from the body back to the header.
    pub back: Option<LoopIx>,
    /// The outermost loop this edge leaves: not taken in one iteration, it may still be taken in a later one.
    pub exits: Option<LoopIx>,
}

#[derive(Debug)]
pub enum EdgeKind {
    Plain,
    /// Taken when the expression gives `true`.
    When(Expression),
    /// Taken when the step failed for good in one of the categories; empty is `any`.
    Catch(Vec<ErrorCategory>),
}

#[derive(Debug)]
pub struct Loop {
    pub header: NodeIx,
    pub parent: Option<LoopIx>,
    /// Iterations in all, the first one included; at least 1.
    pub max_iterations: u32,
    /// Every node inside, nested loops included.
    pub body: Vec<NodeIx>,
    /// Every loop directly or indirectly inside.
    pub inner: Vec<LoopIx>,
    /// Nodes whose innermost loop this is, plus loops directly inside: what must settle before an iteration has.
    pub members: u32,
    /// Edges whose `exits` is this loop.
    pub exits: Vec<EdgeIx>,
    /// Distance from the outermost loop, which has 0.
    pub depth: u32,
    /// It is no loop but a graph that is taken in: run once for each time that it is entered, and its rounds count nowhere.
    pub frame: Option<FrameIx>,
}

impl CompiledGraph {
    /// Some task is given the messages that come for the execution.
    pub fn takes_messages(&self) -> bool {
        self.nodes.iter().any(|node| matches!(&node.kind, NodeKind::Task(task) if task.inbox))
    }

    /// Some child is given what comes for the execution.
    pub fn hands_messages_on(&self) -> bool {
        self.nodes.iter().any(|node| matches!(&node.kind, NodeKind::Graph(sub) if sub.spawn.inherit_inbox))
    }

    /// Why the inputs do not fit the schema that the document declares; empty when they do. At most twenty reasons.
    pub fn input_problems(&self, inputs: &serde_json::Value) -> Vec<String> {
        self.inputs.as_deref().map(|schema| super::compile::input_problems(schema, inputs)).unwrap_or_default()
    }

    pub fn node(&self, ix: NodeIx) -> Option<&Node> {
        self.nodes.get(ix.0 as usize)
    }

    pub fn frame(&self, ix: FrameIx) -> Option<&Frame> {
        self.frames.get(ix.0 as usize)
    }

    /// The node of this name, seen from inside a frame or from the graph itself.
    pub fn named(&self, frame: Option<FrameIx>, name: &str) -> Option<NodeIx> {
        match frame {
            Some(frame) => self.frame(frame)?.by_name.get(name).copied(),
            None => self.by_name.get(name).copied(),
        }
    }

    /// The name of a node as its document has it: also of the one by which a graph that is taken in is entered.
    pub fn shown_name(&self, ix: NodeIx) -> &str {
        let Some(node) = self.node(ix) else { return "" };
        match &node.kind {
            NodeKind::Enter(frame) => {
                self.frame(*frame).and_then(|frame| self.node(frame.exit)).map_or("", |exit| &exit.name)
            }
            _ => &node.name,
        }
    }

    pub fn edge(&self, ix: EdgeIx) -> Option<&Edge> {
        self.edges.get(ix.0 as usize)
    }
}

/// The graphs that a log names, loaded before it is folded. Immutable.
#[derive(Debug, Clone, Default)]
pub struct Graphs(HashMap<GraphDigest, Arc<CompiledGraph>>);

impl Graphs {
    pub fn one(graph: Arc<CompiledGraph>) -> Self {
        Graphs(HashMap::from([(graph.digest, graph)]))
    }

    pub fn insert(&mut self, graph: Arc<CompiledGraph>) {
        self.0.insert(graph.digest, graph);
    }

    pub fn get(&self, digest: &GraphDigest) -> Option<&Arc<CompiledGraph>> {
        self.0.get(digest)
    }
}
