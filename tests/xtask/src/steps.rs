//! The checks, in the order that fails soonest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{read, run, run_and_read};
use crate::{purity, tools};

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Full,
    Quick,
}

/// Seconds for each fuzz target in the full run: enough to replay its corpus and look a little further.
const FUZZ_SECONDS: u32 = 15;

/// Minutes of schedules in the full run, as the tests were built: an optimised build would take longer than it saves.
const SIMULATED_MINUTES: &str = "2";

/// Everything that must hold. Ends with the sum of all tests.
pub(crate) fn everything(extent: Extent) -> Result<()> {
    run("format", cargo().args(["fmt", "--all", "--check"]))?;
    purity::check()?;
    purity::check_apart()?;
    let tools = tools::servers()?;
    run("lints", cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run("programs", cargo().args(["build", "--workspace", "--bins"]))?;
    let mut counts = Counts::default();
    let tested = run_and_read(
        "tests",
        cargo().args(["test", "--workspace", "--no-fail-fast"]).env("STEPSTREAM_TOOLS_DIR", &tools),
        |line| counts.read(line),
    );
    if tested.is_ok() {
        run("docs", cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
        if extent == Extent::Full {
            let tools = tools::cargo_tools()?;
            let deny = tools.join("bin").join("cargo-deny");
            run("licences, bans, sources", Command::new(deny).args(["check", "bans", "licenses", "sources"]))?;
            let simulation =
                ["run", "--quiet", "--package", "stepstream-simulation", "--", "--minutes", SIMULATED_MINUTES];
            run("schedules of faults", cargo().args(simulation))?;
            fuzz(FUZZ_SECONDS)?;
        }
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    if counts.failed == 0 && counts.passed == 0 {
        bail!("no test was run");
    }
    tested
}

/// Runs schedules of faults, optimised and with every assertion: until the time is over, or the one that `SEED` names.
pub(crate) fn simulate(arguments: &[&str]) -> Result<()> {
    let built = ["run", "--quiet", "--profile", "simulation", "--package", "stepstream-simulation", "--"];
    run("simulation", cargo().args(built).args(arguments))
}

/// Runs every fuzz target for a while, from its corpus.
pub(crate) fn fuzz(seconds: u32) -> Result<()> {
    let tools = tools::cargo_tools()?;
    let cargo_fuzz = tools.join("bin").join("cargo-fuzz");
    let folder = Path::new("tests/fuzz");
    // The coverage instrumentation is a compiler flag that stable compilers accept only on request.
    let fuzz = || {
        let mut command = Command::new(&cargo_fuzz);
        command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "").arg("fuzz");
        command
    };
    let targets = read(fuzz().arg("list").arg("--fuzz-dir").arg(folder))?;
    for target in targets.lines() {
        let mut command = fuzz();
        command.args(["run", "--sanitizer", "none", "--fuzz-dir"]).arg(folder).arg(target);
        let corpus = folder.join("corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        command.arg(corpus).args(seeds(folder, target));
        let limits = [
            format!("-max_total_time={seconds}"),
            "-rss_limit_mb=4096".to_owned(),
            "-timeout=10".to_owned(),
            "-print_final_stats=1".to_owned(),
            "-verbosity=0".to_owned(),
        ];
        run(&format!("fuzz {target}"), command.arg("--").args(limits))?;
    }
    Ok(())
}

/// Folders of real inputs that a target starts from, besides what it found before.
fn seeds(folder: &Path, target: &str) -> Vec<PathBuf> {
    let documents = ["examples", "shared/src/graph/tests/good", "shared/src/graph/tests/bad"];
    match target {
        "graph_document" => documents.map(PathBuf::from).to_vec(),
        "schedule_document" => vec!["examples/schedules".into()],
        "wfcommons" => vec!["tests/data".into()],
        _ => vec![folder.join("seeds").join(target)],
    }
}

fn cargo() -> Command {
    Command::new("cargo")
}

/// The sums of the test runners' own summaries.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    fn read(&mut self, line: &str) {
        let Some(summary) = line.trim().strip_prefix("test result: ") else { return };
        for part in summary.split(['.', ';']) {
            let mut words = part.split_whitespace();
            if let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) {
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    _ => {}
                }
            }
        }
    }
}
