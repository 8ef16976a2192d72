//! How permits are given, the same in every store: the order of what is read, locked and written, and who is next.
//!
//! Two coordinators that give permits of the same keys at the same time must not both see a free place. What a
//! transaction changes it locks first, by class and in the order of names within a class, so that nobody waits in a circle:
//! the rows of attempts, then the keys of places, then the accounts of tenants, then the keys of rates.

use std::collections::{BTreeMap, BTreeSet};

use stepstream_shared::event::{PermitAsk, Violation};
use stepstream_shared::id::{ExecutionId, TenantId};
use stepstream_shared::time::Timestamp;

use crate::ports::{
    AttemptRef, Crossed, Denied, EndOf, Granted, PERMITS_AT_A_TIME, PermitEnd, PermitRequest, Settled, Spent,
    StoreError, TenantLimits,
};

/// Waiters of one key that are looked at in one transaction: as many as could be served by what it ends, and some.
pub(super) const NEXT: u32 = 2 * PERMITS_AT_A_TIME as u32;

/// In the place of the number of a grant: there is no room for it, and it has been told. It is in nobody's way, and not
/// looked at before it asks again.
pub(super) const DENIED: i64 = -1;

/// What a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum KeyKind {
    Place,
    Pace,
}

impl KeyKind {
    /// As it is stored.
    pub(super) const fn number(self) -> i64 {
        match self {
            KeyKind::Place => 0,
            KeyKind::Pace => 1,
        }
    }
}

/// A key of a tenant.
pub(super) type Key = (TenantId, String);

/// A locked key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeyState {
    /// Places taken.
    pub(super) in_use: i64,
    /// When all moments given away so far are over, in microseconds since 1970.
    pub(super) taken_until: i64,
}

/// An attempt's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) attempt: AttemptRef,
    pub(super) place: Option<(String, i64)>,
    pub(super) pace: Option<(String, Spacing)>,
    /// Micro-dollars and tokens of the tenant's budget.
    pub(super) need: Option<(i64, i64)>,
    /// 0: it waits; [`DENIED`].
    pub(super) grant: i64,
    /// In microseconds since 1970; 0 without a moment.
    pub(super) from: i64,
}

/// A locked account, of today.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) limits: TenantLimits,
    pub(super) cost: i64,
    pub(super) tokens: i64,
    pub(super) reserved_cost: i64,
    pub(super) reserved_tokens: i64,
    /// Since 1970-01-01.
    pub(super) day: i64,
    /// Whose use has brought the day's money and tokens to where that is told.
    pub(super) warned_by: [Option<ExecutionId>; 2],
}

/// Whether there is room for an attempt.
enum Room {
    Enough,
    /// What is set aside is in the way, and will be given back.
    Later,
    Never {
        limit: Violation,
        current: i64,
        max: i64,
    },
}

impl Account {
    /// As within one execution: what is spent, what is set aside and what is needed have to fit.
    fn room(&self, (cost, tokens): (i64, i64)) -> Room {
        let max_cost = self.limits.cost_usd_per_day.map(|max| i64::try_from(max.micros()).unwrap_or(i64::MAX));
        let max_tokens = self.limits.tokens_per_day.map(|max| i64::try_from(max).unwrap_or(i64::MAX));
        for (limit, max, spent, reserved, needs) in [
            (Violation::CostLimit, max_cost, self.cost, self.reserved_cost, cost),
            (Violation::TokenLimit, max_tokens, self.tokens, self.reserved_tokens, tokens),
        ] {
            let Some(max) = max else { continue };
            let alone = spent.saturating_add(needs.max(1));
            if alone > max {
                return Room::Never { limit, current: alone, max };
            }
            if needs > 0 && spent.saturating_add(reserved).saturating_add(needs) > max {
                return Room::Later;
            }
        }
        Room::Enough
    }

