//! A bus that keeps messages until they are settled, delivers them again when nobody settles them in time, and recognises
//! copies for two minutes, as JetStream does; and over which everything can go wrong that can go wrong there.

mod network;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use stepstream_runtime::bus::{
    Asked, BusError, CommandRequest, CoordinatorBus, Delivery, JobsStreamState, Judge, Published, QueueId, ReplyTo,
    Settle, WorkerBus,
};
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};
use stepstream_shared::wire::{Control, Job, Judgement, Outcome};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout};

pub use network::Network;
use network::{Command, Kind, Question, Taken};

use crate::faults::Fault;
use crate::process::Process;

/// How long whoever took a message may stay silent.
const ACK_WAIT: Duration = Duration::from_secs(8);
const PUBLISHING: [Fault; 4] = [Fault::Refused, Fault::Unknown, Fault::Lost, Fault::Slow];
const TAKING: [Fault; 2] = [Fault::Doubled, Fault::Reordered];
/// For who cannot reach the bus.
const AWAY: Duration = Duration::from_millis(100);

/// A process's connection to the bus.
#[derive(Clone)]
pub struct Line {
    process: Arc<Process>,
}

impl Line {
    pub fn new(process: Arc<Process>) -> Self {
        Line { process }
    }

    fn network(&self) -> &Network {
        &self.process.world.network
    }

    async fn reached(&self) -> Result<(), BusError> {
        self.process.travel().await;
        if self.process.is_cut_off() {
            sleep(AWAY).await;
            self.process.goes_on().await;
            return Err(BusError::Unavailable("no connection".to_owned()));
        }
        Ok(())
    }

    fn strike(&self, what: &'static str, faults: &[Fault]) -> Option<(Fault, u64)> {
        let struck = self.process.world.strike(what, faults);
        if struck.is_some() {
            self.process.world.note(&self.process.name, what, 1, || format!("{struck:?}"));
        }
        struck
    }

    /// Puts a message on the bus.
    async fn publish(
        &self,
        what: &'static str,
        put: impl Fn(&Network, bool) -> Published,
    ) -> Result<Published, BusError> {
        self.reached().await?;
        let lost = || BusError::Unavailable("the connection broke".to_owned());
        let struck = self.strike(what, &PUBLISHING);
        match struck {
            Some((Fault::Refused, _)) => {
                self.process.travel().await;
                return Err(lost());
            }
            Some((Fault::Slow, by)) => {
                sleep(Duration::from_millis(50 + by % 3_000)).await;
                self.process.goes_on().await;
            }
            _ => {}
        }
        let published = put(self.network(), matches!(struck, Some((Fault::Lost, _))));
        self.process.travel().await;
        if matches!(struck, Some((Fault::Unknown, _))) { Err(lost()) } else { Ok(published) }
    }

    async fn jobs_of(&self, queue: &QueueId, max: usize, waits: bool) -> Result<Vec<Delivery<Job>>, BusError> {
        let taken = self.take(&Kind::Jobs(queue.name.clone()), max, waits).await?;
        let jobs = taken.into_iter().filter_map(|taken| {
            let settle = self.settle(&taken);
            match taken.body {
                network::Body::Job(message) => {
                    Some(Delivery { message: *message, deliveries: taken.deliveries, settle })
                }
                network::Body::Outcome(..) => None,
            }
        });
        Ok(jobs.collect())
    }

    /// Messages of a kind, which are to be settled; waits until there is one, if it `waits`.
    async fn take(&self, kind: &Kind, max: usize, waits: bool) -> Result<Vec<Taken>, BusError> {
        self.reached().await?;
        loop {
            if self.process.is_cut_off() {
                self.reached().await?;
            }
            let struck = match self.network().has(kind) {
                true => self.strike("take", &TAKING).map(|(fault, _)| fault),
                false => None,
            };
            let changed = self.network().changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let (taken, next) = self.network().take(kind, max, struck, ACK_WAIT);
            if !taken.is_empty() {
                for each in &taken {
                    self.process.world.note(&self.process.name, "take", each.sequence, || format!("{kind:?} {each:?}"));
                }
                self.process.travel().await;
                return Ok(taken);
            }
            if !waits {
                self.process.travel().await;
                return Ok(taken);
            }
            match next {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(at) => {}
                    }
                }
                None => changed.await,
            }
            self.process.goes_on().await;
        }
    }

    fn settle(&self, taken: &Taken) -> Box<dyn Settle> {
        Box::new(Settling { line: self.clone(), sequence: taken.sequence, delivery: taken.delivery })
    }
}

/// A message in the hands of a process.
struct Settling {
    line: Line,
    sequence: u64,
    delivery: u64,
}

#[async_trait]
impl Settle for Settling {
    async fn ack(&self) -> Result<(), BusError> {
        self.line.reached().await?;
        // An acknowledgement is only sent; whether it arrives, nobody says.
        if self.line.strike("ack", &[Fault::Lost]).is_none() {
            self.line.network().settled(self.sequence);
        }
        Ok(())
    }

