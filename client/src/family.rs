//! The executions that the steps of one have started, and theirs.

use reqwest::Method;
use serde::Deserialize;
use stepstream_shared::event::CancellationPolicy;
use stepstream_shared::id::{ExecutionId, StepId};

use crate::answer::Answer;
use crate::client::Client;
use crate::error::{Error, RefusalKind};

/// The children of an execution.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Children {
    pub execution_id: ExecutionId,
    pub state: String,
    /// The graph's name.
    pub graph: String,
    /// The execution whose step started this one.
    pub parent: Option<ExecutionId>,
    /// How deep it lies under the execution that nobody started.
    pub depth: u32,
    pub items: Vec<Child>,
}

/// One child.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Child {
    pub execution_id: ExecutionId,
    /// Of the step that wants it.
    pub step_id: Option<StepId>,
    pub node: String,
    /// `name` or `name@version`, as the node says.
    pub graph: String,
    /// `Wanted` while it is to be started yet.
    pub state: String,
    /// Its step did not wait for it.
    pub background: bool,
    pub on_cancel: CancellationPolicy,
}

/// A child with its own children.
#[derive(Debug, Clone, PartialEq)]
pub struct Relative {
    pub child: Child,
    pub children: Vec<Relative>,
}

impl Client {
    pub(crate) async fn children_of(&self, id: ExecutionId) -> Result<Answer<Children>, Error> {
        self.ask(self.request(Method::GET, &format!("/v1/executions/{id}/children"))).await
    }

    /// With the children of the children, at most `left` of them.
    pub(crate) async fn family_of(&self, id: ExecutionId, left: &mut usize) -> Result<Vec<Relative>, Error> {
        let found = match self.children_of(id).await {
            Ok(found) => found.into_inner().items,
            // It is to be started yet.
            Err(Error::Refused(refusal)) if refusal.kind() == RefusalKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut family = Vec::new();
        for child in found {
            let Some(rest) = left.checked_sub(1) else { break };
            *left = rest;
            let children = Box::pin(self.family_of(child.execution_id, left)).await?;
            family.push(Relative { child, children });
        }
        Ok(family)
    }
}
