//! The functions of the language.

use regex::RegexBuilder;

use crate::Value;

/// Their names.
pub const NAMES: [&str; 11] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "lowerAscii",
    "upperAscii",
    "int",
    "uint",
    "double",
    "string",
];

/// Largest program of a regular expression, bytes.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting in a regular expression.
const PATTERN_DEPTH_MAX: u32 = 32;

/// Calls a function; nothing when there is none of this name that takes such arguments.
pub fn call(name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
    let value = match (name, arguments) {
        ("size", [Value::Text(text)]) => count(text.chars().count()),
        ("size", [Value::List(list)]) => count(list.len()),
        ("size", [Value::Map(map)]) => count(map.len()),
        ("contains", [Value::Text(text), Value::Text(part)]) => Value::Bool(text.contains(&**part)),
        ("startsWith", [Value::Text(text), Value::Text(part)]) => Value::Bool(text.starts_with(&**part)),
        ("endsWith", [Value::Text(text), Value::Text(part)]) => Value::Bool(text.ends_with(&**part)),
        ("matches", [Value::Text(text), Value::Text(pattern)]) => return Some(matches(text, pattern)),
        ("lowerAscii", [Value::Text(text)]) => Value::from(text.to_ascii_lowercase().as_str()),
        ("upperAscii", [Value::Text(text)]) => Value::from(text.to_ascii_uppercase().as_str()),
        ("int" | "uint" | "double" | "string", [value]) => return convert(name, value),
        _ => return None,
    };
    Some(Ok(value))
}

fn count(length: usize) -> Value {
    Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
}

fn matches(text: &str, pattern: &str) -> Result<Value, String> {
    let pattern = RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .nest_limit(PATTERN_DEPTH_MAX)
        .build();
    // The last line says what is wrong; those before it draw a picture.
    let wrong = |error: regex::Error| {
        let text = error.to_string();
        format!("not a regular expression: {}", text.lines().last().unwrap_or_default().trim())
    };
    Ok(Value::Bool(pattern.map_err(wrong)?.is_match(text)))
}

fn convert(name: &str, value: &Value) -> Option<Result<Value, String>> {
    let converted = match (name, value) {
        ("string", Value::Text(_))
        | ("int", Value::Int(_))
        | ("uint", Value::Uint(_))
        | ("double", Value::Double(_)) => Some(value.clone()),
        ("string", Value::Bool(value)) => Some(Value::from(value.to_string().as_str())),
        ("string", Value::Int(value)) => Some(Value::from(value.to_string().as_str())),
        ("string", Value::Uint(value)) => Some(Value::from(value.to_string().as_str())),
        ("string", Value::Double(value)) => Some(Value::from(value.to_string().as_str())),
        ("int", Value::Uint(value)) => i64::try_from(*value).ok().map(Value::Int),
        ("int", Value::Double(value)) => {
            whole(*value, i64::MIN as f64, i64::MAX as f64).map(|value| Value::Int(value as i64))
        }
        ("int", Value::Text(text)) => text.parse().ok().map(Value::Int),
        ("uint", Value::Int(value)) => u64::try_from(*value).ok().map(Value::Uint),
        ("uint", Value::Double(value)) => {
            whole(*value, 0.0, u64::MAX as f64).map(|value| Value::Uint(value as u64))
        }
        ("uint", Value::Text(text)) => text.parse().ok().map(Value::Uint),
        ("double", Value::Int(value)) => Some(Value::Double(*value as f64)),
        ("double", Value::Uint(value)) => Some(Value::Double(*value as f64)),
        ("double", Value::Text(text)) => text.parse().ok().map(Value::Double),
        _ => return None,
    };
    Some(converted.ok_or_else(|| format!("{} cannot be converted by {name}()", value.kind())))
}

/// A number without what is behind its point, if it is in the range; the upper end is not.
fn whole(value: f64, least: f64, most: f64) -> Option<f64> {
    (value.is_finite() && value.trunc() >= least && value < most).then(|| value.trunc())
}
