//! YAML to a tree. YAML 1.2 scalars: `NO` is a country, not a boolean. Aliases and merge keys are followed within a
//! budget, so a bomb of aliases is an error and not an out-of-memory kill.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::MAX_DOCUMENT_BYTES;
use super::tree::{Key, MAX_DEPTH, MAX_NODES, Shape, Tree};
use crate::graph::diagnose::{Place, Reporter};

/// Most values that aliases may repeat. Anchors save typing; whoever needs more of them generates the document.
const MAX_REPLAYED: usize = 100_000;

pub(crate) fn parse(text: &str, reporter: &mut Reporter<'_>) -> Option<Tree> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        reject_unsupported_tags: true,
        with_snippet: false,
        emit_comments: false,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            max_total_scalar_bytes: 2 * MAX_DOCUMENT_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: 16,
        },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Some(tree(raw)),
        Err(error) => {
            let error = error.without_snippet();
            let place = error.location().map_or(Place::START, place);
            let message = error.to_string();
            // The first line says what is wrong; the place is ours to print.
            let message = message.lines().next().unwrap_or("unreadable").trim_start_matches("error: ");
            let message = message.split(" at line ").next().unwrap_or(message);
            let lower = message.to_lowercase();
            if lower.contains("duplicate") {
                let message = message.split(", set ").next().unwrap_or(message);
                let hint = "keep one of the two; later ones do not override earlier ones";
                reporter.report_with(place, "duplicate-key", message, hint);
            } else if lower.contains("documents") {
                let hint = "write one file for each graph";
                reporter.report_with(place, "syntax", "a file holds one document, this one holds more", hint);
            } else if lower.contains("tag") {
                reporter.report_with(place, "syntax", message, "leave the tag out: values are JSON-like");
            } else if lower.contains("budget") || lower.contains("limit") || lower.contains("recursion") {
                let hint = format!("a document has at most {MAX_NODES} values, nested at most {MAX_DEPTH} deep");
                let message = "the document is too large or too deep once its aliases are followed (document limit)";
                reporter.report_with(place, "document-limit", message, hint);
            } else {
                let hint =
                    "not YAML; indent with blanks, and quote text that holds `: ` or begins with one of `&*!|>%@{[`";
                reporter.report_with(place, "syntax", message, hint);
            }
            None
        }
    }
}

enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
                Raw::deserialize(deserializer)
            }

            fn visit_bool<E: de::Error>(self, bool: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(bool))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Raw, E> {
                Ok(Raw::Number(number.into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Raw, E> {
                Ok(Raw::Number(number.into()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Raw, E> {
                Number::from_f64(number).map(Raw::Number).ok_or_else(|| E::custom("the number is not finite"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Raw, E> {
                Ok(Raw::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Raw::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Raw::Map(map))
            }
        }
        deserializer.deserialize_any(RawVisitor)
    }
}

fn tree(raw: Spanned<Raw>) -> Tree {
    let shape = match raw.value {
        Raw::Null => Shape::Null,
        Raw::Bool(bool) => Shape::Bool(bool),
        Raw::Number(number) => Shape::Number(number),
        Raw::Text(text) => Shape::Text(text),
        Raw::List(items) => Shape::List(items.into_iter().map(tree).collect()),
        Raw::Map(entries) => Shape::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Key { place: place(key.referenced), name: key.value }, tree(value)))
                .collect(),
        ),
    };
    Tree { place: place(raw.referenced), shape }
}

fn place(location: Location) -> Place {
    let number = |number: u64| u32::try_from(number.max(1)).unwrap_or(u32::MAX);
    Place { line: number(location.line()), column: number(location.column()) }
}