    async fn progress(&self) -> Result<(), BusError> {
        self.line.reached().await?;
        self.line.network().free_after(self.sequence, Some(self.delivery), ACK_WAIT);
        Ok(())
    }

    async fn nak(&self, delay: Option<Duration>) -> Result<(), BusError> {
        self.line.reached().await?;
        if self.line.strike("nak", &[Fault::Lost]).is_none() {
            self.line.network().free_after(self.sequence, None, delay.unwrap_or_default());
        }
        Ok(())
    }
}

struct Reply {
    line: Line,
    asker: std::sync::Mutex<Option<oneshot::Sender<Bytes>>>,
}

#[async_trait]
impl ReplyTo for Reply {
    async fn reply(&self, body: Bytes) -> Result<(), BusError> {
        self.line.reached().await?;
        let asker = self.asker.lock().ok().and_then(|mut asker| asker.take());
        if self.line.strike("answer", &[Fault::Lost]).is_none()
            && let Some(asker) = asker
        {
            let _ = asker.send(body); // Who asked may have given up.
        }
        Ok(())
    }
}

struct Answering {
    line: Line,
    asker: std::sync::Mutex<Option<oneshot::Sender<Judgement>>>,
}

#[async_trait]
impl Judge for Answering {
    async fn judge(&self, judgement: Judgement) -> Result<(), BusError> {
        self.line.reached().await?;
        let asker = self.asker.lock().ok().and_then(|mut asker| asker.take());
        if self.line.strike("judgement", &[Fault::Lost]).is_none()
            && let Some(asker) = asker
        {
            let _ = asker.send(judgement); // Who asked may have given up.
        }
        Ok(())
    }
}

#[async_trait]
impl CoordinatorBus for Line {
    async fn declare_queue(&self, _: &QueueId) -> Result<(), BusError> {
        self.reached().await
    }

    async fn publish_jobs(&self, jobs: &[Job]) -> Vec<Result<Published, BusError>> {
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let put = |network: &Network, lost| {
                let world = &self.process.world;
                world.book().published(job);
                let (id, step, attempt) = (job.token.execution, job.token.ordinal, job.token.attempt);
                world.note(&self.process.name, "job", u64::from(step), || {
                    format!(
                        "{id} {} attempt {attempt} dispatch {:x}{}",
                        job.node,
                        job.dispatch,
                        if lost { " lost" } else { "" }
                    )
                });
                network.put(
                    Kind::Jobs(job.queue.clone()),
                    job.message_id(),
                    lost,
                    network::Body::Job(Box::new(job.clone())),
                )
            };
            answers.push(self.publish("publish", put).await);
        }
        answers
    }

    async fn outcomes(
        &self,
        partition: PartitionId,
        max: usize,
    ) -> Result<Vec<(TenantId, Delivery<Outcome>)>, BusError> {
        let taken = self.take(&Kind::Outcomes(partition), max, true).await?;
        let outcomes = taken.into_iter().filter_map(|taken| {
            let settle = self.settle(&taken);
            match taken.body {
                network::Body::Outcome(tenant, message) => {
                    Some((tenant, Delivery { message: *message, deliveries: taken.deliveries, settle }))
                }
                network::Body::Job(_) => None,
            }
        });
        Ok(outcomes.collect())
    }

    async fn commands(&self, partition: PartitionId) -> Result<CommandRequest, BusError> {
        self.reached().await?;
        loop {
            let changed = self.network().changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let command = if self.process.is_cut_off() { None } else { self.network().command(partition) };
            if let Some(Command { tenant, body, asker, .. }) = command {
                let reply = Box::new(Reply { line: self.clone(), asker: std::sync::Mutex::new(Some(asker)) });
                return Ok(CommandRequest { tenant, partition, body, reply });
            }
            changed.await;
            self.process.goes_on().await;
        }
    }

    async fn asked(&self, partition: PartitionId, _: usize) -> Result<Vec<Asked>, BusError> {
        loop {
            let changed = self.network().changed();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let question = if self.process.is_cut_off() { None } else { self.network().question(partition) };
            if let Some(Question { tenant, outcome, asker, .. }) = question {
                let judge = Box::new(Answering { line: self.clone(), asker: std::sync::Mutex::new(Some(asker)) });
                return Ok(vec![Asked { tenant, outcome, judge }]);
            }
            changed.await;
            self.process.goes_on().await;
        }
    }

    async fn request(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, BusError> {
        self.reached().await?;
        let (asker, answer) = oneshot::channel();
        match self.strike("request", &[Fault::Refused, Fault::Lost, Fault::Slow]) {
            Some((Fault::Refused, _)) => return Err(BusError::Unavailable("the connection broke".to_owned())),
            Some((Fault::Lost, _)) => {
                sleep(within).await;
                self.process.goes_on().await;
                return Err(BusError::Unavailable("nobody answered".to_owned()));
            }
            Some((Fault::Slow, by)) => sleep(Duration::from_millis(50 + by % 2_000)).await,
            _ => {}
        }
        self.process.goes_on().await;
        self.network().ask(Command { partition, tenant: tenant.clone(), body, asker });
        let answer = timeout(within, answer).await;
        self.process.travel().await;
        match answer {
            Ok(Ok(body)) if !self.process.is_cut_off() => Ok(body),
            _ => Err(BusError::Unavailable("nobody answered".to_owned())),
        }
    }

    async fn control(&self, tenant: &TenantId, control: &Control) -> Result<(), BusError> {
        self.reached().await?;
        if self.strike("hint", &[Fault::Lost]).is_none() {
            self.network().tell(tenant, control);
        }
        Ok(())
    }

    async fn feed(&self, _: &TenantId, _: ExecutionId, _: Vec<(String, String, Bytes)>) {}

    async fn dead_letters(&self, _: &TenantId, _: Vec<(String, String, Bytes)>) {}

    async fn jobs_state(&self) -> Result<JobsStreamState, BusError> {
        self.reached().await?;
        Ok(self.network().jobs_state())
    }

    async fn job_exists(&self, sequence: u64) -> Result<bool, BusError> {
        self.reached().await?;
        Ok(self.network().exists(sequence))
    }

    async fn withdraw_job(&self, sequence: u64) -> Result<bool, BusError> {
        self.reached().await?;
        match self.strike("withdraw", &[Fault::Refused, Fault::Unknown]) {
            Some((Fault::Refused, _)) => Err(BusError::Unavailable("the connection broke".to_owned())),
            Some(_) => {
                self.network().settled(sequence);
                Err(BusError::Unavailable("the connection broke".to_owned()))
            }
            None => Ok(self.network().settled(sequence)),
        }
    }

    fn connected(&self) -> bool {
        !self.process.is_cut_off()
    }

    fn undecodable(&self) -> u64 {
        0
    }

    async fn leave(&self, _: PartitionId) {}
}

