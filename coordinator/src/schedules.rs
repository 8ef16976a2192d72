//! Schedules are carried out by whoever owns their partition.
//!
//! The rows that are due within a moment are read again and again; each is looked after when its time has come, in a task
//! of its own. Owning a partition only says who tries: an execution's id follows from its nominal time, and a row is
//! changed by whoever has seen what it says, so two who both think that they own it do what one does.

mod attend;
mod kept;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stepstream_runtime::clock::Clock;
use stepstream_shared::id::{TenantId, TriggerId};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ownership::OwnedPartitions;
use crate::ports::{DueCursor, EventStore, StoredSchedule};
use crate::service::Service;

pub(crate) use attend::{Begun, NotBegun, RunState, Runs};
use attend::{definition_of, state_of};
pub(crate) use kept::{Kept, no_such};
pub use view::{CountsView, NextFiring, PausedView, RunView, ScheduleDetail, ScheduleView};

use attend::attend;

/// How often the rows are read: what is changed through another coordinator is seen within this time.
const LOOK: Duration = Duration::from_millis(500);
/// How far ahead they are read, so that a firing waits for its moment and not for a look.
const AHEAD: Duration = Duration::from_secs(1);
/// Rows read at a time.
const PAGE: u32 = 256;
/// Schedules that wait for their moment in memory, or are looked after.
const BUSY: usize = 4096;
/// Schedules looked after at the same time.
const AT_A_TIME: usize = 32;
/// How long a schedule is left alone whose row makes no sense: waiting mends nothing.
const LEAVE_ALONE: Duration = Duration::from_secs(60);

/// Looks after the schedules of the partitions that this coordinator owns.
pub(crate) struct Schedules {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) service: Service,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) owned: OwnedPartitions,
    /// Something was changed here.
    pub(crate) changed: Arc<Notify>,
}

/// Who is being looked after, and who is left alone for a while.
#[derive(Default)]
struct Busy {
    now: HashSet<TriggerId>,
    left_alone: HashMap<TriggerId, Instant>,
}

impl Schedules {
    /// Until `shutdown`. What is under way then is given up: whoever comes next does it again, once.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let this = Arc::new(self);
        let busy = Arc::new(Mutex::new(Busy::default()));
        let room = Arc::new(Semaphore::new(AT_A_TIME));
        let mut tasks = JoinSet::new();
        while !shutdown.is_cancelled() {
            while tasks.try_join_next().is_some() {}
            this.look(&busy, &room, &mut tasks).await;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = this.changed.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn look(&self, busy: &Arc<Mutex<Busy>>, room: &Arc<Semaphore>, tasks: &mut JoinSet<()>) {
        let partitions = self.owned.list();
        if partitions.is_empty() {
            return;
        }
        lock(busy).left_alone.retain(|_, until| *until > Instant::now());
        let before = self.clock.now().after(AHEAD);
        let mut after = None;
        loop {
            let page = match self.store.due_schedules(&partitions, before, after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the schedules were not read; trying again"
                    );
                    return;
                }
            };
            let Some((last, next_at)) = page.last().and_then(|row| Some((row.id, row.next_at?))) else { return };
            after = Some(DueCursor { next_at, id: last });
            for row in page {
                let free = {
                    let mut busy = lock(busy);
                    if busy.now.len() >= BUSY {
                        return; // The earliest come first; the others have to wait anyhow.
                    }
                    !busy.left_alone.contains_key(&row.id) && busy.now.insert(row.id)
                };
                if free {
                    tasks.spawn(self.when_due(row, busy.clone(), room.clone()));
                }
            }
        }
    }

    fn when_due(
        &self,
        row: StoredSchedule,
        busy: Arc<Mutex<Busy>>,
        room: Arc<Semaphore>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let StoredSchedule { tenant, id, partition, next_at, .. } = row;
        let (store, service, clock, owned) =
            (self.store.clone(), self.service.clone(), self.clock.clone(), self.owned.clone());
        let attended = Attended { id, busy };
        async move {
            let wait = next_at.map_or(Duration::ZERO, |next_at| next_at.since(clock.now()));
            tokio::time::sleep(wait).await;
            let _permit = room.acquire_owned().await;
            if !owned.contains(partition) {
                return;
            }
            if let Err(error) = attend(&*store, &service, &*clock, &tenant, id).await
                && !tell(&tenant, id, &error)
            {
                lock(&attended.busy).left_alone.insert(id, Instant::now() + LEAVE_ALONE);
            }
        }
    }
}

/// That somebody looks after a schedule is over with this, however that ended.
struct Attended {
    id: TriggerId,
    busy: Arc<Mutex<Busy>>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        lock(&self.busy).now.remove(&self.id);
    }
}

/// Says what went wrong; whether trying again soon may help.
fn tell(tenant: &TenantId, id: TriggerId, error: &attend::AttendError) -> bool {
    let passing = error.is_passing();
    if passing {
        tracing::debug!(%tenant, schedule = %id, %error, "a schedule was not looked after; trying again");
    } else {
        tracing::error!(%tenant, schedule = %id, %error, "a schedule cannot be looked after");
    }
    passing
}

/// A set is whole after any panic.
fn lock(busy: &Mutex<Busy>) -> std::sync::MutexGuard<'_, Busy> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}
