//! What attempts put on record, and what follows: more work that was found, goals that are met, money that was spent.

use super::decide::{Command, Decision, Rejection};
use super::lifecycle::{ExecutionState, WaitReason};
use super::state::Execution;
use super::step::StepState;
use crate::cost::{ModelPricing, Money};
use crate::data::Data;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::note::{MAX_NOTES, Note};
use crate::event::{EventData, GoalStatus, Violation};
use crate::graph::{NodeIx, NodeKind};

impl Decision<'_> {
    /// Records the notes of an attempt together with its result.
    pub(super) fn noted(&mut self, notes: Vec<Note>, result: Command) -> Result<(), Rejection> {
        if let Command::Stopped { step, attempt, claim, .. } = &result {
            // Of an attempt that was stopped, only what it has used is true.
            let step = *step;
            self.reported_by(step, *attempt, *claim)?;
            for note in notes {
                if let Note::Usage { model, prompt_tokens, completion_tokens, cost } = note {
                    self.usage(step, None, model, prompt_tokens, completion_tokens, cost)?;
                }
            }
            return self.take(result);
        }
        let (Command::Completed { step, attempt, worker, claim, .. }
        | Command::NotStarted { step, attempt, worker, claim, .. }
        | Command::Failed { step, attempt, worker, claim, .. }) = &result
        else {
            return Err(Rejection::NotRecordable("notes without a result"));
        };
        let (step, attempt) = (*step, *attempt);
        let succeeded = matches!(result, Command::Completed { .. });
        let state = match self.reported_by(step, attempt, *claim) {
            Ok(state) => state,
            Err(stale @ Rejection::StaleAttempt { .. }) => return self.told_late(step, attempt, notes, stale),
            Err(other) => return Err(other),
        };
        let claims = self.task_of(step).is_some_and(|task| task.claim);
        if state == StepState::Scheduled && claims && succeeded {
            return Err(Rejection::NotClaimed { step, attempt });
        }
        if state == StepState::Scheduled && !claims {
            self.emit(EventData::StepStarted { step, attempt, worker: worker.clone(), claim: *claim })?;
        }
        if let Some(problem) = problem_of(&notes) {
            let error =
                ExecutionError::new(ErrorCategory::ValidationError, problem).with_code(ErrorCode::new("bad_notes"));
            return self.fail_step(step, error, 0);
        }
        if let Some(error) = self.too_many_artifacts(&notes) {
            return self.fail_step(step, error, 0);
        }
        for note in notes {
            self.note(step, note, succeeded)?;
        }
        self.look_at_usage()?;
        self.take(result)
    }

    fn note(&mut self, ordinal: u32, note: Note, succeeded: bool) -> Result<(), Rejection> {
        let step = Some(ordinal);
        match note {
            // Another attempt will find it again.
            Note::Discovered { .. } if !succeeded => Ok(()),
            Note::Discovered { name, input, source, reason } => self.discover(ordinal, name, input, source, reason),
            Note::ToolCall { id, name, input, output, error } => {
                self.emit(EventData::ToolCallStarted { step, tool_call_id: id.clone(), tool_name: name, input })?;
                self.emit(EventData::ToolCallCompleted { step, tool_call_id: id, output, error })
            }
            Note::Decision(record) => self.emit(EventData::DecisionRecorded { step, record }),
            // What did not succeed has met no goal.
            Note::Goal { status, .. } if !succeeded && ends_search(status) => Ok(()),
            Note::Goal { id, status, score, reason } => {
                self.emit(EventData::GoalEvaluated { step, goal_id: id, status, score, reason })
            }
            Note::Checkpoint { id, state_hash, wait } => {
                self.emit(EventData::CheckpointSaved { step, checkpoint_id: id, state_hash })?;
                if wait && succeeded { self.hold(WaitReason::Checkpoint) } else { Ok(()) }
            }
            Note::MemoryPressure { used, max } => {
                self.emit(EventData::LimitWarned { limit: Violation::MemoryLimit, current: used, max, day: None })?;
                self.hold(WaitReason::MemoryPressure)
            }
            Note::Usage { model, prompt_tokens, completion_tokens, cost } => {
                self.usage(ordinal, None, model, prompt_tokens, completion_tokens, cost)
            }
            // What an attempt that failed has stored may be what tells why.
            Note::Artifact(artifact) => self.stored(ordinal, *artifact),
            Note::Custom { event_type, data } => self.emit(EventData::Custom { step, event_type, data }),
        }
    }

    fn usage(
        &mut self,
        step: u32,
        attempt: Option<u32>,
        model: String,
        prompt_tokens: u64,
        completion_tokens: u64,
        cost: Option<Money>,
    ) -> Result<(), Rejection> {
        let cost = cost.unwrap_or_else(|| ModelPricing::of(&model).cost(prompt_tokens, completion_tokens));
        let step = Some(step);
        self.emit(EventData::UsageRecorded { step, model, prompt_tokens, completion_tokens, cost, attempt })
    }

    /// An attempt reports that was given up. Its result is refused; what it has used is spent all the same, and is put
    /// on record once.
    fn told_late(&mut self, step: u32, attempt: u32, notes: Vec<Note>, stale: Rejection) -> Result<(), Rejection> {
        let uses = notes.iter().any(|note| matches!(note, Note::Usage { .. }));
        if !uses || problem_of(&notes).is_some() || !self.execution.may_tell_late(step, attempt) {
            return Err(stale);
        }
        for note in notes {
            if let Note::Usage { model, prompt_tokens, completion_tokens, cost } = note {
                self.usage(step, Some(attempt), model, prompt_tokens, completion_tokens, cost)?;
            }
        }
        self.denied = Some(stale);
        self.look_at_usage()
    }

    /// Holds what runs until somebody has done something about it. What is held already, or undoes what it has done,
    /// goes on as it does.
    fn hold(&mut self, reason: WaitReason) -> Result<(), Rejection> {
        if self.execution.state != ExecutionState::Running || self.execution.is_ending() {
            return Ok(());
        }
        self.emit(EventData::ExecutionWaiting { reason, step: None, control: None })
    }

    /// One more item for the map that the step belongs to, within the bounds that the graph declares.
    fn discover(
        &mut self,
        ordinal: u32,
        name: String,
        input: Data,
        source_type: crate::event::StepSourceType,
        reason: String,
    ) -> Result<(), Rejection> {
        let Some(step) = self.execution.step(ordinal) else { return Err(Rejection::UnknownStep(ordinal)) };
        let (node, map, index) = (step.node, step.parent, step.index.unwrap_or(0));
        let bounds = match self.graph.node(NodeIx(node)).map(|node| &node.kind) {
            Some(NodeKind::Map(map)) => map.discover,
            _ => None,
        };
        let (Some(map), Some(bounds)) = (map, bounds) else {
            // Nobody declared that it may: on record, and nothing comes of it.
            let (discovered_by, depth, map) = (Some(ordinal), 0, None);
            return self.emit(EventData::StepDiscovered {
                name,
                discovered_by,
                source_type,
                reason,
                depth,
                map,
                input,
            });
        };
        let Some(found) = self.execution.maps.get(&map).and_then(|run| run.discovery.as_deref()) else {
            return Err(Rejection::UnknownStep(map));
        };
        let depth = found.depths.get(index as usize).copied().unwrap_or(0) + 1;
        let repeats = found.repeats.get(&same_work(&name, &input)).copied().unwrap_or(0) + 1;
        let limits = [
            (Violation::DiscoveryDepthLimit, depth, bounds.max_depth),
            (Violation::DiscoveredStepLimit, found.found + 1, bounds.max_steps),
            (Violation::SameStepLoop, repeats, bounds.same_step_repeats),
        ];
        for (limit, current, max) in limits {
            if current > max {
                let (current, max) = (u64::from(current), u64::from(max));
                // What was found before goes on; that more was found is on record.
                return self.emit(EventData::LimitReached { limit, current, max, held: false, tenant: false });
            }
        }
        self.warn_once(Violation::DiscoveredStepLimit, u64::from(found.found + 1), u64::from(bounds.max_steps))?;
        let (discovered_by, map) = (Some(ordinal), Some(map));
        self.emit(EventData::StepDiscovered { name, discovered_by, source_type, reason, depth, map, input })
    }
}

impl Execution {
    /// Nobody has reported for this attempt, neither in time nor afterwards.
    fn may_tell_late(&self, ordinal: u32, attempt: u32) -> bool {
        let Some(step) = self.step(ordinal) else { return false };
        // What was closed before it ended: cancelled with its map, or because it has lost a race.
        let closed = step.state == StepState::Skipped || self.losing.contains(&ordinal);
        self.usage.unreported.contains(&(ordinal, attempt)) || (closed && step.attempt == attempt && !step.told)
    }
}

/// What is wrong with the notes of an attempt.
fn problem_of(notes: &[Note]) -> Option<String> {
    match notes.len() {
        // One more is the record of an output that was put away.
        count if count > MAX_NOTES + 1 => Some(format!("an attempt has {count} notes; the limit is {MAX_NOTES}")),
        _ => notes.iter().find_map(Note::problem),
    }
}

/// What tells work from other work: its name and its input.
pub(super) fn same_work(name: &str, input: &Data) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("stepstream 2026 discovered work");
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(input.as_msgpack());
    let hash = hasher.finalize();
    hash.as_bytes().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// A goal that is met ends the search for it.
pub(super) fn ends_search(status: GoalStatus) -> bool {
    status == GoalStatus::Met
}
