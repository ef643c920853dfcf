//! How the codec sees a value: its kind, a way to read it and a way to fill it.
//!
//! There is one implementation of [`Field`] per *type of field* (string, list of prefixes, …), not
//! per record, so that hundreds of records cost tables only.

mod containers;
mod network;
mod scalars;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use ipnet::IpNet;

pub use network::HardwareAddr;
pub use scalars::Nanos;

use crate::record::Record;

/// A JSON object; `google.protobuf.Struct` on the wire.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// What a field holds, and so how it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Varint, `true` and `false`.
    Bool,
    /// Signed varint.
    Int,
    /// Unsigned varint.
    Uint,
    /// 64-bit floating point.
    Float,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Bytes,
    /// Number on the wire, text in YAML.
    Enumeration,
    /// Bytes on the wire, `52:54:00:…` in YAML.
    Hardware,
    /// `common.NetIP`.
    Address,
    /// `common.NetIPPrefix`.
    Prefix,
    /// `common.NetIPPort`.
    Endpoint,
    /// `google.protobuf.Duration`, `1h0m0s` in YAML.
    Duration,
    /// `google.protobuf.Timestamp`, RFC 3339 in YAML.
    Time,
    /// `google.protobuf.Struct`.
    Object,
    /// A nested message.
    Record,
    /// Repeated.
    List(&'static Self),
    /// A map with text keys.
    Map(&'static Self),
}

/// A value as the codec passes it around; borrowed wherever it can be.
#[derive(Clone)]
pub enum Node<'a> {
    /// Absent.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating point number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A number that has a text.
    Enumeration(i64, Cow<'a, str>),
    /// An IP address.
    Address(IpAddr),
    /// A prefix, host bits kept.
    Prefix(IpNet),
    /// An address and a port.
    Endpoint(SocketAddr),
    /// Nanoseconds.
    Duration(i64),
    /// A moment.
    Time(SystemTime),
    /// A JSON object.
    Object(Cow<'a, Object>),
    /// A nested record.
    Record(&'a dyn Record),
    /// A list.
    List(&'a dyn Items),
    /// A map.
    Map(&'a dyn Entries),
}

/// Read access to a list.
pub trait Items {
    /// How many items.
    fn count(&self) -> usize;
    /// The item at `index`, below `count`.
    fn item(&self, index: usize) -> &dyn Field;
}

/// Read access to a map, in the order of keys.
pub trait Entries {
    /// Whether there is none.
    fn is_empty(&self) -> bool;
    /// Calls `visit` for each entry.
    fn each(&self, visit: &mut dyn FnMut(&str, &dyn Field));
}

/// A value of a record that the codec reads and fills.
pub trait Field: Send + Sync {
    /// What it holds; an optional value has the kind of its content.
    fn kind(&self) -> Kind;
    /// Its value.
    fn read(&self) -> Node<'_>;
    /// Back to the value that an absent field has.
    fn clear(&mut self);

    /// Whether `omitempty` leaves it out.
    fn is_zero(&self) -> bool {
        match self.read() {
            Node::Null => true,
            Node::Bool(value) => !value,
            Node::Int(value) | Node::Duration(value) | Node::Enumeration(value, _) => value == 0,
            Node::Uint(value) => value == 0,
            Node::Float(value) => value == 0.0,
            Node::Text(text) => text.is_empty(),
            Node::Bytes(bytes) => bytes.is_empty(),
            Node::Object(object) => object.is_empty(),
            Node::Address(_) | Node::Prefix(_) | Node::Endpoint(_) | Node::Time(_) => false,
            Node::Record(record) => (0..).map_while(|index| record.field(index)).all(Field::is_zero),
            Node::List(items) => items.count() == 0,
            Node::Map(entries) => entries.is_empty(),
        }
    }

    /// Takes a scalar.
    ///
    /// # Errors
    /// When the value is not of this kind or out of range.
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let _ = value;
        Err(FieldError::Mismatch)
    }

    /// The record to fill, present from now on.
    fn record_mut(&mut self) -> Option<&mut dyn Record> {
        None
    }

    /// A blank item appended to a list.
    fn push(&mut self) -> Option<&mut dyn Field> {
        None
    }

    /// The entry of a map, made blank when absent.
    fn entry(&mut self, key: &str) -> Option<&mut dyn Field> {
        let _ = key;
        None
    }
}

/// What the codec must know about a type before it has a value of it.
pub trait FieldType: Field + Sized {
    /// What it holds.
    const KIND: Kind;
    /// A value to fill.
    fn blank() -> Self;
}

/// A value that a field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Of another kind.
    #[error("value is of another kind than the field")]
    Mismatch,
    /// Too large, too small or malformed.
    #[error("value is out of range")]
    Range,
}
