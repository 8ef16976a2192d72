//! `stepstream bench`: how fast, at what cost, measured against what this machine allows.
//!
//! Steps do nothing, so what is measured is us. Figures are taken after a warm-up, together with the floors of the same
//! run (an fsync, a hop over the bus, a bare group commit), because machines differ and drift: read ratios.

mod driver;
mod embedded;
mod fleet;
mod floors;
mod fold;
mod graphs;
mod log;
mod sample;
mod statistics;
mod usage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use driver::Driver;
pub(crate) use graphs::NO_OP;
use statistics::Spread;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Executions of `--length` steps, one after the other.
    Chain,
    /// Executions of `--width` steps side by side and a join.
    Fan,
    /// Executions of one step, as many as possible.
    Storm,
    /// The reducer alone, over a log in memory.
    Fold,
    /// Reading, decoding and folding a log from the store.
    Replay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// One process: SQLite, queues in memory.
    Embedded,
    /// nats-server, PostgreSQL, coordinator and workers, each a process of its own, started and taken down here.
    Distributed,
}

#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// What is run
    #[arg(value_enum)]
    pub shape: Shape,
    #[arg(long, value_enum, default_value = "embedded")]
    pub profile: Profile,
    /// Executions in all, the warm-up apart [default: by shape]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub executions: Option<u32>,
    /// Steps of a chain
    #[arg(long, value_name = "L", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub length: u32,
    /// Steps of a fan
    #[arg(long, value_name = "W", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub width: u32,
    /// Executions at a time [default: 512; 1 for a fan]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub in_flight: Option<u32>,
    /// Worker processes of the distributed profile
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Coordinator processes of the distributed profile
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub coordinators: u32,
    /// Where data is put while it runs [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

impl BenchArgs {
    fn executions(&self) -> u32 {
        self.executions.unwrap_or(match self.shape {
            Shape::Chain if self.in_flight() == 1 => 200,
            Shape::Chain => 5000,
            Shape::Fan => 100,
            Shape::Storm => 10_000,
            Shape::Fold | Shape::Replay => 1,
        })
    }

    fn in_flight(&self) -> u32 {
        self.in_flight.unwrap_or(match self.shape {
            Shape::Fan => 1,
            _ => 512,
        })
    }

    fn steps_per_execution(&self) -> u32 {
        match self.shape {
            Shape::Chain => self.length,
            Shape::Fan => self.width + 2,
            Shape::Storm => 1,
            Shape::Fold | Shape::Replay => self.width,
        }
    }
}

/// What a bench found; absent figures do not apply to the shape.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(default)]
pub struct Report {
    pub shape: String,
    pub profile: String,
    pub executions: u32,
    pub steps: u64,
    pub in_flight: u32,
    pub seconds: f64,
    pub steps_per_s: Option<f64>,
    pub executions_per_s: Option<f64>,
    pub step_p50_ms: Option<f64>,
    pub step_p99_ms: Option<f64>,
    pub execution_p50_ms: Option<f64>,
    pub execution_p99_ms: Option<f64>,
    pub events_per_s: Option<f64>,
    pub cpu_s_per_1k_steps: Option<f64>,
    /// High-water mark of each process, in MiB.
    pub peak_rss_mib: Value,
    /// Body and key columns of everything a step caused to be stored, in bytes.
    pub log_bytes_per_step: Option<f64>,
    pub durability: String,
    /// What this machine allows, taken in the same run.
    pub floors: Value,
}

/// Runs a bench and reports what it found.
pub async fn run(args: &BenchArgs) -> Result<Report> {
    let directory = match &args.directory {
        Some(directory) => {
            std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            tempfile::tempdir_in(directory)
        }
        None => tempfile::tempdir(),
    }
    .context("cannot make a directory for the data")?;
    let mut report = Report {
        shape: name_of(args.shape),
        profile: name_of(args.profile),
        executions: args.executions(),
        in_flight: args.in_flight(),
        ..Report::default()
    };
    match args.shape {
        Shape::Fold => fold::fold(args, &mut report)?,
        Shape::Replay => fold::replay(args, directory.path(), &mut report).await?,
        Shape::Chain | Shape::Fan | Shape::Storm => {
            let driver: Box<dyn Driver> = match args.profile {
                Profile::Embedded => Box::new(embedded::Embedded::start(args, directory.path()).await?),
                Profile::Distributed => Box::new(fleet::Fleet::start(args, directory.path()).await?),
            };
            let measured = measure(args, driver.as_ref(), &mut report).await;
            driver.stop().await;
            measured?;
        }
    }
    Ok(report)
}

async fn measure(args: &BenchArgs, driver: &dyn Driver, report: &mut Report) -> Result<()> {
    let executions = args.executions();
    let warm_up = (executions / 5).clamp(1, 1000);
    driver::drive(driver, warm_up, args.in_flight()).await.context("warming up")?;
    let before = usage::Usage::of(&driver.processes());
    let began = Instant::now();
    let driven = driver::drive(driver, executions, args.in_flight()).await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = usage::Usage::of(&driver.processes());
    let steps = u64::from(executions) * u64::from(args.steps_per_execution());
    report.steps = steps;
    report.seconds = seconds;
    report.steps_per_s = Some(steps as f64 / seconds);
    report.executions_per_s = Some(f64::from(executions) / seconds);
    let spread = Spread::of(driven.milliseconds);
    report.execution_p50_ms = spread.at(0.5);
    report.execution_p99_ms = spread.at(0.99);
    report.cpu_s_per_1k_steps = Some((after.cpu_seconds - before.cpu_seconds) / (steps as f64 / 1000.0));
    report.peak_rss_mib = after.peak_rss_mib();
    report.durability = driver.durability();
    let sampled = sample::read(&driver.reader(), &driven.sample).await?;
    report.step_p50_ms = sampled.step_ms.at(0.5);
    report.step_p99_ms = sampled.step_ms.at(0.99);
    report.log_bytes_per_step = sampled.bytes_per_step;
    report.floors = driver.floors().await?;
    Ok(())
}

fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
