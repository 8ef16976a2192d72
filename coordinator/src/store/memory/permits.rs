//! Permits in memory: the lock around everything is the transaction.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepstream_runtime::clock::Clock;
use stepstream_shared::event::PermitAsk;
use stepstream_shared::fairness::Weight;
use stepstream_shared::graph::Priority;
use stepstream_shared::id::{ExecutionId, PartitionId, TenantId};

use super::MemoryStore;
use crate::ports::{
    AttemptRef, Crossed, PermitCursor, PermitEnd, PermitRequest, PermitRow, PermitStore, Settled, Spent, StoreError,
    TenantAccount, TenantLimits,
};
use crate::store::permits::{self, Account, Entry, Key, KeyKind, KeyState, PermitTables, Spacing};
use crate::store::rows::{self, signed};

type Place = (ExecutionId, u32, u32);

/// The tables.
pub(super) struct Permits {
    clock: Arc<dyn Clock>,
    rows: BTreeMap<Place, Row>,
    keys: BTreeMap<(KeyKind, Key), KeyState>,
    ordinal: u64,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Sequence, micro-dollars, tokens.
    spent: BTreeMap<ExecutionId, (i64, i64, i64)>,
}

#[derive(Default)]
struct Tenant {
    account: Account,
}

struct Row {
    entry: Entry,
    partition: PartitionId,
    priority: Priority,
    ordinal: u64,
    sequence: u64,
    /// In microseconds since 1970.
    since: i64,
}

fn place(attempt: &AttemptRef) -> Place {
    (attempt.execution, attempt.step, attempt.attempt)
}

fn entry(attempt: &AttemptRef, ask: &PermitAsk) -> Entry {
    Entry {
        attempt: attempt.clone(),
        place: ask.place.as_ref().map(|place| (place.key.clone(), i64::from(place.max))),
        pace: ask.pace.as_ref().and_then(|pace| Some((pace.key.clone(), Spacing::of(ask)?))),
        need: ask.need.map(|need| (signed(need.cost.micros()), signed(need.tokens))),
        grant: 0,
        from: 0,
    }
}

impl Permits {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Permits {
            clock,
            rows: BTreeMap::new(),
            keys: BTreeMap::new(),
            ordinal: 0,
            tenants: BTreeMap::new(),
            spent: BTreeMap::new(),
        }
    }

    /// In microseconds since 1970.
    fn time(&self) -> i64 {
        self.clock.now().as_micros()
    }

    /// Days since 1970.
    fn today(&self) -> i64 {
        self.time().div_euclid(86_400_000_000)
    }

    /// Another tenant's is none of it.
    fn row(&self, attempt: &AttemptRef) -> Option<&Row> {
        self.rows.get(&place(attempt)).filter(|row| row.entry.attempt.tenant == attempt.tenant)
    }
}

impl PermitTables for Permits {
    type Error = Infallible;

    async fn now(&mut self) -> Result<i64, Infallible> {
        Ok(self.time())
    }

    async fn insert(&mut self, asks: &[&PermitRequest]) -> Result<(), Infallible> {
        let since = self.time();
        for PermitRequest { attempt, partition, sequence, ask } in asks {
            self.ordinal += 1;
            let (partition, priority, ordinal, sequence) = (*partition, ask.priority, self.ordinal, *sequence);
            let fresh = || Row { entry: entry(attempt, ask), partition, priority, ordinal, sequence, since };
            self.rows.entry(place(attempt)).or_insert_with(fresh);
        }
        Ok(())
    }

    async fn ask_again(&mut self, asks: &[&PermitRequest]) -> Result<(), Infallible> {
        for PermitRequest { attempt, sequence, .. } in asks {
            let row = self.rows.get_mut(&place(attempt)).filter(|row| row.entry.attempt.tenant == attempt.tenant);
            if let Some(row) = row {
                row.sequence = row.sequence.max(*sequence);
                row.entry.grant = row.entry.grant.max(0);
            }
        }
        Ok(())
    }

    async fn find(&mut self, attempts: &[AttemptRef]) -> Result<Vec<Entry>, Infallible> {
        Ok(attempts.iter().filter_map(|attempt| Some(self.row(attempt)?.entry.clone())).collect())
    }

    async fn lock(&mut self, kind: KeyKind, keys: &[Key]) -> Result<BTreeMap<Key, KeyState>, Infallible> {
        Ok(keys.iter().map(|key| (key.clone(), *self.keys.entry((kind, key.clone())).or_default())).collect())
    }

    async fn remove(&mut self, ends: &[PermitEnd]) -> Result<Vec<Entry>, Infallible> {
        let mut removed = Vec::new();
        for end in ends {
            let means = |row: &Row| permits::means(end.why, row.entry.grant, signed(row.sequence));
            if self.row(&end.attempt).is_some_and(means) {
                removed.extend(self.rows.remove(&place(&end.attempt)).map(|row| row.entry));
            }
        }
        Ok(removed)
    }

    async fn waiting(&mut self, key: &Key, limit: u32) -> Result<Vec<Entry>, Infallible> {
        let waits = |row: &&Row| {
            row.entry.grant == 0
                && row.entry.attempt.tenant == key.0
                && row.entry.place.as_ref().is_some_and(|(name, _)| *name == key.1)
        };
        let mut rows: Vec<&Row> = self.rows.values().filter(waits).collect();
        rows.sort_by_key(|row| (row.priority, row.ordinal));
        Ok(rows.into_iter().take(limit as usize).map(|row| row.entry.clone()).collect())
    }

