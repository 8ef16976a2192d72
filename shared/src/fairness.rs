//! Who is next where several share places: start-time fair queueing by measured cost.
//!
//! Everybody who shares has a *virtual time*: the time that its work has held places, added up over the places and divided
//! by its weight. A free place goes to whoever has the least (Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996,
//! with the cost charged as it arises instead of estimated beforehand). So over any time in which two of them always have
//! more to do, what they get differs, for each unit of weight, by no more than
//! `places * (longest + QUANTUM) / smallest weight`, however long their work takes.
//!
//! Whoever has nothing to do gets no credit for it: it starts again at the virtual time of those who are being served, or
//! at its own where that is later. And nothing is kept free for it meanwhile.

mod weight;

use std::collections::BTreeMap;
use std::time::Duration;

pub use weight::{MAX_WEIGHT, Weight, WeightError};

/// What each running piece of work counts beside its measured time when two are compared: those who are nearly equal share
/// the places that are free at the same moment, instead of one of them getting all.
pub const QUANTUM: Duration = Duration::from_millis(100);

/// Keeps weights from rounding time away: virtual time is in microseconds times this, divided by the weight.
const SCALE: u128 = 1 << 20;

/// The accounts of those who share. Time is told by the caller, as what has passed since any moment; where it goes back,
/// nothing is charged until it has caught up.
#[derive(Debug, Clone)]
pub struct FairShare<K> {
    accounts: BTreeMap<K, Account>,
    /// The virtual time of whoever wanted more last, for when nobody does.
    floor: u128,
    charged_until: Duration,
    turns: u64,
}

#[derive(Debug, Clone, Default)]
struct Account {
    weight: Weight,
    /// Places that are held now.
    running: u32,
    /// Has more to do than it has places.
    wants: bool,
    virtual_time: u128,
    /// When it last began something, in turns.
    last: u64,
}

impl Account {
    /// So much virtual time passes for it in `time` with one place.
    fn pace(&self, time: Duration) -> u128 {
        time.as_micros().saturating_mul(SCALE) / u128::from(self.weight.get())
    }
}

/// Lower goes first.
type Rank = (u128, u64);

impl<K> Default for FairShare<K> {
    fn default() -> Self {
        FairShare { accounts: BTreeMap::new(), floor: 0, charged_until: Duration::ZERO, turns: 0 }
    }
}

impl<K: Ord + Clone> FairShare<K> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what `key` gets in proportion to others, from now on.
    pub fn weigh(&mut self, key: &K, weight: Weight, now: Duration) {
        self.charge(now);
        self.account(key).weight = weight;
    }

    /// Says whether `key` has more to do than it has places.
    pub fn wants(&mut self, key: &K, wants: bool, now: Duration) {
        self.charge(now);
        let before = self.virtual_time();
        let account = self.account(key);
        if account.wants == wants {
            return;
        }
        account.wants = wants;
        if wants {
            account.virtual_time = account.virtual_time.max(before);
        } else if !self.accounts.values().any(|account| account.wants) {
            self.floor = self.floor.max(before);
        }
    }

    /// `key` holds one place more.
    pub fn begins(&mut self, key: &K, now: Duration) {
        self.charge(now);
        self.turns += 1;
        let (turn, least) = (self.turns, self.virtual_time());
        let account = self.account(key);
        if !account.wants {
            account.virtual_time = account.virtual_time.max(least);
        }
        account.running = account.running.saturating_add(1);
        account.last = turn;
    }

    /// `key` holds one place less.
    pub fn ends(&mut self, key: &K, now: Duration) {
        self.charge(now);
        let account = self.account(key);
        account.running = account.running.saturating_sub(1);
    }

    /// Places that `key` holds.
    pub fn running(&self, key: &K) -> u32 {
        self.accounts.get(key).map_or(0, |account| account.running)
    }

    /// Those who hold a place.
    pub fn holders(&self) -> impl Iterator<Item = &K> {
        self.accounts.iter().filter(|(_, account)| account.running > 0).map(|(key, _)| key)
    }

    /// In the order in which they are to be served, as of `now`.
    pub fn order(&mut self, among: impl IntoIterator<Item = K>, now: Duration) -> Vec<K> {
        self.charge(now);
        let least = self.virtual_time();
        let mut order: Vec<(Rank, K)> = among.into_iter().map(|key| (self.rank(&key, 0, least), key)).collect();
        order.sort();
        order.into_iter().map(|(_, key)| key).collect()
    }

    /// How many of `free` places are for `key`, where all of `among` have enough to do: at least one.
    pub fn share(&mut self, key: &K, among: &[K], free: usize, now: Duration) -> usize {
        self.charge(now);
        if among.iter().all(|other| other == key) {
            return free.max(1);
        }
        let least = self.virtual_time();
        let mut given: BTreeMap<&K, u32> = among.iter().map(|other| (other, 0)).collect();
        for _ in 0..free {
            let next = given.iter().map(|(key, given)| (self.rank(key, *given, least), *key)).min().map(|(_, key)| key);
            if let Some(count) = next.and_then(|next| given.get_mut(next)) {
                *count += 1;
            }
        }
        given.get(key).map_or(1, |count| *count as usize).max(1)
    }

    /// Forgets those who hold nothing, want nothing, and would start where everybody does; and the other idle ones too, if
    /// more than `most` are left. They start even again.
    pub fn forget_idle(&mut self, most: usize) {
        let least = self.virtual_time();
        self.accounts.retain(|_, account| account.running > 0 || account.wants || account.virtual_time > least);
        if self.accounts.len() > most {
            self.accounts.retain(|_, account| account.running > 0 || account.wants);
        }
    }

    /// All that are remembered.
    pub fn known(&self) -> impl Iterator<Item = &K> {
        self.accounts.keys()
    }

    fn account(&mut self, key: &K) -> &mut Account {
        self.accounts.entry(key.clone()).or_default()
    }

    fn charge(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.charged_until);
        if passed.is_zero() {
            return;
        }
        self.charged_until = now;
        for account in self.accounts.values_mut().filter(|account| account.running > 0) {
            let cost = account.pace(passed).saturating_mul(u128::from(account.running));
            account.virtual_time = account.virtual_time.saturating_add(cost);
        }
    }

    /// Where those begin who come back: the least of those who want more.
    fn virtual_time(&self) -> u128 {
        let wanting = self.accounts.values().filter(|account| account.wants);
        wanting.map(|account| account.virtual_time).min().unwrap_or(self.floor).max(self.floor)
    }

    /// The rank of `key`, had it `more` places than it has, where those who come back begin at `least`.
    fn rank(&self, key: &K, more: u32, least: u128) -> Rank {
        let new = Account::default();
        let account = self.accounts.get(key).unwrap_or(&new);
        let from = match account.wants {
            true => account.virtual_time,
            false => account.virtual_time.max(least),
        };
        let held = u128::from(account.running.saturating_add(more));
        (from.saturating_add(account.pace(QUANTUM).saturating_mul(held)), account.last)
    }
}

#[cfg(test)]
mod tests;
