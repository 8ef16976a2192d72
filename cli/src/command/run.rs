//! `run`: a graph, to completion.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use stepstream_coordinator::Recover;
use stepstream_coordinator::Service;
use stepstream_coordinator::service::Start;
use stepstream_shared::background::BackgroundRequest;
use stepstream_shared::event::Actor;
use stepstream_shared::graph::{CompiledGraph, LimitOverrides, NodeKind};
use stepstream_shared::id::TenantId;
use stepstream_worker::{Registry, builtin};

use super::background::BackgroundArgs;
use super::{Format, rights};
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::{Client, ServerStart};
use crate::embedded::{Embedded, WorkerPlan, check_slots, default_slots};
use crate::exit::{Exit, Problem};
use crate::follow::{self, Ended, Patience};
use crate::input::{self, Document};
use crate::output;
use crate::render::progress::{Loudness, Progress, summary};
use crate::render::waits;
use crate::report::Report;
use crate::settings::env_switch;
use crate::stop::{Stop, Stopped, duration};
use crate::target::{Place, Target, TargetArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream run examples/hello.yaml --input '{\"name\": \"you\"}'
  stepstream run graph.yaml --input @input.json -o json | jq .output
  stepstream run graph.yaml --server http://127.0.0.1:8233
  stepstream run graph.yaml --background --attempts 3 --callback https://example.org/done --server …

The result goes to standard output, progress to standard error. A run that is interrupted or killed goes on with
`stepstream resume`. Where only somebody outside can bring what it waits for, it says who, with the command, and leaves
with code 130; a timer that is due within a minute is waited for. On a server it waits with you.")]
pub struct RunArgs {
    /// The graph document, YAML or JSON; - is standard input
    graph: PathBuf,

    /// Input of the execution: JSON, @FILE, or - for standard input [default: {}]
    #[arg(short, long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    input: Option<String>,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    worker: WorkerArgs,

    /// Give up waiting after this time, such as 90s or 5m; the execution can be resumed
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// The same key and the same request give the same execution
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    idempotency_key: Option<String>,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    /// Create the execution, print its id, and do not wait for it
    #[arg(long)]
    detach: bool,

    /// Stay when it waits for somebody outside, or for long: for timers and deadlines that this process is to see
    #[arg(long, conflicts_with = "detach")]
    wait: bool,

    /// Limits in the place of the graph's, as its `limits` has them: '{"cost_usd": "2.00", "wall_time": "1h"}' or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    limits: Option<String>,
    #[command(flatten)]
    background: BackgroundArgs,

    /// Pause before this node runs; may be given several times
    #[arg(long = "break", value_name = "NODE")]
    breakpoints: Vec<String>,
}

/// The worker inside this process.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Let graphs run programs on this machine, with your rights [env: STEPSTREAM_ALLOW_PROCESS]
    #[arg(long)]
    pub allow_process: bool,

    /// Steps that run at once in this process [default: four for each processor, at least 8]
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
}

impl WorkerArgs {
    pub fn allow_process(&self, app: &App) -> Result<bool, Problem> {
        let switch = env_switch("STEPSTREAM_ALLOW_PROCESS")?;
        if self.allow_process {
            return Ok(true);
        }
        if switch.is_none() && app.settings.allow_process_ignored {
            output::warn(
                "`allow-process` in the stepstream.toml of the working directory is ignored: say --allow-process, or \
                 name the file with --config",
            );
        }
        Ok(switch.or(app.settings.allow_process).unwrap_or(false))
    }

    /// Said where no worker runs in this process.
    pub fn warn_of_server(&self) {
        let given = [("--allow-process", self.allow_process), ("--slots", self.slots.is_some())];
        let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if !given.is_empty() {
            output::warn(&format!(
                "{}: for steps that run in this process only; with a server, its workers decide",
                given.join(", ")
            ));
        }
    }

    pub fn slots(&self, app: &App) -> Result<usize, Problem> {
        check_slots(self.slots.or(app.settings.slots).unwrap_or_else(default_slots))
    }
}

