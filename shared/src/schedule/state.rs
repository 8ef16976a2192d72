//! How far a schedule has come: what is stored beside its definition, and how it changes.

use serde::{Deserialize, Serialize};

use super::definition::Definition;
use super::firing::FiringKind;
use crate::id::{ExecutionId, TriggerId};
use crate::time::Timestamp;

/// Most nominal times that wait to be carried out, those of backfills included.
pub const MAX_PENDING: usize = 1000;
/// Executions that are followed until they have ended; of more, the oldest are not.
pub const MAX_RUNNING: usize = 100;
/// Firings that are remembered to be shown.
pub const MAX_RECENT: usize = 20;
/// Longest note of a pause, in bytes.
pub const MAX_NOTE_BYTES: usize = 1024;
/// Longest reason that is remembered of a firing that failed, in bytes.
const MAX_PROBLEM_BYTES: usize = 1024;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Who holds a schedule, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub since: Timestamp,
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A nominal time that is taken up and not carried out yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub time: Timestamp,
    pub kind: FiringKind,
    /// Whatever else runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub at_once: bool,
}

/// An execution that was started and has not been seen to have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub time: Timestamp,
    pub execution: ExecutionId,
    /// It was asked to end, because another one is to begin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancelled: bool,
}

/// A firing, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// The nominal time.
    pub time: Timestamp,
    pub kind: FiringKind,
    /// When it was carried out.
    pub at: Timestamp,
    /// What it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// Why it started nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What has become of nominal times so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Executions started for nominal times when these came.
    #[serde(default)]
    pub started: u64,
    /// Executions started by backfills.
    #[serde(default)]
    pub backfilled: u64,
    /// Executions started because somebody asked for one.
    #[serde(default)]
    pub triggered: u64,
    /// Left out because another execution had not ended.
    #[serde(default)]
    pub skipped: u64,
    /// Left out because nobody was there in time; at least so many.
    #[serde(default)]
    pub missed: u64,
    /// No execution could be started: the graph is gone, or does not take the inputs.
    #[serde(default)]
    pub failed: u64,
}

/// What a schedule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Active,
    Paused,
    /// It has no nominal time left.
    Finished,
}

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Paused => "paused",
            Status::Finished => "finished",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleState {
    /// Grows with every change of the definition and with every pause and resumption, from 1.
    pub revision: u64,
    pub created_at: Timestamp,
    /// When the revision began.
    pub updated_at: Timestamp,
    /// Nominal times up to this one are dealt with.
    pub cursor: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<Run>,
    /// The latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Recent>,
    #[serde(default)]
    pub counts: Counts,
}

