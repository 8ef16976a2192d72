//! Watching an execution until it is over, or until nobody waits any more.

use std::time::{Duration, Instant};

use stepstream_coordinator::Service;
use stepstream_coordinator::reading::Waits;
use stepstream_runtime::clock::{Clock, SystemClock};
use stepstream_shared::event::Wait;
use stepstream_shared::execution::{CallbackRun, Execution};
use stepstream_shared::graph::CompiledGraph;
use stepstream_shared::id::{ExecutionId, TenantId};

use crate::client::{self, Client, Message};
use crate::command::run::queue_of;
use crate::embedded::Embedded;
use crate::exit::{Exit, Problem};
use crate::output::{DIM, WARN, printable};
use crate::render::progress::{Progress, Seen};
use crate::render::waiting::Waiting;
use crate::report::Report;
use crate::stop::{Stop, Stopped};

/// How often the log is looked at when no hint comes.
const LOOK: Duration = Duration::from_millis(250);
/// What is due within this is waited for.
const SOON: Duration = Duration::from_secs(60);
/// How long what is over is stayed with for what it owes: longer than an attempt at a callback takes.
const LINGER: Duration = Duration::from_secs(20);
/// Executions that wait for each other are looked into so far.
const DEEPEST: usize = 16;

/// How watching ended.
#[derive(Debug)]
pub enum Ended {
    Over(Box<Report>),
    /// It only goes on when somebody outside does something, or later than anybody waits here.
    Rests(Box<Report>),
    Stopped(Stopped),
}

/// Whether to stay with an execution that rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until it is over, whatever it waits for.
    Endless,
    /// While something goes on, or will soon.
    WhileItGoesOn,
}

/// Watches an execution that this process drives. Nobody else can reach it meanwhile: one that rests is left.
pub async fn embedded(
    here: &Embedded,
    tenant: &TenantId,
    id: ExecutionId,
    patience: Patience,
    progress: &mut Progress,
    stop: &Stop,
) -> Result<Ended, Problem> {
    let (service, trouble) = (&here.service, &here.trouble);
    let name = id.to_string();
    let mut hints = service.hints();
    let mut cursor = service.reader().cursor(tenant, id);
    let mut over_since = None;
    loop {
        while let Some(appended) = cursor.next().await? {
            for event in &appended.events {
                cursor.apply(event)?;
                if let Some(graph) = cursor.graph() {
                    progress.observe(&name, &Seen::of(event, cursor.execution(), graph));
                }
            }
        }
        if cursor.execution().sequence() == 0 {
            return Err(Problem::new(Exit::NotFound, format!("there is no execution {id}")));
        }
        if cursor.execution().state().is_terminal() && (!owes(cursor.execution()) || lingers(&mut over_since)) {
            return Ok(Ended::Over(Box::new(Report::of(&cursor.finish()?))));
        }
        let open = !cursor.execution().state().is_terminal();
        if open && patience == Patience::WhileItGoesOn && leaves(service, tenant, cursor.execution(), DEEPEST).await? {
            let loaded = cursor.finish()?;
            let mut report = Report::of(&loaded);
            report.waits = serde_json::to_value(Waits::of(&loaded)).ok();
            return Ok(Ended::Rests(Box::new(report)));
        }
        progress.tick();
        let known = cursor.execution().sequence();
        let growth = async {
            loop {
                match hints.recv().await {
                    Ok(hint) if hint.execution != id || hint.sequence <= known => {}
                    // Having missed hints is a hint as well.
                    _ => return,
                }
            }
        };
        tokio::select! {
            biased;
            stopped = stop.reached() => return Ok(Ended::Stopped(stopped)),
            problem = trouble.seen() => return Err(problem),
            _ = tokio::time::timeout(LOOK, growth) => {}
        }
    }
}

/// Whether an execution that is over owes something now: once this process has ended, nobody does it. An attempt at a
/// callback that failed has been made, and the next one is due later.
fn owes(execution: &Execution) -> bool {
    let due = |callback: &CallbackRun| callback.due().is_some_and(|due| due <= SystemClock.now());
    execution.owed_attempt().is_some() || execution.owed_callback().is_some_and(due)
}

/// Whether that has been waited for for long enough.
fn lingers(over_since: &mut Option<Instant>) -> bool {
    over_since.get_or_insert_with(Instant::now).elapsed() >= LINGER
}

