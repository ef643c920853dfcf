//! The tree that every document is read into: values with the place they came from.
//!
//! A scalar keeps its text as written beside what it means, because the same `1` is a number to one field
//! and a string to another. Comparing nodes compares meaning: places, key order and quoting do not count.
//! Printing a node for debugging shows its shape only, since any text may be a secret.

use std::fmt;

/// Line and column, both counted from one; zero when made by a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

/// A value and its place.
#[derive(Clone, Default)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it starts.
    pub at: Position,
}

/// What a node is.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// One scalar.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping with unique keys in the order written.
    Map(Map),
}

impl Default for Value {
    fn default() -> Self {
        Self::Scalar(Scalar::null())
    }
}

/// A scalar: its text and what the text resolved to.
#[derive(Clone)]
pub struct Scalar {
    /// Text as written, without quotes.
    pub text: String,
    /// What it means when nothing says which type is wanted.
    pub kind: Kind,
}

/// Meaning of an untyped scalar, by the rules of Go's YAML library.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; wide enough for both signed and unsigned 64 bits.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Everything else.
    Text,
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Text, Kind::Text) => self.text == other.text,
            (Kind::Float(a), Kind::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (a, b) => a == b,
        }
    }
}

impl Scalar {
    /// A string.
    #[must_use]
    pub fn string(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: Kind::Text }
    }

    /// Nothing.
    #[must_use]
    pub fn null() -> Self {
        Self { text: "null".to_owned(), kind: Kind::Null }
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.describe(), self.at.line, self.at.column)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(describe(self))
    }
}

const fn describe(value: &Value) -> &'static str {
    match value {
        Value::List(_) => "list",
        Value::Map(_) => "mapping",
        Value::Scalar(scalar) => match scalar.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "boolean",
            Kind::Integer(_) => "integer",
            Kind::Float(_) => "number",
            Kind::Text => "string",
        },
    }
}

impl Node {
    /// A string node made by a program.
    #[must_use]
    pub fn string(text: impl Into<String>) -> Self {
        Self::from(Value::Scalar(Scalar::string(text)))
    }

    /// A boolean node made by a program.
    #[must_use]
    pub fn bool(value: bool) -> Self {
        Self::from(Value::Scalar(Scalar { text: value.to_string(), kind: Kind::Bool(value) }))
    }

    /// A whole number made by a program.
    #[must_use]
    pub fn integer(value: i64) -> Self {
        Self::from(Value::Scalar(Scalar { text: value.to_string(), kind: Kind::Integer(i128::from(value)) }))
    }

    /// A list made by a program.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::from(Value::List(items.into_iter().collect()))
    }

    /// A mapping made by a program; of equal keys the last wins.
    #[must_use]
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        let mut map = Map::default();
        for (key, value) in entries {
            map.set(&key.into(), value);
        }
        Self::from(Value::Map(map))
    }

    /// The kind of value in words, for messages.
    #[must_use]
    pub const fn describe(&self) -> &'static str {
        describe(&self.value)
    }

    /// Whether it is null.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(Scalar { kind: Kind::Null, .. }))
    }

    /// Whether it is what Go calls the zero value: null, empty text, zero, or an empty collection.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match &self.value {
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => true,
                Kind::Bool(value) => !value,
                Kind::Integer(value) => value == 0,
                Kind::Float(value) => value == 0.0,
                Kind::Text => scalar.text.is_empty(),
            },
        }
    }

    /// The mapping, if it is one.
    #[must_use]
    pub const fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list, if it is one.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The scalar, if it is one.
    #[must_use]
    pub const fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar as written; nothing for null.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| scalar.kind != Kind::Null).map(|scalar| scalar.text.as_str())
    }

    /// The value under a key, if this is a mapping that has it and it is not null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key).filter(|node| !node.is_null())
    }

    /// The value under a path of keys.
    #[must_use]
    pub fn at_path(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self { value, at: Position::default() }
    }
}

/// A mapping with unique keys that keeps their order and places.
#[derive(Clone, Default)]
pub struct Map {
    entries: Vec<Entry>,
}

/// One key with its value.
#[derive(Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key is.
    pub at: Position,
    /// Its value.
    pub value: Node,
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .entries
                .iter()
                .all(|entry| other.get(&entry.key).is_some_and(|value| *value == entry.value))
    }
}

impl Map {
    /// Number of keys.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order written.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// Keys and values, to change values in place.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.entries.iter_mut()
    }

    /// The entry of a key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value of a key, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Puts a value in the place of the old one, or last.
    pub fn set(&mut self, key: &str, value: Node) {
        match self.get_mut(key) {
            Some(old) => *old = value,
            None => self.entries.push(Entry { key: key.to_owned(), at: value.at, value }),
        }
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index).value)
    }

    /// Adds an entry if its key is new; tells where the first one is otherwise.
    pub fn insert_new(&mut self, entry: Entry) -> Option<Position> {
        let first = self.entry(&entry.key).map(|entry| entry.at);
        if first.is_none() {
            self.entries.push(entry);
        }
        first
    }

    /// Orders the keys.
    pub fn sort_by_key<K: Ord>(&mut self, key: impl Fn(&str) -> K) {
        self.entries.sort_by_key(|entry| key(&entry.key));
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl IntoIterator for Map {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_of_meaning() {
        let a = Node::map([("a", Node::integer(16)), ("b", Node::bool(true))]);
        let hex = Node::from(Value::Scalar(Scalar { text: "0x10".into(), kind: Kind::Integer(16) }));
        let b = Node::map([("b", Node::bool(true)), ("a", hex)]);
        assert!(a == b);
        assert!(a != Node::map([("a", Node::integer(16)), ("c", Node::bool(true))]));
        assert!(a != Node::map([("a", Node::integer(16))]));
        assert!(Node::string("1") != Node::integer(1));
    }

    #[test]
    fn debugging_shows_no_text() {
        let node = Node::map([("token", Node::string("hunter2"))]);
        assert_eq!(format!("{node:?} {:?}", node.value), "mapping at 0:0 mapping");
    }

    #[test]
    fn zero_is_what_go_calls_zero() {
        let zeros = [Node::default(), Node::string(""), Node::integer(0), Node::bool(false), Node::list([])];
        assert!(zeros.iter().all(Node::is_zero));
        let others = [Node::string("0"), Node::integer(1), Node::bool(true), Node::list([Node::default()])];
        assert!(!others.iter().any(Node::is_zero));
    }
}