    /// Counts what an execution has used anew. Who brings a budget to where that is told is kept, and named whenever it is
    /// counted on that day.
    fn count(&mut self, spent: &Spent, (cost, tokens): (i64, i64)) -> Vec<Crossed> {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        let before = [unsigned(self.cost), unsigned(self.tokens)];
        self.cost = self.cost.saturating_add(cost);
        self.tokens = self.tokens.saturating_add(tokens);
        let after = [unsigned(self.cost), unsigned(self.tokens)];
        let mut crossed = Vec::new();
        for (at, limit) in [Violation::CostLimit, Violation::TokenLimit].into_iter().enumerate() {
            let Some(max) = self.limits.near(limit, after[at]) else { continue };
            if self.limits.near(limit, before[at]).is_none() {
                self.warned_by[at] = Some(spent.execution);
            }
            if self.warned_by[at] == Some(spent.execution) {
                let Spent { tenant, execution, .. } = spent.clone();
                crossed.push(Crossed { tenant, execution, limit, current: after[at], max, day: self.day });
            }
        }
        crossed
    }

    fn set_aside(&mut self, (cost, tokens): (i64, i64)) {
        self.reserved_cost = self.reserved_cost.saturating_add(cost);
        self.reserved_tokens = self.reserved_tokens.saturating_add(tokens);
    }

    fn give_back(&mut self, (cost, tokens): (i64, i64)) {
        self.reserved_cost = (self.reserved_cost - cost).max(0);
        self.reserved_tokens = (self.reserved_tokens - tokens).max(0);
    }
}

/// The moments of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spacing {
    /// Microseconds between two.
    pub(super) interval: i64,
    /// How far ahead of them one may be, in microseconds.
    pub(super) ahead: i64,
}

impl Spacing {
    pub(super) fn of(ask: &PermitAsk) -> Option<Self> {
        let pace = ask.pace.as_ref()?;
        let interval = i64::try_from(pace.per_us.div_ceil(u64::from(pace.max.max(1)))).unwrap_or(i64::MAX);
        Some(Spacing { interval, ahead: interval.saturating_mul(i64::from(pace.burst.max(1)) - 1) })
    }

    /// The next moment, and until when moments are taken then: the generic cell rate algorithm (ITU-T I.371), which needs
    /// one number for a key whatever the rate.
    pub(super) fn next(self, now: i64, taken_until: i64) -> (i64, i64) {
        let from = now.max(taken_until.saturating_sub(self.ahead));
        (from, taken_until.max(now).saturating_add(self.interval))
    }
}

/// A transaction that gives permits.
pub(super) trait PermitTables {
    type Error;

