//! What an operator may choose.

use std::path::PathBuf;
use std::time::Duration;

/// How to reach the server, and what the streams and consumers look like when they are made. Streams and consumers
/// that exist already and differ are refused, never changed.
#[derive(Debug, Clone)]
pub struct JetStreamOptions {
    /// Shown in the server's list of connections.
    pub name: String,
    /// How long the first connection may take. Later ones are tried for ever.
    pub connect_timeout: Duration,
    /// A credentials file (JWT and seed), as an operator-mode server wants it.
    pub credentials: Option<PathBuf>,
    /// Certificates to trust beside the platform's.
    pub root_certificates: Option<PathBuf>,
    /// Replaces `_INBOX` where permissions confine a user to its own inboxes.
    pub inbox_prefix: Option<String>,
    /// 1, or 3 and 5 on a cluster.
    pub replicas: u8,
    /// Writes of the streams are not synced one by one even where the server runs with `sync_interval: always`, which
    /// would cut dispatch to some 5,000 messages a second. Everything here can be rebuilt from the log, so nothing is
    /// lost. One replica only; replicated streams have no such mode.
    pub async_persistence: bool,
    /// How long a delivery may stay silent before somebody else gets it.
    pub ack_wait: Duration,
    /// Deliveries of one consumer that are out at the same time: more than all workers of a queue have slots.
    pub max_ack_pending: u32,
    /// How long a publication is recognised as a copy.
    pub duplicate_window: Duration,
    /// Jobs beyond this are refused, and the coordinator still owes them.
    pub jobs_max_bytes: u64,
    /// Outcomes beyond this are refused, and the worker repeats its report.
    pub outcomes_max_bytes: u64,
    pub commands_max_bytes: u64,
    /// The live feed drops its oldest events beyond this.
    pub events_max_bytes: u64,
    pub events_max_age: Duration,
    pub dead_max_bytes: u64,
}

const MIB: u64 = 1024 * 1024;

impl Default for JetStreamOptions {
    fn default() -> Self {
        JetStreamOptions {
            name: "stepstream".into(),
            connect_timeout: Duration::from_secs(5),
            credentials: None,
            root_certificates: None,
            inbox_prefix: None,
            replicas: 1,
            async_persistence: false,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 20_000,
            duplicate_window: Duration::from_secs(120),
            // A server reserves these when it makes the streams, so their sum has to fit a small disk.
            jobs_max_bytes: 1024 * MIB,
            outcomes_max_bytes: 1024 * MIB,
            commands_max_bytes: 128 * MIB,
            events_max_bytes: 512 * MIB,
            events_max_age: Duration::from_secs(3600),
            dead_max_bytes: 64 * MIB,
        }
    }
}
