//! What follows from what is ready: steps scheduled, skipped or done at once, maps carried on, the execution ended.
//!
//! This is the only place that evaluates expressions. What they gave is recorded (the input, the items, the edges, the
//! output), so that a fold never evaluates and a changed expression library never changes an old execution.

use super::decide::{Decision, Rejection};
use super::lifecycle::ExecutionState;
use super::limits::Room;
use super::scope::View;
use super::state::Ready;
use super::step::StepState;
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::{Ending, EventData, Input, NewStep, SkipReason};
use crate::graph::expression::{ExpressionError, OutputView, Reference, Template};
use crate::graph::{CompiledGraph, Edge, EdgeKind, FrameIx, Join, Loop, Node, NodeIx, NodeKind, Reserve, Routing};

/// Events after which one append stops taking in more consequences; a tick at once goes on with the rest. Keeps a row
/// of the log, and the time that one decision takes, bounded whatever the graph's width.
pub const EVENTS_PER_APPEND: usize = 4096;
/// Bytes of values after which it stops: inputs that expressions build are as large as their documents make them.
pub const BYTES_PER_APPEND: usize = 8 * 1024 * 1024;
/// Steps of expressions after which it stops: about a fifth of a second of an optimised build.
pub const WORK_PER_APPEND: u64 = 2_000_000;

