//! The reducer alone, and reading from the store.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::store::{PostgresStore, SqliteStore};
use stepstream_runtime::servers::find::{Search, cached_tools};
use stepstream_runtime::servers::{PostgresOptions, PostgresServer};
use stepstream_shared::event::Event;
use stepstream_shared::execution::Execution;
use stepstream_shared::id::TenantId;

use super::usage::{Process, Usage};
use super::{BenchArgs, Profile, Report, floors, log};

/// How long folding goes on.
const FOR: Duration = Duration::from_secs(2);

pub(super) fn fold(args: &BenchArgs, report: &mut Report) -> Result<()> {
    let args = log::default_width(args);
    let log = log::write(&args)?;
    let events: Vec<Event> = log
        .appends
        .iter()
        .flat_map(|(envelope, events)| events.iter().map(|data| (envelope.at, data.clone())))
        .zip(1..)
        .map(|((at, data), sequence)| Event { sequence, at, data })
        .collect();
    let began = Instant::now();
    let mut folded = 0_usize;
    while began.elapsed() < FOR {
        let execution = Execution::fold(log.id, TenantId::default_tenant(), &log.graphs, &events)?;
        folded += usize::try_from(execution.sequence())?;
    }
    report.seconds = began.elapsed().as_secs_f64();
    report.events_per_s = Some((folded as f64 / report.seconds).round());
    report.steps = u64::from(args.width);
    report.durability = "none: in memory".to_owned();
    report.floors = json!({});
    report.peak_rss_mib = Usage::of(&[this_process()]).peak_rss_mib();
    Ok(())
}

/// Reads from the store of the profile.
pub(super) async fn replay(args: &BenchArgs, directory: &Path, report: &mut Report) -> Result<()> {
    match args.profile {
        Profile::Embedded => {
            let store = Arc::new(SqliteStore::open(directory.join("stepstream.db"), 1).await?);
            replay_from(args, directory, store, &[this_process()], report).await
        }
        Profile::Distributed => {
            let search = Search { explicit: None, tools: cached_tools(), install: true };
            let options = PostgresOptions { search, ..PostgresOptions::new(directory.join("postgres")) };
            let mut server = PostgresServer::start(options).await.context("starting PostgreSQL")?;
            server.create_database("stepstream").await?;
            let store = Arc::new(PostgresStore::connect_or_create(&server.url("stepstream"), 1).await?);
            let processes = [Process { name: "postgres".to_owned(), pid: server.pid() }, this_process()];
            let replayed = replay_from(args, directory, store.clone(), &processes, report).await;
            store.close().await;
            server.stop().await;
            replayed
        }
    }
}

async fn replay_from(
    args: &BenchArgs,
    directory: &Path,
    store: Arc<dyn EventStore>,
    processes: &[Process],
    report: &mut Report,
) -> Result<()> {
    let args = log::default_width(args);
    let tenant = TenantId::default_tenant();
    let id = log::write(&args)?.store(&*store).await?;
    let reader = Reader::new(store.clone());
    reader.load(&tenant, id, None).await?; // Warm.
    let began = Instant::now();
    let mut read = 0_u64;
    while began.elapsed() < FOR {
        read += reader.load(&tenant, id, None).await?.execution.sequence();
    }
    report.seconds = began.elapsed().as_secs_f64();
    report.events_per_s = Some((read as f64 / report.seconds).round());
    report.steps = u64::from(args.width);
    report.durability = store.meta().await?.durability;
    report.floors = json!({ "fsyncs_per_s": floors::fsyncs_per_s(directory)? });
    report.peak_rss_mib = Usage::of(processes).peak_rss_mib();
    Ok(())
}

fn this_process() -> Process {
    Process { name: "stepstream".to_owned(), pid: std::process::id() }
}
