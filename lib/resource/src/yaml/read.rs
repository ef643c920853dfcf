//! YAML to records.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::parse::{Tree, parse};
use super::text::{NEVER, SECOND, parse_duration, parse_time};
use super::url;
use super::{Style, YamlError};
use crate::field::{Field, FieldError, Kind, Node, Object};
use crate::record::{Form, Record};

/// Fills `record`, which is blank, from its YAML form. A mapping is understood in either of its styles.
///
/// # Errors
/// When the text is not YAML or a value does not fit its field.
pub fn read(text: &str, record: &mut dyn Record, style: Style) -> Result<(), YamlError> {
    let tree = parse(text)?;
    if style != Style::Scalar {
        return fill(&tree, record);
    }
    let form = record.fields().first().map_or(Form::Plain, |def| def.form);
    match record.field_mut(0) {
        Some(field) if field.kind() == Kind::Bytes => {
            let Tree::Scalar(text, _) = tree else {
                return Err(YamlError::Value("specification".to_owned()));
            };
            field.write(&Node::Bytes(Cow::Borrowed(text.as_bytes()))).map_err(|_| YamlError::Value(text))
        }
        Some(field) => put(field, form, &tree).map_err(|_| YamlError::Value("specification".to_owned())),
        None => Ok(()),
    }
}

fn fill(tree: &Tree, record: &mut dyn Record) -> Result<(), YamlError> {
    let Tree::Mapping(entries) = tree else {
        return if tree.is_null() { Ok(()) } else { Err(YamlError::Value("mapping".to_owned())) };
    };
    let table = record.fields();
    for (index, def) in table.iter().enumerate() {
        let Some(field) = record.field_mut(index) else { continue };
        if def.inline {
            if let Some(inner) = field.record_mut() {
                fill(tree, inner)?;
            } else if field.kind() == Kind::Object {
                let is_own = |key: &str| table.iter().any(|def| !def.inline && def.key == key);
                let rest = object(entries.iter().filter(|(key, _)| !is_own(key)));
                let written = field.write(&Node::Object(Cow::Owned(rest)));
                written.map_err(|_| YamlError::Value("mapping".to_owned()))?;
            }
        } else if let Some((key, value)) = entries.iter().find(|(key, _)| key == def.key && !key.is_empty()) {
            put(field, def.form, value).map_err(|error| match error {
                Fault::Nested(error) => error,
                Fault::Value => YamlError::Value(key.clone()),
            })?;
        }
    }
    Ok(())
}

/// An error before it has a key.
enum Fault {
    Nested(YamlError),
    Value,
}

impl From<FieldError> for Fault {
    fn from(_: FieldError) -> Self {
        Self::Value
    }
}

fn put(field: &mut dyn Field, form: Form, tree: &Tree) -> Result<(), Fault> {
    field.clear();
    if tree.is_null() {
        return Ok(());
    }
    match (field.kind(), tree) {
        (Kind::Record, tree) => {
            let record = field.record_mut().ok_or(Fault::Value)?;
            fill(tree, record).map_err(Fault::Nested)
        }
        (Kind::List(_), Tree::Sequence(items)) => {
            items.iter().try_for_each(|item| put(field.push().ok_or(Fault::Value)?, form, item))
        }
        (Kind::Text, Tree::Mapping(entries)) if form == Form::Url => {
            Ok(field.write(&Node::Text(url::read(entries).into()))?)
        }
        (Kind::List(_), Tree::Mapping(entries)) if form == Form::Pairs => {
            entries.iter().try_for_each(|(key, value)| {
                let record = field.push().and_then(Field::record_mut).ok_or(Fault::Value)?;
                record.field_mut(0).ok_or(Fault::Value)?.write(&Node::Text(key.into()))?;
                put(record.field_mut(1).ok_or(Fault::Value)?, Form::Plain, value)
            })
        }
        (Kind::Map(_), Tree::Mapping(entries)) => entries
            .iter()
            .try_for_each(|(key, value)| put(field.entry(key).ok_or(Fault::Value)?, form, value)),
        (Kind::Object, Tree::Mapping(entries)) => {
            Ok(field.write(&Node::Object(Cow::Owned(object(entries))))?)
        }
        (Kind::Duration, Tree::Mapping(entries)) => {
            Ok(field.write(&Node::Duration(i64::try_from(moment(entries)?).map_err(|_| Fault::Value)?))?)
        }
        (Kind::Time, Tree::Mapping(entries)) => {
            let time = after_epoch(moment(entries)?).ok_or(Fault::Value)?;
            Ok(field.write(&Node::Time(time))?)
        }
        (Kind::Bytes, Tree::Sequence(items)) => Ok(field.write(&Node::Bytes(Cow::Owned(bytes(items)?)))?),
        (Kind::Enumeration, Tree::Scalar(text, true)) if let Ok(number) = text.parse() => {
            Ok(field.write(&Node::Int(number))?)
        }
        (kind, Tree::Scalar(text, _)) => match scalar(kind, form, text)? {
            Some(node) => Ok(field.write(&node)?),
            None => Ok(()),
        },
        _ => Err(Fault::Value),
    }
}

