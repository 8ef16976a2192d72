//! The log, read past whoever drives it.

use std::sync::Arc;

use stepstream_coordinator::ports::EventStore;
use stepstream_coordinator::reading::Reader;
use stepstream_coordinator::store::{PostgresStore, SqliteStore};

use crate::data_dir::existing_log;
use crate::exit::Problem;
use crate::target::Target;

/// Opens the log for reading; `None` where it belongs to a server. Where there is no store, none is made.
pub async fn open(target: &Target) -> Result<Option<Reader>, Problem> {
    let store: Arc<dyn EventStore> = match target {
        Target::Data(data) => Arc::new(SqliteStore::open_read_only(existing_log(data)?).await?),
        Target::Postgres(url) => Arc::new(PostgresStore::open_read_only(url).await?),
        Target::Server(_) => return Ok(None),
    };
    Ok(Some(Reader::new(store)))
}