pub async fn run(args: RunArgs, app: &App) -> Result<Exit, Problem> {
    if args.input.as_deref() == Some("-") && args.graph.as_os_str() == "-" {
        return Err(Problem::usage("standard input cannot be both the graph and its input"));
    }
    let place = args.target.resolve(&app.settings)?;
    let document = input::document(&args.graph)?;
    let graph = document.compile()?;
    let looked_up = document.takes_in().is_empty();
    if let Some(unknown) = args.breakpoints.iter().find(|node| looked_up && !graph.by_name.contains_key(*node)) {
        let nodes: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        let unknown = output::printable(unknown);
        return Err(Problem::usage(format!("--break: the graph has no node `{unknown}`"))
            .hint(format!("its nodes are {}", nodes.join(", "))));
    }
    let value = input::inputs(args.input.as_deref())?;
    let limits = input::limits(args.limits.as_deref())?;
    let data = input::checked(&graph, &value)?;
    let background = args.background.request()?;
    let job = Job { args, app, place, document, graph, limits, background };
    match job.place.target.clone() {
        Target::Data(dir) => Box::pin(job.embedded(&dir, data)).await,
        Target::Server(url) => job.server(&url, &value).await,
        Target::Postgres(_) => Err(Problem::usage("`run` needs a data directory or a server")),
    }
}

struct Job<'a> {
    args: RunArgs,
    app: &'a App,
    place: Place,
    document: Document,
    graph: CompiledGraph,
    limits: LimitOverrides,
    background: Option<BackgroundRequest>,
}

impl Job<'_> {
    async fn embedded(self, dir: &std::path::Path, inputs: stepstream_shared::data::Data) -> Result<Exit, Problem> {
        let allow_process = self.args.worker.allow_process(self.app)?;
        let slots = self.args.worker.slots(self.app)?;
        if self.graph.frames.is_empty() {
            warn_of_missing(&self.graph, allow_process);
        }
        self.app.start_logs(LOGS_OF_A_RUN)?;
        let stop = Stop::new(self.args.timeout)?;
        let mut here = match &self.background {
            Some(_) => Embedded::open_to_ask(dir).await?,
            None => Embedded::open(dir, Recover::Only(Vec::new())).await?,
        };
        let ended = self.inside(&mut here, inputs, slots, allow_process, &stop).await;
        here.close().await;
        ended
    }

    async fn inside(
        &self,
        here: &mut Embedded,
        inputs: stepstream_shared::data::Data,
        slots: usize,
        allow_process: bool,
        stop: &Stop,
    ) -> Result<Exit, Problem> {
        let tenant = &self.place.tenant;
        let registered =
            here.or_trouble(here.service.register_graph(tenant, &self.document.name, &self.document.text)).await?;
        // With what it takes in, which nobody had looked up before.
        let graph = registered.graph;
        if !graph.frames.is_empty() {
            warn_of_missing(&graph, allow_process);
        }
        let start = Start {
            graph: graph.clone(),
            named: None,
            inputs,
            idempotency_key: self.args.idempotency_key.clone(),
            actor: Actor::User("cli".to_owned()),
            trace: None,
            metadata: Some(rights::recorded(allow_process)?),
            breakpoints: self.args.breakpoints.clone(),
            limits: self.limits.clone(),
            background: self.background.clone(),
        };
        let started = here.or_trouble(here.service.start(tenant, start)).await?;
        let id = started.execution;
        // Under a key that was used before, it is not this call that began the execution and gave it its right.
        let given = rights::given(&here.service, tenant, id).await.unwrap_or(allow_process);
        let family = family(&here.service, tenant, &graph).await;
        let go_on =
            how_to_resume(&id.to_string(), &self.place, family.iter().any(|each| runs_programs(each)) && !given);
        if self.args.detach || self.background.is_some() {
            return self.detached(&id.to_string(), &go_on);
        }
        let mut progress = Progress::new(self.app.loudness, false);
        progress.say(&begun(&self.graph, &id.to_string()));
        let queues = family_queues(&family);
        here.start_worker(WorkerPlan { tenant: tenant.clone(), queues, slots, allow_process }, stop)?;
        let patience = if self.args.wait { Patience::Endless } else { Patience::WhileItGoesOn };
        let ended = follow::embedded(here, tenant, id, patience, &mut progress, stop).await;
        drop(progress);
        finish(ended, &self.place, &go_on, self.args.output, self.app.loudness)
    }

    async fn server(self, url: &str, inputs: &serde_json::Value) -> Result<Exit, Problem> {
        self.args.worker.warn_of_server();
        let client = Client::new(url, self.place.tenant.clone())?;
        let stop = Stop::new(self.args.timeout)?;
        let begin = async {
            let graph = client.register(&self.document.name, self.document.text.clone()).await?;
            let mut start = ServerStart::of(&graph.graph_id).inputs(inputs.clone());
            for node in &self.args.breakpoints {
                start = start.breakpoint(node);
            }
            for (name, value) in self.limits.to_json().as_object().into_iter().flatten() {
                start = start.limit(name, value.clone());
            }
            if let Some(key) = &self.args.idempotency_key {
                start = start.key(key);
            }
            if let Some(background) = &self.background {
                start = start.background(background.clone());
            }
            client.start(&start).await
        };
        let id = tokio::select! {
            biased;
            stopped = stop.reached() => return Err(Problem::new(stopped.exit(), "gave up before the server had answered")),
            started = begin => started?.execution_id,
        };
        let shown = id.to_string();
        let go_on = how_to_resume(&shown, &self.place, false);
        if self.args.detach || self.background.is_some() {
            return self.detached(&shown, &go_on);
        }
        let mut progress = Progress::new(self.app.loudness, false);
        progress.say(&begun(&self.graph, &shown));
        let ended = follow::server(&client, id, Some(&self.graph), &mut progress, &stop).await;
        drop(progress);
        finish(ended, &self.place, &go_on, self.args.output, self.app.loudness)
    }

    fn detached(&self, id: &str, how_to_resume: &str) -> Result<Exit, Problem> {
        match self.args.output {
            Format::Text => output::line(id)?,
            Format::Json => output::json(&serde_json::json!({"execution_id": id, "graph": self.graph.name}))?,
        }
        if self.app.loudness > Loudness::Quiet && matches!(self.place.target, Target::Data(_)) {
            output::note(&format!("run it with: {how_to_resume}"));
        }
        Ok(Exit::Done)
    }
}