impl Decision<'_> {
    /// Records consequences until none is left, the append is full, or the execution is over.
    pub(super) fn advance(&mut self) -> Result<(), Rejection> {
        self.look_at_the_clock()?;
        loop {
            match self.execution.state {
                ExecutionState::Running | ExecutionState::Paused | ExecutionState::Waiting(_) => {}
                _ => return Ok(()),
            }
            if self.execution.compensation.is_some() {
                self.compensate()?;
                return self.settle_down();
            }
            if self.is_full() && self.execution.has_more() {
                return Ok(()); // A tick goes on.
            }
            if let Some(loser) = self.execution.losing.last().copied() {
                let over = self.execution.is_cut(self.graph, loser);
                let reason = if over { SkipReason::SubGraphOver } else { SkipReason::Lost };
                self.emit(EventData::StepSkipped { step: loser, reason, new: None })?;
                continue;
            }
            if self.execution.usage.short {
                return self.settle_down(); // Whatever ends next goes on.
            }
            if let Some(ready) = self.execution.ready.front().copied() {
                if self.must_wait(ready) {
                    return self.settle_down();
                }
                if self.at_breakpoint(ready) {
                    if self.execution.state == ExecutionState::Running {
                        let name = self.graph.shown_name(NodeIx(ready.node()));
                        let reason = format!("breakpoint before `{name}`");
                        self.emit(EventData::ExecutionPaused { reason, breakpoint: Some(ready.node()) })?;
                    }
                    return self.settle_down();
                }
                let needs = match ready {
                    Ready::Run(ix) if !self.execution.has_lost(ix) => self.needs_of(ix),
                    _ => None,
                };
                if let Some(needs) = needs {
                    match self.room_for(needs)? {
                        Room::Enough => self.follow(ready)?,
                        Room::No(Some(error)) => self.refuse_to_run(ready.node(), error)?,
                        Room::Later | Room::No(None) => return self.settle_down(),
                    }
                } else {
                    self.follow(ready)?;
                }
            } else if let Some(map_step) = self.execution.busy_maps.first().copied() {
                if !self.carry_on_map(map_step)? {
                    return self.settle_down(); // There is no room for its next item, whatever else there is.
                }
            } else {
                break;
            }
        }
        if self.execution.state == ExecutionState::Running
            && self.execution.unsettled == 0
            && self.execution.open.is_empty()
            && !self.execution.wants_a_child()
            && !self.execution.has_orphans()
        {
            return self.complete_execution(None);
        }
        self.wait_if_all_do()?;
        self.settle_down()
    }

    /// Paused, and the last attempt has ended: that is worth saying.
    fn settle_down(&mut self) -> Result<(), Rejection> {
        if self.execution.is_getting_quiet(self.at) {
            self.emit(EventData::ExecutionQuiescent {})?;
        }
        Ok(())
    }

    /// Somebody wants to look before the node runs, and has not.
    fn at_breakpoint(&self, ready: Ready) -> bool {
        let Ready::Run(ix) = ready else { return false };
        // Of a graph that is taken in: before it is entered.
        let named = match self.graph.node(NodeIx(ix)).map(|node| &node.kind) {
            Some(NodeKind::Enter(frame)) => self.graph.frame(*frame).map_or(ix, |frame| frame.exit.0),
            Some(NodeKind::Inline(_)) => return false,
            _ => ix,
        };
        self.execution.breakpoints.contains(&named)
            && self.execution.passing != Some(ix)
            && !self.execution.has_lost(ix)
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_PER_APPEND || self.bytes >= BYTES_PER_APPEND || self.work.get() >= WORK_PER_APPEND
    }

    /// What a node takes from the budget, if it takes anything.
    fn needs_of(&self, ix: u32) -> Option<Reserve> {
        match &self.graph.node(NodeIx(ix))?.kind {
            NodeKind::Task(task) => Some(task.reserve),
            NodeKind::Graph(sub) => Some(Self::need_of(&sub.spawn)),
            _ => None,
        }
    }

    /// What expressions see at a node that is about to run.
    pub(super) fn view(&self, place: NodeIx) -> View<'_> {
        View::before(self.execution, self.graph, place, &self.work)
    }

    /// An `end` node completes the execution, which nothing does while it is held. What is ready behind the node waits
    /// with it: the execution is about to be over.
    fn must_wait(&self, ready: Ready) -> bool {
        let Ready::Run(ix) = ready else { return false };
        (self.execution.state != ExecutionState::Running || self.execution.wants_a_child())
            && self
                .graph
                .node(NodeIx(ix))
                .is_some_and(|node| matches!(node.kind, NodeKind::End { .. }) && node.frame.is_none())
    }

    fn follow(&mut self, ready: Ready) -> Result<(), Rejection> {
        let ix = ready.node();
        let graph = self.graph;
        let Some(node) = graph.node(NodeIx(ix)) else { return Err(Rejection::UnknownStep(ix)) };
        let iterations = self.execution.scope_of(graph, node);
        let step = self.next_ordinal();
        if !self.may_have_step(step, None)? {
            return Ok(());
        }
        match ready {
            Ready::Skip(_) => {
                let new = Some(NewStep { node: ix, iterations });
                self.emit(EventData::StepSkipped { step, reason: SkipReason::NotTaken, new })
            }
            Ready::Run(_) | Ready::Unmet(_) if self.execution.has_lost(ix) => {
                let new = Some(NewStep { node: ix, iterations });
                self.emit(EventData::StepSkipped { step, reason: SkipReason::Lost, new })
            }
            Ready::Unmet(_) => {
                self.schedule(step, ix, iterations, Input::None)?;
                let Join::Quorum(needed) = node.join else { return Err(Rejection::UnknownStep(step)) };
                let arrived = self.execution.nodes.get(ix as usize).map_or(0, |run| run.taken);
                let error = ExecutionError::new(
                    ErrorCategory::ValidationError,
                    format!("the quorum of {needed} cannot be met: only {arrived} edges were taken"),
                )
                .with_code(ErrorCode::new("quorum_unmet"));
                self.fail_step(step, error, 0)
            }
            Ready::Run(_) => self.run(step, ix, node, iterations),
        }
    }

    fn run(&mut self, step: u32, ix: u32, node: &Node, iterations: Vec<u32>) -> Result<(), Rejection> {
        let place = NodeIx(ix);
        match &node.kind {
            NodeKind::Task(task) => {
                let view = self.view(place);
                let input = self.input(task.with.as_ref(), &view, self.execution.named_inputs(self.graph, node.frame));
                let given = input.map_err(|error| expression_failed(&error));
                match given.and_then(|input| Ok((input, self.permit_for(task, &view)?))) {
                    Ok((input, permit)) => {
                        self.schedule(step, ix, iterations, input)?;
                        if task.inbox {
                            self.deliver_inbox(step)?;
                        }
                        self.await_permit(step, permit)
                    }
                    Err(error) => {
                        self.schedule(step, ix, iterations, Input::None)?;
                        self.fail_step(step, error, 0)
                    }
                }
            }
            NodeKind::Map(map) => {
                let view = self.view(place);
                let items = map.over.evaluate(&view);
                self.schedule(step, ix, iterations, Input::None)?;
                match items {
                    Ok(items) if items.elements().is_some() => self.emit(EventData::MapExpanded { step, items }),
                    Ok(other) => {
                        let error = ExecutionError::new(
                            ErrorCategory::ValidationError,
                            format!("`{}` gave {other:?}; a map needs a list", map.over.source()),
                        )
                        .with_code(ErrorCode::new("expression_failed"));
                        self.fail_step(step, error, 0)
                    }
                    Err(error) => self.fail_step(step, expression_failed(&error), 0),
                }
            }
            NodeKind::Graph(sub) => {
                let inputs = self.execution.named_inputs(self.graph, node.frame);
                let input = self.input(sub.with.as_ref(), &self.view(place), inputs);
                match input {
                    Ok(input) => {
                        self.schedule(step, ix, iterations, input)?;
                        self.spawn(step, sub)
                    }
                    Err(error) => {
                        self.schedule(step, ix, iterations, Input::None)?;
                        self.fail_step(step, expression_failed(&error), 0)
                    }
                }
            }
            NodeKind::Wait(wait) => {
                let view = self.view(place);
                let shown = self.input(wait.with.as_ref(), &view, Input::None);
                let waits = self.wait_for(wait, &view);
                match shown {
                    Ok(shown) => {
                        self.schedule(step, ix, iterations, shown)?;
                        self.begin_wait(step, waits)
                    }
                    Err(error) => {
                        self.schedule(step, ix, iterations, Input::None)?;
                        self.fail_step(step, expression_failed(&error), 0)
                    }
                }
            }
            NodeKind::Enter(frame) => self.enter(step, ix, *frame, iterations),
            NodeKind::Inline(frame) => self.leave(step, ix, *frame, iterations),
            NodeKind::Route => {
                self.schedule(step, ix, iterations, Input::None)?;
                self.complete_step(step, Data::null(), 0)
            }
            NodeKind::Transform(template) => {
                let value = template.evaluate(&self.view(place));
                self.schedule(step, ix, iterations, Input::None)?;
                match value {
                    Ok(output) => self.complete_step(step, output, 0),
                    Err(error) => self.fail_step(step, expression_failed(&error), 0),
                }
            }
            NodeKind::Fail { category, message } => {
                let text = message.evaluate(&self.view(place));
                self.schedule(step, ix, iterations, Input::None)?;
                let error = match text.map(|text| text.to_json()) {
                    Ok(serde_json::Value::String(text)) => ExecutionError::new(*category, text),
                    Ok(other) => ExecutionError::new(*category, other.to_string()),
                    Err(error) => expression_failed(&error),
                };
                self.fail_step(step, error, 0)
            }
            NodeKind::End { output } => {
                let value = output.as_ref().map(|output| output.evaluate(&self.view(place))).transpose();
                self.schedule(step, ix, iterations, Input::None)?;
                match value {
                    Ok(value) => {
                        let value = value.unwrap_or_default();
                        self.complete_step(step, value.clone(), 0)?;
                        if node.frame.is_some() {
                            return Ok(()); // It ends the graph that it is in.
                        }
                        self.close_open_steps(SkipReason::ExecutionEnded)?;
                        self.complete_execution(Some(value))
                    }
                    Err(error) => self.fail_step(step, expression_failed(&error), 0),
                }
            }
        }
    }

    /// The node would run, and the budget has no room for it: it fails, and an error edge may take that.
    fn refuse_to_run(&mut self, ix: u32, error: ExecutionError) -> Result<(), Rejection> {
        let Some(node) = self.graph.node(NodeIx(ix)) else { return Err(Rejection::UnknownStep(ix)) };
        let (step, iterations) = (self.next_ordinal(), self.execution.scope_of(self.graph, node));
        self.schedule(step, ix, iterations, Input::None)?;
        self.fail_step(step, error, 0)
    }

    pub(super) fn schedule(
        &mut self,
        step: u32,
        node: u32,
        iterations: Vec<u32>,
        input: Input,
    ) -> Result<(), Rejection> {
        self.emit(EventData::StepScheduled { step, node, iterations, parent: None, index: None, input, undoes: None })
    }

    pub(super) fn next_ordinal(&self) -> u32 {
        u32::try_from(self.execution.steps.len()).unwrap_or(u32::MAX)
    }

    /// The input that a mapping gives; a value that the log holds already is named.
    pub(super) fn input(
        &self,
        with: Option<&Template>,
        view: &View<'_>,
        default: Input,
    ) -> Result<Input, ExpressionError> {
        let Some(template) = with else { return Ok(default) };
        let named = match template.reference() {
            Some(Reference::Inputs) => Some(self.execution.named_inputs(self.graph, view.frame)),
            Some(Reference::Item) if view.item.is_some() => Some(Input::Item),
            Some(Reference::StepOutput(name)) => self.named_output(view.frame, &name),
            _ => None,
        };
        match named {
            Some(named) => Ok(named),
            None => template.evaluate(view).map(Input::Value),
        }
    }

    /// A node's latest output by its step; not for maps, whose output is many.
    fn named_output(&self, frame: Option<FrameIx>, name: &str) -> Option<Input> {
        let ix = self.graph.named(frame, name)?;
        if matches!(self.graph.node(ix)?.kind, NodeKind::Map(_)) {
            return None;
        }
        let last = self.execution.nodes.get(ix.0 as usize)?.last?;
        (self.execution.step(last)?.state == StepState::Completed).then_some(Input::Output(last))
    }

    /// Answers false when it could not go on.
    fn carry_on_map(&mut self, map_step: u32) -> Result<bool, Rejection> {
        let graph = self.graph;
        let unknown = || Rejection::UnknownStep(map_step);
        let run = self.execution.maps.get(&map_step).ok_or_else(unknown)?;
        if let Some(failed) = run.failed {
            let open: Vec<u32> = run.steps.iter().copied().filter(|step| self.execution.open.contains(step)).collect();
            self.close_items(open, SkipReason::MapFailed)?;
            let item = self.execution.step(failed).ok_or_else(unknown)?;
            let (index, cause) = (item.index.unwrap_or(0), item.error.as_deref());
            let error = match cause {
                Some(cause) => {
                    let message = format!("item {index} failed: {}", cause.message);
                    ExecutionError { message, ..cause.clone() }
                }
                None => ExecutionError::new(ErrorCategory::KernelInternal, format!("item {index} failed")),
            };
            return self.fail_step(map_step, error, 0).map(|()| true);
        }
        if run.goal_met() {
            let open: Vec<u32> = run.steps.iter().copied().filter(|step| self.execution.open.contains(step)).collect();
            self.close_items(open, SkipReason::GoalMet)?;
            return self.complete_step(map_step, Data::null(), 0).map(|()| true);
        }
        if run.settled == run.total {
            return self.complete_step(map_step, Data::null(), 0).map(|()| true);
        }
        let index = run.steps.len() as u32;
        let step = self.execution.step(map_step).ok_or_else(unknown)?;
        let (node_ix, iterations) = (step.node, step.iterations.clone());
        let Some(NodeKind::Map(map)) = graph.node(NodeIx(node_ix)).map(|node| &node.kind) else {
            return Err(unknown());
        };
        let ordinal = self.next_ordinal();
        if !self.may_have_step(ordinal, Some(map_step))? {
            return Ok(true);
        }
        let refused = match self.room_for(map.task.reserve)? {
            Room::Enough => None,
            Room::No(Some(error)) => Some(error),
            Room::Later | Room::No(None) => return Ok(false),
        };
        let run = self.execution.maps.get(&map_step).ok_or_else(unknown)?;
        let item = run.items.get(index as usize).ok_or_else(unknown)?;
        let view = View { item: Some((item, index)), ..self.view(NodeIx(node_ix)) };
        let input = self.input(map.task.with.as_ref(), &view, Input::Item);
        let given = input.map_err(|error| expression_failed(&error));
        let given = given.and_then(|input| Ok((input, self.permit_for(&map.task, &view)?)));
        let scheduled = |input| EventData::StepScheduled {
            step: ordinal,
            node: node_ix,
            iterations,
            parent: Some(map_step),
            index: Some(index),
            input,
            undoes: None,
        };
        match given {
            _ if refused.is_some() => {
                self.emit(scheduled(Input::None))?;
                refused.map_or(Ok(()), |error| self.fail_step(ordinal, error, 0))?;
            }
            Ok((input, permit)) => {
                self.emit(scheduled(input))?;
                self.await_permit(ordinal, permit)?;
            }
            Err(error) => {
                self.emit(scheduled(Input::None))?;
                self.fail_step(ordinal, error, 0)?;
            }
        }
        Ok(true)
    }

    /// A step has done its work: its edges are chosen and it is over.
    pub(super) fn complete_step(&mut self, ordinal: u32, output: Data, duration_us: u64) -> Result<(), Rejection> {
        let step = self.execution.step(ordinal).ok_or(Rejection::UnknownStep(ordinal))?;
        let (attempt, node_ix, is_item) = (step.attempt, step.node, step.parent.is_some());
        if let Some(of) = step.reconciles() {
            return self.reconciled(ordinal, of, output, duration_us);
        }
        if is_item || step.undoes.is_some() {
            let event = EventData::StepCompleted {
                step: ordinal,
                attempt,
                output,
                duration_us,
                taken: None,
                routing_error: None,
            };
            return self.emit(event);
        }
        let chosen = self.choose_edges(NodeIx(node_ix), ordinal, &output);
        let (taken, routing_error, fatal) = match chosen {
            Ok(taken) => (taken, None, false),
            Err(error) => {
                let caught = self.catching(NodeIx(node_ix), &error);
                let fatal = caught.is_empty();
                (Some(caught), Some(Box::new(error)), fatal)
            }
        };
        let error = routing_error.clone();
        self.emit(EventData::StepCompleted { step: ordinal, attempt, output, duration_us, taken, routing_error })?;
        match error {
            // In a graph that is taken in, that one has failed.
            Some(error) if fatal && self.execution.frame_around(self.graph, ordinal).is_none() => {
                self.fail_execution(*error, Some(ordinal))
            }
            _ => Ok(()),
        }
    }

    /// The edges that hold after a step gave `output`; `None` is every plain one.
    fn choose_edges(&self, ix: NodeIx, ordinal: u32, output: &Data) -> Result<Option<Vec<u32>>, ExecutionError> {
        let Some(node) = self.graph.node(ix) else { return Ok(None) };
        let edges = || (0_u32..).zip(node.out.iter().filter_map(|edge| self.graph.edge(*edge)));
        let guarded = edges().any(|(_, edge)| matches!(edge.kind, EdgeKind::When(_)));
        let mut taken = Vec::new();
        if guarded {
            let given = match &node.kind {
                NodeKind::Map(map) => self.execution.collected(ordinal, map.collect).unwrap_or(OutputView::One(output)),
                _ => OutputView::One(output),
            };
            let mut view = self.view(ix);
            view.ending = Some((ix, given));
            for (place, edge) in edges() {
                let holds = match &edge.kind {
                    EdgeKind::Plain => true,
                    EdgeKind::When(guard) => guard.holds(&view).map_err(|error| expression_failed(&error))?,
                    EdgeKind::Catch(_) => false,
                };
                if holds {
                    taken.push(place);
                    if node.routing == Routing::First {
                        break;
                    }
                }
            }
        } else {
            let plain = edges().filter(|(_, edge)| matches!(edge.kind, EdgeKind::Plain)).map(|(place, _)| place);
            match node.routing {
                Routing::All => taken.extend(plain),
                Routing::First => taken.extend(plain.take(1)),
            }
        }
        if taken.is_empty() && matches!(node.kind, NodeKind::Route) {
            return Err(ExecutionError::new(
                ErrorCategory::ValidationError,
                format!("no edge of the route `{}` holds; add one without `when` as the default", node.name),
            )
            .with_code(ErrorCode::new("no_route")));
        }
        let spent = taken
            .iter()
            .filter_map(|place| self.graph.edge(*node.out.get(*place as usize)?))
            .find_map(|edge| self.spent_loop(edge));
        if let Some(spent) = spent {
            return Err(loop_limit(self.graph, spent, ""));
        }
        Ok(if guarded || node.routing == Routing::First { Some(taken) } else { None })
    }

    /// The loop that an edge back would take beyond its last iteration.
    fn spent_loop(&self, edge: &Edge) -> Option<&Loop> {
        let back = edge.back?.0 as usize;
        let (each, run) = (self.graph.loops.get(back)?, self.execution.loops.get(back)?);
        (run.iteration >= each.max_iterations).then_some(each)
    }

    /// The error edges that name this category, with their place.
    fn matching(&self, ix: NodeIx, category: ErrorCategory) -> impl Iterator<Item = (u32, &Edge)> {
        let out = self.graph.node(ix).map_or(&[][..], |node| &node.out);
        let edges = (0_u32..).zip(out).filter_map(|(place, edge)| Some((place, self.graph.edge(*edge)?)));
        edges.filter(move |(_, edge)| match &edge.kind {
            EdgeKind::Catch(categories) => categories.is_empty() || categories.contains(&category),
            EdgeKind::Plain | EdgeKind::When(_) => false,
        })
    }

    /// The error edges that take this error, by their place. One that leads back into a loop at its bound takes nothing.
    fn catching(&self, ix: NodeIx, error: &ExecutionError) -> Vec<u32> {
        let first = self.graph.node(ix).is_some_and(|node| node.routing == Routing::First);
        let catching = self.matching(ix, error.category).filter(|(_, edge)| self.spent_loop(edge).is_none());
        catching.map(|(place, _)| place).take(if first { 1 } else { usize::MAX }).collect()
    }

    /// A step has failed for good: an error edge takes it, a join tolerates it, or the execution fails with it.
    pub(super) fn fail_step(
        &mut self,
        ordinal: u32,
        mut error: ExecutionError,
        duration_us: u64,
    ) -> Result<(), Rejection> {
        let step = self.execution.step(ordinal).ok_or(Rejection::UnknownStep(ordinal))?;
        let (attempt, node_ix, is_item) = (step.attempt, NodeIx(step.node), step.parent.is_some());
        let given_up = self.gives_up == Some(ordinal);
        let failed =
            |error, taken| EventData::StepFailed { step: ordinal, attempt, error, duration_us, taken, given_up };
        if is_item || step.is_aside() {
            // Its map says what follows; undoing goes on; a doubt that could not be resolved stays one.
            return self.emit(failed(error, None));
        }
        let mut caught = self.catching(node_ix, &error);
        if caught.is_empty()
            && let Some(spent) = self.matching(node_ix, error.category).find_map(|(_, edge)| self.spent_loop(edge))
        {
            // It would have been tried again in another iteration: that there is none is what it fails of.
            error = loop_limit(self.graph, spent, &format!("; the last one failed: {}", error.message));
            caught = self.catching(node_ix, &error);
        }
        if !caught.is_empty() {
            return self.emit(failed(error, Some(caught)));
        }
        let tolerated = self.graph.node(node_ix).is_some_and(|node| {
            node.out.iter().filter_map(|edge| self.graph.edge(*edge)).any(|edge| {
                !matches!(edge.kind, EdgeKind::Catch(_))
                    && edge.back.is_none()
                    && self.graph.node(edge.to).is_some_and(|target| target.join == Join::AllSettled)
            })
        });
        if tolerated {
            return self.emit(failed(error, Some(Vec::new())));
        }
        self.emit(failed(error.clone(), None))?;
        if self.execution.frame_around(self.graph, ordinal).is_some() {
            return Ok(()); // The graph that it is in has failed.
        }
        self.fail_execution(error, Some(ordinal))
    }

    /// Closes items of a map, and whoever asks about those that are in doubt.
    fn close_items(&mut self, items: Vec<u32>, reason: SkipReason) -> Result<(), Rejection> {
        let asked = items.iter().filter_map(|item| self.execution.reconciliation_of(*item));
        let asked: Vec<u32> = asked.filter(|asked| self.execution.open.contains(asked)).collect();
        asked
            .into_iter()
            .chain(items)
            .try_for_each(|step| self.emit(EventData::StepSkipped { step, reason, new: None }))
    }

    /// Closes every open step, each with an event: nothing is left behind as running for ever.
    pub(super) fn close_open_steps(&mut self, reason: SkipReason) -> Result<(), Rejection> {
        let open: Vec<u32> = self.execution.open.iter().rev().copied().collect();
        open.into_iter().try_for_each(|step| self.emit(EventData::StepSkipped { step, reason, new: None }))
    }

    pub(super) fn fail_execution(&mut self, error: ExecutionError, step: Option<u32>) -> Result<(), Rejection> {
        self.close_open_steps(SkipReason::ExecutionFailed)?;
        self.end_as(Ending::Failed { error, step })
    }

    fn complete_execution(&mut self, given: Option<Data>) -> Result<(), Rejection> {
        let graph = self.graph;
        let output = match (given, &graph.output) {
            (Some(given), _) => Ok(given),
            (None, Some(template)) => template.evaluate(&View {
                execution: self.execution,
                graph,
                frame: None,
                inputs: self.execution.inputs.clone(),
                ending: None,
                error: None,
                item: None,
                undoing: None,
                iteration: None,
                work: &self.work,
            }),
            (None, None) => Ok(self.last_output(None)),
        };
        match output {
            Ok(output) => {
                self.bind(&output)?;
                self.emit(EventData::ExecutionCompleted { output })
            }
            Err(error) => self.fail_execution(expression_failed(&error), None),
        }
    }

    /// Of a graph that declares no output: what its only last node gave.
    pub(super) fn last_output(&self, frame: Option<FrameIx>) -> Data {
        let ends = |node: &Node| node.out.is_empty() && node.frame == frame;
        let mut last = self.graph.nodes.iter().zip(&self.execution.nodes).filter(|(node, _)| ends(node));
        let (Some((_, run)), None) = (last.next(), last.next()) else { return Data::null() };
        let Some(ordinal) = run.last else { return Data::null() };
        // A list that is too large for one value is not worth failing for: nobody asked for it by name.
        self.execution.output_of(self.graph, ordinal).and_then(|output| output.to_data().ok()).unwrap_or_default()
    }
}

fn loop_limit(graph: &CompiledGraph, spent: &Loop, and: &str) -> ExecutionError {
    let header = graph.shown_name(spent.header);
    let limit = spent.max_iterations;
    ExecutionError::new(
        ErrorCategory::QuotaExceeded,
        format!("the loop of `{header}` reached its limit of {limit} iterations (max_iterations){and}"),
    )
    .with_code(ErrorCode::new("max_iterations"))
}

pub(super) fn expression_failed(error: &ExpressionError) -> ExecutionError {
    ExecutionError::new(ErrorCategory::ValidationError, error.to_string())
        .with_code(ErrorCode::new("expression_failed"))
}
