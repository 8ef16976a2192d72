//! Permits: what attempts of several executions share, places under a key and moments of a rate.
//!
//! A step whose task asks for one is scheduled and then waits, without a worker, until it is granted its permit. Asking is
//! owed for as long as the step waits without one: computed from state, so whoever drives the execution asks again after a
//! crash, and whoever keeps the permits gives the same answer to the same attempt. A permit is that of one attempt: it ends
//! with it, and the next attempt asks anew. So a step that waits for its retry blocks nobody, and a rate counts attempts.
//!
//! What undoes a step needs no permit: the worse that things stand, the sooner it is to run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::advance::expression_failed;
use super::decide::{Decision, Rejection};
use super::lifecycle::{ExecutionState, WaitReason};
use super::scope::View;
use super::state::{Deadline, Execution, Step};
use super::steering::{NAME_BYTES, Refusal};
use super::step::StepState;
use crate::error::{ErrorCategory, ErrorCode, ExecutionError};
use crate::event::{EventData, Need, Pace, PermitAsk, Place, Violation, Wait};
use crate::graph::expression::Template;
use crate::graph::{CompiledGraph, OnLimit, Reserve, Task};
use crate::time::Timestamp;

/// In the place of a step: the execution itself, which has its place among those that its tenant may have at the same time.
pub const EXECUTION_PERMIT: u32 = u32::MAX;

/// The permits of an execution's open steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Permits {
    /// Steps that wait for one and have none promised.
    #[serde(rename = "a", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) asking: BTreeSet<u32>,
    /// Steps that have one: what they asked for, and with which attempt they have it.
    #[serde(rename = "h", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) held: BTreeMap<u32, Held>,
}

/// A permit that was granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    #[serde(rename = "k")]
    pub(super) ask: PermitAsk,
    #[serde(rename = "a")]
    pub(super) attempt: u32,
    /// It counts from this moment on, which has not come.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Timestamp>,
}

impl Permits {
    pub(super) fn is_none(&self) -> bool {
        self.asking.is_empty() && self.held.is_empty()
    }
}

/// A permit that somebody has to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitSpec {
    pub ordinal: u32,
    pub attempt: u32,
    /// Sequence of the event by which it began to wait.
    pub position: u64,
    pub ask: PermitAsk,
}

/// Where an attempt stands with its permit, for whoever keeps the permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermitStanding {
    /// It waits for one.
    Asks,
    /// It would, but its execution is held: it has no use for one now.
    Withheld,
    /// It has one.
    Holds,
    /// It is over, or never asked.
    Over,
}

impl Execution {
    /// It takes permits: it is running, or waits only because its steps do.
    fn takes_permits(&self) -> bool {
        match self.state {
            ExecutionState::Running => true,
            ExecutionState::Waiting(_) => self.waits_on_steps,
            _ => false,
        }
    }

    /// A permit is to be asked for.
    pub(super) fn asks_for_permits(&self) -> bool {
        !self.permits.asking.is_empty() && self.takes_permits()
    }

    /// All that it owes is to ask for permits, and nothing happens to it before one is granted.
    pub fn only_asks_for_permits(&self) -> bool {
        self.asks_for_permits()
            && self.in_hand == 0
            && !self.has_more()
            && !self.looks_after_children()
            && self.next_deadline().is_none()
    }

    /// Every permit that is to be asked for. None while it is held.
    pub fn owed_permits(&self) -> Vec<PermitSpec> {
        if !self.takes_permits() {
            return Vec::new();
        }
        self.permits.asking.iter().filter_map(|ordinal| self.owed_permit(*ordinal)).collect()
    }

    /// The permit that a step waits for, if it is to be asked for now.
    pub fn owed_permit(&self, ordinal: u32) -> Option<PermitSpec> {
        if !self.takes_permits() || !self.permits.asking.contains(&ordinal) {
            return None;
        }
        let step = self.step(ordinal)?;
        let Wait::Permit(ask) = &self.waits.get(&ordinal)?.wait else { return None };
        Some(PermitSpec { ordinal, attempt: step.attempt, position: step.position, ask: ask.clone() })
    }

    /// Steps that wait for a permit and have none promised, with their attempt, also while the execution is held.
    pub fn asking(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.permits.asking.iter().filter_map(|ordinal| Some((*ordinal, self.step(*ordinal)?.attempt)))
    }

    /// When the permit of a step that waits counts; `None` where it has none.
    pub fn permit_from(&self, ordinal: u32) -> Option<Timestamp> {
        self.permits.held.get(&ordinal)?.from
    }