fn begun(graph: &CompiledGraph, id: &str) -> String {
    use output::{BOLD, DIM};
    format!("{DIM}running{DIM:#} {} {DIM}as{DIM:#} {BOLD}{id}{BOLD:#}", graph.name)
}

/// Prints the result, or how to go on.
pub fn finish(
    ended: Result<Ended, Problem>,
    place: &Place,
    how_to_resume: &str,
    format: Format,
    loudness: Loudness,
) -> Result<Exit, Problem> {
    match ended {
        Ok(Ended::Over(report)) => {
            if loudness > Loudness::Quiet {
                output::note(&summary(&report));
            }
            print(&report, format)?;
            Ok(report.exit())
        }
        Ok(Ended::Rests(report)) => {
            say_how_it_rests(&report, place, how_to_resume);
            if format == Format::Json {
                output::json(&shown(&report))?;
            }
            Ok(Exit::Interrupted)
        }
        Ok(Ended::Stopped(stopped)) => {
            output::note(&how_to_go_on(stopped, how_to_resume));
            Ok(stopped.exit())
        }
        // The execution exists and is durable up to here: whatever went wrong, it can go on.
        Err(problem) if matches!(problem.exit, Exit::Exhausted | Exit::Unreachable | Exit::Refused) => {
            Err(problem.hint(format!("resume with: {how_to_resume}")))
        }
        Err(problem) => Err(problem),
    }
}

/// Says what an execution waits for that does not go on by itself, and what to do.
pub fn say_how_it_rests(report: &Report, place: &Place, how_to_resume: &str) {
    let (state, id) = (&report.state, &report.execution_id);
    output::note(&format!("{}{state}{:#} {id} does not go on by itself", output::WARN, output::WARN));
    let waits = report.waits.clone().unwrap_or_default();
    let lines = waits::lines(&waits, place, how_to_resume);
    lines.iter().for_each(|line| output::note(line));
    // Brought to a data directory, it is there; somebody has to go on with it.
    if waits["paused"] != true && waits["held"] != true {
        output::note(&format!("then go on with: {how_to_resume}"));
    }
}

/// With the steps that wait in the place of all that is known of waiting.
pub fn shown(report: &Report) -> Report {
    Report { waits: report.waits.as_ref().map(|waits| waits["waits"].clone()), ..report.clone() }
}

/// The command that goes on with an execution; with the flag where its log does not say that it may run programs.
pub fn how_to_resume(id: &str, place: &Place, allow_process: bool) -> String {
    let rest = match place.target {
        Target::Server(_) => "  # the server goes on with it meanwhile",
        _ => "",
    };
    format!("{}{rest}", resume_command(id, place, allow_process))
}

/// The same for one that goes on nowhere meanwhile.
pub fn resume_command(id: &str, place: &Place, allow_process: bool) -> String {
    let flag = if allow_process { " --allow-process" } else { "" };
    format!("stepstream resume {id}{}{flag}", place.as_arguments())
}

