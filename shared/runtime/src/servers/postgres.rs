//! A private PostgreSQL server with its own data directory.
//!
//! PostgreSQL refuses to run as root, so root starts it as nobody. A directory that nobody cannot reach (under `/root`,
//! say) is reached with one capability more instead of being refused, because that is where root's projects are.

mod account;
mod wire;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::account::Account;
use super::ServerError;
use super::child::{self, Recipe, ServerProcess};
use super::find::{self, Search};

/// Recovery after a crash with much to replay may take a while.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Tries to find a port: between looking and listening somebody else may take it.
const PORT_TRIES: u32 = 5;

/// The superuser of a private server.
const USER: &str = "stepstream";

/// What may be chosen.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// For the data, the socket and the log; made when it is not there. Its data is kept and used again.
    pub directory: PathBuf,
    pub search: Search,
    /// Remove the directory when the server is dropped or this process ends, however it ends.
    pub ephemeral: bool,
    /// Settings for the server's command line, such as `("shared_buffers", "256MB")`.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        PostgresOptions {
            directory: directory.into(),
            search: Search::default(),
            ephemeral: false,
            settings: Vec::new(),
        }
    }
}

/// A running server. Dropping it stops it.
pub struct PostgresServer {
    process: ServerProcess,
    plan: Plan,
    port: u16,
}

/// How the server is started, each time.
#[derive(Clone)]
struct Plan {
    bin: PathBuf,
    directory: PathBuf,
    account: Account,
    settings: Vec<(String, String)>,
    ephemeral: bool,
}

