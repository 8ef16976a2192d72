//! Given a graph, when this is commanded, then that follows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::{Actor, Causation, ChainHash, Envelope, Event, EventData, codec};
use crate::execution::{
    Command, Decided, Execution, ExecutionState, JobSpec, Rejection, Rest, StartRequest, Steer, Steering, Step,
    StepState,
};
use crate::graph::{CompiledGraph, Graphs, LimitOverrides, NodeIx, Source, compile};
use crate::id::{ControlId, ExecutionId, TenantId};
use crate::time::Timestamp;
use crate::wire::ClaimId;

/// When every scenario begins.
const NOON: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// States up to this many steps are compared after each command; a wider one only at the end.
const SMALL: usize = 200;

/// An execution under test, and its log.
///
/// When it goes out of scope, the log is folded anew, also from its stored form, and must give the same state.
pub(super) struct Scenario {
    pub(super) graph: Arc<CompiledGraph>,
    pub(super) graphs: Graphs,
    pub(super) execution: Execution,
    pub(super) now: Timestamp,
    /// One entry for each append.
    pub(super) log: Vec<Decided>,
}

/// A graph: `nodes: …`, and whatever else the document says.
#[track_caller]
pub(super) fn given(rest_of_document: &str) -> Scenario {
    let text = format!("stepstream: 1\nname: test\n{rest_of_document}");
    let graph = compile(&Source { name: "test.yaml", text: &text }).unwrap_or_else(|problems| panic!("{problems}"));
    given_graph(Arc::new(graph))
}

pub(super) fn given_graph(graph: Arc<CompiledGraph>) -> Scenario {
    let graphs = Graphs::one(graph.clone());
    let execution = Execution::empty(ExecutionId::from_bytes([7; 20]), TenantId::default_tenant());
    Scenario { graph, graphs, execution, now: NOON, log: Vec::new() }
}

pub(super) fn data(value: &Value) -> Data {
    Data::from_json(value).unwrap()
}

pub(super) fn error(category: ErrorCategory) -> ExecutionError {
    ExecutionError::new(category, format!("a {category}"))
}

/// A failure that no default policy tries again.
pub(super) fn fatal() -> ExecutionError {
    error(ErrorCategory::ValidationError)
}

impl Scenario {
    pub(super) fn request(&self, inputs: &Value) -> StartRequest {
        StartRequest {
            graph: self.graph.digest,
            inputs: data(inputs),
            planning: false,
            parent: None,
            origin: None,
            request_hash: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: LimitOverrides::default(),
            background: None,
            governed: false,
        }
    }

    /// Commands something that must be accepted.
    #[track_caller]
    pub(super) fn when(&mut self, command: Command) -> &mut Self {
        self.attempt(command).unwrap_or_else(|rejection| panic!("refused: {rejection}"));
        self
    }

    /// Commands something that must be refused.
    #[track_caller]
    pub(super) fn refused(&mut self, command: Command) -> Rejection {
        match self.attempt(command) {
            Ok(decided) => panic!("accepted: {:?}", decided.events),
            Err(rejection) => rejection,
        }
    }

    /// Commands something, and checks what must hold whatever the answer is.
    #[track_caller]
    pub(super) fn attempt(&mut self, command: Command) -> Result<Decided, Rejection> {
        if self.execution.steps().len() > SMALL {
            let decided = self.execution.decide_in_place(&self.graphs, command, self.now)?;
            self.log.push(decided.clone());
            return Ok(decided);
        }
        let before = self.execution.clone();
        let aside = self.execution.decide(&self.graphs, command.clone(), self.now);
        assert_eq!(self.execution, before, "deciding aside changes nothing");
        let decided = self.execution.decide_in_place(&self.graphs, command, self.now);
        assert_eq!(decided, aside, "deciding aside and in place agree");
        match &decided {
            Ok(decided) => {
                let mut folded = before;
                let first = folded.sequence() + 1;
                for (sequence, data) in (first..).zip(&decided.events) {
                    let event = Event { sequence, at: decided.at, data: data.clone() };
                    folded.apply(&self.graphs, &event).unwrap_or_else(|error| panic!("{data:?} is refused: {error}"));
                }
                assert_eq!(folded, self.execution, "applying gives what deciding gave");
                assert!(!decided.events.is_empty(), "what is accepted leaves a trace");
                self.log.push(decided.clone());
            }
            Err(rejection) => {
                assert!(!matches!(rejection, Rejection::Internal(_)), "an illegal decision: {rejection}");
                assert_eq!(self.execution, before, "a refusal changes nothing");
            }
        }
        if let (ExecutionState::Waiting(reason), true) =
            (self.execution.state(), self.execution.waits().next().is_some() && self.execution.waits_on_steps)
        {
            let waiting: Vec<u32> = self.execution.waits().map(|(step, _)| step).collect();
            assert_eq!(
                waiting,
                self.execution.open_steps().collect::<Vec<_>>(),
                "it waits only when all that is open does"
            );
            assert!(self.execution.waits().any(|(_, run)| run.wait().reason() == reason), "and says for what");
        }
        self.rests_as_it_is_owed();
        if let Some(at) = self.execution.next_deadline() {
            let tick = Command::Tick { chance: 0.5 };
            let progress = self.execution.decide(&self.graphs, tick, at);
            assert!(progress.is_ok_and(|decided| !decided.events.is_empty()), "a tick at the deadline makes progress");
        }
        decided
    }

