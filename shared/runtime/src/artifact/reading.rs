//! Out of the store: part by part, within the size that the object claims, and checked against its key.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStoreExt;
use stepstream_shared::artifact::{Compression, ContentHash};
use stepstream_shared::id::TenantId;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::format::{HEADER_BYTES, Header};
use super::{ArtifactError, Inner};

/// Content is given in parts of at most this many bytes.
const PART_BYTES: usize = 128 * 1024;

/// A content that is being read.
pub struct ArtifactReader {
    digest: ContentHash,
    header: Header,
    stored: BoxStream<'static, object_store::Result<Bytes>>,
    /// Stored bytes that were taken from the stream and not read yet.
    rest: Bytes,
    decoder: Option<Decoder<'static>>,
    hasher: Box<blake3::Hasher>,
    read: u64,
    /// The part before this one is known to be good; this one waits for the next, or for the end.
    held: Option<Bytes>,
    ready: VecDeque<Bytes>,
    over: bool,
}

pub(super) async fn open(
    inner: &Inner,
    tenant: &TenantId,
    digest: &ContentHash,
) -> Result<ArtifactReader, ArtifactError> {
    let digest = *digest;
    let found = match inner.objects.get(&inner.key(tenant, &digest)).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Err(ArtifactError::NotFound(digest)),
        Err(error) => return Err(error.into()),
    };
    let corrupt = |reason: String| ArtifactError::Corrupt { digest, reason };
    let mut stored = found.into_stream();
    let mut begin = Vec::new();
    while begin.len() < HEADER_BYTES {
        match stored.next().await {
            Some(part) => begin.extend_from_slice(&part?),
            None => return Err(corrupt("it ends before it has begun".to_owned())),
        }
    }
    let mut begin = Bytes::from(begin);
    let rest = begin.split_off(HEADER_BYTES);
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&begin);
    let header = Header::read(&header).map_err(corrupt)?;
    let decoder = match header.compression {
        Compression::None => None,
        Compression::Zstd => Some(Decoder::new().map_err(|error| corrupt(error.to_string()))?),
    };
    Ok(ArtifactReader {
        digest,
        header,
        stored,
        rest,
        decoder,
        hasher: Box::default(),
        read: 0,
        held: None,
        ready: VecDeque::new(),
        over: false,
    })
}

impl ArtifactReader {
    /// Bytes of the content, as the object claims; more are never given.
    pub fn size(&self) -> u64 {
        self.header.size
    }

    pub fn compression(&self) -> Compression {
        self.header.compression
    }

    /// The next part; `None` after the last one, which is held back until the whole content is known to be good.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if self.over {
                return Ok(None);
            }
            if self.rest.is_empty() {
                match self.stored.next().await {
                    Some(part) => self.rest = part?,
                    None => self.end()?,
                }
                continue;
            }
            self.decode()?;
        }
    }

    fn corrupt(&self, reason: impl Into<String>) -> ArtifactError {
        ArtifactError::Corrupt { digest: self.digest, reason: reason.into() }
    }

    /// Takes one part out of what is there.
    fn decode(&mut self) -> Result<(), ArtifactError> {
        let part = match &mut self.decoder {
            None => self.rest.split_to(self.rest.len().min(PART_BYTES)),
            Some(decoder) => {
                let mut part = vec![0; PART_BYTES];
                let mut input = InBuffer::around(&self.rest);
                let mut output = OutBuffer::around(&mut part[..]);
                let told = decoder.run(&mut input, &mut output);
                let (taken, given) = (input.pos(), output.pos());
                told.map_err(|error| self.corrupt(format!("its compression is broken: {error}")))?;
                if taken == 0 && given == 0 {
                    return Err(self.corrupt("its compression does not go on"));
                }
                let _ = self.rest.split_to(taken);
                part.truncate(given);
                part.into()
            }
        };
        self.take(part)
    }

    fn take(&mut self, part: Bytes) -> Result<(), ArtifactError> {
        if part.is_empty() {
            return Ok(());
        }
        self.read += part.len() as u64;
        if self.read > self.header.size {
            return Err(self.corrupt(format!("it has more than the {} bytes that it claims", self.header.size)));
        }
        self.hasher.update(&part);
        self.ready.extend(self.held.replace(part));
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArtifactError> {
        // What a frame had no room for yet.
        if let Some(decoder) = &mut self.decoder {
            let mut left = Vec::new();
            loop {
                let mut part = vec![0; PART_BYTES];
                let mut output = OutBuffer::around(&mut part[..]);
                let mut input = InBuffer::around(&[]);
                let told = decoder.run(&mut input, &mut output);
                let given = output.pos();
                if told.is_err() || given == 0 {
                    break;
                }
                part.truncate(given);
                left.push(Bytes::from(part));
            }
            for part in left {
                self.take(part)?;
            }
        }
        if self.read != self.header.size {
            return Err(self.corrupt(format!("it has {} of the {} bytes that it claims", self.read, self.header.size)));
        }
        let found = ContentHash::from_bytes(*self.hasher.finalize().as_bytes());
        if found != self.digest {
            return Err(self.corrupt(format!("its content has the hash {found}")));
        }
        self.ready.extend(self.held.take());
        self.over = true;
        Ok(())
    }
}
