//! The bounds of the API. Reaching one is an answer that names it, and never costs what was accepted before.

use std::time::Duration;

/// What one server gives at most. Every field has a default that suits a machine with two cores and 2 GiB.
#[derive(Debug, Clone)]
pub struct ApiLimits {
    /// Largest body of a request, in bytes: twice the largest stored value, so that its JSON form still fits.
    pub body_bytes: usize,
    /// Room for all bodies that are being worked on, in bytes. Bodies wait in memory, and a thousand large ones at a
    /// time are more than a machine has.
    pub bodies_bytes: usize,
    /// Deepest nesting of a JSON body; as deep as a stored value may be, because decoders recurse.
    pub json_depth: usize,
    /// Requests being answered at a time. One more is refused at once: a queue would only make everybody late.
    pub concurrent_requests: usize,
    /// Longest a connection may take to send the headers of a request, the first or the next one: a sender that takes
    /// for ever costs a connection for ever.
    pub header_timeout: Duration,
    /// Longest a request may take to send its body; less than `request_timeout`, so that the answer says what was slow.
    pub body_timeout: Duration,
    /// Longest a request may take. Feeds and waits have their own bounds.
    pub request_timeout: Duration,
    /// Feeds and waits open at a time: each holds an execution's state in memory and reads the log for hours.
    pub streams: usize,
    /// Silence after which a feed sends a comment: proxies cut connections that are silent for half a minute.
    pub feed_comment_after: Duration,
    /// A page of events ends after this many bytes, with at least one event: a single event can hold megabytes.
    pub page_bytes: usize,
}

impl Default for ApiLimits {
    fn default() -> Self {
        ApiLimits {
            body_bytes: 8 * 1024 * 1024,
            bodies_bytes: 256 * 1024 * 1024,
            json_depth: 64,
            concurrent_requests: 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(30),
            streams: 256,
            feed_comment_after: Duration::from_secs(15),
            page_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Items on a page when the request does not say.
pub(super) const PAGE_DEFAULT: u32 = 100;
/// Largest metadata of a start, in bytes of MessagePack: it is in memory with every list of events.
pub(super) const METADATA_MAX: usize = 16 * 1024;
/// Most items on a page.
pub(super) const PAGE_MAX: u32 = 1000;
/// Longest idempotency key, in characters: stored with the execution, so it has a bound.
pub(super) const IDEMPOTENCY_KEY_MAX: usize = 255;
/// Longest request id that is taken over from a caller, in characters: it stands in every log line of the request.
pub(super) const REQUEST_ID_MAX: usize = 128;
/// Longest reference to a graph, in bytes: a name, `@` and a version.
pub(super) const REFERENCE_MAX_BYTES: usize = 512;
/// How long a wait lasts when the request does not say: below the patience of common proxies.
pub(super) const WAIT_DEFAULT: Duration = Duration::from_secs(25);
/// Longest a wait lasts; whoever wants more asks again.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a feed looks at the log when no hint comes: another coordinator's work gives none.
pub(super) const FEED_POLL: Duration = Duration::from_millis(250);
/// How long the checks of readiness may take: an orchestrator asks every few seconds.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(2);
/// How long open connections have after a shutdown began; then they are cut.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// How much of a refused body is still read, so that its sender gets to see the answer instead of a reset connection.
pub(super) const REFUSED_BODY_BYTES: usize = 128 * 1024 * 1024;
/// How long a refused body is read.
pub(super) const REFUSED_BODY_TIME: Duration = Duration::from_secs(5);
