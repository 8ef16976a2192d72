//! Pausing, resuming, cancelling and redriving many executions by one request.
//!
//! A family is asked from its head down, each before its children are looked at: who is paused or cancelled starts no more.
//! Otherwise a request goes through the list of executions once, from the newest to the oldest, a part of it at a time. Whatever
//! comes into being meanwhile is newer than where it began, so it ends. One execution that refuses stops no other.

use std::collections::VecDeque;
use std::time::Duration;

use stepstream_shared::execution::Steering;
use stepstream_shared::id::{ExecutionId, TenantId};
use tokio::time::Instant;

use super::{Ask, Service, ServiceError};
use crate::ports::{ListCursor, Listed};

/// Executions that one part asks at most.
pub const BULK_MOST: u32 = 100;
/// Rows of the list that one part looks at.
const LOOKED_AT: usize = 5000;
/// Rows that are read at a time.
const PAGE: u32 = 500;
/// Requests under way at a time.
const AT_ONCE: usize = 16;
/// After this no further request is begun, so that a part ends before whoever waits for it gives up.
const ONE_PART: Duration = Duration::from_secs(10);

/// Executions of one family that one request asks.
const FAMILY_MOST: usize = 1000;

/// What is asked of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkAction {
    Pause,
    Resume,
    Cancel,
    /// Another attempt at each dead letter.
    Redrive,
}

/// Which executions, of whom, and why.
#[derive(Debug, Clone)]
pub struct Bulk {
    pub action: BulkAction,
    /// The name of the state they are in. Not given: those that the action can mean anything to.
    pub state: Option<String>,
    /// The graph's name, or its id.
    pub graph: Option<String>,
    /// Only this execution, the executions that its steps have started, and theirs: all in one part.
    pub subtree_of: Option<ExecutionId>,
    pub reason: Option<String>,
    pub by: String,
    /// The same key again does to each execution what it did, once.
    pub idempotency_key: Option<String>,
}

/// What one part did.
#[derive(Debug)]
pub struct BulkPart {
    pub done: Vec<(ExecutionId, Result<(), ServiceError>)>,
    /// Where the next part begins; `None` when there is none.
    pub next: Option<ListCursor>,
}

impl Bulk {
    fn means(&self, row: &Listed) -> bool {
        let graph = match &self.graph {
            Some(graph) => row.summary.graph_name == *graph || row.summary.graph.to_string() == *graph,
            None => true,
        };
        let state = match &self.state {
            Some(state) => row.summary.state == *state,
            None => match self.action {
                BulkAction::Pause => matches!(row.summary.state.as_str(), "Running" | "Waiting"),
                BulkAction::Resume => row.summary.state == "Paused",
                BulkAction::Cancel => !row.summary.terminal,
                BulkAction::Redrive => true,
            },
        };
        graph && state && (self.action != BulkAction::Redrive || row.summary.dead_letters > 0)
    }

    fn steering(&self) -> Steering {
        let reason = |default: &str| self.reason.clone().unwrap_or_else(|| default.to_owned());
        match self.action {
            BulkAction::Pause => Steering::Pause { reason: reason("paused by request") },
            BulkAction::Resume => Steering::Resume { reason: self.reason.clone() },
            BulkAction::Cancel => Steering::Cancel { reason: reason("cancelled by request") },
            BulkAction::Redrive => Steering::Redrive { step: None },
        }
    }

    /// The state that the store may look for by itself.
    fn listed_state(&self) -> Option<&str> {
        match (&self.state, self.action) {
            (Some(state), _) => Some(state),
            (None, BulkAction::Resume) => Some("Paused"),
            (None, _) => None,
        }
    }
}

fn place(row: &Listed) -> ListCursor {
    ListCursor { created_at: row.summary.created_at, execution: row.execution }
}

impl Service {
    /// Asks the next executions that are meant, at most `most` of them and [`BULK_MOST`].
    pub async fn steer_all(
        &self,
        tenant: &TenantId,
        bulk: &Bulk,
        after: Option<ListCursor>,
        most: u32,
    ) -> Result<BulkPart, ServiceError> {
        if let Some(head) = bulk.subtree_of {
            return self.steer_family(tenant, bulk, head).await;
        }
        let (meant, mut next) = self.meant(tenant, bulk, after, most.clamp(1, BULK_MOST) as usize).await?;
        let begun = Instant::now();
        let mut done = Vec::with_capacity(meant.len());
        for rows in meant.chunks(AT_ONCE) {
            if begun.elapsed() >= ONE_PART {
                break;
            }
            let asked = rows.iter().map(|row| async {
                let ask =
                    Ask { what: bulk.steering(), by: bulk.by.clone(), idempotency_key: bulk.idempotency_key.clone() };
                (row.execution, self.steer(tenant, row.execution, ask).await)
            });
            done.extend(futures::future::join_all(asked).await);
        }
        if done.len() < meant.len() {
            next = meant.iter().take(done.len()).next_back().map(place).or(after);
        }
        Ok(BulkPart { done, next })
    }

    /// Asks an execution and those below it that are meant.
    async fn steer_family(&self, tenant: &TenantId, bulk: &Bulk, head: ExecutionId) -> Result<BulkPart, ServiceError> {
        let listed = self.reader().store().find(tenant, head).await?;
        let mut waiting = VecDeque::from([listed.ok_or(ServiceError::NotFound(head))?]);
        let mut done = Vec::new();
        while let Some(row) = waiting.pop_front() {
            let id = row.execution;
            if done.len() >= FAMILY_MOST {
                let error = format!("a request asks {FAMILY_MOST} executions of a family at most; ask {id} by itself");
                done.push((id, Err(ServiceError::Full(error))));
                break;
            }
            if bulk.means(&row) {
                let ask =
                    Ask { what: bulk.steering(), by: bulk.by.clone(), idempotency_key: bulk.idempotency_key.clone() };
                done.push((id, self.steer(tenant, id, ask).await));
            }
            let loaded = self.load(tenant, id, None).await?;
            for (_, child) in loaded.execution.children() {
                waiting.extend(self.reader().store().find(tenant, child.id()).await?);
            }
        }
        Ok(BulkPart { done, next: None })
    }

    /// The next rows that are meant, and where to look on.
    async fn meant(
        &self,
        tenant: &TenantId,
        bulk: &Bulk,
        mut after: Option<ListCursor>,
        most: usize,
    ) -> Result<(Vec<Listed>, Option<ListCursor>), ServiceError> {
        let mut meant = Vec::new();
        let mut looked_at = 0;
        loop {
            let page = match bulk.action {
                BulkAction::Redrive => self.reader().list_dead(tenant, after, PAGE).await?,
                _ => self.reader().list(tenant, bulk.listed_state(), after, PAGE).await?,
            };
            let complete = page.len() < PAGE as usize;
            looked_at += page.len();
            for row in page {
                if meant.len() == most {
                    return Ok((meant, after));
                }
                after = Some(place(&row));
                if bulk.means(&row) {
                    meant.push(row);
                }
            }
            if complete {
                return Ok((meant, None));
            }
            if meant.len() == most || looked_at >= LOOKED_AT {
                return Ok((meant, after));
            }
        }
    }
}