    /// Somebody asks for something that must be done; every request has an id of its own.
    #[track_caller]
    pub(super) fn asks(&mut self, by: &str, what: Steering) -> &mut Self {
        let steer = self.ask(by, what);
        self.when(Command::Steer(Box::new(steer)));
        assert_eq!(self.log.last().unwrap().denied, None, "the request is carried out");
        self
    }

    /// Somebody asks for something that must be refused without a trace.
    #[track_caller]
    pub(super) fn asks_in_vain(&mut self, by: &str, what: Steering) -> Rejection {
        let steer = self.ask(by, what);
        self.refused(Command::Steer(Box::new(steer)))
    }

    pub(super) fn ask(&self, by: &str, what: Steering) -> Steer {
        let at = self.execution.sequence().to_be_bytes();
        let id = ControlId::derived("test", &[&at, format!("{what:?}").as_bytes()]);
        Steer { id, by: by.to_owned(), what }
    }

    /// What it is said to wait for is what a search through it finds.
    #[track_caller]
    fn rests_as_it_is_owed(&self) {
        let execution = &self.execution;
        let jobs = execution.open_steps().filter(|step| execution.job(&self.graph, *step).is_some()).count();
        assert_eq!(execution.in_hand() as usize, jobs, "{}", self.story());
        let runs = execution.state() == ExecutionState::Running;
        let hears = runs || (execution.waits_on_steps && execution.state() != ExecutionState::Paused);
        let rest = match execution.next_deadline() {
            _ if execution.owed_attempt().is_some() || execution.owes_its_parent() => Rest::Owes,
            _ if execution.state().is_terminal() && !execution.cancelled_children().is_empty() => Rest::Owes,
            _ if execution.state().is_terminal() => {
                execution.owed_callback().and_then(|callback| callback.due()).map_or(Rest::Over, Rest::Until)
            }
            _ if runs && (jobs > 0 || execution.has_more()) => Rest::Owes,
            _ if !execution.owed_children(&self.graph).is_empty() => Rest::Owes,
            _ if !execution.owed_permits().is_empty() => Rest::Owes,
            _ if !execution.owed_messages().is_empty() => Rest::Owes,
            _ if hears && !execution.cancelled_children().is_empty() => Rest::Owes,
            Some(due) => Rest::Until(due),
            None => Rest::Command,
        };
        assert_eq!(execution.rest(), rest, "{}", self.story());
    }

    #[track_caller]
    pub(super) fn starts(&mut self, inputs: Value) -> &mut Self {
        let request = self.request(&inputs);
        self.when(Command::Create(Box::new(request)))
    }

    pub(super) fn after(&mut self, time: Duration) -> &mut Self {
        self.now = self.now.after(time);
        self
    }

    #[track_caller]
    pub(super) fn ticks(&mut self) -> &mut Self {
        self.when(tick())
    }

    /// The step of a node, as `node` or `node[index]`: the latest one that was scheduled.
    #[track_caller]
    pub(super) fn find(&self, name: &str) -> u32 {
        (0_u32..)
            .zip(self.execution.steps())
            .filter(|(_, step)| self.name_of(step) == name)
            .last()
            .unwrap_or_else(|| panic!("no step of `{name}`: {}", self.story()))
            .0
    }

    fn short_name(&self, node: u32, index: Option<u32>) -> String {
        let name = &self.graph.node(NodeIx(node)).unwrap().name;
        index.map_or_else(|| name.clone(), |index| format!("{name}[{index}]"))
    }

