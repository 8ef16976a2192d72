//! Permits: one short transaction for whoever asks and whoever gives back, with the rows locked that it depends on.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgBindIterExt;
use sqlx::{PgConnection, PgPool};
use stepstream_shared::fairness::Weight;
use stepstream_shared::id::{PartitionId, TenantId};

use super::{PostgresStore, failure, patiently};
use crate::ports::{
    AttemptRef, Crossed, EndOf, PERMITS_AT_A_TIME, PermitCursor, PermitEnd, PermitRequest, PermitRow, PermitStore,
    Settled, Spent, StoreError, TenantAccount, TenantLimits,
};
use crate::store::permits::{self, Account, Entry, Key, KeyKind, KeyState, PermitTables, Spacing};
use crate::store::rows::{self, AccountRow, EntryRow, StandingRow, signed};

const ROW: &str = "p.tenant, p.execution, p.step, p.attempt, p.place, p.places, p.pace, p.interval_us, p.ahead_us, p.need_cost, p.need_tokens, p.granted, p.from_us";

struct Tables<'c>(&'c mut PgConnection);

/// The columns of attempts, for `unnest`.
macro_rules! attempts {
    ($query:expr, $attempts:expr) => {
        $query
            .bind($attempts.clone().map(|attempt: &AttemptRef| attempt.tenant.as_str().to_owned()).bind_iter())
            .bind($attempts.clone().map(|attempt: &AttemptRef| attempt.execution.as_bytes().to_vec()).bind_iter())
            .bind($attempts.clone().map(|attempt: &AttemptRef| i64::from(attempt.step)).bind_iter())
            .bind($attempts.clone().map(|attempt: &AttemptRef| i64::from(attempt.attempt)).bind_iter())
    };
}

