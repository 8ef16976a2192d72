//! `admin`: repairs by those who run the store.

mod restored;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use stepstream_coordinator::artifacts::{CollectError, collect};
use stepstream_coordinator::ports::{Agenda, AgendaRow, EventStore, Listed, Summary};
use stepstream_coordinator::reading::{Reader, next_snapshot};
use stepstream_coordinator::store::{PostgresOptions, PostgresStore, SqliteStore};
use stepstream_runtime::artifact::ArtifactsUrl;

use super::Format;
use super::artifacts::{store_of, store_problem};
use crate::app::App;
use crate::data_dir::{DataDir, existing_log};
use crate::exit::{Exit, Problem, chain};
use crate::log;
use crate::output;
use crate::stop::duration;
use crate::target::{Target, TargetArgs};

/// Rows that are read and written at a time.
const PAGE: u32 = 500;
/// Counts only where a store is created, which is not the case here.
const PARTITIONS: u16 = 64;

#[derive(Debug, Args)]
pub struct AdminArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the list of executions, the outbox, the timers and the snapshots anew from the log, of all tenants
    #[command(after_help = "\
Everything but the log and the graphs is derived. The list of executions is emptied and written again from what the
log says; so are the outbox (executions that owe something to workers), the timers (executions that wait for a moment),
and the snapshots, for executions that have not ended and whose logs are long. Executions that are started meanwhile by a
coordinator are not lost; run it again if the list misses some. If it is interrupted, run it again: until then what rests
and has no row wakes only when somebody asks for it.")]
    Rebuild(RebuildArgs),

    /// Say that the store was restored, or follows a server that had more: it may have lost its end
    #[command(after_help = "\
After a restore from a backup, or a failover to a standby that was not synchronous, the store does not know what it promised
last. Stop the coordinators, restore, say this, start them again. What workers still have in hand was theirs by a log that
is gone: it is refused when they report it, and handed out again, so steps that ran in the lost time run twice. A
coordinator that runs meanwhile writes nothing more and ends with code 6. Each execution that was open records
`store_restored` when it is driven again.

Examples:
  stepstream admin restored --postgres URL --nats nats://127.0.0.1:4222
  stepstream admin restored --data ./stepstream-data")]
    Restored(restored::RestoredArgs),

    /// Delete artifacts that no log refers to, of all tenants
    #[command(after_help = "\
An artifact is in use as long as any log of the store names it, in a record or in a value; logs are not deleted, so what is
collected was stored by attempts that never reported it, or before a restore. What was written within the grace stays: an
attempt stores first and reports when it ends, so the grace is longer than any attempt runs. Records stay; whoever reads
one whose bytes are gone is told so. May run while coordinators and workers do.

Examples:
  stepstream admin collect-artifacts --dry-run
  stepstream admin collect-artifacts --postgres URL --artifacts s3://bucket/prefix --older-than 30d")]
    CollectArtifacts(CollectArgs),
}

#[derive(Debug, Args)]
struct CollectArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The PostgreSQL database that holds the log
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "server"])]
    postgres: Option<String>,

    /// Where the artifacts are, with --postgres: a folder, or s3://bucket/prefix
    #[arg(long, value_name = "URL", env = "STEPSTREAM_ARTIFACTS")]
    artifacts: Option<ArtifactsUrl>,

    /// How long ago it was written last; at least 1h
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    older_than: Duration,

    /// Delete nothing, only say what would be
    #[arg(long)]
    dry_run: bool,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
struct RebuildArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The PostgreSQL database that holds the log
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "server"])]
    postgres: Option<String>,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(args: AdminArgs, app: &App) -> Result<Exit, Problem> {
    match args.what {
        What::Rebuild(args) => run_rebuild(args, app).await,
        What::Restored(args) => restored::run(args, app).await,
        What::CollectArtifacts(args) => run_collect(args, app).await,
    }
}

