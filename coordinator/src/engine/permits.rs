//! What attempts share with other executions: asked for when it is on record that they wait, given back when it is on
//! record that they are over.

use std::time::Duration;

use stepstream_shared::event::{EventData, Wait};
use stepstream_shared::execution::{EXECUTION_PERMIT, Execution, PermitSpec};
use stepstream_shared::graph::CompiledGraph;
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;

use super::Engine;
use crate::permits::{Kept, PermitWork, Permits};
use crate::ports::{AttemptRef, EndOf, PermitEnd, PermitRequest, Spent};

/// How long an attempt waits before it is asked for again: what it waits for may be many attempts of others.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How often those are looked at that wait.
const LOOK: Duration = Duration::from_secs(5);

/// What an append makes of permits.
#[derive(Debug, Default)]
pub(super) struct PermitChanges {
    /// Steps that begin to wait for one.
    asks: Vec<u32>,
    /// The execution goes on: whatever waits asks again.
    all: bool,
    /// Step, attempt, and what of it ends.
    ends: Vec<(u32, u32, EndOf)>,
    /// What the execution has used in all, if this append says anything new of that.
    spent: Option<Spent>,
}

impl PermitChanges {
    /// `execution` has the events applied, the last of which has this sequence.
    pub(super) fn by(events: &[EventData], execution: &Execution, graph: &CompiledGraph, last_seq: u64) -> Self {
        let mut changes = PermitChanges::default();
        let (mut held, mut used) = (false, false);
        for event in events {
            match event {
                EventData::StepWaiting { step, wait: Wait::Permit(_) } => changes.asks.push(*step),
                EventData::StepCompleted { step, attempt, .. }
                | EventData::StepFailed { step, attempt, .. }
                | EventData::StepRetryScheduled { step, attempt, .. }
                | EventData::StepInDoubt { step, attempt, .. }
                | EventData::StepDeadLettered { step, attempt, .. }
                    if execution.needs_permit(graph, *step) =>
                {
                    changes.ends.push((*step, *attempt, EndOf::Attempt));
                }
                EventData::StepSkipped { step, new: None, .. } if execution.needs_permit(graph, *step) => {
                    let attempt = execution.step(*step).map_or(1, |step| step.attempt());
                    changes.ends.push((*step, attempt, EndOf::Attempt));
                }
                EventData::UsageRecorded { .. } => used = true,
                EventData::ExecutionCompleted { .. }
                | EventData::ExecutionFailed { .. }
                | EventData::ExecutionCancelled { .. }
                    if execution.is_governed() && execution.parent().is_none() =>
                {
                    changes.ends.push((EXECUTION_PERMIT, 0, EndOf::Attempt));
                }
                EventData::ExecutionPaused { .. } | EventData::ExecutionWaiting { step: None, .. } => held = true,
                EventData::ExecutionResumed {} | EventData::InputReceived { step: None, .. } => changes.all = true,
                _ => {}
            }
        }
        if held {
            // Others have their turn meanwhile.
            changes.ends.extend(execution.asking().map(|(step, attempt)| (step, attempt, EndOf::Wait(last_seq))));
        }
        changes.spent = used.then(|| spent_by(execution));
        changes
    }
}

/// That an attempt's permit was asked for.
#[derive(Debug, Clone)]
pub(super) struct AskedPermit {
    pub(super) attempt: u32,
    /// When that was last.
    pub(super) at: Timestamp,
    /// Whether the store knows.
    pub(super) kept: Kept,
}

/// Whether there was room for it.
fn give(permits: &Permits, work: PermitWork) -> bool {
    let given = permits.try_send(work);
    if let Err(error) = &given {
        tracing::debug!(%error, "a permit has to wait");
    }
    given.is_ok()
}

/// What an execution has used, as of its last event. What its children have used they tell themselves.
fn spent_by(execution: &Execution) -> Spent {
    let (tenant, usage) = (execution.tenant().clone(), execution.usage());
    let of_children = usage.of_children;
    let cost = usage.cost.minus(of_children.cost);
    let tokens = usage.tokens().saturating_sub(of_children.tokens());
    Spent { tenant, execution: execution.id(), sequence: execution.sequence(), cost, tokens }
}

