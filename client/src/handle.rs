//! What can be asked of one execution.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use stepstream_shared::cost::Money;
use stepstream_shared::data::Data;
use stepstream_shared::error::ExecutionError;
use stepstream_shared::event::message::Message;
use stepstream_shared::execution::{Steering, Verdict, WaitReason};
use stepstream_shared::id::ExecutionId;

use crate::answer::Answer;
use crate::client::Client;
use crate::decision::Decision;
use crate::error::Error;
use crate::executions::{Execution, Step};
use crate::family::{Children, Relative};
use crate::feed::Feed;
use crate::many::{Controlled, Many, ManyAction};
use crate::steering::Asker;
use crate::waits::Waits;

/// Most members of a family that [`Handle::tree`] asks for: it may be as wide as it is deep.
pub const TREE_MOST: usize = 10_000;

/// One execution on a server. Making one sends nothing.
///
/// Every request is durable when its method returns. What means nothing as the execution stands is refused with
/// [`Conflict`](crate::RefusalKind::Conflict), an unknown execution with [`NotFound`](crate::RefusalKind::NotFound).
#[derive(Debug, Clone)]
pub struct Handle {
    client: Client,
    id: ExecutionId,
    by: Option<String>,
    key: Option<String>,
}

/// Events of a page, and where the next one begins.
#[derive(Debug, Deserialize)]
struct EventPage {
    items: Vec<Value>,
    #[serde(default)]
    next_after: Option<u64>,
}

impl Handle {
    pub(crate) fn new(client: Client, id: ExecutionId) -> Self {
        Handle { client, id, by: None, key: None }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub fn id(&self) -> ExecutionId {
        self.id
    }

    /// In whose name everything is asked: approvals know people by it.
    pub fn by(mut self, name: impl Into<String>) -> Self {
        self.by = Some(name.into());
        self
    }

    /// Under which key it is asked: the same request again is done once.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    fn asker(&self) -> Asker<'_> {
        Asker { by: self.by.as_deref(), key: self.key.as_deref() }
    }

    // Looked at.

    /// The execution as it stands.
    pub async fn get(&self) -> Result<Answer<Execution>, Error> {
        self.client.look(self.id).await
    }

    /// The execution once it is over. A server that goes away meanwhile is waited for: only whoever drops the future
    /// gives up.
    pub async fn finished(&self) -> Result<Answer<Execution>, Error> {
        self.client.finish_of(self.id).await
    }

    /// Every step as it stands, in the order they came to be.
    pub async fn steps(&self) -> Result<Vec<Answer<Step>>, Error> {
        self.client.steps_of(self.id).await
    }

    /// What it waits for, and what has come for it that no step has taken yet.
    pub async fn waits(&self) -> Result<Answer<Waits>, Error> {
        self.client.ask(self.client.request(Method::GET, &format!("/v1/executions/{}/waits", self.id))).await
    }

    /// The executions that its steps have started.
    pub async fn children(&self) -> Result<Answer<Children>, Error> {
        self.client.children_of(self.id).await
    }

    /// Its children, and theirs, [`TREE_MOST`] at most.
    pub async fn tree(&self) -> Result<Vec<Relative>, Error> {
        // Asked for by itself, so that an unknown execution is no empty family.
        self.children().await?;
        let mut left = TREE_MOST;
        self.client.family_of(self.id, &mut left).await
    }

    /// Events after this sequence, at most `limit` (and 1,000) of them.
    pub async fn events(&self, after: u64, limit: u32) -> Result<Vec<Value>, Error> {
        let path = format!("/v1/executions/{}/events?after={after}&limit={}", self.id, limit.clamp(1, 1000));
        let page = self.client.ask::<EventPage>(self.client.request(Method::GET, &path)).await?.into_inner();
        Ok(page.items)
    }

