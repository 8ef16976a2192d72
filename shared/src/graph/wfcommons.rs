//! Recorded scientific workflows of the WfCommons collection (WfFormat) as graphs.
//!
//! Each task becomes one node and each dependency one edge; nothing is added. By default a node sleeps as long as the
//! task ran, so that a recorded workflow is a load test with a known critical path.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value as Json, json};

use super::diagnose::Reporter;
use super::document;
use super::document::tree::{Shape, Tree};
use super::room::with_room;

/// Versions of the format that have the shape read here.
const VERSIONS: [&str; 2] = ["1.4", "1.5"];
/// Longest name of a node that is made from an id; the suffix fits behind it.
const MAX_STEM: usize = 110;
/// Hex digits of the hash that tells two changed ids apart.
const SUFFIX_DIGITS: usize = 12;
/// Largest recording in bytes: the largest known has about six million.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// What the recording is called in messages: its file.
    pub source: String,
    /// Recorded seconds are multiplied by this; 0 makes every task immediate.
    pub time_scale: f64,
    /// What each node runs.
    pub callable: String,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { source: "recording".to_owned(), time_scale: 1.0, callable: "sleep".to_owned() }
    }
}

/// Why a recording cannot become a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("the recording has {found} bytes; the limit is {MAX_BYTES}")]
    TooLarge { found: usize },
    #[error("{0}")]
    NotJson(String),
    #[error("not a WfFormat recording: {0}")]
    Shape(String),
    #[error("WfFormat {0} is not supported; versions 1.4 and 1.5 are")]
    Version(String),
    #[error("the time scale {0} is not a number from 0 up")]
    TimeScale(String),
    #[error("task `{task}` would take {seconds} s × {scale}, longer than can be said")]
    TooLong { task: String, seconds: String, scale: String },
    #[error("the recording has {found} tasks; the limit is {limit}", limit = document::MAX_NODES)]
    TooManyTasks { found: usize },
    #[error("the recording has no tasks")]
    NoTasks,
    #[error("two tasks have the id `{0}`")]
    DuplicateId(String),
    #[error("task `{task}` names `{other}` as its {role}, and there is no such task")]
    UnknownTask { task: String, role: &'static str, other: String },
    #[error("the tasks wait for each other in a circle, through `{0}`")]
    Cycle(String),
}

/// The graph document of a recording.
pub fn import(text: &str, options: &ImportOptions) -> Result<Json, ImportError> {
    if text.len() > MAX_BYTES {
        return Err(ImportError::TooLarge { found: text.len() });
    }
    if !options.time_scale.is_finite() || options.time_scale < 0.0 {
        return Err(ImportError::TimeScale(options.time_scale.to_string()));
    }
    with_room(|| {
        let mut reporter = Reporter::new(&options.source, text);
        match document::parse_json(text, &mut reporter) {
            Some(tree) => Recording::read(&tree, options.time_scale)?.document(options),
            None => Err(ImportError::NotJson(reporter.finish().to_string())),
        }
    })
    .unwrap_or_else(|no_result| Err(ImportError::Shape(no_result.to_string())))
}

struct Recording<'t> {
    name: String,
    /// In the order of the recording.
    tasks: Vec<Task<'t>>,
}

struct Task<'t> {
    id: &'t str,
    seconds: f64,
    /// Places of the tasks that wait for this one.
    children: BTreeSet<usize>,
}

