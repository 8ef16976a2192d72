//! JSON Schemas in documents (of inputs, forms, payloads): compiled once, without a way out of the document.

use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value as Json;

use crate::artifact::Reference;
use crate::graph::diagnose::Reporter;
use crate::graph::document::tree::{Shape, Tree};

/// Most parts of a schema: validators cost more than the text they are made of.
const MAX_PARTS: usize = 20_000;
/// Largest compiled `pattern` in bytes.
const MAX_PATTERN_BYTES: usize = 256 * 1024;

pub(crate) fn compile(tree: &Tree, field: &str, reporter: &mut Reporter<'_>) -> Option<Arc<Validator>> {
    if !matches!(tree.shape, Shape::Map(_) | Shape::Bool(_)) {
        let message = format!("`{field}` is a JSON Schema, not {}", tree.kind());
        reporter.report_with(
            tree.place,
            "wrong-type",
            message,
            format!("for example `{field}: {{ type: object, required: [url] }}`"),
        );
        return None;
    }
    let mut parts = 0;
    let clean = check(tree, &mut parts, reporter);
    if parts > MAX_PARTS {
        let message = format!("`{field}` has {parts} parts; the limit is {MAX_PARTS} (schema limit)");
        reporter.report(tree.place, "document-limit", message);
        return None;
    }
    if !clean {
        return None;
    }
    let schema = tree.to_json();
    // Linear-time patterns only: a backtracking engine lets a schema stop the server.
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    match jsonschema::options().with_pattern_options(patterns).offline().build(&schema) {
        Ok(validator) => Some(Arc::new(validator)),
        Err(error) => {
            let place = place_of(tree, error.instance_path().as_str());
            let message = format!("`{field}` is not a JSON Schema: {}", shorten(&error.to_string()));
            reporter.report_with(
                place,
                "bad-schema",
                message,
                "see json-schema.org; drafts 4 to 2020-12 are understood",
            );
            None
        }
    }
}

/// References stay inside the schema, at named parts: `#` alone would be a schema that is itself.
fn check(tree: &Tree, parts: &mut usize, reporter: &mut Reporter<'_>) -> bool {
    *parts += 1;
    let mut clean = true;
    match &tree.shape {
        Shape::List(items) => {
            for item in items {
                clean &= check(item, parts, reporter);
            }
        }
        Shape::Map(entries) => {
            for (key, value) in entries {
                if matches!(key.name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef")
                    && let Shape::Text(target) = &value.shape
                    && !target.starts_with("#/")
                {
                    clean = false;
                    let message =
                        format!("the reference `{}` leads out of the schema's own definitions", shorten(target));
                    let hint = "put it under `$defs` and refer to it as `#/$defs/<name>`";
                    reporter.report_with(value.place, "bad-schema", message, hint);
                }
                clean &= check(value, parts, reporter);
            }
        }
        _ => {}
    }
    clean
}

fn place_of(tree: &Tree, pointer: &str) -> crate::graph::diagnose::Place {
    use crate::graph::expression::Way;
    let way: Vec<Way> = pointer
        .split('/')
        .skip(1)
        .map(|step| match step.parse() {
            Ok(at) => Way::Item(at),
            Err(_) => Way::Key(step.replace("~1", "/").replace("~0", "~")),
        })
        .collect();
    tree.follow(&way).place
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(160).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Whether inputs fit; every problem, with the path to it.
pub(crate) fn problems(validator: &Validator, inputs: &Json) -> Vec<String> {
    const MAX_PROBLEMS: usize = 20;
    // What was put away was judged before it was.
    let put_away = |path: &str| {
        let top = path.strip_prefix('/').and_then(|path| path.split('/').next()).unwrap_or_default();
        let field = top.replace("~1", "/").replace("~0", "~");
        !top.is_empty() && inputs.get(&field).is_some_and(|value| Reference::of(value).is_some())
    };
    validator
        .iter_errors(inputs)
        .filter(|error| !put_away(error.instance_path().as_str()))
        .take(MAX_PROBLEMS)
        .map(|error| match error.instance_path().as_str() {
            "" => shorten(&error.to_string()),
            path => format!("{path}: {}", shorten(&error.to_string())),
        })
        .collect()
}
