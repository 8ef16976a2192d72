//! `artifacts` and `artifact get`: bytes that steps have stored outside the log.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stepstream_coordinator::ServiceError;
use stepstream_coordinator::reading::{ArtifactList, Reader};
use stepstream_runtime::artifact::{ArtifactError, ArtifactReader, ArtifactStore, ArtifactsUrl};
use stepstream_shared::id::{ExecutionId, TenantId};

use super::{Format, execution_id};
use crate::app::App;
use crate::client::{Client, Content};
use crate::data_dir::artifacts_of;
use crate::exit::{Exit, Problem};
use crate::log;
use crate::output;
use crate::render::table::table;
use crate::target::{LogArgs, Target};

#[derive(Debug, Args)]
#[command(after_help = "\
Shows what is on record: callables store artifacts, and outputs that are too large for the log are put away as `output`.
`stepstream artifact get` reads one.

Examples:
  stepstream artifacts exec_…
  stepstream artifacts exec_… -o json | jq '.items[] | select(.artifact_type == \"screenshot\").digest'")]
pub struct ArtifactsArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    #[command(flatten)]
    place: LogArgs,

    /// What it looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
pub struct ArtifactArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write the content of an artifact to standard output, or into a file
    #[command(after_help = "\
The content is checked against the hash on record. A file appears when it is complete, or not at all.

Examples:
  stepstream artifact get exec_… report > report.txt
  stepstream artifact get exec_… render/page.png -o page.png      of the node `render`
  stepstream artifact get exec_… output | jq .total               an output that was put away, as JSON
  stepstream artifact get exec_… blake3:… --postgres URL --artifacts s3://bucket/prefix")]
    Get(GetArgs),
}

#[derive(Debug, Args)]
struct GetArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    /// Its id, its content hash, its name, or NODE/NAME; of several with the name, the last one
    #[arg(value_name = "NAME|ID")]
    artifact: String,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    place: LogArgs,

    /// Where the artifacts are, with --postgres: a folder, or s3://bucket/prefix
    #[arg(
        long,
        value_name = "URL",
        env = "STEPSTREAM_ARTIFACTS",
        conflicts_with = "server",
        help_heading = "Where executions live"
    )]
    artifacts: Option<ArtifactsUrl>,
}

pub async fn list(args: ArtifactsArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.place.resolve(&app.settings)?;
    let found = match (log::open(&place.target).await?, &place.target) {
        (Some(reader), _) => json!(recorded(&reader, &place.tenant, args.execution).await?),
        (None, Target::Server(url)) => {
            Client::new(url, place.tenant.clone())?.execution(args.execution).artifacts().await?.json
        }
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    match args.output {
        Format::Json => output::json(&found)?,
        Format::Text => {
            let text = |item: &Value, key: &str| item[key].as_str().unwrap_or("-").to_owned();
            let rows: Vec<Vec<String>> = found["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| {
                    let (name, kind) = (text(item, "name"), text(item, "artifact_type"));
                    vec![text(item, "node"), name, kind, item["size"].to_string(), text(item, "artifact_id")]
                })
                .collect();
            match rows.is_empty() {
                true => output::note("no artifacts"),
                false => output::line(&table(&["NODE", "NAME", "TYPE", "BYTES", "ARTIFACT"], rows))?,
            }
        }
    }
    Ok(Exit::Done)
}

async fn recorded(reader: &Reader, tenant: &TenantId, execution: ExecutionId) -> Result<ArtifactList, Problem> {
    Ok(ArtifactList::of(&reader.load(tenant, execution, None).await?))
}

