//! What must hold after every append: read along with the store, in the order of the commits.

use std::collections::{BTreeMap, BTreeSet};

use stepstream_coordinator::ports::{Append, Appended};
use stepstream_runtime::clock::Clock;
use stepstream_shared::event::{Causation, EventData, codec};
use stepstream_shared::id::{ExecutionId, PartitionId};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::Job;

/// How far the clocks of a run may be apart, in microseconds.
pub const MOST_SKEW: i64 = 400_000;

#[derive(Default)]
pub struct Book {
    partitions: BTreeMap<PartitionId, Partition>,
    executions: BTreeMap<ExecutionId, Noted>,
    /// What a client was told is done: by the execution and the key of the request.
    pub acknowledged: Vec<(ExecutionId, String)>,
    pub broken: Vec<String>,
    /// Rare things that have happened, for knowing that they were tested.
    pub seen: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Partition {
    /// The last one that was given out.
    epoch: u64,
    /// The highest one that has written.
    written: u64,
}

/// An execution's log, as far as it is needed.
#[derive(Default)]
struct Noted {
    last: u64,
    ended: Option<&'static str>,
    /// The highest attempt on record of each step.
    attempts: BTreeMap<u32, u32>,
    /// Attempts whose end is on record.
    over: BTreeSet<(u32, u32)>,
    /// Attempts that a worker has run.
    started: BTreeSet<(u32, u32)>,
    /// Steps that are over.
    closed: BTreeSet<u32>,
    /// When retries are due.
    due: BTreeMap<u32, Timestamp>,
    /// How often a request was carried out.
    keys: BTreeMap<String, u64>,
}

impl Noted {
    /// An attempt's last word, which is its step's too; what is wrong with it.
    fn ends(&mut self, step: u32, attempt: u32, name: &str) -> Option<String> {
        let (first, open) = (self.over.insert((step, attempt)), self.closed.insert(step));
        (!first || !open).then(|| format!("attempt {attempt} of step {step} ends twice, with {name}"))
    }
}

/// The events of an append, for people.
pub fn names(append: &Append) -> String {
    match codec::decode(&append.body) {
        Ok(recorded) => {
            recorded.into_events(append.first_seq).map(|event| event.data.name()).collect::<Vec<_>>().join(" ")
        }
        Err(error) => error.to_string(),
    }
}

impl Book {
    pub fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn wrong(&mut self, what: String) {
        if self.broken.len() < 16 {
            self.broken.push(what);
        }
    }

    pub fn acquired(&mut self, partition: PartitionId, epoch: u64) {
        let known = self.partitions.entry(partition).or_default();
        if epoch <= known.epoch {
            let before = known.epoch;
            self.wrong(format!("partition {partition} was given out under epoch {epoch} after epoch {before}"));
            return;
        }
        known.epoch = epoch;
        if epoch > 1 {
            self.see("takeover");
        }
    }

    /// A job is on its way to the bus.
    pub fn published(&mut self, job: &Job) {
        let (id, step, attempt) = (job.token.execution, job.token.ordinal, job.token.attempt);
        let recorded = self.executions.get(&id).and_then(|noted| noted.attempts.get(&step)).copied().unwrap_or(0);
        if recorded < attempt {
            self.wrong(format!(
                "a job for attempt {attempt} of step {step} of {id} was published, {recorded} is on record"
            ));
        }
        if job.dispatch > 0 {
            self.see("job published anew");
        }
    }

    pub fn appended(&mut self, append: &Append, answer: &Appended, now: &dyn Clock) {
        match answer {
            Appended::Committed => self.committed(append, now.now()),
            Appended::AlreadyThere => self.see("unknown commit resolved"),
            Appended::Conflict => self.see("conflict"),
            Appended::Fenced => self.see("fenced"),
        }
    }

