//! The same in one process, with a worker in the test's hand: it claims, and is silent when the test wants it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepstream_coordinator::service::{Ask, Start};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::WorkerBus;
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::bus::{Delivery, QueueId};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_shared::data::Data;
use stepstream_shared::error::{ErrorCategory, ErrorCode, ExecutionError};
use stepstream_shared::event::Actor;
use stepstream_shared::execution::{Execution, ExecutionState, POISON, Steering, Verdict, WaitReason};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::wire::{ClaimId, Job, Judgement, Outcome, OutcomeResult, PROTOCOL};
use stepstream_tests::poll;
use stepstream_worker::{Context, Failure, Worker};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

struct Here {
    coordinator: Coordinator,
    bus: Arc<InProcessBus>,
    tenant: TenantId,
    stop: CancellationToken,
}

impl Here {
    async fn start() -> Self {
        let (store, bus) = (Arc::new(MemoryStore::new(8)), Arc::new(InProcessBus::new(InProcessOptions::default())));
        let stop = CancellationToken::new();
        let options = Options { exclusive: true, ..Options::default() };
        let coordinator = start(options, store, bus.clone(), stop.clone()).await.unwrap();
        Here { coordinator, bus, tenant: TenantId::default_tenant(), stop }
    }

    async fn begin(&self, nodes: Value) -> ExecutionId {
        let service = &self.coordinator.service;
        let document = json!({"stepstream": 1, "name": "test", "nodes": nodes}).to_string();
        let registered = service.register_graph(&self.tenant, "test.json", &document).await.unwrap();
        let start = Start {
            graph: registered.graph,
            named: None,
            inputs: Data::from_json(&json!({"amount": 5})).unwrap(),
            idempotency_key: None,
            actor: Actor::User("test".to_owned()),
            trace: None,
            metadata: None,
            breakpoints: Vec::new(),
            limits: stepstream_shared::graph::LimitOverrides::default(),
            background: None,
        };
        service.start(&self.tenant, start).await.unwrap().execution
    }

    async fn execution(&self, id: ExecutionId) -> Execution {
        self.coordinator.service.load(&self.tenant, id, None).await.unwrap().execution
    }

    async fn is(&self, id: ExecutionId, state: ExecutionState) {
        poll::until(&format!("{id} is {state}"), async || (self.execution(id).await.state() == state).then_some(()))
            .await;
    }

    /// The next job of a queue, in the test's hand: nobody else gets it.
    async fn job(&self, queue: &str) -> Job {
        let queue = QueueId { tenant: self.tenant.clone(), name: queue.to_owned() };
        let jobs = tokio::time::timeout(PATIENCE, self.bus.jobs(&queue, 1)).await.expect("a job comes");
        let Delivery { message, settle, .. } = jobs.unwrap().pop().unwrap();
        settle.ack().await.unwrap();
        message
    }

    async fn ask(&self, job: &Job, claim: u128, result: OutcomeResult) -> Judgement {
        let outcome = outcome(job, claim, result);
        self.bus.ask(&self.tenant, job.partition, &outcome, PATIENCE).await.expect("an answer")
    }

    async fn steer(&self, id: ExecutionId, what: Steering) {
        self.coordinator.service.steer(&self.tenant, id, Ask::new("ada", what)).await.unwrap();
    }

    /// Another attempt is asked for.
    async fn retry(&self, id: ExecutionId) {
        self.steer(id, Steering::Resolve { step: "pay".to_owned(), verdict: Verdict::Retry }).await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.coordinator.stopped().await;
    }
}

fn outcome(job: &Job, claim: u128, result: OutcomeResult) -> Outcome {
    Outcome {
        protocol: PROTOCOL,
        token: job.token.clone(),
        claim: ClaimId(claim),
        worker: "in hand".to_owned(),
        report: 0,
        result,
        notes: Vec::new(),
    }
}

fn done(output: Value) -> OutcomeResult {
    OutcomeResult::Completed { output: Data::from_json(&output).unwrap(), duration_us: 1 }
}

/// Its lease is over soon.
fn pays() -> Value {
    json!({"task": "pay", "queue": "hand", "delivery": "at_most_once", "timeout": {"heartbeat": "300ms"}})
}