/// Whether nothing happens to an execution soon, nor to those that it waits for.
async fn leaves(service: &Service, tenant: &TenantId, execution: &Execution, deepest: usize) -> Result<bool, Problem> {
    let now = SystemClock.now();
    if !execution.stands_still(now) || execution.next_deadline().is_some_and(|due| due <= now.after(SOON)) {
        return Ok(false);
    }
    for (ordinal, run) in execution.waits() {
        if matches!(run.wait(), Wait::Permit(_)) && execution.permit_from(ordinal).is_none() {
            return Ok(false); // It has its turn when others have had theirs.
        }
        let Wait::Child { execution: child } = run.wait() else { continue };
        let Some(deepest) = deepest.checked_sub(1) else { return Ok(false) };
        // Folded only where it may stand still; one that is not there yet will be, and the end of one is on its way.
        let listed = service.reader().store().find(tenant, *child).await?;
        if !listed.is_some_and(|row| matches!(row.summary.state.as_str(), "Waiting" | "Paused")) {
            return Ok(false);
        }
        let loaded = service.load(tenant, *child, None).await?;
        if !Box::pin(leaves(service, tenant, &loaded.execution, deepest)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Watches an execution that a server drives. The server may restart meanwhile.
///
/// Where nobody serves a queue, nothing would ever happen; then that is said.
pub async fn server(
    client: &Client,
    id: ExecutionId,
    graph: Option<&CompiledGraph>,
    progress: &mut Progress,
    stop: &Stop,
) -> Result<Ended, Problem> {
    let mut waiting = Waiting::default();
    let mut told_how = false;
    let mut feed = client.feed(id, 0);
    let shown = id.to_string();
    loop {
        let mut next = std::pin::pin!(feed.next());
        // Dropped only when nobody waits any more: a connection may take longer than a look.
        let message = loop {
            tokio::select! {
                biased;
                stopped = stop.reached() => return Ok(Ended::Stopped(stopped)),
                message = &mut next => break message,
                () = tokio::time::sleep(LOOK) => {
                    progress.tick();
                    if let Some(node) = waiting.too_long() {
                        progress.say(&nobody_took(node, graph, client.tenant()));
                    }
                }
            }
        };
        match message {
            Ok(Message::Event(event)) => {
                waiting.observe(&event);
                progress.observe(&shown, &Seen::of_json(&event));
                // Those who can bring it are to know how; time and other executions come by themselves.
                if event["type"] == "execution_waiting"
                    && !matches!(event["reason"].as_str(), Some("timer" | "sub_agent" | "rate_limit"))
                    && !told_how
                {
                    told_how = true;
                    let there = client::place(client).as_arguments();
                    progress.say(&format!("{DIM}how to bring it: stepstream waits {id}{there}{DIM:#}"));
                }
            }
            Ok(Message::Lost(why)) => progress.say(&format!("{why}; waiting for it (Ctrl-C ends the waiting only)")),
            Ok(Message::End) => {
                let execution = tokio::select! {
                    biased;
                    stopped = stop.reached() => return Ok(Ended::Stopped(stopped)),
                    execution = patiently(client, id) => execution?,
                };
                return Ok(Ended::Over(Box::new(execution)));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn nobody_took(node: &str, graph: Option<&CompiledGraph>, tenant: &TenantId) -> String {
    let queue = graph.and_then(|graph| queue_of(graph, node));
    let queue = queue.map_or_else(|| "its queue".to_owned(), |queue| format!("queue `{}`", printable(queue)));
    let node = printable(node);
    format!(
        "{WARN}waiting:{WARN:#} no worker has taken `{node}` yet; none serves {queue} of {tenant}, or all that do are busy"
    )
}

/// The execution as a server gives it, also when the server is away for a moment.
async fn patiently(client: &Client, id: ExecutionId) -> Result<Report, Problem> {
    loop {
        match report(client, id).await {
            Err(problem) if problem.exit == Exit::Unreachable => tokio::time::sleep(LOOK).await,
            other => return other,
        }
    }
}

/// The execution as it stands on a server.
pub async fn report(client: &Client, id: ExecutionId) -> Result<Report, Problem> {
    let mut execution = client.execution(id).get().await?.json;
    // An execution that has not ended has no duration there.
    if execution["duration_ms"].is_null() {
        execution["duration_ms"] = 0.into();
    }
    serde_json::from_value(execution)
        .map_err(|error| Problem::new(Exit::Unreachable, format!("the server's answer is not understood: {error}")))
}
