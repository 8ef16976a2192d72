//! `bench`: how fast, at what cost; and the worker that its fleet runs.

use std::sync::Arc;

use clap::Args;
use serde_json::Value;
use stepstream_runtime::bus::jetstream::{JetStreamBus, JetStreamOptions};
use stepstream_runtime::shutdown::Shutdown;
use stepstream_worker::{Context, Failure, Worker};

use super::Format;
use crate::app::App;
use crate::bench::{self, BenchArgs, NO_OP, Report};
use crate::exit::{Exit, Problem};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream bench chain                                        saturation, one process
  stepstream bench chain --profile distributed -o json          saturation, a fleet of processes
  stepstream bench chain --profile distributed --in-flight 1    latency
  stepstream bench fold                                         the reducer alone

Steps do nothing; inputs are 100 bytes. Figures belong to the machine and the moment: read them as ratios to the floors
of the same run.")]
pub struct BenchCommand {
    #[command(flatten)]
    bench: BenchArgs,

    /// How the report looks
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(command: BenchCommand, app: &App) -> Result<Exit, Problem> {
    app.start_logs("error")?;
    let report = Box::pin(bench::run(&command.bench))
        .await
        .map_err(|error| Problem::new(Exit::Unreachable, format!("{error:#}")))?;
    match command.output {
        Format::Json => {
            let text = serde_json::to_string_pretty(&report).unwrap_or_default();
            output::line(&text)?;
        }
        Format::Text => output::line(&text(&report))?,
    }
    Ok(Exit::Done)
}

fn text(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} {}: {} executions, {} steps in {:.2} s, {} in flight",
        report.profile, report.shape, report.executions, report.steps, report.seconds, report.in_flight
    )];
    let mut figure = |name: &str, value: Option<f64>, unit: &str| {
        if let Some(value) = value {
            lines.push(format!("  {name:<22} {value:>12.2} {unit}"));
        }
    };
    figure("steps", report.steps_per_s, "/s");
    figure("executions", report.executions_per_s, "/s");
    figure("step p50", report.step_p50_ms, "ms");
    figure("step p99", report.step_p99_ms, "ms");
    figure("execution p50", report.execution_p50_ms, "ms");
    figure("execution p99", report.execution_p99_ms, "ms");
    figure("events", report.events_per_s, "/s");
    figure("processor", report.cpu_s_per_1k_steps, "s per 1,000 steps");
    figure("log", report.log_bytes_per_step, "bytes per step");
    lines.push(format!("  memory (MiB)           {}", report.peak_rss_mib));
    lines.push(format!("  floors                 {}", report.floors));
    lines.push(format!("  durability             {}", report.durability));
    lines.join("\n")
}

/// The worker of a bench's fleet: a process of its own, with the callable that does nothing.
#[derive(Debug, Args)]
pub struct BenchWorkerArgs {
    #[arg(long)]
    nats: String,
    #[arg(long)]
    name: String,
}

pub async fn worker(args: BenchWorkerArgs) -> Result<Exit, Problem> {
    /// Attempts at a time: what two workers need to keep five hundred executions going.
    const SLOTS: usize = 256;
    let failed = |error: &dyn std::fmt::Display| Problem::new(Exit::Unreachable, error.to_string());
    let shutdown = Shutdown::on_signal().map_err(|error| failed(&error))?;
    let options = JetStreamOptions { name: args.name.clone(), ..JetStreamOptions::default() };
    let bus = JetStreamBus::connect(&args.nats, options).await.map_err(|error| failed(&error))?;
    let worker = Worker::builder()
        .bus(Arc::new(bus.clone()))
        .slots(SLOTS)
        .name(args.name)
        .register(NO_OP, async |_: Context, _: Value| Ok::<_, Failure>(Value::Null))
        .build()
        .map_err(|error| failed(&error))?;
    output::line("ready")?;
    worker.run(shutdown).await.map_err(|error| failed(&error))?;
    bus.close().await.map_err(|error| failed(&error))?;
    Ok(Exit::Done)
}