const DOUBTFUL: ExecutionState = ExecutionState::Waiting(WaitReason::InDoubt);

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_granted_once_and_every_answer_says_where_it_was_judged() {
    let here = Here::start().await;
    let mut pay = pays();
    pay["timeout"]["heartbeat"] = json!("1m");
    let id = here.begin(json!({"pay": pay})).await;
    let job = here.job("hand").await;
    assert!(job.claim && job.heartbeat_ms == Some(60_000));
    let granted = here.ask(&job, 1, OutcomeResult::Claim).await;
    assert!(granted.granted && granted.position > job.position, "{granted:?}");
    assert!(here.ask(&job, 1, OutcomeResult::Claim).await.granted, "the same claim is granted again");
    let other = here.ask(&job, 2, OutcomeResult::Claim).await;
    assert!(!other.granted && other.counts(&job.token, job.position), "{other:?}");
    assert!(!here.ask(&job, 2, done(json!("not mine"))).await.granted);
    assert!(here.ask(&job, 1, done(json!("paid"))).await.granted);
    assert!(here.ask(&job, 1, done(json!("paid"))).await.granted, "it was taken, whoever lost the answer");
    assert!(!here.ask(&job, 2, done(json!("not mine"))).await.granted);
    let mut forged = job.clone();
    forged.token.attempt = 2;
    let nobody = outcome(&forged, 1, OutcomeResult::Claim);
    let silence = here.bus.ask(&here.tenant, job.partition, &nobody, Duration::from_millis(200)).await;
    assert!(silence.is_err(), "a forged token is not answered: {silence:?}");
    let execution = here.execution(id).await;
    assert_eq!((execution.state(), execution.output().to_json()), (ExecutionState::Completed, json!("paid")));
    here.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_holder_leaves_a_doubt_and_is_fenced() {
    let here = Here::start().await;
    let id = here.begin(json!({"pay": pays()})).await;
    let job = here.job("hand").await;
    assert!(here.ask(&job, 1, OutcomeResult::Claim).await.granted);
    here.is(id, DOUBTFUL).await;
    let late = here.ask(&job, 1, done(json!("late"))).await;
    assert!(!late.granted && late.counts(&job.token, job.position));
    // A person says that it is to be tried again; whoever was lost is still fenced.
    here.retry(id).await;
    let second = here.job("hand").await;
    assert_eq!(second.token.attempt, 2);
    assert!(here.ask(&second, 7, OutcomeResult::Claim).await.granted);
    assert!(!here.ask(&job, 1, done(json!("late"))).await.granted);
    assert!(here.ask(&second, 7, done(json!("paid"))).await.granted);
    assert_eq!(here.execution(id).await.output().to_json(), json!("paid"));
    here.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_keep_a_lease_and_a_worker_that_had_not_begun_makes_room() {
    let here = Here::start().await;
    let id = here.begin(json!({"pay": pays()})).await;
    let job = here.job("hand").await;
    assert!(here.ask(&job, 1, OutcomeResult::Claim).await.granted);
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let alive = outcome(&job, 1, OutcomeResult::Progress { note: None });
        here.bus.report(&here.tenant, job.partition, &alive).await.unwrap();
    }
    assert_eq!(here.execution(id).await.state(), ExecutionState::Running);
    assert!(here.ask(&job, 1, OutcomeResult::Released).await.granted);
    let second = here.job("hand").await;
    assert_eq!(second.token.attempt, 2);
    assert!(!here.ask(&job, 1, OutcomeResult::Claim).await.granted);
    // The next one is lost, and comes back to say that it had not begun: that is known then.
    assert!(here.ask(&second, 2, OutcomeResult::Claim).await.granted);
    here.is(id, DOUBTFUL).await;
    assert!(here.ask(&second, 2, OutcomeResult::Released).await.granted);
    assert_eq!(here.job("hand").await.token.attempt, 3);
    here.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_execution_grants_nothing_and_hands_the_job_out_again() {
    let here = Here::start().await;
    let id = here.begin(json!({"pay": pays()})).await;
    let job = here.job("hand").await;
    here.steer(id, Steering::Pause { reason: "lunch".to_owned() }).await;
    assert!(!here.ask(&job, 1, OutcomeResult::Claim).await.granted);
    here.steer(id, Steering::Resume { reason: None }).await;
    let again = here.job("hand").await;
    assert_eq!(again.token.attempt, 1, "nobody had it");
    assert!(here.ask(&again, 1, OutcomeResult::Claim).await.granted);
    here.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_asked_and_a_worker_runs_what_is_claimed() {
    let here = Here::start().await;
    let worker = Shutdown::new();
    let run = Worker::builder()
        .bus(here.bus.clone())
        .name("w1")
        .register("find", async |_: Context, asked: Value| {
            let known = asked["input"]["amount"] == 5 && asked["attempt"] == 1 && asked["idempotency_key"].is_string();
            Ok::<_, Failure>(json!({"happened": known, "output": {"id": 7}}))
        })
        .register("add", async |_: Context, n: Value| Ok::<_, Failure>(n["id"].as_i64().unwrap_or(0) + 1))
        .build()
        .unwrap();
    tokio::spawn(run.run(worker.clone()));
    let mut pay = pays();
    pay["reconcile"] = json!({"task": "find", "queue": "default"});
    pay["next"] = json!([{"to": "after"}]);
    let after = json!({"task": "add", "with": "=steps.pay.output", "delivery": "at_most_once"});
    let id = here.begin(json!({"pay": pay, "after": after})).await;
    let job = here.job("hand").await;
    assert!(here.ask(&job, 1, OutcomeResult::Claim).await.granted);
    here.is(id, ExecutionState::Completed).await;
    assert_eq!(here.execution(id).await.output().to_json(), json!(8));
    worker.request();
    here.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_listed_as_a_dead_letter_and_redriven() {
    let here = Here::start().await;
    let id = here.begin(json!({"pay": {"task": "pay", "queue": "hand"}})).await;
    let job = here.job("hand").await;
    let error = ExecutionError::new(ErrorCategory::KernelInternal, "it kills").with_code(ErrorCode::new(POISON));
    let poison = OutcomeResult::Failed { error, duration_us: 1 };
    here.bus.report(&here.tenant, job.partition, &outcome(&job, 1, poison)).await.unwrap();
    here.is(id, ExecutionState::Waiting(WaitReason::DeadLetter)).await;
    let reader = here.coordinator.service.reader();
    let (letters, next) = reader.dead_letters(&here.tenant, None, None, 10).await.unwrap();
    assert_eq!((letters.len(), next), (1, None));
    assert_eq!((letters[0].node.as_str(), letters[0].reason, letters[0].attempt), ("pay", "poison", 1));
    assert!(reader.dead_letters(&here.tenant, Some("other"), None, 10).await.unwrap().0.is_empty());
    here.steer(id, Steering::Redrive { step: None }).await;
    let again = here.job("hand").await;
    assert_eq!(again.token.attempt, 2);
    here.bus.report(&here.tenant, again.partition, &outcome(&again, 2, done(json!("well")))).await.unwrap();
    here.is(id, ExecutionState::Completed).await;
    assert!(reader.dead_letters(&here.tenant, None, None, 10).await.unwrap().0.is_empty());
    here.end().await;
}
