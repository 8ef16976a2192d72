//! What a server answered.

use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// What this version knows of an answer, and all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    known: T,
    /// The answer as it came: a newer server says more than this version knows by name.
    pub json: Value,
}

impl<T: DeserializeOwned> Answer<T> {
    /// # Errors
    /// Why this is no such answer.
    pub(crate) fn of(json: Value) -> Result<Self, serde_json::Error> {
        let known = T::deserialize(&json)?;
        Ok(Answer { known, json })
    }
}

impl<T> Answer<T> {
    /// Only what is known by name.
    pub fn into_inner(self) -> T {
        self.known
    }
}

impl<T> Deref for Answer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.known
    }
}
