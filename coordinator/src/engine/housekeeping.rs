//! Time, partitions, and jobs that the bus lost.

use std::cmp::Reverse;
use std::time::Duration;

use stepstream_runtime::bus::{BusError, JobsStreamState};
use stepstream_runtime::random;
use stepstream_shared::execution::{Command, ExecutionState, StepState};
use stepstream_shared::id::{ExecutionId, PartitionId};
use stepstream_shared::time::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::commit::Occasion;
use super::dispatch::owed;
use super::live::{Dispatched, JobKey, Live};
use super::{Engine, Held, Input, LONGEST_SLEEP};
use crate::planted::{self, Bug};

/// Deadlines handled before the loop looks at its inputs again.
const DEADLINES_AT_A_TIME: usize = 256;
/// Suspected jobs looked up on the bus in one round: each is a request to the server.
const SUSPECTS_AT_A_TIME: usize = 256;
/// How long an execution rests of which something was due from which nothing followed.
const REST_AFTER_NOTHING: Duration = Duration::from_secs(1);

impl Engine {
    /// How long the loop may sleep.
    pub(super) fn sleep(&self) -> Duration {
        let now = self.clock.now();
        let mut sleep = LONGEST_SLEEP;
        if let Some(Reverse((due, _))) = self.deadlines.peek() {
            sleep = sleep.min(due.since(now));
        }
        if let Some(Reverse((due, _, _))) = self.heartbeats.peek() {
            sleep = sleep.min(due.since(now));
        }
        if !self.unsent.is_empty() {
            sleep = sleep.min(self.unsent_due.since(now));
        }
        if let Some(due) = self.admission.looks_at() {
            sleep = sleep.min(due.since(now));
        }
        if self.settings.recover_all && !self.held.is_empty() {
            sleep = sleep.min(self.timers_due.since(now));
        }
        sleep
    }

    /// Whatever is due happens.
    pub(super) async fn keep_time(&mut self) {
        let now = self.clock.now();
        self.deaf |= !self.bus.connected();
        for _ in 0..DEADLINES_AT_A_TIME {
            if !self.backlog.is_empty() {
                break; // The store is the bottleneck: more decisions would only wait with the others.
            }
            match self.deadlines.peek() {
                Some(Reverse((due, id))) if *due <= now => {
                    let (due, id) = (*due, *id);
                    self.deadlines.pop();
                    self.deadline(id, due).await;
                }
                _ => break,
            }
        }
        for _ in 0..DEADLINES_AT_A_TIME {
            match self.heartbeats.peek() {
                Some(Reverse((due, id, ordinal))) if *due <= now => {
                    let (id, ordinal) = (*id, *ordinal);
                    self.heartbeats.pop();
                    self.heartbeat_due(id, ordinal).await;
                }
                _ => break,
            }
        }
        self.offer_unsent();
        self.reload();
        self.look_at_timers();
        self.let_go();
        self.suspect();
        self.look_after_families();
        self.look_after_permits();
        self.look_at_queue();
    }

    /// Registers the next deadline of an execution, if it is sooner than the one it is registered under.
    pub(super) fn watch(&mut self, id: ExecutionId) {
        self.watch_from(id, None);
    }

    /// The same after a decision from which nothing followed: what is due all the same is tried again after a rest, not at
    /// once and for ever.
    pub(super) fn watch_again(&mut self, id: ExecutionId) {
        let now = self.clock.now();
        let is_due = self.live.get(&id).and_then(Live::next_moment).is_some_and(|next| next <= now);
        self.watch_from(id, is_due.then(|| now.after(REST_AFTER_NOTHING)));
    }

    fn watch_from(&mut self, id: ExecutionId, rests_until: Option<Timestamp>) {
        self.note_background(id);
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(next) = rests_until.or_else(|| live.next_moment()) else { return };
        if live.deadline.is_none_or(|registered| next < registered) {
            live.deadline = Some(next);
            self.deadlines.push(Reverse((next, id)));
        }
    }

    async fn deadline(&mut self, id: ExecutionId, due: Timestamp) {
        let now = self.clock.now();
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.deadline != Some(due) {
            return; // An earlier one has taken its place.
        }
        live.deadline = None;
        if live.execution.state().is_terminal() {
            self.run_errands(id);
            self.watch(id);
            return;
        }
        match live.execution.next_deadline() {
            Some(next) if next <= now => {
                let command = Command::Tick { chance: random::chance() };
                self.act(id, command, Occasion::deadline()).await;
            }
            _ => self.watch(id),
        }
    }

