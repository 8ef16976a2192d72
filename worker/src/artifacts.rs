//! Bytes outside the log: what callables store and read, and what is moved for them.
//!
//! What is stored is in the store before the attempt goes on, and on record with its outcome. An attempt that dies in
//! between leaves bytes that nothing refers to, which the collector takes away.

mod moving;

use std::path::Path;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use serde::Serialize;
use stepstream_runtime::artifact::{ArtifactError, ArtifactReader, ArtifactStore, Stored};
use stepstream_shared::artifact::{
    Artifact, ArtifactType, DEFAULT_INLINE_BYTES, MAX_ATTEMPT_ARTIFACTS, MAX_MOVED_BYTES, Reference, artifact_id,
};
use stepstream_shared::data::{Data, DataError};
use stepstream_shared::error::ErrorCategory;
use stepstream_shared::event::Note;
use tokio_util::io::ReaderStream;

use crate::context::Context;
use crate::failure::Failure;
use crate::notes::NoteError;

pub use bytes::Bytes;
pub(crate) use moving::{input_of, output_of};

/// The artifact store of a worker, and what it moves there by itself.
#[derive(Debug, Clone)]
pub struct Artifacts {
    pub(crate) store: ArtifactStore,
    /// Outputs larger than this are put away.
    pub(crate) inline_bytes: usize,
}

impl Artifacts {
    pub fn new(store: ArtifactStore) -> Self {
        Artifacts { store, inline_bytes: DEFAULT_INLINE_BYTES }
    }

    /// Outputs larger than this, in bytes as stored, are put into the store by themselves.
    pub fn inline_bytes(self, inline_bytes: usize) -> Self {
        Artifacts { inline_bytes, ..self }
    }
}

/// What an artifact is to be called.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    name: String,
    artifact_type: ArtifactType,
    content_type: Option<String>,
    metadata: Result<Data, DataError>,
}

impl NewArtifact {
    pub fn new(name: impl Into<String>, artifact_type: ArtifactType) -> Self {
        NewArtifact { name: name.into(), artifact_type, content_type: None, metadata: Ok(Data::null()) }
    }

    /// Instead of that of its type.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Whatever is to be found again in the record; at most
    /// [`MAX_METADATA_BYTES`](stepstream_shared::artifact::MAX_METADATA_BYTES).
    pub fn metadata(mut self, metadata: impl Serialize) -> Self {
        self.metadata = Data::of(&metadata);
        self
    }

    /// Its record, without what only the store can say. Everything that can be refused is refused here.
    fn describe(self) -> Result<Artifact, ArtifactFailure> {
        let NewArtifact { name, artifact_type, content_type, metadata } = self;
        let content_type = content_type.unwrap_or_else(|| artifact_type.content_type().to_owned());
        let described = Artifact {
            name,
            artifact_type,
            content_type,
            digest: stepstream_shared::artifact::ContentHash::from_bytes([0; 32]),
            size: 0,
            stored_size: 0,
            compression: Default::default(),
            metadata: metadata?,
        };
        match described.problem() {
            Some(problem) => Err(NoteError::Refused(problem).into()),
            None => Ok(described),
        }
    }
}

