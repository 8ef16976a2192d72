//! Into the store: hashed, compressed where it pays, and durable before it is acknowledged.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use stepstream_shared::artifact::{ContentHash, MAX_ARTIFACT_BYTES};
use stepstream_shared::id::TenantId;

use super::collecting::{is_marked, mark_of};
use super::format::{Encoder, HEADER_BYTES, Header, compression_for};
use super::{ArtifactError, Inner, REFRESH_AFTER, Stored};

/// Contents of which at most this much is known are kept in memory; more goes through a temporary file.
const IN_MEMORY_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a part of a large upload.
const UPLOAD_BYTES: usize = 8 * 1024 * 1024;
/// Parts of an upload that are on their way at once.
const UPLOADS: usize = 2;
/// How often, and how far apart, it is looked whether somebody still takes the object away that is put: a deletion takes
/// one request.
const LOOKS: u32 = 100;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

pub(super) async fn put(inner: &Inner, tenant: &TenantId, content: Bytes) -> Result<Stored, ArtifactError> {
    let size = content.len() as u64;
    if size > MAX_ARTIFACT_BYTES {
        return Err(ArtifactError::TooLarge { found: size, limit: MAX_ARTIFACT_BYTES });
    }
    // Hashing and compressing takes long enough to hold up whoever shares this thread.
    let encoding = tokio::task::spawn_blocking(move || {
        let header = Header { compression: compression_for(&content), size };
        let mut encoded = Vec::with_capacity(HEADER_BYTES + content.len());
        encoded.extend_from_slice(&header.to_bytes());
        let mut encoder = Encoder::new(header.compression, encoded)?;
        encoder.write(&content)?;
        Ok::<_, std::io::Error>((header, ContentHash::of(&content), encoder.finish()?))
    });
    let (header, digest, encoded) = encoding
        .await
        .map_err(|error| ArtifactError::Unavailable(error.to_string()))?
        .map_err(|error| ArtifactError::io(&error))?;
    let stored_size = encoded.len() as u64;
    let stored = Stored { digest, size, stored_size, compression: header.compression, written: true };
    store(inner, tenant, stored, &Encoded::Here(encoded.into())).await
}

pub(super) async fn put_stream(
    inner: &Inner,
    tenant: &TenantId,
    mut content: impl futures::Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
) -> Result<Stored, ArtifactError> {
    let mut begin = BytesMut::new();
    while begin.len() <= IN_MEMORY_BYTES {
        match content.next().await {
            Some(part) => begin.extend_from_slice(&part.map_err(ArtifactError::Content)?),
            None => return put(inner, tenant, begin.freeze()).await,
        }
    }
    let mut spool = Some(Spool::begin(&begin).map_err(|error| ArtifactError::io(&error))?);
    let mut next = Some(begin.freeze());
    while let Some(part) = next {
        let Some(mut writing) = spool.take() else { break };
        let written = tokio::task::spawn_blocking(move || writing.write(&part).map(|()| writing));
        let writing = written
            .await
            .map_err(|error| ArtifactError::Unavailable(error.to_string()))?
            .map_err(|error| ArtifactError::io(&error))?;
        if writing.size > MAX_ARTIFACT_BYTES {
            return Err(ArtifactError::TooLarge { found: writing.size, limit: MAX_ARTIFACT_BYTES });
        }
        spool = Some(writing);
        next = match content.next().await {
            Some(part) => Some(part.map_err(ArtifactError::Content)?),
            None => None,
        };
    }
    let Some(spool) = spool else { return Err(ArtifactError::Unavailable("the content was lost".to_owned())) };
    let (stored, file) = spool.finish().map_err(|error| ArtifactError::io(&error))?;
    store(inner, tenant, stored, &Encoded::Spooled(file)).await
}

/// An object on its way into the store.
enum Encoded {
    Here(Bytes),
    Spooled(std::fs::File),
}

impl Encoded {
    async fn write(&self, inner: &Inner, key: &Path) -> Result<(), ArtifactError> {
        match self {
            Encoded::Here(bytes) if bytes.len() > UPLOAD_BYTES => {
                upload(inner, key, std::io::Cursor::new(bytes.clone())).await
            }
            Encoded::Here(bytes) => {
                inner.objects.put(key, PutPayload::from(bytes.clone())).await?;
                Ok(())
            }
            Encoded::Spooled(file) => {
                let mut again = file.try_clone().map_err(|error| ArtifactError::io(&error))?;
                again.rewind().map_err(|error| ArtifactError::io(&error))?;
                upload(inner, key, again).await
            }
        }
    }
}

