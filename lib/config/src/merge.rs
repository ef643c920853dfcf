//! Strategic merge: a partial document laid over a whole one, guided by the schema.
//!
//! Scalars of the patch win unless they are zero (booleans win whenever they are there), lists grow,
//! mappings merge deeply; the schema names the exceptions. `$patch: delete` takes things away and must
//! find what it names, documents apart.

use crate::decode::DIRECTIVE;
use crate::node::{Entry, Kind, Map, Node, Value};
use crate::problem::Path;
use crate::schema::{Field, Merge, Record, Type};

/// Lays `patch` over `base`.
pub fn merge(base: &mut Node, patch: &Node, record: &'static Record) -> Result<(), String> {
    value(base, patch, Type::Record(record), Merge::Default, &Path::ROOT)
}

fn value(base: &mut Node, patch: &Node, kind: Type, rule: Merge, path: &Path<'_>) -> Result<(), String> {
    if patch.is_null() {
        return Ok(());
    }
    if rule == Merge::Replace {
        *base = strip(patch);
        return Ok(());
    }
    match (&mut base.value, &patch.value) {
        (Value::Map(old), Value::Map(new)) => mapping(old, new, kind, path),
        (Value::List(old), Value::List(new)) if !matches!(kind, Type::Argument) => {
            list(old, new, kind, rule, path)
        }
        (_, Value::Scalar(scalar)) => {
            let absent =
                matches!(scalar.kind, Kind::Text | Kind::Integer(_) | Kind::Float(_)) && patch.is_zero();
            if !absent || matches!(kind, Type::Argument) {
                *base = patch.clone();
            }
            Ok(())
        }
        _ => {
            *base = strip(patch);
            Ok(())
        }
    }
}

fn mapping(old: &mut Map, new: &Map, kind: Type, path: &Path<'_>) -> Result<(), String> {
    for entry in new.iter().filter(|entry| entry.key != DIRECTIVE) {
        let path = path.key(&entry.key);
        if is_deletion(&entry.value) {
            let strict = !matches!(kind, Type::Record(_));
            if old.remove(&entry.key).is_none() && strict {
                return Err(format!("{path}: $patch: delete found nothing to delete"));
            }
            continue;
        }
        let (inner, rule) = member(kind, &entry.key);
        match old.get_mut(&entry.key) {
            Some(base) => value(base, &entry.value, inner, rule, &path)?,
            None => insert(old, entry, inner, rule, &path)?,
        }
    }
    Ok(())
}

/// A key that the base does not have. Its lists may still hold deletions, which then find nothing.
fn insert(old: &mut Map, entry: &Entry, kind: Type, rule: Merge, path: &Path<'_>) -> Result<(), String> {
    let mut node = match &entry.value.value {
        Value::Map(_) => Node::from(Value::Map(Map::default())),
        Value::List(_) => Node::list([]),
        Value::Scalar(_) => entry.value.clone(),
    };
    node.at = entry.value.at;
    if !matches!(node.value, Value::Scalar(_)) {
        value(&mut node, &entry.value, kind, rule, path)?;
    }
    old.set(&entry.key, node);
    Ok(())
}

fn member(kind: Type, key: &str) -> (Type, Merge) {
    match kind {
        Type::Record(record) => {
            record.field(key).map_or((Type::Any, Merge::Default), |field: &Field| (field.kind, field.merge))
        }
        Type::Map(inner) => (*inner, Merge::Default),
        _ => (Type::Any, Merge::Default),
    }
}

fn list(old: &mut Vec<Node>, new: &[Node], kind: Type, rule: Merge, path: &Path<'_>) -> Result<(), String> {
    let inner = match kind {
        Type::List(inner) => *inner,
        _ => Type::Any,
    };
    for (index, item) in new.iter().enumerate() {
        let path = path.index(index);
        if is_deletion(item) {
            delete_elements(old, item, &path)?;
            continue;
        }
        let (keys, inside) = match rule {
            Merge::Keyed(keys) => (keys, Merge::Default),
            Merge::Elements(keys) => (keys, Merge::Replace),
            Merge::Default | Merge::Replace => (&[][..], Merge::Default),
        };
        match old.iter_mut().find(|other| same_element(other, item, keys)) {
            Some(base) => value(base, item, inner, inside, &path)?,
            None => old.push(strip(item)),
        }
    }
    Ok(())
}

fn same_element(a: &Node, b: &Node, keys: &[&str]) -> bool {
    keys.iter().any(|key| a.get(key).is_some_and(|value| b.get(key) == Some(value)))
}

/// Takes away the elements that have the first other key of the order with the same value.
fn delete_elements(old: &mut Vec<Node>, order: &Node, path: &Path<'_>) -> Result<(), String> {
    let named = order.as_map().and_then(|map| map.iter().find(|entry| entry.key != DIRECTIVE));
    let Some(named) = named else {
        return Err(format!("{path}: $patch: delete in a list needs a key that tells which element"));
    };
    let count = old.len();
    old.retain(|item| item.get(&named.key) != Some(&named.value));
    if old.len() == count {
        return Err(format!("{path}: $patch: delete found no element with this {}", named.key));
    }
    Ok(())
}

fn is_deletion(node: &Node) -> bool {
    node.get(DIRECTIVE).is_some()
}

/// The value without orders to the patcher, for a place where nothing was before.
fn strip(node: &Node) -> Node {
    let mut out = node.clone();
    match &mut out.value {
        Value::Map(map) => {
            let gone: Vec<String> =
                map.iter().filter(|entry| is_deletion(&entry.value)).map(|entry| entry.key.clone()).collect();
            gone.iter().for_each(|key| drop(map.remove(key)));
            map.remove(DIRECTIVE);
            map.iter_mut().for_each(|entry| entry.value = strip(&entry.value));
        }
        Value::List(items) => {
            items.retain(|item| !is_deletion(item));
            items.iter_mut().for_each(|item| *item = strip(item));
        }
        Value::Scalar(_) => {}
    }
    out
}

#[cfg(test)]
mod tests;