    fn committed(&mut self, append: &Append, now: Timestamp) {
        let id = append.execution;
        let partition = self.partitions.entry(append.partition).or_default();
        let (epoch, written) = (partition.epoch, partition.written);
        partition.written = written.max(append.epoch);
        if append.epoch != epoch || append.epoch < written {
            self.wrong(format!("an append of {id} was accepted under epoch {}, the owner's is {epoch}", append.epoch));
        }
        let noted = self.executions.entry(id).or_default();
        if append.first_seq != noted.last + 1 || append.last_seq < append.first_seq {
            let last = noted.last;
            self.wrong(format!("{id}: an append from {} follows event {last}", append.first_seq));
            return;
        }
        noted.last = append.last_seq;
        let recorded = match codec::decode(&append.body) {
            Ok(recorded) => recorded,
            Err(error) => return self.wrong(format!("{id}: an append is unreadable: {error}")),
        };
        if recorded.envelope.at.as_micros() > now.as_micros() + MOST_SKEW {
            self.wrong(format!("{id}: an append of the future: {} at {now}", recorded.envelope.at));
        }
        if let Causation::Command { key: Some(key), .. } = &recorded.envelope.causation {
            let times = self.executions.entry(id).or_default().keys.entry(key.clone()).or_default();
            *times += 1;
            // A child's start is asked for under the id of its step.
            if *times > 1 && !key.starts_with("step_") {
                self.wrong(format!("{id}: the request `{key}` was carried out twice"));
            }
        }
        for event in recorded.into_events(append.first_seq) {
            self.event(id, event.at, &event.data);
        }
    }

    fn event(&mut self, id: ExecutionId, at: Timestamp, event: &EventData) {
        let noted = self.executions.entry(id).or_default();
        let name = event.name();
        let mut wrong = None;
        let mut rare = None;
        let over = noted.ended.is_some();
        match event {
            EventData::StepScheduled { step, .. } => {
                noted.attempts.insert(*step, 1);
            }
            EventData::StepStarted { step, attempt, .. } if noted.over.contains(&(*step, *attempt)) => {
                wrong = Some(format!("attempt {attempt} of step {step} starts after its end"));
            }
            EventData::StepStarted { step, attempt, .. } => {
                noted.started.insert((*step, *attempt));
            }
            EventData::StepCompleted { step, attempt, output, .. } => {
                let told = output.to_json();
                if noted.started.contains(&(*step, *attempt))
                    && let Some(by) = told.get("attempt").and_then(serde_json::Value::as_u64)
                    && by != u64::from(*attempt)
                {
                    wrong = Some(format!("step {step}: what attempt {by} gave counts as that of attempt {attempt}"));
                }
                wrong = noted.ends(*step, *attempt, name).or(wrong);
            }
            EventData::StepFailed { step, attempt, .. } => {
                wrong = noted.ends(*step, *attempt, name);
            }
            EventData::StepRetryScheduled { step, attempt, due, .. } => {
                if !noted.over.insert((*step, *attempt)) || noted.closed.contains(step) {
                    wrong = Some(format!("attempt {attempt} of step {step} ends twice, with {name}"));
                }
                noted.due.insert(*step, *due);
                rare = Some("retry");
            }
            EventData::StepRescheduled { step, attempt } => {
                noted.attempts.insert(*step, *attempt);
                if let Some(due) = noted.due.remove(step)
                    && at < due
                {
                    wrong = Some(format!("step {step} is tried again at {at}, which is before {due}"));
                }
            }
            EventData::StepSkipped { step, new: None, .. } => {
                let first = noted.closed.insert(*step);
                wrong = (!first).then(|| format!("step {step} is over, and is skipped"));
            }
            EventData::ExecutionCompleted { .. }
            | EventData::ExecutionFailed { .. }
            | EventData::ExecutionCancelled { .. } => {
                if let Some(ended) = noted.ended.replace(name) {
                    wrong = Some(format!("it has ended with {ended}, and ends with {name}"));
                }
            }
            EventData::ExecutionPaused { .. } => rare = Some("pause"),
            EventData::CompensationStarted { .. } => rare = Some("compensation"),
            _ => {}
        }
        if over && (name.starts_with("step_") || name.starts_with("Step")) {
            wrong = Some(format!("{name} follows the end"));
        }
        if let Some(what) = wrong {
            self.wrong(format!("{id}: {what}"));
        }
        if let Some(rare) = rare {
            self.see(rare);
        }
    }

    /// What was acknowledged is on record.
    pub fn check_acknowledged(&mut self) {
        for (id, key) in std::mem::take(&mut self.acknowledged) {
            let done = self.executions.get(&id).and_then(|noted| noted.keys.get(&key)).copied().unwrap_or(0);
            if done == 0 {
                self.wrong(format!("{id}: the request `{key}` was acknowledged and is not on record"));
            }
        }
    }

    pub fn executions(&self) -> Vec<ExecutionId> {
        self.executions.keys().copied().collect()
    }

    /// Executions whose log does not say that they are over.
    pub fn open(&self) -> Vec<ExecutionId> {
        self.executions.iter().filter(|(_, noted)| noted.ended.is_none()).map(|(id, _)| *id).collect()
    }

    pub fn is_over(&self, id: ExecutionId) -> bool {
        self.executions.get(&id).is_some_and(|noted| noted.ended.is_some())
    }
}
