//! SQLite under the contract, and what only a file can get wrong.

use std::path::Path;
use std::sync::Arc;

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use stepstream_coordinator::ports::{Appended, EventStore, StoreError};
use stepstream_coordinator::store::SqliteStore;
use stepstream_tests::contract::store::{PARTITIONS, SharedStore, append, execution, following, own, tenant};

async fn with_fresh(rule: impl AsyncFnOnce(SharedStore)) {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(directory.path().join("store.db"), PARTITIONS).await.unwrap());
    rule(store.clone()).await;
    store.close().await;
}

stepstream_tests::store_contract!(with_fresh);

async fn raw(path: &Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

fn failure<T>(result: Result<T, StoreError>) -> StoreError {
    result.err().expect("an error")
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening_and_the_number_of_partitions_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store: SharedStore = Arc::new(SqliteStore::open(&path, PARTITIONS).await.unwrap());
    own(&store, "a").await;
    let first = append(&tenant("x"), execution(1), 1, 2);
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    let key = store.meta().await.unwrap().mac_key;
    drop(store);

    let store = SqliteStore::open(&path, 77).await.unwrap();
    let meta = store.meta().await.unwrap();
    assert_eq!((meta.partitions, meta.mac_key), (PARTITIONS, key));
    assert_eq!(store.append(&[following(&first, 1)]).await.unwrap(), [Appended::Committed]);
}

#[tokio::test]
async fn a_second_writer_is_refused_and_readers_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store: SharedStore = Arc::new(SqliteStore::open(&path, PARTITIONS).await.unwrap());
    own(&store, "a").await;
    let error = failure(SqliteStore::open(&path, PARTITIONS).await);
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "it names the process: {error}");

    let reader = SqliteStore::open_read_only(&path).await.unwrap();
    let first = append(&tenant("x"), execution(1), 1, 2);
    assert_eq!(store.append(std::slice::from_ref(&first)).await.unwrap(), [Appended::Committed]);
    assert_eq!(reader.read(&tenant("x"), execution(1), 0, 10).await.unwrap().len(), 1, "it sees what is new");
    let error = failure(reader.append(&[following(&first, 1)]).await);
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_store_in_a_directory_that_cannot_be_written_to_is_read() {
    use std::os::unix::fs::PermissionsExt;
    // The log is left behind as a killed process leaves it: copied while the store is open.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store: SharedStore = Arc::new(SqliteStore::open(&path, PARTITIONS).await.unwrap());
    own(&store, "a").await;
    assert_eq!(store.append(&[append(&tenant("x"), execution(1), 1, 2)]).await.unwrap(), [Appended::Committed]);

    let killed = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        std::fs::copy(format!("{}{suffix}", path.display()), killed.path().join(format!("store.db{suffix}"))).unwrap();
    }
    drop(store);
    for place in [directory.path(), killed.path()] {
        std::fs::set_permissions(place, PermissionsExt::from_mode(0o555)).unwrap();
        let reader = SqliteStore::open_read_only(place.join("store.db")).await.unwrap();
        assert_eq!(reader.read(&tenant("x"), execution(1), 0, 10).await.unwrap().len(), 1, "{}", place.display());
        assert_eq!(reader.meta().await.unwrap().partitions, PARTITIONS);
        std::fs::set_permissions(place, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    SqliteStore::open(&path, PARTITIONS).await.unwrap().close().await;
    let mut connection = raw(&path).await;
    sqlx::query("update _sqlx_migrations set version = 9000").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let before = std::fs::read(&path).unwrap();
    let newer = |error| matches!(error, StoreError::NewerSchema { found: 9000, known: 1.. });
    assert!(newer(failure(SqliteStore::open(&path, PARTITIONS).await)));
    assert!(newer(failure(SqliteStore::open_read_only(&path).await)));
    assert!(std::fs::read(&path).unwrap() == before, "the file was changed");
}

#[tokio::test]
async fn what_is_no_store_gets_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = failure(SqliteStore::open_read_only(directory.path().join("nothing.db")).await);
    assert!(missing.to_string().contains("there is no store"), "{missing}");
    let nowhere = failure(SqliteStore::open(directory.path().join("no/such/directory/store.db"), 8).await);
    assert!(matches!(nowhere, StoreError::Exhausted { .. }), "{nowhere}");

    let text = directory.path().join("text.db");
    std::fs::write(&text, "this is not a database, but long enough to be looked at as if it were one".repeat(20))
        .unwrap();
    for error in [failure(SqliteStore::open(&text, 8).await), failure(SqliteStore::open_read_only(&text).await)] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }
    let empty = directory.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let error = failure(SqliteStore::open_read_only(&empty).await);
    assert!(error.to_string().contains("does not hold a store"), "{error}");
}

#[tokio::test]
async fn an_append_that_is_given_up_half_way_does_not_disturb_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SqliteStore::open(directory.path().join("store.db"), PARTITIONS).await.unwrap());
    own(&store, "a").await;
    for number in 0..50 {
        let first = append(&tenant("x"), execution(number), 1, 1);
        // Dropped after so many polls: in the queue, in the transaction, before the commit.
        let given_up = store.append(std::slice::from_ref(&first));
        let polls = tokio::time::timeout(std::time::Duration::from_micros(20 * number), given_up).await;
        drop(polls);
        let answer = store.append(std::slice::from_ref(&first)).await.unwrap();
        assert!(matches!(answer[0], Appended::Committed | Appended::AlreadyThere), "{answer:?}");
        assert_eq!(store.append(&[following(&first, 1)]).await.unwrap(), [Appended::Committed]);
    }
}
