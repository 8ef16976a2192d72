//! What people ask of schedules.
//!
//! A change is a change of the schedule's row by whoever has seen it; the owner of its partition sees it soon. Nothing here
//! waits for the owner.

use async_trait::async_trait;
use serde_json::Value;
use stepstream_runtime::random;
use stepstream_shared::data::Data;
use stepstream_shared::event::{Actor, ParentLink, ParentType};
use stepstream_shared::execution::Steering;
use stepstream_shared::graph::{LimitOverrides, Source};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId, TriggerId};
use stepstream_shared::schedule::{
    Definition, Firing, FiringKind, MAX_NOTE_BYTES, MAX_PENDING, Pending, ScheduleState, triggered_id,
};
use stepstream_shared::time::Timestamp;
use stepstream_shared::wire::{Forwarded, ForwardedRequest, PROTOCOL};

use super::{Ask, MAX_KEY_BYTES, Service, ServiceError, Started};
use crate::ports::{MAX_SCHEDULES, ScheduleStore, ScheduleWritten, StoredSchedule};
use crate::schedules::{Begun, Kept, NotBegun, RunState, Runs, ScheduleView, no_such};

/// How often a change is tried again that the firing of the schedule came before.
const TRIES: usize = 16;
/// Most nominal times of one backfill.
pub const BACKFILL_MOST: usize = MAX_PENDING;

/// What is to be changed of a schedule.
#[derive(Debug, Clone)]
pub enum ScheduleChange {
    /// Another document in the place of the old one: the name of the file says how to read it.
    Replace {
        file: String,
        text: String,
    },
    /// Some fields of it, as RFC 7396 says: null takes one away.
    Merge(Value),
    Pause {
        note: String,
    },
    Resume,
}

/// A range of nominal times that are to be carried out although they are over.
#[derive(Debug, Clone, Copy)]
pub struct Backfill {
    /// The first nominal time is not before this moment.
    pub from: Timestamp,
    /// The last one is not after this one, which is not in the future.
    pub to: Timestamp,
    /// All at once, and not one after the other.
    pub at_once: bool,
}

/// What a backfill will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfilled {
    /// Nominal times in the range.
    pub found: usize,
    /// Those of them that did not wait already.
    pub taken_up: usize,
}

impl Service {
    /// Makes a schedule. It begins now: nominal times before are for a backfill.
    ///
    /// # Errors
    /// [`ServiceError::BadSchedule`] with every problem of the document; [`ServiceError::GraphNotFound`] and
    /// [`ServiceError::InvalidInputs`] for what would fail at every firing; [`ServiceError::ScheduleConflict`] for a name
    /// that is taken; [`ServiceError::Full`] for one more than [`MAX_SCHEDULES`].
    pub async fn create_schedule(
        &self,
        tenant: &TenantId,
        file: &str,
        text: &str,
        paused: Option<(&str, &str)>,
    ) -> Result<ScheduleView, ServiceError> {
        let now = self.0.clock.now();
        let definition = self.checked_schedule(tenant, None, file, text, now).await?;
        let id: TriggerId = random::id(now);
        let mut state = ScheduleState::new(now);
        if let Some((by, note)) = paused {
            check_note(note)?;
            state.pause(by, note, now);
            state.revision = 1;
        }
        let row = StoredSchedule {
            tenant: tenant.clone(),
            id,
            partition: PartitionId::of_schedule(id, self.0.meta.partitions),
            name: definition.name.clone(),
            version: 1,
            next_at: Some(now),
            definition: definition.document().to_owned(),
            state: encoded(&state)?,
        };
        let written = self.schedule_store().write_schedule(&row).await;
        let written = match written {
            // Whether it was written, the row says.
            Err(crate::ports::StoreError::Unknown(_))
                if self.schedule_store().schedule(tenant, id).await?.is_some() =>
            {
                ScheduleWritten::Done
            }
            other => other?,
        };
        match written {
            ScheduleWritten::Done => {
                self.0.schedules_changed.notify_one();
                Ok(ScheduleView::of(id, &definition, &state))
            }
            ScheduleWritten::NameTaken => Err(name_taken(&definition.name)),
            ScheduleWritten::Full => Err(ServiceError::Full(format!(
                "there are {MAX_SCHEDULES} schedules already (schedule limit); delete one that has finished"
            ))),
            ScheduleWritten::Conflict => Err(ServiceError::Internal(format!("the fresh id {id} is taken"))),
        }
    }