impl ScheduleState {
    /// Of a schedule that begins to be: what lies before is not its business.
    pub fn new(now: Timestamp) -> Self {
        ScheduleState {
            revision: 1,
            created_at: now,
            updated_at: now,
            cursor: now,
            paused: None,
            pending: Vec::new(),
            running: Vec::new(),
            recent: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub fn status(&self, definition: &Definition) -> Status {
        if self.paused.is_some() {
            Status::Paused
        } else if self.next_nominal(definition).is_none() && self.pending.is_empty() {
            Status::Finished
        } else {
            Status::Active
        }
    }

    /// The next nominal time that is to be dealt with.
    pub fn next_nominal(&self, definition: &Definition) -> Option<Timestamp> {
        let waiting = self.pending.iter().filter(|pending| pending.kind == FiringKind::Scheduled).count() as u64;
        let spent = self.counts.started.saturating_add(waiting);
        if definition.timing.max_fires.is_some_and(|most| spent >= most) {
            return None;
        }
        definition.timing.next_after(self.cursor)
    }

    /// Another definition takes effect. Nominal times that the old one still owed are those of the new one only if
    /// nothing was said about when.
    pub fn redefine(&mut self, old: &Definition, new: &Definition, now: Timestamp) {
        if old.timing != new.timing {
            self.cursor = self.cursor.max(now);
        }
        self.revise(now);
    }

    /// Holds it: nothing is started, and nominal times pass.
    pub fn pause(&mut self, by: &str, note: &str, now: Timestamp) {
        if self.paused.is_none() {
            self.paused = Some(Paused { since: now, by: by.to_owned(), note: cut(note, MAX_NOTE_BYTES) });
            self.revise(now);
        }
    }

    /// Goes on from now: what came meanwhile is not made up for, what waited before goes on waiting. A nominal time has
    /// come when it is to be carried out: one that jitter puts off until later is not passed over.
    pub fn resume(&mut self, id: TriggerId, definition: &Definition, now: Timestamp) {
        if self.paused.take().is_some() {
            let timing = &definition.timing;
            // All of these have come. Between them and now are no more than jitter allows.
            self.cursor = self.cursor.max(now.before(timing.jitter));
            while let Some(nominal) = timing.next_after(self.cursor)
                && timing.fires_at(id, nominal) <= now
            {
                self.cursor = nominal;
            }
            self.revise(now);
        }
    }

    fn revise(&mut self, now: Timestamp) {
        self.revision = self.revision.saturating_add(1);
        self.updated_at = self.updated_at.max(now);
    }

    /// An execution stands for this nominal time, durably. Told again, nothing changes.
    pub fn started(&mut self, definition: &Definition, firing: &Pending, execution: ExecutionId, now: Timestamp) {
        self.settle(firing);
        if self.recent.iter().any(|recent| recent.execution == Some(execution)) {
            return;
        }
        self.follow(definition, firing, execution);
        let count = match firing.kind {
            FiringKind::Scheduled => &mut self.counts.started,
            FiringKind::Backfill => &mut self.counts.backfilled,
            FiringKind::Trigger => &mut self.counts.triggered,
        };
        *count = count.saturating_add(1);
        self.remember(Recent {
            time: firing.time,
            kind: firing.kind,
            at: now,
            execution: Some(execution),
            problem: None,
        });
    }

    /// A backfill finds the execution of this nominal time there.
    pub fn was_there(&mut self, definition: &Definition, firing: &Pending, execution: ExecutionId) {
        self.settle(firing);
        self.follow(definition, firing, execution);
    }

    fn follow(&mut self, definition: &Definition, firing: &Pending, execution: ExecutionId) {
        if definition.policy.follows() && self.running.iter().all(|run| run.execution != execution) {
            self.running.push(Run { time: firing.time, execution, cancelled: false });
            let surplus = self.running.len().saturating_sub(MAX_RUNNING);
            self.running.drain(..surplus);
        }
    }

    /// No execution will ever stand for this nominal time.
    pub fn failed(&mut self, definition: &Definition, firing: &Pending, problem: &str, now: Timestamp) {
        self.settle(firing);
        self.counts.failed = self.counts.failed.saturating_add(1);
        let problem = cut(problem, MAX_PROBLEM_BYTES);
        if definition.policy.pause_on_failure {
            self.pause("schedule", &format!("a firing failed: {problem}"), now);
        }
        let (time, kind) = (firing.time, firing.kind);
        self.remember(Recent { time, kind, at: now, execution: None, problem: Some(problem) });
    }

    /// An execution has ended.
    pub fn ended(&mut self, definition: &Definition, execution: ExecutionId, failed: bool, now: Timestamp) {
        let before = self.running.len();
        self.running.retain(|run| run.execution != execution);
        if failed && before > self.running.len() && definition.policy.pause_on_failure {
            self.pause("schedule", &format!("{execution} failed"), now);
        }
    }

    /// These were asked to end.
    pub fn cancelled(&mut self, executions: &[ExecutionId]) {
        for run in &mut self.running {
            run.cancelled |= executions.contains(&run.execution);
        }
    }

    /// Takes up nominal times of the past, in order; those that wait already stay where they are. Answers how many were
    /// taken up, or how many there would be if that is more than may wait.
    pub fn backfill(&mut self, times: &[Timestamp], at_once: bool) -> Result<usize, usize> {
        let new: Vec<Timestamp> =
            times.iter().copied().filter(|time| self.pending.iter().all(|pending| pending.time != *time)).collect();
        if self.pending.len() + new.len() > MAX_PENDING {
            return Err(self.pending.len() + new.len());
        }
        let count = new.len();
        self.pending.extend(new.into_iter().map(|time| Pending { time, kind: FiringKind::Backfill, at_once }));
        Ok(count)
    }

    fn settle(&mut self, firing: &Pending) {
        if let Some(at) =
            self.pending.iter().position(|pending| pending.time == firing.time && pending.kind == firing.kind)
        {
            self.pending.remove(at);
        }
        if firing.kind == FiringKind::Scheduled {
            self.cursor = self.cursor.max(firing.time);
        }
    }

    fn remember(&mut self, recent: Recent) {
        self.recent.push(recent);
        let surplus = self.recent.len().saturating_sub(MAX_RECENT);
        self.recent.drain(..surplus);
    }
}

/// At most so many bytes of a text, whole characters.
fn cut(text: &str, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}
