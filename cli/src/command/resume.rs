//! `resume`: what was interrupted or killed goes on.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use stepstream_coordinator::Recover;
use stepstream_coordinator::ports::Listed;
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::service::Ask;
use stepstream_shared::execution::{ExecutionState, Rest, Steering};
use stepstream_shared::id::{ExecutionId, TenantId};

use super::asking::NameArgs;
use super::run::{self, WorkerArgs};
use super::state::State;
use super::{Format, execution_id, rights};
use crate::app::{App, LOGS_OF_A_RUN};
use crate::client::{Asker, Client};
use crate::embedded::{Embedded, WorkerPlan};
use crate::exit::{Exit, Problem};
use crate::follow::{self, Ended, Patience};
use crate::output;
use crate::render::progress::{Loudness, Progress, summary};
use crate::report::Report;
use crate::stop::{Stop, Stopped, duration};
use crate::target::{Place, Target, TargetArgs};

/// Executions that are looked for when none is named.
const FEW: u32 = 10;
/// Rows of the list that are read at a time.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
#[command(after_help = "\
Without an id, the one execution that has not ended is resumed. An execution that has ended is only reported.
That an execution was allowed to run programs stands in its log and needs not be said again, so trust a data directory
that you resume from as you would trust a program that you run.
A paused or held execution goes on when it is named, and is left alone with --all, unless --state Paused asks for it.
What a step waits for is not brought by this: `stepstream waits EXEC` says what it is.
With a server, which drives executions by itself, `resume` waits for them.

Examples:
  stepstream resume                                   the one that was interrupted
  stepstream resume --all --state Paused --graph nightly")]
pub struct ResumeArgs {
    /// The execution; the only unfinished one if not given
    #[arg(value_name = "EXEC", value_parser = execution_id, conflicts_with = "all")]
    execution: Option<ExecutionId>,

    /// Every execution that has not ended
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    worker: WorkerArgs,

    /// With --all: only those in this state; `Paused` lets those go on that somebody paused
    #[arg(long, value_enum, ignore_case = true, requires = "all", conflicts_with = "execution")]
    state: Option<State>,

    /// With --all: only those of the graph with this name or id
    #[arg(long, value_name = "GRAPH", requires = "all", conflicts_with = "execution")]
    graph: Option<String>,

    /// Why a paused or held one goes on; stands in the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    name: NameArgs,

    /// Stay when it waits for somebody outside, or for long
    #[arg(long)]
    wait: bool,

