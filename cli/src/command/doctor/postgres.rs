//! A PostgreSQL server: its version, and what an acknowledged commit has survived there.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::PATIENCE;
use super::findings::Findings;

/// The oldest that is still maintained.
const OLDEST: i32 = 140_000;

pub(super) async fn look(url: &str, findings: &mut Findings) {
    let asked = async {
        let mut connection = PgConnection::connect(url).await?;
        let row: (String, String, String, String, String) = sqlx::query_as(
            "select current_setting('server_version'), current_setting('server_version_num'), current_setting('fsync'),
             current_setting('synchronous_commit'), current_setting('full_page_writes')",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(row)
    };
    let (version, number, fsync, synchronous, full_pages) = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(row)) => row,
        Ok(Err(error)) => return findings.broken("PostgreSQL", "unreachable", &error.to_string()),
        Err(_) => {
            return findings.broken("PostgreSQL", "unreachable", &format!("no answer within {} s", PATIENCE.as_secs()));
        }
    };
    if number.parse().unwrap_or(0) < OLDEST {
        findings.broken("PostgreSQL", &version, "14 or later is needed");
    } else {
        findings.ok("PostgreSQL", &version, None);
    }
    findings.facts(json!({
        "version": version, "fsync": fsync, "synchronous_commit": synchronous, "full_page_writes": full_pages,
    }));
    if fsync == "on" && full_pages == "on" {
        findings.ok(
            "PostgreSQL fsync",
            &fsync,
            Some(&format!("synchronous_commit {synchronous}; ours is set by each session")),
        );
    } else {
        findings.broken(
            "PostgreSQL fsync",
            &fsync,
            &format!("full_page_writes {full_pages}: an acknowledged event can be lost; turn both on"),
        );
    }
}
