//! Schedules: executions that begin by themselves, again and again.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use stepstream_shared::id::{ExecutionId, TriggerId};
use stepstream_shared::time::Timestamp;

use crate::answer::Answer;
use crate::client::{Client, percent};
use crate::error::Error;
use crate::steering::{Asker, asked};

/// A schedule as the server shows it; next times and last runs are in [`Answer::json`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Schedule {
    pub schedule_id: TriggerId,
    pub name: String,
    /// active, paused or finished.
    pub status: String,
    /// Names what [`Client::replace_schedule`] is to replace.
    pub revision: u64,
    /// When it is carried out next; none while it is paused, and when it has finished.
    pub next_at: Option<Timestamp>,
}

/// What a schedule was asked to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Triggered {
    pub execution_id: ExecutionId,
    /// False when the same key had come before.
    pub created: bool,
}

/// What a backfill will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Backfilled {
    /// Nominal times in the range.
    pub found: usize,
    /// Those of them that did not wait already.
    pub taken_up: usize,
}

#[derive(Deserialize)]
struct Deleted {
    schedule_id: TriggerId,
}

impl Client {
    /// Makes a schedule from a document, YAML or JSON as its file's name says; with a note, paused.
    ///
    /// # Errors
    /// [`Invalid`](crate::RefusalKind::Invalid) with every problem of the document,
    /// [`NotFound`](crate::RefusalKind::NotFound) for its graph, [`Conflict`](crate::RefusalKind::Conflict) for a name that
    /// is taken.
    pub async fn create_schedule(
        &self,
        file: &str,
        text: String,
        paused: Option<&str>,
        asker: Asker<'_>,
    ) -> Result<Answer<Schedule>, Error> {
        let query = match paused {
            None => String::new(),
            Some("") => "?paused=true".to_owned(),
            Some(note) => format!("?paused=true&note={}", percent(note)),
        };
        self.document(Method::POST, &format!("/v1/schedules{query}"), file, text, asker).await
    }

    /// Gives a schedule, by id or name, another document; with a revision, only if it is still in that.
    ///
    /// # Errors
    /// As of [`Client::create_schedule`]; [`Conflict`](crate::RefusalKind::Conflict) for another revision too.
    pub async fn replace_schedule(
        &self,
        reference: &str,
        file: &str,
        text: String,
        revision: Option<u64>,
        asker: Asker<'_>,
    ) -> Result<Answer<Schedule>, Error> {
        let query = revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
        self.document(Method::PUT, &format!("{}{query}", path(reference)), file, text, asker).await
    }

    /// Changes some fields of a schedule's document by a merge patch (RFC 7396): null takes a field away. With a revision,
    /// only if it is still in that.
    ///
    /// # Errors
    /// As of [`Client::replace_schedule`].
    pub async fn change_schedule(
        &self,
        reference: &str,
        patch: &Value,
        revision: Option<u64>,
        asker: Asker<'_>,
    ) -> Result<Answer<Schedule>, Error> {
        let query = revision.map(|revision| format!("?revision={revision}")).unwrap_or_default();
        let request = asked(self.request(Method::PATCH, &format!("{}{query}", path(reference))), asker)?;
        self.ask(request.json(patch)).await
    }

    async fn document(
        &self,
        method: Method,
        path: &str,
        file: &str,
        text: String,
        asker: Asker<'_>,
    ) -> Result<Answer<Schedule>, Error> {
        let json = file.rsplit('.').next().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let content_type = if json { "application/json" } else { "application/yaml" };
        let request = asked(self.request(method, path), asker)?;
        self.ask(request.header("Content-Type", content_type).body(text)).await
    }

    /// A schedule by id or name, with its next times and last runs.
    ///
    /// # Errors
    /// [`NotFound`](crate::RefusalKind::NotFound).
    pub async fn schedule(&self, reference: &str) -> Result<Answer<Schedule>, Error> {
        self.ask(self.request(Method::GET, &path(reference))).await
    }

    /// Schedules by name, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn schedules(&self, limit: usize) -> Result<Vec<Answer<Schedule>>, Error> {
        self.pages("/v1/schedules", "", limit).await
    }

    /// Holds a schedule: nothing is started, and nominal times pass.
    ///
    /// # Errors
    /// [`NotFound`](crate::RefusalKind::NotFound).
    pub async fn pause_schedule(
        &self,
        reference: &str,
        note: &str,
        asker: Asker<'_>,
    ) -> Result<Answer<Schedule>, Error> {
        let request = asked(self.request(Method::POST, &format!("{}/pause", path(reference))), asker)?;
        self.ask(request.json(&json!({"note": note}))).await
    }

    /// Lets a schedule go on from now.
    ///
    /// # Errors
    /// [`NotFound`](crate::RefusalKind::NotFound).
    pub async fn resume_schedule(&self, reference: &str, asker: Asker<'_>) -> Result<Answer<Schedule>, Error> {
        let request = asked(self.request(Method::POST, &format!("{}/resume", path(reference))), asker)?;
        self.ask(request.json(&json!({}))).await
    }

    /// Starts an execution of a schedule now, whatever else runs; once under a key.
    ///
    /// # Errors
    /// [`NotFound`](crate::RefusalKind::NotFound) for the schedule or its graph.
    pub async fn trigger_schedule(&self, reference: &str, asker: Asker<'_>) -> Result<Answer<Triggered>, Error> {
        let request = asked(self.request(Method::POST, &format!("{}/trigger", path(reference))), asker)?;
        self.ask(request.json(&json!({}))).await
    }

    /// Carries out the nominal times of a range in the past, one after the other or at once; those that were carried out
    /// are not carried out again.
    ///
    /// # Errors
    /// [`Invalid`](crate::RefusalKind::Invalid) for a range that is none or lies in the future,
    /// [`Exhausted`](crate::RefusalKind::Exhausted) for one that is too long.
    pub async fn backfill_schedule(
        &self,
        reference: &str,
        from: Timestamp,
        to: Timestamp,
        at_once: bool,
        asker: Asker<'_>,
    ) -> Result<Answer<Backfilled>, Error> {
        let request = asked(self.request(Method::POST, &format!("{}/backfill", path(reference))), asker)?;
        let body: Value = json!({"from": from, "to": to, "at_once": at_once});
        self.ask(request.json(&body)).await
    }

    /// Forgets a schedule; what it has started goes on.
    ///
    /// # Errors
    /// [`NotFound`](crate::RefusalKind::NotFound).
    pub async fn delete_schedule(&self, reference: &str, asker: Asker<'_>) -> Result<TriggerId, Error> {
        let request = asked(self.request(Method::DELETE, &path(reference)), asker)?;
        Ok(self.ask::<Deleted>(request).await?.schedule_id)
    }
}

fn path(reference: &str) -> String {
    format!("/v1/schedules/{}", percent(reference))
}
