//! The connection: one attempt to make it that fails clearly, then kept for ever.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use super::options::JetStreamOptions;
use super::version;
use crate::bus::BusError;

/// The longest pause between attempts to reconnect: a server that comes back is found within seconds.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(2);
const FIRST_RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Management requests and publications that are not answered by then are given up.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The client, and a count of reconnections: whatever was asked of the server before one of them has to be asked again.
pub(super) async fn connect(url: &str, options: &JetStreamOptions) -> Result<(Client, watch::Receiver<u64>), BusError> {
    // Two libraries in one process may each have picked a provider; the first one stays, and either will do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let shown = without_password(url);
    let failed = |reason: &dyn std::fmt::Display| BusError::Unavailable(format!("{shown}: {reason}"));

    let servers = url
        .split(',')
        .map(|server| server.trim().parse::<ServerAddr>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| BusError::BadUrl(format!("{shown:?} is no NATS URL such as nats://host:4222")))?;

    let (reconnected, reconnects) = watch::channel(0);
    let mut connecting = ConnectOptions::new()
        .name(&options.name)
        .connection_timeout(options.connect_timeout)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_pause)
        .event_callback(move |event| {
            note(&event, &reconnected);
            std::future::ready(())
        });
    // The client library leaves what a URL says about the user to us.
    if let Some(server) = servers.iter().find(|server| server.has_user_pass()) {
        let (user, password) = (server.username().unwrap_or_default(), server.password());
        connecting = match password {
            Some(password) => connecting.user_and_password(decoded(user), decoded(password)),
            None => connecting.token(decoded(user)),
        };
    }
    if let Some(prefix) = &options.inbox_prefix {
        connecting = connecting.custom_inbox_prefix(prefix);
    }
    if let Some(path) = &options.root_certificates {
        connecting = connecting.add_root_certificates(path.clone());
    }
    if let Some(path) = &options.credentials {
        connecting = connecting.credentials_file(path).await.map_err(|error| {
            BusError::Misconfigured(format!("the credentials file {} cannot be used: {error}", path.display()))
        })?;
    }

    let client = match tokio::time::timeout(options.connect_timeout, connecting.connect(servers)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => return Err(failed(&format_args!("no answer within {:?}", options.connect_timeout))),
    };
    version::admit(&client.server_info().version)?;
    Ok((client, reconnects))
}

fn note(event: &Event, reconnected: &watch::Sender<u64>) {
    match event {
        // The lowest bit says "connected": the very first connection is not a reconnection.
        Event::Disconnected => {
            tracing::warn!("the connection to nats-server is lost");
            reconnected.send_if_modified(|count| {
                *count |= 1;
                false
            });
        }
        Event::Connected => {
            let again = reconnected.send_if_modified(|count| {
                let was_lost = *count & 1 == 1;
                if was_lost {
                    *count += 1;
                }
                was_lost
            });
            if again {
                tracing::info!("connected to nats-server again");
            }
        }
        Event::SlowConsumer(subscription) => tracing::warn!(subscription, "a subscription could not keep up"),
        Event::ServerError(error) => tracing::warn!(%error, "nats-server refused something"),
        Event::ClientError(error) => tracing::warn!(%error, "the NATS client failed"),
        Event::LameDuckMode => tracing::info!("nats-server is shutting down; another one will be used"),
        Event::Draining | Event::Closed => tracing::debug!(%event, "the NATS connection ends"),
    }
}

/// Twice as long each time.
fn reconnect_pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    FIRST_RECONNECT_PAUSE.saturating_mul(1 << doublings).min(MAX_RECONNECT_PAUSE)
}

/// A part of a URL without its percent signs. One that is no escape stands for itself.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// URLs end up in logs and on terminals.
fn without_password(url: &str) -> String {
    let servers = url.split(',').map(|server| match (server.find("://"), server.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}***{}", &server[..scheme + 3], &server[at..]),
        (None, Some(at)) => format!("***{}", &server[at..]),
        _ => server.to_owned(),
    });
    servers.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
