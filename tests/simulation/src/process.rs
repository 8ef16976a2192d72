//! A process of the run, as its ports see it.
//!
//! Nothing outside a process can tell whether it died or is never answered again. So a dead process is one whose calls
//! never return: whatever its tasks still do in memory, nobody sees. What a call had done before stays done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stepstream_runtime::shutdown::Shutdown;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::world::World;

pub struct Process {
    pub name: String,
    pub world: Arc<World>,
    dead: AtomicBool,
    /// Cancelled when it dies, for those who talk to it.
    pub died: CancellationToken,
    /// What its programs watch.
    pub shutdown: Shutdown,
    stalled_until: Mutex<Option<Instant>>,
    cut_off_until: Mutex<Option<Instant>>,
    without_store_until: Mutex<Option<Instant>>,
}

fn get(of: &Mutex<Option<Instant>>) -> Option<Instant> {
    let mut until = of.lock().unwrap_or_else(PoisonError::into_inner);
    *until = until.filter(|until| *until > Instant::now());
    *until
}

fn set(of: &Mutex<Option<Instant>>, until: Instant) {
    *of.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
}

impl Process {
    pub fn new(name: String, world: Arc<World>) -> Arc<Self> {
        Arc::new(Process {
            name,
            world,
            dead: AtomicBool::new(false),
            died: CancellationToken::new(),
            shutdown: Shutdown::new(),
            stalled_until: Mutex::default(),
            cut_off_until: Mutex::default(),
            without_store_until: Mutex::default(),
        })
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// From now on nothing it asks is answered, and nobody hears of it.
    pub fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.cancel();
        // Its loops end where they can; what they would still do never leaves it.
        self.shutdown.request_now();
    }

    /// It stands still until then, and knows nothing of it.
    pub fn stall(&self, until: Instant) {
        set(&self.stalled_until, until);
    }

    pub fn cut_off(&self, until: Instant) {
        set(&self.cut_off_until, until);
    }

    pub fn take_store_away(&self, until: Instant) {
        set(&self.without_store_until, until);
    }

    pub fn is_without_store(&self) -> bool {
        get(&self.without_store_until).is_some()
    }

    pub fn is_cut_off(&self) -> bool {
        get(&self.cut_off_until).is_some()
    }

    /// Goes on where the process does: never, if it is dead.
    pub async fn goes_on(&self) {
        while !self.is_dead() {
            match get(&self.stalled_until) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
        std::future::pending().await
    }

    /// The way to or from another machine.
    pub async fn travel(&self) {
        let latency = self.world.latency();
        if !latency.is_zero() {
            sleep(latency).await;
        }
        self.goes_on().await;
    }
}