async fn run_collect(args: CollectArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let target = args.postgres.clone().map_or(place.target, Target::Postgres);
    if let Target::Server(_) = target {
        return Err(Problem::usage("`admin collect-artifacts` works on the store itself")
            .hint("name it with --data DIR or --postgres URL"));
    }
    let Some(reader) = log::open(&target).await? else { return Err(Problem::usage("nowhere to look")) };
    let artifacts = store_of(&target, args.artifacts.as_ref())?;
    let collected =
        collect(&**reader.store(), &artifacts, args.older_than, args.dry_run).await.map_err(|error| match error {
            CollectError::Grace { .. } => Problem::usage(error.to_string()),
            CollectError::Store(error) => error.into(),
            CollectError::Artifacts(error) => store_problem(&error),
            CollectError::Log { .. } => Problem::new(Exit::Diverged, chain(&error)),
        })?;
    match args.output {
        Format::Text => output::line(&format!(
            "{} {} of {} artifacts ({} of {} bytes); {} are in use by {} executions, {} are too young",
            if args.dry_run { "would delete" } else { "deleted" },
            collected.deleted,
            collected.objects,
            collected.deleted_bytes,
            collected.bytes,
            collected.referenced,
            collected.executions,
            collected.young,
        ))?,
        Format::Json => output::json(&json!({
            "dry_run": args.dry_run, "executions": collected.executions, "artifacts": collected.objects,
            "bytes": collected.bytes, "referenced": collected.referenced, "young": collected.young,
            "deleted": collected.deleted, "deleted_bytes": collected.deleted_bytes,
        }))?,
    }
    Ok(Exit::Done)
}

async fn run_rebuild(args: RebuildArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let target = args.postgres.clone().map_or(place.target, Target::Postgres);
    match target {
        Target::Data(dir) => {
            existing_log(&dir)?;
            let dir = DataDir::take(&dir)?;
            let store = Arc::new(SqliteStore::open(dir.log(), PARTITIONS).await?);
            let exit = rebuild(store.clone(), args.output).await;
            store.close().await;
            exit
        }
        Target::Postgres(url) => {
            rebuild(Arc::new(PostgresStore::open(&PostgresOptions::existing(url)).await?), args.output).await
        }
        Target::Server(_) => Err(Problem::usage("`admin rebuild` works on the store itself")
            .hint("name it with --data DIR or --postgres URL")),
    }
}

async fn rebuild(store: Arc<dyn EventStore>, format: Format) -> Result<Exit, Problem> {
    let reader = Reader::new(store.clone());
    store.clear_list().await?;
    store.clear_agenda().await?;
    store.clear_snapshots().await?;
    let (mut written, mut snapshots, mut unreadable) = (0_usize, 0_usize, Vec::new());
    let (mut outbox, mut timers) = (0_usize, 0_usize);
    let mut after = None;
    loop {
        let page = store.logged(after, PAGE).await?;
        let Some((_, last, _)) = page.last() else { break };
        after = Some(*last);
        let mut rows = Vec::with_capacity(page.len());
        let mut agenda = Vec::new();
        for (tenant, execution, partition) in page {
            match reader.load(&tenant, execution, None).await {
                Ok(loaded) => {
                    agenda.extend(AgendaRow::of(&loaded.execution, partition));
                    rows.push(Listed { summary: Summary::of(&loaded.execution), tenant, execution, partition });
                    if loaded.execution.sequence() >= next_snapshot(0) && reader.keep_snapshot(loaded).await? {
                        snapshots += 1;
                    }
                }
                // One log that cannot be read must not keep the others from the list.
                Err(error) => {
                    output::warn(&format!("{execution} is left out: {error}"));
                    unreadable.push(execution.to_string());
                }
            }
        }
        store.write_list(&rows).await?;
        store.write_agenda(&agenda).await?;
        written += rows.len();
        let owing = agenda.iter().filter(|row| row.agenda == Agenda::Now).count();
        outbox += owing;
        timers += agenda.len() - owing;
    }
    match format {
        Format::Text => output::line(&format!(
            "{written} executions listed, {outbox} in the outbox, {timers} timers, {snapshots} snapshots kept, {} left out",
            unreadable.len()
        ))?,
        Format::Json => {
            output::json(&json!({
                "executions": written, "outbox": outbox, "timers": timers, "snapshots": snapshots,
                "unreadable": unreadable,
            }))?;
        }
    }
    Ok(if unreadable.is_empty() { Exit::Done } else { Exit::Diverged })
}