#[async_trait]
impl WorkerBus for Line {
    async fn jobs(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        self.jobs_of(queue, max, true).await
    }

    async fn jobs_now(&self, queue: &QueueId, max: usize) -> Result<Vec<Delivery<Job>>, BusError> {
        self.jobs_of(queue, max, false).await
    }

    async fn report(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        outcome: &Outcome,
    ) -> Result<Published, BusError> {
        let put = |network: &Network, lost| {
            let body = network::Body::Outcome(tenant.clone(), Box::new(outcome.clone()));
            let (id, step, attempt) = (outcome.token.execution, outcome.token.ordinal, outcome.token.attempt);
            self.process.world.note(&self.process.name, "report", u64::from(step), || {
                let what = match &outcome.result {
                    stepstream_shared::wire::OutcomeResult::Started => "started",
                    stepstream_shared::wire::OutcomeResult::Progress { .. } => "progress",
                    stepstream_shared::wire::OutcomeResult::Completed { .. } => "completed",
                    stepstream_shared::wire::OutcomeResult::Failed { .. } => "failed",
                    stepstream_shared::wire::OutcomeResult::Released => "released",
                    stepstream_shared::wire::OutcomeResult::NotStarted { .. } => "not started",
                    stepstream_shared::wire::OutcomeResult::Stopped => "stopped",
                    stepstream_shared::wire::OutcomeResult::Claim => "claims",
                };
                format!("{id} step {step} attempt {attempt} {what}{}", if lost { " lost" } else { "" })
            });
            network.put(Kind::Outcomes(partition), outcome.message_id(), lost, body)
        };
        self.publish("report", put).await
    }

    async fn ask(
        &self,
        tenant: &TenantId,
        partition: PartitionId,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Judgement, BusError> {
        self.reached().await?;
        let (asker, answer) = oneshot::channel();
        match self.strike("question", &[Fault::Refused, Fault::Lost, Fault::Slow]) {
            Some((Fault::Refused, _)) => return Err(BusError::Unavailable("the connection broke".to_owned())),
            Some((Fault::Lost, _)) => {
                sleep(within).await;
                self.process.goes_on().await;
                return Err(BusError::Unavailable("nobody answered".to_owned()));
            }
            Some((Fault::Slow, by)) => sleep(Duration::from_millis(50 + by % 2_000)).await,
            _ => {}
        }
        self.process.goes_on().await;
        let (tenant, outcome) = (tenant.clone(), outcome.clone());
        self.network().put_question(Question { partition, tenant, outcome, asker });
        let answer = timeout(within, answer).await;
        self.process.travel().await;
        match answer {
            Ok(Ok(judgement)) if !self.process.is_cut_off() => Ok(judgement),
            _ => Err(BusError::Unavailable("nobody answered".to_owned())),
        }
    }

    async fn controls(&self, tenant: &TenantId) -> Result<BoxStream<'static, Control>, BusError> {
        self.reached().await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        self.network().listen(tenant, self.process.clone(), sender);
        let process = self.process.clone();
        let hints = futures::stream::unfold((receiver, process), |(mut receiver, process)| async {
            let hint = receiver.recv().await?;
            process.goes_on().await;
            Some((hint, (receiver, process)))
        });
        Ok(hints.boxed())
    }

    fn ack_wait(&self) -> Duration {
        ACK_WAIT
    }
}
