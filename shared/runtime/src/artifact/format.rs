//! How an object is stored: a header of 16 bytes that says how to read it, then the content, compressed or not.
//!
//! | bytes | hold |
//! |---|---|
//! | 0–3 | `SSA1` |
//! | 4 | compression: 0 none, 1 zstd |
//! | 5–7 | zero |
//! | 8–15 | bytes of the content, little-endian |
//!
//! What a reader does follows from the object, never from how the store is set up today.

use std::io::{self, Write};

use stepstream_shared::artifact::{Compression, MAX_ARTIFACT_BYTES};

pub(super) const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 4] = b"SSA1";
/// Level of zstd: its own default.
const LEVEL: i32 = 3;
/// So much of a content tells whether compressing pays.
const SAMPLE_BYTES: usize = 64 * 1024;
/// Smaller contents are stored as they are.
const LEAST_BYTES: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) compression: Compression,
    pub(super) size: u64,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4] = match self.compression {
            Compression::None => 0,
            Compression::Zstd => 1,
        };
        bytes[8..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, String> {
        if &bytes[..4] != MAGIC {
            return Err("it does not begin like an artifact".to_owned());
        }
        let compression = match bytes[4..8] {
            [0, 0, 0, 0] => Compression::None,
            [1, 0, 0, 0] => Compression::Zstd,
            _ => return Err(format!("it is stored in a way ({}) that this build does not know", bytes[4])),
        };
        let mut size = [0; 8];
        size.copy_from_slice(&bytes[8..]);
        let size = u64::from_le_bytes(size);
        if size > MAX_ARTIFACT_BYTES {
            return Err(format!("it claims to have {size} bytes; the limit is {MAX_ARTIFACT_BYTES}"));
        }
        Ok(Header { compression, size })
    }
}

/// Whether compressing pays, by the beginning of a content.
pub(super) fn compression_for(beginning: &[u8]) -> Compression {
    let sample = &beginning[..beginning.len().min(SAMPLE_BYTES)];
    if sample.len() < LEAST_BYTES {
        return Compression::None;
    }
    match zstd::bulk::compress(sample, LEVEL) {
        // A twentieth less is worth the work of every reader.
        Ok(compressed) if compressed.len() + sample.len() / 20 < sample.len() => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Writes a content in the form that was chosen for it.
pub(super) enum Encoder<W: Write> {
    Plain(W),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(compression: Compression, to: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Encoder::Plain(to),
            Compression::Zstd => Encoder::Zstd(Box::new(zstd::stream::write::Encoder::new(to, LEVEL)?)),
        })
    }

    pub(super) fn write(&mut self, part: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(to) => to.write_all(part),
            Encoder::Zstd(encoder) => encoder.write_all(part),
        }
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Plain(to) => Ok(to),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}
