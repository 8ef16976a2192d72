//! A voice in an approval.

use serde_json::Value;
use stepstream_shared::execution::Steering;

use crate::error::Error;
use crate::handle::{Handle, data};

/// A yes or no that is not sent yet.
#[derive(Debug, Clone)]
#[must_use = "nothing is decided before it is sent"]
pub struct Decision<'a> {
    handle: &'a Handle,
    step: String,
    approve: bool,
    comment: Option<String>,
    form: Value,
}

impl<'a> Decision<'a> {
    pub(crate) fn new(handle: &'a Handle, step: &str, approve: bool) -> Self {
        Decision { handle, step: step.to_owned(), approve, comment: None, form: Value::Null }
    }

    /// Why; stands in the log.
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// What the approval asks whoever agrees to fill in.
    pub fn form(mut self, form: Value) -> Self {
        self.form = form;
        self
    }

    /// # Errors
    /// [`Forbidden`](crate::RefusalKind::Forbidden) for who is not assigned, [`Conflict`](crate::RefusalKind::Conflict)
    /// for a second voice of the same person or an approval that is decided, [`Invalid`](crate::RefusalKind::Invalid)
    /// for a form that does not fit.
    pub async fn send(self) -> Result<(), Error> {
        let form = data(&self.form, "the form")?;
        let what = Steering::Decide { step: self.step, approve: self.approve, comment: self.comment, form };
        self.handle.steer(&what).await
    }
}