impl<'t> Recording<'t> {
    fn read(tree: &'t Tree, scale: f64) -> Result<Self, ImportError> {
        let shape = |what: &str| ImportError::Shape(what.to_owned());
        let version = tree.get("schemaVersion").and_then(text).ok_or_else(|| shape("it has no `schemaVersion`"))?;
        if !VERSIONS.contains(&version) {
            return Err(ImportError::Version(document::short(version)));
        }
        let workflow = tree.get("workflow").ok_or_else(|| shape("it has no `workflow`"))?;
        let specified = workflow
            .get("specification")
            .and_then(|specification| specification.get("tasks"))
            .and_then(list)
            .ok_or_else(|| shape("it has no list `workflow.specification.tasks`"))?;
        if specified.is_empty() {
            return Err(ImportError::NoTasks);
        }
        if specified.len() > document::MAX_NODES {
            return Err(ImportError::TooManyTasks { found: specified.len() });
        }
        let mut places = HashMap::with_capacity(specified.len());
        let mut tasks = Vec::with_capacity(specified.len());
        for task in specified {
            let id = task.get("id").and_then(text).ok_or_else(|| shape("a task has no `id`"))?;
            if places.insert(id, tasks.len()).is_some() {
                return Err(ImportError::DuplicateId(document::short(id)));
            }
            tasks.push(Task { id, seconds: 0.0, children: BTreeSet::new() });
        }
        for (task, at) in specified.iter().zip(0..) {
            let find = |role: &'static str, other: &Tree| {
                let other = text(other).ok_or_else(|| shape("a dependency is not text"))?;
                places.get(other).copied().ok_or_else(|| ImportError::UnknownTask {
                    task: document::short(tasks_id(specified, at)),
                    role,
                    other: document::short(other),
                })
            };
            for parent in task.get("parents").and_then(list).unwrap_or_default() {
                let parent = find("parent", parent)?;
                tasks[parent].children.insert(at);
            }
            for child in task.get("children").and_then(list).unwrap_or_default() {
                let child = find("child", child)?;
                tasks[at].children.insert(child);
            }
        }
        let executed = workflow.get("execution").and_then(|execution| execution.get("tasks")).and_then(list);
        for record in executed.unwrap_or_default() {
            let id = record.get("id").and_then(text).ok_or_else(|| shape("an executed task has no `id`"))?;
            let seconds = match record.get("runtimeInSeconds").or_else(|| record.get("runtime")).map(|tree| &tree.shape)
            {
                Some(Shape::Number(seconds)) => seconds.as_f64().unwrap_or(0.0),
                None => 0.0,
                Some(_) => return Err(shape("a runtime is not a number")),
            };
            let at = places.get(id).ok_or_else(|| ImportError::UnknownTask {
                task: "workflow.execution".to_owned(),
                role: "task",
                other: document::short(id),
            })?;
            // Six digits are microseconds; more are noise of the multiplication.
            let scaled = (seconds.max(0.0) * scale * 1e6).round() / 1e6;
            if !scaled.is_finite() {
                return Err(ImportError::TooLong {
                    task: document::short(id),
                    seconds: format!("{seconds:e}"),
                    scale: format!("{scale:e}"),
                });
            }
            tasks[*at].seconds = scaled;
        }
        let name = tree.get("name").and_then(text).unwrap_or("workflow");
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' })
            .take(128)
            .collect();
        let recording = Recording { name: if name.is_empty() { "workflow".to_owned() } else { name }, tasks };
        recording.refuse_cycles()?;
        Ok(recording)
    }

    /// Takes away tasks that wait for nothing until none is left (Kahn, 1962).
    fn refuse_cycles(&self) -> Result<(), ImportError> {
        let mut waits = vec![0_usize; self.tasks.len()];
        for child in self.tasks.iter().flat_map(|task| &task.children) {
            waits[*child] += 1;
        }
        let mut ready: Vec<usize> = (0..waits.len()).filter(|task| waits[*task] == 0).collect();
        let mut done = 0;
        while let Some(task) = ready.pop() {
            done += 1;
            for child in &self.tasks[task].children {
                waits[*child] -= 1;
                if waits[*child] == 0 {
                    ready.push(*child);
                }
            }
        }
        match waits.iter().position(|waits| *waits > 0) {
            Some(stuck) if done < self.tasks.len() => Err(ImportError::Cycle(document::short(self.tasks[stuck].id))),
            _ => Ok(()),
        }
    }

    fn document(&self, options: &ImportOptions) -> Result<Json, ImportError> {
        let names = node_names(self.tasks.iter().map(|task| task.id));
        let mut nodes = BTreeMap::new();
        for (task, name) in self.tasks.iter().zip(&names) {
            let mut node = Map::new();
            if name != task.id {
                node.insert("label".to_owned(), json!(document::short_label(task.id)));
            }
            node.insert("task".to_owned(), json!(options.callable));
            node.insert("with".to_owned(), json!({ "seconds": task.seconds }));
            if !task.children.is_empty() {
                let next: Vec<Json> = task.children.iter().map(|child| json!({ "to": names[*child] })).collect();
                node.insert("next".to_owned(), Json::Array(next));
            }
            nodes.insert(name.clone(), Json::Object(node));
        }
        Ok(json!({ "stepstream": document::FORMAT, "name": self.name, "version": "1", "nodes": nodes }))
    }
}

/// Names that match the alphabet of nodes, one for each id, in order. An id that does so keeps its name; another gets
/// one with a hash of the id behind it, longer where that is taken.
fn node_names<'a>(ids: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let fits = |id: &str| {
        id.len() <= 128
            && id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut taken: BTreeSet<String> = ids.clone().filter(|id| fits(id)).map(str::to_owned).collect();
    ids.map(|id| {
        if fits(id) {
            return id.to_owned();
        }
        let mut stem: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(MAX_STEM).collect();
        if !stem.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            stem.insert(0, '_');
        }
        let hash = blake3::hash(id.as_bytes()).to_hex();
        let mut name = format!("{stem}_{}", &hash[..SUFFIX_DIGITS]);
        // Somebody may have named a task like our own invention; each round is another name.
        let mut round = 1;
        while !taken.insert(name.clone()) {
            round += 1;
            name = format!("{stem}_{}_{round}", &hash[..SUFFIX_DIGITS - 4]);
        }
        name
    })
    .collect()
}

fn text(tree: &Tree) -> Option<&str> {
    match &tree.shape {
        Shape::Text(text) => Some(text),
        _ => None,
    }
}

fn list(tree: &Tree) -> Option<&[Tree]> {
    match &tree.shape {
        Shape::List(items) => Some(items),
        _ => None,
    }
}

fn tasks_id(tasks: &[Tree], at: usize) -> &str {
    tasks.get(at).and_then(|task| task.get("id")).and_then(text).unwrap_or("?")
}

#[cfg(test)]
mod tests;
