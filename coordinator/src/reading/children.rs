//! The children of an execution, as people and programs outside read them.

use serde::Serialize;
use stepstream_shared::cost::Money;
use stepstream_shared::event::CancellationPolicy;
use stepstream_shared::graph::NodeIx;
use stepstream_shared::id::{ExecutionId, StepId};
use utoipa::ToSchema;

use super::{Loaded, ReadError, Reader};

/// The executions that the steps of one have started.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Children {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub execution_id: ExecutionId,
    /// Created, Planning, Running, Paused, Waiting, Completed, Failed or Cancelled.
    pub state: String,
    /// The graph's name.
    pub graph: String,
    /// The execution whose step started this one.
    #[schema(value_type = Option<String>, required)]
    pub parent: Option<ExecutionId>,
    /// How deep it lies under the execution that nobody started.
    pub depth: u32,
    /// Which attempt it is, of a background execution.
    #[schema(required)]
    pub attempt: Option<u32>,
    /// The attempt that follows it, which has failed.
    #[schema(value_type = Option<String>, required)]
    pub next_attempt: Option<ExecutionId>,
    /// In the order in which their steps were scheduled; at most a thousand.
    pub items: Vec<Child>,
}

/// One child.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Child {
    #[schema(value_type = String, example = "exec_2SwcbqDpbC5Uoa4yYPJKLWXBxrd")]
    pub execution_id: ExecutionId,
    /// Of the step that wants it.
    #[schema(value_type = Option<String>, required)]
    pub step_id: Option<StepId>,
    pub node: String,
    /// `name` or `name@version`, as the node says.
    pub graph: String,
    /// As the list of executions has it; `Wanted` while it is to be started yet.
    pub state: String,
    /// Its step did not wait for it.
    pub background: bool,
    /// `cascade_cancel`, `wait_for_children` or `detach`.
    #[schema(value_type = String)]
    pub on_cancel: CancellationPolicy,
    /// What comes for the parent comes for the child, too.
    pub inherit_inbox: bool,
    /// What it may spend of the parent's purse, in USD; null where nothing is set aside.
    #[schema(value_type = Option<String>, required)]
    pub share_cost_usd: Option<Money>,
    /// Tokens that it may use of the parent's.
    #[schema(required)]
    pub share_tokens: Option<u64>,
    /// What it used, with its own children, once it has ended.
    #[schema(value_type = String)]
    pub used_cost_usd: Money,
    pub used_tokens: u64,
}

impl Reader {
    /// The children of an execution.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn children(&self, loaded: &Loaded) -> Result<Children, ReadError> {
        let execution = &loaded.execution;
        let mut items = Vec::new();
        for (ordinal, child) in execution.children() {
            let node = execution.step(ordinal).and_then(|step| loaded.graph.node(NodeIx(step.node())));
            let node = node.map_or("", |node| node.name.as_str());
            let listed = self.store().find(execution.tenant(), child.id()).await?;
            items.push(Child {
                execution_id: child.id(),
                step_id: execution.step_id(ordinal, node),
                node: node.to_owned(),
                graph: child.graph().to_owned(),
                state: listed.map_or_else(|| child.state().name().to_owned(), |listed| listed.summary.state),
                background: child.is_background(),
                on_cancel: child.on_cancel(),
                inherit_inbox: child.inherits_inbox(),
                share_cost_usd: child.share().cost,
                share_tokens: child.share().tokens,
                used_cost_usd: child.used().cost,
                used_tokens: child.used().tokens(),
            });
        }
        Ok(Children {
            execution_id: execution.id(),
            state: execution.state().name().to_owned(),
            graph: execution.graph_name().to_owned(),
            parent: execution.parent().and_then(|link| link.execution),
            depth: execution.depth(),
            attempt: execution.background().map(|run| run.config().attempt),
            next_attempt: execution.background().and_then(|run| run.next()).map(|next| next.execution),
            items,
        })
    }
}