impl PermitTables for Tables<'_> {
    type Error = sqlx::Error;

    async fn now(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::int8")
            .fetch_one(&mut *self.0)
            .await
    }

    async fn insert(&mut self, asks: &[&PermitRequest]) -> Result<(), sqlx::Error> {
        if asks.is_empty() {
            return Ok(());
        }
        // Rows are made in the order of attempts, in which they are locked; their ordinals say who asked before whom. One
        // number of the sequence is enough for all that ask together.
        let mut ranked: Vec<(usize, &PermitRequest)> = asks.iter().copied().enumerate().collect();
        ranked.sort_unstable_by(|(_, a), (_, b)| a.attempt.cmp(&b.attempt));
        let asks = ranked;
        let ranks = asks.iter().map(|(rank, _)| i64::try_from(*rank).unwrap_or(i64::MAX));
        let asks = asks.iter().map(|(_, ask)| *ask);
        let attempts = asks.clone().map(|ask| &ask.attempt);
        let asked = asks.clone().map(|ask| &ask.ask);
        let query = sqlx::query(
            "with turn as materialized (select nextval(pg_get_serial_sequence('permits', 'ordinal')) * $15 as begin)
             insert into permits (tenant, execution, step, attempt, partition, priority,
                                  place, places, pace, interval_us, ahead_us, need_cost, need_tokens, ordinal, sequence)
                 overriding system value
             select w.tenant, w.execution, w.step, w.attempt, w.partition, w.priority,
                    w.place, w.places, w.pace, w.interval_us, w.ahead_us, w.need_cost, w.need_tokens,
                    turn.begin + w.rank, w.sequence
             from turn, unnest($1::text[], $2::bytea[], $3::int8[], $4::int8[], $5::int4[], $6::int2[],
                               $7::text[], $8::int8[], $9::text[], $10::int8[], $11::int8[], $12::int8[], $13::int8[],
                               $14::int8[], $16::int8[])
                 w (tenant, execution, step, attempt, partition, priority,
                    place, places, pace, interval_us, ahead_us, need_cost, need_tokens, rank, sequence)
             on conflict do nothing",
        );
        attempts!(query, attempts)
            .bind(asks.clone().map(|ask| i32::from(ask.partition.0)).bind_iter())
            .bind(asked.clone().map(|ask| ask.priority as i16).bind_iter())
            .bind(asked.clone().map(|ask| ask.place.as_ref().map(|place| place.key.clone())).bind_iter())
            .bind(asked.clone().map(|ask| ask.place.as_ref().map(|place| i64::from(place.max))).bind_iter())
            .bind(asked.clone().map(|ask| ask.pace.as_ref().map(|pace| pace.key.clone())).bind_iter())
            .bind(asked.clone().map(|ask| Spacing::of(ask).map(|spacing| spacing.interval)).bind_iter())
            .bind(asked.clone().map(|ask| Spacing::of(ask).map(|spacing| spacing.ahead)).bind_iter())
            .bind(asked.clone().map(|ask| ask.need.map(|need| signed(need.cost.micros()))).bind_iter())
            .bind(asked.clone().map(|ask| ask.need.map(|need| signed(need.tokens))).bind_iter())
            .bind(ranks.bind_iter())
            .bind(i64::try_from(PERMITS_AT_A_TIME).unwrap_or(i64::MAX))
            .bind(asks.clone().map(|ask| signed(ask.sequence)).bind_iter())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    async fn ask_again(&mut self, asks: &[&PermitRequest]) -> Result<(), sqlx::Error> {
        if asks.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(
            "update permits p set sequence = greatest(p.sequence, w.sequence), granted = greatest(p.granted, 0)
             from unnest($1::text[], $2::bytea[], $3::int8[], $4::int8[], $5::int8[])
                 w (tenant, execution, step, attempt, sequence)
             where p.tenant = w.tenant and p.execution = w.execution and p.step = w.step and p.attempt = w.attempt
               and (p.sequence < w.sequence or p.granted < 0)",
        );
        attempts!(query, asks.iter().map(|ask| &ask.attempt))
            .bind(asks.iter().map(|ask| signed(ask.sequence)).bind_iter())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    async fn find(&mut self, attempts: &[AttemptRef]) -> Result<Vec<Entry>, sqlx::Error> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "select {ROW} from permits p
             join unnest($1::text[], $2::bytea[], $3::int8[], $4::int8[]) w (tenant, execution, step, attempt)
             using (tenant, execution, step, attempt) order by execution, step, attempt"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql));
        let found: Vec<EntryRow> = attempts!(query, attempts.iter()).fetch_all(&mut *self.0).await?;
        entries(found)
    }

    async fn lock(&mut self, kind: KeyKind, keys: &[Key]) -> Result<BTreeMap<Key, KeyState>, sqlx::Error> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        // Locks a row that is there by writing it as it is; in the order of the lists, which is that of the keys.
        let found: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "insert into permit_keys as k (tenant, kind, key)
             select tenant, $1, key from unnest($2::text[], $3::text[]) w (tenant, key)
             on conflict (tenant, kind, key) do update set in_use = k.in_use
             returning tenant, key, in_use, taken_until",
        )
        .bind(kind.number())
        .bind(keys.iter().map(|(tenant, _)| tenant.as_str().to_owned()).bind_iter())
        .bind(keys.iter().map(|(_, key)| key.clone()).bind_iter())
        .fetch_all(&mut *self.0)
        .await?;
        rows::keys(found).map_err(rows::undecodable)
    }

    async fn remove(&mut self, ends: &[PermitEnd]) -> Result<Vec<Entry>, sqlx::Error> {
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        // Whichever is given is what the row must have; neither: whatever there is.
        let grant = |end: &PermitEnd| match end.why {
            EndOf::Grant(grant) => Some(signed(grant)),
            EndOf::Attempt | EndOf::Wait(_) => None,
        };
        let since = |end: &PermitEnd| match end.why {
            EndOf::Wait(since) => Some(signed(since)),
            EndOf::Attempt | EndOf::Grant(_) => None,
        };
        let sql = format!(
            "delete from permits p using unnest($1::text[], $2::bytea[], $3::int8[], $4::int8[], $5::int8[], $6::int8[])
                 w (tenant, execution, step, attempt, grant_no, since)
             where p.tenant = w.tenant and p.execution = w.execution and p.step = w.step and p.attempt = w.attempt
               and (w.grant_no is null or p.granted = w.grant_no)
               and (w.since is null or (p.granted <= 0 and p.sequence < w.since))
             returning {ROW}"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql));
        let removed: Vec<EntryRow> = attempts!(query, ends.iter().map(|end| &end.attempt))
            .bind(ends.iter().map(grant).bind_iter())
            .bind(ends.iter().map(since).bind_iter())
            .fetch_all(&mut *self.0)
            .await?;
        entries(removed)
    }

    async fn waiting(&mut self, (tenant, key): &Key, limit: u32) -> Result<Vec<Entry>, sqlx::Error> {
        let sql = format!(
            "select {ROW} from permits p where p.tenant = $1 and p.place = $2 and p.granted = 0
             order by p.priority, p.ordinal limit $3"
        );
        let found: Vec<EntryRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(key)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.0)
            .await?;
        entries(found)
    }

    async fn short(&mut self, tenants: &[TenantId], limit: u32) -> Result<Vec<Entry>, sqlx::Error> {
        if tenants.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "select {ROW} from permits p where p.tenant = any($1) and p.granted = 0 and p.need_cost is not null
             order by p.priority, p.ordinal limit $2"
        );
        let found: Vec<EntryRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(tenants.iter().map(|tenant| tenant.as_str().to_owned()).bind_iter())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.0)
            .await?;
        entries(found)
    }

    async fn accounts(&mut self, tenants: &[TenantId]) -> Result<BTreeMap<TenantId, Account>, sqlx::Error> {
        if tenants.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found: Vec<AccountRow> = sqlx::query_as(
            "insert into tenants as t (tenant, day)
             select tenant, floor(extract(epoch from clock_timestamp()) / 86400)::int8
             from unnest($1::text[]) w (tenant)
             on conflict (tenant) do update set
                 cost = case when t.day = excluded.day then t.cost else 0 end,
                 tokens = case when t.day = excluded.day then t.tokens else 0 end,
                 cost_warned_by = case when t.day = excluded.day then t.cost_warned_by end,
                 tokens_warned_by = case when t.day = excluded.day then t.tokens_warned_by end,
                 day = excluded.day
             returning tenant, limits, cost, tokens, reserved_cost, reserved_tokens,
                       day, cost_warned_by, tokens_warned_by",
        )
        .bind(tenants.iter().map(|tenant| tenant.as_str().to_owned()).bind_iter())
        .fetch_all(&mut *self.0)
        .await?;
        found.into_iter().map(|row| rows::account(row).map_err(rows::undecodable)).collect()
    }

    async fn write_accounts(&mut self, accounts: &[(TenantId, Account)]) -> Result<(), sqlx::Error> {
        for (tenant, account) in accounts {
            sqlx::query(
                "update tenants set cost = $2, tokens = $3, reserved_cost = $4, reserved_tokens = $5,
                                    cost_warned_by = $6, tokens_warned_by = $7 where tenant = $1",
            )
            .bind(tenant.as_str())
            .bind(account.cost)
            .bind(account.tokens)
            .bind(account.reserved_cost)
            .bind(account.reserved_tokens)
            .bind(account.warned_by[0].map(|execution| execution.as_bytes().to_vec()))
            .bind(account.warned_by[1].map(|execution| execution.as_bytes().to_vec()))
            .execute(&mut *self.0)
            .await?;
        }
        Ok(())
    }

    async fn mark(&mut self, spent: &Spent) -> Result<(i64, i64), sqlx::Error> {
        let before: (i64, i64, i64) = sqlx::query_as(
            "insert into spent as s (execution, tenant, sequence, cost, tokens) values ($1, $2, 0, 0, 0)
             on conflict (execution) do update set sequence = s.sequence returning sequence, cost, tokens",
        )
        .bind(spent.execution.as_bytes().to_vec())
        .bind(spent.tenant.as_str())
        .fetch_one(&mut *self.0)
        .await?;
        let Some(news) = rows::news(spent, before) else { return Ok((0, 0)) };
        sqlx::query("update spent set sequence = $2, cost = $3, tokens = $4 where execution = $1")
            .bind(spent.execution.as_bytes().to_vec())
            .bind(signed(spent.sequence))
            .bind(signed(spent.cost.micros()))
            .bind(signed(spent.tokens))
            .execute(&mut *self.0)
            .await?;
        Ok(news)
    }

    async fn grant(&mut self, changed: &[Entry]) -> Result<(), sqlx::Error> {
        if changed.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(
            "update permits p set granted = w.granted, from_us = w.from_us, since = clock_timestamp()
             from unnest($1::text[], $2::bytea[], $3::int8[], $4::int8[], $5::int8[], $6::int8[])
                 w (tenant, execution, step, attempt, granted, from_us)
             where p.tenant = w.tenant and p.execution = w.execution and p.step = w.step and p.attempt = w.attempt",
        );
        attempts!(query, changed.iter().map(|entry| &entry.attempt))
            .bind(changed.iter().map(|entry| entry.grant).bind_iter())
            .bind(changed.iter().map(|entry| entry.from).bind_iter())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    async fn write(&mut self, kind: KeyKind, keys: &[(Key, KeyState)]) -> Result<(), sqlx::Error> {
        if keys.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "update permit_keys k set in_use = w.in_use, taken_until = w.taken_until
             from unnest($2::text[], $3::text[], $4::int8[], $5::int8[]) w (tenant, key, in_use, taken_until)
             where k.tenant = w.tenant and k.kind = $1 and k.key = w.key",
        )
        .bind(kind.number())
        .bind(keys.iter().map(|((tenant, _), _)| tenant.as_str().to_owned()).bind_iter())
        .bind(keys.iter().map(|((_, key), _)| key.clone()).bind_iter())
        .bind(keys.iter().map(|(_, state)| state.in_use).bind_iter())
        .bind(keys.iter().map(|(_, state)| state.taken_until).bind_iter())
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }

    async fn forget(&mut self, keys: &[Key]) -> Result<(), sqlx::Error> {
        if keys.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "delete from permit_keys k using unnest($2::text[], $3::text[]) w (tenant, key)
             where k.tenant = w.tenant and k.kind = $1 and k.key = w.key and k.in_use = 0",
        )
        .bind(KeyKind::Place.number())
        .bind(keys.iter().map(|(tenant, _)| tenant.as_str().to_owned()).bind_iter())
        .bind(keys.iter().map(|(_, key)| key.clone()).bind_iter())
        .execute(&mut *self.0)
        .await?;
        Ok(())
    }
}

