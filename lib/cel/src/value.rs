//! Values of expressions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value. Copies are cheap.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is never negative.
    Uint(u64),
    /// A number.
    Double(f64),
    /// A text.
    Text(Arc<str>),
    /// A list.
    List(Arc<[Self]>),
    /// A map from texts, or the fields of a message.
    Map(Arc<BTreeMap<String, Self>>),
}

impl Value {
    /// A message with these fields.
    pub fn message<'a>(fields: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self::Map(Arc::new(fields.collect()))
    }

    /// What it is, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Uint(_) => "a uint",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// Equality of values that hold no others.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.compare(other).map_or_else(|| self == other, Ordering::is_eq)
    }

    /// Order of the language; nothing when these have none.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), b) => b.whole().and_then(|b| compare_mixed(*a, b)),
            (a, Self::Double(b)) => a.whole().and_then(|a| compare_mixed(*b, a)).map(Ordering::reverse),
            (a, b) => Some(a.whole()?.cmp(&b.whole()?)),
        }
    }

    /// Whether values of these kinds can have an order; a number that is none has no place in it.
    pub(crate) const fn is_comparable(&self, other: &Self) -> bool {
        self.is_number() && other.is_number()
            || matches!((self, other), (Self::Bool(_), Self::Bool(_)) | (Self::Text(_), Self::Text(_)))
    }

    const fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Uint(_) | Self::Double(_))
    }

    const fn whole(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value as i128),
            Self::Uint(value) => Some(*value as i128),
            _ => None,
        }
    }

    /// Elements or bytes that looking through it takes.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            _ => 1,
        }
    }
}

/// A double against a whole number, exactly: whole numbers beyond 2^53 are no doubles.
fn compare_mixed(double: f64, whole: i128) -> Option<Ordering> {
    // Larger than every whole number of the language, and still exact as i128.
    const BEYOND: f64 = 4e19;
    if double.is_nan() {
        return None;
    }
    let floor = double.clamp(-BEYOND, BEYOND).floor();
    let by_whole = (floor as i128).cmp(&whole);
    Some(if by_whole.is_eq() && double > floor { Ordering::Greater } else { by_whole })
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<&[String]> for Value {
    fn from(values: &[String]) -> Self {
        Self::List(values.iter().map(|value| Self::from(value.as_str())).collect())
    }
}
