//! A bus that a test holds in its hand: it offers jobs, and sees what became of them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use stepstream_runtime::bus::{BusError, Delivery, Published, QueueId, Settle, WorkerBus};
use stepstream_shared::data::Data;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, Id, PartitionId, TenantId};
use stepstream_shared::wire::{Control, Job, Judgement, MacKey, Outcome, OutcomeResult, PROTOCOL};
use tokio::sync::{Notify, broadcast};

/// Far beyond any healthy run: reaching it means that the worker is wrong, not that the machine is slow.
pub(crate) const FAR: Duration = Duration::from_secs(60);

pub(crate) fn job(number: u32, callable: &str, input: Value) -> Job {
    let tenant = TenantId::default_tenant();
    let execution = execution(number);
    let token =
        MacKey([7; 32]).token(&tenant, 1, execution, Id::derived("test step", &[&number.to_le_bytes()]), number, 1);
    Job {
        protocol: PROTOCOL,
        token,
        dispatch: 1,
        tenant,
        partition: PartitionId(3),
        position: 1,
        graph: "test".into(),
        node: "node".into(),
        callable: callable.into(),
        queue: "default".into(),
        priority: Priority::Normal,
        input: Data::from_json(&input).unwrap(),
        inbox: Data::null(),
        scheduled_at: 0,
        start_to_close_ms: None,
        heartbeat_ms: None,
        inline: false,
        max_memory_mb: None,
        claim: false,
        trace: None,
    }
}

pub(crate) fn execution(number: u32) -> ExecutionId {
    Id::derived("test execution", &[&number.to_le_bytes()])
}

/// What the bus was told, in order.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a test keeps few")]
pub(crate) enum Told {
    Pulled { queue: String, max: usize },
    Reported(Outcome),
    Asked(Outcome),
    Acked(u32),
    Nacked(u32, Option<Duration>),
    Progressed(u32),
}

pub(crate) struct FakeBus {
    jobs: Mutex<HashMap<QueueId, VecDeque<Job>>>,
    told: Mutex<Vec<Told>>,
    changed: Notify,
    controls: broadcast::Sender<Control>,
    ack_wait: Duration,
    /// Reports that are refused before one is taken.
    pub(crate) refusals: AtomicUsize,
    /// Largest message that is carried.
    pub(crate) max_bytes: AtomicUsize,
    /// How often jobs are delivered, by what the bus says.
    pub(crate) deliveries: AtomicU64,
    /// Nothing but outcomes is remembered: for counting only.
    pub(crate) forgetful: AtomicBool,
    pub(crate) acked: AtomicU64,
    /// How often it was looked whether a job is there.
    pub(crate) looks: AtomicU64,
    /// What is answered to questions, one after another; `None` is no answer. When there is none left, yes.
    pub(crate) answers: Mutex<VecDeque<Option<Judgement>>>,
}

