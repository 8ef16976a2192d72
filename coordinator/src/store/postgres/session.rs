//! Connecting, creating and checking a store, and the settings that each session needs.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use stepstream_runtime::random;

use super::failure;
use crate::ports::{StoreError, StoreMeta};
use crate::store::rows;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// Longest wait for a connection: a server that is up accepts in milliseconds.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Connections for all but appends. Reads are short; more of them would only queue at the server.
const POOL_CONNECTIONS: u32 = 8;

/// Where the store is and who asks.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    url: String,
    /// For a store that may have to be created.
    partitions: Option<u16>,
    read_only: bool,
    member: Option<String>,
    connections: u32,
}

impl PostgresOptions {
    /// A store in the database of this URL; `partitions` counts only when the store has to be created.
    pub fn new(url: impl Into<String>, partitions: u16) -> Self {
        PostgresOptions { partitions: Some(partitions), ..Self::existing(url) }
    }

    /// A store that is in the database of this URL: where there is none, none is created.
    pub fn existing(url: impl Into<String>) -> Self {
        PostgresOptions {
            url: url.into(),
            partitions: None,
            read_only: false,
            member: None,
            connections: POOL_CONNECTIONS,
        }
    }

    /// Only reads: nothing is created or brought up to date, and the server refuses to write for these sessions. A
    /// standby is good enough.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The member that connects: it names the sessions, for `pg_stat_activity`.
    #[must_use]
    pub fn member(mut self, id: impl Into<String>) -> Self {
        self.member = Some(id.into());
        self
    }

    /// Most connections of the pool that serves everything but appends.
    #[must_use]
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }
}

pub(super) struct Opened {
    pub(super) pool: PgPool,
    pub(super) writing: PgConnectOptions,
    pub(super) partitions: u16,
}

pub(super) async fn open(options: &PostgresOptions) -> Result<Opened, StoreError> {
    if options.partitions == Some(0) {
        return Err(StoreError::Refused { reason: "a store has at least one partition".to_owned() });
    }
    let base = base(options)?;
    // What acquires a partition waits for the appends under way; one that hangs must not hang the taker.
    let general = base.clone().options([("lock_timeout", "2s"), ("statement_timeout", "15s")]);
    // The plan of an append is the same whatever is in it, so it is made once. It must use the keys even while the
    // tables are small, because the plan outlives that, and join a batch with its partitions by hash, although the
    // server guesses that both are tiny. A plan that avoids things can look so expensive that it would be compiled.
    let writing = base.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_nestloop", "off"),
        ("jit", "off"),
    ]);

    match options.partitions {
        Some(partitions) if !options.read_only => create(&general, partitions).await?,
        _ => {
            find(&general).await?;
            if !options.read_only {
                migrate(&general).await?.close().await.map_err(failure::reading)?;
            }
        }
    }
    let pool = PgPoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(CONNECT_PATIENCE)
        .connect_lazy_with(general);
    let partitions = read_meta(&pool).await?.partitions;
    let rows: i64 =
        sqlx::query_scalar("select count(*) from partitions").fetch_one(&pool).await.map_err(failure::reading)?;
    if rows != i64::from(partitions) {
        return Err(rows::corrupt(format!("there are {rows} partitions where the store says {partitions}")));
    }
    Ok(Opened { pool, writing, partitions })
}

/// # Errors
/// [`StoreError::BadUrl`]; the text is not repeated, because it may hold a password.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    let bad = |why: String| StoreError::BadUrl { reason: format!("the PostgreSQL URL is not usable: {why}") };
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(bad("it begins with neither postgres:// nor postgresql://".to_owned()));
    }
    PgConnectOptions::from_str(url).map_err(|error| bad(error.to_string()))
}

fn base(options: &PostgresOptions) -> Result<PgConnectOptions, StoreError> {
    let parsed = parse(&options.url)?;
    let parsed = if options.read_only { parsed.options([("default_transaction_read_only", "on")]) } else { parsed };
    Ok(parsed
        .application_name(&session_name(options.member.as_deref()))
        // A statement with a few hundred rows bound is no log line.
        .disable_statement_logging()
        .options([
            // Durable before the answer, whatever the server's default is.
            ("synchronous_commit", "on"),
            // An owner that stops in the middle of a transaction would hold up the one that takes over.
            ("idle_in_transaction_session_timeout", "2s"),
            // A client that vanished without a word is noticed in seconds, not hours.
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
            ("client_min_messages", "warning"),
        ]))
}

/// PostgreSQL cuts a session's name at 63 bytes, and replaces what is not printable ASCII.
fn session_name(member: Option<&str>) -> String {
    const LONGEST: usize = 63;
    let name = match member {
        Some(id) => Cow::Owned(format!("stepstream {id}")),
        None => Cow::Borrowed("stepstream"),
    };
    name.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(LONGEST).collect()
}

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    connect_or(options, failure::reading).await
}

