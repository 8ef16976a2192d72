//! A private `nats-server` with JetStream.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Deserialize;

use super::ServerError;
use super::child::{Recipe, ServerProcess};
use super::find::{self, Search};

/// A first start takes well under a second; a restart with much in the store takes longer.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Bytes: room for our largest payload twice. The server's own default of 1 MiB is below our limit.
const MAX_PAYLOAD: u32 = 8 << 20;

/// What may be chosen.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// For the store, the log and the configuration; made when it is not there.
    pub directory: PathBuf,
    pub search: Search,
    /// Remove the directory when the server is dropped or this process ends, however it ends.
    pub ephemeral: bool,
    /// JetStream's `sync_interval`, such as `always` or `2m`; `None` leaves the server's default. It is written with
    /// quotes, because without them the server reads `2m` as two million seconds.
    pub sync_interval: Option<String>,
    /// Bytes; a larger message is refused by the server.
    pub max_payload: u32,
    /// The only name and password that may connect; `None` lets everybody in who reaches the loopback interface.
    pub credentials: Option<Credentials>,
}

/// A name and a password.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl NatsOptions {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        NatsOptions {
            directory: directory.into(),
            search: Search::default(),
            ephemeral: false,
            sync_interval: None,
            max_payload: MAX_PAYLOAD,
            credentials: None,
        }
    }
}

/// A running server. Dropping it stops it.
pub struct NatsServer {
    process: ServerProcess,
    program: PathBuf,
    directory: PathBuf,
    ephemeral: bool,
    ports: Ports,
    server_id: String,
    version: String,
}

/// Fixed once the first start has chosen them, so that clients find the server again after a restart.
#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    monitor: u16,
}

/// The part of `/varz` that says who answers.
#[derive(Deserialize)]
struct Varz {
    server_id: String,
    version: String,
    port: u16,
}