    /// `node`, `node[index]`, and `~node` for what undoes it.
    fn name_of(&self, step: &Step) -> String {
        let name = self.short_name(step.node(), step.index());
        match (step.undoes(), step.reconciles()) {
            (Some(_), _) => format!("~{name}"),
            (_, Some(_)) => format!("?{name}"),
            _ => name,
        }
    }

    pub(super) fn attempt_of(&self, step: u32) -> u32 {
        self.execution.step(step).unwrap().attempt()
    }

    #[track_caller]
    pub(super) fn started(&self, name: &str) -> Command {
        let step = self.find(name);
        Command::Started { step, attempt: self.attempt_of(step), worker: "worker-1".to_owned(), claim: ClaimId(1) }
    }

    #[track_caller]
    pub(super) fn completed(&self, name: &str, output: &Value) -> Command {
        let step = self.find(name);
        completed(step, self.attempt_of(step), output)
    }

    #[track_caller]
    pub(super) fn failed(&self, name: &str, error: ExecutionError) -> Command {
        let step = self.find(name);
        failed(step, self.attempt_of(step), error)
    }

    /// A worker begins a step.
    #[track_caller]
    pub(super) fn begins(&mut self, name: &str) -> &mut Self {
        let command = self.started(name);
        self.when(command)
    }

    /// A worker asks for the present attempt at a step.
    #[track_caller]
    pub(super) fn claim(&self, name: &str, claim: u128) -> Command {
        let step = self.find(name);
        let (attempt, worker) = (self.attempt_of(step), "worker-1".to_owned());
        Command::Claim { step, attempt, worker, claim: ClaimId(claim) }
    }

    #[track_caller]
    pub(super) fn claims(&mut self, name: &str, claim: u128) -> &mut Self {
        let command = self.claim(name, claim);
        self.when(command)
    }

    /// A worker completes a step with null.
    #[track_caller]
    pub(super) fn completes(&mut self, name: &str) -> &mut Self {
        self.gives(name, Value::Null)
    }

    /// A worker completes a step.
    #[track_caller]
    pub(super) fn gives(&mut self, name: &str, output: Value) -> &mut Self {
        let command = self.completed(name, &output);
        self.when(command)
    }

    /// A worker completes the step of this ordinal: in wide graphs, finding it by name takes long.
    #[track_caller]
    pub(super) fn completes_step(&mut self, step: u32) -> &mut Self {
        self.when(completed(step, self.attempt_of(step), &Value::Null))
    }

    /// A worker fails a step for good.
    #[track_caller]
    pub(super) fn fails(&mut self, name: &str) -> &mut Self {
        self.fails_with(name, fatal())
    }

    #[track_caller]
    pub(super) fn fails_with(&mut self, name: &str, error: ExecutionError) -> &mut Self {
        let command = self.failed(name, error);
        self.when(command)
    }

    #[track_caller]
    pub(super) fn is(&mut self, state: ExecutionState) -> &mut Self {
        let story: String = self.story().chars().take(2000).collect();
        assert_eq!(self.execution.state(), state, "{story} {:?}", self.execution.error());
        self
    }

    /// Then it has completed with this output.
    #[track_caller]
    pub(super) fn then_gives(&mut self, output: Value) -> &mut Self {
        self.is(ExecutionState::Completed);
        assert_eq!(self.execution.output().to_json(), output);
        self
    }

    /// Then it has failed with this code, or with this category where there is no code.
    #[track_caller]
    pub(super) fn then_fails_with(&mut self, code: &str) -> &mut Self {
        self.is(ExecutionState::Failed);
        let error = self.execution.error().expect("a failed execution says why");
        assert_eq!(error.code.as_ref().map_or(error.category.name(), ErrorCode::as_str), code, "{error}");
        self
    }

    /// Every step so far in the order of scheduling, as `node[index]@iterations outcome`.
    pub(super) fn story(&self) -> String {
        let word = |state| match state {
            StepState::Completed => "ok",
            StepState::Failed => "failed",
            StepState::Skipped => "skipped",
            StepState::Scheduled => "due",
            StepState::Running => "runs",
            StepState::Waiting => "waits",
            StepState::Claimed => "claimed",
            StepState::InDoubt => "in doubt",
            StepState::Pending => "?",
        };
        let steps = self.execution.steps().iter().map(|step| {
            let mut name = self.name_of(step);
            if !step.iterations().is_empty() {
                let iterations: Vec<String> = step.iterations().iter().map(u32::to_string).collect();
                name = format!("{name}@{}", iterations.join("."));
            }
            format!("{name} {}", word(step.state()))
        });
        steps.collect::<Vec<_>>().join(", ")
    }

