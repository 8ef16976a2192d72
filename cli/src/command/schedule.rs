//! `schedule`: executions that begin by themselves, again and again.

mod changing;
mod next;
mod showing;

use clap::{Args, Subcommand};
use stepstream_shared::time::Timestamp;

use crate::app::App;
use crate::exit::{Exit, Problem};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream schedule next --cron '30 2 * * 1-5' --time-zone Europe/Berlin     try an expression, without a server
  stepstream schedule create nightly.yaml --server http://127.0.0.1:8233
  stepstream schedule get nightly                                              next times, last runs
  stepstream schedule pause nightly --note 'maintenance until Monday'
  stepstream schedule backfill nightly --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z

A schedule is a file such as

  name: nightly
  graph: report                      # registered with `stepstream register`
  inputs: { day: '=schedule.date' }  # also schedule.time, .local, .name, .id, .time_zone
  cron: '30 2 * * *'                 # or every: 15m
  time_zone: Europe/Berlin
  overlap: skip                      # or buffer_one, buffer_all, cancel_other, allow_all

Schedules fire where a coordinator runs: in `stepstream dev` and in a fleet. What lies in a data directory and is used by
`run` alone does not fire; docs/schedules.md has all of it.")]
pub struct ScheduleArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a schedule from a file
    Create(changing::CreateArgs),
    /// List schedules
    List(showing::ListArgs),
    /// Show a schedule, its next times and its last runs
    Get(showing::GetArgs),
    /// Give a schedule another document
    Update(changing::UpdateArgs),
    /// Hold a schedule: nothing is started, and nominal times pass
    Pause(changing::PauseArgs),
    /// Let a schedule go on from now
    Resume(changing::ResumeArgs),
    /// Start an execution of a schedule now, whatever else runs
    Trigger(changing::TriggerArgs),
    /// Carry out nominal times of the past, each once
    Backfill(changing::BackfillArgs),
    /// Delete a schedule; what it has started goes on
    Delete(changing::DeleteArgs),
    /// Show when a schedule or an expression would fire, without a server
    #[command(after_help = next::HELP)]
    Next(next::NextArgs),
}

pub async fn run(args: ScheduleArgs, app: &App) -> Result<Exit, Problem> {
    match args.what {
        What::Create(args) => changing::create(args, app).await,
        What::List(args) => showing::list(args, app).await,
        What::Get(args) => showing::get(args, app).await,
        What::Update(args) => changing::update(args, app).await,
        What::Pause(args) => changing::pause(args, app).await,
        What::Resume(args) => changing::resume(args, app).await,
        What::Trigger(args) => changing::trigger(args, app).await,
        What::Backfill(args) => changing::backfill(args, app).await,
        What::Delete(args) => changing::delete(args, app).await,
        What::Next(args) => next::run(&args),
    }
}

/// A moment on a command line.
fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "a moment is written with date, time and offset, such as 2026-11-01T00:00:00Z".to_owned())
}
