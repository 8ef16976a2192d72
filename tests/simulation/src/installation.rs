//! The processes of a run: coordinators and workers, which die and are followed by others.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepstream_coordinator::ports::{EventStore, StoredGraph};
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::{AtRest, Options, Service, start_by};
use stepstream_runtime::clock::Clock;
use stepstream_shared::id::TenantId;
use stepstream_worker::Worker;
use tokio::time::{Instant, sleep};

use crate::book::MOST_SKEW;
use crate::bus::Line;
use crate::process::Process;
use crate::store::Connection;
use crate::work::{pool, work};
use crate::world::World;

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(100_000);

#[derive(Clone)]
pub struct RunningCoordinator {
    pub process: Arc<Process>,
    pub service: Service,
}

/// All processes, living and dead.
#[derive(Clone)]
pub struct Installation {
    pub world: Arc<World>,
    pub tenant: TenantId,
    /// The graphs of this run.
    graphs: Arc<[usize]>,
    processes: Arc<Mutex<Processes>>,
}

#[derive(Default)]
struct Processes {
    coordinators: Vec<RunningCoordinator>,
    workers: Vec<Arc<Process>>,
    named: u32,
}

impl Installation {
    pub fn new(world: Arc<World>, graphs: &[usize]) -> Self {
        Installation { world, tenant: TenantId::default_tenant(), graphs: graphs.into(), processes: Arc::default() }
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the graphs of this run into the store, as if they had been registered long ago.
    pub async fn register(&self) {
        for place in &*self.graphs {
            let work = &pool()[*place];
            let stored = StoredGraph {
                digest: work.graph.digest,
                name: work.graph.name.clone(),
                version: work.graph.version.clone(),
                document: work.document.clone(),
                registered_at: self.world.clock(0).now(),
            };
            if let Err(error) = self.world.store.put_graph(&self.tenant, &stored).await {
                self.world.book().broken.push(format!("the store in memory refused a graph: {error}"));
            }
        }
    }

    /// Spares a reader the compiling.
    pub fn remember(&self, reader: &Reader) {
        for place in &*self.graphs {
            reader.remember(&self.tenant, pool()[*place].graph.clone());
        }
    }

    fn name(&self, of: &str) -> String {
        let mut processes = self.processes();
        processes.named += 1;
        format!("{of}{}", processes.named)
    }

    /// A coordinator that comes up, whatever the store does meanwhile.
    pub async fn add_coordinator(&self) {
        let process = Process::new(self.name("c"), self.world.clone());
        let skew = i64::try_from(self.world.chance().below(MOST_SKEW.unsigned_abs())).unwrap_or(0);
        let clock: Arc<dyn Clock> = Arc::new(self.world.clock(skew));
        let options = Options {
            name: process.name.clone(),
            lease: Duration::from_secs(2),
            lanes: 2,
            redispatch_after: Duration::from_secs(6),
            background_limit: NonZeroUsize::MIN,
            at_rest: AtRest {
                horizon: Duration::from_secs(5),
                look: Duration::from_secs(2),
                quiet: Duration::from_secs(2),
                most: 4,
            },
            ..Options::default()
        };
        self.world.note(&process.name, "starts", 0, String::new);
        loop {
            let store = Arc::new(Connection::new(process.clone()));
            let bus = Arc::new(Line::new(process.clone()));
            match start_by(clock.clone(), options.clone(), store, bus, process.shutdown.token()).await {
                Ok(coordinator) => {
                    self.remember(coordinator.service.reader());
                    let service = coordinator.service.clone();
                    self.processes().coordinators.push(RunningCoordinator { process, service });
                    return;
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub fn add_worker(&self) {
        let process = Process::new(self.name("w"), self.world.clone());
        let built = Worker::builder()
            .bus(Arc::new(Line::new(process.clone())))
            .name(process.name.clone())
            .slots(4)
            .grace(Duration::from_secs(1))
            .register("work", work)
            .build();
        self.world.note(&process.name, "starts", 0, String::new);
        match built {
            Ok(worker) => {
                tokio::spawn(worker.run(process.shutdown.clone()));
                self.processes().workers.push(process);
            }
            Err(error) => self.world.book().broken.push(format!("no worker: {error}")),
        }
    }

    /// Those that live and have not been asked to stop.
    pub fn coordinators(&self) -> Vec<RunningCoordinator> {
        let processes = self.processes();
        let lives = |each: &&RunningCoordinator| !each.process.is_dead() && !each.process.shutdown.is_requested();
        processes.coordinators.iter().filter(lives).cloned().collect()
    }

    pub fn workers(&self) -> Vec<Arc<Process>> {
        let processes = self.processes();
        let lives = |each: &&Arc<Process>| !each.is_dead() && !each.shutdown.is_requested();
        processes.workers.iter().filter(lives).cloned().collect()
    }

    /// The end of what stands in the way of those that live: of all, or of the last of each kind only. Then the others
    /// stand still from now on.
    pub fn heal(&self, only_core: bool) {
        let now = Instant::now();
        let coordinators: Vec<Arc<Process>> = self.coordinators().into_iter().map(|each| each.process).collect();
        for kind in [coordinators, self.workers()] {
            for (place, process) in kind.iter().rev().enumerate() {
                let sound = place == 0 || !only_core;
                process.stall(if sound { now } else { now + FOR_EVER });
                process.cut_off(now);
                process.take_store_away(now);
            }
        }
    }
}
