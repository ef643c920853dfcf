//! `google.protobuf.Struct`.

use serde_json::{Number, Value};

use super::wire::{Reader, Wire, put_bytes, put_tag, put_varint};
use super::{DEPTH_MAX, DecodeError};
use crate::field::Object;

/// Appends the fields of a `Struct`.
pub fn put(out: &mut Vec<u8>, object: &Object) {
    for (key, value) in object {
        let mut content = Vec::new();
        put_value(&mut content, value);
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, &content);
        put_bytes(out, 1, &entry);
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {
            put_tag(out, 1, 0);
            put_varint(out, 0);
        }
        Value::Number(number) => {
            put_tag(out, 2, 1);
            out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
        }
        Value::String(text) => put_bytes(out, 3, text.as_bytes()),
        Value::Bool(value) => {
            put_tag(out, 4, 0);
            put_varint(out, u64::from(*value));
        }
        Value::Object(object) => {
            let mut fields = Vec::new();
            put(&mut fields, object);
            put_bytes(out, 5, &fields);
        }
        Value::Array(items) => {
            let mut list = Vec::new();
            for item in items {
                let mut content = Vec::new();
                put_value(&mut content, item);
                put_bytes(&mut list, 1, &content);
            }
            put_bytes(out, 6, &list);
        }
    }
}

/// The object that a `Struct` is.
pub fn take(bytes: &[u8], depth: usize) -> Result<Object, DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::Depth);
    }
    let mut object = Object::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        if let (1, Wire::Bytes(entry)) = (number, wire) {
            let (key, value) = take_entry(entry, depth)?;
            object.insert(key, value);
        }
    }
    Ok(object)
}

fn take_entry(bytes: &[u8], depth: usize) -> Result<(String, Value), DecodeError> {
    let mut entry = (String::new(), Value::Null);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(key)) => entry.0 = text(key)?,
            (2, Wire::Bytes(value)) => entry.1 = take_value(value, depth + 1)?,
            _ => {}
        }
    }
    Ok(entry)
}

fn take_value(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::Depth);
    }
    let mut value = Value::Null;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        value = match (number, wire) {
            (2, Wire::Fixed64(bits)) => number_of(f64::from_bits(bits)),
            (3, Wire::Bytes(bytes)) => Value::String(text(bytes)?),
            (4, Wire::Varint(number)) => Value::Bool(number != 0),
            (5, Wire::Bytes(bytes)) => Value::Object(take(bytes, depth + 1)?),
            (6, Wire::Bytes(bytes)) => Value::Array(take_list(bytes, depth + 1)?),
            (1, _) => Value::Null,
            _ => continue,
        };
    }
    Ok(value)
}

fn take_list(bytes: &[u8], depth: usize) -> Result<Vec<Value>, DecodeError> {
    let mut items = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        if let (1, Wire::Bytes(item)) = (number, wire) {
            items.push(take_value(item, depth + 1)?);
        }
    }
    Ok(items)
}

/// Whole numbers come back as such, as they were before protobuf made them floating.
fn number_of(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Malformed)
}
