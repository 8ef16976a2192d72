//! A schedule as it is kept: the row, and what its documents say.

use stepstream_shared::id::{TenantId, TriggerId};
use stepstream_shared::schedule::{Definition, ScheduleState, is_name};

use super::view::{RunView, ScheduleDetail, ScheduleView, next};
use super::{definition_of, state_of};
use crate::error::ServiceError;
use crate::ports::StoredSchedule;
use crate::reading::Reader;

/// Nominal times that are shown of what will come.
const NEXT_SHOWN: usize = 10;

pub(crate) struct Kept {
    pub(crate) row: StoredSchedule,
    pub(crate) definition: Definition,
    pub(crate) state: ScheduleState,
}

impl Kept {
    pub(crate) fn of(row: StoredSchedule) -> Result<Self, ServiceError> {
        let corrupt = |why| ServiceError::Corrupt(format!("the schedule {} cannot be read: {why}", row.id));
        let definition = definition_of(&row).map_err(corrupt)?;
        let state = state_of(&row).map_err(corrupt)?;
        Ok(Kept { row, definition, state })
    }

    pub(crate) fn view(&self) -> ScheduleView {
        ScheduleView::of(self.row.id, &self.definition, &self.state)
    }
}

pub(crate) fn no_such(reference: &str) -> ServiceError {
    let shown: String = reference.chars().filter(|c| !c.is_control()).take(80).collect();
    ServiceError::NotThere(format!("there is no schedule {shown}"))
}

impl Reader {
    /// The schedule of this id or name: what it is, when it will fire, and what it has started last.
    ///
    /// # Errors
    /// [`ServiceError::NotThere`] for one that is not there.
    pub async fn schedule(&self, tenant: &TenantId, reference: &str) -> Result<ScheduleDetail, ServiceError> {
        let kept = self.kept_schedule(tenant, reference).await?;
        let mut runs = Vec::new();
        for recent in kept.state.recent.iter().rev() {
            let state = match recent.execution {
                Some(execution) => self.store().find(tenant, execution).await?.map(|listed| listed.summary.state),
                None => None,
            };
            runs.push(RunView {
                time: recent.time,
                kind: recent.kind.name(),
                at: recent.at,
                execution_id: recent.execution,
                state,
                problem: recent.problem.clone(),
            });
        }
        let next = next(kept.row.id, &kept.definition, &kept.state, NEXT_SHOWN);
        Ok(ScheduleDetail { schedule: kept.view(), next, runs })
    }

    /// A tenant's schedules by name, after this one.
    ///
    /// # Errors
    /// When the store cannot be read, or one of them cannot.
    pub async fn schedules(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ScheduleView>, ServiceError> {
        let rows = self.store().list_schedules(tenant, after, limit).await?;
        rows.into_iter().map(|row| Kept::of(row).map(|kept| kept.view())).collect()
    }

    pub(crate) async fn kept_schedule(&self, tenant: &TenantId, reference: &str) -> Result<Kept, ServiceError> {
        let found = match reference.parse::<TriggerId>() {
            Ok(id) => self.store().schedule(tenant, id).await?,
            // What is no name is not asked for: not every store can be asked for any text.
            Err(_) if is_name(reference) => self.store().schedule_named(tenant, reference).await?,
            Err(_) => None,
        };
        Kept::of(found.ok_or_else(|| no_such(reference))?)
    }
}
