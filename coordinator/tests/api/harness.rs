//! A coordinator with its API, a worker that a test holds back or lets go, and requests in one line.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use stepstream_coordinator::api::{ApiLimits, router};
use stepstream_coordinator::store::MemoryStore;
use stepstream_coordinator::{Coordinator, Options, start};
use stepstream_runtime::bus::in_process::{InProcessBus, InProcessOptions};
use stepstream_runtime::bus::{QueueId, WorkerBus};
use stepstream_runtime::random;
use stepstream_shared::error::{ErrorCategory, ExecutionError};
use stepstream_shared::event::Note;
use stepstream_shared::id::TenantId;
use stepstream_shared::wire::{Outcome, OutcomeResult, PROTOCOL};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Far beyond any healthy run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One step: the worker gives its input back.
pub(crate) const ECHO: &str = "
stepstream: 1
name: echo
version: 1.0.0
nodes:
  say: { task: echo, with: '=inputs' }
output: '=steps.say.output'
";

/// Three steps, each of which waits until the test lets it go.
pub(crate) const HELD: &str = "
stepstream: 1
name: held
version: 1.0.0
nodes:
  one: { task: hold, with: 1, next: [ { to: two } ] }
  two: { task: hold, with: 2, next: [ { to: three } ] }
  three: { task: hold, with: 3, inbox: true }
output: '=steps.three.output'
";

/// A step that somebody must approve, and one that the worker echoes behind it.
pub(crate) const APPROVAL: &str = "
stepstream: 1
name: approval
version: 1.0.0
nodes:
  sign_off:
    wait:
      approval:
        assignees: [ada, bob]
        quorum: 2
        form: { type: object, required: [window, risk], properties: { window: { type: string } } }
      timeout: 1h
    with: { release: '=inputs.version' }
    next: [ { to: roll_out } ]
  roll_out: { task: echo, with: '=steps.sign_off.output' }
output: '=steps.roll_out.output'
";

pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) shutdown: CancellationToken,
    gate: Arc<Semaphore>,
    coordinator: Coordinator,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().unwrap()
    }

    /// The problem's short name and its detail, after a look at what every problem has.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16(), "{self:?}");
        assert!(json["title"].is_string(), "{self:?}");
        let name = json["type"].as_str().unwrap().strip_prefix("urn:stepstream:problem:").unwrap();
        (self.status.as_u16(), name.to_owned(), json["detail"].as_str().unwrap().to_owned())
    }

    /// Asserts the problem and gives its detail.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, name: &str) -> String {
        let (found_status, found_name, detail) = self.problem();
        assert_eq!((found_status, found_name.as_str()), (status, name), "{self:?}");
        detail
    }
}

impl Server {
    pub(crate) async fn new() -> Self {
        Server::with(ApiLimits::default()).await
    }

    pub(crate) async fn with(limits: ApiLimits) -> Self {
        let store = Arc::new(MemoryStore::new(8));
        let bus = InProcessBus::new(InProcessOptions::default());
        let shutdown = CancellationToken::new();
        let options = Options { exclusive: true, ..Options::default() };
        let coordinator = start(options, store, Arc::new(bus.clone()), shutdown.clone()).await.unwrap();
        let gate = Arc::new(Semaphore::new(0));
        tokio::spawn(work(bus, gate.clone()));
        Server { router: router(coordinator.service.clone(), limits), shutdown, gate, coordinator }
    }

