//! Records and enumerations: tables that the derives emit.

use crate::field::{Field, FieldError, Node};

/// How a field deviates from the plain encoding of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As its kind says.
    #[default]
    Plain,
    /// Bytes that stand as base64 text in YAML.
    Base64,
    /// Text that travels as `common.URL`.
    Url,
    /// An expression, which travels as `google.api.expr.v1alpha1.CheckedExpr` and has one text in YAML.
    Expression,
    /// A map whose keys are numbers on the wire and in YAML.
    NumberKeys,
    /// A list of records of two fields that stands in YAML as a mapping from the first to the second, in the list's order.
    Pairs,
}

/// One row of a record's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDef {
    /// Number in protobuf; 0 when it has no protobuf form.
    pub number: u32,
    /// Key in YAML; empty when it has no YAML form.
    pub key: &'static str,
    /// Whether YAML leaves it out when empty.
    pub omit_empty: bool,
    /// Whether the keys of this nested record stand in the parent's YAML.
    pub inline: bool,
    /// Deviation from the plain encoding.
    pub form: Form,
}

/// A struct that the codec can walk. `#[derive(Record)]` makes it.
pub trait Record: Send + Sync {
    /// The table; row *n* describes field *n*.
    fn fields(&self) -> &'static [FieldDef];
    /// The field at `index`.
    fn field(&self, index: usize) -> Option<&dyn Field>;
    /// The field at `index`, to fill.
    fn field_mut(&mut self, index: usize) -> Option<&mut dyn Field>;
}

/// An enum with numbers and texts. `#[derive(Enumeration)]` makes it.
pub trait Enumeration: Copy + Default + PartialEq + 'static {
    /// Each variant with its number on the wire and its text in YAML.
    const VARIANTS: &'static [(Self, i64, &'static str)];

    /// Its number on the wire.
    fn number(&self) -> i64 {
        Self::VARIANTS.iter().find(|(variant, ..)| variant == self).map_or(0, |(_, number, _)| *number)
    }

    /// Its text in YAML.
    fn text(&self) -> &'static str {
        Self::VARIANTS.iter().find(|(variant, ..)| variant == self).map_or("", |(.., text)| *text)
    }

    /// The variant with this number.
    #[must_use]
    fn from_number(number: i64) -> Option<Self> {
        Self::VARIANTS.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// The variant with this text.
    ///
    /// # Errors
    /// When no variant has it.
    fn parse(text: &str) -> Result<Self, UnknownText> {
        Self::VARIANTS
            .iter()
            .find(|row| row.2 == text)
            .map(|row| row.0)
            .ok_or_else(|| UnknownText(text.to_owned()))
    }

    /// The variant that a decoded value means; a number that is not known yet is the default.
    ///
    /// # Errors
    /// When the value is neither a number nor a known text.
    fn from_node(value: &Node<'_>) -> Result<Self, FieldError> {
        match value {
            Node::Int(number) => Ok(Self::from_number(*number).unwrap_or_default()),
            Node::Text(text) => Self::parse(text).map_err(|_| FieldError::Range),
            _ => Err(FieldError::Mismatch),
        }
    }
}

/// A text that no variant of an enumeration has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown value {0:?}")]
pub struct UnknownText(pub String);

/// Whether a record has a field without protobuf form, at any depth that is present.
pub(crate) fn has_unnumbered(record: &dyn Record) -> bool {
    record.fields().iter().any(|def| def.number == 0)
}
