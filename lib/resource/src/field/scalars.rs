//! Numbers, text, bytes, durations, times and JSON objects as fields.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Field, FieldError, FieldType, Kind, Node, Object};

/// A span of time that may be negative: Go's `time.Duration`, signed nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub i64);

macro_rules! integer {
    ($($int:ty => $kind:ident),*) => {$(
        impl Field for $int {
            fn kind(&self) -> Kind { Kind::$kind }
            fn read(&self) -> Node<'_> { Node::$kind((*self).into()) }
            fn clear(&mut self) { *self = 0; }
            fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
                *self = match *value {
                    Node::Int(value) => Self::try_from(value).map_err(|_| FieldError::Range)?,
                    Node::Uint(value) => Self::try_from(value).map_err(|_| FieldError::Range)?,
                    _ => return Err(FieldError::Mismatch),
                };
                Ok(())
            }
        }
        impl FieldType for $int {
            const KIND: Kind = Kind::$kind;
            fn blank() -> Self { 0 }
        }
    )*};
}
integer!(i32 => Int, i64 => Int, u16 => Uint, u32 => Uint, u64 => Uint);

impl Field for bool {
    fn kind(&self) -> Kind {
        Kind::Bool
    }
    fn read(&self) -> Node<'_> {
        Node::Bool(*self)
    }
    fn clear(&mut self) {
        *self = false;
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Bool(value) = *value else { return Err(FieldError::Mismatch) };
        *self = value;
        Ok(())
    }
}

impl Field for f64 {
    fn kind(&self) -> Kind {
        Kind::Float
    }
    fn read(&self) -> Node<'_> {
        Node::Float(*self)
    }
    fn clear(&mut self) {
        *self = 0.0;
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Float(value) = *value else { return Err(FieldError::Mismatch) };
        *self = value;
        Ok(())
    }
}

impl Field for String {
    fn kind(&self) -> Kind {
        Kind::Text
    }
    fn read(&self) -> Node<'_> {
        Node::Text(Cow::Borrowed(self))
    }
    fn clear(&mut self) {
        *self = Self::new();
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Text(value) = value else { return Err(FieldError::Mismatch) };
        *self = value.clone().into_owned();
        Ok(())
    }
}

impl Field for Vec<u8> {
    fn kind(&self) -> Kind {
        Kind::Bytes
    }
    fn read(&self) -> Node<'_> {
        Node::Bytes(Cow::Borrowed(self))
    }
    fn clear(&mut self) {
        *self = Self::new();
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Bytes(value) = value else { return Err(FieldError::Mismatch) };
        *self = value.clone().into_owned();
        Ok(())
    }
}

impl Field for Nanos {
    fn kind(&self) -> Kind {
        Kind::Duration
    }
    fn read(&self) -> Node<'_> {
        Node::Duration(self.0)
    }
    fn clear(&mut self) {
        self.0 = 0;
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Duration(value) = *value else { return Err(FieldError::Mismatch) };
        self.0 = value;
        Ok(())
    }
}

impl Field for Duration {
    fn kind(&self) -> Kind {
        Kind::Duration
    }
    fn read(&self) -> Node<'_> {
        Node::Duration(i64::try_from(self.as_nanos()).unwrap_or(i64::MAX))
    }
    fn clear(&mut self) {
        *self = Self::ZERO;
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Duration(value) = *value else { return Err(FieldError::Mismatch) };
        *self = Self::from_nanos(u64::try_from(value).map_err(|_| FieldError::Range)?);
        Ok(())
    }
}

impl Field for SystemTime {
    fn kind(&self) -> Kind {
        Kind::Time
    }
    fn read(&self) -> Node<'_> {
        Node::Time(*self)
    }
    fn clear(&mut self) {
        *self = UNIX_EPOCH;
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Time(value) = *value else { return Err(FieldError::Mismatch) };
        *self = value;
        Ok(())
    }
}

impl Field for Object {
    fn kind(&self) -> Kind {
        Kind::Object
    }
    fn read(&self) -> Node<'_> {
        Node::Object(Cow::Borrowed(self))
    }
    fn clear(&mut self) {
        *self = Self::new();
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        let Node::Object(value) = value else { return Err(FieldError::Mismatch) };
        *self = value.clone().into_owned();
        Ok(())
    }
}

macro_rules! blank {
    ($($field:ty, $kind:ident, $blank:expr;)*) => {$(
        impl FieldType for $field {
            const KIND: Kind = Kind::$kind;
            fn blank() -> Self { $blank }
        }
    )*};
}
blank! {
    bool, Bool, false;
    f64, Float, 0.0;
    String, Text, Self::new();
    Vec<u8>, Bytes, Self::new();
    Nanos, Duration, Self(0);
    Duration, Duration, Self::ZERO;
    SystemTime, Time, UNIX_EPOCH;
    Object, Object, Self::new();
}

/// Makes a type that implements [`Enumeration`](crate::Enumeration) usable as a field.
#[macro_export]
macro_rules! enumeration_field {
    ($name:ty) => {
        impl $crate::Field for $name {
            fn kind(&self) -> $crate::Kind {
                $crate::Kind::Enumeration
            }
            fn read(&self) -> $crate::Node<'_> {
                $crate::Node::Enumeration(
                    $crate::Enumeration::number(self),
                    $crate::Enumeration::text(self).into(),
                )
            }
            fn clear(&mut self) {
                *self = ::core::default::Default::default();
            }
            fn write(&mut self, value: &$crate::Node<'_>) -> ::core::result::Result<(), $crate::FieldError> {
                *self = $crate::Enumeration::from_node(value)?;
                Ok(())
            }
        }
        impl $crate::FieldType for $name {
            const KIND: $crate::Kind = $crate::Kind::Enumeration;
            fn blank() -> Self {
                ::core::default::Default::default()
            }
        }
    };
}

/// Makes a set of flags usable as a field: a number on the wire, a text in YAML.
///
/// The type provides `Copy`, `Default`, `Display`, `FromStr` and conversions from and to `u32`.
#[macro_export]
macro_rules! flags_field {
    ($name:ty) => {
        impl $crate::Field for $name {
            fn kind(&self) -> $crate::Kind {
                $crate::Kind::Enumeration
            }
            fn read(&self) -> $crate::Node<'_> {
                $crate::Node::Enumeration(i64::from(u32::from(*self)), self.to_string().into())
            }
            fn clear(&mut self) {
                *self = ::core::default::Default::default();
            }
            fn write(&mut self, value: &$crate::Node<'_>) -> ::core::result::Result<(), $crate::FieldError> {
                *self = match value {
                    $crate::Node::Int(number) => {
                        u32::try_from(*number).map_err(|_| $crate::FieldError::Range)?.into()
                    }
                    $crate::Node::Text(text) => text.parse().map_err(|_| $crate::FieldError::Range)?,
                    _ => return Err($crate::FieldError::Mismatch),
                };
                Ok(())
            }
        }
        impl $crate::FieldType for $name {
            const KIND: $crate::Kind = $crate::Kind::Enumeration;
            fn blank() -> Self {
                ::core::default::Default::default()
            }
        }
    };
}
