//! A document as a tree of values that know where they were written.

use std::collections::HashMap;

use serde_json::{Map, Number, Value as Json};

use crate::graph::diagnose::Place;
use crate::graph::expression::Way;

/// Deepest nesting of a document: the deepest value it could hand to a step, and a little around it.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most values in a document, after aliases were followed.
pub(crate) const MAX_NODES: usize = 1_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) place: Place,
    pub(crate) shape: Shape,
}

#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(Key, Tree)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Tree {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.shape {
            Shape::Null => "nothing",
            Shape::Bool(_) => "a boolean",
            Shape::Number(_) => "a number",
            Shape::Text(_) => "text",
            Shape::List(_) => "a list",
            Shape::Map(_) => "a map",
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Tree> {
        match &self.shape {
            Shape::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        match &self.shape {
            Shape::Null => Json::Null,
            Shape::Bool(bool) => Json::Bool(*bool),
            Shape::Number(number) => Json::Number(number.clone()),
            Shape::Text(text) => Json::String(text.clone()),
            Shape::List(items) => Json::Array(items.iter().map(Tree::to_json).collect()),
            Shape::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.name.clone(), value.to_json()));
                Json::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// Where the tree is larger than a document may be that is read, and how: it could be written, and not read again.
    pub(crate) fn excess(&self) -> Option<(Place, String)> {
        fn look(tree: &Tree, depth: usize, values: &mut usize) -> Option<(Place, String)> {
            *values += 1;
            if depth > MAX_DEPTH {
                return Some((tree.place, format!("the document nests deeper than {MAX_DEPTH} levels")));
            }
            if *values > MAX_NODES {
                return Some((tree.place, format!("the document has more than {MAX_NODES} values")));
            }
            match &tree.shape {
                Shape::List(items) => items.iter().find_map(|item| look(item, depth + 1, values)),
                Shape::Map(entries) => entries.iter().find_map(|(_, value)| look(value, depth + 1, values)),
                _ => None,
            }
        }
        look(self, 0, &mut 0)
    }

    /// The part of the tree that a way leads to, or the last part on it that is there.
    pub(crate) fn follow(&self, way: &[Way]) -> &Tree {
        let mut tree = self;
        for step in way {
            let next = match (step, &tree.shape) {
                (Way::Key(key), Shape::Map(_)) => tree.get(key),
                (Way::Item(at), Shape::List(items)) => items.get(*at),
                _ => None,
            };
            let Some(next) = next else { return tree };
            tree = next;
        }
        tree
    }
}

/// Canonical JSON: keys sorted by their bytes, no blanks. Written by hand, because whether `serde_json` sorts depends on
/// features that any crate of a build may switch on.
pub(crate) fn canonical(tree: &Tree) -> String {
    fn write(out: &mut String, tree: &Tree) {
        match &tree.shape {
            Shape::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write(out, item);
                }
                out.push(']');
            }
            Shape::Map(entries) => {
                let mut entries: Vec<&(Key, Tree)> = entries.iter().collect();
                entries.sort_by(|a, b| a.0.name.cmp(&b.0.name));
                out.push('{');
                for (at, (key, value)) in entries.into_iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(&Json::String(key.name.clone()).to_string());
                    out.push(':');
                    write(out, value);
                }
                out.push('}');
            }
            _ => out.push_str(&tree.to_json().to_string()),
        }
    }
    let mut out = String::new();
    write(&mut out, tree);
    out
}

/// The first key that stands twice in a map.
pub(crate) fn repeated(entries: &[(Key, Tree)]) -> Option<(&Key, &Key)> {
    let mut seen: HashMap<&str, &Key> = HashMap::with_capacity(entries.len());
    entries.iter().find_map(|(key, _)| seen.insert(&key.name, key).map(|first| (first, key)))
}
