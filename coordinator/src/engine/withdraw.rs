//! Jobs taken off the bus again: their execution is paused, or their step is over.
//!
//! The bus may be asked in vain: a worker may have the job, and what it reports counts while the step is open. So this
//! only keeps work from beginning that nobody wants now; that nothing wrong follows from it is the log's business.

use stepstream_shared::event::EventData;
use stepstream_shared::execution::{ExecutionState, JobSpec, StepState};
use stepstream_shared::id::ExecutionId;

use super::Engine;

/// Jobs of one append that are taken off the bus; each is a request to it. The rest is run in vain, or finds its
/// execution paused and is recorded.
const WITHDRAWN_AT_A_TIME: usize = 256;

/// Which steps' jobs an append makes unwanted.
#[derive(Debug, Default)]
pub(super) struct Unwanted {
    all: bool,
    steps: Vec<u32>,
}

impl Unwanted {
    pub(super) fn by(events: &[EventData]) -> Self {
        let mut unwanted = Unwanted::default();
        for event in events {
            match event {
                EventData::ExecutionPaused { .. } => unwanted.all = true,
                EventData::StepSkipped { step, new: None, .. } => unwanted.steps.push(*step),
                _ => {}
            }
        }
        unwanted
    }
}

impl Engine {
    /// Takes jobs off the bus that no worker is on record as having.
    pub(super) fn withdraw(&mut self, id: ExecutionId, unwanted: &Unwanted) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let paused = live.execution.state() == ExecutionState::Paused;
        let mut steps: Vec<u32> = unwanted.steps.clone();
        if unwanted.all && paused {
            steps.extend(live.dispatched.keys());
        }
        let mut sequences = Vec::new();
        for ordinal in steps {
            let state = live.execution.step(ordinal).map(|step| step.state());
            let Some(entry) = live.dispatched.get(&ordinal) else { continue };
            let waits = state == Some(StepState::Scheduled) || state == Some(StepState::Skipped);
            let Some(sequence) = entry.sequence.filter(|_| waits && sequences.len() < WITHDRAWN_AT_A_TIME) else {
                continue;
            };
            live.dispatched.remove(&ordinal);
            if state == Some(StepState::Scheduled) {
                live.withdrawn.insert(ordinal);
            }
            sequences.push(sequence);
        }
        self.take_off(sequences);
    }

    /// A job has reached the bus after its execution was paused.
    pub(super) fn withdraw_late(&mut self, id: ExecutionId, ordinal: u32) {
        if self.live.get(&id).is_some_and(|live| live.execution.state() == ExecutionState::Paused) {
            self.withdraw(id, &Unwanted { all: false, steps: vec![ordinal] });
        }
    }

    fn take_off(&self, sequences: Vec<u64>) {
        if sequences.is_empty() {
            return;
        }
        let bus = self.bus.clone();
        tokio::spawn(async move {
            for sequence in sequences {
                if let Err(error) = bus.withdraw_job(sequence).await {
                    tracing::debug!(sequence, %error, "a job was not taken off the bus");
                }
            }
        });
    }

    /// Hands over what is wanted again: what was taken off the bus goes there under another number, so that it is not
    /// taken for a copy of itself.
    pub(super) fn hand_out(&mut self, id: ExecutionId, jobs: Vec<JobSpec>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.withdrawn.is_empty() {
            return self.dispatch(id, jobs);
        }
        let (again, first): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| live.withdrawn.remove(&job.ordinal));
        self.dispatch(id, first);
        self.redispatch(id, again);
    }
}
