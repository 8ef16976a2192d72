//! The artifact store: bytes under the hash of what they are, once for each tenant.
//!
//! An object's key is `<tenant>/<first two digits>/<hash>`, so nothing that a user names stands in a path. Whatever is put is
//! durable when [`ArtifactStore::put`] returns; whatever is read was checked against its key, or the reading ends with
//! [`ArtifactError::Corrupt`]. One implementation speaks to every kind of place through `object_store`.

mod address;
mod collecting;
mod error;
mod format;
mod reading;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use stepstream_shared::artifact::{Compression, ContentHash};
use stepstream_shared::id::TenantId;

pub use address::ArtifactsUrl;
pub use collecting::TakenAway;
pub use error::ArtifactError;
pub use reading::ArtifactReader;

/// An object that is put again is written again when it is older than this, so that the collector, which leaves alone what is
/// young, does not take away what somebody is about to refer to.
pub const REFRESH_AFTER: Duration = Duration::from_secs(10 * 60);
/// Youngest age at which an object may be collected: well beyond [`REFRESH_AFTER`].
pub const LEAST_GRACE: Duration = Duration::from_secs(3600);

/// What was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub digest: ContentHash,
    /// Bytes of the content.
    pub size: u64,
    /// Bytes in the store.
    pub stored_size: u64,
    pub compression: Compression,
    /// False when the store had it already.
    pub written: bool,
}

/// An object, as a list names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub tenant: TenantId,
    pub digest: ContentHash,
    pub stored_size: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// A store of artifacts. Cheap to clone.
#[derive(Clone)]
pub struct ArtifactStore(Arc<Inner>);

struct Inner {
    objects: Arc<dyn ObjectStore>,
    /// What stands before every key.
    prefix: Path,
    /// Of a filesystem: the folder, whose entries are synced here.
    folder: Option<PathBuf>,
    /// For people.
    name: String,
}

impl std::fmt::Debug for ArtifactStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ArtifactStore").field(&self.0.name).finish()
    }
}

impl std::fmt::Display for ArtifactStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl ArtifactStore {
    /// Over any place for objects: what tests put their faults into.
    pub fn over(objects: Arc<dyn ObjectStore>, prefix: Path, name: impl Into<String>) -> Self {
        ArtifactStore(Arc::new(Inner { objects, prefix, folder: None, name: name.into() }))
    }

    /// Forgets everything with the process.
    pub fn in_memory() -> Self {
        Self::over(Arc::new(object_store::memory::InMemory::new()), Path::default(), "memory")
    }

    /// Makes the content durable under its hash. The same content again costs a look.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] beyond [`MAX_ARTIFACT_BYTES`](stepstream_shared::artifact::MAX_ARTIFACT_BYTES),
    /// [`ArtifactError::Full`] when the place has no room, [`ArtifactError::Unavailable`] when it cannot be reached. Nothing
    /// is there then that was not there before.
    pub async fn put(&self, tenant: &TenantId, content: Bytes) -> Result<Stored, ArtifactError> {
        writing::put(&self.0, tenant, content).await
    }

    /// As [`Self::put`], for what does not fit into memory. It is read once, into a temporary file.
    pub async fn put_stream(
        &self,
        tenant: &TenantId,
        content: impl futures::Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
    ) -> Result<Stored, ArtifactError> {
        writing::put_stream(&self.0, tenant, content).await
    }

    /// The content, checked against its hash.
    ///
    /// # Errors
    /// [`ArtifactError::NotFound`], [`ArtifactError::Corrupt`] when it is not what its hash says, [`ArtifactError::TooLarge`]
    /// when it has more than `limit` bytes.
    pub async fn get(&self, tenant: &TenantId, digest: &ContentHash, limit: u64) -> Result<Bytes, ArtifactError> {
        let mut reader = self.open(tenant, digest).await?;
        if reader.size() > limit {
            return Err(ArtifactError::TooLarge { found: reader.size(), limit });
        }
        let mut content = Vec::with_capacity(usize::try_from(reader.size()).unwrap_or(0));
        while let Some(part) = reader.next().await? {
            content.extend_from_slice(&part);
        }
        Ok(content.into())
    }

    /// The content, part by part. The last part is given only when all of them are what the hash says.
    pub async fn open(&self, tenant: &TenantId, digest: &ContentHash) -> Result<ArtifactReader, ArtifactError> {
        reading::open(&self.0, tenant, digest).await
    }

    pub async fn exists(&self, tenant: &TenantId, digest: &ContentHash) -> Result<bool, ArtifactError> {
        match self.0.objects.head(&self.0.key(tenant, digest)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// When the object was last written; `None` when there is none.
    pub async fn modified(&self, tenant: &TenantId, digest: &ContentHash) -> Result<Option<SystemTime>, ArtifactError> {
        match self.0.objects.head(&self.0.key(tenant, digest)).await {
            Ok(meta) => Ok(Some(meta.last_modified.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the object away if it was last written before `border`, so that nobody who has put it since, or is just
    /// putting it, is told that it is durable and loses it.
    pub async fn take_away(
        &self,
        tenant: &TenantId,
        digest: &ContentHash,
        border: SystemTime,
    ) -> Result<TakenAway, ArtifactError> {
        collecting::take_away(&self.0, tenant, digest, border).await
    }

    /// Takes the object away, whoever may be putting it; false when there was none. Collectors use [`Self::take_away`].
    pub async fn delete(&self, tenant: &TenantId, digest: &ContentHash) -> Result<bool, ArtifactError> {
        // Places differ in what they say of an object that is not there.
        if !self.exists(tenant, digest).await? {
            return Ok(false);
        }
        match self.0.objects.delete(&self.0.key(tenant, digest)).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Every object of a tenant, or of all; what lies among them and is no object of ours is left out.
    pub fn list(
        &self,
        tenant: Option<&TenantId>,
    ) -> impl futures::Stream<Item = Result<Listed, ArtifactError>> + Send + 'static {
        let inner = Arc::clone(&self.0);
        let prefix = match tenant {
            Some(tenant) => inner.prefix.clone().join(tenant.as_str()),
            None => inner.prefix.clone(),
        };
        let listed = inner.objects.list(Some(&prefix));
        listed
            .map_err(ArtifactError::from)
            .try_filter_map(move |meta| {
                let listed = inner.address(&meta.location).map(|(tenant, digest)| Listed {
                    tenant,
                    digest,
                    stored_size: meta.size,
                    modified: meta.last_modified.into(),
                });
                async move { Ok(listed) }
            })
            .boxed()
    }
}

impl Inner {
    fn key(&self, tenant: &TenantId, digest: &ContentHash) -> Path {
        let hex = digest.hex();
        self.prefix.clone().join(tenant.as_str()).join(&hex[..2]).join(hex.as_str())
    }

    /// What a key names; `None` for a key that this store would not have made.
    fn address(&self, key: &Path) -> Option<(TenantId, ContentHash)> {
        let mut parts = key.prefix_match(&self.prefix)?;
        let tenant = parts.next()?.as_ref().parse::<TenantId>().ok()?;
        let (folder, name) = (parts.next()?, parts.next()?);
        let digest = ContentHash::from_hex(name.as_ref()).ok()?;
        (parts.next().is_none() && name.as_ref().starts_with(folder.as_ref()) && folder.as_ref().len() == 2)
            .then_some((tenant, digest))
    }
}

#[cfg(test)]
mod tests;
