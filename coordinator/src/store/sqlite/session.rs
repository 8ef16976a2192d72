//! The file, its connections and its lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use stepstream_runtime::random;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::failure;
use crate::ports::{StoreError, StoreMeta};
use crate::store::rows;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Versions before this one could, rarely, corrupt a write-ahead log that is reset while another connection reads.
const OLDEST: (u32, u32, u32) = (3, 51, 3);

/// How long a statement waits for a lock: the only other writer is a checkpoint or a tool at a terminal.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Readers: the API, replays and recovery, on few cores.
const READERS: u32 = 4;

/// Pages of the write-ahead log between two checkpoints: 16 MiB. Fewer checkpoints, fewer syncs.
const CHECKPOINT_PAGES: &str = "4000";

pub(super) struct Session {
    path: PathBuf,
    /// `None` inside while in use or after it broke, so that a write dropped half way takes its connection with it.
    writer: Option<Writer>,
    pub(super) readers: SqlitePool,
    pub(super) partitions: u16,
    /// Where the file was copied to when it could not be read in place; goes with the session.
    _copy: Option<TempDir>,
}

struct Writer {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
    /// Held for its lock.
    _lock: File,
}

impl Session {
    pub(super) async fn open(path: &Path, partitions: u16) -> Result<Self, StoreError> {
        if partitions == 0 {
            return Err(StoreError::Refused { reason: "a store has at least one partition".to_owned() });
        }
        let lock = lock(path)?;
        let base = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_PATIENCE).disable_statement_logging();
        let classify = |error| failure::classify(error, path);

        // The schema is looked at before the journal mode is set, which writes.
        let mut connection = base.clone().create_if_missing(true).connect().await.map_err(classify)?;
        refuse_old_library(&mut connection).await.map_err(classify)??;
        refuse_newer_schema(&mut connection).await.map_err(classify)??;
        connection.close().await.map_err(classify)?;

        let options = base
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("cache_size", "-16384");
        let mut connection = options.connect().await.map_err(classify)?;
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(|error| migration_failure(error, path))?;
        create(&mut connection, partitions).await.map_err(classify)?;

        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_lazy_with(options.clone().pragma("query_only", "on"));
        let writer = Writer { options, connection: Mutex::new(Some(connection)), _lock: lock };
        Self::checked(path, Some(writer), readers, None).await
    }

    pub(super) async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            return Err(StoreError::Absent { reason: format!("{} is no file", path.display()) });
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY_PATIENCE)
            .disable_statement_logging();
        let (options, copy) = match probe(&options).await {
            Ok(()) => (options, None),
            Err(error) if failure::is_about_opening(&error) => readable_anyway(options, path)?,
            Err(error) => return Err(failure::classify(error, path)),
        };
        let classify = |error| failure::classify(error, path);
        let mut connection = options.connect().await.map_err(classify)?;
        refuse_old_library(&mut connection).await.map_err(classify)??;
        if refuse_newer_schema(&mut connection).await.map_err(classify)??.is_none() {
            return Err(StoreError::Refused { reason: format!("{} does not hold a store", path.display()) });
        }
        connection.close().await.map_err(classify)?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options);
        Self::checked(path, None, readers, copy).await
    }

    async fn checked(
        path: &Path,
        writer: Option<Writer>,
        readers: SqlitePool,
        copy: Option<TempDir>,
    ) -> Result<Self, StoreError> {
        let mut session = Session { path: path.to_owned(), writer, readers, partitions: 0, _copy: copy };
        session.partitions = session.read_meta().await?.partitions;
        let rows: i64 = sqlx::query_scalar("select count(*) from partitions")
            .fetch_one(&session.readers)
            .await
            .map_err(|error| session.failure(error))?;
        if rows != i64::from(session.partitions) {
            return Err(rows::corrupt(format!(
                "there are {rows} partitions where the store says {}",
                session.partitions
            )));
        }
        Ok(session)
    }

    pub(super) fn failure(&self, error: sqlx::Error) -> StoreError {
        failure::classify(error, &self.path)
    }

    /// Lends the writing connection. Whatever goes wrong with it (or when the work is dropped) it is closed, which
    /// rolls back, and the next write opens another.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let Some(writer) = &self.writer else {
            return Err(StoreError::Refused { reason: format!("{} was opened for reading", self.path.display()) });
        };
        let mut slot = writer.connection.lock().await;
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => writer.options.connect().await.map_err(|error| self.failure(error))?,
        };
        match work(&mut connection).await {
            Ok(done) => {
                *slot = Some(connection);
                Ok(done)
            }
            Err(error) => {
                // Closed and waited for, so that the transaction is gone before anybody else begins one.
                if let Err(error) = connection.close().await {
                    tracing::debug!(%error, "a broken connection did not close cleanly");
                }
                Err(self.failure(error))
            }
        }
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        if let Some(writer) = &self.writer
            && let Some(connection) = writer.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "the writing connection did not close cleanly");
        }
    }

    /// The store's row and, read back, what a commit has survived.
    pub(super) async fn read_meta(&self) -> Result<StoreMeta, StoreError> {
        let (incarnation, partitions, mac_key, version): (i64, i64, Vec<u8>, String) =
            sqlx::query_as("select incarnation, partitions, mac_key, sqlite_version() from store_meta")
                .fetch_optional(&self.readers)
                .await
                .map_err(|error| self.failure(error))?
                .ok_or_else(|| rows::corrupt("the row that says what this store is has gone".to_owned()))?;
        let durability = match &self.writer {
            None => format!("SQLite {version}, opened for reading"),
            Some(_) => {
                let read_back = async |connection: &mut SqliteConnection| {
                    let journal: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut *connection).await?;
                    let synchronous: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(connection).await?;
                    Ok((journal, synchronous))
                };
                let (journal, synchronous) = self.write(read_back).await?;
                durability(&version, &journal, synchronous)
            }
        };
        Ok(StoreMeta {
            incarnation: rows::unsigned(incarnation, "the incarnation")?,
            partitions: rows::partition(partitions)?.0,
            mac_key: rows::hash(&mac_key)?,
            durability,
        })
    }
}

