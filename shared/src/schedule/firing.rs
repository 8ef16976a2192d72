//! One firing: which execution it starts, and what its graph is told.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::definition::Definition;
use crate::data::Data;
use crate::error::ExecutionError;
use crate::graph::expression::{ExpressionError, OutputView, Scope, StepView};
use crate::id::{ExecutionId, TenantId, TriggerId};
use crate::time::Timestamp;

/// Why an execution is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiringKind {
    /// Its nominal time came.
    Scheduled,
    /// Somebody asked for a range of nominal times.
    Backfill,
    /// Somebody asked for one now.
    Trigger,
}

impl FiringKind {
    pub const fn name(self) -> &'static str {
        match self {
            FiringKind::Scheduled => "scheduled",
            FiringKind::Backfill => "backfill",
            FiringKind::Trigger => "trigger",
        }
    }
}

/// The execution of a nominal time: a pure function, so that starting it twice starts it once.
pub fn firing_id(tenant: &TenantId, schedule: TriggerId, nominal: Timestamp) -> ExecutionId {
    let time = nominal.as_micros().to_be_bytes();
    ExecutionId::derived("stepstream 2026 schedule firing", &[tenant.as_str().as_bytes(), schedule.as_bytes(), &time])
}

/// The execution that somebody asks for under a key of theirs.
pub fn triggered_id(tenant: &TenantId, schedule: TriggerId, key: &str) -> ExecutionId {
    let parts = [tenant.as_str().as_bytes(), schedule.as_bytes(), key.as_bytes()];
    ExecutionId::derived("stepstream 2026 schedule trigger", &parts)
}

/// What fires.
#[derive(Debug, Clone, Copy)]
pub struct Firing<'a> {
    pub id: TriggerId,
    pub definition: &'a Definition,
    /// The nominal time; of a trigger, when it was asked for.
    pub time: Timestamp,
    pub kind: FiringKind,
}

impl Firing<'_> {
    /// What stands in the execution's first event, under `schedule`.
    pub fn metadata(&self) -> Json {
        json!({"schedule": {
            "id": self.id,
            "name": self.definition.name,
            "time": shown(self.time),
            "kind": self.kind,
        }})
    }

    /// What expressions see as `schedule`: `id`, `name`, `time` (RFC 3339, UTC), `local` and `date` in the time zone of the
    /// schedule, and `time_zone`. Nothing in it depends on who fires, when, or how often.
    pub fn seen(&self) -> Json {
        let zone = self.definition.timing.zone;
        let local = DateTime::<Utc>::from_timestamp_micros(self.time.as_micros()).map(|utc| utc.with_timezone(&zone));
        json!({
            "id": self.id,
            "name": self.definition.name,
            "time": shown(self.time),
            "local": local.map(|local| local.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            "date": local.map(|local| local.format("%Y-%m-%d").to_string()),
            "time_zone": zone.name(),
        })
    }

    /// The inputs of the execution.
    ///
    /// # Errors
    /// Why an expression in them gives nothing.
    pub fn inputs(&self) -> Result<Data, ExpressionError> {
        let seen = Data::from_json(&self.seen()).unwrap_or_else(|_| Data::null());
        self.definition.inputs.evaluate(&Seen { schedule: seen, nothing: Data::null() })
    }
}

/// Without the fraction of a second that nominal times do not have.
fn shown(time: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp_micros(time.as_micros())
        .map_or_else(|| time.to_string(), |utc| utc.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// There is no execution yet: only the schedule is there.
struct Seen {
    schedule: Data,
    nothing: Data,
}

impl Scope for Seen {
    fn inputs(&self) -> &Data {
        &self.nothing
    }

    fn step(&self, _: &str) -> Option<StepView<'_>> {
        None
    }

    fn output(&self) -> Option<OutputView<'_>> {
        None
    }

    fn error(&self) -> Option<&ExecutionError> {
        None
    }

    fn item(&self) -> Option<(&Data, u32)> {
        None
    }

    fn iteration(&self) -> Option<u32> {
        None
    }

    fn execution_id(&self) -> String {
        String::new()
    }

    fn schedule(&self) -> Data {
        self.schedule.clone()
    }
}
