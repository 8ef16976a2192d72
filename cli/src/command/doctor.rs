//! `doctor`: what is there, what is missing, and what that means.

mod findings;
mod nats;
mod postgres;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use stepstream_runtime::servers::find::{self, Search};

use super::Format;
use crate::app::App;
use crate::client::Client;
use crate::exit::{Exit, Problem};
use crate::settings::env;
use crate::target::{Target, TargetArgs};
use findings::Findings;

/// How long anything that is asked may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "\
Changes nothing. Exit code 0 when nothing that was asked for is broken; otherwise that of the first thing that is: 5 for a
server that does not answer, 6 for one that cannot be used and for a store that is none, 2 for a URL that is none.")]
pub struct DoctorArgs {
    /// A NATS server to look at [env: STEPSTREAM_NATS, NATS_URL]
    #[arg(long, value_name = "URL")]
    nats: Option<String>,

    /// Its monitoring endpoint, which knows `sync_interval` [default: port 8222 of the same host]
    #[arg(long, value_name = "URL")]
    nats_monitor: Option<String>,

    /// A PostgreSQL database to look at [env: STEPSTREAM_POSTGRES, DATABASE_URL]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,

    #[command(flatten)]
    target: TargetArgs,

    /// What the findings look like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(args: DoctorArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    let mut findings = Findings::default();
    findings.ok("stepstream", env!("CARGO_PKG_VERSION"), None);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    findings.ok(
        "processors",
        &processors.to_string(),
        Some(&format!("{} slots by default", crate::embedded::default_slots())),
    );

    match &place.target {
        Target::Data(dir) => data_directory(dir, &mut findings).await,
        Target::Server(url) => match Client::new(url, place.tenant.clone())?.version().await {
            Ok(version) => findings.ok("server", url, Some(&version)),
            Err(error) => {
                let problem = Problem::from(error);
                findings.broken(problem.exit, "server", url, &problem.message);
            }
        },
        Target::Postgres(_) => {}
    }

    let tools = match &place.target {
        Target::Data(dir) => Some(dir.join("tools")),
        _ => None,
    };
    tools_found(tools.as_deref(), &mut findings).await;

    let named = args.nats.clone().or_else(|| env("STEPSTREAM_NATS")).or_else(|| env("NATS_URL"));
    match named {
        Some(url) => nats::look(&url, args.nats_monitor.as_deref(), &mut findings).await,
        None => findings.note("NATS", "not looked at", "name a server with --nats URL"),
    }
    let named = args.postgres.clone().or_else(|| env("STEPSTREAM_POSTGRES")).or_else(|| env("DATABASE_URL"));
    match named {
        Some(url) => postgres::look(&url, &mut findings).await,
        None => findings.note("PostgreSQL", "not looked at", "name a database with --postgres URL"),
    }
    findings.print(args.output)?;
    Ok(findings.exit())
}

async fn data_directory(dir: &Path, findings: &mut Findings) {
    let shown = dir.display().to_string();
    let Ok(log) = crate::data_dir::existing_log(dir) else {
        findings.note("data directory", &shown, "no store yet; `stepstream run` makes one");
        return;
    };
    match crate::log::open(&Target::Data(dir.to_owned())).await {
        Ok(Some(reader)) => match reader.store().meta().await {
            Ok(meta) => {
                let size = std::fs::metadata(&log).map_or(0, |data| data.len());
                let detail = format!("{} KiB, {} partitions; {}", size / 1024, meta.partitions, meta.durability);
                findings.ok("data directory", &shown, Some(&detail));
            }
            Err(error) => {
                let problem = Problem::from(error);
                findings.broken(problem.exit, "data directory", &shown, &problem.message);
            }
        },
        Ok(None) => {}
        Err(problem) => findings.broken(problem.exit, "data directory", &shown, &problem.message),
    }
}

/// Servers and programs that `dev` and the examples use.
async fn tools_found(tools: Option<&Path>, findings: &mut Findings) {
    let search = Search { explicit: None, tools: tools.map(Path::to_owned), install: false };
    let (for_nats, for_postgres) = (search.clone(), search);
    let nats = tokio::task::spawn_blocking(move || find::nats_server(&for_nats)).await;
    let postgres =
        tokio::task::spawn_blocking(move || find::postgres_bin(&for_postgres).map(|bin| bin.join("postgres"))).await;
    for (name, found) in [("nats-server program", nats), ("postgres program", postgres)] {
        match found {
            Ok(Ok(path)) => {
                let version = version_of(&path.to_string_lossy()).await;
                findings.ok(name, version.as_deref().unwrap_or("found"), Some(&path.display().to_string()));
            }
            Ok(Err(error)) => findings.note(name, "missing", &error.to_string()),
            Err(error) => findings.note(name, "unknown", &error.to_string()),
        }
    }
    for name in ["python3", "find", "sha256sum", "wc"] {
        match version_of(name).await {
            Some(version) => findings.ok(name, &version, None),
            None => findings.note(
                name,
                "missing",
                match name {
                    "python3" => "`dev` cannot install servers without it",
                    _ => "the repo-audit example runs it",
                },
            ),
        }
    }
}

/// The first line that a program says about its version.
async fn version_of(program: &str) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    command.arg("--version").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text);
    Some(crate::output::printable(text.lines().next().unwrap_or("found")).chars().take(80).collect())
}
