//! Target bindings: what becomes of the output of an execution, for whoever keeps threads, summaries or memories.
//!
//! A binding names a place and a transform. It is applied once, when the execution completes, and what it gave is
//! recorded; bringing it to its place is for whoever keeps that place, who reads it from the callback or the execution.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::parts::is_default;
use crate::id::{ExecutionId, ThreadId};

/// Longest text that a transform may give, in characters.
pub const MAX_APPLIED_CHARS: usize = 65_536;
/// Length that `truncate` cuts to unless somebody says otherwise, in characters.
const TRUNCATE_CHARS: u32 = 500;
/// Longest title, in characters.
const TITLE_CHARS: u32 = 100;
/// Steps that a path may have.
const MAX_PATH_STEPS: usize = 64;
const DOTS: &str = "...";

/// Where a result belongs. By the names of the original specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TargetType {
    #[serde(rename = "thread.title")]
    ThreadTitle,
    #[serde(rename = "thread.summary")]
    ThreadSummary,
    #[serde(rename = "execution.summary")]
    ExecutionSummary,
    #[serde(rename = "message.metadata")]
    MessageMetadata,
    #[serde(rename = "artifact.create")]
    ArtifactCreate,
    #[serde(rename = "memory.write")]
    MemoryWrite,
    #[serde(rename = "custom")]
    Custom,
}

impl TargetType {
    pub const ALL: [TargetType; 7] = [
        TargetType::ThreadTitle,
        TargetType::ThreadSummary,
        TargetType::ExecutionSummary,
        TargetType::MessageMetadata,
        TargetType::ArtifactCreate,
        TargetType::MemoryWrite,
        TargetType::Custom,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            TargetType::ThreadTitle => "thread.title",
            TargetType::ThreadSummary => "thread.summary",
            TargetType::ExecutionSummary => "execution.summary",
            TargetType::MessageMetadata => "message.metadata",
            TargetType::ArtifactCreate => "artifact.create",
            TargetType::MemoryWrite => "memory.write",
            TargetType::Custom => "custom",
        }
    }

    /// What a binding of this type does unless somebody says otherwise.
    pub const fn preset(self) -> (Transform, Option<u32>) {
        match self {
            TargetType::ThreadTitle => (Transform::FirstLine, Some(TITLE_CHARS)),
            TargetType::ThreadSummary | TargetType::ExecutionSummary => (Transform::Truncate, Some(TRUNCATE_CHARS)),
            TargetType::MessageMetadata | TargetType::ArtifactCreate | TargetType::MemoryWrite | TargetType::Custom => {
                (Transform::None, None)
            }
        }
    }

    /// What its path is: the key of a memory, the type of an artifact. `None` where it means nothing.
    pub const fn path_is(self) -> Option<&'static str> {
        match self {
            TargetType::ArtifactCreate => Some("the type of the artifact"),
            TargetType::MemoryWrite => Some("the key of the memory"),
            TargetType::Custom => Some("the place"),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// The output as it is.
    #[default]
    None,
    /// Its first line, without blanks around it, cut if there is a length.
    FirstLine,
    /// So many characters of it, the last three dots where it was cut.
    Truncate,
    /// A part of it, by a path.
    JsonExtract,
}

impl Transform {
    pub const fn name(self) -> &'static str {
        match self {
            Transform::None => "none",
            Transform::FirstLine => "first_line",
            Transform::Truncate => "truncate",
            Transform::JsonExtract => "json_extract",
        }
    }
}

/// A place for the output of an execution, and what the output is made into for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetBinding {
    #[serde(rename = "t")]
    pub target: TargetType,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(rename = "x", default, skip_serializing_if = "is_default")]
    pub transform: Transform,
    /// In characters.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    #[serde(rename = "j", default, skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<ThreadId>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<ExecutionId>,
}

/// What a transform gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The output itself.
    Output,
    Text(String),
}

impl TargetBinding {
    /// Under full names, for people and programs outside.
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "target_type": self.target,
            "target_path": self.path,
            "transform": self.transform,
            "max_length": self.max_length,
            "json_path": self.json_path,
            "thread_id": self.thread_id,
            "execution_id": self.execution_id,
        });
        super::without_nulls(&mut out);
        out
    }

    /// Makes of an output what the binding asks for. Never cuts a character in two.
    ///
    /// # Errors
    /// In words for people: a path that leads nowhere, a text that is no JSON, a result that is too long.
    pub fn apply(&self, output: &Value) -> Result<Applied, String> {
        let text = match self.transform {
            Transform::None => return Ok(Applied::Output),
            Transform::FirstLine => {
                let text = text_of(output);
                let line = text.trim_start().lines().next().unwrap_or_default().trim();
                self.max_length.map_or_else(|| line.to_owned(), |most| first(line, most))
            }
            Transform::Truncate => truncate(&text_of(output), self.max_length.unwrap_or(TRUNCATE_CHARS)),
            Transform::JsonExtract => {
                let path = self.json_path.as_deref().ok_or("`json_extract` needs a `json_path`")?;
                let found = extract(output, path)?;
                self.max_length.map_or_else(|| found.clone(), |most| truncate(&found, most))
            }
        };
        if text.chars().nth(MAX_APPLIED_CHARS).is_some() {
            return Err(format!(
                "what the transform gives is longer than {MAX_APPLIED_CHARS} characters; give a `max_length`"
            ));
        }
        Ok(Applied::Text(text))
    }
}

