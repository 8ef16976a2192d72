//! A PostgreSQL server: its version, and what an acknowledged commit has survived there.

use serde_json::json;
use sqlx::{Connection, PgConnection};
use stepstream_coordinator::store::PostgresStore;

use super::PATIENCE;
use super::findings::Findings;
use crate::exit::Exit;

/// The oldest that is still maintained.
const OLDEST: i32 = 140_000;

pub(super) async fn look(url: &str, findings: &mut Findings) {
    if let Err(error) = PostgresStore::check_url(url) {
        return findings.broken(Exit::Usage, "PostgreSQL", "no URL of a database", &error.to_string());
    }
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
        Ok(Err(error)) => return findings.broken(Exit::Unreachable, "PostgreSQL", "unreachable", &error.to_string()),
        Err(_) => {
            return findings.broken(
                Exit::Unreachable,
                "PostgreSQL",
                "unreachable",
                &format!("no answer within {} s", PATIENCE.as_secs()),
            );
        }
    };
    if number.parse().unwrap_or(0) < OLDEST {
        findings.broken(Exit::Refused, "PostgreSQL", &version, "14 or later is needed");
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
            Exit::Refused,
            "PostgreSQL fsync",
            &fsync,
            &format!("full_page_writes {full_pages}: an acknowledged event can be lost; turn both on"),
        );
    }
}
