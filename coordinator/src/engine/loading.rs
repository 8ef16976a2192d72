//! Executions into memory: because something waits for them, a partition was taken over, or their moment comes.

use stepstream_runtime::bus::{Asked, Delivery};
use stepstream_shared::execution::{Command, ExecutionState, Rest, StepState};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::Outcome;

use super::commit::Occasion;
use super::dispatch::Settlement;
use super::live::Live;
use super::request::Request;
use super::{Engine, Input};
use crate::error::ServiceError;
use crate::incarnation;
use crate::ports::{Agenda, StoreError};
use crate::reading::{Loaded, ReadError};
use crate::recovery::Permit;

/// Something that waits for an execution to be loaded.
pub(super) enum Waiting {
    Outcome(TenantId, Box<Delivery<Outcome>>),
    Asked(Box<Asked>),
    Request(Box<Request>),
    /// Nobody asks; it is to be driven. With leave to load it, if that was asked for.
    Nobody(TenantId, Option<Permit>),
}

impl Engine {
    /// Loads an execution in a task of its own; what waits for it is taken when it is there. Whoever knows its place on the
    /// agenda saves the task a question.
    pub(super) fn load(&mut self, tenant: &TenantId, id: ExecutionId, agenda: Option<Agenda>, waiting: Waiting) {
        if let Some(queue) = self.loading.get_mut(&id) {
            queue.push(waiting);
            return;
        }
        self.loading.insert(id, vec![waiting]);
        let (reader, tenant, sender) = (self.reader.clone(), tenant.clone(), self.sender.clone());
        tokio::spawn(async move {
            let loaded = reader.load_present(&tenant, id).await;
            let agenda = match agenda {
                // Not knowing costs a row written once more than needed.
                None if loaded.is_ok() => reader.store().agenda(&tenant, id).await.ok(),
                known => known,
            };
            if let Some(sender) = sender.upgrade() {
                let _ = sender.send(Input::Loaded(id, Box::new(loaded), agenda)).await; // The engine may have stopped.
            }
        });
    }

    pub(super) async fn loaded(&mut self, id: ExecutionId, result: Result<Loaded, ReadError>, agenda: Option<Agenda>) {
        let waiting = self.loading.remove(&id).unwrap_or_default();
        match result {
            Ok(loaded) => {
                let partition = PartitionId::of(id, self.meta.partitions);
                if !self.held.contains_key(&partition) {
                    let error = ReadError::Store(StoreError::Unavailable(anyhow::anyhow!("the partition has moved")));
                    self.refuse_all(id, waiting, &error);
                    return;
                }
                if !self.live.contains_key(&id) {
                    let restored = incarnation::of_epoch(loaded.last_epoch) < self.meta.incarnation;
                    self.bring_in(id, loaded, agenda, partition, restored).await;
                }
                for each in waiting {
                    self.serve(id, each).await;
                }
                let over = |live: &Live| live.execution.rest() == Rest::Over && live.in_flight == 0;
                if self.live.get(&id).is_some_and(over) {
                    self.live.remove(&id);
                }
            }
            // It has no log, or none under this tenant: a start may go on, everything else is refused.
            Err(ReadError::NotFound(_)) => {
                for each in waiting {
                    self.serve(id, each).await;
                }
            }
            Err(error) => {
                tracing::error!(execution = %id, error = &error as &dyn std::error::Error, "an execution was not loaded");
                self.refuse_all(id, waiting, &error);
            }
        }
    }

    async fn serve(&mut self, id: ExecutionId, waiting: Waiting) {
        match waiting {
            Waiting::Outcome(tenant, delivery) => self.live_outcome(id, &tenant, *delivery).await,
            Waiting::Asked(asked) => self.live_asked(id, *asked).await,
            Waiting::Request(request) => self.live_request(*request).await,
            Waiting::Nobody(_, permit) => drop(permit), // The next one may be loaded.
        }
    }

