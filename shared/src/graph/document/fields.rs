//! Fields of maps: the known, the unknown, and those of a later version.

use std::ops::RangeInclusive;

use super::tree::{Key, Shape, Tree};
use crate::graph::diagnose::{Place, Reporter};
use crate::graph::suggest;

/// What a kind of map may hold.
pub(crate) struct Known {
    /// "a task", "an edge".
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [&'static str],
    /// Fields that the language knows and this version does not do yet: no spelling mistake, so no suggestion.
    pub(crate) later: &'static [&'static str],
}

/// The fields of a map, taken one by one.
pub(crate) struct Fields<'t> {
    place: Place,
    what: &'static str,
    entries: Vec<(&'t Key, &'t Tree)>,
}

impl<'t> Fields<'t> {
    /// The known fields. Unknown ones are reported.
    pub(crate) fn of(tree: &'t Tree, known: &Known, reporter: &mut Reporter<'_>) -> Option<Self> {
        let Shape::Map(entries) = &tree.shape else {
            let what = known.what;
            let hint = suggest::hint("", known.fields.iter().copied());
            reporter.report_with(tree.place, "wrong-type", format!("{what} is a map, not {}", tree.kind()), hint);
            return None;
        };
        let mut kept = Vec::new();
        for (key, value) in entries {
            let name = key.name.as_str();
            if known.fields.contains(&name) {
                kept.push((key, value));
            } else if known.later.contains(&name) {
                let message = format!("`{name}` in {} is not supported by this version", known.what);
                reporter.report_with(key.place, "not-supported", message, "leave it out");
            } else if reporter.is_full() {
                reporter.report(key.place, "unknown-field", "");
            } else {
                let message = format!("unknown field `{}` in {}", short(name), known.what);
                let hint = suggest::hint(name, known.fields.iter().copied());
                reporter.report_with(key.place, "unknown-field", message, hint);
            }
        }
        Some(Fields { place: tree.place, what: known.what, entries: kept })
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<&'t Tree> {
        self.take_entry(name).map(|(_, value)| value)
    }

    pub(crate) fn take_entry(&mut self, name: &str) -> Option<(&'t Key, &'t Tree)> {
        let at = self.entries.iter().position(|(key, _)| key.name == name)?;
        Some(self.entries.swap_remove(at))
    }

    pub(crate) fn required(&mut self, name: &str, reporter: &mut Reporter<'_>) -> Option<&'t Tree> {
        let value = self.take(name);
        if value.is_none() {
            reporter.report(self.place, "missing-field", format!("{} needs the field `{name}`", self.what));
        }
        value
    }

    /// What nobody took.
    pub(crate) fn rest(self) -> impl Iterator<Item = &'t Key> {
        self.entries.into_iter().map(|(key, _)| key)
    }
}

/// An alphabet and a length.
pub(crate) struct Pattern {
    shown: &'static str,
    longest: usize,
    first: fn(char) -> bool,
    rest: fn(char) -> bool,
}

impl Pattern {
    pub(crate) const fn new(
        shown: &'static str,
        longest: usize,
        first: fn(char) -> bool,
        rest: fn(char) -> bool,
    ) -> Self {
        Pattern { shown, longest, first, rest }
    }

    pub(crate) fn fits(&self, text: &str) -> bool {
        let mut chars = text.chars();
        chars.next().is_some_and(self.first) && chars.all(self.rest) && text.len() <= self.longest
    }
}

pub(crate) const NODE: Pattern = Pattern {
    shown: "[A-Za-z_][A-Za-z0-9_]{0,127}",
    longest: 128,
    first: |c| c.is_ascii_alphabetic() || c == '_',
    rest: |c| c.is_ascii_alphanumeric() || c == '_',
};

/// Queues stand in subjects of NATS, so neither dots nor wildcards.
pub(crate) const QUEUE: Pattern = Pattern {
    shown: "[A-Za-z0-9_-]{1,64}",
    longest: 64,
    first: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'),
    rest: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'),
};

pub(crate) const CALLABLE: Pattern = Pattern {
    shown: "[A-Za-z0-9_.-]{1,128}",
    longest: 128,
    first: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'),
    rest: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'),
};

pub(crate) const SIGNAL: Pattern = Pattern {
    shown: "[A-Za-z0-9_.:/-]{1,128}",
    longest: 128,
    first: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-'),
    rest: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-'),
};

pub(crate) const VERSION: Pattern = Pattern {
    shown: "[A-Za-z0-9_.+-]{1,64}",
    longest: 64,
    first: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'),
    rest: |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'),
};

pub(crate) fn matches(text: &str, place: Place, what: &str, pattern: &Pattern, reporter: &mut Reporter<'_>) -> bool {
    let good = pattern.fits(text);
    if !good {
        let message = format!("`{}` cannot be {what}", short(text));
        reporter.report_with(place, "bad-name", message, format!("{what} matches {}", pattern.shown));
    }
    good
}

/// Names from documents can be long; messages should not.
pub(crate) fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

pub(crate) fn text<'t>(tree: &'t Tree, what: &str, reporter: &mut Reporter<'_>) -> Option<(&'t str, Place)> {
    match &tree.shape {
        Shape::Text(text) => Some((text, tree.place)),
        Shape::Number(number) => {
            let message = format!("`{what}` is text, this is a number");
            reporter.report_with(tree.place, "wrong-type", message, format!("quote it: \"{number}\""));
            None
        }
        _ => {
            reporter.report(tree.place, "wrong-type", format!("`{what}` is text, not {}", tree.kind()));
            None
        }
    }
}

pub(crate) fn number(tree: &Tree, what: &str, range: RangeInclusive<u32>, reporter: &mut Reporter<'_>) -> Option<u32> {
    let Shape::Number(number) = &tree.shape else {
        reporter.report(tree.place, "wrong-type", format!("`{what}` is a whole number, not {}", tree.kind()));
        return None;
    };
    let found = number.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
    if found.is_none() {
        let message =
            format!("`{what}` cannot be {number}; it is a whole number from {} to {}", range.start(), range.end());
        reporter.report(tree.place, "out-of-range", message);
    }
    found
}

pub(crate) fn flag(tree: &Tree, what: &str, reporter: &mut Reporter<'_>) -> bool {
    match tree.shape {
        Shape::Bool(flag) => flag,
        _ => {
            reporter.report(tree.place, "wrong-type", format!("`{what}` is true or false, not {}", tree.kind()));
            false
        }
    }
}