    /// Give up waiting after this time, such as 90s or 5m; the execution can be resumed again
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// What the result looks like
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl ResumeArgs {
    /// Whether what somebody paused or holds is meant too.
    fn lets_paused_go(&self) -> bool {
        !self.all || self.state == Some(State::Paused)
    }

    fn means(&self, graph: Option<&str>, graph_id: Option<&str>) -> bool {
        self.graph.is_none() || self.graph.as_deref() == graph || self.graph.as_deref() == graph_id
    }
}

pub async fn run(args: ResumeArgs, app: &App) -> Result<Exit, Problem> {
    let place = args.target.resolve(&app.settings)?;
    match place.target.clone() {
        Target::Data(dir) => embedded(args, app, &place, &dir).await,
        Target::Server(url) => server(args, app, &place, &url).await,
        Target::Postgres(_) => Err(Problem::usage("`resume` needs a data directory or a server")),
    }
}

async fn embedded(args: ResumeArgs, app: &App, place: &Place, dir: &Path) -> Result<Exit, Problem> {
    app.start_logs(LOGS_OF_A_RUN)?;
    crate::data_dir::existing_log(dir)?;
    let slots = args.worker.slots(app)?;
    let allow_process = args.worker.allow_process(app)?;
    let stop = Stop::new(args.timeout)?;
    // Nothing is driven before it is known what: what is not resumed rests.
    let mut here = Embedded::open(dir, Recover::Only(Vec::new())).await?;
    let ended = async {
        let ids = wanted(&args, here.service.reader(), &place.tenant).await?;
        let mut queues = Vec::new();
        let mut allowed_then = false;
        let mut progress = Progress::new(app.loudness, ids.len() > 1);
        let patience = if args.wait { Patience::Endless } else { Patience::WhileItGoesOn };
        let mut ended = Vec::with_capacity(ids.len());
        let mut followed = Vec::with_capacity(ids.len());
        for id in ids {
            let loaded = here.service.load(&place.tenant, id, None).await?;
            let open = !loaded.execution.state().is_terminal();
            let paused = loaded.execution.state() == ExecutionState::Paused || loaded.execution.is_held();
            if paused && !args.lets_paused_go() {
                output::note(&left_paused(&id.to_string(), place));
                continue;
            }
            let mut go_on = run::how_to_resume(&id.to_string(), place, false);
            let family = run::family(&here.service, &place.tenant, &loaded.graph).await;
            if open && family.iter().any(|graph| run::runs_programs(graph)) {
                let given = rights::given(&here.service, &place.tenant, id).await?;
                if !given {
                    go_on = run::how_to_resume(&id.to_string(), place, true);
                }
                match (allow_process || given, args.all) {
                    (true, _) => allowed_then |= given,
                    (false, false) => return Err(not_allowed(id, &go_on)),
                    // It rests, and the others go on.
                    (false, true) => {
                        ended.push((go_on.clone(), Err(not_allowed(id, &go_on))));
                        continue;
                    }
                }
            }
            run::warn_of_missing(&loaded.graph, allow_process || allowed_then);
            queues.extend(run::family_queues(&family));
            let name = id.to_string();
            progress.history(&name, loaded.execution.sequence());
            if open {
                let counts = loaded.execution.counts();
                progress.say(&format!("resuming {name}: {} steps were completed", counts.completed));
                if paused {
                    let ask = Ask::new(args.name.name(), Steering::Resume { reason: args.reason.clone() });
                    here.or_trouble(here.service.steer(&place.tenant, id, ask)).await?;
                } else {
                    here.or_trouble(here.service.wake(&place.tenant, id)).await?;
                }
            } else if loaded.execution.rest() != Rest::Over {
                // What it owes after its end.
                here.or_trouble(here.service.wake(&place.tenant, id)).await?;
            }
            followed.push((id, go_on));
        }
        let allow_process = allow_process || allowed_then;
        here.start_worker(WorkerPlan { tenant: place.tenant.clone(), queues, slots, allow_process }, &stop)?;
        // One after the other is enough: all of them run, and those that are over answer at once.
        for (id, go_on) in followed {
            let outcome = follow::embedded(&here, &place.tenant, id, patience, &mut progress, &stop).await;
            ended.push((go_on, outcome));
        }
        Ok::<_, Problem>(ended)
    }
    .await;
    here.close().await;
    print(&args, app, place, ended?)
}

async fn server(args: ResumeArgs, app: &App, place: &Place, url: &str) -> Result<Exit, Problem> {
    args.worker.warn_of_server();
    let client = Client::new(url, place.tenant.clone())?;
    let stop = Stop::new(args.timeout)?;
    let ids = match args.execution {
        Some(id) => vec![id],
        None => {
            let all = client.executions(args.state.map(State::name), usize::MAX).await?;
            let open =
                all.iter().filter(|row| !row.state.is_over() && args.means(Some(&row.graph), Some(&row.graph_id)));
            let ids: Vec<ExecutionId> = open.map(|row| row.execution_id).collect();
            if !args.all {
                only_one(&ids.iter().map(ExecutionId::to_string).collect::<Vec<_>>())?;
            }
            ids
        }
    };
    let mut progress = Progress::new(app.loudness, ids.len() > 1);
    let mut ended = Vec::with_capacity(ids.len());
    for id in ids {
        let go_on = run::how_to_resume(&id.to_string(), place, false);
        let waits = client.execution(id).waits().await?;
        if waits.paused || waits.held {
            if !args.lets_paused_go() {
                output::note(&left_paused(&id.to_string(), place));
                continue;
            }
            let what = Steering::Resume { reason: args.reason.clone() };
            let asked = client.steer(id, &what, Asker { by: Some(&args.name.name()), key: None }).await;
            // One that refuses stops no other.
            if let Err(error) = asked {
                ended.push((go_on, Err(error.into())));
                continue;
            }
        }
        let outcome = follow::server(&client, id, None, &mut progress, &stop).await;
        ended.push((go_on, outcome));
    }
    drop(progress);
    print(&args, app, place, ended)
}

/// Somebody holds it: going on with everything that was interrupted is no reason to let it go.
fn left_paused(id: &str, place: &Place) -> String {
    format!("{id} is paused or held and stays so; resume it by name: {}", run::resume_command(id, place, false))
}

/// Nobody ever allowed it: to go on would fail its steps for good.
fn not_allowed(id: ExecutionId, how_to_resume: &str) -> Problem {
    let text = format!("{id} runs programs on this machine, which is not allowed here, so its steps would fail");
    Problem::new(Exit::Refused, text).hint(format!("resume with: {how_to_resume}"))
}

/// What `--all` prints.
#[derive(Serialize)]
struct Items<'a> {
    items: &'a [Report],
}

