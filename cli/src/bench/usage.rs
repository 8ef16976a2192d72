//! Processor time and memory of processes, as Linux accounts for them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

/// A process and everything it started.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) pid: u32,
}

/// What processes have used so far.
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    peak_kib: BTreeMap<String, u64>,
}

impl Usage {
    /// Nothing where `/proc` is not to be read: other systems account elsewhere.
    pub(super) fn of(processes: &[Process]) -> Self {
        let tree = parents();
        let mut usage = Usage { cpu_seconds: 0.0, peak_kib: BTreeMap::new() };
        for process in processes {
            let mut family = vec![process.pid];
            let mut at = 0;
            while let Some(pid) = family.get(at).copied() {
                family.extend(tree.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
                at += 1;
            }
            // A process that measures itself does not count what it has started: those are named on their own.
            if process.pid == std::process::id() {
                family.truncate(1);
            }
            for pid in family {
                usage.cpu_seconds += cpu_seconds(pid).unwrap_or(0.0);
                *usage.peak_kib.entry(process.name.clone()).or_default() += peak_kib(pid).unwrap_or(0);
            }
        }
        usage
    }

    pub(super) fn peak_rss_mib(&self) -> Value {
        let rounded = |kib: &u64| (*kib as f64 / 102.4).round() / 10.0;
        json!(self.peak_kib.iter().map(|(name, kib)| (name, rounded(kib))).collect::<BTreeMap<_, _>>())
    }
}

/// (process, its parent), for all there are.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect()
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 1..];
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn cpu_seconds(pid: u32) -> Option<f64> {
    /// Clock ticks a second: 100 on every Linux that user programs see.
    const TICKS: f64 = 100.0;
    let stat = stat(pid)?;
    // Fields 14 to 17 of proc(5), counted from the state, which is field 3: own user and system time, then that of
    // children that have ended.
    let ticks: f64 = stat.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Some(ticks / TICKS)
}

fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
