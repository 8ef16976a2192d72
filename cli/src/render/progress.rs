//! What a person sees while executions run: on a terminal a bar and the steps above it, elsewhere plain lines.
//!
//! Steps of maps and of loops come by the thousand; on their own they only move the bar, unless they fail.

mod seen;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{BAD, BOLD, DIM, GOOD, WARN, note, printable};
use crate::render::age::span;

pub use seen::{Kind, Seen};

/// How often a run without a terminal says how far it is, while nothing else is said.
const STILL_RUNNING: Duration = Duration::from_secs(5);
/// Longest error text on a line where nothing says how wide a line is.
const MESSAGE_CHARS: usize = 300;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Loudness {
    /// Nothing but problems.
    Quiet,
    #[default]
    Normal,
    /// Every step, those of maps included.
    Verbose,
}

/// Follows one or several executions.
pub struct Progress {
    loudness: Loudness,
    /// Several executions share the screen: each line names its own.
    several: bool,
    bar: Option<ProgressBar>,
    counts: Counts,
    /// Events up to here are history: counted, not told.
    history: HashMap<String, u64>,
    said: Instant,
    /// Nothing goes on, and that was said.
    rests: bool,
}

#[derive(Default)]
struct Counts {
    known: u64,
    done: u64,
    failed: u64,
    retried: u64,
}

impl Progress {
    pub fn new(loudness: Loudness, several: bool) -> Self {
        let wanted = loudness > Loudness::Quiet && std::io::stderr().is_terminal() && !is_dumb();
        let bar = wanted.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
            // The end of the line is left free for what a terminal shows of Ctrl-C.
            let colour =
                if anstream::ColorChoice::global() == anstream::ColorChoice::Never { "" } else { ":.green/dim" };
            let template = format!("{{spinner}} {{pos}}/{{len}} steps {{wide_bar{colour}}} {{msg}} {{elapsed}}   ");
            let style = ProgressStyle::with_template(&template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━─"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Progress {
            loudness,
            several,
            bar,
            counts: Counts::default(),
            history: HashMap::new(),
            said: Instant::now(),
            rests: false,
        }
    }

    /// Events of this execution up to `sequence` happened before anybody looked.
    pub fn history(&mut self, execution: &str, sequence: u64) {
        self.history.insert(execution.to_owned(), sequence);
    }

    pub fn observe(&mut self, execution: &str, seen: &Seen) {
        match &seen.kind {
            Kind::Scheduled if seen.index.is_none() || seen.undoes => self.counts.known += 1,
            Kind::MapExpanded { items } => self.counts.known += items,
            Kind::Completed { .. } => self.counts.done += 1,
            Kind::Failed { .. } => {
                self.counts.done += 1;
                self.counts.failed += 1;
            }
            Kind::Retry { .. } => self.counts.retried += 1,
            _ => {}
        }
        self.rests = match seen.kind {
            Kind::Rests | Kind::Paused { .. } => !self.several,
            Kind::Other => self.rests,
            _ => false,
        };
        let old = self.history.get(execution).is_some_and(|sequence| seen.sequence <= *sequence);
        if !old && let Some(line) = self.line(execution, seen) {
            self.say(&line);
        }
        self.draw(&seen.node);
    }

    /// A line between the steps.
    pub fn say(&mut self, line: &str) {
        if self.loudness == Loudness::Quiet {
            return;
        }
        self.said = Instant::now();
        match &self.bar {
            Some(bar) => bar.suspend(|| note(line)),
            None => note(line),
        }
    }

    /// To be called now and then: says how far it is where no bar does.
    pub fn tick(&mut self) {
        if self.bar.is_none() && !self.rests && self.counts.known > 0 && self.said.elapsed() >= STILL_RUNNING {
            let Counts { known, done, failed, .. } = self.counts;
            let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
            self.say(&format!("{done}/{known} steps{failed}"));
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&self, node: &str) {
        let Some(bar) = &self.bar else { return };
        let Counts { known, done, failed, retried } = self.counts;
        bar.set_length(known.max(done));
        bar.set_position(done);
        let mut message = Vec::new();
        if failed > 0 {
            message.push(format!("{failed} failed"));
        }
        if retried > 0 {
            message.push(format!("{retried} retried"));
        }
        if !node.is_empty() {
            message.push(node.chars().take(24).collect());
        }
        bar.set_message(message.join(" · "));
    }

    fn line(&self, execution: &str, seen: &Seen) -> Option<String> {
        let usual = seen.index.is_none() || self.loudness == Loudness::Verbose;
        let name = seen.name();
        let line = match &seen.kind {
            Kind::Completed { duration } if usual => {
                let took =
                    if duration.is_zero() { String::new() } else { format!("  {DIM}{}{DIM:#}", span(*duration)) };
                format!("{GOOD}✓{GOOD:#} {name}{took}")
            }
            Kind::Failed { error } => {
                let attempts =
                    if seen.attempt > 1 { format!(" after {} attempts", seen.attempt) } else { String::new() };
                format!("{BAD}✗{BAD:#} {name}  failed{attempts}: {}", shown(error))
            }
            Kind::Retry { error, after } if usual || seen.attempt > 1 => {
                let when = if after.is_zero() { "now".to_owned() } else { format!("in {}", span(*after)) };
                format!("{WARN}↻{WARN:#} {name}  attempt {} failed, next {when}: {}", seen.attempt, shown(error))
            }
            Kind::Skipped { reason } if usual => format!("{DIM}- {name}  skipped: {reason}{DIM:#}"),
            Kind::MapExpanded { items } => format!("{DIM}…{DIM:#} {name}  {items} items"),
            Kind::Started { worker } if self.loudness == Loudness::Verbose => {
                format!("{DIM}▸ {name}  attempt {} on {}{DIM:#}", seen.attempt, printable(worker))
            }
            Kind::Waiting { what } => format!("{WARN}◦{WARN:#} {name}  waits for {what}"),
            Kind::Paused { reason } => format!("{WARN}‖ paused{WARN:#}  {}", shown(reason)),
            Kind::Resumed => format!("{DIM}▸ resumed{DIM:#}"),
            _ => return None,
        };
        Some(if self.several { format!("{DIM}{execution}{DIM:#} {line}") } else { line })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The line that ends a run.
pub fn summary(report: &crate::report::Report) -> String {
    let crate::report::Steps { completed, failed, skipped, .. } = report.steps;
    let style = match report.state.as_str() {
        "Completed" => GOOD,
        "Failed" => BAD,
        _ => WARN,
    };
    let mut steps = vec![format!("{completed} {} completed", if completed == 1 { "step" } else { "steps" })];
    steps.extend((failed > 0).then(|| format!("{failed} failed")));
    steps.extend((skipped > 0).then(|| format!("{skipped} skipped")));
    steps.extend(report.compensation.as_ref().map(ToString::to_string));
    let took = span(Duration::from_millis(report.duration_ms));
    format!(
        "{style}{}{style:#} {BOLD}{}{BOLD:#} in {took}: {}, {} events",
        report.state,
        report.execution_id,
        steps.join(", "),
        report.events
    )
}

fn shown(error: &str) -> String {
    let text = printable(error);
    match text.char_indices().nth(MESSAGE_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}

#[cfg(test)]
mod tests;
