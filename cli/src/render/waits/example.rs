//! A value that fits a JSON Schema well enough to be edited: what a person would otherwise have to look up.

use serde_json::{Map, Value};

/// Deepest object in an example.
const DEPTH: usize = 4;

/// An example of what a form asks for; `None` where it asks for nothing.
pub fn of(schema: &Value) -> Option<Value> {
    schema.as_object().map(|_| value(schema, DEPTH))
}

fn value(schema: &Value, depth: usize) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|choices| choices.first()) {
        return first.clone();
    }
    for given in ["const", "default"] {
        if !schema[given].is_null() {
            return schema[given].clone();
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        other => other.as_str(),
    };
    match kind {
        Some("string") => "…".into(),
        Some("boolean") => true.into(),
        Some("integer" | "number") => schema["minimum"].as_f64().map_or(Value::from(0), |_| schema["minimum"].clone()),
        Some("array") => Value::Array(Vec::new()),
        Some("null") => Value::Null,
        // An object, or whatever fits.
        _ if depth == 0 => Value::Object(Map::new()),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let fields = required.map(|name| (name.to_owned(), value(&schema["properties"][name], depth - 1)));
            Value::Object(fields.collect())
        }
    }
}