fn entries(found: Vec<EntryRow>) -> Result<Vec<Entry>, sqlx::Error> {
    found.into_iter().map(|row| rows::entry(row).map_err(rows::undecodable)).collect()
}

async fn settle(pool: &PgPool, ends: &[PermitEnd], asks: &[PermitRequest]) -> Result<Settled, StoreError> {
    let mut tries = failure::Tries::default();
    loop {
        let settled: Result<Settled, sqlx::Error> = async {
            let mut transaction = pool.begin().await?;
            let granted = permits::settle(&mut Tables(&mut transaction), ends, asks).await?;
            transaction.commit().await?;
            Ok(granted)
        }
        .await;
        match settled {
            Ok(granted) => return Ok(granted),
            Err(error) if tries.again(&error) => {}
            Err(error) => return Err(failure::reading(error)),
        }
    }
}

#[async_trait]
impl PermitStore for PostgresStore {
    async fn settle_permits(&self, ends: &[PermitEnd], asks: &[PermitRequest]) -> Result<Settled, StoreError> {
        permits::check(ends, asks)?;
        patiently(settle(&self.pool, ends, asks)).await
    }

    async fn standing_permits(
        &self,
        partitions: &[PartitionId],
        answered: bool,
        older: Duration,
        after: Option<PermitCursor>,
        limit: u32,
    ) -> Result<Vec<PermitRow>, StoreError> {
        patiently(async {
            let (execution, step, attempt) = rows::permits_after(after);
            let found: Vec<StandingRow> = sqlx::query_as(
                "select tenant, execution, step, attempt, granted from permits
                 where partition = any($1) and (granted <> 0) = $7 and since <= clock_timestamp() - make_interval(secs => $2)
                   and (execution, step, attempt) > ($3, $4, $5)
                 order by execution, step, attempt limit $6",
            )
            .bind(partitions.iter().map(|partition| i32::from(partition.0)).bind_iter())
            .bind(older.as_secs_f64())
            .bind(execution)
            .bind(step)
            .bind(attempt)
            .bind(i64::from(limit))
            .bind(answered)
            .fetch_all(&self.pool)
            .await
            .map_err(failure::reading)?;
            rows::collect(found, rows::standing)
        })
        .await
    }

