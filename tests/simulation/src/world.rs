//! What all processes of a run share: the store, the bus, the faults, and the record of what happened.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepstream_coordinator::store::MemoryStore;
use stepstream_runtime::clock::Clock;
use stepstream_shared::time::Timestamp;
use tokio::time::Instant;

use crate::book::Book;
use crate::bus::Network;
use crate::chance::{Chance, mix};
use crate::faults::{Fault, Faults};

/// Where every run begins: 2026-01-01T00:00:00Z, in microseconds.
const EPOCH: i64 = 1_767_225_600_000_000;
/// Slices of executions: few, so that they meet.
pub const PARTITIONS: u16 = 3;

pub struct World {
    began: Instant,
    pub store: MemoryStore,
    pub network: Network,
    faults: Mutex<Faults>,
    chance: Mutex<Chance>,
    book: Mutex<Book>,
    trace: Mutex<Trace>,
}

/// The history as a hash, and as lines for whoever wants to read it.
#[derive(Default)]
pub struct Trace {
    hasher: DefaultHasher,
    pub steps: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// The clock of one process: the run's, some way off.
#[derive(Clone)]
pub struct SkewedClock {
    began: Instant,
    skew: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(EPOCH + since + self.skew)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Inside a runtime whose clock is paused.
    pub fn new(seed: u64, faults: Faults, readable: bool) -> Arc<Self> {
        let began = Instant::now();
        let clock = SkewedClock { began, skew: 0 };
        Arc::new(World {
            began,
            store: MemoryStore::with_clock(PARTITIONS, Arc::new(clock)),
            network: Network::default(),
            faults: Mutex::new(faults),
            chance: Mutex::new(Chance::new(mix(seed, 2))),
            book: Mutex::default(),
            trace: Mutex::new(Trace { lines: readable.then(Vec::new), ..Trace::default() }),
        })
    }

    pub fn clock(&self, skew: i64) -> SkewedClock {
        SkewedClock { began: self.began, skew }
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub fn chance(&self) -> MutexGuard<'_, Chance> {
        lock(&self.chance)
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Milliseconds since the start.
    pub fn at(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn strike(&self, what: &'static str, of: &[Fault]) -> Option<(Fault, u64)> {
        let at = self.at();
        self.faults().strike(what, of, at)
    }

    /// How long a message travels: often no time at all.
    pub fn latency(&self) -> Duration {
        let drawn = self.chance().next();
        Duration::from_millis(if drawn & 3 == 0 { 1 + (drawn >> 8) % 4 } else { 0 })
    }

    /// Something has happened. What is told must not differ from run to run.
    pub fn note(&self, who: &str, what: &str, detail: u64, say: impl FnOnce() -> String) {
        let at = self.began.elapsed().as_micros();
        let mut trace = lock(&self.trace);
        trace.steps += 1;
        (at, who, what, detail).hash(&mut trace.hasher);
        if let Some(lines) = &mut trace.lines {
            lines.push(format!("{:>9.3}s {who:<8} {what:<12} {}", at as f64 / 1e6, say()));
        }
    }

    pub fn take_trace(&self) -> Trace {
        std::mem::take(&mut *lock(&self.trace))
    }
}