pub async fn run(args: ArtifactArgs, app: &App) -> Result<Exit, Problem> {
    let What::Get(args) = args.what;
    let place = args.place.resolve(&app.settings)?;
    let reader = match (log::open(&place.target).await?, &place.target) {
        (None, Target::Server(url)) => {
            let client = Client::new(url, place.tenant.clone())?;
            let content = client.execution(args.execution).artifact(&args.artifact).await?;
            return write(args.output.as_deref(), Parts::Server(Box::new(content))).await;
        }
        (Some(reader), _) => reader,
        (None, _) => return Err(Problem::usage("nowhere to look")),
    };
    let list = recorded(&reader, &place.tenant, args.execution).await?;
    let digest = list.find(&args.artifact).and_then(|item| item.content()).ok_or_else(|| {
        let message = format!("{} has no artifact `{}`", args.execution, output::printable(&args.artifact));
        Problem::new(Exit::NotFound, message).hint("`stepstream artifacts` lists them")
    })?;
    let store = store_of(&place.target, args.artifacts.as_ref())?;
    let reader = store.open(&place.tenant, &digest).await.map_err(|error| Problem::from(ServiceError::from(error)))?;
    write(args.output.as_deref(), Parts::Store(Box::new(reader))).await
}

/// Where the artifacts of a log are.
pub fn store_of(target: &Target, named: Option<&ArtifactsUrl>) -> Result<ArtifactStore, Problem> {
    let opened = match (named, target) {
        (Some(url), _) => url.open(),
        (None, Target::Data(data)) => {
            let folder = artifacts_of(data);
            if !folder.is_dir() {
                let message = format!("there are no artifacts in {}", data.display());
                return Err(Problem::new(Exit::NotFound, message));
            }
            ArtifactStore::in_folder(&folder)
        }
        (None, _) => {
            return Err(Problem::usage("the log does not say where the artifacts are")
                .hint("name the store with --artifacts FOLDER or --artifacts s3://bucket/prefix"));
        }
    };
    opened.map_err(|error| store_problem(&error))
}

/// What a store that cannot be opened means here.
pub fn store_problem(error: &ArtifactError) -> Problem {
    let exit = match error {
        ArtifactError::BadUrl(_) => Exit::Usage,
        ArtifactError::Full(_) | ArtifactError::TooLarge { .. } | ArtifactError::Denied(_) => Exit::Exhausted,
        ArtifactError::NotFound(_) => Exit::NotFound,
        ArtifactError::Corrupt { .. } => Exit::Diverged,
        ArtifactError::Unavailable(_) | ArtifactError::Content(_) => Exit::Unreachable,
    };
    Problem::new(exit, format!("artifacts: {error}"))
}

/// A content as it comes.
enum Parts {
    Store(Box<ArtifactReader>),
    Server(Box<Content>),
}

impl Parts {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, Problem> {
        match self {
            Parts::Store(reader) => reader.next().await.map_err(|error| Problem::from(ServiceError::from(error))),
            Parts::Server(content) => Ok(content.next().await?),
        }
    }
}

async fn write(to: Option<&Path>, mut parts: Parts) -> Result<Exit, Problem> {
    let cannot = |what: &str, error: &std::io::Error| {
        Problem::new(Exit::Exhausted, format!("{what} cannot be written: {error}"))
    };
    let Some(path) = to else {
        let mut out = std::io::stdout();
        let terminal = out.is_terminal();
        while let Some(part) = parts.next().await? {
            if terminal && std::str::from_utf8(&part).is_err() {
                return Err(Problem::usage("this is no text, and standard output is a terminal")
                    .hint("write it into a file: -o FILE"));
            }
            match out.write_all(&part) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
                Err(error) => return Err(cannot("the content", &error)),
            }
        }
        return match out.flush() {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(cannot("the content", &error)),
            _ => Ok(Exit::Done),
        };
    };
    let shown = path.display().to_string();
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Beside its place, so that it can take it in one step.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| cannot(&shown, &error))?;
    while let Some(part) = parts.next().await? {
        file.write_all(&part).map_err(|error| cannot(&shown, &error))?;
    }
    file.persist(path).map_err(|error| cannot(&shown, &error.error))?;
    Ok(Exit::Done)
}
