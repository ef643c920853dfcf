//! Typed values out of a tree; what is absent, null or of another type reads as nothing, since the schema complains.

use std::time::Duration;

use corten_config::node::{Kind, Node};
use corten_config::{scalar, values};

use crate::model::{Spanned, Tags};

/// A text that is not empty.
pub fn text(node: &Node, key: &str) -> Option<Spanned<String>> {
    let value = node.get(key)?;
    let text = value.as_text().filter(|text| !text.is_empty())?;
    Some(Spanned::new(text.to_owned(), value.at))
}

/// A text without its place; empty when there is none.
pub fn string(node: &Node, key: &str) -> String {
    node.get(key).and_then(Node::as_text).unwrap_or_default().to_owned()
}

/// A boolean.
pub fn flag(node: &Node, key: &str) -> Option<Spanned<bool>> {
    let value = node.get(key)?;
    let scalar = value.as_scalar()?;
    let flag = scalar::typed_bool(&scalar.text, scalar.kind)?;
    Some(Spanned::new(flag, value.at))
}

/// A whole number of 32 bits.
pub fn count(node: &Node, key: &str) -> Option<u32> {
    match node.get(key)?.as_scalar()?.kind {
        Kind::Integer(value) => u32::try_from(value).ok(),
        _ => None,
    }
}

/// A span of time under a path of keys.
pub fn duration(node: &Node, keys: &[&str]) -> Option<Spanned<Duration>> {
    let value = node.at_path(keys)?;
    let duration = values::duration(value.as_text()?)?;
    Some(Spanned::new(duration, value.at))
}

/// A list of texts; null is no list.
pub fn texts(node: &Node, key: &str) -> Option<Spanned<Vec<Spanned<String>>>> {
    let value = node.get(key)?;
    let text = |item: &Node| Spanned::new(item.as_text().unwrap_or_default().to_owned(), item.at);
    Some(Spanned::new(value.as_list()?.iter().map(text).collect(), value.at))
}

/// A mapping of texts; the places are those of the keys.
pub fn tags(node: &Node, key: &str) -> Tags {
    let entries = node.get(key).and_then(Node::as_map).into_iter().flatten();
    entries
        .map(|entry| {
            let value = entry.value.as_text().unwrap_or_default().to_owned();
            (entry.key.clone(), Spanned::new(value, entry.at))
        })
        .collect()
}

/// Each element of a list, with its number from zero.
pub fn list<T>(node: Option<&Node>, key: &str, mut read: impl FnMut(usize, &Node) -> T) -> Vec<T> {
    let items = node.and_then(|node| node.get(key)).and_then(Node::as_list).unwrap_or_default();
    items.iter().enumerate().map(|(index, item)| read(index, item)).collect()
}
