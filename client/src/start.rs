//! Executions, begun.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepstream_shared::background::BackgroundRequest;
use stepstream_shared::id::ExecutionId;

use crate::client::Client;
use crate::error::Error;
use crate::steering::{Asker, asked};

/// What to start.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    graph: Value,
    inputs: Value,
    breakpoints: Vec<String>,
    metadata: Map<String, Value>,
    limits: Map<String, Value>,
    background: Option<BackgroundRequest>,
    key: Option<String>,
    by: Option<String>,
}

/// An execution that exists.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Started {
    pub execution_id: ExecutionId,
    /// False when the same request had come before under the same key.
    pub created: bool,
}

impl Start {
    /// A registered graph: `graph_…`, a name (the version registered last) or `name@version`.
    pub fn of(graph: impl Into<String>) -> Self {
        Start::graph(Value::String(graph.into()))
    }

    /// A graph's document, which is registered with it.
    pub fn of_document(document: Map<String, Value>) -> Self {
        Start::graph(Value::Object(document))
    }

    fn graph(graph: Value) -> Self {
        Start {
            graph,
            inputs: Value::Object(Map::new()),
            breakpoints: Vec::new(),
            metadata: Map::new(),
            limits: Map::new(),
            background: None,
            key: None,
            by: None,
        }
    }

    /// What the graph takes; without it, the empty object.
    pub fn inputs(mut self, inputs: Value) -> Self {
        self.inputs = inputs;
        self
    }

    /// 1 to 255 printable ASCII characters. The same request under it starts one execution, another one is refused.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// It is paused each time before this node runs.
    pub fn breakpoint(mut self, node: impl Into<String>) -> Self {
        self.breakpoints.push(node.into());
        self
    }

    /// Recorded with the execution and never read by it, for whoever looks at it later.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// A limit in the place of the graph's, by the name that a document has for it: `max_steps`, `cost_usd`.
    pub fn limit(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.limits.insert(name.into(), value.into());
        self
    }

    /// Queued, and run with nobody standing by.
    pub fn background(mut self, background: BackgroundRequest) -> Self {
        self.background = Some(background);
        self
    }

    /// In whose name; without it, the server calls whoever asks `api`.
    pub fn by(mut self, name: impl Into<String>) -> Self {
        self.by = Some(name.into());
        self
    }

    fn body(&self) -> Value {
        let mut body = json!({"graph": self.graph, "inputs": self.inputs});
        // A server of an earlier version knows of none, and need not.
        if !self.breakpoints.is_empty() {
            body["breakpoints"] = json!(self.breakpoints);
        }
        if !self.metadata.is_empty() {
            body["metadata"] = Value::Object(self.metadata.clone());
        }
        if !self.limits.is_empty() {
            body["limits"] = Value::Object(self.limits.clone());
        }
        if let Some(background) = &self.background {
            body["background"] = json!(background);
        }
        body
    }
}

impl Client {
    /// Starts an execution; it is durable when this returns.
    ///
    /// # Errors
    /// [`Conflict`](crate::RefusalKind::Conflict) where the key was used for another request,
    /// [`Invalid`](crate::RefusalKind::Invalid) for a graph that does not compile or inputs that do not fit it,
    /// [`NotFound`](crate::RefusalKind::NotFound) for an unknown graph.
    pub async fn start(&self, start: &Start) -> Result<Started, Error> {
        let asker = Asker { by: start.by.as_deref(), key: start.key.as_deref() };
        let request = asked(self.request(Method::POST, "/v1/executions"), asker)?;
        Ok(self.ask::<Started>(request.json(&start.body())).await?.into_inner())
    }
}
