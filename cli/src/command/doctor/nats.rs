//! A NATS server: its version and limits from the greeting that it gives everybody, and its sync interval from the
//! monitoring endpoint, if there is one.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::findings::Findings;
use crate::exit::{Exit, chain};

/// Longest greeting that is read.
const GREETING_BYTES: u64 = 64 * 1024;
const DEFAULT_PORT: u16 = 4222;
const MONITOR_PORT: u16 = 8222;
/// Older ones drop settings that they do not know without a word.
const NEEDED: (u32, u32) = (2, 12);
/// Older ones have known faults that cost time.
const WANTED: (u32, u32, u32) = (2, 14, 7);
/// The largest value that a step may give, and its envelope.
const WANTED_PAYLOAD: u64 = stepstream_shared::data::MAX_BYTES as u64 + 64 * 1024;

/// What a server says to everybody who connects.
#[derive(Debug, Deserialize)]
struct Greeting {
    version: String,
    max_payload: u64,
    #[serde(default)]
    jetstream: bool,
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    auth_required: bool,
}

pub(super) async fn look(url: &str, monitor: Option<&str>, findings: &mut Findings) {
    // Of a cluster, the first one that is named.
    let first = url.split(',').next().unwrap_or(url).trim();
    let with_scheme = if first.contains("://") { first.to_owned() } else { format!("nats://{first}") };
    let Some((host, port)) = reqwest::Url::parse(&with_scheme)
        .ok()
        .and_then(|url| Some((url.host_str()?.to_owned(), url.port().unwrap_or(DEFAULT_PORT))))
    else {
        findings.broken(Exit::Usage, "NATS", "no URL of a server", "such as nats://127.0.0.1:4222");
        return;
    };
    let shown = format!("{host}:{port}");
    let greeting = match tokio::time::timeout(PATIENCE, greet(&host, port)).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(why)) => return findings.broken(Exit::Unreachable, "NATS", &shown, &why),
        Err(_) => {
            return findings.broken(
                Exit::Unreachable,
                "NATS",
                &shown,
                &format!("no greeting within {} s", PATIENCE.as_secs()),
            );
        }
    };
    let facts = json!({
        "version": greeting.version, "max_payload": greeting.max_payload, "jetstream": greeting.jetstream,
        "server_name": greeting.server_name, "tls_required": greeting.tls_required, "auth_required": greeting.auth_required,
    });
    let detail = format!("{} at {shown}", greeting.server_name);
    match version(&greeting.version) {
        Some((major, minor, _)) if (major, minor) < NEEDED => findings.broken(
            Exit::Refused,
            "NATS",
            &greeting.version,
            &format!("{detail}: {}.{} or later is needed", NEEDED.0, NEEDED.1),
        ),
        Some(found) if found < WANTED => findings.warning(
            "NATS",
            &greeting.version,
            &format!("{detail}: works; {}.{}.{} or later is better", WANTED.0, WANTED.1, WANTED.2),
        ),
        _ => findings.ok("NATS", &greeting.version, Some(&detail)),
    }
    findings.facts(facts);
    if greeting.jetstream {
        findings.ok("NATS JetStream", "on", None);
    } else {
        findings.broken(
            Exit::Refused,
            "NATS JetStream",
            "off",
            "start the server with -js, or with `jetstream {}` in its configuration",
        );
    }
    let payload = format!("{} bytes", greeting.max_payload);
    if greeting.max_payload < WANTED_PAYLOAD {
        let detail = format!(
            "larger inputs and outputs are refused; max_payload: 8MB carries all that are accepted ({WANTED_PAYLOAD})"
        );
        findings.warning("NATS max_payload", &payload, &detail);
    } else {
        findings.ok("NATS max_payload", &payload, None);
    }
    let guessed = format!("http://{host}:{MONITOR_PORT}");
    sync_interval(monitor.unwrap_or(&guessed), monitor.is_some(), &greeting, findings).await;
}

async fn greet(host: &str, port: u16) -> Result<Greeting, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(GREETING_BYTES));
    reader.read_line(&mut line).await.map_err(|error| error.to_string())?;
    let json = line.strip_prefix("INFO ").ok_or("what answers there is no NATS server")?;
    serde_json::from_str(json).map_err(|error| format!("the greeting is not understood: {error}"))
}

/// The bus needs no sync; an operator who set one should know what it costs.
async fn sync_interval(monitor: &str, named: bool, greeting: &Greeting, findings: &mut Findings) {
    let what = "NATS sync_interval";
    let asked = async {
        let answer = reqwest::Client::new().get(format!("{}/varz", monitor.trim_end_matches('/'))).timeout(PATIENCE);
        answer.send().await?.error_for_status()?.json::<Value>().await
    };
    let varz = match asked.await {
        Ok(varz) => varz,
        Err(error) if named => {
            return findings.broken(Exit::Unreachable, what, "unknown", &format!("{monitor}: {}", chain(&error)));
        }
        Err(_) => {
            let detail = "the monitoring endpoint does not answer; name it with --nats-monitor URL";
            return findings.note(what, "unknown", detail);
        }
    };
    // A guessed port may belong to another server.
    if varz["server_name"].as_str() != Some(greeting.server_name.as_str()) {
        return findings.note(
            what,
            "unknown",
            &format!("{monitor} is another server; name the right one with --nats-monitor"),
        );
    }
    let config = &varz["jetstream"]["config"];
    let always = config["sync_always"].as_bool().unwrap_or(false);
    let interval = config["sync_interval"].as_u64();
    let facts = json!({"sync_always": always, "sync_interval_ns": interval});
    match (always, interval) {
        (true, _) => findings.warning(
            what,
            "always",
            "every message is synced, at some 5,000 a second; the log is elsewhere, so the bus needs none of it",
        ),
        (false, Some(nanos)) => findings.ok(
            what,
            &format!("{} s", nanos / 1_000_000_000),
            Some("right for a bus: what a crash takes from it, the log gives back"),
        ),
        (false, None) => findings.note(what, "unknown", "the server does not say"),
    }
    findings.facts(facts);
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}
