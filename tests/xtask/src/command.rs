//! Running programs: what is run is shown, and a failure names it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Runs a program to its end; its output goes where ours goes.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    let began = Instant::now();
    eprintln!("── {what}");
    let status = command.status().with_context(|| format!("{what}: {command:?} did not start"))?;
    eprintln!("── {what}: {:.0?}", began.elapsed());
    if !status.success() {
        bail!("{what} failed ({status}): {command:?}");
    }
    Ok(())
}

/// Runs a program to its end, shows every line of its standard output and also hands it to `see`.
pub(crate) fn run_and_read(what: &str, command: &mut Command, mut see: impl FnMut(&str)) -> Result<()> {
    let began = Instant::now();
    eprintln!("── {what}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("{what}: {command:?} did not start"))?;
    let output = child.stdout.take().context("standard output was piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let _ = writeln!(std::io::stdout(), "{line}"); // Whoever read us may have gone; the tests go on.
        see(&line);
    }
    let status = child.wait()?;
    eprintln!("── {what}: {:.0?}", began.elapsed());
    if !status.success() {
        bail!("{what} failed ({status}): {command:?}");
    }
    Ok(())
}

/// What a program prints.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} did not start"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
