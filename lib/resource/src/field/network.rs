//! Addresses, prefixes, endpoints and hardware addresses as fields.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use super::{Field, FieldError, FieldType, Kind, Node};

/// An address of a link layer: 6 bytes for Ethernet, 20 for InfiniBand, none when unknown.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareAddr(pub Vec<u8>);

impl fmt::Display for HardwareAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for HardwareAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HardwareAddr {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let byte = |part: &str| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2);
        let bytes: Option<Vec<u8>> = text.split([':', '-']).map(byte).collect();
        bytes.map(Self).ok_or(FieldError::Range)
    }
}

impl Field for HardwareAddr {
    fn kind(&self) -> Kind {
        Kind::Hardware
    }
    fn read(&self) -> Node<'_> {
        Node::Bytes(Cow::Borrowed(&self.0))
    }
    fn clear(&mut self) {
        self.0.clear();
    }
    fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
        *self = match value {
            Node::Bytes(bytes) => Self(bytes.clone().into_owned()),
            Node::Text(text) => text.parse()?,
            _ => return Err(FieldError::Mismatch),
        };
        Ok(())
    }
}

impl FieldType for HardwareAddr {
    const KIND: Kind = Kind::Hardware;
    fn blank() -> Self {
        Self::default()
    }
}

macro_rules! address {
    ($($field:ty, $kind:ident, $blank:expr;)*) => {$(
        impl Field for $field {
            fn kind(&self) -> Kind { Kind::$kind }
            fn read(&self) -> Node<'_> { Node::$kind(*self) }
            fn clear(&mut self) { *self = Self::blank(); }
            fn write(&mut self, value: &Node<'_>) -> Result<(), FieldError> {
                let Node::$kind(value) = *value else { return Err(FieldError::Mismatch) };
                *self = value;
                Ok(())
            }
        }
        impl FieldType for $field {
            const KIND: Kind = Kind::$kind;
            fn blank() -> Self { $blank }
        }
    )*};
}
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
address! {
    IpAddr, Address, ANY;
    IpNet, Prefix, Self::default();
    SocketAddr, Endpoint, Self::new(ANY, 0);
}