    pub fn permit_standing(&self, ordinal: u32, attempt: u32) -> PermitStanding {
        if ordinal == EXECUTION_PERMIT {
            return if self.state.is_terminal() { PermitStanding::Over } else { PermitStanding::Holds };
        }
        let current = self.step(ordinal).filter(|step| step.attempt == attempt && !step.state.is_terminal());
        if current.is_none() || self.losing.contains(&ordinal) {
            return PermitStanding::Over;
        }
        if self.permits.asking.contains(&ordinal) {
            return if self.takes_permits() { PermitStanding::Asks } else { PermitStanding::Withheld };
        }
        // What was tried with it has failed when the step only waits for its next try.
        let in_use = current.is_some_and(|step| step.state.is_in_hand()) || self.waits_for_permit(ordinal);
        match self.permits.held.get(&ordinal) {
            Some(held) if held.attempt == attempt && in_use => PermitStanding::Holds,
            _ => PermitStanding::Over,
        }
    }

    /// Its tenant had limits when it began.
    pub fn is_governed(&self) -> bool {
        self.governed
    }

    /// Whether attempts at a step need a permit.
    pub fn needs_permit(&self, graph: &CompiledGraph, ordinal: u32) -> bool {
        let aside = self.step(ordinal).is_none_or(Step::is_aside);
        let needs = |task: &Task| task.permits.is_some() || (self.governed && task.reserve != Reserve::default());
        !aside && self.task_of(graph, ordinal).is_some_and(needs)
    }
}

impl Decision<'_> {
    /// What an attempt at this task asks for before it runs: keys are evaluated once, when the step is scheduled.
    pub(super) fn permit_for(&self, task: &Task, view: &View<'_>) -> Result<Option<PermitAsk>, ExecutionError> {
        let need = Some(task.reserve).filter(|reserve| self.execution.governed && *reserve != Reserve::default());
        let need = need.map(|Reserve { cost, tokens }| Need { cost, tokens });
        let Some(rules) = &task.permits else {
            let ask = PermitAsk { place: None, pace: None, need, priority: task.priority };
            return Ok(need.is_some().then_some(ask));
        };
        let place = match &rules.concurrency {
            Some(rule) => Some(Place { key: key(&rule.key, view, "concurrency")?, max: rule.max }),
            None => None,
        };
        let pace = match &rules.rate {
            Some(rule) => Some(Pace {
                key: key(&rule.key, view, "rate")?,
                max: rule.max,
                per_us: u64::try_from(rule.per.as_micros()).unwrap_or(u64::MAX),
                burst: rule.burst,
            }),
            None => None,
        };
        Ok(Some(PermitAsk { place, pace, need, priority: task.priority }))
    }

    /// A step that was just scheduled waits for its permit, if it needs one.
    pub(super) fn await_permit(&mut self, step: u32, ask: Option<PermitAsk>) -> Result<(), Rejection> {
        match ask {
            Some(ask) => self.emit(EventData::StepWaiting { step, wait: Wait::Permit(ask) }),
            None => Ok(()),
        }
    }

    /// The next attempt at a step begins, and asks for what the one before had.
    pub(super) fn reschedule(&mut self, step: u32, attempt: u32) -> Result<(), Rejection> {
        let ask = self.execution.permits.held.get(&step).map(|held| held.ask.clone());
        self.emit(EventData::StepRescheduled { step, attempt })?;
        self.await_permit(step, ask)
    }

    /// The permit that an attempt waits for is there, at once or from a moment on.
    pub(super) fn permit_granted(&mut self, step: u32, attempt: u32, from: Option<Timestamp>) -> Result<(), Rejection> {
        self.not_over()?;
        match self.execution.permit_standing(step, attempt) {
            PermitStanding::Holds => return Err(Refusal::Repeated.into()),
            PermitStanding::Over => return Err(Refusal::NotWaiting(self.node_name(step)).into()),
            PermitStanding::Withheld => return Err(Refusal::Withheld(self.execution.state).into()),
            PermitStanding::Asks => {}
        }
        let from = from.filter(|from| *from > self.at);
        // Nobody waits in vain: a moment that lies behind its patience is told at once.
        let patience = self.execution.wait_due(step);
        if let (Some(from), Some(patience)) = (from, patience)
            && from > patience
        {
            return self.fail_step(step, no_permit(Violation::RateLimit, &self.node_name(step)), 0);
        }
        self.emit(EventData::PermitGranted { step, attempt, from })
    }

    /// The tenant's budget has no room for an attempt, nor will it have today: the tenant says what follows.
    pub(super) fn permit_denied(
        &mut self,
        step: u32,
        attempt: u32,
        (limit, current, max): (Violation, u64, u64),
        on_limit: OnLimit,
    ) -> Result<(), Rejection> {
        self.not_over()?;
        match self.execution.permit_standing(step, attempt) {
            PermitStanding::Asks => {}
            PermitStanding::Withheld => return Err(Refusal::Withheld(self.execution.state).into()),
            PermitStanding::Holds | PermitStanding::Over => {
                return Err(Refusal::NotWaiting(self.node_name(step)).into());
            }
        }
        self.emit(EventData::LimitReached { limit, current, max, held: false, tenant: true })?;
        let error = used_up(limit, current, max);
        match on_limit {
            OnLimit::FailStep => self.fail_step(step, error, 0),
            OnLimit::Stop => self.fail_execution(error, None),
            OnLimit::Pause => self.pause(error.message),
            OnLimit::Approve => {
                let reason = WaitReason::CostThreshold;
                self.emit(EventData::ExecutionWaiting { reason, step: None, control: None })
            }
        }
    }

    /// The moment of a permit has come, or a step has waited for one for as long as it may.
    pub(super) fn permit_is_due(&mut self, step: u32) -> Result<(), Rejection> {
        let Some(attempt) = self.execution.step(step).map(|step| step.attempt) else { return Ok(()) };
        if self.execution.permits.held.contains_key(&step) {
            return self.emit(EventData::PermitGranted { step, attempt, from: None });
        }
        let places =
            self.task_of(step).and_then(|task| task.permits.as_ref()).is_some_and(|rules| rules.concurrency.is_some());
        let limit = if places { Violation::ConcurrencyLimit } else { Violation::RateLimit };
        self.fail_step(step, no_permit(limit, &self.node_name(step)), 0)
    }
}

