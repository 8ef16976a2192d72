//! Taking objects away while others put them.
//!
//! Places for objects cannot delete one on the condition that it is still old. So whoever takes an object away first puts a
//! mark beside it and then looks how old it is; whoever puts content first makes the object young and then looks for the
//! mark. Whatever the order, one of them sees the other: the collector a young object, which it leaves, or the writer a
//! mark, at whose end it looks whether the object is still there and writes it again if it is not.

use std::time::{Duration, SystemTime};

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};
use stepstream_shared::artifact::ContentHash;
use stepstream_shared::id::TenantId;

use super::{ArtifactError, Inner};

/// What the key of a mark ends with. No object's does.
pub(super) const MARK: &str = ".collecting";
/// A collector that has not deleted the object so long after its mark does not do it any more.
const TAKES_AT_MOST: Duration = Duration::from_secs(30);
/// A mark that is older was left behind by a collector that died. Far beyond [`TAKES_AT_MOST`], because its age is told by
/// the clocks of two machines, and by a collector that may have stood still.
const ABANDONED_AFTER: Duration = Duration::from_secs(5 * 60);

/// What became of an object that is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenAway {
    Deleted,
    /// It was put again meanwhile.
    Young,
    Missing,
    /// Somebody else is taking it away, or has left it half done: another time.
    Busy,
}

pub(super) fn mark_of(key: &Path) -> Path {
    Path::from(format!("{key}{MARK}"))
}

/// Whether the object is just being taken away.
pub(super) async fn is_marked(inner: &Inner, mark: &Path) -> Result<bool, ArtifactError> {
    match inner.objects.head(mark).await {
        Ok(meta) => {
            let age = SystemTime::now().duration_since(meta.last_modified.into()).unwrap_or_default();
            Ok(age < ABANDONED_AFTER)
        }
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Deletes an object that was last written before `border`.
pub(super) async fn take_away(
    inner: &Inner,
    tenant: &TenantId,
    digest: &ContentHash,
    border: SystemTime,
) -> Result<TakenAway, ArtifactError> {
    let key = inner.key(tenant, digest);
    let mark = mark_of(&key);
    let until = tokio::time::Instant::now() + TAKES_AT_MOST;
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match inner.objects.put_opts(&mark, PutPayload::from_static(b"being deleted"), create).await {
        Ok(_) => {}
        Err(object_store::Error::AlreadyExists { .. }) => {
            if !is_marked(inner, &mark).await? {
                unmark(inner, &mark).await?;
            }
            return Ok(TakenAway::Busy);
        }
        Err(error) => return Err(error.into()),
    }
    let late = || ArtifactError::Unavailable(format!("deleting took longer than {TAKES_AT_MOST:?}"));
    let became = match tokio::time::timeout_at(until, inner.objects.head(&key)).await {
        Ok(Ok(meta)) if SystemTime::from(meta.last_modified) >= border => Ok(TakenAway::Young),
        // After an error the mark stays until it counts as abandoned: the deletion may be on its way still.
        Ok(Ok(_)) => match tokio::time::timeout_at(until, inner.objects.delete(&key)).await.map_err(|_| late())? {
            Ok(()) => Ok(TakenAway::Deleted),
            Err(object_store::Error::NotFound { .. }) => Ok(TakenAway::Missing),
            Err(error) => return Err(error.into()),
        },
        Ok(Err(object_store::Error::NotFound { .. })) => Ok(TakenAway::Missing),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(late()),
    };
    unmark(inner, &mark).await?;
    became
}

async fn unmark(inner: &Inner, mark: &Path) -> Result<(), ArtifactError> {
    match inner.objects.delete(mark).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
