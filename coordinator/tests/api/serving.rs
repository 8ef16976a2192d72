//! Over a real socket: what only a connection shows.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use stepstream_coordinator::api::{ApiLimits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{ECHO, HELD, Server, within};

struct Listening {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

async fn listen(server: &Server) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let limits = ApiLimits { header_timeout: Duration::from_millis(300), ..ApiLimits::default() };
    let served = tokio::spawn(serve(listener, server.router.clone(), limits, shutdown.clone()));
    Listening { address, shutdown, served }
}

/// A connection on which a request was written.
struct Connection {
    stream: TcpStream,
    text: String,
}

impl Connection {
    async fn get(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Connection { stream, text: String::new() }
    }

    async fn read_until(&mut self, wanted: &str) {
        within(wanted, async {
            let mut buffer = [0; 4096];
            while !self.text.contains(wanted) {
                let read = self.stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "closed before {wanted:?}: {}", self.text);
                self.text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        })
        .await;
    }

    async fn read_to_end(&mut self) {
        within("the connection ends", async {
            let mut rest = Vec::new();
            self.stream.read_to_end(&mut rest).await.unwrap();
            self.text.push_str(&String::from_utf8_lossy(&rest));
        })
        .await;
    }
}

#[tokio::test]
async fn a_feed_is_live_over_a_connection_and_resumed_on_another() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let listening = listen(&server).await;
    let path = format!("/v1/executions/{id}/events");
    let mut first = Connection::get(listening.address, &path, "Accept: text/event-stream\r\n").await;
    first.read_until("event: step_scheduled").await;
    assert!(first.text.starts_with("HTTP/1.1 200"), "{}", first.text);
    let seen = first.text.matches("\nid: ").count();
    drop(first);

    server.release(3);
    let headers = format!("Accept: text/event-stream\r\nConnection: close\r\nLast-Event-ID: {seen}\r\n");
    let mut second = Connection::get(listening.address, &path, &headers).await;
    second.read_to_end().await;
    assert!(second.text.contains("event: end"), "{}", second.text);
    assert!(second.text.contains(&format!("\nid: {}\n", seen + 1)), "{}", second.text);
    assert!(!second.text.contains(&format!("\nid: {seen}\n")), "{}", second.text);
    listening.shutdown.cancel();
    within("the server stops", listening.served).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_feeds_and_answers_waits() {
    let server = Server::new().await;
    server.register(HELD).await;
    let id = server.begin("held", json!({})).await;
    let listening = listen(&server).await;
    let path = format!("/v1/executions/{id}/events");
    let mut feed = Connection::get(listening.address, &path, "Accept: text/event-stream\r\n").await;
    feed.read_until("event: step_scheduled").await;
    let path = format!("/v1/executions/{id}/wait?timeout_ms=60000");
    let mut wait = Connection::get(listening.address, &path, "").await;
    // Another answer on a connection opened later: the wait's request has been taken up as well.
    let mut probe = Connection::get(listening.address, "/livez", "Connection: close\r\n").await;
    probe.read_to_end().await;

    let began = std::time::Instant::now();
    listening.shutdown.cancel();
    feed.read_to_end().await;
    assert!(!feed.text.contains("event: end"), "the execution has not ended: {}", feed.text);
    wait.read_to_end().await;
    assert!(wait.text.starts_with("HTTP/1.1 200") && wait.text.contains("\"Running\""), "{}", wait.text);
    within("the server stops", listening.served).await.unwrap();
    assert!(began.elapsed().as_secs() < 10, "nothing had to be cut");
    assert!(TcpStream::connect(listening.address).await.is_err(), "nothing new is accepted");
    server.stop().await;
}

#[tokio::test]
async fn the_sender_of_a_hundred_megabytes_gets_to_read_the_answer() {
    let server = Server::new().await;
    let listening = listen(&server).await;
    let length = 100 * 1024 * 1024;
    for framing in [format!("Content-Length: {length}\r\n"), "Transfer-Encoding: chunked\r\n".to_owned()] {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        let head = format!(
            "POST /v1/executions HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n{framing}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b' '; 1024 * 1024];
        let chunked = framing.starts_with("Transfer");
        for _ in 0..100 {
            if chunked {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
            }
            stream.write_all(&piece).await.unwrap();
            if chunked {
                stream.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunked {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let mut answer = String::new();
        within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("limit of request bodies"), "{answer}");
    }
    listening.shutdown.cancel();
    within("the server stops", listening.served).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_during_a_shutdown() {
    let server = Server::new().await;
    server.register(ECHO).await;
    let listening = listen(&server).await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    let body = "{\"graph\": \"echo\"}";
    let head = format!(
        "POST /v1/executions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut probe = Connection::get(listening.address, "/livez", "Connection: close\r\n").await;
    probe.read_to_end().await;
    listening.shutdown.cancel();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    within("the server stops", listening.served).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn who_takes_too_long_for_its_headers_is_cut_and_others_are_answered() {
    let server = Server::new().await;
    let listening = listen(&server).await;
    for beginning in ["", "GET /livez HTTP/1.1\r\nHost: te", "GET /livez HTTP/1.1\r\nHost: test\r\n\r\nGET /li"] {
        let mut slow = TcpStream::connect(listening.address).await.unwrap();
        slow.write_all(beginning.as_bytes()).await.unwrap();
        let mut other = Connection::get(listening.address, "/livez", "Connection: close\r\n").await;
        other.read_to_end().await;
        assert!(other.text.starts_with("HTTP/1.1 200"), "{}", other.text);
        let mut slow = Connection { stream: slow, text: String::new() };
        slow.read_to_end().await;
        assert_eq!(slow.text.matches("HTTP/1.1 200").count(), beginning.matches("\r\n\r\n").count(), "{}", slow.text);
    }
    listening.shutdown.cancel();
    within("the server stops", listening.served).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn who_takes_too_long_for_its_body_is_told_so_and_cut() {
    let server = Server::with(ApiLimits { body_timeout: Duration::from_millis(200), ..ApiLimits::default() }).await;
    let listening = listen(&server).await;
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        let head = format!(
            "POST /v1/executions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{framing}\r\n\r\n1"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Connection { stream, text: String::new() };
        answer.read_to_end().await;
        assert!(answer.text.starts_with("HTTP/1.1 408") && answer.text.contains("body time limit"), "{}", answer.text);
    }
    listening.shutdown.cancel();
    within("the server stops", listening.served).await.unwrap();
    server.stop().await;
}
