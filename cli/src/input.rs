//! What comes from files, arguments and pipes: graph documents and inputs.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use stepstream_shared::data::{Data, MAX_BYTES};
use stepstream_shared::graph::{
    CompiledGraph, LimitOverrides, MAX_DOCUMENT_BYTES, Source, compile_unlooked, inline_references, read_limits,
    wfcommons,
};

use crate::exit::{Exit, Problem, chain};

/// Longest text of an input that is read: as stored it is shorter, and escapes can make JSON several times as long.
const MAX_INPUT_BYTES: u64 = 8 * MAX_BYTES as u64;
/// Columns of an input that are shown around a mistake.
const SHOWN_CHARS: usize = 60;

/// A document as it was read.
#[derive(Debug, Clone)]
pub struct Document {
    pub name: String,
    pub text: String,
}

impl Document {
    /// Something stands in for the graphs that it takes in by name: whoever registers it looks them up.
    pub fn compile(&self) -> Result<CompiledGraph, Problem> {
        compile_unlooked(&self.source()).map_err(|problems| Problem::usage(problems.to_string()))
    }

    /// The graphs that it takes in by name.
    pub fn takes_in(&self) -> Vec<String> {
        inline_references(&self.source())
    }

    fn source(&self) -> Source<'_> {
        Source { name: &self.name, text: &self.text }
    }
}

/// Reads a graph document; `-` is standard input.
pub fn document(path: &Path) -> Result<Document, Problem> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let text = read(path, MAX_DOCUMENT_BYTES as u64, "document")?;
    Ok(Document { name, text })
}

/// Reads a recording of another system; `-` is standard input.
pub fn recording(path: &Path) -> Result<Document, Problem> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let text = read(path, wfcommons::MAX_BYTES as u64, "recording")?;
    Ok(Document { name, text })
}

/// The inputs of an execution, as the option says: JSON, `@FILE` or `-` for standard input. Nothing is the empty object.
pub fn inputs(option: Option<&str>) -> Result<Value, Problem> {
    option.map_or_else(|| Ok(Value::Object(serde_json::Map::new())), |given| json(given, "--input"))
}

/// Limits in the place of a graph's, as the option says: text or `@FILE`. Nothing is those of the graph.
pub fn limits(given: Option<&str>) -> Result<LimitOverrides, Problem> {
    let Some(given) = given else { return Ok(LimitOverrides::default()) };
    let (name, text) = match given.strip_prefix('@') {
        Some(file) => (file, read(Path::new(file), MAX_DOCUMENT_BYTES as u64, "document")?),
        None => ("--limits", given.to_owned()),
    };
    read_limits(&Source { name, text: &text }).map_err(|problems| Problem::usage(problems.to_string()))
}

/// A value, as an option of this name says. Nothing is null.
pub fn value(given: Option<&str>, option: &str) -> Result<Data, Problem> {
    let Some(given) = given else { return Ok(Data::null()) };
    let value = json(given, option)?;
    Data::from_json(&value).map_err(|error| Problem::new(Exit::Exhausted, format!("{option} cannot be taken: {error}")))
}

fn json(given: &str, option: &str) -> Result<Value, Problem> {
    let (name, text) = match given {
        "-" => ("standard input".to_owned(), read(Path::new("-"), MAX_INPUT_BYTES, "input")?),
        given => match given.strip_prefix('@') {
            Some(file) => (file.to_owned(), read(Path::new(file), MAX_INPUT_BYTES, "input")?),
            None => (option.to_owned(), given.to_owned()),
        },
    };
    serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = error.to_string();
        let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
        let at = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let from = column.saturating_sub(SHOWN_CHARS / 2);
        let shown: String = at.chars().skip(from).take(SHOWN_CHARS).collect();
        let shown = crate::output::printable(&shown);
        let message = format!("{name}:{line}:{column}: the input is not JSON: {why}\n  {shown}");
        let hint = match name == option {
            true if option == "--input" => "--input takes JSON, @FILE, or - for standard input".to_owned(),
            true => format!("{option} takes JSON, @FILE, or - for standard input; a text is quoted: '\"like this\"'"),
            false => "JSON is needed here".to_owned(),
        };
        Problem::usage(message).hint(hint)
    })
}

/// Checks inputs against the graph and the limits before anything is stored.
pub fn checked(graph: &CompiledGraph, inputs: &Value) -> Result<Data, Problem> {
    let data = Data::from_json(inputs)?;
    let problems = graph.input_problems(inputs);
    if problems.is_empty() {
        return Ok(data);
    }
    let list = problems.iter().map(|problem| format!("\n  {problem}")).collect::<String>();
    Err(Problem::usage(format!("the input does not fit the graph {}:{list}", graph.name)))
}

fn read(path: &Path, limit: u64, what: &str) -> Result<String, Problem> {
    let standard = path == Path::new("-");
    let shown = if standard { "standard input".into() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let outcome = if standard {
        std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    if let Err(error) = outcome {
        // A file that is named on a command line and cannot be read makes it a wrong command line.
        return Err(Problem::usage(format!("cannot read {shown}: {}", chain(&error))));
    }
    if bytes.len() as u64 > limit {
        return Err(Problem::new(Exit::Exhausted, format!("{shown} has more than {limit} bytes ({what} limit)")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Problem::usage(format!("{shown}:{line}: not UTF-8: byte {at} begins no character"))
    })
}

#[cfg(test)]
mod tests;