/// Why an artifact was not stored or read. As a [`Failure`] it says whether another attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactFailure {
    #[error("this worker has no artifact store: start it with --artifacts, or build it with `.artifacts(…)`")]
    NoStore,
    #[error(transparent)]
    Store(#[from] ArtifactError),
    #[error("an attempt stores at most {MAX_ATTEMPT_ARTIFACTS} artifacts")]
    TooMany,
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("the content cannot be recorded: {0}")]
    Value(#[from] DataError),
    #[error("the content cannot be read: {0}")]
    Content(#[from] std::io::Error),
}

impl From<ArtifactFailure> for Failure {
    fn from(failure: ArtifactFailure) -> Self {
        let message = failure.to_string();
        let new = |category, code: &str| Failure::new(category, message.clone()).code(code);
        match failure {
            // Another worker of the queue may have one, so it is tried again.
            ArtifactFailure::NoStore => new(ErrorCategory::NetworkError, "no_artifact_store"),
            ArtifactFailure::TooMany => new(ErrorCategory::QuotaExceeded, "artifact_limit"),
            ArtifactFailure::Note(_) | ArtifactFailure::Value(_) => {
                new(ErrorCategory::ValidationError, "output_invalid")
            }
            ArtifactFailure::Content(error) => Failure::from(error),
            ArtifactFailure::Store(error) => match error {
                ArtifactError::NotFound(_) => new(ErrorCategory::KernelInternal, "artifact_not_found"),
                ArtifactError::Corrupt { .. } => new(ErrorCategory::KernelInternal, "artifact_corrupt"),
                ArtifactError::TooLarge { .. } => new(ErrorCategory::ValidationError, "artifact_too_large"),
                ArtifactError::Full(_) => new(ErrorCategory::QuotaExceeded, "artifact_store_full"),
                ArtifactError::Denied(_) => new(ErrorCategory::PolicyViolation, "artifact_store_denied"),
                ArtifactError::BadUrl(_) => new(ErrorCategory::ValidationError, "invalid_request"),
                ArtifactError::Unavailable(_) => new(ErrorCategory::NetworkError, "artifact_store_unavailable"),
                ArtifactError::Content(error) => Failure::from(error),
            },
        }
    }
}

impl Context {
    fn shelf(&self) -> Result<&Arc<Artifacts>, ArtifactFailure> {
        self.artifacts().ok_or(ArtifactFailure::NoStore)
    }

    /// Stores bytes and puts them on record with the outcome of this attempt. The reference may stand anywhere in the output;
    /// whoever gets it reads it with [`Self::read_artifact`]. The same content under the same name, also from another
    /// attempt at this step, is the same artifact.
    ///
    /// # Errors
    /// Whenever the bytes are not durable, or the record is not one.
    pub async fn store_artifact(
        &self,
        artifact: NewArtifact,
        content: impl Into<Bytes>,
    ) -> Result<Reference, ArtifactFailure> {
        let shelf = self.shelf()?;
        let described = self.describe(artifact)?;
        let stored = shelf.store.put(self.tenant(), content.into()).await?;
        self.record(described, stored)
    }

    /// As [`Self::store_artifact`], for what does not fit into memory.
    pub async fn store_artifact_stream(
        &self,
        artifact: NewArtifact,
        content: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
    ) -> Result<Reference, ArtifactFailure> {
        let shelf = self.shelf()?;
        let described = self.describe(artifact)?;
        let stored = shelf.store.put_stream(self.tenant(), content).await?;
        self.record(described, stored)
    }

    /// Stores what a file holds.
    pub async fn store_artifact_file(
        &self,
        artifact: NewArtifact,
        path: impl AsRef<Path>,
    ) -> Result<Reference, ArtifactFailure> {
        let file = tokio::fs::File::open(path).await?;
        self.store_artifact_stream(artifact, ReaderStream::with_capacity(file, 256 * 1024).boxed()).await
    }

    /// Stores a text.
    pub async fn store_text(&self, name: &str, text: impl Into<String>) -> Result<Reference, ArtifactFailure> {
        let artifact = NewArtifact::new(name, ArtifactType::Text).content_type("text/plain; charset=utf-8");
        self.store_artifact(artifact, text.into()).await
    }

    /// Stores a value as JSON, for people to read.
    pub async fn store_json(&self, name: &str, value: &impl Serialize) -> Result<Reference, ArtifactFailure> {
        let json =
            serde_json::to_vec_pretty(value).map_err(|_| DataError::Malformed { reason: "not JSON-like", at: 0 })?;
        self.store_artifact(NewArtifact::new(name, ArtifactType::Json), json).await
    }

    /// What a reference names: at most [`MAX_MOVED_BYTES`]; for more there is [`Self::open_artifact`].
    ///
    /// # Errors
    /// When it is not there (any more), or not what its hash says.
    pub async fn read_artifact(&self, reference: &Reference) -> Result<Bytes, ArtifactFailure> {
        Ok(self.shelf()?.store.get(self.tenant(), &reference.digest, MAX_MOVED_BYTES).await?)
    }

    /// What a reference names, part by part. Its last part is given only when the whole is what its hash says.
    pub async fn open_artifact(&self, reference: &Reference) -> Result<ArtifactReader, ArtifactFailure> {
        Ok(self.shelf()?.store.open(self.tenant(), &reference.digest).await?)
    }

    /// As far as it can be said before anything is stored.
    fn describe(&self, artifact: NewArtifact) -> Result<Artifact, ArtifactFailure> {
        let described = artifact.describe()?;
        if self.stored_artifacts() >= MAX_ATTEMPT_ARTIFACTS {
            return Err(ArtifactFailure::TooMany);
        }
        Ok(described)
    }

    fn record(&self, described: Artifact, stored: Stored) -> Result<Reference, ArtifactFailure> {
        let (artifact, reference) = self.recorded(described, stored);
        self.note(Note::Artifact(Box::new(artifact)))?;
        Ok(reference)
    }

    /// Records the output that was put away, beside whatever else is on record: the work is done.
    fn record_output(&self, described: Artifact, stored: Stored) -> Reference {
        let (artifact, reference) = self.recorded(described, stored);
        self.keep_output(Note::Artifact(Box::new(artifact)));
        reference
    }

    fn recorded(&self, described: Artifact, stored: Stored) -> (Artifact, Reference) {
        let Stored { digest, size, stored_size, compression, .. } = stored;
        let artifact = Artifact { digest, size, stored_size, compression, ..described };
        let id = artifact_id(self.execution(), Some(self.step()), &artifact.name, &digest);
        let reference = Reference { id, digest, size, content_type: artifact.content_type.clone() };
        (artifact, reference)
    }
}

#[cfg(test)]
mod tests;
