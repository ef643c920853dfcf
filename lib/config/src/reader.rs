//! Reads typed values out of a tree that follows the schema; what is absent or empty reads as nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corten_base::Secret;
use ipnet::IpNet;
use serde_json::{Map as JsonMap, Value as Json};

use crate::node::{Kind, Node, Value};
use crate::{json, scalar, values};

/// A place in a tree, or a place that is not there.
#[derive(Clone, Copy, Default)]
pub struct Reader<'a>(Option<&'a Node>);

impl<'a> Reader<'a> {
    pub const fn new(node: &'a Node) -> Self {
        Self(Some(node))
    }

    pub fn get(self, key: &str) -> Self {
        Self(self.0.and_then(|node| node.get(key)))
    }

    pub fn path(self, keys: &[&str]) -> Self {
        keys.iter().fold(self, |reader, key| reader.get(key))
    }

    /// This place, or another one when this is not there.
    pub const fn or(self, other: Self) -> Self {
        if self.0.is_some() { self } else { other }
    }

    pub const fn exists(self) -> bool {
        self.0.is_some()
    }

    pub fn text(self) -> Option<&'a str> {
        self.0.and_then(Node::as_text).filter(|text| !text.is_empty())
    }

    pub fn string(self) -> String {
        self.text().unwrap_or_default().to_owned()
    }

    pub fn string_or(self, default: &str) -> String {
        self.text().unwrap_or(default).to_owned()
    }

    pub fn secret(self) -> Secret<String> {
        Secret::new(self.string())
    }

    pub fn bool(self) -> Option<bool> {
        let scalar = self.0?.as_scalar()?;
        scalar::typed_bool(&scalar.text, scalar.kind)
    }

    pub fn is(self) -> bool {
        self.bool().unwrap_or(false)
    }

    pub fn integer<T: TryFrom<i128>>(self) -> Option<T> {
        let value = match self.0?.as_scalar()?.kind {
            Kind::Integer(value) => value,
            Kind::Float(value) if value.fract() == 0.0 => value as i128,
            _ => return None,
        };
        T::try_from(value).ok()
    }

    /// A number where zero means that nothing is set.
    pub fn positive<T: TryFrom<i128> + PartialEq + Default>(self) -> Option<T> {
        self.integer().filter(|value| *value != T::default())
    }

    pub fn duration(self) -> Option<Duration> {
        self.text().and_then(values::duration)
    }

    pub fn ip(self) -> Option<IpAddr> {
        self.text().and_then(|text| text.parse().ok())
    }

    pub fn cidr(self) -> Option<IpNet> {
        self.text().and_then(|text| text.parse().ok())
    }

    pub fn address(self) -> Option<IpNet> {
        self.text().and_then(values::address)
    }

    pub fn base64(self) -> Vec<u8> {
        self.text().and_then(values::base64).unwrap_or_default()
    }

    pub fn items(self) -> impl Iterator<Item = Reader<'a>> {
        self.0.and_then(Node::as_list).unwrap_or_default().iter().map(Reader::new)
    }

    pub fn list<T>(self, read: impl FnMut(Reader<'a>) -> Option<T>) -> Vec<T> {
        self.items().filter_map(read).collect()
    }

    pub fn texts(self) -> Vec<String> {
        self.list(|item| item.text().map(ToOwned::to_owned))
    }

    pub fn entries(self) -> impl Iterator<Item = (&'a str, Reader<'a>)> {
        let map = self.0.and_then(Node::as_map);
        map.into_iter()
            .flat_map(|map| map.iter())
            .map(|entry| (entry.key.as_str(), Reader::new(&entry.value)))
    }

    pub fn text_map(self) -> BTreeMap<String, String> {
        self.entries().map(|(key, value)| (key.to_owned(), value.string())).collect()
    }

    /// Arguments: a string is one value, a list several.
    pub fn arguments(self) -> BTreeMap<String, Vec<String>> {
        let values = |value: Reader<'a>| match value.0.map(|node| &node.value) {
            Some(Value::List(_)) => value.texts(),
            _ => vec![value.string()],
        };
        self.entries().map(|(key, value)| (key.to_owned(), values(value))).collect()
    }

    pub fn json(self) -> Option<Json> {
        self.0.map(json::to_json)
    }

    pub fn object(self) -> JsonMap<String, Json> {
        match self.json() {
            Some(Json::Object(map)) => map,
            _ => JsonMap::new(),
        }
    }
}