    #[track_caller]
    pub(super) fn then(&mut self, story: &str) -> &mut Self {
        assert_eq!(self.story(), story);
        self
    }

    pub(super) fn owed(&self) -> Vec<JobSpec> {
        self.execution.owed(&self.graph)
    }

    /// Then the outside is owed attempts at these steps.
    #[track_caller]
    pub(super) fn owes(&mut self, names: &str) -> &mut Self {
        let owed = self.owed();
        let owed = owed.iter().map(|job| self.name_of(self.execution.step(job.ordinal).unwrap()));
        assert_eq!(owed.collect::<Vec<_>>().join(" "), names);
        self
    }

    /// Then the last append held these events.
    #[track_caller]
    pub(super) fn records(&mut self, kinds: &str) -> &mut Self {
        let last = &self.log.last().unwrap().events;
        assert_eq!(last.iter().map(EventData::name).collect::<Vec<_>>().join(" "), kinds);
        self
    }

    /// The input that the job for a step carries.
    #[track_caller]
    pub(super) fn input(&self, name: &str) -> Value {
        let job = self.execution.job(&self.graph, self.find(name)).expect("a job");
        job.input.to_json()
    }

    /// Completes whatever is owed, oldest first, with what `output` gives for a name, until nothing is owed.
    #[track_caller]
    pub(super) fn runs_out(&mut self, mut output: impl FnMut(&str) -> Value) -> &mut Self {
        loop {
            if self.execution.has_more() && self.execution.state() == ExecutionState::Running {
                self.ticks();
                continue;
            }
            let Some(step) = self.execution.open_steps().find(|step| self.execution.job(&self.graph, *step).is_some())
            else {
                return self;
            };
            let held = self.execution.step(step).unwrap();
            let name = self.name_of(held);
            self.when(completed(step, self.attempt_of(step), &output(&name)));
        }
    }

    /// Every event, at its place.
    pub(super) fn events(&self) -> Vec<Event> {
        let all = self.log.iter().flat_map(|append| append.events.iter().map(|data| (append.at, data.clone())));
        (1_u64..).zip(all).map(|(sequence, (at, data))| Event { sequence, at, data }).collect()
    }

    pub(super) fn refold(&self) -> Execution {
        let (id, tenant) = (self.execution.id(), self.execution.tenant().clone());
        Execution::fold(id, tenant, &self.graphs, &self.events()).expect("what was decided folds")
    }

    /// Every event as it comes back from its stored form.
    pub(super) fn stored(&self) -> Vec<Event> {
        let mut head = codec::genesis(self.execution.tenant(), self.execution.id());
        let mut events = Vec::new();
        for append in &self.log {
            let encoded = store(&head, append);
            codec::verify(&head, &encoded.body, &encoded.hash).expect("what was stored verifies");
            let first = events.len() as u64 + 1;
            events.extend(codec::decode(&encoded.body).expect("what was stored is readable").into_events(first));
            head = encoded.hash;
        }
        events
    }
}

pub(super) fn store(head: &ChainHash, append: &Decided) -> codec::Encoded {
    let envelope = Envelope { at: append.at, actor: Actor::System, causation: Causation::Deadline, trace: None };
    codec::encode(head, &envelope, append.events.clone(), [3; 16]).expect("events are encodable")
}

pub(super) fn tick() -> Command {
    Command::Tick { chance: 0.5 }
}

pub(super) fn completed(step: u32, attempt: u32, output: &Value) -> Command {
    let (worker, claim, output) = ("worker-1".to_owned(), ClaimId(1), data(output));
    Command::Completed { step, attempt, worker, claim, output, duration_us: 5 }
}

pub(super) fn failed(step: u32, attempt: u32, error: ExecutionError) -> Command {
    Command::Failed {
        step,
        attempt,
        worker: "worker-1".to_owned(),
        claim: ClaimId(1),
        error,
        duration_us: 5,
        chance: 0.5,
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if std::thread::panicking() || self.log.is_empty() {
            return;
        }
        assert_eq!(self.refold().state_hash(), self.execution.state_hash(), "a cold fold gives the same state");
        let stored = self.stored();
        assert_eq!(stored, self.events(), "storing changes no event");
    }
}
