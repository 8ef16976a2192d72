//! JSON to a tree: RFC 8259 to the letter, with places, and keys that stand twice refused.

use serde_json::Number;

use super::tree::{Key, MAX_DEPTH, MAX_NODES, Shape, Tree, repeated};
use crate::graph::diagnose::{Place, Reporter};

pub(crate) fn parse(text: &str, reporter: &mut Reporter<'_>) -> Option<Tree> {
    match read(text) {
        Ok(tree) => Some(tree),
        Err(problem) => {
            match problem.hint {
                Some(hint) => reporter.report_with(problem.place, problem.code, problem.message, hint),
                None => reporter.report(problem.place, problem.code, problem.message),
            }
            None
        }
    }
}

#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

pub(crate) fn read(text: &str) -> Result<Tree, Problem> {
    let mut reader = Reader { text, at: 0, line: 1, line_start: 0, counted: (0, 0), nodes: 0 };
    reader.blanks();
    let tree = reader.value(0)?;
    reader.blanks();
    match reader.peek() {
        None => Ok(tree),
        Some(_) => Err(reader.problem("something follows the value")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    /// Columns are characters: how many there are from the start of the line to a byte, as far as it was counted.
    counted: (usize, u32),
    nodes: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn place(&mut self) -> Place {
        let (from, chars) = self.counted;
        let (from, chars) =
            if from >= self.line_start && from <= self.at { (from, chars) } else { (self.line_start, 0) };
        let between = self.text.get(from..self.at).map_or(0, |part| part.chars().count());
        let chars = chars + u32::try_from(between).unwrap_or(u32::MAX);
        self.counted = (self.at, chars);
        Place { line: self.line, column: chars + 1 }
    }

    fn problem(&mut self, message: impl Into<String>) -> Problem {
        Problem { place: self.place(), code: "syntax", message: format!("not JSON: {}", message.into()), hint: None }
    }

    fn blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                    self.counted = (self.at, 0);
                }
                _ => break,
            }
        }
    }

    fn expected(&mut self, what: &str) -> Problem {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => format!("{found:?}"),
            None => "the end".to_owned(),
        };
        self.problem(format!("expected {what}, found {found}"))
    }

    fn value(&mut self, depth: usize) -> Result<Tree, Problem> {
        let place = self.place();
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > MAX_DEPTH {
            let message = if depth > MAX_DEPTH {
                format!("the document nests deeper than {MAX_DEPTH} levels")
            } else {
                format!("the document has more than {MAX_NODES} values")
            };
            return Err(Problem { place, code: "document-limit", message, hint: None });
        }
        let shape = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Shape::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Shape::Number(self.number()?),
            _ => {
                let words = [("null", Shape::Null), ("true", Shape::Bool(true)), ("false", Shape::Bool(false))];
                let rest = self.text.get(self.at..).unwrap_or_default();
                let Some((word, shape)) = words.into_iter().find(|(word, _)| rest.starts_with(word)) else {
                    return Err(self.expected("a value"));
                };
                self.at += word.len();
                shape
            }
        };
        Ok(Tree { place, shape })
    }

    fn list(&mut self, depth: usize) -> Result<Shape, Problem> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Shape::List(items));
        }
        loop {
            self.blanks();
            items.push(self.value(depth + 1)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Shape::List(items));
                }
                _ => return Err(self.expected("`,` or `]`")),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Shape, Problem> {
        self.at += 1;
        let mut entries = Vec::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Shape::Map(entries));
        }
        loop {
            self.blanks();
            let place = self.place();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let name = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.expected("`:`"));
            }
            self.at += 1;
            self.blanks();
            let value = self.value(depth + 1)?;
            entries.push((Key { place, name }, value));
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                _ => return Err(self.expected("`,` or `}`")),
            }
        }
        if let Some((first, second)) = repeated(&entries) {
            return Err(Problem {
                place: second.place,
                code: "duplicate-key",
                message: format!("the key `{}` stands twice; the first is at {}", second.name, first.place),
                hint: Some("keep one of the two; later ones do not override earlier ones".to_owned()),
            });
        }
        Ok(Shape::Map(entries))
    }

    /// A token is found here; `serde_json`, which knows every escape and every number, reads it.
    fn string(&mut self) -> Result<String, Problem> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
                None => return Err(self.problem("a text has no closing quote")),
            }
        }
        let token = self.text.get(self.at..=end).unwrap_or_default();
        let text = serde_json::from_str(token)
            .map_err(|_| self.problem("a text holds a bad escape or a control character"))?;
        self.at = end + 1;
        Ok(text)
    }

    fn number(&mut self) -> Result<Number, Problem> {
        let bytes = self.text.as_bytes();
        let length = bytes[self.at..]
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .count();
        let token = self.text.get(self.at..self.at + length).unwrap_or_default();
        let number = serde_json::from_str(token).map_err(|_| self.problem("a number is malformed or out of range"))?;
        self.at += length;
        Ok(number)
    }
}
