//! Graphs: registered once, found by id or by name.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::time::Timestamp;

use crate::answer::Answer;
use crate::client::{Client, percent};
use crate::error::Error;

/// A registered graph.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Graph {
    /// `graph_…`, the digest of the document: equal documents are one graph.
    pub graph_id: String,
    pub name: String,
    pub version: String,
    pub registered_at: Timestamp,
}

impl Client {
    /// Registers a document, YAML or JSON by its file's extension. Registering it again changes nothing.
    ///
    /// # Errors
    /// [`RefusalKind::Invalid`](crate::RefusalKind::Invalid) with every mistake where it does not compile.
    pub async fn register(&self, file: &str, text: String) -> Result<Answer<Graph>, Error> {
        let json = file.rsplit('.').next().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let content_type = if json { "application/json" } else { "application/yaml" };
        self.ask(self.request(Method::POST, "/v1/graphs").header("Content-Type", content_type).body(text)).await
    }

    /// A graph's document, by id, name (the version registered last) or `name@version`.
    ///
    /// # Errors
    /// [`RefusalKind::NotFound`](crate::RefusalKind::NotFound) where there is none.
    pub async fn graph(&self, reference: &str) -> Result<Value, Error> {
        self.send(self.request(Method::GET, &format!("/v1/graphs/{}", percent(reference)))).await
    }

    /// Graphs by name, then newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or a refusal.
    pub async fn graphs(&self, limit: usize) -> Result<Vec<Answer<Graph>>, Error> {
        self.pages("/v1/graphs", "", limit).await
    }
}