/// Sees to it that the object is there and stays, whoever is just taking it away.
async fn store(inner: &Inner, tenant: &TenantId, stored: Stored, encoded: &Encoded) -> Result<Stored, ArtifactError> {
    let key = inner.key(tenant, &stored.digest);
    let mark = mark_of(&key);
    let mut written = false;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        let there = found(inner, &key, stored.stored_size).await?;
        if there.is_none_or(|age| !written && age >= REFRESH_AFTER) {
            encoded.write(inner, &key).await?;
            written = true;
        }
        // In this order: what is found after a look that saw no mark is not deleted by anybody who has not yet seen that
        // it is young.
        if !is_marked(inner, &mark).await? && found(inner, &key, stored.stored_size).await?.is_some() {
            sync_folders(inner, tenant).await?;
            return Ok(Stored { written, ..stored });
        }
    }
    Err(ArtifactError::Unavailable(format!("{} is just being collected; another try stores it", stored.digest)))
}

/// A content on its way through a temporary file, in the form in which it is stored.
struct Spool {
    header: Header,
    hasher: Box<blake3::Hasher>,
    size: u64,
    encoder: Encoder<std::io::BufWriter<std::fs::File>>,
}

impl Spool {
    fn begin(beginning: &[u8]) -> std::io::Result<Self> {
        let mut file = std::io::BufWriter::new(tempfile::tempfile()?);
        // Its size is known at the end.
        let header = Header { compression: compression_for(beginning), size: 0 };
        file.write_all(&header.to_bytes())?;
        Ok(Spool { header, hasher: Box::default(), size: 0, encoder: Encoder::new(header.compression, file)? })
    }

    fn write(&mut self, part: &[u8]) -> std::io::Result<()> {
        self.size += part.len() as u64;
        self.hasher.update(part);
        self.encoder.write(part)
    }

    fn finish(self) -> std::io::Result<(Stored, std::fs::File)> {
        let mut file = self.encoder.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let stored_size = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        file.write_all(&Header { size: self.size, ..self.header }.to_bytes())?;
        file.rewind()?;
        let digest = ContentHash::from_bytes(*self.hasher.finalize().as_bytes());
        let compression = self.header.compression;
        Ok((Stored { digest, size: self.size, stored_size, compression, written: true }, file))
    }
}

/// How old the object is that is there; `None` when there is none, or one that is not as long as it ought to be.
async fn found(inner: &Inner, key: &Path, stored_size: u64) -> Result<Option<Duration>, ArtifactError> {
    match inner.objects.head(key).await {
        Ok(meta) if meta.size == stored_size => {
            Ok(Some(SystemTime::now().duration_since(meta.last_modified.into()).unwrap_or_default()))
        }
        Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// In parts; nothing is there before the last one is.
async fn upload(inner: &Inner, key: &Path, from: impl Read + Send + 'static) -> Result<(), ArtifactError> {
    let upload = inner.objects.put_multipart(key).await?;
    let mut parts = WriteMultipart::new_with_chunk_size(upload, UPLOAD_BYTES);
    let mut from = Some(from);
    while let Some(mut source) = from.take() {
        let read = tokio::task::spawn_blocking(move || {
            let mut part = Vec::new();
            source.by_ref().take(UPLOAD_BYTES as u64).read_to_end(&mut part).map(|_| (part, source))
        });
        let read = read.await.map_err(|error| ArtifactError::Unavailable(error.to_string()));
        let (part, source) = match read.and_then(|read| read.map_err(|error| ArtifactError::io(&error))) {
            Ok(read) => read,
            Err(error) => {
                let _ = parts.abort().await;
                return Err(error);
            }
        };
        if part.is_empty() {
            break;
        }
        parts.wait_for_capacity(UPLOADS).await?;
        parts.put(part.into());
        from = Some(source);
    }
    parts.finish().await?;
    Ok(())
}

/// `object_store` syncs the file and the folders that it has made itself. A folder that somebody else is just making may not
/// be durable yet when its first file is; so the folders above are synced whoever made them.
async fn sync_folders(inner: &Inner, tenant: &TenantId) -> Result<(), ArtifactError> {
    let Some(folder) = inner.folder.clone() else { return Ok(()) };
    let tenant = folder.join(tenant.as_str());
    let synced = tokio::task::spawn_blocking(move || {
        for each in [&tenant, &folder] {
            std::fs::File::open(each)?.sync_all()?;
        }
        Ok::<_, std::io::Error>(())
    });
    synced
        .await
        .map_err(|error| ArtifactError::Unavailable(error.to_string()))?
        .map_err(|error| ArtifactError::io(&error))
}
