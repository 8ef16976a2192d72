//! How each event changes an execution. The only code that does; what steers an execution stands in `steered`.

mod background;
mod children;
mod doubts;
mod inheritance;
mod permits;
mod restored;
mod spent;
mod steered;

use std::collections::BTreeSet;

use super::background::{BackgroundRun, CallbackState};
use super::flow::Ending;
use super::kept::KeptSignals;
use super::lifecycle::{ExecutionAction, ExecutionState, IllegalTransition};
use super::state::{ChildRun, Deadline, Discovery, Execution, LoopRun, MapRun, NodeRun, Ready, Step};
use super::step::{IllegalStepTransition, StepAction, StepState};
use crate::data::Data;
use crate::event::{ChildState, Event, EventData, Input, NewStep, SkipReason, Spent};
use crate::graph::{Collect, CompiledGraph, GraphDigest, Graphs, NodeIx, NodeKind, Task};
use crate::time::Timestamp;

/// Why an event cannot be folded: the log, or the build that reads it, is wrong. The state is unfit for use afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("event {found} does not follow event {last}")]
    Gap { last: u64, found: u64 },
    #[error("the first event of a log is `execution_created`, not `{found}`")]
    NotCreated { found: &'static str },
    #[error("event {sequence} creates an execution that exists")]
    CreatedTwice { sequence: u64 },
    #[error("event {sequence} needs the graph {digest}, which is not loaded")]
    UnknownGraph { sequence: u64, digest: GraphDigest },
    #[error("event {sequence} names step {step}, which there is not")]
    UnknownStep { sequence: u64, step: u32 },
    #[error("event {sequence} names node {node}, which the graph does not have")]
    UnknownNode { sequence: u64, node: u32 },
    #[error("event {sequence} mints step {found}; the next one is {expected}")]
    StepOutOfOrder { sequence: u64, expected: u32, found: u32 },
    #[error("event {sequence} schedules node {node}, which nothing has made ready")]
    NotReady { sequence: u64, node: u32 },
    #[error("event {sequence} is about attempt {found} of step {step}, which is at attempt {current}")]
    WrongAttempt { sequence: u64, step: u32, current: u32, found: u32 },
    #[error("event {sequence} is not legal")]
    Illegal {
        sequence: u64,
        #[source]
        source: IllegalTransition,
    },
    #[error("event {sequence} is not legal")]
    IllegalStep {
        sequence: u64,
        #[source]
        source: IllegalStepTransition,
    },
    #[error("event {sequence} makes no sense here: {reason}")]
    Nonsense { sequence: u64, reason: &'static str },
}

impl Execution {
    /// Folds a log from its beginning.
    pub fn fold<'a>(
        id: crate::id::ExecutionId,
        tenant: crate::id::TenantId,
        graphs: &Graphs,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<Self, ApplyError> {
        let mut execution = Execution::empty(id, tenant);
        for event in events {
            execution.apply(graphs, event)?;
        }
        Ok(execution)
    }

    /// Folds one event into the state.
    pub fn apply(&mut self, graphs: &Graphs, event: &Event) -> Result<(), ApplyError> {
        let Event { sequence, at, data } = event;
        let (sequence, at) = (*sequence, *at);
        if sequence != self.sequence + 1 {
            return Err(ApplyError::Gap { last: self.sequence, found: sequence });
        }
        if let EventData::ExecutionCreated { graph, .. } = data {
            if self.sequence != 0 {
                return Err(ApplyError::CreatedTwice { sequence });
            }
            let compiled = graphs.get(graph).ok_or(ApplyError::UnknownGraph { sequence, digest: *graph })?;
            self.create(compiled, at, data);
            self.sequence = sequence;
            self.last_at = at;
            return Ok(());
        }
        if self.sequence == 0 {
            return Err(ApplyError::NotCreated { found: data.name() });
        }
        let graph = graphs.get(&self.graph).ok_or(ApplyError::UnknownGraph { sequence, digest: self.graph })?;
        Fold { execution: self, graph, sequence, at }.apply(data)?;
        self.watch_idleness(graph, data, at);
        self.sequence = sequence;
        self.last_at = at;
        Ok(())
    }

    fn create(&mut self, compiled: &CompiledGraph, at: Timestamp, data: &EventData) {
        let EventData::ExecutionCreated {
            graph,
            graph_name,
            inputs,
            planning,
            parent,
            origin,
            request_hash,
            metadata: _,
            limits,
            background,
            governed,
        } = data
        else {
            return;
        };
        self.graph = *graph;
        self.graph_name.clone_from(graph_name);
        self.inputs = inputs.clone();
        self.state = if *planning { ExecutionState::Planning } else { ExecutionState::Created };
        self.parent = parent.as_deref().cloned();
        self.depth = parent.as_ref().map_or(0, |parent| parent.depth);
        self.limits.clone_from(&**limits);
        self.governed = *governed;
        self.origin.clone_from(origin);
        self.request_hash.clone_from(request_hash);
        self.created_at = at;
        self.changed_at = at;
        self.background = background.as_deref().map(|config| {
            let mut run = BackgroundRun::new(config);
            run.queued_at = (config.run_at.is_none_or(|moment| moment <= at) && !planning).then_some(at);
            Box::new(run)
        });
        self.nodes = vec![NodeRun::default(); compiled.nodes.len()];
        self.loops = vec![LoopRun::default(); compiled.loops.len()];
        let plain = compiled.nodes.iter().filter(|node| node.in_loop.is_none()).count();
        let outermost = compiled.loops.iter().filter(|each| each.parent.is_none()).count();
        self.unsettled = u32::try_from(plain + outermost).unwrap_or(u32::MAX);
    }
}

/// One event at its place, about to change one execution.
struct Fold<'a> {
    execution: &'a mut Execution,
    graph: &'a CompiledGraph,
    sequence: u64,
    at: Timestamp,
}

