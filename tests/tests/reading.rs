//! Commands that read a database of PostgreSQL which holds no store.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use sqlx::{Connection, PgConnection};
use stepstream_coordinator::store::PostgresStore;
use stepstream_tests::harness::programs;
use stepstream_tests::servers;

const ID: &str = "exec_3MPx4UMAZKkyVFTlNPY96WZX49Y";
const COMMANDS: [&[&str]; 5] = [
    &["get", "executions"],
    &["get", "execution", ID],
    &["events", ID],
    &["replay", ID, "--verify"],
    &["admin", "rebuild"],
];

async fn tables(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select count(*) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_database_without_a_store_says_so_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let server = servers::postgres().await.unwrap();
    server.create_database("empty").await.unwrap();
    let (empty, missing) = (server.url("empty"), server.url("missing"));
    for (url, what) in [(&empty, "holds none"), (&missing, "does not exist")] {
        for command in COMMANDS {
            let said = programs::run(directory.path(), &[command, &["--postgres", url]].concat()).await.exited(5);
            assert!(said.stdout.is_empty() && said.stderr.contains(what), "{command:?}: {said:#?}");
        }
    }
    assert_eq!(tables(&empty).await, 0);
    assert!(PgConnection::connect(&missing).await.is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    // Where there is one, they read it, and nothing but `admin` needs to write.
    PostgresStore::connect_or_create(&empty, 8).await.unwrap().close().await;
    let mut connection = PgConnection::connect(&empty).await.unwrap();
    sqlx::raw_sql("alter database empty set default_transaction_read_only = on")
        .execute(&mut connection)
        .await
        .unwrap();
    let list = ["get", "executions", "-o", "json", "--postgres", &empty];
    let said = programs::run(directory.path(), &list).await.exited(0);
    assert_eq!(said.json(), serde_json::json!({"items": []}));
    programs::run(directory.path(), &["replay", ID, "--postgres", &empty]).await.exited(7);
}
