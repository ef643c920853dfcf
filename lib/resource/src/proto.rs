//! The protobuf half of the codec: walks the tables of records.
//!
//! The encoding is the one Talos uses for resource specifications: every present field is written,
//! zero or not; numbers in lists are packed; addresses, prefixes, endpoints and URLs are messages of
//! `common`; durations, times and objects are well-known types, expressions those of CEL.

mod decode;
mod encode;
mod expression;
mod object;
mod wire;

pub use decode::decode;
pub use encode::encode;

/// Deepest nesting of messages that is decoded.
const DEPTH_MAX: usize = 64;

/// Bytes that are not the encoding of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("protobuf message is truncated")]
    Truncated,
    /// A tag, a length or a varint that cannot be.
    #[error("protobuf message is malformed")]
    Malformed,
    /// Nested too deep.
    #[error("protobuf message is nested deeper than {DEPTH_MAX}")]
    Depth,
    /// A field whose value does not fit its type.
    #[error("field {field:?} of a protobuf message")]
    Field {
        /// YAML key of the field.
        field: &'static str,
        /// Why it does not fit.
        #[source]
        source: crate::FieldError,
    },
}
