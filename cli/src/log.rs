//! The log, read past whoever drives it.

use std::sync::Arc;

use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::store::{PostgresStore, SqliteStore};

use crate::data_dir::existing_log;
use crate::exit::Problem;
use crate::target::Target;

/// What a store of PostgreSQL would be created with; one that is only read is there already.
const PARTITIONS: u16 = 64;

/// Opens the log for reading; `None` where it belongs to a server.
pub async fn open(target: &Target) -> Result<Option<Reader>, Problem> {
    let store: Arc<dyn EventStore> = match target {
        Target::Data(data) => Arc::new(SqliteStore::open_read_only(existing_log(data)?).await?),
        Target::Postgres(url) => Arc::new(PostgresStore::connect_or_create(url, PARTITIONS).await?),
        Target::Server(_) => return Ok(None),
    };
    Ok(Some(Reader::new(store)))
}
