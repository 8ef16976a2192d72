//! A worker, put together.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stepstream_runtime::bus::{QueueId, WorkerBus};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::TenantId;

use crate::artifacts::Artifacts;
use crate::callable::Callable;
use crate::context::Context;
use crate::failure::Failure;
use crate::registry::{Registry, RegistryError};
use crate::runner::{RunError, Runner, Summary};
use crate::tenant::TenantShare;

/// Attempts at once, unless said otherwise: enough for work that waits, not too much for work that computes.
pub const DEFAULT_SLOTS: usize = 16;
/// Most attempts at once: beyond this, run more workers.
pub(crate) const MAX_SLOTS: usize = 4096;
/// Most tenants of one worker.
pub const MAX_TENANTS: usize = 64;
/// Most queues of one worker, over all its tenants: each is asked for jobs.
pub const MAX_QUEUES: usize = 1024;
/// The queue of a worker that names none.
pub const DEFAULT_QUEUE: &str = "default";
/// Longest name of a queue; it travels in every subject.
pub(crate) const MAX_QUEUE_BYTES: usize = 64;
/// Time to finish what is in flight after a stop was asked for. Kubernetes kills after 30 s unless told otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(25);

/// Takes jobs, runs callables, reports outcomes; until it is told to stop.
pub struct Worker(Runner);

/// Why a worker cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("a worker needs a bus: call `.bus(…)`")]
    NoBus,
    #[error("a queue's name has 1 to {MAX_QUEUE_BYTES} of the characters A-Z a-z 0-9 _ -, found {0:?}")]
    Queue(String),
    #[error("a worker has 1 to {MAX_SLOTS} slots, not {0}")]
    Slots(usize),
    #[error("a worker serves at most {MAX_TENANTS} tenants, not {0}; start another worker for the others")]
    Tenants(usize),
    #[error("{0} is named twice; a worker serves each tenant once, with one weight")]
    TenantTwice(TenantId),
    #[error("a worker asks at most {MAX_QUEUES} queues, those of all its tenants together, not {0}")]
    Queues(usize),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Worker {
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    /// Runs until `shutdown` asks for an end, and then until what is in flight is finished or its grace is over.
    pub async fn run(self, shutdown: Shutdown) -> Result<Summary, RunError> {
        Box::pin(self.0.run(shutdown)).await
    }
}

/// What a worker is made of. Only the bus is needed.
#[derive(Default)]
pub struct WorkerBuilder {
    bus: Option<Arc<dyn WorkerBus>>,
    registry: Registry,
    tenants: Vec<TenantShare>,
    name: Option<String>,
    queues: Vec<String>,
    slots: Option<usize>,
    grace: Option<Duration>,
    artifacts: Option<Artifacts>,
}

impl WorkerBuilder {
    pub fn bus(mut self, bus: Arc<dyn WorkerBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Serves this tenant, beside those that were named before; the default tenant, unless any is named. Several share the
    /// slots evenly, see [`Self::tenant_with_weight`].
    pub fn tenant(self, tenant: TenantId) -> Self {
        self.tenant_with_weight(tenant, Weight::ONE)
    }

    /// Serves this tenant with a share of the slots: while several tenants have more jobs than there are slots, the time
    /// that their attempts hold slots is as their weights, as it is measured and however long attempts take. A share that
    /// its tenant does not use is used by the others.
    pub fn tenant_with_weight(mut self, tenant: TenantId, weight: Weight) -> Self {
        self.tenants.push(TenantShare { tenant, weight });
        self
    }

    /// The queue `default`, unless said otherwise.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.queues.extend(queues.into_iter().map(Into::into));
        self
    }

    /// How many attempts run at once.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// What people see in the log; the process id, unless said otherwise. Nothing depends on it being unique.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Time to finish what is in flight after a stop was asked for.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Where artifacts are. Without it callables store none, outputs are never put away, and an input that refers to a value
    /// that was fails the attempt.
    pub fn artifacts(mut self, artifacts: Artifacts) -> Self {
        self.artifacts = Some(artifacts);
        self
    }

    /// See [`Registry::register`].
    pub fn register<F, I, O, R>(mut self, name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Context, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Failure>> + Send,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
    {
        self.registry.register(name, run);
        self
    }

    pub fn register_callable(mut self, name: impl Into<String>, callable: impl Callable) -> Self {
        self.registry.register_callable(name, callable);
        self
    }

    /// Adds a set of callables, such as the stock ones: `.callables(|registry| builtin::register_all(registry, options))`.
    pub fn callables(mut self, add: impl FnOnce(&mut Registry)) -> Self {
        add(&mut self.registry);
        self
    }

    pub fn build(self) -> Result<Worker, BuildError> {
        let bus = self.bus.ok_or(BuildError::NoBus)?;
        self.registry.check()?;
        let slots = self.slots.unwrap_or(DEFAULT_SLOTS);
        if !(1..=MAX_SLOTS).contains(&slots) {
            return Err(BuildError::Slots(slots));
        }
        let mut names = self.queues;
        if names.is_empty() {
            names.push(DEFAULT_QUEUE.to_owned());
        }
        names.sort();
        names.dedup();
        let mut tenants = self.tenants;
        if tenants.is_empty() {
            tenants.push(TenantShare { tenant: TenantId::default_tenant(), weight: Weight::ONE });
        }
        tenants.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        if let Some(twice) = tenants.windows(2).find(|pair| pair[0].tenant == pair[1].tenant) {
            return Err(BuildError::TenantTwice(twice[0].tenant.clone()));
        }
        if tenants.len() > MAX_TENANTS {
            return Err(BuildError::Tenants(tenants.len()));
        }
        if tenants.len() * names.len() > MAX_QUEUES {
            return Err(BuildError::Queues(tenants.len() * names.len()));
        }
        names.iter().try_for_each(|name| check_queue(name))?;
        let of = |tenant: &TenantShare| {
            let tenant = tenant.tenant.clone();
            names.iter().map(move |name| QueueId { tenant: tenant.clone(), name: name.clone() })
        };
        let queues = tenants.iter().flat_map(of).collect();
        Ok(Worker(Runner {
            bus,
            registry: self.registry,
            tenants,
            name: self.name.unwrap_or_else(|| format!("worker-{}", std::process::id())).into(),
            queues,
            slots,
            grace: self.grace.unwrap_or(DEFAULT_GRACE),
            artifacts: self.artifacts.map(Arc::new),
        }))
    }
}

/// A queue's name is safe in a subject.
pub(crate) fn check_queue(name: &str) -> Result<(), BuildError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=MAX_QUEUE_BYTES).contains(&name.len()) && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(BuildError::Queue(name.to_owned()))
    }
}
