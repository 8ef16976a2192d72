//! The language between a host and its sandbox: a length of four bytes, then that much JSON.

use std::io::{self, Read, Write};

/// Longest frame: a value of the payload limit may take several times as much as JSON text.
pub(crate) const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

pub(crate) fn encode(message: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length as usize <= MAX_FRAME_BYTES);
    let length = length.ok_or_else(|| io::Error::other("the message is longer than a frame"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

pub(crate) fn length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_FRAME_BYTES { Err(io::Error::other("the frame is longer than frames are")) } else { Ok(length) }
}

/// The next message; `None` where the other side is gone.
pub(crate) fn read<T: serde::de::DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut body = vec![0; length(head)?];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

pub(crate) fn write(to: &mut impl Write, message: &impl serde::Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.flush()
}
