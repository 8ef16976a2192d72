//! What was found, as a list for people and for programs.

use serde_json::{Value, json};

use crate::command::Format;
use crate::exit::{Exit, Problem};
use crate::output::{self, BAD, DIM, GOOD, WARN};

#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

struct Finding {
    level: Level,
    what: String,
    value: String,
    detail: Option<String>,
    /// For programs.
    facts: Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    /// Not there, and nobody said that it should be.
    Note,
    Warning,
    /// Asked for, and not working.
    Broken(Exit),
}

impl Findings {
    pub(super) fn ok(&mut self, what: &str, value: &str, detail: Option<&str>) {
        self.add(Level::Ok, what, value, detail);
    }

    pub(super) fn note(&mut self, what: &str, value: &str, detail: &str) {
        self.add(Level::Note, what, value, Some(detail));
    }

    pub(super) fn warning(&mut self, what: &str, value: &str, detail: &str) {
        self.add(Level::Warning, what, value, Some(detail));
    }

    pub(super) fn broken(&mut self, exit: Exit, what: &str, value: &str, detail: &str) {
        self.add(Level::Broken(exit), what, value, Some(detail));
    }

    /// Adds facts to what was found last.
    pub(super) fn facts(&mut self, facts: Value) {
        if let Some(last) = self.0.last_mut() {
            last.facts = facts;
        }
    }

    fn add(&mut self, level: Level, what: &str, value: &str, detail: Option<&str>) {
        let (what, value) = (what.to_owned(), output::printable(value));
        self.0.push(Finding { level, what, value, detail: detail.map(str::to_owned), facts: Value::Null });
    }

    /// What the first of those that are broken says.
    pub(super) fn exit(&self) -> Exit {
        let broken = self.0.iter().find_map(|finding| match finding.level {
            Level::Broken(exit) => Some(exit),
            _ => None,
        });
        broken.unwrap_or(Exit::Done)
    }

    pub(super) fn print(&self, format: Format) -> Result<(), Problem> {
        if format == Format::Json {
            let items: Vec<Value> = self.0.iter().map(Finding::json).collect();
            return output::json(&json!({"items": items, "ok": self.exit() == Exit::Done}));
        }
        let width = self.0.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
        for finding in &self.0 {
            let (style, sign) = match finding.level {
                Level::Ok => (GOOD, "✓"),
                Level::Note => (DIM, "·"),
                Level::Warning => (WARN, "!"),
                Level::Broken(_) => (BAD, "✗"),
            };
            output::line(&format!("{style}{sign}{style:#} {:width$}  {}", finding.what, finding.value))?;
            for line in finding.detail.iter().flat_map(|detail| detail.lines()) {
                output::line(&format!("  {:width$}  {DIM}{}{DIM:#}", "", output::printable(line)))?;
            }
        }
        Ok(())
    }
}

impl Finding {
    fn json(&self) -> Value {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Broken(_) => "broken",
        };
        json!({"what": self.what, "level": level, "value": self.value, "detail": self.detail, "facts": self.facts})
    }
}