async fn connect_or(
    options: &PgConnectOptions,
    failure: fn(sqlx::Error) -> StoreError,
) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(CONNECT_PATIENCE, options.connect()).await {
        Ok(connected) => connected.map_err(failure),
        Err(_) => Err(StoreError::Unavailable(anyhow::anyhow!(
            "PostgreSQL did not accept a connection within {} s",
            CONNECT_PATIENCE.as_secs()
        ))),
    }
}

/// Finds a store that this build can read, and makes nothing.
async fn find(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = connect_or(options, failure::finding).await?;
    let there: bool = sqlx::query_scalar("select to_regclass('store_meta') is not null")
        .fetch_one(&mut connection)
        .await
        .map_err(failure::reading)?;
    if !there {
        let database = options.get_database().unwrap_or("of that user");
        return Err(StoreError::Absent {
            reason: format!("the database {database} holds none; a coordinator makes one when it starts"),
        });
    }
    refuse_newer_schema(&mut connection).await?;
    connection.close().await.map_err(failure::reading)
}

/// Brings the schema up to date, which any number of coordinators may do at once: the migrator holds an advisory lock
/// meanwhile. On a connection of its own, because an error leaves that lock held.
async fn migrate(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    // Waiting for another coordinator's migration may take longer than a statement usually may.
    let options = options.clone().options([("statement_timeout", "0"), ("lock_timeout", "0")]);
    let mut connection = connect(&options).await?;
    refuse_newer_schema(&mut connection).await?;
    MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(migration_failure)?;
    Ok(connection)
}

/// Brings the schema up to date and makes the store's one row where there is none.
async fn create(options: &PgConnectOptions, partitions: u16) -> Result<(), StoreError> {
    let mut connection = migrate(options).await?;
    let mac_key: [u8; 32] = random::bytes();
    let mut transaction = connection.begin().await.map_err(failure::reading)?;
    let created = sqlx::query(
        "insert into store_meta (incarnation, partitions, mac_key) values (1, $1, $2) on conflict do nothing",
    )
    .bind(i32::from(partitions))
    .bind(mac_key.as_slice())
    .execute(&mut *transaction)
    .await
    .map_err(failure::reading)?;
    if created.rows_affected() == 1 {
        sqlx::query("insert into partitions (id) select generate_series(0, $1 - 1)")
            .bind(i32::from(partitions))
            .execute(&mut *transaction)
            .await
            .map_err(failure::reading)?;
    }
    transaction.commit().await.map_err(failure::reading)?;
    connection.close().await.map_err(failure::reading)
}

fn newest_known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn refuse_newer_schema(connection: &mut PgConnection) -> Result<(), StoreError> {
    let there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await
        .map_err(failure::reading)?;
    if !there {
        return Ok(());
    }
    let found: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(failure::reading)?;
    match found {
        Some(found) if found > newest_known() => Err(StoreError::NewerSchema { found, known: newest_known() }),
        _ => Ok(()),
    }
}

fn migration_failure(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failure::reading(error),
        // Another coordinator of a newer build was faster.
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known: newest_known() },
        other => StoreError::Refused { reason: format!("the schema cannot be brought up to date: {other}") },
    }
}

/// The store's row and, read back from a session with the settings of all sessions, what a commit has survived.
pub(super) async fn read_meta(pool: &PgPool) -> Result<StoreMeta, StoreError> {
    type Row = (i64, i32, Vec<u8>, String, String, String, String, String);
    let (incarnation, partitions, mac_key, version, fsync, commit, full_pages, standbys): Row = sqlx::query_as(
        "select incarnation, partitions, mac_key, current_setting('server_version'), current_setting('fsync'),
                current_setting('synchronous_commit'), current_setting('full_page_writes'),
                current_setting('synchronous_standby_names')
         from store_meta",
    )
    .fetch_optional(pool)
    .await
    .map_err(failure::reading)?
    .ok_or_else(|| rows::corrupt("the row that says what this store is has gone".to_owned()))?;
    Ok(StoreMeta {
        incarnation: rows::unsigned(incarnation, "the incarnation")?,
        partitions: u16::try_from(partitions)
            .map_err(|_| rows::corrupt(format!("there are {partitions} partitions")))?,
        mac_key: rows::hash(&mac_key)?,
        durability: durability(&version, &fsync, &commit, &full_pages, &standbys),
    })
}

fn durability(version: &str, fsync: &str, commit: &str, full_pages: &str, standbys: &str) -> String {
    let survived = match (fsync, commit, full_pages) {
        ("on", "off", _) => "an acknowledged append may be lost when the server process dies",
        ("on", _, "on") => "an acknowledged append survives a power cut",
        ("on", _, _) => "an acknowledged append survives the death of the server, a power cut may tear pages",
        _ => "an acknowledged append survives the death of the server process, but not a power cut",
    };
    let standbys = if standbys.is_empty() { String::new() } else { format!(", synchronous standbys {standbys}") };
    format!(
        "PostgreSQL {version}: {survived} (fsync {fsync}, synchronous_commit {commit}, full_page_writes {full_pages}{standbys})"
    )
}