/// Nanoseconds of a mapping with `seconds` and `nanos`.
fn moment(entries: &[(String, Tree)]) -> Result<i128, FieldError> {
    let part = |name: &str| match entries.iter().find(|(key, _)| key == name) {
        Some((_, Tree::Scalar(text, true))) => text.parse::<i64>().map_err(|_| FieldError::Range),
        Some(_) => Err(FieldError::Mismatch),
        None => Ok(0),
    };
    Ok(i128::from(part("seconds")?) * SECOND + i128::from(part("nanos")?))
}

fn after_epoch(nanos: i128) -> Option<SystemTime> {
    let distance = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).ok()?);
    if nanos < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

fn bytes(items: &[Tree]) -> Result<Vec<u8>, FieldError> {
    let byte = |item: &Tree| match item {
        Tree::Scalar(text, true) => text.parse().map_err(|_| FieldError::Range),
        _ => Err(FieldError::Mismatch),
    };
    items.iter().map(byte).collect()
}

/// The value that a text means for a field of this kind; `None` for an empty address.
fn scalar<'a>(kind: Kind, form: Form, text: &'a str) -> Result<Option<Node<'a>>, FieldError> {
    let parsed = match kind {
        Kind::Text | Kind::Enumeration | Kind::Hardware => Some(Node::Text(text.into())),
        Kind::Bool => match text {
            "true" | "True" | "TRUE" => Some(Node::Bool(true)),
            "false" | "False" | "FALSE" => Some(Node::Bool(false)),
            _ => None,
        },
        Kind::Int => text.parse().ok().map(Node::Int),
        Kind::Uint => text.parse().ok().map(Node::Uint),
        Kind::Float => float(text).map(Node::Float),
        Kind::Bytes if form == Form::Base64 => {
            STANDARD.decode(text).ok().map(|bytes| Node::Bytes(bytes.into()))
        }
        Kind::Address | Kind::Prefix | Kind::Endpoint if text.is_empty() => return Ok(None),
        Kind::Time if text == NEVER => return Ok(None),
        Kind::Address => text.parse().ok().map(Node::Address),
        Kind::Prefix => text.parse().ok().map(Node::Prefix),
        Kind::Endpoint => text.parse().ok().map(Node::Endpoint),
        Kind::Duration => parse_duration(text).map(Node::Duration),
        Kind::Time => parse_time(text).map(Node::Time),
        _ => None,
    };
    parsed.map(Some).ok_or(FieldError::Range)
}

fn float(text: &str) -> Option<f64> {
    match text {
        ".inf" | "+.inf" => Some(f64::INFINITY),
        "-.inf" => Some(f64::NEG_INFINITY),
        ".nan" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

fn object<'a>(entries: impl IntoIterator<Item = &'a (String, Tree)>) -> Object {
    entries.into_iter().map(|(key, tree)| (key.clone(), value(tree))).collect()
}

fn value(tree: &Tree) -> Value {
    match tree {
        Tree::Mapping(entries) => Value::Object(object(entries)),
        Tree::Sequence(items) => Value::Array(items.iter().map(value).collect()),
        Tree::Scalar(text, false) => Value::String(text.clone()),
        tree if tree.is_null() => Value::Null,
        Tree::Scalar(text, true) => plain_value(text),
    }
}

fn plain_value(text: &str) -> Value {
    match text {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::Number(number.into());
    }
    if let Ok(number) = text.parse::<u64>() {
        return Value::Number(number.into());
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.').then(|| float(text));
    match number.flatten().and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}
