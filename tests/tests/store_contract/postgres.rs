//! PostgreSQL under the contract, and what only a server can get wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use sqlx::{Connection, PgConnection};
use stepstream_coordinator::ports::{Appended, AttemptRef, EndOf, EventStore, PermitEnd, PermitRequest, StoreError};
use stepstream_coordinator::store::{GroupCommit, PostgresOptions, PostgresStore};
use stepstream_runtime::servers::PostgresServer;
use stepstream_shared::event::{PermitAsk, Place};
use stepstream_shared::graph::Priority;
use stepstream_shared::id::PartitionId;
use stepstream_tests::contract::store::{
    PARTITIONS, SharedStore, append, execution, following, gapless, next_append, own, tenant,
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// One server for all tests of this binary; it goes with the process.
async fn server() -> &'static PostgresServer {
    static SERVER: OnceCell<PostgresServer> = OnceCell::const_new();
    SERVER.get_or_init(async || stepstream_tests::servers::postgres().await.unwrap()).await
}

/// The URL of a database that nobody else uses.
async fn fresh_database() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("rule_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    server().await.create_database(&name).await.unwrap();
    server().await.url(&name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_loop_drives_many_executions() {
    let store = Arc::new(PostgresStore::connect_or_create(&fresh_database().await, PARTITIONS).await.unwrap());
    super::group_commit::drive("PostgreSQL", store.clone(), 500, 20).await;
    store.close().await;
}

async fn with_fresh(rule: impl AsyncFnOnce(SharedStore)) {
    let store = Arc::new(PostgresStore::connect_or_create(&fresh_database().await, PARTITIONS).await.unwrap());
    rule(store.clone()).await;
    store.close().await;
}

stepstream_tests::store_contract!(with_fresh);

fn failure<T>(result: Result<T, StoreError>) -> StoreError {
    result.err().expect("an error")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_that_start_together_create_one_store() {
    let url = fresh_database().await;
    let starting = (0..6).map(|number| {
        let options = PostgresOptions::new(&url, 8 + number).member(format!("member {number}"));
        tokio::spawn(async move { PostgresStore::open(&options).await.unwrap().meta().await.unwrap() })
    });
    let metas: Vec<_> = join_all(starting).await.into_iter().map(Result::unwrap).collect();
    for meta in &metas {
        assert_eq!((meta.partitions, meta.mac_key), (metas[0].partitions, metas[0].mac_key));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused_before_anything_is_touched() {
    let url = fresh_database().await;
    PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap().close().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("update _sqlx_migrations set version = 9000; drop table graphs")
        .execute(&mut connection)
        .await
        .unwrap();
    let error = failure(PostgresStore::connect_or_create(&url, PARTITIONS).await);
    assert!(matches!(error, StoreError::NewerSchema { found: 9000, known: 1.. }), "{error}");
    let error = failure(PostgresStore::open_read_only(&url).await);
    assert!(matches!(error, StoreError::NewerSchema { found: 9000, known: 1.. }), "{error}");
    let graphs: Option<String> =
        sqlx::query_scalar("select to_regclass('graphs')::text").fetch_one(&mut connection).await.unwrap();
    assert_eq!(graphs, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_work_says_why() {
    let url = fresh_database().await;
    for wrong in ["not a url", "mysql://localhost/x"] {
        let error = failure(PostgresStore::connect_or_create(wrong, 8).await);
        assert!(matches!(error, StoreError::BadUrl { .. }), "{wrong}: {error}");
    }
    let no_database = url.rsplit_once('/').unwrap().0.to_owned() + "/nothing_here?sslmode=disable";
    let error = failure(PostgresStore::connect_or_create(&no_database, 8).await);
    assert!(matches!(error, StoreError::Refused { .. }) && error.to_string().contains("nothing_here"), "{error}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(PostgresStore::connect_or_create(&format!("postgres://u@{nobody}/x"), 8).await);
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_be_there_already_is_not_made() {
    async fn scalar(url: &str, sql: &'static str) -> i64 {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }
    const DATABASES: &str = "select count(*) from pg_database where datname = 'not_there'";
    const TABLES: &str = "select count(*) from pg_class where relnamespace not in (
        select oid from pg_namespace where nspname in ('pg_catalog', 'information_schema', 'pg_toast'))";
    let empty = fresh_database().await;
    let missing = server().await.url("not_there");
    for (url, what) in [(&empty, "holds none"), (&missing, "not_there")] {
        let existing = PostgresOptions::existing(url);
        for options in [existing.clone(), existing.read_only(), PostgresOptions::new(url, 8).read_only()] {
            let error = failure(PostgresStore::open(&options).await);
            assert!(matches!(error, StoreError::Absent { .. }) && error.to_string().contains(what), "{error}");
        }
    }
    assert_eq!((scalar(&empty, DATABASES).await, scalar(&empty, TABLES).await), (0, 0));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(PostgresStore::open_read_only(&format!("postgres://u@{nobody}/x")).await);
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_opened_for_reading_is_read_and_not_written() {
    let url = fresh_database().await;
    let store: SharedStore = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap());
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 2);
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    let reader = PostgresStore::open_read_only(&url).await.unwrap();
    assert_eq!(reader.meta().await.unwrap().partitions, PARTITIONS);
    assert_eq!(reader.read(&tenant("x"), execution(1), 0, 10).await.unwrap().len(), 1);
    let refused = |error| matches!(error, StoreError::Exhausted { .. });
    assert!(refused(failure(reader.append(&[following(&first, 1)]).await)));
    assert!(refused(failure(reader.clear_snapshots().await)));
    assert!(refused(failure(reader.clear_agenda().await)));
    assert!(refused(failure(reader.acquire(PartitionId(0), "b", Duration::from_secs(9), true).await)));
    assert_eq!(store.read(&tenant("x"), execution(1), 0, 10).await.unwrap().len(), 1);

    // To be repaired, it is opened for writing, and kept as it is.
    let existing = PostgresStore::open(&PostgresOptions::existing(&url)).await.unwrap();
    existing.clear_snapshots().await.unwrap();
    assert_eq!(existing.append(&[following(&first, 1)]).await.unwrap(), [Appended::Committed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_set_to_read_only_is_exhausted_and_not_unknown() {
    let url = fresh_database().await;
    let store: SharedStore = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap());
    own(&store, "a").await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let name: String = sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await.unwrap();
    let read_only = format!("alter database {name} set default_transaction_read_only = on");
    sqlx::raw_sql(sqlx::AssertSqlSafe(read_only)).execute(&mut connection).await.unwrap();
    let error = failure(store.append(&[append(&tenant("x"), execution(1), 1, 1)]).await);
    assert!(matches!(error, StoreError::Exhausted { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_waits_for_the_append_under_way_and_gives_up_on_one_that_hangs() {
    let url = fresh_database().await;
    let store: SharedStore = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap());
    own(&store, "a").await;
    // An append that hangs: a transaction that holds the partition.
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut hanging = connection.begin().await.unwrap();
    sqlx::query("select 1 from partitions where id = 3 for share").execute(&mut *hanging).await.unwrap();
    let error = failure(store.acquire(PartitionId(3), "b", Duration::from_secs(9), true).await);
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    hanging.rollback().await.unwrap();
    assert_eq!(store.acquire(PartitionId(3), "b", Duration::from_secs(9), true).await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_session_is_ended_leaves_an_open_fate_that_asking_again_resolves() {
    let url = fresh_database().await;
    let store: SharedStore = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap());
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 1);
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    end_sessions(&mut connection, 100).await;
    let second = following(&first, 1);
    let error = failure(store.append(std::slice::from_ref(&second)).await);
    assert!(matches!(error, StoreError::Unknown(_)), "{error}");
    let answer = store.append(std::slice::from_ref(&second)).await.unwrap();
    assert_eq!(answer, [Appended::Committed]);
}

/// Ends up to so many of the store's sessions in this database, whichever it happens to be.
async fn end_sessions(connection: &mut PgConnection, most: i64) -> i64 {
    sqlx::query_scalar(
        "select count(pg_terminate_backend(pid)) from (
             select pid from pg_stat_activity
             where datname = current_database() and application_name like 'stepstream%'
             order by random() limit $1) chosen",
    )
    .bind(most)
    .fetch_one(connection)
    .await
    .unwrap()
}

/// How long the race below runs, and how long an owner is left in peace.
const RACE: Duration = Duration::from_secs(4);
const LEASE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_that_race_while_their_sessions_are_killed_leave_no_gap_and_no_double() {
    let url = fresh_database().await;
    let store: SharedStore = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap());
    let stop = CancellationToken::new();
    let unknown = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let takeovers = Arc::new(AtomicU64::new(0));

    let racers: Vec<_> = (0..4)
        .map(|number| {
            let (store, stop) = (Arc::clone(&store), stop.clone());
            let (unknown, acknowledged, takeovers) =
                (Arc::clone(&unknown), Arc::clone(&acknowledged), Arc::clone(&takeovers));
            let id = execution(7);
            tokio::spawn(async move {
                let partition = PartitionId::of(id, PARTITIONS);
                while !stop.is_cancelled() {
                    let member = format!("racer {number}");
                    // Sessions are killed: any of these may fail and is asked again.
                    let Ok(Some(epoch)) = store.acquire(partition, &member, LEASE, false).await else {
                        continue;
                    };
                    takeovers.fetch_add(1, Ordering::Relaxed);
                    let Some(mut next) = try_next(&store, epoch).await else { continue };
                    loop {
                        if stop.is_cancelled() {
                            break;
                        }
                        let answer = loop {
                            match store.append(std::slice::from_ref(&next)).await {
                                Ok(answer) => break answer[0].clone(),
                                Err(StoreError::Unknown(_)) => drop(unknown.fetch_add(1, Ordering::Relaxed)),
                                Err(StoreError::Unavailable(_)) => {}
                                Err(other) => panic!("{other}"),
                            }
                        };
                        match answer {
                            Appended::Committed | Appended::AlreadyThere => {
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                            }
                            Appended::Fenced => break,
                            // Nobody but the owner of this epoch writes under it, so its view cannot be stale.
                            Appended::Conflict => panic!("a conflict under epoch {epoch}"),
                        }
                        next = following(&next, 1);
                    }
                }
            })
        })
        .collect();

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let started = Instant::now();
    let mut killed = 0;
    while started.elapsed() < RACE {
        killed += end_sessions(&mut connection, 1).await;
        // The pace of the race, not a wait for something.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    stop.cancel();
    for racer in join_all(racers).await {
        racer.unwrap();
    }
    let end = gapless(&store, &tenant("x"), execution(7)).await;
    println!(
        "{killed} sessions killed, {} takeovers, {} unknown outcomes, {end} appends",
        takeovers.load(Ordering::Relaxed),
        unknown.load(Ordering::Relaxed)
    );
    assert_eq!(end, acknowledged.load(Ordering::Relaxed), "every append in the log was acknowledged once");
    assert!(
        end > 50 && killed > 20 && takeovers.load(Ordering::Relaxed) > 20,
        "the race was too tame to show anything"
    );
    assert!(unknown.load(Ordering::Relaxed) > 0, "no commit was ever left open");
}

/// As `next_append`, but a killed session is no failure of the test.
async fn try_next(store: &SharedStore, epoch: u64) -> Option<stepstream_coordinator::ports::Append> {
    let store = Arc::clone(store);
    tokio::spawn(async move { next_append(&store, execution(7), epoch).await }).await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_restarted_is_waited_for_and_loses_nothing() {
    let mut server = stepstream_tests::servers::postgres().await.unwrap();
    server.create_database("own").await.unwrap();
    let store: SharedStore = Arc::new(PostgresStore::connect_or_create(&server.url("own"), PARTITIONS).await.unwrap());
    own(&store, "a").await;
    let lanes = GroupCommit::new(Arc::clone(&store), 2, CancellationToken::new());
    let committed = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..32)
        .map(|number| {
            let (lanes, committed) = (lanes.clone(), Arc::clone(&committed));
            tokio::spawn(async move {
                let mut next = append(&tenant("x"), execution(number), 1, 1);
                for _ in 0..40 {
                    let answer = lanes.append(next.clone()).await.unwrap();
                    assert!(matches!(answer, Appended::Committed | Appended::AlreadyThere), "{answer:?}");
                    committed.fetch_add(1, Ordering::SeqCst);
                    next = following(&next, 1);
                }
            })
        })
        .collect();
    stepstream_tests::poll::until("writing has begun", async || (committed.load(Ordering::SeqCst) > 200).then_some(()))
        .await;
    server.kill().await;
    let at_the_kill = committed.load(Ordering::SeqCst);
    assert!(at_the_kill < 32 * 40, "the server was killed too late to matter");
    server.restart().await.unwrap();
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    for number in 0..32 {
        assert_eq!(gapless(&store, &tenant("x"), execution(number)).await, 40);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_granted_while_its_end_is_under_way_is_not_lost() {
    let url = fresh_database().await;
    let store = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap());
    let attempt = |number| AttemptRef { tenant: tenant("x"), execution: execution(number), step: 0, attempt: 1 };
    let ask = |number, key: &str| {
        let ask = PermitAsk {
            place: Some(Place { key: key.to_owned(), max: 1 }),
            pace: None,
            need: None,
            priority: Priority::Normal,
        };
        PermitRequest {
            attempt: attempt(number),
            partition: PartitionId::of(execution(number), PARTITIONS),
            sequence: 5,
            ask,
        }
    };
    let end = |number| PermitEnd { attempt: attempt(number), why: EndOf::Attempt };
    let in_use = async |connection: &mut PgConnection| -> Option<i64> {
        sqlx::query_scalar("select in_use from permit_keys where key = 'contended'")
            .fetch_optional(connection)
            .await
            .unwrap()
    };
    store.permits().settle_permits(&[], &[ask(1, "held")]).await.unwrap();

    // Whoever ends both has seen one row, and waits for the key of that one.
    let mut holder = PgConnection::connect(&url).await.unwrap();
    let mut watcher = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin; select 1 from permit_keys where key = 'held' for update").execute(&mut holder).await.unwrap();
    let ending = {
        let (store, ends) = (store.clone(), [end(1), end(2)]);
        tokio::spawn(async move { store.permits().settle_permits(&ends, &[]).await.map(drop) })
    };
    stepstream_tests::poll::until("it waits for the key", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap();
        (waiting > 0).then_some(())
    })
    .await;
    // Meanwhile the other one asks and is granted its place.
    store.permits().settle_permits(&[], &[ask(2, "contended")]).await.unwrap();
    assert_eq!(in_use(&mut watcher).await, Some(1));
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    ending.await.unwrap().unwrap();

    // It has its row still, so whoever looks for permits of attempts that are over gives its place back.
    let partitions: Vec<PartitionId> = (0..PARTITIONS).map(PartitionId).collect();
    let standing = store.permits().standing_permits(&partitions, true, Duration::ZERO, None, 10).await.unwrap();
    assert_eq!(standing.iter().map(|row| &row.attempt).collect::<Vec<_>>(), [&attempt(2)]);
    store.permits().settle_permits(&[end(2)], &[]).await.unwrap();
    store.permits().settle_permits(&[], &[ask(3, "contended")]).await.unwrap();
    let standing = store.permits().standing_permits(&partitions, true, Duration::ZERO, None, 10).await.unwrap();
    assert_eq!(standing.iter().map(|row| &row.attempt).collect::<Vec<_>>(), [&attempt(3)], "the place is free again");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_while_an_earlier_wait_is_ended_waits_afterwards() {
    let url = fresh_database().await;
    let store = Arc::new(PostgresStore::connect_or_create(&url, PARTITIONS).await.unwrap());
    let attempt = |number| AttemptRef { tenant: tenant("x"), execution: execution(number), step: 0, attempt: 1 };
    let ask = |number, sequence| PermitRequest {
        attempt: attempt(number),
        partition: PartitionId::of(execution(number), PARTITIONS),
        sequence,
        ask: PermitAsk {
            place: Some(Place { key: "held".to_owned(), max: 1 }),
            pace: None,
            need: None,
            priority: Priority::Normal,
        },
    };
    store.permits().settle_permits(&[], &[ask(1, 5), ask(2, 5)]).await.unwrap();

    // An owner from before says that it stopped waiting, the present one asks again, and both stand before the key.
    let mut holder = PgConnection::connect(&url).await.unwrap();
    let mut watcher = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin; select 1 from permit_keys where key = 'held' for update").execute(&mut holder).await.unwrap();
    let mut waiters = Vec::new();
    let stopped = PermitEnd { attempt: attempt(2), why: EndOf::Wait(7) };
    for (ends, asks) in [(vec![stopped], vec![]), (vec![], vec![ask(2, 9)])] {
        let store = store.clone();
        waiters.push(tokio::spawn(async move { store.permits().settle_permits(&ends, &asks).await.map(drop) }));
        stepstream_tests::poll::until("it waits for the key", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
            )
            .fetch_one(&mut watcher)
            .await
            .unwrap();
            (waiting == waiters.len() as i64).then_some(())
        })
        .await;
    }
    sqlx::raw_sql("commit").execute(&mut holder).await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    let first = PermitEnd { attempt: attempt(1), why: EndOf::Attempt };
    let granted = store.permits().settle_permits(&[first], &[]).await.unwrap().granted;
    assert_eq!(granted.into_iter().map(|granted| granted.attempt).collect::<Vec<_>>(), [attempt(2)]);
    store.close().await;
}
