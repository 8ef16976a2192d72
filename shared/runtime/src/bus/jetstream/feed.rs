//! The live feed: events for whoever watches, dropped rather than waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::core::Core;

/// Events that wait to be published. Beyond it they are dropped: a watcher sees the gap and asks the log.
const BACKLOG: usize = 8192;
/// Publications under way. Their acknowledgements are read, so that the server is never sent more than it takes.
const IN_FLIGHT: usize = 512;

pub(super) struct Feed {
    events: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

pub(super) struct Event {
    pub(super) subject: String,
    pub(super) id: String,
    pub(super) body: Bytes,
}

impl Feed {
    pub(super) fn start(core: &Arc<Core>) -> Self {
        let (events, backlog) = mpsc::channel(BACKLOG);
        let dropped = Arc::new(AtomicU64::new(0));
        let (core, failed) = (core.clone(), dropped.clone());
        tokio::spawn(async move {
            let stop = core.stop.clone();
            let publishing = ReceiverStream::new(backlog)
                .for_each_concurrent(IN_FLIGHT, move |event| publish(core.clone(), failed.clone(), event));
            stop.run_until_cancelled(publishing).await;
        });
        Feed { events, dropped }
    }

    pub(super) fn offer(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn publish(core: Arc<Core>, failed: Arc<AtomicU64>, event: Event) {
    let Event { subject, id, body } = event;
    let headers = || {
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        headers.insert("Content-Type", "application/json");
        headers
    };
    if let Err(error) = core.publish(subject, headers, body).await {
        failed.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%error, "an event did not reach the live feed");
    }
}