impl PostgresServer {
    /// Finds the binaries, makes a data directory when there is none, starts the server on a free port, and makes sure
    /// that it is the one that answers.
    ///
    /// # Errors
    /// When there are no binaries or the server does not get ready.
    pub async fn start(options: PostgresOptions) -> Result<Self, ServerError> {
        let PostgresOptions { directory, search, ephemeral, settings } = options;
        let prepared = tokio::task::spawn_blocking(move || {
            let bin = find::postgres_bin(&search)?;
            let (directory, account) = prepare(&bin, &directory)?;
            Ok::<_, ServerError>((bin, directory, account))
        });
        let (bin, directory, account) = prepared.await.map_err(|error| ServerError::Start {
            program: "initdb".to_owned(),
            source: std::io::Error::other(error),
        })??;

        let plan = Plan { bin, directory, account, settings, ephemeral };

        let mut tries = 0;
        loop {
            tries += 1;
            let port = free_port()?;
            let mut server = PostgresServer { process: plan.launch(port)?, plan: plan.clone(), port };
            match server.await_ready().await {
                Ok(()) => return Ok(server),
                Err(ServerError::NotReady { words, .. }) if words.contains("could not bind") && tries < PORT_TRIES => {
                    server.process.end_keeping();
                    tracing::debug!(port, "the port was taken meanwhile");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn data_directory(&self) -> PathBuf {
        self.plan.directory.join("data")
    }

    /// Creates an empty database. Only lower-case letters, digits and underscores, because the name becomes a word of a
    /// statement.
    ///
    /// # Errors
    /// When the name has others, the database is there already, or the server does not answer.
    pub async fn create_database(&self, name: &str) -> Result<(), ServerError> {
        let tool = |words: String| ServerError::Tool { program: "create database".to_owned(), words };
        if name.is_empty() || !name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_') {
            return Err(tool(format!("`{name}` is not made of lower-case letters, digits and underscores")));
        }
        let answer = wire::ask(self.port, USER, "postgres", &format!("create database {name}")).await;
        answer.map(drop).map_err(|error| tool(error.to_string()))
    }

    /// Kills the postmaster, as a crash would, and waits until its children have noticed and gone.
    pub async fn kill(&mut self) {
        let children = children(self.pid());
        self.process.kill().await;
        let deadline = Instant::now() + READY_PATIENCE;
        while children.iter().any(|child| child::exists(*child)) && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops it in order: connections are ended, everything is written.
    pub async fn stop(&mut self) {
        self.process.stop(Signal::SIGINT).await;
    }

    /// Starts it again on the same port and data, stopping it first when it runs.
    ///
    /// # Errors
    /// When the server does not get ready.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.stop().await;
        self.process = self.plan.launch(self.port)?;
        self.await_ready().await
    }

    async fn await_ready(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + READY_PATIENCE;
        let told = loop {
            if self.process.has_ended() {
                return Err(self.not_ready("ended while it was starting".to_owned()));
            }
            match wire::ask(self.port, USER, "postgres", "show data_directory").await {
                Ok(told) => break told,
                Err(error) if Instant::now() >= deadline => {
                    return Err(self.not_ready(format!("was not ready within {} s: {error}", READY_PATIENCE.as_secs())));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        };
        if told.as_deref().map(Path::new) != Some(self.data_directory().as_path()) {
            return Err(ServerError::Stranger {
                server: "PostgreSQL",
                address: format!("127.0.0.1:{}", self.port),
                reason: format!("its data is in {}", told.as_deref().unwrap_or("a place it does not tell")),
            });
        }
        tracing::debug!(pid = self.pid(), port = self.port, "PostgreSQL is ready");
        Ok(())
    }

    fn not_ready(&self, what: String) -> ServerError {
        ServerError::NotReady {
            server: "PostgreSQL",
            what,
            log: self.process.log().to_owned(),
            words: self.process.last_words(),
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Immediate: no checkpoint, but the children are gone when the postmaster is.
        self.process.end(Signal::SIGQUIT, Duration::from_secs(5));
    }
}

/// Makes the directories and, unless there is one, the data directory.
fn prepare(bin: &Path, given: &Path) -> Result<(PathBuf, Account), ServerError> {
    let files = |what, path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Files { what, path, source }
    };
    std::fs::create_dir_all(given).map_err(files("cannot make a directory for PostgreSQL", given))?;
    let directory = given.canonicalize().map_err(files("cannot resolve the directory of PostgreSQL", given))?;
    let account = Account::choose(bin, &directory)?;
    let data = directory.join("data");
    if data.join("PG_VERSION").is_file() {
        return Ok((directory, account));
    }
    // Made beside and renamed when complete, so that a start that was interrupted leaves no half data directory.
    let fresh = directory.join("data.new");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).map_err(files("cannot remove what an interrupted start left", &fresh))?;
    }
    account.own(&directory)?;
    let mut initdb = account.command(&bin.join("initdb"));
    initdb.args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-instructions"]);
    initdb.arg("--pgdata").arg(&fresh).current_dir(&directory);
    run(&mut initdb, "initdb")?;
    std::fs::rename(&fresh, &data).map_err(files("cannot put the new data directory in its place", &data))?;
    Ok((directory, account))
}

fn run(command: &mut Command, program: &str) -> Result<(), ServerError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ServerError::Start { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServerError::Tool { program: program.to_owned(), words })
}

impl Plan {
    fn launch(&self, port: u16) -> Result<ServerProcess, ServerError> {
        let port = port.to_string();
        let ours = [
            ("listen_addresses", "127.0.0.1"),
            ("port", port.as_str()),
            // No socket file: its path is limited to about a hundred bytes, which a deep directory exceeds.
            ("unix_socket_directories", ""),
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("max_connections", "200"),
            ("logging_collector", "off"),
        ];
        let given = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut arguments = vec!["-D".to_owned(), self.directory.join("data").display().to_string()];
        for (name, value) in ours.into_iter().chain(given) {
            arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        ServerProcess::start(&Recipe {
            program: self.bin.join("postgres"),
            arguments,
            log: self.directory.join("postgres.log"),
            // Without a checkpoint, where nobody will ever read what it would write.
            polite: if self.ephemeral { Signal::SIGQUIT } else { Signal::SIGINT },
            under: self.account.prefix(),
            remove: self.ephemeral.then(|| self.directory.clone()),
        })
    }
}

/// Any that is free this moment.
fn free_port() -> Result<u16, ServerError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|source| ServerError::Start { program: "a listener on the loopback interface".to_owned(), source })
}

/// The processes that a postmaster has started, from `/proc` where there is one, from `ps` elsewhere.
fn children(postmaster: u32) -> Vec<u32> {
    if let Ok(processes) = std::fs::read_dir("/proc") {
        let mut found = Vec::new();
        for process in processes.flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            // `pid (name) state parent …`, where the name may hold anything.
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            if parent == Some(postmaster) {
                found.push(pid);
            }
        }
        return found;
    }
    let output = Command::new("ps").args(["-axo", "pid=,ppid="]).output();
    let listing = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let pairs = listing.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().filter_map(|number| number.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    });
    pairs.filter(|(_, parent)| *parent == postmaster).map(|(pid, _): (u32, u32)| pid).collect()
}