    /// Expects a sign of life from the worker of a running attempt that declares a heartbeat.
    pub(super) fn expect_heartbeat(&mut self, id: ExecutionId, ordinal: u32) {
        if let Some(entry) = self.live.get(&id).and_then(|live| live.dispatched.get(&ordinal))
            && let Some(heartbeat) = entry.heartbeat
        {
            let from = entry.sign_of_life.max(self.hears_since);
            self.heartbeats.push(Reverse((from.after(heartbeat), id, ordinal)));
        }
    }

    async fn heartbeat_due(&mut self, id: ExecutionId, ordinal: u32) {
        let now = self.clock.now();
        let Some(live) = self.live.get(&id) else { return };
        let Some(entry) = live.dispatched.get(&ordinal) else { return };
        let Some(heartbeat) = entry.heartbeat else { return };
        if !Self::is_running(live, ordinal, entry.attempt) {
            return;
        }
        if entry.sign_of_life.max(self.hears_since).after(heartbeat) > now {
            self.expect_heartbeat(id, ordinal);
            return;
        }
        if self.deaf || !self.bus.connected() || !self.backlog.is_empty() {
            // Nothing that a worker says reaches us at present: its silence is ours.
            self.heartbeats.push(Reverse((now.after(LONGEST_SLEEP), id, ordinal)));
            return;
        }
        let command = Command::HeartbeatMissed { step: ordinal, attempt: entry.attempt, chance: random::chance() };
        self.act(id, command, Occasion::deadline()).await;
    }

    /// A partition is ours: outcomes are pulled, and what is on its agenda is driven.
    pub(super) fn gained(&mut self, partition: PartitionId, epoch: u64) {
        let stop = CancellationToken::new();
        let recovered = !self.settings.recover_all; // Then only what is asked for is driven.
        let held = Held { epoch, stop: stop.clone(), recovered, in_flight: 0, releasing: None };
        if let Some(old) = self.held.insert(partition, held) {
            old.stop.cancel();
        }
        let Some(sender) = self.sender.upgrade() else { return };
        crate::pulling::pull_outcomes(self.bus.clone(), partition, sender.clone(), stop.clone());
        crate::pulling::pull_questions(self.bus.clone(), partition, sender, stop.clone());
        if self.settings.recover_all {
            let horizon = self.clock.now().after(self.settings.at_rest.horizon);
            self.recovery.take_over(partition, epoch, horizon, stop);
        }
        self.owned.insert(partition);
        tracing::debug!(%partition, epoch, "partition taken");
    }

    /// All that was to be driven when a partition was gained is in memory, so it is known who holds places.
    pub(super) fn recovered(&mut self, partition: PartitionId, epoch: u64) {
        if let Some(held) = self.held.get_mut(&partition).filter(|held| held.epoch == epoch) {
            held.recovered = true;
            self.admission.soon(self.clock.now());
        }
    }

    /// A partition is not ours any more: what is in memory of it is a stranger's.
    pub(super) fn lost(&mut self, partition: PartitionId) {
        let Some(held) = self.held.remove(&partition) else { return };
        held.stop.cancel();
        self.owned.remove(partition);
        self.live.retain(|_, live| live.partition != partition);
        if let Some(done) = held.releasing {
            let _ = done.send(()); // Whoever asked may have gone.
        }
        let bus = self.bus.clone();
        tokio::spawn(async move { bus.leave(partition).await });
        tracing::info!(%partition, "partition given up");
    }

    /// Lets go of a partition once what is on its way for it is durable.
    pub(super) fn release(&mut self, partition: PartitionId, done: oneshot::Sender<()>) {
        match self.held.get_mut(&partition) {
            Some(held) => {
                held.stop.cancel();
                held.releasing = Some(done);
                self.owned.remove(partition);
                self.check_releases();
            }
            None => {
                let _ = done.send(()); // Not ours anyhow.
            }
        }
    }

    pub(super) fn check_releases(&mut self) {
        let ready: Vec<PartitionId> = self
            .held
            .iter()
            .filter(|(_, held)| held.releasing.is_some() && held.in_flight == 0)
            .map(|(partition, _)| *partition)
            .collect();
        for partition in ready {
            self.lost(partition);
        }
    }

    /// The jobs stream as the bus shows it: made anew, or gone back, it has lost what it held.
    pub(super) fn jobs_state(&mut self, state: Result<JobsStreamState, BusError>) {
        let Ok(state) = state else {
            self.deaf = true; // Unreachable is not lost, but nobody is heard.
            return;
        };
        if std::mem::take(&mut self.deaf) {
            self.hears_since = self.clock.now();
        }
        let wiped = self.jobs_state.is_some_and(|before| {
            before.created_nanos != state.created_nanos || state.last_sequence < before.last_sequence
        });
        self.jobs_state = Some(state);
        if !wiped {
            return;
        }
        let mut jobs = Vec::new();
        for (id, live) in &self.live {
            for (ordinal, entry) in &live.dispatched {
                jobs.push(JobKey { execution: *id, ordinal: *ordinal, attempt: entry.attempt });
            }
        }
        jobs.sort_unstable();
        tracing::warn!(jobs = jobs.len(), "the bus has lost its jobs; those without a worker are published anew");
        self.missing(&jobs);
    }