    async fn record_spent(&self, spent: &[Spent]) -> Result<Vec<Crossed>, StoreError> {
        patiently(async {
            let mut tries = failure::Tries::default();
            loop {
                let done: Result<Vec<Crossed>, sqlx::Error> = async {
                    let mut transaction = self.pool.begin().await?;
                    let crossed = permits::spend(&mut Tables(&mut transaction), spent).await?;
                    transaction.commit().await?;
                    Ok(crossed)
                }
                .await;
                match done {
                    Ok(crossed) => return Ok(crossed),
                    Err(error) if tries.again(&error) => {}
                    Err(error) => return Err(failure::reading(error)),
                }
            }
        })
        .await
    }

    async fn tenant_limits(&self, tenant: &TenantId) -> Result<TenantLimits, StoreError> {
        patiently(async {
            let found: Option<String> = sqlx::query_scalar("select limits from tenants where tenant = $1")
                .bind(tenant.as_str())
                .fetch_optional(&self.pool)
                .await
                .map_err(failure::reading)?;
            found.map_or_else(|| Ok(TenantLimits::default()), |text| rows::limits(&text))
        })
        .await
    }

    async fn tenant_weights(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, Weight)>, StoreError> {
        patiently(async {
            let found = sqlx::query_as("select tenant, limits from tenants where tenant = any ($1::text[])")
                .bind(tenants.iter().map(TenantId::as_str).bind_iter())
                .fetch_all(&self.pool)
                .await
                .map_err(failure::reading)?;
            rows::collect(found, rows::weight)
        })
        .await
    }

