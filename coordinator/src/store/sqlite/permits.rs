//! Permits in one file: whoever writes is alone, so nothing needs to be locked.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqliteConnection};
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::{PartitionId, TenantId};

use super::SqliteStore;
use super::agenda::numbers;
use crate::ports::{
    AttemptRef, Crossed, PermitCursor, PermitEnd, PermitRequest, PermitRow, PermitStore, Settled, Spent, StoreError,
    TenantAccount, TenantLimits,
};
use crate::store::permits::{self, Account, Entry, Key, KeyKind, KeyState, PermitTables, Spacing};
use crate::store::rows::{self, AccountRow, EntryRow, StandingRow, signed};

const NOW: &str = "cast(unixepoch('subsec') * 1000000 as integer)";
const ROW: &str = "tenant, execution, step, attempt, place, places, pace, interval_us, ahead_us, need_cost, need_tokens, granted, from_us";
const ATTEMPT: &str = "tenant = ? and execution = ? and step = ? and attempt = ?";

struct Tables<'c>(&'c mut SqliteConnection);

/// Binds what [`ATTEMPT`] names.
macro_rules! attempt {
    ($query:expr, $attempt:expr) => {{
        let attempt: &AttemptRef = $attempt;
        $query
            .bind(attempt.tenant.as_str().to_owned())
            .bind(attempt.execution.as_bytes().to_vec())
            .bind(i64::from(attempt.step))
            .bind(i64::from(attempt.attempt))
    }};
}

impl Tables<'_> {
    async fn one(&mut self, attempt: &AttemptRef) -> Result<Option<Entry>, sqlx::Error> {
        let sql = format!("select {ROW} from permits where {ATTEMPT}");
        let query = sqlx::query_as(AssertSqlSafe(sql));
        let found: Option<EntryRow> = attempt!(query, attempt).fetch_optional(&mut *self.0).await?;
        found.map(|row| rows::entry(row).map_err(rows::undecodable)).transpose()
    }
}

