//! Bytes that steps have stored outside the log.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::artifact::{ArtifactType, Compression};
use stepstream_shared::id::{ArtifactId, ExecutionId, StepId};
use stepstream_shared::time::Timestamp;

use crate::answer::Answer;
use crate::client::{Client, percent};
use crate::error::Error;
use crate::handle::Handle;

/// How long the server may take until it begins to send.
const BEGINS: Duration = Duration::from_secs(40);

/// What is on record of an execution. The record stays when the bytes are collected.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Artifacts {
    pub execution_id: ExecutionId,
    /// Of all contents together.
    pub bytes: u64,
    /// In the order in which they were recorded.
    pub items: Vec<Artifact>,
}

/// One artifact.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Artifact {
    pub artifact_id: ArtifactId,
    pub name: String,
    pub artifact_type: ArtifactType,
    pub content_type: String,
    /// `blake3:` and 64 digits.
    pub digest: String,
    /// Bytes of the content.
    pub size: u64,
    /// Bytes in the store, where that is on record.
    pub stored_size: Option<u64>,
    pub compression: Compression,
    /// Whose attempt stored it; `None` for what the execution was given.
    pub step_id: Option<StepId>,
    pub node: Option<String>,
    pub recorded_at: Timestamp,
    /// Of the event that records it.
    pub sequence: u64,
    /// What whoever stored it said of it.
    pub metadata: Value,
}

/// A content, as it comes. The server checks it against its hash; one that is not what it should be does not end.
#[derive(Debug)]
pub struct Content {
    client: Client,
    response: Response,
}

impl Content {
    /// Bytes in all, as the server announces them.
    pub fn size(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next part; `None` when it is complete.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when it breaks off: what has come is not to be used then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.chunk().await.map_err(|error| self.client.unreachable(&error))
    }

    /// All that is left.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn read(mut self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(part) = self.next().await? {
            all.extend_from_slice(&part);
        }
        Ok(all)
    }
}

impl Handle {
    /// What is on record of bytes outside the log.
    pub async fn artifacts(&self) -> Result<Answer<Artifacts>, Error> {
        self.client().artifacts_of(self.id()).await
    }

    /// The bytes of an artifact, by its id, its content hash, `name` or `node/name`; of several with the name, the last one.
    pub async fn artifact(&self, artifact: &str) -> Result<Content, Error> {
        self.client().content_of(self.id(), artifact).await
    }
}

impl Client {
    async fn artifacts_of(&self, id: ExecutionId) -> Result<Answer<Artifacts>, Error> {
        self.ask(self.request(Method::GET, &format!("/v1/executions/{id}/artifacts"))).await
    }

    /// A content of the tenant by its hash, `blake3:…`, whichever execution has stored it.
    ///
    /// # Errors
    /// [`NotFound`](crate::RefusalKind::NotFound) where the store does not have it, or not any more.
    pub async fn content(&self, digest: &str) -> Result<Content, Error> {
        self.bytes_at(&format!("/v1/artifacts/{}", percent(digest))).await
    }

    async fn content_of(&self, id: ExecutionId, artifact: &str) -> Result<Content, Error> {
        self.bytes_at(&format!("/v1/executions/{id}/artifacts/{}", percent(artifact))).await
    }

    async fn bytes_at(&self, path: &str) -> Result<Content, Error> {
        let request = self.request(Method::GET, path);
        let sent = tokio::time::timeout(BEGINS, request.send()).await.map_err(|_| Error::Unreachable {
            server: self.base().to_owned(),
            why: format!("no answer within {} s", BEGINS.as_secs()),
        })?;
        let response = self.accepted(sent.map_err(|error| self.unreachable(&error))?).await?;
        Ok(Content { client: self.clone(), response })
    }
}