impl Engine {
    /// An append is durable: what it says of permits may be acted upon.
    pub(super) fn change_permits(&mut self, id: ExecutionId, tenant: &TenantId, changes: PermitChanges, last_seq: u64) {
        let PermitChanges { asks, all, ends, spent } = changes;
        if let Some(spent) = spent {
            self.permit_work(PermitWork::Spent(spent));
        }
        for (step, attempt, why) in ends {
            let attempt = AttemptRef { tenant: tenant.clone(), execution: id, step, attempt };
            self.permit_work(PermitWork::End(PermitEnd { attempt, why }));
        }
        let Some(live) = self.live.get_mut(&id) else { return };
        let specs: Vec<PermitSpec> = match all {
            true => {
                live.asked.clear();
                live.execution.owed_permits()
            }
            false => asks.into_iter().filter_map(|step| live.execution.owed_permit(step)).collect(),
        };
        // What a later append began to wait for, that append will ask for.
        self.ask_for_permits(id, last_seq, specs.into_iter().filter(|spec| spec.position <= last_seq).collect());
    }

    /// Asks for what an execution that was just loaded waits for.
    pub(super) fn ask_for_all_permits(&mut self, id: ExecutionId) {
        let Some(live) = self.live.get(&id) else { return };
        // Whoever drove it before may have died before its account knew.
        if live.execution.usage().tokens() > 0 || live.execution.usage().cost.micros() > 0 {
            self.permit_work(PermitWork::Spent(spent_by(&live.execution)));
        }
        let (specs, sequence) = (live.execution.owed_permits(), live.execution.sequence());
        self.ask_for_permits(id, sequence, specs);
    }

    /// As of an event that is durable: what ends a wait before it is none of this.
    fn ask_for_permits(&mut self, id: ExecutionId, sequence: u64, specs: Vec<PermitSpec>) {
        let now = self.clock.now();
        let Some(live) = self.live.get_mut(&id).filter(|_| !specs.is_empty()) else { return };
        let (tenant, partition) = (live.execution.tenant().clone(), live.partition);
        self.askers.insert(id);
        for PermitSpec { ordinal: step, attempt: number, ask, .. } in specs {
            let before = live.asked.get(&step).filter(|asked| asked.attempt == number);
            let kept = before.map(|asked| asked.kept.clone()).unwrap_or_default();
            let attempt = AttemptRef { tenant: tenant.clone(), execution: id, step, attempt: number };
            let request = PermitRequest { attempt, partition, sequence, ask };
            // What was not taken is asked for by the next look.
            if give(&self.permits, PermitWork::Ask(request, kept.clone())) {
                live.asked.insert(step, AskedPermit { attempt: number, at: now, kept });
            }
        }
    }

    fn permit_work(&self, work: PermitWork) {
        give(&self.permits, work);
    }

    /// Asks again for what was not answered: the question may have been lost, or the answer.
    pub(super) fn look_after_permits(&mut self) {
        let now = self.clock.now();
        if self.askers.is_empty() || now < self.permits_due {
            return;
        }
        self.permits_due = now.after(LOOK);
        for id in std::mem::take(&mut self.askers) {
            let Some(live) = self.live.get_mut(&id) else { continue };
            if live.in_flight > 0 {
                self.askers.insert(id);
                continue;
            }
            let mut specs = live.execution.owed_permits();
            if specs.is_empty() {
                live.asked.clear();
                continue;
            }
            let sequence = live.execution.sequence();
            self.askers.insert(id);
            let late = |spec: &PermitSpec| match live.asked.get(&spec.ordinal) {
                Some(asked) => asked.attempt != spec.attempt || asked.at.after(AGAIN_AFTER) <= now,
                None => true,
            };
            specs.retain(late);
            self.ask_for_permits(id, sequence, specs);
        }
    }
}
