//! Connections: taken, answered, and closed when their senders take too long.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::closing::Closing;
use super::limits::{ApiLimits, DRAIN};

/// Serves until the token is cancelled: then nothing new is accepted, feeds and waits end, requests that are being
/// answered get their answer, and after a grace whatever is still open is cut.
pub async fn serve(mut listener: TcpListener, router: Router, limits: ApiLimits, shutdown: CancellationToken) {
    let router = router.layer(axum::Extension(Closing(shutdown.clone())));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            // Only so that those that have ended take up no room.
            Some(_) = open.join_next() => {}
            (stream, _) = Listener::accept(&mut listener) => {
                open.spawn(answer(stream, http.clone(), router.clone(), shutdown.clone()));
            }
        }
    }
    drop(listener);
    let ended = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::warn!(after = ?DRAIN, "connections are cut that did not end in time");
    }
}

async fn answer(stream: TcpStream, http: http1::Builder, router: Router, shutdown: CancellationToken) {
    let service = service_fn(|request: Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