fn used_up(limit: Violation, current: u64, max: u64) -> ExecutionError {
    let message = match limit {
        Violation::TokenLimit => format!("the tenant would use {current} of {max} tokens today (tokens_per_day)"),
        _ => {
            let (current, max) = (crate::cost::Money::from_micros(current), crate::cost::Money::from_micros(max));
            format!("the tenant would spend {current} USD of {max} USD today (cost_usd_per_day)")
        }
    };
    ExecutionError::new(limit.category(), message).with_code(ErrorCode::new(limit.name()))
}

fn no_permit(limit: Violation, node: &str) -> ExecutionError {
    let message = match limit {
        Violation::RateLimit => {
            format!("`{node}` would have to wait for its turn for longer than it may (rate.timeout)")
        }
        _ => format!("`{node}` has waited for a place for as long as it may (concurrency.timeout)"),
    };
    ExecutionError::new(limit.category(), message).with_code(ErrorCode::new(limit.name()))
}

/// A key is a text, or a number as one.
fn key(template: &Template, view: &View<'_>, what: &str) -> Result<String, ExecutionError> {
    let given = template.evaluate(view).map_err(|error| expression_failed(&error))?.to_json();
    let bad = |found: String| {
        let message = format!("the key of `{what}` is a text of 1 to {NAME_BYTES} bytes; it gave {found}");
        ExecutionError::new(ErrorCategory::ValidationError, message).with_code(ErrorCode::new("bad_key"))
    };
    match given {
        serde_json::Value::String(text) if text.is_empty() => Err(bad("none".to_owned())),
        serde_json::Value::String(text) if text.len() > NAME_BYTES => Err(bad(format!("{} bytes", text.len()))),
        serde_json::Value::String(text) if text.contains(char::is_control) => {
            Err(bad("a text with control characters in it".to_owned()))
        }
        serde_json::Value::String(text) => Ok(text),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        other => Err(bad(match other {
            serde_json::Value::Null => "null".to_owned(),
            serde_json::Value::Bool(_) => "a boolean".to_owned(),
            serde_json::Value::Array(_) => "a list".to_owned(),
            _ => "a map".to_owned(),
        })),
    }
}

impl Execution {
    /// A step that waits for a permit: until when it does, by its own clock.
    pub(super) fn permit_patience(
        &self,
        graph: &CompiledGraph,
        ordinal: u32,
        at: Timestamp,
    ) -> Option<(Timestamp, Deadline)> {
        let patience = self.task_of(graph, ordinal)?.permits.as_ref()?.patience?;
        Some((self.own_time(at).after(patience), Deadline::Wait(ordinal)))
    }

    /// Whether a step waits for a permit, granted from a moment on or not.
    pub(super) fn waits_for_permit(&self, ordinal: u32) -> bool {
        self.step(ordinal).is_some_and(|step| step.state == StepState::Waiting)
            && self.waits.get(&ordinal).is_some_and(|run| matches!(run.wait, Wait::Permit(_)))
    }
}
