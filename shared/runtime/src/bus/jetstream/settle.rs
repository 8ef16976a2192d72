//! What a delivery's reply subject says, and what is said to it.

use std::time::Duration;

use async_nats::{Client, Message, Subject};
use async_trait::async_trait;
use bytes::Bytes;

use super::connect::REQUEST_TIMEOUT;
use crate::bus::{BusError, Settle};

/// The server's account of a delivery, read from its reply subject:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<nanos>.<pending>[.…]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) deliveries: u64,
    pub(super) published_nanos: u64,
}

impl Stamp {
    pub(super) fn of(message: &Message) -> Option<Self> {
        Stamp::parse(message.reply.as_ref()?.as_str())
    }

    fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let skip = match rest.split('.').count() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut numbers = rest.split('.').skip(skip);
        let deliveries = numbers.next()?.parse().ok()?;
        let published_nanos = numbers.nth(2)?.parse().ok()?;
        Some(Stamp { deliveries, published_nanos })
    }
}

/// Settles one delivery by a message to its reply subject.
///
/// These messages are queued, not confirmed: one that is lost with the connection costs another delivery, which
/// everybody here expects. A confirmed acknowledgement would cost a round trip, and its client-side helper takes any
/// answer for a yes.
pub(super) struct JetStreamSettle {
    client: Client,
    reply: Option<Subject>,
}

impl JetStreamSettle {
    pub(super) fn new(client: Client, message: &Message) -> Self {
        JetStreamSettle { client, reply: message.reply.clone() }
    }

    async fn say(&self, word: Bytes) -> Result<(), BusError> {
        let Some(reply) = self.reply.clone() else { return Ok(()) };
        // While the connection is down the client's queue fills up; nobody should hang on that.
        match tokio::time::timeout(REQUEST_TIMEOUT, self.client.publish(reply, word)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BusError::Unavailable(error.to_string())),
            Err(_) => Err(BusError::Unavailable("the connection takes no messages".into())),
        }
    }

    /// It must never be delivered again, whoever asks.
    pub(super) async fn terminate(&self) -> Result<(), BusError> {
        self.say(Bytes::from_static(b"+TERM")).await
    }
}

#[async_trait]
impl Settle for JetStreamSettle {
    async fn ack(&self) -> Result<(), BusError> {
        self.say(Bytes::from_static(b"+ACK")).await
    }

    async fn progress(&self) -> Result<(), BusError> {
        self.say(Bytes::from_static(b"+WPI")).await
    }

    async fn nak(&self, delay: Option<Duration>) -> Result<(), BusError> {
        match delay {
            None => self.say(Bytes::from_static(b"-NAK")).await,
            Some(delay) => self.say(Bytes::from(format!(r#"-NAK {{"delay":{}}}"#, delay.as_nanos()))).await,
        }
    }
}

#[cfg(test)]
mod tests;
