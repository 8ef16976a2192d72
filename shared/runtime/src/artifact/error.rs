//! What can go wrong with artifacts, each in words of its own.

use stepstream_shared::artifact::ContentHash;

/// Why an artifact was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("the artifact store has no {0}: it was collected, or never stored")]
    NotFound(ContentHash),
    /// What is there is not what the hash says, or not readable at all.
    #[error("the artifact {digest} is corrupt: {reason}")]
    Corrupt { digest: ContentHash, reason: String },
    #[error("the artifact is {found} bytes; the limit is {limit} (artifact limit)")]
    TooLarge { found: u64, limit: u64 },
    /// The place has no room left, or a quota is used up.
    #[error("the artifact store is full: {0}")]
    Full(String),
    #[error("the artifact store refuses: {0}")]
    Denied(String),
    /// Another try may succeed.
    #[error("the artifact store cannot be reached: {0}")]
    Unavailable(String),
    /// What was to be stored could not be read.
    #[error("the content cannot be read: {0}")]
    Content(std::io::Error),
    /// Where the artifacts are was said in a way that means nothing.
    #[error("{0}")]
    BadUrl(String),
}

impl ArtifactError {
    /// Another try may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, ArtifactError::Unavailable(_))
    }

    pub(super) fn io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ArtifactError::Full(error.to_string())
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ArtifactError::Denied(error.to_string())
            }
            _ => ArtifactError::Unavailable(error.to_string()),
        }
    }
}

/// The cause decides, and all of them are told.
impl From<object_store::Error> for ArtifactError {
    fn from(error: object_store::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        let mut io = None;
        while let Some(each) = cause {
            if let Some(found) = each.downcast_ref::<std::io::Error>() {
                io = Some(ArtifactError::io(found));
            }
            let said = each.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = each.source();
        }
        match (error, io) {
            (_, Some(ArtifactError::Full(_))) => ArtifactError::Full(text),
            (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }, _)
            | (_, Some(ArtifactError::Denied(_))) => ArtifactError::Denied(text),
            _ => ArtifactError::Unavailable(text),
        }
    }
}