fn durability(version: &str, journal: &str, synchronous: i64) -> String {
    let name = match synchronous {
        0 => "OFF",
        1 => "NORMAL",
        2 => "FULL",
        3 => "EXTRA",
        _ => "unknown",
    };
    let survived = if synchronous >= 2 {
        "an acknowledged append survives a power cut"
    } else {
        "an acknowledged append survives the death of the process, but not a power cut"
    };
    format!("SQLite {version}: {survived} (journal_mode {journal}, synchronous {name})")
}

/// Keeps a second writing process out, for as long as the file lives. The lock goes with the process, however it ends.
fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, ".lock");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path).map_err(|error| {
            StoreError::Exhausted {
                reason: format!(
                    "cannot write {}: {error}; the directory must exist and be writable, or choose another",
                    lock_path.display()
                ),
            }
        })?;
    match file.try_lock() {
        Ok(()) => {
            // For the message below, in another process; the lock itself needs no content.
            let noted =
                file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
            if let Err(error) = noted {
                tracing::debug!(%error, path = %lock_path.display(), "the lock file does not name this process");
            }
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let owner = match (&mut file).take(20).read_to_string(&mut owner) {
                Ok(1..) => format!(" (process {})", owner.trim()),
                _ => String::new(),
            };
            Err(StoreError::Refused {
                reason: format!(
                    "{} is in use by another process{owner}; stop it, or choose another directory",
                    path.display()
                ),
            })
        }
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Exhausted { reason: format!("cannot lock {}: {error}", lock_path.display()) })
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

async fn probe(options: &SqliteConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = options.connect().await?;
    let _: i64 = sqlx::query_scalar("select count(*) from sqlite_master").fetch_one(&mut connection).await?;
    connection.close().await
}

/// SQLite reads a write-ahead log only with a shared-memory file beside it, which it cannot make in a directory that
/// cannot be written to. Nobody else writes there either (or that file would exist), so: without a log the file is
/// complete and can be read as immutable; with one, both are copied and read elsewhere.
fn readable_anyway(
    options: SqliteConnectOptions,
    path: &Path,
) -> Result<(SqliteConnectOptions, Option<TempDir>), StoreError> {
    let log = beside(path, "-wal");
    if log.metadata().map_or(0, |log| log.len()) == 0 {
        return Ok((options.immutable(true), None));
    }
    let failed = |error: std::io::Error| StoreError::Exhausted {
        reason: format!(
            "{} was not closed cleanly and its directory cannot be written to; reading a copy failed too: {error}",
            path.display()
        ),
    };
    let directory = tempfile::tempdir().map_err(failed)?;
    let copy = directory.path().join("store.db");
    std::fs::copy(path, &copy).map_err(failed)?;
    std::fs::copy(&log, beside(&copy, "-wal")).map_err(failed)?;
    Ok((SqliteConnectOptions::new().filename(copy).disable_statement_logging(), Some(directory)))
}

async fn refuse_old_library(connection: &mut SqliteConnection) -> Result<Result<(), StoreError>, sqlx::Error> {
    let version: String = sqlx::query_scalar("select sqlite_version()").fetch_one(connection).await?;
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let found = (next(), next(), next());
    Ok(if found < OLDEST {
        let (major, minor, patch) = OLDEST;
        Err(StoreError::Refused {
            reason: format!("this build has SQLite {version}; {major}.{minor}.{patch} or later is needed"),
        })
    } else {
        Ok(())
    })
}

/// Answers with the schema's version, when there is one.
async fn refuse_newer_schema(
    connection: &mut SqliteConnection,
) -> Result<Result<Option<i64>, StoreError>, sqlx::Error> {
    let there: Option<i64> = sqlx::query_scalar("select 1 from sqlite_master where name = '_sqlx_migrations'")
        .fetch_optional(&mut *connection)
        .await?;
    if there.is_none() {
        return Ok(Ok(None));
    }
    let found: Option<i64> =
        sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(connection).await?;
    Ok(match found {
        Some(found) if found > newest_known() => Err(StoreError::NewerSchema { found, known: newest_known() }),
        found => Ok(found),
    })
}

fn newest_known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn migration_failure(error: MigrateError, path: &Path) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failure::classify(error, path),
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known: newest_known() },
        other => StoreError::Refused { reason: format!("the schema cannot be brought up to date: {other}") },
    }
}

async fn create(connection: &mut SqliteConnection, partitions: u16) -> Result<(), sqlx::Error> {
    let mac_key: [u8; 32] = random::bytes();
    let mut transaction = connection.begin_with("begin immediate").await?;
    let created = sqlx::query(
        "insert into store_meta (only_row, incarnation, partitions, mac_key, created_at)
         values (1, 1, ?, ?, cast(unixepoch('subsec') * 1000000 as integer)) on conflict do nothing",
    )
    .bind(i64::from(partitions))
    .bind(mac_key.as_slice())
    .execute(&mut *transaction)
    .await?;
    if created.rows_affected() == 1 {
        sqlx::query(
            "insert into partitions (id) with recursive n(id) as (
                 select 0 union all select id + 1 from n where id + 1 < ?) select id from n",
        )
        .bind(i64::from(partitions))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}