    /// Changes a schedule, if it is still in this revision.
    ///
    /// # Errors
    /// As of [`Service::create_schedule`], and [`ServiceError::ScheduleConflict`] for another revision.
    pub async fn change_schedule(
        &self,
        tenant: &TenantId,
        reference: &str,
        by: &str,
        change: ScheduleChange,
        revision: Option<u64>,
    ) -> Result<ScheduleView, ServiceError> {
        for _ in 0..TRIES {
            let mut kept = self.reader().kept_schedule(tenant, reference).await?;
            let found = kept.state.revision;
            if let Some(expected) = revision.filter(|expected| *expected != found) {
                let name = &kept.definition.name;
                return Err(ServiceError::ScheduleConflict(format!(
                    "the schedule {name} is in revision {found}, not {expected}: somebody has changed it; look at it again"
                )));
            }
            let now = self.0.clock.now();
            match &change {
                ScheduleChange::Replace { file, text } => {
                    let new = self.checked_schedule(tenant, Some(kept.row.id), file, text, now).await?;
                    redefine(&mut kept, new, now);
                }
                ScheduleChange::Merge(patch) => {
                    let mut document = kept.definition.to_json();
                    merge(&mut document, patch, 0);
                    let text = serde_json::to_string_pretty(&document)
                        .map_err(|error| ServiceError::Internal(error.to_string()))?;
                    let new = self.checked_schedule(tenant, Some(kept.row.id), "schedule.json", &text, now).await?;
                    redefine(&mut kept, new, now);
                }
                ScheduleChange::Pause { note } => {
                    check_note(note)?;
                    kept.state.pause(by, note, now);
                }
                ScheduleChange::Resume => kept.state.resume(kept.row.id, &kept.definition, now),
            }
            match self.rewrite(&mut kept, now).await? {
                ScheduleWritten::Done => return Ok(kept.view()),
                ScheduleWritten::NameTaken => return Err(name_taken(&kept.definition.name)),
                // It fired meanwhile, or somebody else changed it.
                ScheduleWritten::Conflict | ScheduleWritten::Full => {}
            }
        }
        Err(contended())
    }

    /// Forgets a schedule. What it has started goes on.
    pub async fn delete_schedule(&self, tenant: &TenantId, reference: &str) -> Result<TriggerId, ServiceError> {
        let id = self.reader().kept_schedule(tenant, reference).await?.row.id;
        if self.schedule_store().remove_schedule(tenant, id).await? { Ok(id) } else { Err(no_such(reference)) }
    }

