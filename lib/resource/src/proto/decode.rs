//! Bytes to records.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use super::wire::{Reader, Wire};
use super::{DEPTH_MAX, DecodeError, expression, object};
use crate::field::{Field, FieldError, Kind, Node};
use crate::record::{FieldDef, Form, Record};

/// Fills `record`, which is blank, from `bytes` and returns the fields that it does not know.
///
/// # Errors
/// When the bytes are not an encoding of the record.
pub fn decode(bytes: &[u8], record: &mut dyn Record) -> Result<Vec<u8>, DecodeError> {
    let mut unknown = Vec::new();
    fill(bytes, record, 0, &mut |raw| unknown.extend_from_slice(raw))?;
    Ok(unknown)
}

fn fill(
    bytes: &[u8],
    record: &mut dyn Record,
    depth: usize,
    unknown: &mut dyn FnMut(&[u8]),
) -> Result<(), DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::Depth);
    }
    let table = record.fields();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, raw)) = reader.next()? {
        let row = table.iter().position(|def| def.number == number);
        let Some(field) = row.and_then(|index| record.field_mut(index)) else {
            unknown(raw);
            continue;
        };
        let def = row.map_or(&NAMELESS, |index| &table[index]);
        put(field, def.form, wire, depth).map_err(|error| error.at(def.key))?;
    }
    Ok(())
}

const NAMELESS: FieldDef =
    FieldDef { number: 0, key: "", omit_empty: false, inline: false, form: Form::Plain };

/// An error before it has a field's name.
enum Fault {
    Wire(DecodeError),
    Value(FieldError),
}

impl Fault {
    fn at(self, field: &'static str) -> DecodeError {
        match self {
            Self::Wire(error) => error,
            Self::Value(source) => DecodeError::Field { field, source },
        }
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Wire(error)
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Self::Value(error)
    }
}

fn put(field: &mut dyn Field, form: Form, wire: Wire<'_>, depth: usize) -> Result<(), Fault> {
    match (field.kind(), wire) {
        (Kind::Record, Wire::Bytes(bytes)) => {
            let record = field.record_mut().ok_or(FieldError::Mismatch)?;
            Ok(fill(bytes, record, depth + 1, &mut |_| ())?)
        }
        (Kind::List(item), Wire::Bytes(bytes)) if is_packed(item) => put_packed(field, *item, bytes),
        (Kind::List(_), wire) => {
            let item = field.push().ok_or(FieldError::Mismatch)?;
            put(item, form, wire, depth + 1)
        }
        (Kind::Map(_), Wire::Bytes(bytes)) => put_entry(field, form, bytes, depth),
        (kind, wire) => match scalar(kind, form, wire, depth)? {
            Some(node) => Ok(field.write(&node)?),
            None => {
                field.clear();
                Ok(())
            }
        },
    }
}

const fn is_packed(item: &Kind) -> bool {
    matches!(item, Kind::Bool | Kind::Int | Kind::Uint | Kind::Enumeration | Kind::Float)
}

fn put_packed(field: &mut dyn Field, item: Kind, bytes: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let wire = match item {
            Kind::Float => Wire::Fixed64(u64::from_le_bytes(reader.array()?)),
            _ => Wire::Varint(reader.varint()?),
        };
        let node = scalar(item, Form::Plain, wire, 0)?.ok_or(FieldError::Mismatch)?;
        field.push().ok_or(FieldError::Mismatch)?.write(&node)?;
    }
    Ok(())
}

fn put_entry(field: &mut dyn Field, form: Form, bytes: &[u8], depth: usize) -> Result<(), Fault> {
    let mut key = Cow::Borrowed(if form == Form::NumberKeys { "0" } else { "" });
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Varint(number)) if form == Form::NumberKeys => {
                key = (number as i64).to_string().into();
            }
            (1, Wire::Bytes(bytes)) => {
                key = str::from_utf8(bytes).map_err(|_| DecodeError::Malformed)?.into();
            }
            _ => {}
        }
    }
    let value = field.entry(&key).ok_or(FieldError::Mismatch)?;
    value.clear();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        if number == 2 {
            put(value, form, wire, depth + 1)?;
        }
    }
    Ok(())
}