impl PermitTables for Tables<'_> {
    type Error = sqlx::Error;

    async fn now(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(format!("select {NOW}"))).fetch_one(&mut *self.0).await
    }

    async fn insert(&mut self, asks: &[&PermitRequest]) -> Result<(), sqlx::Error> {
        for PermitRequest { attempt, partition, sequence, ask } in asks {
            let spacing = Spacing::of(ask);
            let sql = format!(
                "insert into permits (tenant, execution, step, attempt, partition, priority,
                                      place, places, pace, interval_us, ahead_us, need_cost, need_tokens, sequence, since)
                 values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {NOW}) on conflict do nothing"
            );
            attempt!(sqlx::query(AssertSqlSafe(sql)), attempt)
                .bind(i64::from(partition.0))
                .bind(ask.priority as i64)
                .bind(ask.place.as_ref().map(|place| place.key.clone()))
                .bind(ask.place.as_ref().map(|place| i64::from(place.max)))
                .bind(ask.pace.as_ref().map(|pace| pace.key.clone()))
                .bind(spacing.map(|spacing| spacing.interval))
                .bind(spacing.map(|spacing| spacing.ahead))
                .bind(ask.need.map(|need| signed(need.cost.micros())))
                .bind(ask.need.map(|need| signed(need.tokens)))
                .bind(signed(*sequence))
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }

    async fn ask_again(&mut self, asks: &[&PermitRequest]) -> Result<(), sqlx::Error> {
        for PermitRequest { attempt, sequence, .. } in asks {
            let sql = format!(
                "update permits set sequence = max(sequence, ?), granted = max(granted, 0)
                 where (sequence < ? or granted < 0) and {ATTEMPT}"
            );
            let query = sqlx::query(AssertSqlSafe(sql)).bind(signed(*sequence)).bind(signed(*sequence));
            attempt!(query, attempt).execute(&mut *self.0).await?;
        }
        Ok(())
    }

    async fn find(&mut self, attempts: &[AttemptRef]) -> Result<Vec<Entry>, sqlx::Error> {
        let mut found = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            found.extend(self.one(attempt).await?);
        }
        Ok(found)
    }

    async fn lock(&mut self, kind: KeyKind, keys: &[Key]) -> Result<BTreeMap<Key, KeyState>, sqlx::Error> {
        let mut states = BTreeMap::new();
        for (tenant, key) in keys {
            let (in_use, taken_until): (i64, i64) = sqlx::query_as(
                "insert into permit_keys (tenant, kind, key) values (?, ?, ?)
                 on conflict do update set in_use = in_use returning in_use, taken_until",
            )
            .bind(tenant.as_str())
            .bind(kind.number())
            .bind(key)
            .fetch_one(&mut *self.0)
            .await?;
            states.insert((tenant.clone(), key.clone()), KeyState { in_use, taken_until });
        }
        Ok(states)
    }

    async fn remove(&mut self, ends: &[PermitEnd]) -> Result<Vec<Entry>, sqlx::Error> {
        let mut removed = Vec::new();
        for end in ends {
            let Some(entry) = self.one(&end.attempt).await? else { continue };
            let sql = format!("select sequence from permits where {ATTEMPT}");
            let query = sqlx::query_scalar(AssertSqlSafe(sql));
            let sequence: i64 = attempt!(query, &end.attempt).fetch_one(&mut *self.0).await?;
            if permits::means(end.why, entry.grant, sequence) {
                let sql = format!("delete from permits where {ATTEMPT}");
                attempt!(sqlx::query(AssertSqlSafe(sql)), &end.attempt).execute(&mut *self.0).await?;
                removed.push(entry);
            }
        }
        Ok(removed)
    }

    async fn waiting(&mut self, (tenant, key): &Key, limit: u32) -> Result<Vec<Entry>, sqlx::Error> {
        let sql = format!(
            "select {ROW} from permits where tenant = ? and place = ? and granted = 0
             order by priority, ordinal limit ?"
        );
        let found: Vec<EntryRow> = sqlx::query_as(AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(key)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.0)
            .await?;
        found.into_iter().map(|row| rows::entry(row).map_err(rows::undecodable)).collect()
    }

    async fn short(&mut self, tenants: &[TenantId], limit: u32) -> Result<Vec<Entry>, sqlx::Error> {
        let mut short = Vec::new();
        for tenant in tenants {
            let sql = format!(
                "select {ROW} from permits where tenant = ? and granted = 0 and need_cost is not null
                 order by priority, ordinal limit ?"
            );
            let found: Vec<EntryRow> = sqlx::query_as(AssertSqlSafe(sql))
                .bind(tenant.as_str())
                .bind(i64::from(limit))
                .fetch_all(&mut *self.0)
                .await?;
            for row in found {
                short.push(rows::entry(row).map_err(rows::undecodable)?);
            }
        }
        Ok(short)
    }

    async fn accounts(&mut self, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, Account>, sqlx::Error> {
        let mut accounts = BTreeMap::new();
        for tenant in tenants {
            let sql = format!(
                "insert into tenants (tenant, day) values (?, {NOW} / 86400000000)
                 on conflict do update set
                     cost = case when day = excluded.day then cost else 0 end,
                     tokens = case when day = excluded.day then tokens else 0 end,
                     cost_warned_by = case when day = excluded.day then cost_warned_by end,
                     tokens_warned_by = case when day = excluded.day then tokens_warned_by end,
                     day = excluded.day
                 returning tenant, limits, cost, tokens, reserved_cost, reserved_tokens,
                           day, cost_warned_by, tokens_warned_by"
            );
            let row: AccountRow =
                sqlx::query_as(AssertSqlSafe(sql)).bind(tenant.as_str()).fetch_one(&mut *self.0).await?;
            accounts.extend([rows::account(row).map_err(rows::undecodable)?]);
        }
        Ok(accounts)
    }

    async fn write_accounts(&mut self, accounts: &[(TenantId, Account)]) -> Result<(), sqlx::Error> {
        for (tenant, account) in accounts {
            sqlx::query(
                "update tenants set cost = ?, tokens = ?, reserved_cost = ?, reserved_tokens = ?, cost_warned_by = ?,
                                    tokens_warned_by = ? where tenant = ?",
            )
            .bind(account.cost)
            .bind(account.tokens)
            .bind(account.reserved_cost)
            .bind(account.reserved_tokens)
            .bind(account.warned_by[0].map(|execution| execution.as_bytes().to_vec()))
            .bind(account.warned_by[1].map(|execution| execution.as_bytes().to_vec()))
            .bind(tenant.as_str())
            .execute(&mut *self.0)
            .await?;
        }
        Ok(())
    }

    async fn mark(&mut self, spent: &Spent) -> Result<(i64, i64), sqlx::Error> {
        let before: Option<(i64, i64, i64)> =
            sqlx::query_as("select sequence, cost, tokens from spent where execution = ?")
                .bind(spent.execution.as_bytes().to_vec())
                .fetch_optional(&mut *self.0)
                .await?;
        let Some(news) = rows::news(spent, before.unwrap_or((0, 0, 0))) else { return Ok((0, 0)) };
        sqlx::query(
            "insert into spent (execution, tenant, sequence, cost, tokens) values (?, ?, ?, ?, ?)
             on conflict do update set sequence = excluded.sequence, cost = excluded.cost, tokens = excluded.tokens",
        )
        .bind(spent.execution.as_bytes().to_vec())
        .bind(spent.tenant.as_str())
        .bind(signed(spent.sequence))
        .bind(signed(spent.cost.micros()))
        .bind(signed(spent.tokens))
        .execute(&mut *self.0)
        .await?;
        Ok(news)
    }

    async fn grant(&mut self, changed: &[Entry]) -> Result<(), sqlx::Error> {
        for entry in changed {
            let sql = format!("update permits set granted = ?, from_us = ?, since = {NOW} where {ATTEMPT}");
            let query = sqlx::query(AssertSqlSafe(sql)).bind(entry.grant).bind(entry.from);
            attempt!(query, &entry.attempt).execute(&mut *self.0).await?;
        }
        Ok(())
    }

    async fn write(&mut self, kind: KeyKind, keys: &[(Key, KeyState)]) -> Result<(), sqlx::Error> {
        for ((tenant, key), state) in keys {
            sqlx::query("update permit_keys set in_use = ?, taken_until = ? where tenant = ? and kind = ? and key = ?")
                .bind(state.in_use)
                .bind(state.taken_until)
                .bind(tenant.as_str())
                .bind(kind.number())
                .bind(key)
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }

    async fn forget(&mut self, keys: &[Key]) -> Result<(), sqlx::Error> {
        for (tenant, key) in keys {
            sqlx::query("delete from permit_keys where tenant = ? and kind = ? and key = ? and in_use = 0")
                .bind(tenant.as_str())
                .bind(KeyKind::Place.number())
                .bind(key)
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }
}

#[async_trait]
impl PermitStore for SqliteStore {
    async fn settle_permits(&self, ends: &[PermitEnd], asks: &[PermitRequest]) -> Result<Settled, StoreError> {
        permits::check(ends, asks)?;
        self.session
            .write(async |connection: &mut SqliteConnection| {
                sqlx::query("begin immediate").execute(&mut *connection).await?;
                let granted = permits::settle(&mut Tables(connection), ends, asks).await?;
                sqlx::query("commit").execute(connection).await?;
                Ok(granted)
            })
            .await
    }

    async fn standing_permits(
        &self,
        partitions: &[PartitionId],
        answered: bool,
        older: Duration,
        after: Option<PermitCursor>,
        limit: u32,
    ) -> Result<Vec<PermitRow>, StoreError> {
        let (execution, step, attempt) = rows::permits_after(after);
        let sql = format!(
            "select tenant, execution, step, attempt, granted from permits
             where partition in ({}) and (granted <> 0) = ? and since <= {NOW} - ? and (execution, step, attempt) > (?, ?, ?)
             order by execution, step, attempt limit ?",
            numbers(partitions)
        );
        let found: Vec<StandingRow> = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(false)
            .bind(answered)
            .bind(i64::try_from(older.as_micros()).unwrap_or(i64::MAX))
            .bind(execution)
            .bind(step)
            .bind(attempt)
            .bind(i64::from(limit))
            .fetch_all(&self.session.readers)
            .await
            .map_err(|error| self.session.failure(error))?;
        rows::collect(found, rows::standing)
    }

    async fn record_spent(&self, spent: &[Spent]) -> Result<Vec<Crossed>, StoreError> {
        self.session
            .write(async |connection: &mut SqliteConnection| {
                sqlx::query("begin immediate").execute(&mut *connection).await?;
                let crossed = permits::spend(&mut Tables(connection), spent).await?;
                sqlx::query("commit").execute(connection).await?;
                Ok(crossed)
            })
            .await
    }

    async fn tenant_limits(&self, tenant: &TenantId) -> Result<TenantLimits, StoreError> {
        let found: Option<String> = sqlx::query_scalar("select limits from tenants where tenant = ?")
            .bind(tenant.as_str())
            .fetch_optional(&self.session.readers)
            .await
            .map_err(|error| self.session.failure(error))?;
        found.map_or_else(|| Ok(TenantLimits::default()), |text| rows::limits(&text))
    }

    async fn tenant_weights(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Weight)>, StoreError> {
        let tenants: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
        let sql = "select tenant, limits from tenants where tenant in (select value from json_each(?))";
        let found = sqlx::query_as(sql)
            .bind(serde_json::json!(tenants).to_string())
            .fetch_all(&self.session.readers)
            .await
            .map_err(|error| self.session.failure(error))?;
        rows::collect(found, rows::weight)
    }

    async fn set_tenant_limits(&self, tenant: &TenantId, limits: &TenantLimits) -> Result<(), StoreError> {
        let text = rows::limits_text(limits)?;
        self.session
            .write(async |connection: &mut SqliteConnection| {
                let sql = format!(
                    "insert into tenants (tenant, day, limits) values (?, {NOW} / 86400000000, ?)
                     on conflict do update set limits = excluded.limits"
                );
                sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(&text).execute(connection).await?;
                Ok(())
            })
            .await
    }

    async fn tenant_account(&self, tenant: &TenantId) -> Result<TenantAccount, StoreError> {
        let sql = format!(
            "with today (day) as (select {NOW} / 86400000000)
             select today.day, coalesce(case when t.day = today.day then t.cost end, 0),
                    coalesce(case when t.day = today.day then t.tokens end, 0),
                    coalesce(t.reserved_cost, 0), coalesce(t.reserved_tokens, 0)
             from today left join tenants t on t.tenant = ?"
        );
        let row: (i64, i64, i64, i64, i64) = sqlx::query_as(AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .fetch_one(&self.session.readers)
            .await
            .map_err(|error| self.session.failure(error))?;
        rows::tenant_account(row)
    }

    async fn forget_idle_keys(&self) -> Result<(), StoreError> {
        self.session
            .write(async |connection: &mut SqliteConnection| {
                let sql = format!("delete from permit_keys where kind = 1 and taken_until < {NOW}");
                sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
                Ok(())
            })
            .await
    }
}