impl Fold<'_> {
    fn apply(mut self, data: &EventData) -> Result<(), ApplyError> {
        match data {
            EventData::ExecutionCreated { .. } => Err(ApplyError::CreatedTwice { sequence: self.sequence }),
            EventData::ExecutionStarted {} => {
                self.move_to(ExecutionAction::Start)?;
                self.execution.started_at = Some(self.at);
                if let Some(limit) = self.execution.limits(self.graph).wall_time {
                    let due = self.execution.own_time(self.at).after(limit);
                    self.execution.deadlines.insert((due, Deadline::WallTime));
                }
                self.background_started();
                self.execution.enter(self.graph);
                Ok(())
            }
            EventData::ExecutionPaused { reason, breakpoint } => self.paused(reason, *breakpoint),
            EventData::ExecutionResumed {} => self.resumed(),
            EventData::ExecutionQuiescent {} => self.quiescent(),
            EventData::StoreRestored { .. } => self.restored(),
            EventData::ExecutionWaiting { reason, step, control } => self.waits(*reason, *step, *control),
            EventData::InputReceived { input, step, control } => self.input_received(input, *step, *control),
            EventData::ControlRecorded { control, outcome, .. } => self.controlled(*control, *outcome),
            EventData::BreakpointSet { node, on, control } => self.breakpoint(*node, *on, *control),
            EventData::ChildSpawned { step, child, graph, background, on_cancel, inherit_inbox, share } => {
                let spawned = ChildRun {
                    id: *child,
                    graph: graph.clone(),
                    background: *background,
                    on_cancel: *on_cancel,
                    state: ChildState::Wanted,
                    input: Data::null(),
                    inherit_inbox: *inherit_inbox,
                    owed: BTreeSet::new(),
                    share: *share,
                    used: Spent::default(),
                };
                self.child_spawned(*step, spawned)
            }
            EventData::ChildStarted { step } => self.child_started(*step),
            EventData::ChildFinished { step, state, used } => self.child_finished(*step, *state, *used),
            EventData::StepWaiting { step, wait } => self.step_waits(*step, wait),
            EventData::PermitGranted { step, attempt, from } => self.permit_granted(*step, *attempt, *from),
            EventData::SignalReceived { control, name, correlation, payload } => {
                self.signalled(*control, name, correlation.as_deref(), payload)
            }
            EventData::SignalDelivered { signal, step } => self.signal_delivered(*signal, *step),
            EventData::ApprovalDecided { control, step, by, approved, comment, form } => {
                self.decided(*control, *step, by, *approved, comment.as_deref(), form)
            }
            EventData::InboxReceived { control, message, inherited } => {
                self.inbox_received(*control, message, *inherited)
            }
            EventData::InboxForwarded { step, messages } => self.inbox_forwarded(*step, messages),
            EventData::InboxDelivered { step, messages } => self.inbox_delivered(*step, messages),
            EventData::BackgroundQueued {} => self.background_queued(),
            EventData::TargetBindingApplied { target: _, path: _, value, error } => self.bound(value, error.as_deref()),
            EventData::BackgroundRetryScheduled { next, due } => self.retry_scheduled(*next, *due),
            EventData::BackgroundRetryStarted {} => self.retry_started(),
            EventData::ParentTold {} => self.parent_told(),
            EventData::CallbackAttempted { attempt, status, error, due } => {
                self.callback_attempted(*attempt, *status, error.as_deref(), CallbackState::Owed, Some(*due))
            }
            EventData::CallbackDelivered { attempt, status } => {
                self.callback_attempted(*attempt, *status, None, CallbackState::Delivered, None)
            }
            EventData::CallbackGivenUp { attempt, status, error } => {
                self.callback_attempted(*attempt, *status, error.as_deref(), CallbackState::GivenUp, None)
            }
            EventData::CallbackRenewed { control } => self.callback_renewed(*control),
            EventData::ExecutionCompleted { output } => {
                self.end(ExecutionAction::Complete)?;
                self.background_ended(None);
                self.execution.output = output.clone();
                Ok(())
            }
            EventData::ExecutionFailed { error, step, undone: _ } => {
                if let Some(step) = step {
                    self.step(*step)?;
                }
                self.end(ExecutionAction::Fail)?;
                self.background_ended(Some((error, *step)));
                self.execution.error = Some(error.clone());
                Ok(())
            }
            EventData::ExecutionCancelled { reason, undone: _ } => {
                self.end(ExecutionAction::Cancel)?;
                self.background_ended(None);
                self.execution.reason = Some(reason.clone());
                Ok(())
            }
            EventData::CompensationStarted { ending } => {
                self.legal(ExecutionAction::Compensate)?;
                let begun = self.execution.begin_compensation(ending);
                self.sense(begun)?;
                self.move_to(ExecutionAction::Compensate)
            }
            EventData::StepScheduled { step, undoes: Some(undone), input, .. } => {
                self.undo_scheduled(*step, *undone, input)
            }
            EventData::StepScheduled { step, node, iterations, parent, index, input, undoes: None } => {
                self.scheduled(*step, *node, iterations, *parent, *index, input)
            }
            EventData::StepStarted { step, attempt, worker, claim: _ } => self.started(*step, *attempt, worker),
            EventData::StepClaimed { step, attempt, worker, claim, lease_ms: _ } => {
                self.claimed(*step, *attempt, worker, *claim)
            }
            EventData::StepInDoubt { step, attempt, cause } => self.in_doubt(*step, *attempt, *cause),
            EventData::ReconciliationScheduled { step, of, key } => self.reconciliation(*step, *of, key),
            EventData::StepResolved { step, attempt, control, .. } => self.resolved(*step, *attempt, *control),
            EventData::StepDeadLettered { step, attempt, reason, error, .. } => {
                self.dead_lettered(*step, *attempt, *reason, error)
            }
            EventData::StepCompleted { step, attempt, output, duration_us: _, taken, routing_error } => {
                self.legal(ExecutionAction::StepCompleted)?;
                self.end_step(*step, *attempt, StepAction::Complete)?;
                if self.task_of(*step).is_some() {
                    self.execution.failures_in_a_row = 0;
                }
                let at = *step as usize;
                self.execution.steps[at].output = output.clone();
                self.execution.steps[at].error = routing_error.clone();
                if self.execution.undo_ended(*step) || self.execution.steps[at].reconciles.is_some() {
                    return Ok(());
                }
                self.execution.counts.completed += 1;
                self.execution.keep_for_undo(self.graph, *step);
                if self.ends_frame(*step, taken.as_deref(), routing_error.is_some()) {
                    return Ok(());
                }
                self.after_step(*step, Ending::Completed(taken.as_deref()));
                Ok(())
            }
            EventData::StepFailed { step, attempt, error, duration_us: _, taken, given_up } => {
                self.legal(ExecutionAction::StepFailed)?;
                self.end_step(*step, *attempt, StepAction::Fail)?;
                self.given_up(*step, *attempt, *given_up);
                self.execution.failures_in_a_row += 1;
                self.execution.steps[*step as usize].error = Some(Box::new(error.clone()));
                if self.execution.undo_ended(*step) || self.execution.steps[*step as usize].reconciles.is_some() {
                    return Ok(());
                }
                self.execution.counts.failed += 1;
                // Nobody tolerates it: the execution is about to fail, and its edges stay as they are.
                let ending = taken.as_deref().map(Ending::Failed);
                self.after_failure(*step, ending);
                Ok(())
            }
            EventData::StepRetryScheduled { step, attempt, error, duration_us: _, due, given_up } => {
                self.legal(ExecutionAction::StepFailed)?;
                self.attempt(*step, *attempt)?;
                self.step_moves(*step, StepAction::Retry)?;
                self.waits_no_more(*step);
                self.given_up(*step, *attempt, *given_up);
                self.execution.failures_in_a_row += 1;
                let due = self.execution.own_time(self.at).after(due.since(self.at));
                self.set_deadline(*step, Some((due, Deadline::Retry(*step))));
                let step = &mut self.execution.steps[*step as usize];
                step.error = Some(Box::new(error.clone()));
                step.started_at = None;
                step.worker = None;
                step.claim = None;
                Ok(())
            }
            EventData::StepRescheduled { step, attempt } => {
                self.legal(ExecutionAction::StepStarted)?;
                let current = self.step(*step)?.attempt;
                if *attempt != current + 1 {
                    return Err(self.wrong_attempt(*step, current, *attempt));
                }
                self.step_moves(*step, StepAction::Reschedule)?;
                self.waits_no_more(*step);
                let (sequence, at) = (self.sequence, self.at);
                let each = &mut self.execution.steps[*step as usize];
                each.attempt = *attempt;
                each.started_at = None;
                each.worker = None;
                each.claim = None;
                each.position = sequence;
                each.scheduled_at = at;
                each.told = false;
                self.await_start(*step);
                Ok(())
            }
            EventData::StepSkipped { step, reason, new } => self.skipped(*step, *reason, new.as_ref()),
            EventData::MapExpanded { step, items } => self.expanded(*step, items),
            EventData::ArtifactStored { artifact, step, content_hash, size_bytes, record } => {
                self.note(*step)?;
                if let Some(record) = record {
                    let at = (self.at, self.sequence);
                    self.execution.artifacts.keep(*artifact, *step, (content_hash, *size_bytes), at, record);
                }
                Ok(())
            }
            EventData::ToolCallStarted { step, .. }
            | EventData::ToolCallCompleted { step, .. }
            | EventData::CheckpointSaved { step, .. }
            | EventData::Custom { step, .. } => self.note(*step),
            EventData::DecisionRecorded { step, .. } => self.choice(*step),
            EventData::StepDiscovered { discovered_by, name, depth, map, input, .. } => {
                self.found(*discovered_by, name, *depth, *map, input)
            }
            EventData::GoalEvaluated { step, status, .. } => self.goal(*step, *status),
            EventData::UsageRecorded { step, prompt_tokens, completion_tokens, cost, attempt, model: _ } => {
                self.used(*step, *prompt_tokens, *completion_tokens, *cost)?;
                self.told(*step, *attempt)
            }
            EventData::LimitWarned { limit, max, day, .. } => self.limit_warned(*limit, *max, *day),
            EventData::LimitReached { limit, held, tenant, .. } => self.limit_reached(*limit, *held, *tenant),
            EventData::BudgetSet { control, max_cost, max_tokens } => self.budget_set(*control, *max_cost, *max_tokens),
        }
    }

    /// Kinds that record something and change nothing else.
    fn note(&mut self, step: Option<u32>) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        if let Some(step) = step {
            self.step(step)?;
        }
        self.execution.notes += 1;
        Ok(())
    }

    fn legal(&self, action: ExecutionAction) -> Result<ExecutionState, ApplyError> {
        self.execution.state.after(action).map_err(|source| ApplyError::Illegal { sequence: self.sequence, source })
    }

    fn move_to(&mut self, action: ExecutionAction) -> Result<(), ApplyError> {
        self.execution.state = self.legal(action)?;
        self.execution.changed_at = self.at;
        Ok(())
    }

    /// The execution is over: no step may be open.
    fn end(&mut self, action: ExecutionAction) -> Result<(), ApplyError> {
        self.legal(action)?;
        if !self.execution.open.is_empty() {
            return Err(ApplyError::Nonsense { sequence: self.sequence, reason: "steps are still open" });
        }
        self.sense(self.execution.may_end(action))?;
        self.move_to(action)?;
        let execution = &mut *self.execution;
        execution.ended_at = Some(self.at);
        execution.paused_wait = None;
        execution.waits_on_steps = false;
        execution.quiet_from = None;
        execution.paused_at = None;
        execution.passing = None;
        execution.stopped_before = None;
        execution.signals = KeptSignals::default();
        execution.denied.clear();
        execution.inbox.clear();
        execution.forget_relayed();
        execution.deadlines.clear();
        execution.idle_due = None;
        execution.ready.clear();
        execution.busy_maps.clear();
        execution.losing.clear();
        execution.usage.unreported.clear();
        execution.forget_undo();
        Ok(())
    }

    /// What an event asks for, or why it makes no sense.
    fn sense<T>(&self, result: Result<T, &'static str>) -> Result<T, ApplyError> {
        result.map_err(|reason| ApplyError::Nonsense { sequence: self.sequence, reason })
    }

    fn step(&self, ordinal: u32) -> Result<&Step, ApplyError> {
        self.execution.step(ordinal).ok_or(ApplyError::UnknownStep { sequence: self.sequence, step: ordinal })
    }

    fn wrong_attempt(&self, step: u32, current: u32, found: u32) -> ApplyError {
        ApplyError::WrongAttempt { sequence: self.sequence, step, current, found }
    }

    fn attempt(&self, ordinal: u32, attempt: u32) -> Result<(), ApplyError> {
        let current = self.step(ordinal)?.attempt;
        if attempt == current { Ok(()) } else { Err(self.wrong_attempt(ordinal, current, attempt)) }
    }

    fn step_moves(&mut self, ordinal: u32, action: StepAction) -> Result<(), ApplyError> {
        if action != StepAction::Skip && self.execution.losing.contains(&ordinal) {
            return Err(ApplyError::Nonsense { sequence: self.sequence, reason: "the step has lost its race" });
        }
        let before = self.step(ordinal)?.state;
        // What ends a wait is a move of its own: a step that only waits for its next attempt has nothing to arrive.
        let action = match action {
            StepAction::Complete if self.execution.waits.contains_key(&ordinal) => StepAction::Arrive,
            StepAction::Fail if self.execution.waits.contains_key(&ordinal) => StepAction::GiveUp,
            other => other,
        };
        let next =
            before.after(action).map_err(|source| ApplyError::IllegalStep { sequence: self.sequence, source })?;
        let was_in_hand = self.execution.is_in_hand(ordinal);
        self.execution.steps[ordinal as usize].state = next;
        match (was_in_hand, self.execution.is_in_hand(ordinal)) {
            (true, false) => self.execution.in_hand = self.execution.in_hand.saturating_sub(1),
            (false, true) => self.execution.in_hand += 1,
            _ => {}
        }
        let is_work = |state| matches!(state, StepState::Running | StepState::Claimed);
        if is_work(before) != is_work(next) && self.task_of(ordinal).is_some() {
            let count = &mut self.execution.at_work;
            *count = if is_work(next) { *count + 1 } else { count.saturating_sub(1) };
        }
        Ok(())
    }

    fn set_deadline(&mut self, ordinal: u32, deadline: Option<(Timestamp, Deadline)>) {
        let execution = &mut *self.execution;
        let step = &mut execution.steps[ordinal as usize];
        if let Some(old) = step.deadline.take() {
            execution.deadlines.remove(&old);
        }
        if let Some(new) = deadline {
            execution.deadlines.insert(new);
            step.deadline = Some(new);
        }
    }

    fn task_of(&self, ordinal: u32) -> Option<&Task> {
        self.execution.task_of(self.graph, ordinal)
    }

    /// The execution waits, or does not any more: jobs are withheld meanwhile, so no worker is late.
    fn wait_for_workers(&mut self) {
        let due = |step: &u32| self.execution.step(*step).is_some_and(|step| step.state == StepState::Scheduled);
        for ordinal in self.execution.open.iter().copied().filter(due).collect::<Vec<_>>() {
            self.await_start(ordinal);
        }
    }

    /// An attempt waits for a worker from now on; while the execution waits itself, for as long as it must. While it is
    /// paused its clock stands still.
    fn await_start(&mut self, ordinal: u32) {
        let waits = matches!(self.execution.state, ExecutionState::Waiting(_)) || self.execution.paused_wait.is_some();
        let limit = self.task_of(ordinal).and_then(|task| task.timeouts.schedule_to_start).filter(|_| !waits);
        let now = self.execution.own_time(self.at);
        let deadline = limit.map(|limit| (now.after(limit), Deadline::ScheduleToStart(ordinal)));
        self.set_deadline(ordinal, deadline);
    }

    fn mint(&mut self, ordinal: u32, step: Step) -> Result<(), ApplyError> {
        let expected = self.execution.steps.len() as u32;
        if ordinal != expected {
            return Err(ApplyError::StepOutOfOrder { sequence: self.sequence, expected, found: ordinal });
        }
        self.execution.steps.push(step);
        Ok(())
    }

    fn new_step(&self, node: u32, iterations: &[u32], state: StepState) -> Step {
        Step {
            node,
            iterations: iterations.to_vec(),
            parent: None,
            index: None,
            state,
            attempt: 1,
            input: Input::None,
            output: Data::null(),
            error: None,
            skip_reason: None,
            position: self.sequence,
            scheduled_at: self.at,
            started_at: None,
            ended_at: None,
            worker: None,
            deadline: None,
            undoes: None,
            reconciles: None,
            claim: None,
            told: false,
        }
    }

    fn scheduled(
        &mut self,
        ordinal: u32,
        node: u32,
        iterations: &[u32],
        parent: Option<u32>,
        index: Option<u32>,
        input: &Input,
    ) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        let sequence = self.sequence;
        if self.graph.node(NodeIx(node)).is_none() {
            return Err(ApplyError::UnknownNode { sequence, node });
        }
        match (parent, index) {
            (None, None) => match self.execution.ready.front() {
                Some(Ready::Run(front) | Ready::Unmet(front)) if *front == node && !self.execution.has_lost(node) => {}
                _ => return Err(ApplyError::NotReady { sequence, node }),
            },
            (Some(parent), Some(index)) => {
                let map = self.execution.maps.get(&parent).filter(|_| self.execution.open.contains(&parent));
                let fits = map.is_some_and(|map| map.can_schedule() && map.steps.len() as u32 == index)
                    && !self.execution.losing.contains(&parent);
                if !fits || self.step(parent)?.node != node {
                    return Err(ApplyError::NotReady { sequence, node });
                }
            }
            _ => return Err(ApplyError::Nonsense { sequence, reason: "an item has both a map and an index" }),
        }
        let step =
            Step { parent, index, input: input.clone(), ..self.new_step(node, iterations, StepState::Scheduled) };
        self.mint(ordinal, step)?;
        let execution = &mut *self.execution;
        execution.open.insert(ordinal);
        execution.in_hand += 1;
        if let Some(map_step) = parent {
            if let Some(map) = execution.maps.get_mut(&map_step) {
                map.steps.push(ordinal);
                map.in_flight += 1;
            }
            self.review_map(map_step);
        } else {
            execution.ready.pop_front();
            execution.passing = None;
            execution.run_for_race(self.graph, node, ordinal);
        }
        self.set_aside(ordinal);
        self.await_start(ordinal);
        Ok(())
    }

    fn undo_scheduled(&mut self, ordinal: u32, undone: u32, input: &Input) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        self.sense(self.execution.may_undo(undone))?;
        let Step { node, iterations, index, .. } = self.step(undone)?.clone();
        let new = self.new_step(node, &iterations, StepState::Scheduled);
        self.mint(ordinal, Step { index, input: input.clone(), undoes: Some(undone), ..new })?;
        self.execution.open.insert(ordinal);
        self.execution.in_hand += 1;
        self.execution.undo_begun(ordinal);
        self.await_start(ordinal);
        Ok(())
    }

    fn started(&mut self, ordinal: u32, attempt: u32, worker: &str) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        self.attempt(ordinal, attempt)?;
        self.step_moves(ordinal, StepAction::Start)?;
        let limit = self.task_of(ordinal).and_then(|task| task.timeouts.start_to_close);
        let now = self.execution.own_time(self.at);
        let deadline = limit.map(|limit| (now.after(limit), Deadline::StartToClose(ordinal)));
        self.set_deadline(ordinal, deadline);
        let at = self.at;
        let step = &mut self.execution.steps[ordinal as usize];
        step.started_at = Some(at);
        step.worker = Some(worker.into());
        Ok(())
    }

    fn end_step(&mut self, ordinal: u32, attempt: u32, action: StepAction) -> Result<(), ApplyError> {
        self.attempt(ordinal, attempt)?;
        self.step_moves(ordinal, action)?;
        self.close(ordinal);
        Ok(())
    }

    /// The step is terminal: nothing waits for it, and its input is in the log for whoever asks.
    fn close(&mut self, ordinal: u32) {
        self.set_deadline(ordinal, None);
        self.give_back(ordinal);
        self.waits_no_more(ordinal);
        self.leave_permit(ordinal);
        let at = self.at;
        let execution = &mut *self.execution;
        execution.open.remove(&ordinal);
        execution.leave_race(self.graph, ordinal);
        let kept = execution.input_is_kept(self.graph, ordinal);
        let step = &mut execution.steps[ordinal as usize];
        step.ended_at = Some(at);
        if !kept {
            step.input = Input::None;
        }
        execution.taken.remove(&ordinal);
        if let Some(map) = execution.maps.get_mut(&ordinal) {
            if !kept {
                map.items = Vec::new();
            }
            execution.busy_maps.remove(&ordinal);
        }
    }

    /// A step ended and its edges are known: an item tells its map, any other step carries the execution on.
    fn after_step(&mut self, ordinal: u32, ending: Ending<'_>) {
        let step = &self.execution.steps[ordinal as usize];
        let (node, parent) = (step.node, step.parent);
        match parent {
            Some(map_step) => self.item_settled(map_step, None),
            None => {
                self.execution.nodes[node as usize].runs += 1;
                self.execution.nodes[node as usize].last = Some(ordinal);
                self.execution.settle_node(self.graph, node, Some(ordinal), ending);
            }
        }
    }

    fn after_failure(&mut self, ordinal: u32, ending: Option<Ending<'_>>) {
        let parent = self.execution.steps[ordinal as usize].parent;
        match (parent, ending) {
            (Some(map_step), _) => self.item_settled(map_step, Some(ordinal)),
            (None, Some(ending)) => self.after_step(ordinal, ending),
            // In a graph that is taken in, that one fails, and the graph around it goes on from there.
            (None, None) => {
                if let Some(frame) = self.execution.frame_around(self.graph, ordinal) {
                    self.execution.cut_frame(self.graph, frame, ordinal);
                }
            }
        }
    }

    /// A step that has completed ends the graph that it is in: it is an `end`, or nobody takes that its edges could not be
    /// chosen.
    fn ends_frame(&mut self, ordinal: u32, taken: Option<&[u32]>, misrouted: bool) -> bool {
        let Some(frame) = self.execution.frame_around(self.graph, ordinal) else { return false };
        let node = self.execution.step(ordinal).and_then(|step| self.graph.node(NodeIx(step.node)));
        let is_end = node.is_some_and(|node| matches!(node.kind, NodeKind::End { .. }));
        let ends = is_end || (misrouted && taken.is_some_and(<[u32]>::is_empty));
        if ends {
            self.execution.cut_frame(self.graph, frame, ordinal);
        }
        ends
    }

    fn item_settled(&mut self, map_step: u32, failed: Option<u32>) {
        if let Some(map) = self.execution.maps.get_mut(&map_step) {
            map.in_flight = map.in_flight.saturating_sub(1);
            map.settled += 1;
            if map.failed.is_none() && !map.tolerant {
                map.failed = failed;
            }
        }
        self.review_map(map_step);
    }

    fn review_map(&mut self, map_step: u32) {
        let execution = &mut *self.execution;
        let open = execution.open.contains(&map_step);
        let busy =
            open && !execution.losing.contains(&map_step) && execution.maps.get(&map_step).is_some_and(MapRun::is_busy);
        if busy {
            execution.busy_maps.insert(map_step);
        } else {
            execution.busy_maps.remove(&map_step);
        }
    }

    fn skipped(&mut self, ordinal: u32, reason: SkipReason, new: Option<&NewStep>) -> Result<(), ApplyError> {
        if self.execution.state.is_terminal() {
            // Closing what is open goes before the end, never after it.
            return Err(ApplyError::Nonsense { sequence: self.sequence, reason: "the execution is over" });
        }
        match new {
            Some(NewStep { node, iterations }) => {
                let sequence = self.sequence;
                if self.graph.node(NodeIx(*node)).is_none() {
                    return Err(ApplyError::UnknownNode { sequence, node: *node });
                }
                let due = match self.execution.ready.front() {
                    Some(Ready::Skip(front)) => front == node && reason == SkipReason::NotTaken,
                    Some(Ready::Run(front) | Ready::Unmet(front)) => {
                        front == node && reason == SkipReason::Lost && self.execution.has_lost(*node)
                    }
                    None => false,
                };
                if !due {
                    return Err(ApplyError::NotReady { sequence, node: *node });
                }
                let at = self.at;
                let step = Step {
                    skip_reason: Some(reason),
                    ended_at: Some(at),
                    ..self.new_step(*node, iterations, StepState::Skipped)
                };
                self.mint(ordinal, step)?;
                self.execution.counts.skipped += 1;
                self.execution.ready.pop_front();
                self.execution.settle_node(self.graph, *node, Some(ordinal), Ending::Skipped);
            }
            None => {
                let given_up = matches!(reason, SkipReason::Lost | SkipReason::SubGraphOver);
                if given_up && !self.execution.losing.contains(&ordinal) {
                    let reason = "the step has lost no race";
                    return Err(ApplyError::Nonsense { sequence: self.sequence, reason });
                }
                if self.step(ordinal)?.undoes.is_some() {
                    let reason = "what undoes a step is not skipped";
                    return Err(ApplyError::Nonsense { sequence: self.sequence, reason });
                }
                self.step_moves(ordinal, StepAction::Skip)?;
                self.close(ordinal);
                let step = &mut self.execution.steps[ordinal as usize];
                step.skip_reason = Some(reason);
                step.claim = None;
                if step.reconciles.is_some() {
                    return Ok(());
                }
                self.execution.counts.skipped += 1;
                let parent = step.parent;
                if let (SkipReason::MapFailed | SkipReason::GoalMet, Some(map_step)) = (reason, parent) {
                    self.item_settled(map_step, None);
                }
                if (reason, parent) == (SkipReason::Lost, None) {
                    let node = self.execution.steps[ordinal as usize].node;
                    self.execution.settle_node(self.graph, node, Some(ordinal), Ending::Skipped);
                }
            }
        }
        Ok(())
    }

    fn expanded(&mut self, ordinal: u32, items: &Data) -> Result<(), ApplyError> {
        self.legal(ExecutionAction::StepStarted)?;
        let sequence = self.sequence;
        let nonsense = |reason| ApplyError::Nonsense { sequence, reason };
        let node = self.step(ordinal)?.node;
        let Some(NodeKind::Map(map)) = self.graph.node(NodeIx(node)).map(|node| &node.kind) else {
            return Err(nonsense("only a map has items"));
        };
        if self.execution.maps.contains_key(&ordinal) {
            return Err(nonsense("the map has its items"));
        }
        let (max_concurrency, tolerant) = (map.max_concurrency, map.collect == Collect::AllSettled);
        let discovers = map.discover.is_some();
        let items = items.elements().ok_or_else(|| nonsense("the items are not a list"))?;
        self.step_moves(ordinal, StepAction::Start)?;
        self.set_deadline(ordinal, None);
        let at = self.at;
        self.execution.steps[ordinal as usize].started_at = Some(at);
        let total = items.len() as u32;
        let run = MapRun {
            items,
            total,
            max_concurrency,
            in_flight: 0,
            settled: 0,
            tolerant,
            failed: None,
            steps: Vec::new(),
            discovery: discovers
                .then(|| Box::new(Discovery { depths: vec![0; total as usize], ..Discovery::default() })),
        };
        self.execution.maps.insert(ordinal, run);
        self.execution.in_hand = self.execution.in_hand.saturating_sub(1); // From here on its items are the workers'.
        self.review_map(ordinal);
        Ok(())
    }
}
