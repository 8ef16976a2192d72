//! The core does no I/O: a fact about its dependencies, checked.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// Crates that the pure core may not depend on, directly or through others.
const FORBIDDEN: [&str; 11] =
    ["tokio", "sqlx", "async-nats", "reqwest", "hyper", "axum", "rand", "nix", "mio", "rustls", "tracing"];
/// Sources of chance that the core may not name itself. The JSON Schema validator seeds its hash maps with one; nothing
/// that the core records depends on their order.
const FORBIDDEN_DIRECTLY: [&str; 2] = ["getrandom", "fastrand"];
/// Features that would bring a clock or chance into it.
const FORBIDDEN_FEATURES: [(&str, &str); 5] =
    [("chrono", "clock"), ("chrono", "now"), ("uuid", "v4"), ("uuid", "v7"), ("jsonschema", "resolve-http")];

/// Crates of ours that never depend on each other: what a program takes in to talk to a server is no server.
const APART: [&str; 3] = ["stepstream-coordinator", "stepstream-worker", "stepstream-client"];

/// Fails if one of the crates that stand apart depends on another.
pub(crate) fn check_apart() -> Result<()> {
    for package in APART {
        let arguments = ["--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
        let crates = command::read(Command::new("cargo").arg("tree").args(arguments))?;
        let names = crates.lines().filter_map(|line| line.split_whitespace().next());
        if let Some(found) = names.filter(|name| *name != package).find(|name| APART.contains(name)) {
            bail!("{package} depends on {found}: see `cargo tree -p {package} -i {found}`");
        }
    }
    eprintln!("── coordinator, worker and client do not depend on each other");
    Ok(())
}

/// Fails if the core alone, as a user of it alone would build it, pulls in anything forbidden.
pub(crate) fn check() -> Result<()> {
    let package = ["--package", "stepstream-shared", "--edges", "normal", "--prefix", "none"];
    let crates = command::read(Command::new("cargo").arg("tree").args(package).args(["--format", "{p}"]))?;
    let mut found: Vec<String> = Vec::new();
    for line in crates.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if FORBIDDEN.contains(&name) && !found.iter().any(|each| each == name) {
            found.push(name.to_owned());
        }
    }
    let direct = ["--package", "stepstream-shared", "--edges", "normal", "--prefix", "none", "--depth", "1"];
    let named = command::read(Command::new("cargo").arg("tree").args(direct).args(["--format", "{p}"]))?;
    let names = named.lines().filter_map(|line| line.split_whitespace().next());
    found.extend(names.filter(|name| FORBIDDEN_DIRECTLY.contains(name)).map(str::to_owned));
    let features = command::read(Command::new("cargo").arg("tree").args(package).args(["--format", "{p} {f}"]))?;
    for line in features.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let enabled = line.rsplit(' ').next().unwrap_or_default();
        for (of, feature) in FORBIDDEN_FEATURES {
            if name == of && enabled.split(',').any(|each| each == feature) {
                found.push(format!("{of}/{feature}"));
            }
        }
    }
    if !found.is_empty() {
        bail!("the pure core depends on {}: see `cargo tree -p stepstream-shared -i NAME`", found.join(", "));
    }
    eprintln!("── the core depends on no runtime, no client, no clock and no chance");
    Ok(())
}