/// For each execution the command that goes on with it, and how watching it ended.
fn print(
    args: &ResumeArgs,
    app: &App,
    place: &Place,
    ended: Vec<(String, Result<Ended, Problem>)>,
) -> Result<Exit, Problem> {
    if !args.all {
        let Some((go_on, ended)) = ended.into_iter().next() else { return Ok(Exit::Done) };
        return run::finish(ended, place, &go_on, args.output, app.loudness);
    }
    let mut reports: Vec<Report> = Vec::new();
    let mut stopped: Option<Stopped> = None;
    let mut worst: Option<Problem> = None;
    let mut rests = false;
    for (go_on, outcome) in ended {
        match outcome {
            Ok(Ended::Over(report)) => {
                if app.loudness > Loudness::Quiet {
                    output::note(&summary(&report));
                }
                reports.push(*report);
            }
            Ok(Ended::Rests(report)) => {
                run::say_how_it_rests(&report, place, &go_on);
                reports.push(run::shown(&report));
                rests = true;
            }
            Ok(Ended::Stopped(why)) => {
                output::note(&run::how_to_go_on(why, &go_on));
                stopped = Some(why);
            }
            Err(problem) => {
                output::problem(&problem);
                worst = Some(problem);
            }
        }
    }
    match args.output {
        Format::Json => output::json(&Items { items: &reports })?,
        Format::Text => {
            for report in &reports {
                output::line(&format!("{} {}", report.execution_id, report.state))?;
            }
        }
    }
    let of_reports = [Exit::Failed, Exit::Cancelled].into_iter().find(|exit| reports.iter().any(|r| r.exit() == *exit));
    let of_reports = of_reports.or(rests.then_some(Exit::Interrupted));
    Ok(stopped.map(Stopped::exit).or(worst.map(|problem| problem.exit)).or(of_reports).unwrap_or(Exit::Done))
}

/// Which executions are meant.
async fn wanted(args: &ResumeArgs, reader: &Reader, tenant: &TenantId) -> Result<Vec<ExecutionId>, Problem> {
    if let Some(id) = args.execution {
        return Ok(vec![id]);
    }
    let open = unfinished(args, reader, tenant).await?;
    let ids: Vec<ExecutionId> = open.iter().map(|row| row.execution).collect();
    if !args.all {
        only_one(&ids.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    }
    Ok(ids)
}

fn only_one(ids: &[String]) -> Result<(), Problem> {
    match ids {
        [] => Err(Problem::new(Exit::NotFound, "there is nothing to resume: every execution has ended")),
        [_] => Ok(()),
        several => Err(Problem::usage("several executions have not ended: name one, or --all")
            .hint(several.iter().take(FEW as usize).map(|id| format!("{id}\n")).collect::<String>())),
    }
}

/// Executions of a tenant that have not ended, newest first.
async fn unfinished(args: &ResumeArgs, reader: &Reader, tenant: &TenantId) -> Result<Vec<Listed>, Problem> {
    let limit = if args.all { usize::MAX } else { FEW as usize };
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = reader.list(tenant, args.state.map(State::name), after, PAGE).await?;
        let last = page.last().map(|row| stepstream_coordinator::ports::ListCursor {
            created_at: row.summary.created_at,
            execution: row.execution,
        });
        let complete = page.len() < PAGE as usize;
        found.extend(page.into_iter().filter(|row| {
            let summary = &row.summary;
            !summary.terminal && args.means(Some(&summary.graph_name), Some(&summary.graph.to_string()))
        }));
        if complete || found.len() >= limit || last.is_none() {
            return Ok(found);
        }
        after = last;
    }
}
