//! What is wrong with a document: all of it, each with its place, a reason and a hint.

use std::fmt;

/// Problems beyond this many are only counted: one mistake in a generated document can repeat on every line.
const MAX_LISTED: usize = 50;
/// Longest part of a line that is shown: generated JSON may be one line of megabytes.
const MAX_SHOWN_CHARS: usize = 110;

/// A place in a text, both counted from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    /// The first character.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One problem. All of them are errors: a document is accepted whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of problem it is, in kebab case; stable, for programs.
    pub code: &'static str,
    pub place: Place,
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// The line it is on, cut where it is long, and the column of the place within what is left.
    snippet: Option<(String, usize)>,
}

/// Why a document was refused. At least one problem, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    listed: Vec<Diagnostic>,
    unlisted: usize,
}

impl Diagnostics {
    /// The name of the file as the caller gave it.
    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.listed.iter()
    }

    /// How many problems there are, those included that are not listed.
    pub fn count(&self) -> usize {
        self.listed.len() + self.unlisted
    }
}

impl std::error::Error for Diagnostics {}

/// Plain text, in the shape that compilers have taught people to read.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.listed.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            writeln!(f, "error[{}]: {}", problem.code, problem.message)?;
            let line = problem.place.line.to_string();
            let margin = " ".repeat(line.len());
            writeln!(f, "{margin}--> {}:{}", self.file, problem.place)?;
            if let Some((text, column)) = &problem.snippet {
                writeln!(f, "{margin} |")?;
                writeln!(f, "{line} | {text}")?;
                writeln!(f, "{margin} | {}^", " ".repeat(column.saturating_sub(1)))?;
            }
            if let Some(hint) = &problem.hint {
                writeln!(f, "{margin} = help: {hint}")?;
            }
        }
        if self.unlisted > 0 {
            writeln!(f, "\n… and {} more", self.unlisted)?;
        }
        Ok(())
    }
}

/// Collects problems while a document is read and compiled.
#[derive(Debug)]
pub(crate) struct Reporter<'a> {
    file: &'a str,
    text: &'a str,
    /// Byte offsets at which lines begin; made when the first problem needs them.
    lines: Vec<usize>,
    found: Vec<Diagnostic>,
    unlisted: usize,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Reporter { file, text, lines: Vec::new(), found: Vec::new(), unlisted: 0 }
    }

    pub(crate) fn report(&mut self, place: Place, code: &'static str, message: impl Into<String>) {
        self.add(place, code, message.into(), None);
    }

    pub(crate) fn report_with(
        &mut self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(place, code, message.into(), Some(hint.into()));
    }

    fn add(&mut self, place: Place, code: &'static str, message: String, hint: Option<String>) {
        if self.found.len() >= MAX_LISTED {
            self.unlisted += 1;
            return;
        }
        let snippet = self.snippet(place);
        self.found.push(Diagnostic { code, place, message, hint, snippet });
    }

    /// Whether further problems are only counted, so that nobody needs to work out hints for them.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_LISTED
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in the order of the text.
    pub(crate) fn finish(mut self) -> Diagnostics {
        self.found.sort_by_key(|problem| problem.place);
        self.found.dedup_by(|a, b| a.place == b.place && a.message == b.message);
        Diagnostics { file: self.file.to_owned(), listed: self.found, unlisted: self.unlisted }
    }

    fn line(&mut self, line: u32) -> Option<&'a str> {
        if self.lines.is_empty() {
            self.lines = std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        }
        let start = *self.lines.get(line.checked_sub(1)? as usize)?;
        let text = self.text.get(start..)?;
        Some(text.split('\n').next().unwrap_or(text).trim_end_matches('\r'))
    }

    fn snippet(&mut self, place: Place) -> Option<(String, usize)> {
        let line = self.line(place.line)?;
        if line.trim().is_empty() {
            return None;
        }
        let column = place.column.max(1) as usize;
        // Control characters would move the cursor of a terminal.
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        let from = column.saturating_sub(MAX_SHOWN_CHARS * 2 / 3);
        let from = if line.len() <= MAX_SHOWN_CHARS { 0 } else { from };
        let mut text: String = line.chars().skip(from).take(MAX_SHOWN_CHARS).map(shown).collect();
        let mut column = column - from;
        if from > 0 {
            text.insert(0, '…');
            column += 1;
        }
        if line.chars().nth(from + MAX_SHOWN_CHARS).is_some() {
            text.push('…');
        }
        column = column.min(text.chars().count() + 1);
        Some((text.trim_end().to_owned(), column))
    }

    /// The place `chars` characters into a quoted or plain scalar that begins at `place`, if it stands there as it is.
    pub(crate) fn within(&mut self, place: Place, scalar: &str, chars: usize) -> Place {
        let Some(line) = self.line(place.line) else { return place };
        let rest: String = line.chars().skip(place.column.saturating_sub(1) as usize).take(scalar.len() + 1).collect();
        let quotes = u32::from(rest.starts_with(['"', '\'']));
        if rest.chars().skip(quotes as usize).collect::<String>().starts_with(scalar) && !scalar.is_empty() {
            return Place { line: place.line, column: place.column + quotes + u32::try_from(chars).unwrap_or(0) };
        }
        place
    }
}