impl NatsServer {
    /// Finds the binary, starts it on ports of its own choice, and makes sure that it is the one that answers.
    ///
    /// # Errors
    /// When there is no binary or the server does not get ready.
    pub async fn start(options: NatsOptions) -> Result<Self, ServerError> {
        let search = options.search.clone();
        let program = super::blocking(move || find::nats_server(&search)).await?;
        let directory = prepare(&options)?;
        let ephemeral = options.ephemeral;
        let (process, ports) = launch(&program, &directory, ephemeral, None).await?;
        let mut server = NatsServer {
            process,
            program,
            directory,
            ephemeral,
            ports,
            server_id: String::new(),
            version: String::new(),
        };
        server.await_ready().await?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.client)
    }

    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.monitor)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where JetStream keeps its files; they may be deleted while the server is down.
    pub fn store_directory(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// Kills it, as a crash would.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        self.process.stop(Signal::SIGTERM).await;
    }

    /// Starts it again on the same ports and files, stopping it first when it runs.
    ///
    /// # Errors
    /// When the server does not get ready.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.stop().await;
        let (process, ports) = launch(&self.program, &self.directory, self.ephemeral, Some(self.ports)).await?;
        self.process = process;
        self.ports = ports;
        self.await_ready().await
    }

    async fn await_ready(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + READY_PATIENCE;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()
            .map_err(|error| self.not_ready(format!("cannot be asked: {error}")))?;
        let health = format!("{}/healthz", self.monitor_url());
        loop {
            if self.process.has_ended() {
                return Err(self.not_ready("ended while it was starting".to_owned()));
            }
            if client.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready(format!("was not ready within {} s", READY_PATIENCE.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
        let varz = format!("{}/varz", self.monitor_url());
        let varz = async { client.get(&varz).send().await?.json::<Varz>().await }.await;
        let varz = varz.map_err(|error| self.not_ready(format!("does not say who it is: {error}")))?;
        // Our own log says which identity the server that we started has taken.
        let log = std::fs::read_to_string(self.process.log()).unwrap_or_default();
        if varz.port != self.ports.client || !log.contains(&varz.server_id) {
            return Err(ServerError::Stranger {
                server: "nats-server",
                address: self.monitor_url(),
                reason: format!("it is {} on port {}", varz.server_id, varz.port),
            });
        }
        self.server_id = varz.server_id;
        self.version = varz.version;
        tracing::debug!(pid = self.pid(), server_id = %self.server_id, url = %self.url(), "nats-server is ready");
        Ok(())
    }

    fn not_ready(&self, what: String) -> ServerError {
        not_ready(&self.process, what)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // Nothing on the bus is the only copy of anything: there is no reason to wait for an orderly end.
        self.process.end(Signal::SIGKILL, Duration::from_secs(2));
    }
}

fn not_ready(process: &ServerProcess, what: String) -> ServerError {
    ServerError::NotReady { server: "nats-server", what, log: process.log().to_owned(), words: process.last_words() }
}

fn prepare(options: &NatsOptions) -> Result<PathBuf, ServerError> {
    let files = |what, path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Files { what, path, source }
    };
    let given = &options.directory;
    std::fs::create_dir_all(given.join("ports")).map_err(files("cannot make a directory for nats-server", given))?;
    // The server is told absolute paths, whatever its working directory.
    let directory = given.canonicalize().map_err(files("cannot resolve the directory of nats-server", given))?;
    let sync = options.sync_interval.as_ref().map(|interval| format!(", sync_interval: \"{interval}\""));
    let authorization = options.credentials.as_ref().map(|given| {
        format!("authorization: {{ user: {}, password: {} }}\n", quoted(&given.user), quoted(&given.password))
    });
    let config = format!(
        "max_payload: {}\njetstream: {{ store_dir: {}{} }}\n{}",
        options.max_payload,
        quoted(&directory.join("store").display().to_string()),
        sync.unwrap_or_default(),
        authorization.unwrap_or_default(),
    );
    let path = directory.join("nats.conf");
    std::fs::write(&path, config).map_err(files("cannot write the configuration of nats-server", &path))?;
    Ok(directory)
}

/// A string of the server's configuration language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Starts the process and learns its ports: chosen by the server the first time, given to it afterwards.
async fn launch(
    program: &Path,
    directory: &Path,
    ephemeral: bool,
    ports: Option<Ports>,
) -> Result<(ServerProcess, Ports), ServerError> {
    let port = |choose: fn(Ports) -> u16| ports.map_or("-1".to_owned(), |ports| choose(ports).to_string());
    let text = |path: PathBuf| path.display().to_string();
    let recipe = Recipe {
        program: program.to_owned(),
        arguments: [
            ["-c", &text(directory.join("nats.conf"))],
            ["-a", "127.0.0.1"],
            ["-p", &port(|ports| ports.client)],
            ["-m", &port(|ports| ports.monitor)],
            ["--ports_file_dir", &text(directory.join("ports"))],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .chain(["-js".to_owned()])
        .collect(),
        log: directory.join("nats-server.log"),
        polite: Signal::SIGTERM,
        under: Vec::new(),
        remove: ephemeral.then(|| directory.to_owned()),
    };
    let mut process = ServerProcess::start(&recipe)?;
    if let Some(ports) = ports {
        return Ok((process, ports));
    }
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        if let Some(ports) = read_ports(&directory.join("ports"), process.pid()) {
            return Ok((process, ports));
        }
        if process.has_ended() {
            return Err(not_ready(&process, "ended while it was starting".to_owned()));
        }
        if Instant::now() >= deadline {
            return Err(not_ready(&process, "told no ports".to_owned()));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The file is named after the program and its pid, so it cannot be another server's.
fn read_ports(directory: &Path, pid: u32) -> Option<Ports> {
    #[derive(Deserialize)]
    struct File {
        nats: Vec<String>,
        monitoring: Vec<String>,
    }
    let suffix = format!("_{pid}.ports");
    let entry = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .find(|entry| entry.file_name().to_str().is_some_and(|name| name.ends_with(&suffix)))?;
    // Half written it does not parse, and is read again.
    let file: File = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
    let port = |urls: &[String]| urls.first()?.rsplit(':').next()?.parse().ok();
    Some(Ports { client: port(&file.nats)?, monitor: port(&file.monitoring)? })
}
