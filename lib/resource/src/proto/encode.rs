//! Records to bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use super::wire::{put_bytes, put_nonzero, put_tag, put_varint};
use super::{expression, object};
use crate::field::{Field, Items, Kind, Node};
use crate::record::{Form, Record};
use crate::yaml::Style;

/// The encoding of `record` in the style of its type: a message leaves out what is zero, as protobuf has it; the others
/// write every scalar.
#[must_use]
pub fn encode(record: &dyn Record, style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    put_record(&mut out, record, style);
    out
}

fn put_record(out: &mut Vec<u8>, record: &dyn Record, style: Style) {
    for (index, def) in record.fields().iter().enumerate().filter(|(_, def)| def.number != 0) {
        if let Some(field) = record.field(index)
            && !(style == Style::Message && field.is_zero())
        {
            put_field(out, def.number, def.form, field, style);
        }
    }
}

fn put_field(out: &mut Vec<u8>, number: u32, form: Form, field: &dyn Field, style: Style) {
    match field.read() {
        Node::Null => {}
        Node::Text(text) if form == Form::Url => {
            let mut url = Vec::new();
            if !text.is_empty() {
                put_bytes(&mut url, 1, text.as_bytes());
            }
            put_bytes(out, number, &url);
        }
        Node::Text(text) if form == Form::Expression => put_bytes(out, number, &expression::encode(&text)),
        Node::Text(text) => put_bytes(out, number, text.as_bytes()),
        Node::Bytes(bytes) => {
            if !bytes.is_empty() {
                put_bytes(out, number, &bytes);
            }
        }
        Node::Float(value) => {
            put_tag(out, number, 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Node::Record(record) => put_bytes(out, number, &encode(record, style)),
        Node::List(items) => put_list(out, number, form, items, field.kind(), style),
        Node::Map(entries) => entries.each(&mut |key, value| {
            let mut entry = Vec::new();
            match key.parse::<i64>() {
                Ok(key) if form == Form::NumberKeys => {
                    put_tag(&mut entry, 1, 0);
                    put_varint(&mut entry, key as u64);
                }
                _ => put_bytes(&mut entry, 1, key.as_bytes()),
            }
            put_field(&mut entry, 2, form, value, style);
            put_bytes(out, number, &entry);
        }),
        node => match varint(&node) {
            Some(value) => {
                put_tag(out, number, 0);
                put_varint(out, value);
            }
            None => put_bytes(out, number, &well_known(&node)),
        },
    }
}

/// What a number is on the wire; `None` for everything that is no varint.
fn varint(node: &Node<'_>) -> Option<u64> {
    match *node {
        Node::Bool(value) => Some(u64::from(value)),
        Node::Int(value) | Node::Enumeration(value, _) => Some(value as u64),
        Node::Uint(value) => Some(value),
        _ => None,
    }
}

fn put_list(out: &mut Vec<u8>, number: u32, form: Form, items: &dyn Items, kind: Kind, style: Style) {
    let packed =
        matches!(kind, Kind::List(&(Kind::Bool | Kind::Int | Kind::Uint | Kind::Enumeration | Kind::Float)));
    if !packed {
        for index in 0..items.count() {
            put_item(out, number, form, items.item(index), style);
        }
    } else if items.count() > 0 {
        let mut bytes = Vec::new();
        for index in 0..items.count() {
            match items.item(index).read() {
                Node::Float(value) => bytes.extend_from_slice(&value.to_le_bytes()),
                node => put_varint(&mut bytes, varint(&node).unwrap_or_default()),
            }
        }
        put_bytes(out, number, &bytes);
    }
}

/// An item is written even where a lone field would be left out, so that none is lost.
fn put_item(out: &mut Vec<u8>, number: u32, form: Form, item: &dyn Field, style: Style) {
    match item.read() {
        Node::Null => put_bytes(out, number, &[]),
        Node::Bytes(bytes) => put_bytes(out, number, &bytes),
        _ => put_field(out, number, form, item, style),
    }
}

/// Content of the message that a value without protobuf scalar type is.
fn well_known(node: &Node<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match node {
        Node::Address(address) => put_address(&mut out, *address),
        Node::Prefix(prefix) => {
            put_address(&mut out, prefix.addr());
            put_nonzero(&mut out, 2, u64::from(prefix.prefix_len()));
        }
        Node::Endpoint(SocketAddr::V4(endpoint)) => {
            put_address(&mut out, IpAddr::V4(*endpoint.ip()));
            put_nonzero(&mut out, 2, u64::from(endpoint.port()));
        }
        Node::Endpoint(SocketAddr::V6(endpoint)) => {
            put_address(&mut out, IpAddr::V6(*endpoint.ip()));
            put_nonzero(&mut out, 2, u64::from(endpoint.port()));
        }
        Node::Duration(nanos) => {
            put_nonzero(&mut out, 1, (nanos / NANOS) as u64);
            put_nonzero(&mut out, 2, (nanos % NANOS) as u64);
        }
        Node::Time(time) => {
            let (seconds, nanos) = unix(*time);
            put_nonzero(&mut out, 1, seconds as u64);
            put_nonzero(&mut out, 2, u64::from(nanos));
        }
        Node::Object(object) => object::put(&mut out, object),
        _ => {}
    }
    out
}

const NANOS: i64 = 1_000_000_000;

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => put_bytes(out, 1, &v4.octets()),
        IpAddr::V6(v6) => put_bytes(out, 1, &v6.octets()),
    }
}

/// Seconds and nanoseconds since 1970; the nanoseconds count forward also before it.
fn unix(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos() {
                0 => (-seconds, 0),
                nanos => (-seconds - 1, 1_000_000_000 - nanos),
            }
        }
    }
}
