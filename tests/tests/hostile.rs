//! Strangers at the doors of a fleet: on the bus, at the API, in the database. Each is refused and nothing stops.

use std::time::Duration;

use async_nats::jetstream;
use serde_json::json;
use sqlx::Connection;
use stepstream_coordinator::ports::EventStore;
use stepstream_shared::data::Data;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, PartitionId, StepId, TenantId};
use stepstream_shared::wire::{ClaimId, Job, MacKey, Outcome, OutcomeResult, PROTOCOL};
use stepstream_tests::harness::fleet::{Fleet, Plan};
use stepstream_tests::harness::verdict::BY_WORKERS;
use stepstream_tests::harness::{graphs, programs};
use stepstream_tests::poll;

const SMALL: Plan = Plan {
    coordinators: 1,
    workers: 1,
    slots: 8,
    lease: Duration::from_secs(2),
    redispatch_after: Duration::from_secs(3),
};

async fn publish(context: &jetstream::Context, subject: String, body: Vec<u8>) {
    context.publish(subject, body.into()).await.expect("sent").await.expect("stored");
}

/// What is left in a stream.
async fn left(context: &jetstream::Context, stream: &str) -> u64 {
    let mut stream = context.get_stream(stream).await.expect("the stream is there");
    stream.info().await.expect("it can be asked").state.messages
}