/// The value of a field that is no record, list or map; `None` where the message says "none".
fn scalar<'a>(kind: Kind, form: Form, wire: Wire<'a>, depth: usize) -> Result<Option<Node<'a>>, Fault> {
    let node = match (kind, wire) {
        (Kind::Bool, Wire::Varint(value)) => Node::Bool(value != 0),
        (Kind::Int | Kind::Enumeration, Wire::Varint(value)) => Node::Int(value as i64),
        (Kind::Uint, Wire::Varint(value)) => Node::Uint(value),
        (Kind::Float, Wire::Fixed64(bits)) => Node::Float(f64::from_bits(bits)),
        (Kind::Float, Wire::Fixed32(bits)) => Node::Float(f64::from(f32::from_bits(bits))),
        (Kind::Text, Wire::Bytes(bytes)) if form == Form::Url => Node::Text(url(bytes)?.into()),
        (Kind::Text, Wire::Bytes(bytes)) if form == Form::Expression => {
            Node::Text(expression::decode(bytes)?.into())
        }
        (Kind::Text, Wire::Bytes(bytes)) => {
            Node::Text(str::from_utf8(bytes).map_err(|_| DecodeError::Malformed)?.into())
        }
        (Kind::Bytes | Kind::Hardware, Wire::Bytes(bytes)) => Node::Bytes(Cow::Borrowed(bytes)),
        (Kind::Address | Kind::Prefix | Kind::Endpoint, Wire::Bytes(bytes)) => return network(kind, bytes),
        (Kind::Duration, Wire::Bytes(bytes)) => {
            let (seconds, nanos) = pair(bytes)?;
            let whole = seconds.checked_mul(NANOS).and_then(|whole| whole.checked_add(i64::from(nanos)));
            Node::Duration(whole.ok_or(FieldError::Range)?)
        }
        (Kind::Time, Wire::Bytes(bytes)) => Node::Time(time(bytes)?),
        (Kind::Object, Wire::Bytes(bytes)) => Node::Object(Cow::Owned(object::take(bytes, depth)?)),
        _ => return Err(FieldError::Mismatch.into()),
    };
    Ok(Some(node))
}

const NANOS: i64 = 1_000_000_000;

fn url(bytes: &[u8]) -> Result<&str, DecodeError> {
    let mut path = "";
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            path = str::from_utf8(bytes).map_err(|_| DecodeError::Malformed)?;
        }
    }
    Ok(path)
}

fn network(kind: Kind, bytes: &[u8]) -> Result<Option<Node<'static>>, Fault> {
    let mut address = None;
    let mut second = 0;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes([])) => address = None,
            (1, Wire::Bytes(bytes)) => address = Some(ip(bytes)?),
            (2, Wire::Varint(value)) => second = value,
            _ => {}
        }
    }
    let Some(address) = address else { return Ok(None) };
    Ok(Some(match kind {
        Kind::Prefix => {
            let length = u8::try_from(second).map_err(|_| FieldError::Range)?;
            Node::Prefix(IpNet::new(address, length).map_err(|_| FieldError::Range)?)
        }
        Kind::Endpoint => {
            Node::Endpoint(SocketAddr::new(address, u16::try_from(second).map_err(|_| FieldError::Range)?))
        }
        _ => Node::Address(address),
    }))
}

fn ip(bytes: &[u8]) -> Result<IpAddr, FieldError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|_| FieldError::Range)
}

/// Seconds and nanoseconds of a `Duration` or `Timestamp`.
fn pair(bytes: &[u8]) -> Result<(i64, i32), Fault> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => seconds = value as i64,
            (2, Wire::Varint(value)) => nanos = i32::try_from(value as i64).map_err(|_| FieldError::Range)?,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

fn time(bytes: &[u8]) -> Result<SystemTime, Fault> {
    let (seconds, nanos) = pair(bytes)?;
    let nanos = u64::try_from(nanos).map_err(|_| FieldError::Range)?;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let time = base.and_then(|base| base.checked_add(Duration::from_nanos(nanos)));
    Ok(time.ok_or(FieldError::Range)?)
}