    /// Lets this many held steps go.
    pub(crate) fn release(&self, steps: usize) {
        self.gate.add_permits(steps);
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, to_bytes(body, 1 << 28)).await.expect("the answer ends").unwrap();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", path, headers, Body::empty())).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.send(request("POST", path, &headers, Body::from(body.to_string()))).await
    }

    /// Asks something of an execution in somebody's name.
    pub(crate) async fn ask(&self, by: &str, id: &str, what: &str, body: &Value) -> Answer {
        self.post_with(&format!("/v1/executions/{id}/{what}"), &[("stepstream-actor", by)], body).await
    }

    /// The execution once it is in this state.
    pub(crate) async fn once(&self, id: &str, state: &str) -> Value {
        until(state, async || {
            let execution = self.get(&format!("/v1/executions/{id}")).await.json();
            (execution["state"] == state).then_some(execution)
        })
        .await
    }

    pub(crate) async fn waits(&self, id: &str) -> Value {
        self.get(&format!("/v1/executions/{id}/waits")).await.json()
    }

    pub(crate) async fn register(&self, document: &str) -> Answer {
        let headers = [("content-type", "application/yaml")];
        let answer = self.send(request("POST", "/v1/graphs", &headers, Body::from(document.to_owned()))).await;
        assert!(answer.status.is_success(), "{answer:?}");
        answer
    }

    /// Starts a registered graph and gives the execution's id.
    pub(crate) async fn begin(&self, graph: &str, inputs: Value) -> String {
        let answer = self.post("/v1/executions", &json!({"graph": graph, "inputs": inputs})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["execution_id"].as_str().unwrap().to_owned()
    }

    /// Starts a registered graph, waits until it is over and gives its id.
    pub(crate) async fn run(&self, graph: &str, inputs: Value) -> String {
        let id = self.begin(graph, inputs).await;
        self.over(&id).await;
        id
    }

    /// The execution once it is over.
    pub(crate) async fn over(&self, id: &str) -> Value {
        until("the execution ends", async || {
            let answer = self.get(&format!("/v1/executions/{id}/wait?timeout_ms=5000")).await.json();
            answer["ended_at"].is_string().then_some(answer)
        })
        .await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.coordinator.stopped().await;
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).unwrap()
}

/// Checks often and gives up late: running out of time means that the system is wrong, not that the machine was slow.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(seen) = check().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Takes the jobs of the default tenant: `echo` gives its input back, `hold` does so when the gate lets it, `spend` reports
/// that it has used as many dollars as its input says, `odd` reports what it must not as well, and everything else fails
/// for good.
async fn work(bus: InProcessBus, gate: Arc<Semaphore>) {
    let queue = QueueId { tenant: TenantId::default_tenant(), name: "default".to_owned() };
    loop {
        for delivery in bus.jobs(&queue, 16).await.unwrap() {
            let (bus, gate, tenant) = (bus.clone(), gate.clone(), queue.tenant.clone());
            tokio::spawn(async move {
                let job = &delivery.message;
                let result = match job.callable.as_str() {
                    "echo" | "odd" | "spend" => OutcomeResult::Completed { output: job.input.clone(), duration_us: 1 },
                    "hold" => {
                        gate.acquire().await.unwrap().forget();
                        OutcomeResult::Completed { output: job.input.clone(), duration_us: 1 }
                    }
                    other => OutcomeResult::Failed {
                        error: ExecutionError::new(ErrorCategory::ToolError, format!("no callable {other}")),
                        duration_us: 1,
                    },
                };
                let spent = job.input.to_json().as_str().and_then(|dollars| dollars.parse().ok());
                let usage = |cost| Note::Usage {
                    model: "m".to_owned(),
                    prompt_tokens: 7,
                    completion_tokens: 3,
                    cost: Some(cost),
                };
                let notes = spent.filter(|_| job.callable.as_str() == "spend").map(usage).into_iter().collect();
                let outcome = Outcome {
                    protocol: PROTOCOL,
                    token: job.token.clone(),
                    claim: random::claim_id(),
                    worker: "tester".to_owned(),
                    report: 1,
                    result,
                    notes,
                };
                bus.report(&tenant, job.partition, &outcome).await.unwrap();
                if job.callable == "odd" {
                    let late = Outcome { report: 2, ..outcome.clone() };
                    bus.report(&tenant, job.partition, &late).await.unwrap();
                    let mut invented = Outcome { report: 3, ..outcome };
                    invented.token.attempt += 1;
                    bus.report(&tenant, job.partition, &invented).await.unwrap();
                }
                delivery.settle.ack().await.unwrap();
            });
        }
    }
}
