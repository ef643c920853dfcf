//! The YAML half of the codec: what `get -o yaml` prints and JSONPath columns run on.
//!
//! Written in block style with the scalars that Go's library would write; read with a depth bound and
//! without anchors. Keys that a record does not know are skipped.

mod parse;
mod read;
mod text;
mod url;
mod write;

pub use read::read;
pub use text::{duration, time};
pub use write::write;

/// Which of the YAML forms a type has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// A mapping in which enumerations, durations and times are texts.
    #[default]
    Mapping,
    /// The bare value of the only field.
    Scalar,
    /// A mapping as Go's library writes the struct of a protobuf message: enumerations are numbers, durations and times
    /// mappings of seconds and nanoseconds, and what is absent is `null`.
    Message,
}

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 64;

/// Text that is not the YAML form of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// No YAML, or YAML with anchors or more than one document.
    #[error("invalid YAML: {0}")]
    Syntax(String),
    /// A value that its field cannot hold.
    #[error("invalid value of {0:?} in YAML")]
    Value(String),
}
