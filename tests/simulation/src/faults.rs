//! What goes wrong, and when: a function of the seed and of how often anything could have.

use std::collections::BTreeSet;

use crate::chance::{Chance, mix};

/// A way in which a port can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nothing happened, and the caller is told so.
    Refused,
    /// It was done, or rolled back, and the caller is told that nobody knows.
    Unknown,
    /// As before, but nothing was done.
    RolledBack,
    /// It takes its time.
    Slow,
    /// The message is gone, although it was acknowledged.
    Lost,
    /// It is delivered to somebody else as well.
    Doubled,
    /// Something else is delivered first.
    Reordered,
    /// A process dies.
    Death,
    /// A process stands still and goes on.
    Stall,
    /// A process cannot reach the bus for a while.
    CutOff,
    /// A process cannot reach the store for a while.
    Outage,
    /// The bus loses all its jobs.
    Wipe,
    /// A process is asked to stop, and another takes its place.
    Handover,
}

impl Fault {
    pub const ALL: [Fault; 13] = [
        Fault::Refused,
        Fault::Unknown,
        Fault::RolledBack,
        Fault::Slow,
        Fault::Lost,
        Fault::Doubled,
        Fault::Reordered,
        Fault::Death,
        Fault::Stall,
        Fault::CutOff,
        Fault::Outage,
        Fault::Wipe,
        Fault::Handover,
    ];
}

/// One that struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Struck {
    /// Names it among all chances of a run, so that it can be left out of the next one.
    pub place: u64,
    pub fault: Fault,
    pub what: &'static str,
    /// Milliseconds since the start.
    pub at: u64,
}

/// Decides for a run. Some kinds of faults are off in each run, so that the others meet more often.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    on: BTreeSet<Fault>,
    /// Of a hundred thousand chances, so many are taken.
    rate: u64,
    place: u64,
    /// Those that are left out.
    spared: BTreeSet<u64>,
    healed: bool,
    pub struck: Vec<Struck>,
}

/// Places of what is planned before a run begins.
pub const PLANNED: u64 = 1 << 40;

impl Faults {
    pub fn new(seed: u64, spared: BTreeSet<u64>) -> Self {
        let mut chance = Chance::new(mix(seed, 1));
        let on = Fault::ALL.into_iter().filter(|_| chance.percent(60)).collect();
        let rate = *chance.pick(&[0, 500, 2_000, 6_000, 15_000]).unwrap_or(&0);
        Faults { seed, on, rate, place: 0, spared, healed: false, struck: Vec::new() }
    }

    pub fn is_on(&self, fault: Fault) -> bool {
        self.on.contains(&fault)
    }

    pub fn heal(&mut self) {
        self.healed = true;
    }

    pub fn is_healed(&self) -> bool {
        self.healed
    }

    /// Whether something goes wrong here and now, and by how much.
    pub fn strike(&mut self, what: &'static str, of: &[Fault], at: u64) -> Option<(Fault, u64)> {
        self.place += 1;
        if self.healed || self.rate == 0 {
            return None;
        }
        let drawn = mix(self.seed, self.place ^ 0x5eed);
        if drawn % 100_000 >= self.rate || self.spared.contains(&self.place) {
            return None;
        }
        let of: Vec<Fault> = of.iter().copied().filter(|fault| self.on.contains(fault)).collect();
        let fault = *of.get(usize::try_from((drawn >> 20) % of.len().max(1) as u64).unwrap_or(0))?;
        self.struck.push(Struck { place: self.place, fault, what, at });
        Some((fault, drawn >> 32))
    }

    /// Whether a planned one happens.
    pub fn planned(&mut self, number: u64, fault: Fault, what: &'static str, at: u64) -> bool {
        let place = PLANNED + number;
        if self.healed || !self.on.contains(&fault) || self.spared.contains(&place) {
            return false;
        }
        self.struck.push(Struck { place, fault, what, at });
        true
    }
}
