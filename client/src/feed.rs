//! Server-sent events: read as they come, taken up again where they broke off.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::Method;
use serde_json::Value;
use stepstream_shared::id::ExecutionId;

use crate::client::Client;
use crate::error::{Error, Refusal};

/// Between two tries to connect again; doubled each time.
const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(3);
/// Silence after which a connection counts as dead: the server comments every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Longest line that is kept: the largest event and its JSON escapes.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// What a feed brings.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Event(Value),
    /// The execution is over, or the server says that there will be no more.
    End,
    /// The connection broke; it is being made again. Said once per break.
    Lost(String),
}

/// Follows one execution. A server that restarts is waited for: only the caller gives up.
pub struct Feed {
    client: Client,
    path: String,
    /// Sequence of the last event that was seen.
    last: u64,
    body: Option<BoxStream<'static, reqwest::Result<bytes::Bytes>>>,
    lines: Lines,
    rest: Duration,
    /// The first connection was made: from then on, failures to connect are waited out.
    met: bool,
    said_lost: bool,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("path", &self.path).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Client {
    /// The events of an execution as they come, those after `after` first.
    pub fn feed(&self, id: ExecutionId, after: u64) -> Feed {
        Feed::new(self.clone(), format!("/v1/executions/{id}/events"), after)
    }
}

impl Feed {
    fn new(client: Client, path: String, after: u64) -> Self {
        Feed {
            client,
            path,
            last: after,
            body: None,
            lines: Lines::default(),
            rest: FIRST_REST,
            met: false,
            said_lost: false,
        }
    }

    /// The next message. Cancel-safe: nothing that was read is lost with a dropped future.
    ///
    /// # Errors
    /// When the server refuses (another answer will not come), or cannot be reached the first time.
    pub async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(frame) = self.lines.pop() {
                if let Some(message) = self.read(frame)? {
                    return Ok(message);
                }
                continue;
            }
            let Some(body) = &mut self.body else {
                match self.connect().await {
                    Ok(()) => continue,
                    Err(error) if self.met && error.is_passing() => {
                        if !self.said_lost {
                            self.said_lost = true;
                            return Ok(Message::Lost(error.to_string()));
                        }
                        tokio::time::sleep(self.rest).await;
                        self.rest = (self.rest * 2).min(LONGEST_REST);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            };
            match tokio::time::timeout(SILENCE, body.next()).await {
                Ok(Some(Ok(chunk))) => self.lines.push(&chunk)?,
                // The server drained, the connection broke, or nobody is there any more: ask again.
                Ok(None | Some(Err(_))) | Err(_) => {
                    self.body = None;
                    self.lines = Lines::default();
                    tokio::time::sleep(self.rest).await;
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let mut request = self.client.request(Method::GET, &self.path).header("Accept", "text/event-stream");
        if self.last > 0 {
            request = request.header("Last-Event-ID", self.last);
        }
        let response = request.send().await.map_err(|error| self.client.unreachable(&error))?;
        let response = self.client.accepted(response).await?;
        self.body = Some(response.bytes_stream().boxed());
        self.met = true;
        self.said_lost = false;
        self.rest = FIRST_REST;
        Ok(())
    }

    fn read(&mut self, frame: Frame) -> Result<Option<Message>, Error> {
        match frame.event.as_str() {
            "end" => return Ok(Some(Message::End)),
            "problem" => {
                let status = reqwest::StatusCode::INTERNAL_SERVER_ERROR;
                return Err(Error::Refused(Box::new(Refusal::of("the server", status, None, &frame.data))));
            }
            _ if frame.data.is_empty() => return Ok(None),
            _ => {}
        }
        let value: Value = serde_json::from_str(&frame.data).map_err(|error| self.client.odd(error.to_string()))?;
        let sequence = value["sequence"].as_u64().unwrap_or(self.last);
        // A server that does not know the header begins anew.
        if sequence <= self.last {
            return Ok(None);
        }
        self.last = sequence;
        Ok(Some(Message::Event(value)))
    }
}

/// One event as it came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Frame {
    event: String,
    data: String,
}

/// Bytes into frames.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    frame: Frame,
    ready: VecDeque<Frame>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8]) -> Result<(), Error> {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if self.partial.len() > MAX_LINE_BYTES {
                return Err(Error::LineTooLong);
            }
            if self.partial.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&self.partial).trim_end_matches(['\n', '\r']).to_owned();
                self.partial.clear();
                self.line(&line);
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            if frame != Frame::default() {
                self.ready.push_back(frame);
            }
            return;
        }
        // Without a name before the colon it is a comment.
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                if !self.frame.data.is_empty() {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
            }
            _ => {}
        }
    }

    fn pop(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests;