    /// In microseconds since 1970.
    async fn now(&mut self) -> Result<i64, Self::Error>;
    /// Rows for these attempts, waiting, where there are none: they have asked in this order.
    async fn insert(&mut self, asks: &[&PermitRequest]) -> Result<(), Self::Error>;
    /// Those that are there already have asked as of the later event, and wait again if they were denied.
    async fn ask_again(&mut self, asks: &[&PermitRequest]) -> Result<(), Self::Error>;
    /// The rows of these attempts that there are.
    async fn find(&mut self, attempts: &[AttemptRef]) -> Result<Vec<Entry>, Self::Error>;
    /// Makes keys that are not there and locks all of them, in order.
    async fn lock(&mut self, kind: KeyKind, keys: &[Key]) -> Result<BTreeMap<Key, KeyState>, Self::Error>;
    /// Removes the rows that these ends mean and answers with them.
    async fn remove(&mut self, ends: &[PermitEnd]) -> Result<Vec<Entry>, Self::Error>;
    /// Who waits for a place under a key: by priority, then in the order in which they asked.
    async fn waiting(&mut self, key: &Key, limit: u32) -> Result<Vec<Entry>, Self::Error>;
    /// Who waits for room in the budgets of these tenants, with or without a place: by priority, then in the order in which
    /// they asked.
    async fn short(&mut self, tenants: &[TenantId], limit: u32) -> Result<Vec<Entry>, Self::Error>;
    /// Makes accounts that are not there, locks all of them, in order, and turns them to today.
    async fn accounts(&mut self, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, Account>, Self::Error>;
    /// Writes what is spent and what is set aside.
    async fn write_accounts(&mut self, accounts: &[(TenantId, Account)]) -> Result<(), Self::Error>;
    /// Keeps what an execution has used in all and answers with what is new of it: micro-dollars and tokens.
    async fn mark(&mut self, spent: &Spent) -> Result<(i64, i64), Self::Error>;
    /// Writes grant and moment of rows.
    async fn grant(&mut self, entries: &[Entry]) -> Result<(), Self::Error>;
    /// Writes keys that changed.
    async fn write(&mut self, kind: KeyKind, keys: &[(Key, KeyState)]) -> Result<(), Self::Error>;
    /// Removes keys of places under which nobody is and nobody waits.
    async fn forget(&mut self, keys: &[Key]) -> Result<(), Self::Error>;
}

/// What a caller may give at a time.
pub(super) fn check(ends: &[PermitEnd], asks: &[PermitRequest]) -> Result<(), StoreError> {
    let found = ends.len() + asks.len();
    if found > PERMITS_AT_A_TIME {
        let reason = format!("{found} permits at a time; the limit is {PERMITS_AT_A_TIME} (PERMITS_AT_A_TIME)");
        return Err(StoreError::Refused { reason });
    }
    Ok(())
}

/// Ends permits and asks for some; see [`PermitStore`](crate::ports::PermitStore).
pub(super) async fn settle<T: PermitTables>(
    tables: &mut T,
    ends: &[PermitEnd],
    asks: &[PermitRequest],
) -> Result<Settled, T::Error> {
    // An attempt that asks twice asks once.
    let mut once = BTreeSet::new();
    let new: Vec<&PermitRequest> = asks.iter().filter(|ask| once.insert(&ask.attempt)).collect();
    let asks: BTreeMap<&AttemptRef, usize> = new.iter().enumerate().map(|(at, ask)| (&ask.attempt, at)).collect();
    tables.insert(&new).await?;

    let named: BTreeSet<AttemptRef> =
        ends.iter().map(|end| &end.attempt).chain(asks.keys().copied()).cloned().collect();
    let named: Vec<AttemptRef> = named.into_iter().collect();
    let known = tables.find(&named).await?;
    let keys: BTreeSet<Key> = known
        .iter()
        .filter_map(|entry| Some((entry.attempt.tenant.clone(), entry.place.as_ref()?.0.clone())))
        .chain(new.iter().filter_map(|new| Some((new.attempt.tenant.clone(), new.ask.place.as_ref()?.key.clone()))))
        .collect();
    // Whose budget has more room afterwards, or is asked for: whoever waits for it may have its turn.
    let needy: BTreeSet<TenantId> =
        known.iter().filter(|entry| entry.need.is_some()).map(|entry| entry.attempt.tenant.clone()).collect();
    let needy: Vec<TenantId> = needy.into_iter().collect();
    let mut keys = keys;
    for entry in tables.short(&needy, NEXT).await? {
        if let Some((key, _)) = entry.place {
            keys.insert((entry.attempt.tenant, key));
        }
    }
    let keys: Vec<Key> = keys.into_iter().collect();
    let mut places = tables.lock(KeyKind::Place, &keys).await?;
    let before = places.clone();

    // A row that came in between belongs to a key that is not locked: whoever compares rows with logs removes it. Who asks
    // in the same breath has not stopped waiting.
    let there: BTreeSet<&AttemptRef> = known.iter().map(|entry| &entry.attempt).collect();
    let meant = |end: &&PermitEnd| {
        there.contains(&end.attempt) && (end.why == EndOf::Attempt || !asks.contains_key(&end.attempt))
    };
    let ends: Vec<PermitEnd> = ends.iter().filter(meant).cloned().collect();
    let mut given_back = Vec::new();
    for entry in tables.remove(&ends).await? {
        if let Some(need) = entry.need.filter(|_| entry.grant > 0) {
            given_back.push((entry.attempt.tenant.clone(), need));
        }
        if let Some((key, _)) = entry.place.filter(|_| entry.grant > 0)
            && let Some(state) = places.get_mut(&(entry.attempt.tenant, key))
        {
            state.in_use = (state.in_use - 1).max(0);
        }
    }

    // Read again, because only now nobody else gives anything away under these keys.
    tables.ask_again(&new).await?;
    let asked: Vec<AttemptRef> = asks.keys().map(|attempt| (*attempt).clone()).collect();
    let mut found = tables.find(&asked).await?;
    if found.len() < asked.len() {
        // What stood there was ended in between, by an owner from before or by what it was told in vain. Who asks stands
        // there afterwards, unless it is over.
        let over: BTreeSet<&AttemptRef> =
            ends.iter().filter(|end| end.why == EndOf::Attempt).map(|end| &end.attempt).collect();
        let there: BTreeSet<&AttemptRef> = found.iter().map(|entry| &entry.attempt).collect();
        let gone = |ask: &&&PermitRequest| !there.contains(&ask.attempt) && !over.contains(&ask.attempt);
        let gone: Vec<&PermitRequest> = new.iter().filter(gone).copied().collect();
        if !gone.is_empty() {
            tables.insert(&gone).await?;
            found = tables.find(&asked).await?;
        }
    }
    found.sort_by_key(|entry| asks.get(&entry.attempt).copied());
    let mut granted = Vec::new();
    let mut told = Vec::new();
    for mut entry in found {
        if entry.grant > 0 {
            entry.grant += 1; // It is told again, and an end of what it was told before is none of this.
            told.push(entry);
        } else if entry.place.is_none() && entry.need.is_none() {
            granted.push(entry);
        }
    }
    let mut queues = Vec::new();
    for (key, state) in &places {
        let waiting = tables.waiting(key, NEXT).await?;
        queues.push((key.clone(), *state, waiting));
    }
    let waiting = queues.iter().flat_map(|(_, _, waiting)| waiting);
    let tenants: BTreeSet<TenantId> = waiting
        .filter(|entry| entry.need.is_some())
        .map(|entry| entry.attempt.tenant.clone())
        .chain(needy.iter().cloned())
        .collect();
    let mut accounts = tables.accounts(&tenants.into_iter().collect::<Vec<_>>()).await?;
    // Read when the accounts are locked: before, another transaction may yet have granted what is found here.
    let short = tables.short(&needy, NEXT).await?;
    let short: Vec<Entry> = short.into_iter().filter(|entry| entry.place.is_none()).collect();
    for (tenant, need) in given_back {
        if let Some(account) = accounts.get_mut(&tenant) {
            account.give_back(need);
        }
    }
    let mut turns = Turns { accounts, granted, denied: Vec::new(), full: BTreeSet::new() };
    let mut idle = Vec::new();
    for (key, mut state, waiting) in queues {
        let mut left = waiting.len();
        for entry in waiting {
            let max = entry.place.as_ref().map_or(0, |(_, max)| *max);
            if state.in_use >= max {
                break;
            }
            match turns.take(entry) {
                Turn::Granted => state.in_use += 1,
                Turn::Denied => {}
                Turn::NotYet => break,
            }
            left -= 1;
        }
        if state.in_use == 0 && left == 0 {
            idle.push(key.clone());
        }
        places.insert(key, state);
    }
    for entry in short {
        turns.take(entry);
    }
    let Turns { accounts, mut granted, denied, .. } = turns;
    let (mut refused, denied): (Vec<Entry>, Vec<Denied>) = denied.into_iter().unzip();

    let paced: BTreeSet<Key> = granted
        .iter()
        .filter_map(|entry| Some((entry.attempt.tenant.clone(), entry.pace.as_ref()?.0.clone())))
        .collect();
    let paced: Vec<Key> = paced.into_iter().collect();
    let mut paces = tables.lock(KeyKind::Pace, &paced).await?;
    let now = tables.now().await?;
    for entry in &mut granted {
        entry.grant = 1;
        if let Some((key, spacing)) = &entry.pace
            && let Some(state) = paces.get_mut(&(entry.attempt.tenant.clone(), key.clone()))
        {
            (entry.from, state.taken_until) = spacing.next(now, state.taken_until);
        }
    }
    granted.extend(told);
    refused.iter_mut().for_each(|entry| entry.grant = DENIED);
    tables.grant(&granted).await?;
    tables.grant(&refused).await?;
    let changed: Vec<_> = places.into_iter().filter(|(key, state)| before.get(key) != Some(state)).collect();
    tables.write(KeyKind::Place, &changed).await?;
    tables.write(KeyKind::Pace, &paces.into_iter().collect::<Vec<_>>()).await?;
    tables.forget(&idle).await?;
    tables.write_accounts(&accounts.into_iter().collect::<Vec<_>>()).await?;

    let answers = granted.into_iter().map(|entry| Granted {
        attempt: entry.attempt,
        from: (entry.from > now).then(|| Timestamp::from_micros(entry.from)),
        grant: u64::try_from(entry.grant).unwrap_or(0),
    });
    Ok(Settled { granted: answers.collect(), denied })
}

/// Those whose turn has come, one after the other.
struct Turns {
    accounts: BTreeMap<TenantId, Account>,
    granted: Vec<Entry>,
    denied: Vec<(Entry, Denied)>,
    /// Tenants in whose budget somebody waits in front.
    full: BTreeSet<TenantId>,
}

enum Turn {
    Granted,
    Denied,
    NotYet,
}

impl Turns {
    fn take(&mut self, entry: Entry) -> Turn {
        let Some(need) = entry.need else {
            self.granted.push(entry);
            return Turn::Granted;
        };
        let tenant = &entry.attempt.tenant;
        let Some(account) = self.accounts.get_mut(tenant) else { return Turn::NotYet };
        match account.room(need) {
            // Nobody overtakes who waits for room, or a large need would never be met.
            Room::Enough if !self.full.contains(tenant) => {
                account.set_aside(need);
                self.granted.push(entry);
                Turn::Granted
            }
            Room::Enough | Room::Later => {
                self.full.insert(tenant.clone());
                Turn::NotYet
            }
            Room::Never { limit, current, max } => {
                let on_limit = account.limits.on_limit;
                let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
                let (current, max) = (unsigned(current), unsigned(max));
                let denied = Denied { attempt: entry.attempt.clone(), limit, current, max, on_limit };
                self.denied.push((entry, denied));
                Turn::Denied
            }
        }
    }
}

/// Counts what executions have used; see [`PermitStore`](crate::ports::PermitStore).
pub(super) async fn spend<T: PermitTables>(tables: &mut T, spent: &[Spent]) -> Result<Vec<Crossed>, T::Error> {
    let mut latest: BTreeMap<ExecutionId, &Spent> = BTreeMap::new();
    for each in spent {
        let kept = latest.entry(each.execution).or_insert(each);
        if kept.sequence < each.sequence {
            *kept = each;
        }
    }
    let mut news = Vec::new();
    for each in latest.into_values() {
        news.push((each, tables.mark(each).await?));
    }
    let tenants: BTreeSet<TenantId> = news.iter().map(|(each, _)| each.tenant.clone()).collect();
    let mut accounts = tables.accounts(&tenants.into_iter().collect::<Vec<_>>()).await?;
    let mut crossed = Vec::new();
    for (each, new) in news {
        if let Some(account) = accounts.get_mut(&each.tenant) {
            crossed.extend(account.count(each, new));
        }
    }
    tables.write_accounts(&accounts.into_iter().collect::<Vec<_>>()).await?;
    Ok(crossed)
}

/// Whether an end means the row of its attempt, which has asked as of this event.
pub(super) fn means(why: EndOf, grant: i64, sequence: i64) -> bool {
    match why {
        EndOf::Attempt => true,
        EndOf::Wait(since) => grant <= 0 && u64::try_from(sequence).is_ok_and(|sequence| sequence < since),
        EndOf::Grant(given) => u64::try_from(grant).is_ok_and(|grant| grant == given),
    }
}

#[cfg(test)]
mod tests;
