//! Asks a PostgreSQL server one question. A few dozen lines of its protocol, so that the runtime needs no database
//! client to find out whether a server is up and whose it is.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Creating a database copies a few megabytes and may wait for a checkpoint.
const PATIENCE: Duration = Duration::from_secs(30);

/// Largest message that is read: the answers to our questions are short.
const LONGEST: usize = 1 << 20;

/// Runs one statement as a user that needs no password, and answers with the first column of its last row.
pub(super) async fn ask(port: u16, user: &str, database: &str, sql: &str) -> io::Result<Option<String>> {
    tokio::time::timeout(PATIENCE, talk(port, user, database, sql))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")))
}

async fn talk(port: u16, user: &str, database: &str, sql: &str) -> io::Result<Option<String>> {
    const PROTOCOL: u32 = 3 << 16;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut startup = PROTOCOL.to_be_bytes().to_vec();
    for text in ["user", user, "database", database] {
        startup.extend_from_slice(text.as_bytes());
        startup.push(0);
    }
    startup.push(0);
    stream.write_all(&framed(None, &startup)).await?;
    until_ready(&mut stream).await?;

    let mut query = sql.as_bytes().to_vec();
    query.push(0);
    stream.write_all(&framed(Some(b'Q'), &query)).await?;
    let answer = until_ready(&mut stream).await?;
    stream.write_all(&framed(Some(b'X'), &[])).await?;
    Ok(answer)
}

fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(body.len() + 5);
    message.extend(kind);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    message
}

/// Reads up to `ReadyForQuery`.
async fn until_ready(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut answer = None;
    let mut failure = None;
    loop {
        let kind = match stream.read_u8().await {
            Ok(kind) => kind,
            // A fatal error is followed by the end of the connection.
            Err(error) => return Err(failure.unwrap_or(error)),
        };
        let length = (stream.read_u32().await? as usize).saturating_sub(4);
        if length > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "what answers does not speak PostgreSQL's protocol",
            ));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        match kind {
            b'R' if body != [0, 0, 0, 0] => {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the server asks for a password"));
            }
            b'D' => answer = first_column(&body),
            b'E' => failure = Some(io::Error::other(error_text(&body))),
            b'Z' => return failure.map_or(Ok(answer), Err),
            _ => {}
        }
    }
}

fn first_column(row: &[u8]) -> Option<String> {
    let length = u32::from_be_bytes(row.get(2..6)?.try_into().ok()?) as usize;
    Some(String::from_utf8_lossy(row.get(6..6 + length)?).into_owned())
}

/// The field `M` of an error: what went wrong, for people.
fn error_text(body: &[u8]) -> String {
    let message = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"M"));
    message.map_or("an error without a message".to_owned(), |text| String::from_utf8_lossy(text).into_owned())
}