    fn refuse_all(&mut self, id: ExecutionId, waiting: Vec<Waiting>, error: &ReadError) {
        // What the store could not give now is asked for again; what cannot be read stays set aside.
        let rest = match error {
            ReadError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                std::time::Duration::from_millis(500)
            }
            _ => std::time::Duration::from_secs(30),
        };
        let mut tenant = None;
        for each in waiting {
            match each {
                Waiting::Outcome(of, delivery) => {
                    tenant = Some(of);
                    self.settle(Settlement::Nak(delivery.settle, rest));
                }
                Waiting::Request(request) => {
                    tenant = Some(request.tenant.clone());
                    let _ = request.reply.send(Err(ServiceError::from_read(error))); // The caller may have gone.
                }
                // Whoever asks goes on asking.
                Waiting::Asked(asked) => tenant = Some(asked.tenant),
                Waiting::Nobody(of, _) => tenant = Some(of),
            }
        }
        if let (Some(tenant), ReadError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_))) = (tenant, error) {
            self.reload.insert((tenant, id));
        }
    }

    /// Drives an execution from now on: what it owes is handed to the bus, its deadlines are kept. `restored`: the store has
    /// begun another incarnation since its log was written last.
    async fn bring_in(
        &mut self,
        id: ExecutionId,
        loaded: Loaded,
        agenda: Option<Agenda>,
        partition: PartitionId,
        restored: bool,
    ) {
        self.next_generation += 1;
        let now = self.clock.now();
        let mut live = Live::from_log(loaded, agenda, partition, self.next_generation, now);
        let terminal = live.execution.state().is_terminal();
        if restored && !terminal {
            // What workers have in hand they had from a store that is gone. All that is owed follows from this event.
            self.live.insert(id, live);
            let command = Command::Restored { incarnation: self.meta.incarnation };
            self.act(id, command, Occasion::restore()).await;
            self.run_errands(id);
            self.ask_for_all_permits(id);
            self.watch(id);
            return;
        }
        let jobs = live.execution.open_steps().filter_map(|step| live.execution.job(&live.graph, step));
        // What runs is heard of also while the execution is held; what waits for a worker is withheld then.
        let (running, mut waiting): (Vec<_>, Vec<_>) = jobs.partition(|job| job.running);
        if live.execution.state() != ExecutionState::Running {
            live.doubtful = waiting.drain(..).map(|job| job.ordinal).collect();
        }
        self.live.insert(id, live);
        if terminal {
            // What it owes after its end.
            self.run_errands(id);
            self.watch(id);
            return;
        }
        for job in running {
            // Its worker has a lease's time to show that it lives.
            let entry = super::live::Dispatched {
                attempt: job.attempt,
                dispatch: 0,
                sequence: None,
                sign_of_life: now,
                looked_at: now,
                heartbeat: job.heartbeat,
            };
            if let Some(live) = self.live.get_mut(&id) {
                live.dispatched.insert(job.ordinal, entry);
            }
            self.expect_heartbeat(id, job.ordinal);
        }
        self.dispatch(id, waiting);
        self.run_errands(id);
        self.ask_for_all_permits(id);
        self.watch(id);
    }

    /// Loads what was thrown away because the store was unreachable or somebody else had written.
    pub(super) fn reload(&mut self) {
        let now = self.clock.now();
        if self.reload.is_empty() || now < self.reload_due {
            return;
        }
        self.reload_due = now.after(std::time::Duration::from_millis(500));
        for (tenant, id) in std::mem::take(&mut self.reload) {
            let partition = PartitionId::of(id, self.meta.partitions);
            if self.held.contains_key(&partition) && !self.live.contains_key(&id) {
                self.load(&tenant, id, None, Waiting::Nobody(tenant.clone(), None));
            }
        }
    }

    /// Whether the present attempt of a step is on record as running.
    pub(super) fn is_running(live: &Live, ordinal: u32, attempt: u32) -> bool {
        live.execution.step(ordinal).is_some_and(|step| {
            step.attempt() == attempt && matches!(step.state(), StepState::Running | StepState::Claimed)
        })
    }
}
