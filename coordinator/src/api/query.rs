//! The part of an address after the `?`, read strictly: what a route does not take is refused, all at once.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use super::limits::PAGE_DEFAULT;
use super::problem::{Fault, Problem};

/// Longest part of a refused value that is shown.
const SHOWN_CHARS: usize = 80;

/// The parameters of a request. A handler takes those it knows and then calls [`Parameters::finish`].
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::try_from_uri(&parts.uri)
            .map_err(|error| Problem::invalid_query(vec![Fault::plain(error.to_string())]))?;
        Ok(Parameters { pairs, known: Vec::new(), faults: Vec::new() })
    }
}

impl Parameters {
    /// A parameter's value, if it was given and is fit.
    pub(super) fn take<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        self.take_with(name, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    pub(super) fn take_with<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(name);
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        let (_, text) = self.pairs.swap_remove(at);
        if self.pairs.iter().any(|(key, _)| key == name) {
            self.faults.push(Fault::parameter(name, format!("`{name}` is given more than once")));
            self.pairs.retain(|(key, _)| key != name);
            return None;
        }
        match parse(&text) {
            Ok(value) => Some(value),
            Err(reason) => {
                let detail = format!("`{name}` is `{}`: {reason}", shown(&text));
                self.faults.push(Fault::parameter(name, detail));
                None
            }
        }
    }

    /// How many items a page may have.
    pub(super) fn limit(&mut self, max: u32) -> u32 {
        let in_range = |text: &str| match text.parse::<u32>() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            _ => Err(format!("a page has 1 to {max} items")),
        };
        self.take_with("limit", in_range).unwrap_or(PAGE_DEFAULT.min(max))
    }

    pub(super) fn refuse(&mut self, name: &'static str, detail: &str) {
        self.faults.push(Fault::parameter(name, detail));
    }

    /// Whether everything was fit, and nothing is left that nobody took.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in self.pairs {
            let detail = match self.known.as_slice() {
                [] => format!("this route takes no parameter, and not `{}`", shown(&name)),
                known => format!("there is no parameter `{}`; this route takes {}", shown(&name), known.join(", ")),
            };
            self.faults.push(Fault::parameter(shown(&name), detail));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid_query(self.faults)) }
    }
}

/// A caller's text as it may stand in an answer.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}