    /// All events that there are.
    pub async fn history(&self) -> Result<Vec<Value>, Error> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/executions/{}/events?after={after}&limit=1000", self.id);
            let page = self.client.ask::<EventPage>(self.client.request(Method::GET, &path)).await?.into_inner();
            events.extend(page.items);
            match page.next_after {
                Some(next) => after = next,
                None => return Ok(events),
            }
        }
    }

    /// Its events as they come, those after this sequence first.
    pub fn follow(&self, after: u64) -> Feed {
        self.client.feed(self.id, after)
    }

    // Steered.

    /// Asks anything of it.
    pub async fn steer(&self, what: &Steering) -> Result<(), Error> {
        self.client.steer(self.id, what, self.asker()).await
    }

    /// Nothing new is dispatched and its time stands still until it is resumed.
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), Error> {
        self.steer(&Steering::Pause { reason: reason.into() }).await
    }

    /// Lets a paused or held execution go on.
    pub async fn resume(&self) -> Result<(), Error> {
        self.steer(&Steering::Resume { reason: None }).await
    }

    /// Attempts that run are told to stop; what can be undone is undone before it is over.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), Error> {
        self.steer(&Steering::Cancel { reason: reason.into() }).await
    }

    /// Pauses, resumes or cancels it and everything below it. One that refuses stops no other.
    pub async fn subtree(&self, action: ManyAction, reason: Option<&str>) -> Result<Vec<Controlled>, Error> {
        let many = Many { reason: reason.map(str::to_owned), ..Many::subtree(action, self.id) };
        self.client.control(&many, self.asker()).await
    }

    /// Tells it that something has happened. One that no step waits for yet is kept.
    pub async fn signal(&self, name: &str, correlation: Option<&str>, payload: &Value) -> Result<(), Error> {
        let payload = data(payload, "the payload")?;
        let (name, correlation) = (name.to_owned(), correlation.map(str::to_owned));
        self.steer(&Steering::Signal { name, correlation, payload }).await
    }

    /// Yes to an approval, by the node's name or the step's id; sent by [`Decision::send`].
    pub fn approve(&self, step: &str) -> Decision<'_> {
        Decision::new(self, step, true)
    }

    /// No to an approval.
    pub fn reject(&self, step: &str) -> Decision<'_> {
        Decision::new(self, step, false)
    }

    /// Brings what a step waits for from a person or a program.
    pub async fn answer(&self, step: &str, value: &Value) -> Result<(), Error> {
        let value = data(value, "the answer")?;
        self.steer(&Steering::Answer { step: step.to_owned(), value }).await
    }

    /// What a step waits for from a program has gone wrong and will not come.
    pub async fn give_up(&self, step: &str, error: ExecutionError) -> Result<(), Error> {
        self.steer(&Steering::GiveUp { step: step.to_owned(), error }).await
    }

    /// Says what became of a step that is in doubt, or is to become of one that is a dead letter. [`Verdict::Retry`] is safe
    /// only if what the step changes refuses its idempotency key, or a lower number of the attempt: whoever was lost may
    /// still wake up.
    pub async fn resolve(&self, step: &str, verdict: Verdict) -> Result<(), Error> {
        self.steer(&Steering::Resolve { step: step.to_owned(), verdict }).await
    }

    /// Tries dead letters again: that of one step, or all that it has.
    pub async fn redrive(&self, step: Option<&str>) -> Result<(), Error> {
        self.steer(&Steering::Redrive { step: step.map(str::to_owned) }).await
    }

    /// Puts a message into its inbox.
    pub async fn send(&self, message: Message) -> Result<(), Error> {
        self.steer(&Steering::Send { message }).await
    }

    /// Pauses it each time before this node runs.
    pub async fn set_breakpoint(&self, node: &str) -> Result<(), Error> {
        self.steer(&Steering::Breakpoint { node: node.to_owned(), on: true }).await
    }

    pub async fn remove_breakpoint(&self, node: &str) -> Result<(), Error> {
        self.steer(&Steering::Breakpoint { node: node.to_owned(), on: false }).await
    }

    /// Gives it another budget; what is not given stays. One that was held for want of it goes on.
    pub async fn set_budget(&self, max_cost: Option<Money>, max_tokens: Option<u64>) -> Result<(), Error> {
        self.steer(&Steering::Budget { max_cost, max_tokens }).await
    }

    /// Makes the callback of a background execution that has ended once more.
    pub async fn retry_callback(&self) -> Result<(), Error> {
        self.steer(&Steering::RetryCallback).await
    }

    /// Holds it while it runs: nothing is dispatched until it is given its input or resumed.
    pub async fn hold(&self, reason: WaitReason) -> Result<(), Error> {
        self.steer(&Steering::Wait { reason }).await
    }

    /// Gives a held execution its input and lets it go on.
    pub async fn release(&self, input: &Value) -> Result<(), Error> {
        let input = data(input, "the input")?;
        self.steer(&Steering::Input { input }).await
    }
}

/// A value of a user, as messages have it.
pub(crate) fn data(value: &Value, what: &'static str) -> Result<Data, Error> {
    Data::from_json(value).map_err(|error| Error::NotAValue { what, why: error.to_string() })
}
