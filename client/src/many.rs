//! Many executions paused, resumed, cancelled or redriven by one request.

use reqwest::Method;
use serde_json::json;
use stepstream_shared::id::ExecutionId;

use crate::client::Client;
use crate::error::{Error, Refusal};
use crate::executions::State;
use crate::steering::{Asker, asked, without_nulls};

/// What is asked of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManyAction {
    Pause,
    Resume,
    Cancel,
    /// Another attempt at each dead letter.
    Redrive,
}

impl ManyAction {
    const fn name(self) -> &'static str {
        match self {
            ManyAction::Pause => "pause",
            ManyAction::Resume => "resume",
            ManyAction::Cancel => "cancel",
            ManyAction::Redrive => "redrive",
        }
    }
}

/// Which of the tenant's executions, and why.
#[derive(Debug, Clone)]
pub struct Many {
    pub action: ManyAction,
    /// Only those in this state; without one, those that the action can mean anything to.
    pub state: Option<State>,
    /// Only those of the graph with this name or id.
    pub graph: Option<String>,
    /// Only this execution, the executions that its steps have started, and theirs.
    pub subtree_of: Option<ExecutionId>,
    pub reason: Option<String>,
}

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controlled {
    pub execution_id: String,
    pub outcome: Result<(), Refusal>,
}

/// What one request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub items: Vec<Controlled>,
    /// Where the next request goes on; none when every execution was looked at.
    pub next_cursor: Option<String>,
}

impl Many {
    /// Every execution that the action can mean anything to.
    pub fn all(action: ManyAction) -> Self {
        Many { action, state: None, graph: None, subtree_of: None, reason: None }
    }

    /// An execution and those below it.
    pub fn subtree(action: ManyAction, of: ExecutionId) -> Self {
        Many { subtree_of: Some(of), ..Many::all(action) }
    }
}

impl Client {
    /// Asks all of them, part after part. One that refuses stops no other.
    ///
    /// # Errors
    /// Where a part cannot be asked; those before it have been.
    pub async fn control(&self, many: &Many, asker: Asker<'_>) -> Result<Vec<Controlled>, Error> {
        let mut done = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let part = self.control_part(many, cursor.as_deref(), asker).await?;
            done.extend(part.items);
            match part.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(done),
            }
        }
    }

    /// Asks the next part of them.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal of the whole request.
    pub async fn control_part(&self, many: &Many, cursor: Option<&str>, asker: Asker<'_>) -> Result<Part, Error> {
        let (state, graph, top) = (many.state.map(State::name), &many.graph, many.subtree_of);
        let body = without_nulls(json!({
            "action": many.action.name(),
            "filter": without_nulls(json!({"state": state, "graph": graph, "subtree_of": top})),
            "reason": many.reason,
            "cursor": cursor,
        }));
        let answer = self.send(asked(self.request(Method::POST, "/v1/controls"), asker)?.json(&body)).await?;
        let items = answer["items"].as_array().ok_or_else(|| self.odd("there are no `items` in it".to_owned()))?;
        let items = items.iter().map(|item| {
            let outcome = match serde_json::from_value::<Refusal>(item["problem"].clone()) {
                Ok(refusal) if item["ok"] != true => Err(refusal),
                _ => Ok(()),
            };
            Controlled { execution_id: item["execution_id"].as_str().unwrap_or_default().to_owned(), outcome }
        });
        Ok(Part { items: items.collect(), next_cursor: answer["next_cursor"].as_str().map(str::to_owned) })
    }
}
