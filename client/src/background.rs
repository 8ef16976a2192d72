//! Background executions, listed.

use serde::Deserialize;
use stepstream_shared::background::{BackgroundMode, BackgroundStatus};
use stepstream_shared::id::ExecutionId;
use stepstream_shared::time::Timestamp;

use crate::answer::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::executions::State;

/// A background execution in the list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ListedBackground {
    pub execution_id: ExecutionId,
    pub mode: BackgroundMode,
    pub status: BackgroundStatus,
    pub state: State,
    /// The graph's name.
    pub graph: String,
    pub graph_id: String,
    pub created_at: Timestamp,
    /// When the status last changed.
    pub updated_at: Timestamp,
}

impl Client {
    /// Background executions, newest first, at most `limit`; with a mode or a status, only those of it.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn background(
        &self,
        mode: Option<BackgroundMode>,
        status: Option<BackgroundStatus>,
        limit: usize,
    ) -> Result<Vec<Answer<ListedBackground>>, Error> {
        let mut filter = String::new();
        if let Some(mode) = mode {
            filter.push_str(&format!("&mode={}", mode.name()));
        }
        if let Some(status) = status {
            filter.push_str(&format!("&status={}", status.name()));
        }
        self.pages("/v1/background", &filter, limit).await
    }
}