    /// Publishes jobs anew that are gone from the bus.
    pub(super) fn missing(&mut self, jobs: &[JobKey]) {
        if planted::has(Bug::ForgetsLostJobs) {
            return;
        }
        for key in jobs {
            let Some(live) = self.live.get_mut(&key.execution) else { continue };
            if let Some(spec) = owed(live, *key) {
                self.redispatch(key.execution, vec![spec]);
            } else if let Some(spec) = live.execution.job(&live.graph, key.ordinal)
                && spec.attempt == key.attempt
                // Of one that is claimed, nobody but its holder can make anything; its lease says when that is over.
                && !spec.claim
                && live.execution.state() == ExecutionState::Running
                && live
                    .dispatched
                    .get(&key.ordinal)
                    .is_some_and(|entry| entry.sign_of_life.after(self.settings.redispatch_after) <= self.clock.now())
            {
                // On record as running, the job gone, and nobody heard of: its worker died with the bus.
                self.redispatch(key.execution, vec![spec]);
            }
        }
    }

    /// Looks for jobs that have been silent for long: are they still on the bus? Age alone is no evidence of loss.
    fn suspect(&mut self) {
        let now = self.clock.now();
        if now < self.suspects_due {
            return;
        }
        self.suspects_due = now.after(self.settings.redispatch_after / 6);
        let mut suspects = Vec::new();
        for (id, live) in &mut self.live {
            let closed: Vec<u32> = live
                .dispatched
                .iter()
                .filter(|(ordinal, _)| live.execution.step(**ordinal).is_none_or(|step| step.state().is_terminal()))
                .map(|(ordinal, _)| *ordinal)
                .collect();
            for ordinal in closed {
                live.dispatched.remove(&ordinal);
            }
            // A job that was withdrawn by a pause may have been a worker's already, who says so afterwards. It is looked
            // after from then on: it would run for ever, on record, if its worker died.
            let unwatched: Vec<(u32, u32)> = live
                .execution
                .open_steps()
                .filter(|ordinal| !live.dispatched.contains_key(ordinal))
                .filter_map(|ordinal| Some((ordinal, live.execution.step(ordinal)?)))
                .filter(|(_, step)| step.state() == StepState::Running)
                .map(|(ordinal, step)| (ordinal, step.attempt()))
                .collect();
            for (ordinal, attempt) in unwatched {
                let Some(task) = live.execution.task_of(&live.graph, ordinal) else { continue };
                let heartbeat = task.timeouts.heartbeat;
                let (sign_of_life, looked_at) = (now, now);
                let entry = Dispatched { attempt, dispatch: 0, sequence: None, sign_of_life, looked_at, heartbeat };
                live.dispatched.insert(ordinal, entry);
            }
            for (ordinal, entry) in &mut live.dispatched {
                // One that was found is not asked about again before the others had their turn.
                if entry.sign_of_life.max(entry.looked_at).after(self.settings.redispatch_after) <= now
                    && suspects.len() < SUSPECTS_AT_A_TIME
                {
                    entry.looked_at = now;
                    let key = JobKey { execution: *id, ordinal: *ordinal, attempt: entry.attempt };
                    suspects.push((key, entry.sequence));
                }
            }
        }
        suspects.sort_unstable();
        self.look_for(suspects);
    }

    /// Asks the bus for jobs by their place; those that are gone are published anew.
    pub(super) fn look_for(&self, suspects: Vec<(JobKey, Option<u64>)>) {
        if suspects.is_empty() {
            return;
        }
        let (bus, sender) = (self.bus.clone(), self.sender.clone());
        tokio::spawn(async move {
            let mut missing = Vec::new();
            for (key, sequence) in suspects {
                let gone = match sequence {
                    Some(sequence) => matches!(bus.job_exists(sequence).await, Ok(false)),
                    None => true, // Nobody knows its place: published before a takeover, or never.
                };
                if gone {
                    missing.push(key);
                }
            }
            if let (false, Some(sender)) = (missing.is_empty(), sender.upgrade()) {
                let _ = sender.send(Input::Missing(missing)).await; // The engine may have stopped.
            }
        });
    }
}