    /// Starts an execution of a schedule now, whatever else runs, and whether or not it is paused. The same key again is
    /// the same execution.
    pub async fn trigger_schedule(
        &self,
        tenant: &TenantId,
        reference: &str,
        by: &str,
        key: Option<&str>,
    ) -> Result<Started, ServiceError> {
        if let Some(key) = key.filter(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
            let found = key.len();
            return Err(ServiceError::TooLarge(format!(
                "the idempotency key is {found} bytes; it has 1 to {MAX_KEY_BYTES}"
            )));
        }
        let mut kept = self.reader().kept_schedule(tenant, reference).await?;
        let now = self.0.clock.now();
        let execution = match key {
            Some(key) => triggered_id(tenant, kept.row.id, key),
            None => self.fresh_id(),
        };
        let pending = Pending { time: now, kind: FiringKind::Trigger, at_once: true };
        let firing = Firing { id: kept.row.id, definition: &kept.definition, time: now, kind: pending.kind };
        let created = match self.begin_firing(tenant, execution, firing, Actor::User(by.to_owned())).await? {
            Begun::Now => true,
            Begun::Before => false,
        };
        for _ in 0..TRIES {
            if !created {
                break;
            }
            kept.state.started(&kept.definition, &pending, execution, now);
            // It runs, whatever becomes of the note that it does.
            match self.rewrite(&mut kept, now).await {
                Ok(ScheduleWritten::Conflict) => match self.reader().kept_schedule(tenant, reference).await {
                    Ok(again) => kept = again,
                    Err(_) => break,
                },
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%execution, %error, "the schedule does not know of an execution that it was to start");
                    break;
                }
            }
        }
        Ok(Started { execution, created })
    }

    /// Carries out nominal times of the past, those that were carried out already excepted: they find their execution
    /// there. Answers when they are taken up, durably; they are carried out from then on.
    ///
    /// # Errors
    /// [`ServiceError::InvalidForm`] for a range that ends before it begins or in the future;
    /// [`ServiceError::TooLarge`] for more than [`BACKFILL_MOST`].
    pub async fn backfill_schedule(
        &self,
        tenant: &TenantId,
        reference: &str,
        range: Backfill,
    ) -> Result<Backfilled, ServiceError> {
        let Backfill { from, to, at_once } = range;
        let now = self.0.clock.now();
        if to < from {
            return Err(ServiceError::InvalidForm(vec![format!("`to` ({to}) lies before `from` ({from})")]));
        }
        if to > now {
            let problem = format!("`to` ({to}) is in the future: what comes is carried out when it comes");
            return Err(ServiceError::InvalidForm(vec![problem]));
        }
        for _ in 0..TRIES {
            let mut kept = self.reader().kept_schedule(tenant, reference).await?;
            let before = Timestamp::from_micros(from.as_micros().saturating_sub(1));
            let timing = &kept.definition.timing;
            let times: Vec<Timestamp> =
                std::iter::successors(timing.next_after(before), |time| timing.next_after(*time))
                    .take_while(|time| *time <= to)
                    .take(BACKFILL_MOST + 1)
                    .collect();
            let too_many = |count: usize| {
                ServiceError::TooLarge(format!(
                    "{count} nominal times or more would wait; the limit is {BACKFILL_MOST} (backfill limit): ask for a \
                     shorter range, then for the rest"
                ))
            };
            if times.len() > BACKFILL_MOST {
                return Err(too_many(times.len()));
            }
            let taken_up = kept.state.backfill(&times, at_once).map_err(too_many)?;
            let done = Backfilled { found: times.len(), taken_up };
            if taken_up == 0 || self.rewrite(&mut kept, now).await? == ScheduleWritten::Done {
                return Ok(done);
            }
        }
        Err(contended())
    }

    fn schedule_store(&self) -> &dyn ScheduleStore {
        &**self.reader().store()
    }

    /// Writes what has changed, in the place of what was read; its owner looks at it at once.
    async fn rewrite(&self, kept: &mut Kept, now: Timestamp) -> Result<ScheduleWritten, ServiceError> {
        let row = StoredSchedule {
            version: kept.row.version.saturating_add(1),
            name: kept.definition.name.clone(),
            definition: kept.definition.document().to_owned(),
            state: encoded(&kept.state)?,
            next_at: Some(now),
            ..kept.row.clone()
        };
        let written = self.schedule_store().write_schedule(&row).await?;
        if written == ScheduleWritten::Done {
            kept.row = row;
            self.0.schedules_changed.notify_one();
        }
        Ok(written)
    }

    /// Reads a document and tries what would fail at every firing.
    async fn checked_schedule(
        &self,
        tenant: &TenantId,
        id: Option<TriggerId>,
        file: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<Definition, ServiceError> {
        let (file, text) = (file.to_owned(), text.to_owned());
        // Looking for a day that never comes takes a while.
        let read =
            tokio::task::spawn_blocking(move || Definition::read(&Source { name: &file, text: &text }, Some(now)));
        let definition = read
            .await
            .map_err(|error| ServiceError::Internal(error.to_string()))?
            .map_err(|problems| ServiceError::BadSchedule(problems.to_string()))?;
        let graph = self.reader().find_graph(tenant, &definition.graph).await?;
        let time = definition.timing.next_after(now).unwrap_or(now);
        let id = id.unwrap_or_else(|| random::id(now));
        let firing = Firing { id, definition: &definition, time, kind: FiringKind::Scheduled };
        let inputs = firing.inputs().map_err(|error| ServiceError::InvalidInputs(vec![error.to_string()]))?;
        let problems = graph.input_problems(&inputs.to_json());
        if problems.is_empty() { Ok(definition) } else { Err(ServiceError::InvalidInputs(problems)) }
    }

    async fn begin_firing(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        firing: Firing<'_>,
        actor: Actor,
    ) -> Result<Begun, ServiceError> {
        let graph = self.reader().find_graph(tenant, &firing.definition.graph).await?;
        let inputs = firing.inputs().map_err(|error| ServiceError::InvalidInputs(vec![error.to_string()]))?;
        let metadata =
            Data::from_json(&firing.metadata()).map_err(|error| ServiceError::Internal(error.to_string()))?;
        let parent = ParentLink::of(ParentType::ScheduleEvent, firing.id.to_string());
        let what = ForwardedRequest::Start {
            graph: graph.digest,
            inputs,
            request_hash: None,
            metadata: Some(metadata),
            breakpoints: Vec::new(),
            parent: Some(parent),
            planning: false,
            background: None,
            limits: LimitOverrides::default(),
        };
        // With a key, because the id may be there already.
        let key = Some(format!("{}/{}", firing.id, firing.time.as_micros()));
        let request = Forwarded { protocol: PROTOCOL, execution, actor, key, trace: None, what };
        match self.submit(tenant, request).await {
            Ok(()) => Ok(Begun::Now),
            Err(ServiceError::KeyConflict) => Ok(Begun::Before),
            Err(other) => Err(other),
        }
    }
}