    async fn short(&mut self, tenants: &[TenantId], limit: u32) -> Result<Vec<Entry>, Infallible> {
        let waits = |row: &&Row| {
            row.entry.grant == 0 && row.entry.need.is_some() && tenants.contains(&row.entry.attempt.tenant)
        };
        let mut rows: Vec<&Row> = self.rows.values().filter(waits).collect();
        rows.sort_by_key(|row| (row.priority, row.ordinal));
        Ok(rows.into_iter().take(limit as usize).map(|row| row.entry.clone()).collect())
    }

    async fn accounts(&mut self, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, Account>, Infallible> {
        let mut accounts = BTreeMap::new();
        let today = self.today();
        for name in tenants {
            let tenant = self.tenants.entry(name.clone()).or_default();
            if tenant.account.day != today {
                let account = &mut tenant.account;
                (account.day, account.cost, account.tokens, account.warned_by) = (today, 0, 0, [None; 2]);
            }
            accounts.insert(name.clone(), tenant.account.clone());
        }
        Ok(accounts)
    }

    async fn write_accounts(&mut self, accounts: &[(TenantId, Account)]) -> Result<(), Infallible> {
        for (name, account) in accounts {
            if let Some(tenant) = self.tenants.get_mut(name) {
                tenant.account = account.clone();
            }
        }
        Ok(())
    }

    async fn mark(&mut self, spent: &Spent) -> Result<(i64, i64), Infallible> {
        let kept = self.spent.entry(spent.execution).or_default();
        let Some(news) = rows::news(spent, *kept) else { return Ok((0, 0)) };
        *kept = (signed(spent.sequence), signed(spent.cost.micros()), signed(spent.tokens));
        Ok(news)
    }

    async fn grant(&mut self, entries: &[Entry]) -> Result<(), Infallible> {
        let now = self.time();
        for entry in entries {
            if let Some(row) = self.rows.get_mut(&place(&entry.attempt)) {
                row.entry = entry.clone();
                row.since = now;
            }
        }
        Ok(())
    }

    async fn write(&mut self, kind: KeyKind, keys: &[(Key, KeyState)]) -> Result<(), Infallible> {
        for (key, state) in keys {
            self.keys.insert((kind, key.clone()), *state);
        }
        Ok(())
    }

    async fn forget(&mut self, keys: &[Key]) -> Result<(), Infallible> {
        for key in keys {
            self.keys.remove(&(KeyKind::Place, key.clone()));
        }
        Ok(())
    }
}

#[async_trait]
impl PermitStore for MemoryStore {
    async fn settle_permits(&self, ends: &[PermitEnd], asks: &[PermitRequest]) -> Result<Settled, StoreError> {
        permits::check(ends, asks)?;
        // Nothing in it waits for anything, so it holds no other task up.
        let mut tables = self.permits.lock().await;
        match permits::settle(&mut *tables, ends, asks).await {
            Ok(granted) => Ok(granted),
            Err(never) => match never {},
        }
    }

    async fn standing_permits(
        &self,
        partitions: &[PartitionId],
        answered: bool,
        older: Duration,
        after: Option<PermitCursor>,
        limit: u32,
    ) -> Result<Vec<PermitRow>, StoreError> {
        let tables = self.permits.lock().await;
        let since = tables.clock.now().before(older).as_micros();
        let after = after.map(|after| (after.execution, after.step, after.attempt));
        let rows = tables.rows.iter().filter(|(place, row)| {
            partitions.contains(&row.partition)
                && (row.entry.grant != 0) == answered
                && row.since <= since
                && after.is_none_or(|after| **place > after)
        });
        let rows = rows
            .map(|(_, row)| PermitRow { attempt: row.entry.attempt.clone(), answer: rows::answer(row.entry.grant) });
        Ok(rows.take(limit as usize).collect())
    }

    async fn record_spent(&self, spent: &[Spent]) -> Result<Vec<Crossed>, StoreError> {
        let mut tables = self.permits.lock().await;
        match permits::spend(&mut *tables, spent).await {
            Ok(crossed) => Ok(crossed),
            Err(never) => match never {},
        }
    }

    async fn tenant_limits(&self, tenant: &TenantId) -> Result<TenantLimits, StoreError> {
        let tables = self.permits.lock().await;
        Ok(tables.tenants.get(tenant).map(|tenant| tenant.account.limits.clone()).unwrap_or_default())
    }

    async fn tenant_weights(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Weight)>, StoreError> {
        let tables = self.permits.lock().await;
        let weight = |tenant: &TenantId| Some((tenant.clone(), tables.tenants.get(tenant)?.account.limits.weight));
        Ok(tenants.iter().filter_map(weight).collect())
    }

    async fn set_tenant_limits(&self, tenant: &TenantId, limits: &TenantLimits) -> Result<(), StoreError> {
        let mut tables = self.permits.lock().await;
        tables.tenants.entry(tenant.clone()).or_default().account.limits = limits.clone();
        Ok(())
    }

    async fn tenant_account(&self, tenant: &TenantId) -> Result<TenantAccount, StoreError> {
        let mut tables = self.permits.lock().await;
        let accounts = match tables.accounts(std::slice::from_ref(tenant)).await {
            Ok(accounts) => accounts,
            Err(never) => match never {},
        };
        let Account { cost, tokens, reserved_cost, reserved_tokens, .. } =
            accounts.get(tenant).cloned().unwrap_or_default();
        rows::tenant_account((tables.today(), cost, tokens, reserved_cost, reserved_tokens))
    }

    async fn forget_idle_keys(&self) -> Result<(), StoreError> {
        let mut tables = self.permits.lock().await;
        let now = tables.time();
        tables.keys.retain(|(kind, _), state| *kind == KeyKind::Place || state.taken_until > now);
        Ok(())
    }
}
