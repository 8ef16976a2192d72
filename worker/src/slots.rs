//! How many attempts run at once, and how the queues of a worker share that.
//!
//! A pull takes exactly as many jobs as there are free slots: a job that waits inside one worker cannot run on another.
//! A pull that waits on an empty queue holds its slots, so with several queues each asks for its share; one that waits
//! while another queue could use the slots gives them back after its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long an idle queue may keep slots that another queue waits for.
const TURN: Duration = Duration::from_millis(250);

/// The slots of a worker.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    total: usize,
    queues: usize,
    /// Queues that wait for a slot.
    waiting: AtomicUsize,
}

/// The right to run some attempts. Dropping it frees the slots, on every path.
pub(crate) struct Slot(OwnedSemaphorePermit);

impl Slots {
    pub(crate) fn new(total: usize, queues: usize) -> Arc<Self> {
        Arc::new(Slots {
            free: Arc::new(Semaphore::new(total)),
            total,
            queues: queues.max(1),
            waiting: AtomicUsize::new(0),
        })
    }

    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { slots: Arc::clone(self), want: self.total.div_ceil(self.queues) }
    }
}

/// One queue's view of the slots.
pub(crate) struct Share {
    slots: Arc<Slots>,
    /// How many to ask for: grows while the queue fills what it asked for, shrinks when it sits on idle slots.
    want: usize,
}

impl Share {
    /// Waits for a slot and takes what else is free, up to this queue's share.
    pub(crate) async fn take(&self) -> Slot {
        let free = Arc::clone(&self.slots.free);
        let mut first = match Arc::clone(&free).try_acquire_owned() {
            Ok(first) => first,
            Err(_) => {
                let _waiting = Waiting::new(&self.slots.waiting);
                Arc::clone(&free).acquire_owned().await.expect("nobody closes this semaphore")
            }
        };
        let more = (self.want - 1).min(free.available_permits());
        // Another queue may have been quicker; then one slot is what there is.
        if more > 0
            && let Ok(more) = free.try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX))
        {
            first.merge(more);
        }
        Slot(first)
    }

    /// Ends when a queue that holds `held` slots idly should give them back. Never, where no other queue is.
    pub(crate) async fn turn_over(&self, held: usize) {
        if self.slots.queues == 1 {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(TURN).await;
            // The last slot is worth keeping while there is one for every queue: it is what makes a quiet queue quick.
            let spare = held > 1 || self.slots.total < self.slots.queues;
            if spare && self.slots.waiting.load(Ordering::Relaxed) > 0 {
                return;
            }
        }
    }

    pub(crate) fn was_idle(&mut self) {
        self.want = 1;
    }

    pub(crate) fn got(&mut self, jobs: usize) {
        if jobs >= self.want {
            self.want = (self.want * 2).min(self.slots.total);
        }
    }
}

impl Slot {
    pub(crate) fn count(&self) -> usize {
        self.0.num_permits()
    }

    /// One slot out of these; `None` when there is none left.
    pub(crate) fn split(&mut self) -> Option<Slot> {
        self.0.split(1).map(Slot)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
