//! Bodies: read within their limits, and JSON checked before anything is built from it.
//!
//! The check is a first pass that builds nothing. It bounds nesting and the number of nodes, because a few bytes of
//! JSON can become hundreds in memory, and it refuses a key that stands twice, because of two values one is lost.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use stepstream_shared::data::MAX_NODES;
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::limits::{REFUSED_BODY_BYTES, REFUSED_BODY_TIME};
use super::problem::{Fault, Problem};
use super::request::single;

/// Longest text of a JSON error that is passed on: it quotes what it met.
const SHOWN_BYTES: usize = 300;

/// A body, and the room it takes up.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

/// A JSON body that may be left out altogether.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let received = receive(request, api).await?;
        parse_object(&received.bytes, api.limits.json_depth).map(Json)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Api> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let typed = request.headers().contains_key(header::CONTENT_TYPE);
        let checked = require_json(request.headers());
        if typed {
            checked.clone()?;
        }
        let received = receive(request, api).await?;
        if received.bytes.is_empty() {
            return Ok(OptionalJson(T::default()));
        }
        checked?;
        parse_object(&received.bytes, api.limits.json_depth).map(OptionalJson)
    }
}

/// The media type of the body without its parameters, in lower case.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = single(headers, "Content-Type")? else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::invalid_header("Content-Type", "it is not text"))?;
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let foreign = parts.find(|parameter| {
        parameter.to_ascii_lowercase().strip_prefix("charset=").is_some_and(|set| set.trim_matches('"') != "utf-8")
    });
    match foreign {
        None => Ok(Some(media_type)),
        Some(charset) => Err(Problem::wrong_content_type(Some(&format!("{media_type}; {charset}")), "UTF-8")),
    }
}

/// A body without a type is refused as well: web pages of strangers can send those to a server on this machine.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    const JSON: &str = "application/json";
    match content_type(headers)?.as_deref() {
        Some(JSON) => Ok(()),
        found => Err(Problem::wrong_content_type(found, JSON)),
    }
}

/// Room in units of 1 KiB, rounded up.
pub(super) fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(u32::MAX >> 3)
}

/// The whole body, if it is within the limits and there is room for it now.
pub(super) async fn receive(request: Request, api: &Api) -> Result<Received, Problem> {
    let limit = api.limits.body_timeout;
    tokio::time::timeout(limit, receive_all(request, api)).await.unwrap_or_else(|_| Err(Problem::slow_body(limit)))
}

async fn receive_all(request: Request, api: &Api) -> Result<Received, Problem> {
    let limit = api.limits.body_bytes;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut chunks = request.into_body().into_data_stream();
    if announced.is_some_and(|length| length > limit) {
        discard(chunks).await;
        return Err(body_too_large(limit));
    }
    let room = Arc::clone(&api.bodies).try_acquire_many_owned(permits(announced.unwrap_or(limit)));
    let mut room = room.map_err(|_| Problem::overloaded_bodies(api.limits.bodies_bytes))?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::unreadable_body(error.to_string()))?;
        if bytes.len() + chunk.len() > limit {
            drop(bytes);
            discard(chunks).await;
            return Err(body_too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    // A body of unknown length was given room for the longest.
    let spare = room.num_permits().saturating_sub(permits(bytes.len()) as usize);
    drop(room.split(spare));
    Ok(Received { bytes: bytes.freeze(), _room: room })
}

fn body_too_large(limit: usize) -> Problem {
    Problem::too_large(format!("the body is larger than {limit} bytes (limit of request bodies)"))
}

/// Reads on for a while without keeping anything. A sender that is still sending when the connection closes sees it
/// reset, and not the answer that says why.
async fn discard(mut chunks: axum::body::BodyDataStream) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            seen += chunk.len();
            if seen > REFUSED_BODY_BYTES {
                break;
            }
        }
    };
    // Running out of time only means that this sender is cut.
    let _ = tokio::time::timeout(REFUSED_BODY_TIME, reading).await;
}

/// A value from JSON, with the place of the first fault otherwise.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, Problem> {
    let invalid = |error: serde_json::Error| Problem::invalid_body(Fault::plain(describe(&error)));
    let mut nodes = 0;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Check { depth, left: depth, nodes: &mut nodes }.deserialize(&mut reader).map_err(invalid)?;
    reader.end().map_err(invalid)?;
    serde_json::from_slice(bytes).map_err(invalid)
}

/// A list would be read as the fields of the body in the order of their declaration, an empty one as none of them.
fn parse_object<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, Problem> {
    let found = parse(bytes, depth);
    let before = &bytes[..bytes.len() - bytes.trim_ascii_start().len()];
    if found.is_err() || bytes.get(before.len()) != Some(&b'[') {
        return found;
    }
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let detail = format!("the body is an object, not a list, at line {line} column {column}");
    Err(Problem::invalid_body(Fault::plain(detail)))
}

/// An error with its place, and what it quotes cut short.
fn describe(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let cut = (0..=SHOWN_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let dots = if cut < text.len() { "…" } else { "" };
    // What is read twice has lost its place.
    let place = if error.line() == 0 { "" } else { &place };
    format!("{}{dots}{place}", &text[..cut])
}

/// Walks one value.
struct Check<'a> {
    depth: usize,
    left: usize,
    nodes: &'a mut usize,
}

impl Check<'_> {
    fn count<E: de::Error>(&mut self) -> Result<(), E> {
        *self.nodes += 1;
        if *self.nodes > MAX_NODES {
            return Err(E::custom(format_args!("the body has more than {MAX_NODES} nodes (node limit)")));
        }
        Ok(())
    }

    /// One level down.
    fn inside<E: de::Error>(&mut self) -> Result<Check<'_>, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Check { depth: self.depth, left, nodes: self.nodes }),
            None => Err(E::custom(format_args!("the body nests deeper than {} levels (depth limit)", self.depth))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<(), D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        loop {
            let inside = self.inside()?;
            if items.next_element_seed(inside)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.count()?;
            if seen.contains(&key) {
                return Err(de::Error::custom(format_args!("the key `{key}` stands twice in one object")));
            }
            seen.insert(key);
            let inside = self.inside()?;
            entries.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