fn outcome_of(tenant: &TenantId, key: &MacKey, execution: ExecutionId, incarnation: u64) -> Outcome {
    let step = StepId::derived("a test", &[execution.as_bytes()]);
    Outcome {
        protocol: PROTOCOL,
        token: key.token(tenant, incarnation, execution, step, 0, 1),
        claim: ClaimId(7),
        worker: "stranger".to_owned(),
        report: 1,
        result: OutcomeResult::Completed { output: Data::null(), duration_us: 1 },
        notes: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_outcomes_and_garbage_on_the_bus_change_nothing_and_stop_nothing() {
    let mut fleet = Fleet::start(SMALL).await;
    let meta = fleet.store().meta().await.expect("meta");
    let client = async_nats::connect(fleet.nats.url()).await.expect("nats-server");
    let context = jetstream::new(client);
    let tenant = TenantId::default_tenant();
    let other: TenantId = "tenant_other".parse().expect("an id");

    let file = fleet.file("marks");
    let inputs = graphs::inputs(&file, 0);
    let id = fleet.api(0).begin(&graphs::chain(1, 3.0), &inputs).await;
    let execution: ExecutionId = id.parse().expect("an id");
    let partition = PartitionId::of(execution, meta.partitions);
    let real = MacKey(meta.mac_key);

    let mut forged = vec![
        // Another key; another store's incarnation; a step that does not exist; a tenant that is not the subject's.
        outcome_of(&tenant, &MacKey([9; 32]), execution, meta.incarnation),
        outcome_of(&tenant, &real, execution, meta.incarnation + 1),
        outcome_of(&other, &real, execution, meta.incarnation),
    ];
    let mut wrong_step = outcome_of(&tenant, &real, execution, meta.incarnation);
    wrong_step.token.ordinal = 4_000_000_000;
    forged.push(wrong_step);
    // Well-formed and from a coordinator of this store, but about an execution that nobody has heard of.
    let nobody = ExecutionId::from_parts(0, [3; 16]);
    forged.push(outcome_of(&tenant, &real, nobody, meta.incarnation));
    for outcome in &forged {
        let at = PartitionId::of(outcome.token.execution, meta.partitions);
        publish(&context, format!("outcomes.{tenant}.{at}"), outcome.encode().expect("encodable")).await;
    }
    for garbage in [&b""[..], b"\xff\xff\xff\xff", b"{}", b"\x81\xa8protocol\xcd\x03\xe7", &[0x91; 5000], &[0; 100_000]]
    {
        publish(&context, format!("outcomes.{tenant}.{partition}"), garbage.to_vec()).await;
        publish(&context, format!("commands.{tenant}.{partition}"), garbage.to_vec()).await;
        publish(&context, format!("jobs.{tenant}.default.normal"), garbage.to_vec()).await;
    }
    // A job that nobody ordered runs, as at-least-once says, and its outcome is refused.
    let step = StepId::derived("a test", &[nobody.as_bytes()]);
    let invented = Job {
        protocol: PROTOCOL,
        token: MacKey([1; 32]).token(&tenant, 1, nobody, step, 0, 1),
        dispatch: 1,
        tenant: tenant.clone(),
        partition: PartitionId::of(nobody, meta.partitions),
        position: 1,
        graph: "g".to_owned(),
        node: "x".to_owned(),
        callable: "echo".to_owned(),
        queue: "default".to_owned(),
        priority: Priority::Normal,
        input: Data::null(),
        scheduled_at: 0,
        start_to_close_ms: None,
        heartbeat_ms: None,
        inline: false,
        max_memory_mb: None,
        claim: false,
        trace: None,
        inbox: stepstream_shared::data::Data::null(),
    };
    publish(&context, format!("jobs.{tenant}.default.normal"), invented.encode().expect("encodable")).await;

    let more = fleet.api(0).begin(&graphs::chain(3, 0.0), &inputs).await;
    let verdict = fleet.verdict(&[id, more], BY_WORKERS).await;
    assert!(!verdict.workers().contains("stranger"));
    assert!(verdict.executions[0].makespan() >= Duration::from_secs(3), "the forged outcome did not end the rest");
    assert_eq!(graphs::lines(&file), 4);
    for stream in ["OUTCOMES", "JOBS"] {
        poll::until(&format!("{stream} is empty: nothing poisons it"), async || {
            (left(&context, stream).await == 0).then_some(())
        })
        .await;
    }
    assert!(fleet.coordinators[0].log().contains("forged"), "{}", fleet.coordinators[0].log());
    assert!(fleet.coordinators[0].ended().is_none() && fleet.workers[0].ended().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_refuses_what_it_must_with_a_status_of_its_own() {
    let fleet = Fleet::start(SMALL).await;
    let api = fleet.api(0);
    let graph = graphs::chain(1, 0.0);
    let inputs = graphs::inputs(&fleet.file("marks"), 0);
    let id = api.begin(&graph, &inputs).await;
    fleet.verdict(std::slice::from_ref(&id), BY_WORKERS).await;

    for path in ["", "/events", "/steps", "/wait"] {
        let request = api.request(reqwest::Method::GET, &format!("/v1/executions/{id}{path}"));
        let answer = request.header("Stepstream-Tenant", "tenant_other").send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}: another tenant's execution is not there");
    }
    let request = api.request(reqwest::Method::POST, &format!("/v1/executions/{id}/cancel"));
    let answer = request.header("Stepstream-Tenant", "tenant_other").json(&json!({})).send().await.expect("an answer");
    assert_eq!(answer.status(), 404);

    let body = format!("{{\"graph\": \"x\", \"inputs\": \"{}\"}}", "x".repeat(100 * 1024 * 1024));
    let request = api.request(reqwest::Method::POST, "/v1/executions").header("Content-Type", "application/json");
    let answer = request.body(body).send().await.expect("the answer is seen, not a reset connection");
    assert_eq!(answer.status(), 413);
    let problem: serde_json::Value = answer.json().await.expect("a problem");
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains("8388608")),
        "it names the limit: {problem}"
    );

    let request = api.request(reqwest::Method::POST, "/v1/executions").header("Content-Type", "application/json");
    let answer = request.body("{\"graph\": \"a\\u0000b\", \"inputs\": {}}").send().await.expect("an answer");
    assert!(answer.status().is_client_error(), "{answer:?}");
    assert_eq!(api.execution(&id).await.expect("still there")["state"], "Completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_there_and_databases_of_the_future_have_exit_codes_of_their_own() {
    let fleet = Fleet::start(Plan { coordinators: 0, workers: 0, ..SMALL }).await;
    let nobody = "nats://127.0.0.1:9";
    let said = programs::run(fleet.directory(), &["worker", "--nats", nobody]).await.exited(5);
    assert!(said.stderr.contains(nobody), "{said:#?}");
    let said = programs::run(
        fleet.directory(),
        &["coordinator", "--nats", nobody, "--postgres", fleet.database(), "--listen", "127.0.0.1:0"],
    )
    .await
    .exited(5);
    assert!(said.stderr.contains(nobody), "{said:#?}");
    let said = programs::run(
        fleet.directory(),
        &[
            "coordinator",
            "--nats",
            &fleet.nats.url(),
            "--postgres",
            "postgres://x@127.0.0.1:9/x",
            "--listen",
            "127.0.0.1:0",
        ],
    )
    .await
    .exited(5);
    assert!(said.stderr.contains("error"), "{said:#?}");

    let mut connection = sqlx::PgConnection::connect(fleet.database()).await.expect("PostgreSQL");
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of the future', true, '\\x00', 0)",
    )
    .execute(&mut connection)
    .await
    .expect("a row");
    let said = programs::run(
        fleet.directory(),
        &["coordinator", "--nats", &fleet.nats.url(), "--postgres", fleet.database(), "--listen", "127.0.0.1:0"],
    )
    .await
    .exited(6);
    assert!(said.stderr.contains("9999") && said.stderr.contains("newer"), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn durability_is_what_the_servers_say_themselves() {
    let fleet = Fleet::start(SMALL).await;
    let meta = fleet.store().meta().await.expect("meta");
    for words in ["fsync on", "synchronous_commit on"] {
        assert!(meta.durability.contains(words), "{words}: {}", meta.durability);
    }
    let mut connection = sqlx::PgConnection::connect(fleet.database()).await.expect("PostgreSQL");
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("show {setting}")))
            .fetch_one(&mut connection)
            .await
            .expect("shown");
        assert_eq!(value, "on", "{setting}");
    }
    assert!(
        fleet.coordinators[0].log().contains("fsync"),
        "a coordinator says what it found: {}",
        fleet.coordinators[0].log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_commits_synchronously_even_where_the_database_says_otherwise() {
    let fleet = Fleet::start(Plan { coordinators: 0, workers: 1, ..SMALL }).await;
    let mut fleet = fleet;
    let mut connection = sqlx::PgConnection::connect(fleet.database()).await.expect("PostgreSQL");
    sqlx::query("alter database fleet set synchronous_commit = off").execute(&mut connection).await.expect("altered");
    let mut changed = sqlx::PgConnection::connect(fleet.database()).await.expect("PostgreSQL");
    let value: String = sqlx::query_scalar("show synchronous_commit").fetch_one(&mut changed).await.expect("shown");
    assert_eq!(value, "off", "the trap is set");
    fleet.add_coordinator().await;
    let log = fleet.coordinators[0].log();
    let line = log.lines().find(|line| line.contains("the coordinator serves")).expect("it serves");
    assert!(line.contains("synchronous_commit on"), "{line}");
}
