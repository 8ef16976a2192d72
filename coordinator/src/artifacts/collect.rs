//! Takes away what no log refers to.
//!
//! The logs are the reference counts: what any of them names, in a record or in a value, stays. What is young stays too,
//! because its log may be about to name it: an attempt stores first and reports when it ends.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use stepstream_runtime::artifact::{ArtifactError, ArtifactStore, LEAST_GRACE, TakenAway};
use stepstream_shared::artifact::ContentHash;
use stepstream_shared::event::artifact::contents;
use stepstream_shared::event::codec::{self, CodecError};
use stepstream_shared::id::{ExecutionId, TenantId};

use crate::ports::{EventStore, StoreError};

/// Executions, and appends of one, that are read at a time.
const PAGE: u32 = 512;

/// What was found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Logs that were read.
    pub executions: u64,
    pub objects: u64,
    pub bytes: u64,
    /// Objects that some log refers to.
    pub referenced: u64,
    /// Objects that no log refers to, and that are too young to be taken away, or that somebody else is taking away.
    pub young: u64,
    /// Objects that were taken away, or would be.
    pub deleted: u64,
    pub deleted_bytes: u64,
}

/// Why nothing more was collected. What was deleted before was rightly deleted.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("the grace is {found:?}; it is at least {LEAST_GRACE:?}, so that what is under way is safe")]
    Grace { found: Duration },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// It may refer to anything.
    #[error("the log of {execution} cannot be read, so nothing is collected: {source}")]
    Log {
        execution: ExecutionId,
        #[source]
        source: CodecError,
    },
}

/// Deletes what no log of the store refers to and was last written longer ago than `older_than`; with `dry_run` only
/// counts it. May run beside coordinators and workers.
pub async fn collect(
    store: &dyn EventStore,
    artifacts: &ArtifactStore,
    older_than: Duration,
    dry_run: bool,
) -> Result<Collected, CollectError> {
    if older_than < LEAST_GRACE {
        return Err(CollectError::Grace { found: older_than });
    }
    let mut collected = Collected::default();
    // Decided before the logs are read: what is written from here on is younger.
    let border = SystemTime::now().checked_sub(older_than).unwrap_or(SystemTime::UNIX_EPOCH);
    let referenced = referenced(store, &mut collected).await?;
    let mut listed = Box::pin(artifacts.list(None));
    while let Some(object) = listed.try_next().await? {
        collected.objects += 1;
        collected.bytes += object.stored_size;
        let key = (object.tenant, object.digest);
        if referenced.contains(&key) {
            collected.referenced += 1;
        } else if object.modified >= border {
            collected.young += 1;
        } else {
            let (tenant, digest) = &key;
            if !dry_run {
                // Somebody may have put it again since it was listed, or be just about to.
                match artifacts.take_away(tenant, digest, border).await? {
                    TakenAway::Deleted | TakenAway::Missing => {}
                    TakenAway::Young | TakenAway::Busy => {
                        collected.young += 1;
                        continue;
                    }
                }
            }
            collected.deleted += 1;
            collected.deleted_bytes += object.stored_size;
        }
    }
    Ok(collected)
}

/// Everything that the logs of a store refer to.
async fn referenced(
    store: &dyn EventStore,
    collected: &mut Collected,
) -> Result<HashSet<(TenantId, ContentHash)>, CollectError> {
    let mut found = HashSet::new();
    let mut after = None;
    loop {
        let page = store.logged(after, PAGE).await?;
        let Some((_, last, _)) = page.last() else { return Ok(found) };
        after = Some(*last);
        for (tenant, execution, _) in page {
            collected.executions += 1;
            let mut read_to = 0;
            loop {
                let appends = store.read(&tenant, execution, read_to, PAGE).await?;
                let Some(last) = appends.last() else { break };
                read_to = last.last_seq;
                for append in &appends {
                    let mut recorded =
                        codec::decode(&append.body).map_err(|source| CollectError::Log { execution, source })?;
                    found.extend(contents(&mut recorded.events).into_iter().map(|digest| (tenant.clone(), digest)));
                }
            }
        }
    }
}