/// Said when somebody gives up waiting for something that can go on.
pub fn how_to_go_on(stopped: Stopped, how_to_resume: &str) -> String {
    let what = match stopped {
        Stopped::TimedOut => "timed out",
        Stopped::Interrupted => "interrupted",
    };
    format!("{what}; resume with: {how_to_resume}")
}

/// The result alone.
pub fn print(report: &Report, format: Format) -> Result<(), Problem> {
    match format {
        Format::Json => output::json(report),
        Format::Text => {
            match (&report.error, &report.reason) {
                (serde_json::Value::Object(error), _) => {
                    let text = |key: &str| error.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
                    let message = format!("[{}] {}", text("category"), text("message"));
                    output::note(&format!("{}error:{:#} {}", output::BAD, output::BAD, output::printable(&message)));
                }
                (_, Some(reason)) => output::note(&format!("reason: {}", output::printable(reason))),
                _ => {}
            }
            if report.output.is_null() { Ok(()) } else { output::value(&report.output) }
        }
    }
}

/// The queues whose jobs a worker must take for this graph.
pub fn queues(graph: &CompiledGraph) -> Vec<String> {
    let mut queues: Vec<String> = tasks(graph).map(|task| task.queue.clone()).collect();
    queues.push(stepstream_worker::DEFAULT_QUEUE.to_owned());
    queues.sort();
    queues.dedup();
    queues
}

/// The same for a family.
pub fn family_queues(family: &[Arc<CompiledGraph>]) -> Vec<String> {
    let mut all: Vec<String> = family.iter().flat_map(|graph| queues(graph)).collect();
    all.sort();
    all.dedup();
    all
}

/// A graph and those that it starts, and those that they start. What is not registered is not started.
pub async fn family(service: &Service, tenant: &TenantId, graph: &Arc<CompiledGraph>) -> Vec<Arc<CompiledGraph>> {
    let mut all = vec![graph.clone()];
    let mut seen = BTreeSet::new();
    let mut references: Vec<String> = started(graph);
    while let Some(reference) = references.pop() {
        if !seen.insert(reference.clone()) {
            continue;
        }
        if let Ok(graph) = service.reader().find_graph(tenant, &reference).await {
            references.extend(started(&graph));
            all.push(graph);
        }
    }
    all
}

/// Graphs that the nodes of this one name.
fn started(graph: &CompiledGraph) -> Vec<String> {
    let named = graph.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Graph(sub) => Some(sub.reference.clone()),
        _ => None,
    });
    named.collect()
}

/// Of nodes, and what undoes them.
fn tasks(graph: &CompiledGraph) -> impl Iterator<Item = &stepstream_shared::graph::Task> {
    graph.nodes.iter().flat_map(|node| {
        let task = match &node.kind {
            NodeKind::Task(task) => Some(task),
            NodeKind::Map(map) => Some(&map.task),
            _ => None,
        };
        task.into_iter().chain(&node.undo)
    })
}

/// The queue that a node's jobs are put in.
pub fn queue_of<'g>(graph: &'g CompiledGraph, node: &str) -> Option<&'g str> {
    let node = graph.nodes.iter().find(|found| found.name == node)?;
    match &node.kind {
        NodeKind::Task(task) => Some(&task.queue),
        NodeKind::Map(map) => Some(&map.task.queue),
        _ => None,
    }
}

/// Whether a worker must be allowed to run programs for this graph.
pub fn runs_programs(graph: &CompiledGraph) -> bool {
    tasks(graph).any(|task| task.callable == "process")
}

/// Says before anything runs what will fail here.
pub fn warn_of_missing(graph: &CompiledGraph, allow_process: bool) {
    let mut registry = Registry::new();
    builtin::register_all(&mut registry, builtin::Options::default());
    let mut callables: Vec<&str> = tasks(graph).map(|task| task.callable.as_str()).collect();
    callables.sort_unstable();
    callables.dedup();
    for callable in callables {
        if !registry.names().any(|name| name == callable) {
            let known: Vec<&str> = registry.names().collect();
            output::warn(&format!(
                "this process has no callable `{callable}`, so its steps will fail; there are {}",
                known.join(", ")
            ));
        } else if callable == "process" && !allow_process {
            output::warn(
                "this graph runs programs, which is not allowed: its `process` steps will fail (--allow-process)",
            );
        }
    }
}