/// A text as it is, anything else as JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// So many characters at most.
fn first(text: &str, most: u32) -> String {
    text.chars().take(most as usize).collect()
}

/// So many characters at most, the last three of them dots where something was cut and there is room for more than dots.
fn truncate(text: &str, most: u32) -> String {
    let most_chars = most as usize;
    if text.chars().nth(most_chars).is_none() {
        return text.to_owned();
    }
    if most_chars <= DOTS.len() {
        return first(text, most);
    }
    let mut cut: String = text.chars().take(most_chars - DOTS.len()).collect();
    cut.push_str(DOTS);
    cut
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PathStep<'a> {
    Field(&'a str),
    Index(usize),
    /// Every element.
    Each,
}

/// The steps of a path: `$` (which may be left out), `.field`, `[3]`, `[*]`.
fn steps(path: &str) -> Result<Vec<PathStep<'_>>, String> {
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    let rooted = rest.len() < path.len();
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() >= MAX_PATH_STEPS {
            return Err(format!("the path `{path}` has more than {MAX_PATH_STEPS} steps"));
        }
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, after) =
                inside.split_once(']').ok_or_else(|| format!("the path `{path}` has a `[` without its `]`"))?;
            steps.push(match index.trim() {
                "*" => PathStep::Each,
                number => PathStep::Index(
                    number
                        .parse()
                        .map_err(|_| format!("`[{index}]` in the path `{path}` is neither a place from 0 nor `*`"))?,
                ),
            });
            rest = after;
            continue;
        }
        // The first field may stand without its dot where there is no root.
        let named = match rest.strip_prefix('.') {
            Some(named) => named,
            None if steps.is_empty() && !rooted => rest,
            None => return Err(format!("the path `{path}` has `{}` where a dot or a `[` belongs", first(rest, 20))),
        };
        let end = named.find(['.', '[']).unwrap_or(named.len());
        let (field, after) = named.split_at(end);
        if field.is_empty() {
            return Err(format!("the path `{path}` has a dot without a name"));
        }
        steps.push(PathStep::Field(field));
        rest = after;
    }
    Ok(steps)
}

/// Whether a path can be followed at all.
///
/// # Errors
/// In words for people.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    steps(path).map(drop)
}

/// The part of a value that a path leads to, as text; several, behind `[*]`, are joined by a comma and a blank.
fn extract(output: &Value, path: &str) -> Result<String, String> {
    let parsed: Value;
    let root = match output {
        // What a callable gave as text may be JSON all the same.
        Value::String(text) => {
            parsed = serde_json::from_str(text).map_err(|error| format!("the output is text and no JSON: {error}"))?;
            &parsed
        }
        other => other,
    };
    let mut found = vec![root];
    let mut several = false;
    for step in steps(path)? {
        let mut next = Vec::with_capacity(found.len());
        for value in found {
            match (&step, value) {
                (PathStep::Field(name), Value::Object(fields)) => {
                    next.push(fields.get(*name).ok_or_else(|| format!("there is no field `{name}` (path `{path}`)"))?);
                }
                (PathStep::Field(name), _) => {
                    return Err(format!("`{name}` is asked of something that is no object (path `{path}`)"));
                }
                (PathStep::Index(at), Value::Array(items)) => next.push(items.get(*at).ok_or_else(|| {
                    format!("there is no element {at}: the list has {} (path `{path}`)", items.len())
                })?),
                (PathStep::Each, Value::Array(items)) => next.extend(items),
                (PathStep::Index(_) | PathStep::Each, _) => {
                    return Err(format!("an element is asked of something that is no list (path `{path}`)"));
                }
            }
        }
        several |= step == PathStep::Each;
        found = next;
    }
    match (several, found.as_slice()) {
        (false, [one]) => Ok(text_of(one)),
        _ => Ok(found.into_iter().map(text_of).collect::<Vec<_>>().join(", ")),
    }
}