impl FakeBus {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_ack_wait(Duration::from_secs(30))
    }

    pub(crate) fn with_ack_wait(ack_wait: Duration) -> Arc<Self> {
        Arc::new(FakeBus {
            jobs: Mutex::default(),
            told: Mutex::default(),
            changed: Notify::new(),
            controls: broadcast::channel(16).0,
            ack_wait,
            refusals: AtomicUsize::new(0),
            max_bytes: AtomicUsize::new(usize::MAX),
            deliveries: AtomicU64::new(1),
            forgetful: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            answers: Mutex::default(),
        })
    }

    pub(crate) fn offer(&self, job: Job) {
        let queue = QueueId { tenant: job.tenant.clone(), name: job.queue.clone() };
        self.offer_in(queue, job);
    }

    /// Offers a job in whichever queue, whatever it says itself.
    pub(crate) fn offer_in(&self, queue: QueueId, job: Job) {
        self.jobs.lock().unwrap().entry(queue).or_default().push_back(job);
        self.changed.notify_waiters();
    }

    fn take_now(self: &Arc<Self>, queue: &QueueId, max: usize) -> Vec<Delivery<Job>> {
        let taken: Vec<Job> = {
            let mut jobs = self.jobs.lock().unwrap();
            let waiting = jobs.entry(queue.clone()).or_default();
            let take = max.min(waiting.len());
            waiting.drain(..take).collect()
        };
        let deliver = |message: Job| {
            let settle = Box::new(FakeSettle { bus: Arc::clone(self), number: message.token.ordinal });
            let deliveries = self.deliveries.load(Ordering::SeqCst);
            Delivery { message, deliveries, settle: settle as Box<dyn Settle> }
        };
        taken.into_iter().map(deliver).collect()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.jobs.lock().unwrap().values().map(VecDeque::len).sum()
    }

    pub(crate) fn control(&self, control: Control) {
        // The worker may not listen yet.
        let _ = self.controls.send(control);
    }

    pub(crate) fn listeners(&self) -> usize {
        self.controls.receiver_count()
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    fn tell(&self, told: Told) {
        if !self.forgetful.load(Ordering::Relaxed) {
            self.told.lock().unwrap().push(told);
        }
        self.changed.notify_waiters();
    }

    /// Waits until `check` finds something in what the bus was told.
    pub(crate) async fn until<T>(&self, what: &str, mut check: impl FnMut(&[Told]) -> Option<T>) -> T {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = check(&self.told()) {
                    return found;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(FAR, wait).await {
            Ok(found) => found,
            Err(_) => panic!("never happened: {what}; told: {:#?}", self.told()),
        }
    }

    /// The final result of the attempt at step `number`.
    pub(crate) async fn result(&self, number: u32) -> OutcomeResult {
        self.until("a final outcome", |told| {
            told.iter().find_map(|told| match told {
                Told::Reported(outcome) if outcome.token.ordinal == number && is_final(&outcome.result) => {
                    Some(outcome.result.clone())
                }
                _ => None,
            })
        })
        .await
    }
}

pub(crate) fn is_final(result: &OutcomeResult) -> bool {
    !matches!(result, OutcomeResult::Started | OutcomeResult::Progress { .. })
}

struct FakeSettle {
    bus: Arc<FakeBus>,
    number: u32,
}

#[async_trait]
impl Settle for FakeSettle {
    async fn ack(&self) -> Result<(), BusError> {
        self.bus.acked.fetch_add(1, Ordering::Relaxed);
        self.bus.tell(Told::Acked(self.number));
        Ok(())
    }

    async fn progress(&self) -> Result<(), BusError> {
        self.bus.tell(Told::Progressed(self.number));
        Ok(())
    }

    async fn nak(&self, delay: Option<Duration>) -> Result<(), BusError> {
        self.bus.tell(Told::Nacked(self.number, delay));
        Ok(())
    }
}

/// The bus as a worker is given it.
pub(crate) struct Side(pub(crate) Arc<FakeBus>);

#[async_trait]
impl WorkerBus for Side {
    async fn jobs(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        self.0.tell(Told::Pulled { queue: queue.name.clone(), max });
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let taken = self.0.take_now(queue, max);
            if !taken.is_empty() {
                return Ok(taken);
            }
            changed.await;
        }
    }

    async fn jobs_now(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        Ok(self.0.take_now(queue, max))
    }

    async fn report(&self, _: &TenantId, partition: PartitionId, outcome: &Outcome) -> Result<Published, BusError> {
        assert_eq!(partition, PartitionId(3));
        let refused =
            self.0.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if refused {
            return Err(BusError::Unavailable("the test says so".into()));
        }
        let limit = self.0.max_bytes.load(Ordering::SeqCst);
        if limit != usize::MAX {
            let found = outcome.encode().unwrap().len();
            if found > limit {
                return Err(BusError::TooLarge { found, limit });
            }
        }
        self.0.tell(Told::Reported(outcome.clone()));
        Ok(Published { sequence: 1, duplicate: false })
    }

    async fn ask(&self, _: &TenantId, _: PartitionId, outcome: &Outcome, _: Duration) -> Result<Judgement, BusError> {
        self.0.tell(Told::Asked(outcome.clone()));
        let answer = self.0.answers.lock().unwrap().pop_front();
        match answer {
            Some(answer) => answer.ok_or_else(|| BusError::Unavailable("the test says so".into())),
            None => Ok(Judgement::new(outcome.token.incarnation, u64::MAX, true)),
        }
    }

    async fn controls(&self, _: &TenantId) -> Result<futures::stream::BoxStream<'static, Control>, BusError> {
        let receiver = self.0.controls.subscribe();
        Ok(futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.ok().map(|control| (control, receiver))
        })
        .boxed())
    }

    fn ack_wait(&self) -> Duration {
        self.0.ack_wait
    }
}
