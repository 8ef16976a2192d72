//! Reading logs.

use stepstream_shared::id::{ExecutionId, TenantId};

use super::session::Session;
use crate::ports::{LINEAGE_DEPTH, Lineage, StoreError, StoredAppend};
use crate::store::lineage::{Stretch, room};
use crate::store::rows::{self, AppendRow, LineageRow, signed};

impl Session {
    pub(super) async fn read(
        &self,
        tenant: &TenantId,
        execution: ExecutionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredAppend>, StoreError> {
        let (continues, own) = self.stretch(tenant, Stretch::own(execution, after), limit).await?;
        if !continues {
            return Ok(own);
        }
        let mut page = Vec::new();
        for inherited in Stretch::inherited(&self.lineage(tenant, execution).await?, after) {
            let room = room(&page, limit);
            if room == 0 {
                return Ok(page);
            }
            page.extend(self.stretch(tenant, inherited, room).await?.1);
        }
        page.extend(own);
        page.truncate(limit as usize);
        Ok(page)
    }

    /// Rows of one execution, and whether they begin with what it has from another log.
    async fn stretch(
        &self,
        tenant: &TenantId,
        stretch: Stretch,
        limit: u32,
    ) -> Result<(bool, Vec<StoredAppend>), StoreError> {
        // The row that holds `after + 1` has the greatest first sequence up to it: so the scan starts at a key, and
        // the hundredth page costs what the first did.
        const SQL: &str = "
            select first_seq, last_seq, epoch, hash, body, origin is not null from events
            where tenant = ?1 and execution = ?2 and last_seq > ?3 and first_seq <= ?5 and last_seq <= ?5
              and first_seq >= coalesce((select max(first_seq) from events where execution = ?2 and first_seq <= ?4), 0)
            order by first_seq limit ?6";
        let after = signed(stretch.after);
        let found: Vec<AppendRow> = sqlx::query_as(SQL)
            .bind(tenant.as_str())
            .bind(stretch.execution.as_bytes().as_slice())
            .bind(after)
            .bind(after.saturating_add(1))
            .bind(signed(stretch.to))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.failure(error))?;
        rows::page(found)
    }

    pub(super) async fn lineage(&self, tenant: &TenantId, execution: ExecutionId) -> Result<Vec<Lineage>, StoreError> {
        // One more than there may be, so that too many are noticed.
        const SQL: &str = "
            with recursive line(execution, sequence, depth) as (
                select origin, last_seq, 0 from events
                where execution = ?2 and first_seq = 1 and tenant = ?1 and origin is not null
                union all
                select e.origin, e.last_seq, line.depth + 1
                from line join events e on e.execution = line.execution and e.first_seq = 1
                where e.tenant = ?1 and e.origin is not null and line.depth < ?3
            )
            select execution, sequence from line order by depth";
        let found: Vec<LineageRow> = sqlx::query_as(SQL)
            .bind(tenant.as_str())
            .bind(execution.as_bytes().as_slice())
            .bind(signed(LINEAGE_DEPTH as u64))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.failure(error))?;
        rows::lineage(found)
    }
}