    async fn set_tenant_limits(&self, tenant: &TenantId, limits: &TenantLimits) -> Result<(), StoreError> {
        patiently(async {
            sqlx::query(
                "insert into tenants (tenant, day, limits)
                 values ($1, floor(extract(epoch from clock_timestamp()) / 86400)::int8, $2)
                 on conflict (tenant) do update set limits = excluded.limits",
            )
            .bind(tenant.as_str())
            .bind(rows::limits_text(limits)?)
            .execute(&self.pool)
            .await
            .map_err(failure::reading)?;
            Ok(())
        })
        .await
    }

    async fn tenant_account(&self, tenant: &TenantId) -> Result<TenantAccount, StoreError> {
        patiently(async {
            let row: (i64, i64, i64, i64, i64) = sqlx::query_as(
                "with today (day) as (select floor(extract(epoch from clock_timestamp()) / 86400)::int8)
                 select today.day, coalesce(case when t.day = today.day then t.cost end, 0),
                        coalesce(case when t.day = today.day then t.tokens end, 0),
                        coalesce(t.reserved_cost, 0), coalesce(t.reserved_tokens, 0)
                 from today left join tenants t on t.tenant = $1",
            )
            .bind(tenant.as_str())
            .fetch_one(&self.pool)
            .await
            .map_err(failure::reading)?;
            rows::tenant_account(row)
        })
        .await
    }

    async fn forget_idle_keys(&self) -> Result<(), StoreError> {
        patiently(async {
            sqlx::query(
                "delete from permit_keys where (tenant, kind, key) in (
                     select tenant, kind, key from permit_keys
                     where kind = 1 and taken_until < (extract(epoch from clock_timestamp()) * 1000000)::int8
                     for update skip locked)",
            )
            .execute(&self.pool)
            .await
            .map_err(failure::reading)?;
            Ok(())
        })
        .await
    }
}
