//! Registered graphs: immutable documents by digest, per tenant.

use sqlx::PgPool;
use stepstream_shared::graph::GraphDigest;
use stepstream_shared::id::TenantId;

use super::failure;
use crate::ports::{StoreError, StoredGraph};
use crate::store::rows::{self, GraphRow};

pub(super) async fn put(pool: &PgPool, tenant: &TenantId, graph: &StoredGraph) -> Result<(), StoreError> {
    sqlx::query(
        "insert into graphs (tenant, digest, name, version, document, registered_at)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
    )
    .bind(tenant.as_str())
    .bind(graph.digest.as_bytes().as_slice())
    .bind(&graph.name)
    .bind(&graph.version)
    .bind(&graph.document)
    .bind(graph.registered_at.as_micros())
    .execute(pool)
    .await
    .map_err(failure::reading)?;
    Ok(())
}

pub(super) async fn get(
    pool: &PgPool,
    tenant: &TenantId,
    digest: &GraphDigest,
) -> Result<Option<StoredGraph>, StoreError> {
    let row: Option<GraphRow> = sqlx::query_as(
        "select digest, name, version, document, registered_at from graphs where tenant = $1 and digest = $2",
    )
    .bind(tenant.as_str())
    .bind(digest.as_bytes().as_slice())
    .fetch_optional(pool)
    .await
    .map_err(failure::reading)?;
    row.map(rows::graph).transpose()
}

pub(super) async fn find(
    pool: &PgPool,
    tenant: &TenantId,
    name: &str,
    version: Option<&str>,
) -> Result<Option<StoredGraph>, StoreError> {
    let row: Option<GraphRow> = sqlx::query_as(
        "select digest, name, version, document, registered_at from graphs
         where tenant = $1 and name = $2 and ($3::text is null or version = $3)
         order by ordinal desc limit 1",
    )
    .bind(tenant.as_str())
    .bind(name)
    .bind(version)
    .fetch_optional(pool)
    .await
    .map_err(failure::reading)?;
    row.map(rows::graph).transpose()
}

pub(super) async fn page(
    pool: &PgPool,
    tenant: &TenantId,
    after: Option<&GraphDigest>,
    limit: u32,
) -> Result<Vec<StoredGraph>, StoreError> {
    // By name, and within a name by falling order of registration, continuing after the row of the given digest.
    const SQL: &str = "
        select g.digest, g.name, g.version, g.document, g.registered_at from graphs g
        where g.tenant = $1 and ($2::bytea is null or exists (
            select 1 from graphs last where last.tenant = $1 and last.digest = $2
            and (g.name > last.name or (g.name = last.name and g.ordinal < last.ordinal))))
        order by g.name, g.ordinal desc limit $3";
    let found: Vec<GraphRow> = sqlx::query_as(SQL)
        .bind(tenant.as_str())
        .bind(after.map(|digest| digest.as_bytes().as_slice()))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await
        .map_err(failure::reading)?;
    rows::collect(found, rows::graph)
}
