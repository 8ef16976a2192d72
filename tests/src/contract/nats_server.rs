//! A nats-server of one's own: a free port, a store in a temporary directory, gone with its value.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

pub struct NatsServer {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    url: String,
    child: Child,
}

/// `STEPSTREAM_NATS_SERVER`, or the one that the tools were installed with, or the one on the path.
fn binary() -> PathBuf {
    if let Some(chosen) = std::env::var_os("STEPSTREAM_NATS_SERVER") {
        return chosen.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let installed = workspace.join("target/tools/venv/bin/nats-server");
    if installed.exists() { installed } else { "nats-server".into() }
}

impl NatsServer {
    pub async fn start() -> anyhow::Result<Self> {
        NatsServer::start_with(&[]).await
    }

    /// With further command line arguments.
    pub async fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let (child, url) = launch(directory.path(), "-1", &arguments).await?;
        Ok(NatsServer { directory, arguments, url, child })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it without a warning.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("killing nats-server")
    }

    /// Starts it again at the same address, with what its store holds.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let port = self.url.rsplit(':').next().context("the address has a port")?.to_owned();
        (self.child, _) = launch(self.directory.path(), &port, &self.arguments).await?;
        Ok(())
    }

    /// Deletes everything that it has stored. It should not be running.
    pub fn wipe(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(self.directory.path().join("store")).context("deleting the store")
    }
}

async fn launch(directory: &Path, port: &str, arguments: &[String]) -> anyhow::Result<(Child, String)> {
    let ports = directory.join("ports");
    let _ = std::fs::remove_dir_all(&ports);
    std::fs::create_dir_all(&ports)?;
    let log = std::fs::File::create(directory.join("log"))?;
    let mut child = Command::new(binary())
        .args(["-a", "127.0.0.1", "-p", port, "-js"])
        .arg("-sd")
        .arg(directory.join("store"))
        .arg("--ports_file_dir")
        .arg(&ports)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("starting nats-server")?;
    // The file is named after the process, so whoever answers at its address is ours.
    let pid = child.id().context("nats-server has ended already")?;
    let file = ports.join(format!("nats-server_{pid}.ports"));
    for _ in 0..1000 {
        if let Ok(text) = std::fs::read_to_string(&file)
            && let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text)
            && let Some(url) = ports["nats"][0].as_str()
        {
            return Ok((child, url.to_owned()));
        }
        if let Some(status) = child.try_wait()? {
            let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
            anyhow::bail!("nats-server ended with {status}: {log}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("nats-server did not open its port within ten seconds")
}