fn redefine(kept: &mut Kept, new: Definition, now: Timestamp) {
    kept.state.redefine(&kept.definition, &new, now);
    kept.definition = new;
}

#[async_trait]
impl Runs for Service {
    async fn begin(&self, tenant: &TenantId, execution: ExecutionId, firing: Firing<'_>) -> Result<Begun, NotBegun> {
        self.begin_firing(tenant, execution, firing, Actor::System).await.map_err(|error| match error {
            ServiceError::GraphNotFound(_)
            | ServiceError::BadGraph(_)
            | ServiceError::InvalidInputs(_)
            | ServiceError::TooLarge(_) => NotBegun::Never(error.to_string()),
            other => NotBegun::Yet(other),
        })
    }

    async fn look(&self, tenant: &TenantId, execution: ExecutionId) -> Result<RunState, ServiceError> {
        if let Some(listed) = self.reader().store().find(tenant, execution).await? {
            return Ok(match listed.summary.terminal {
                true => RunState::Ended { failed: listed.summary.state == "Failed" },
                false => RunState::Open,
            });
        }
        // The list may be in the making.
        match self.load(tenant, execution, None).await {
            Ok(loaded) if loaded.execution.state().is_terminal() => {
                Ok(RunState::Ended { failed: loaded.execution.state().name() == "Failed" })
            }
            Ok(_) => Ok(RunState::Open),
            Err(ServiceError::NotFound(_)) => Ok(RunState::Absent),
            Err(other) => Err(other),
        }
    }

    async fn end(&self, tenant: &TenantId, schedule: TriggerId, execution: ExecutionId) -> Result<(), ServiceError> {
        let ask = Ask {
            what: Steering::Cancel { reason: "the next execution of its schedule is to begin".to_owned() },
            by: schedule.to_string(),
            idempotency_key: Some(format!("overlap/{schedule}")),
        };
        match self.steer(tenant, execution, ask).await {
            // It is over, or ends already.
            Ok(()) | Err(ServiceError::Conflict(_) | ServiceError::NotFound(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

fn encoded(state: &ScheduleState) -> Result<String, ServiceError> {
    serde_json::to_string(state).map_err(|error| ServiceError::Internal(error.to_string()))
}

fn check_note(note: &str) -> Result<(), ServiceError> {
    if note.len() > MAX_NOTE_BYTES {
        let found = note.len();
        return Err(ServiceError::TooLarge(format!(
            "the note is {found} bytes; the limit is {MAX_NOTE_BYTES} (note limit)"
        )));
    }
    Ok(())
}

fn name_taken(name: &str) -> ServiceError {
    ServiceError::ScheduleConflict(format!("there is a schedule {name} already; change it, or choose another name"))
}

fn contended() -> ServiceError {
    ServiceError::Unavailable("the schedule changes faster than it can be changed; try again".to_owned())
}

/// RFC 7396. No deeper than a document may be; what lies below is taken as it is.
fn merge(target: &mut Value, patch: &Value, depth: usize) {
    const DEEPEST: usize = 64;
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if depth >= DEEPEST {
        *target = patch.clone();
        return;
    }
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(object) = target else { return };
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value, depth + 1);
        }
    }
}
