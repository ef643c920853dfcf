//! Expressions as `google.api.expr.v1alpha1.CheckedExpr`: the tree, without the types that whoever evaluates it finds
//! himself.

use std::collections::BTreeMap;

use corten_cel::{Tree, Value};

use super::wire::{Reader, Wire, put_bytes, put_nonzero, put_tag, put_varint};
use super::{DEPTH_MAX, DecodeError};

/// Most nodes of an expression that is decoded; those of macros count as often as they are in it.
const NODES_MAX: usize = 4096;

/// Content of the message; empty when the text is.
pub fn encode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if !text.is_empty() {
        put_bytes(&mut out, 4, &node(&Tree::read(text), &mut 0));
    }
    out
}

/// `Expr`, with an id that no other one of the message has.
fn node(tree: &Tree, ids: &mut u64) -> Vec<u8> {
    let mut out = Vec::new();
    *ids += 1;
    put_nonzero(&mut out, 2, *ids);
    let mut content = Vec::new();
    let number = match tree {
        Tree::Constant(value) => {
            constant(&mut content, value);
            3
        }
        Tree::Name(name) => {
            put_bytes(&mut content, 1, name.as_bytes());
            4
        }
        Tree::Field { of, name, is_test } => {
            put_bytes(&mut content, 1, &node(of, ids));
            put_bytes(&mut content, 2, name.as_bytes());
            put_nonzero(&mut content, 3, u64::from(*is_test));
            5
        }
        Tree::Call { receiver, function, arguments } => {
            if let Some(receiver) = receiver {
                put_bytes(&mut content, 1, &node(receiver, ids));
            }
            put_bytes(&mut content, 2, function.as_bytes());
            arguments.iter().for_each(|argument| put_bytes(&mut content, 3, &node(argument, ids)));
            6
        }
        Tree::List(items) => {
            items.iter().for_each(|item| put_bytes(&mut content, 1, &node(item, ids)));
            7
        }
        Tree::Map(entries) => {
            for (key, value) in entries {
                let mut entry = Vec::new();
                *ids += 1;
                put_nonzero(&mut entry, 1, *ids);
                put_bytes(&mut entry, 3, &node(key, ids));
                put_bytes(&mut entry, 4, &node(value, ids));
                put_bytes(&mut content, 2, &entry);
            }
            8
        }
    };
    put_bytes(&mut out, number, &content);
    out
}

/// `Constant`: one of its fields, whatever its value.
fn constant(out: &mut Vec<u8>, value: &Value) {
    let mut varint = |number: u32, value: u64| {
        put_tag(out, number, 0);
        put_varint(out, value);
    };
    match value {
        Value::Bool(value) => varint(2, u64::from(*value)),
        Value::Int(value) => varint(3, *value as u64),
        Value::Uint(value) => varint(4, *value),
        Value::Double(value) => {
            put_tag(out, 5, 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Text(text) => put_bytes(out, 6, text.as_bytes()),
        Value::Null | Value::List(_) | Value::Map(_) => varint(1, 0),
    }
}

/// The text of an expression.
///
/// # Errors
/// When it is too large, or has parts that are not of the language.
pub fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
    let (mut expression, mut macros) = (None, BTreeMap::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire, _)) = reader.next()? {
        match (number, wire) {
            (4, Wire::Bytes(content)) => expression = Some(content),
            (5, Wire::Bytes(source)) => macros = macros_of(source)?,
            _ => {}
        }
    }
    let Some(expression) = expression else { return Ok(String::new()) };
    Ok(Reading { macros, nodes: 0 }.node(expression, 0)?.to_string())
}

/// `macro_calls` of `SourceInfo`: what stood where the macros were replaced, by id.
fn macros_of(source: &[u8]) -> Result<BTreeMap<u64, &[u8]>, DecodeError> {
    let mut macros = BTreeMap::new();
    let mut reader = Reader::new(source);
    while let Some((number, wire, _)) = reader.next()? {
        let (5, Wire::Bytes(entry)) = (number, wire) else { continue };
        let parts = Parts::of(entry)?;
        macros.insert(parts.number(1), parts.bytes(2)?);
    }
    Ok(macros)
}

/// The fields of a small message, in order.
struct Parts<'a>(Vec<(u32, Wire<'a>)>);

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire, _)) = reader.next()? {
            fields.push((number, wire));
        }
        Ok(Self(fields))
    }

    /// A number; 0 when it is not there.
    fn number(&self, number: u32) -> u64 {
        let mut values = self.0.iter().filter_map(|(field, wire)| match wire {
            Wire::Varint(value) if *field == number => Some(*value),
            _ => None,
        });
        values.next_back().unwrap_or(0)
    }

    fn all(&self, number: u32) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter_map(move |(field, wire)| match *wire {
            Wire::Bytes(bytes) if *field == number => Some(bytes),
            _ => None,
        })
    }

    fn bytes(&self, number: u32) -> Result<&'a [u8], DecodeError> {
        self.all(number).last().ok_or(DecodeError::Malformed)
    }

    fn text(&self, number: u32) -> Result<String, DecodeError> {
        let text = str::from_utf8(self.all(number).last().unwrap_or_default());
        text.map(str::to_owned).map_err(|_| DecodeError::Malformed)
    }
}

struct Reading<'a> {
    macros: BTreeMap<u64, &'a [u8]>,
    nodes: usize,
}

impl<'a> Reading<'a> {
    fn node(&mut self, bytes: &'a [u8], depth: usize) -> Result<Tree, DecodeError> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(DecodeError::Depth);
        }
        let parts = Parts::of(bytes)?;
        if let Some(call) = self.macros.get(&parts.number(2)).copied() {
            return self.node(call, depth + 1);
        }
        let content = parts.0.iter().rev().find_map(|(number, wire)| match *wire {
            Wire::Bytes(bytes) => Some((*number, bytes)),
            _ => None,
        });
        let (number, content) = content.ok_or(DecodeError::Malformed)?;
        let parts = Parts::of(content)?;
        let mut all = |number: u32| {
            parts.all(number).map(|bytes| self.node(bytes, depth + 1)).collect::<Result<Vec<_>, _>>()
        };
        match number {
            3 => Ok(Tree::Constant(value(&parts)?)),
            4 => Ok(Tree::Name(parts.text(1)?)),
            5 => {
                let of = all(1)?.pop().ok_or(DecodeError::Malformed)?;
                Ok(Tree::Field { of: Box::new(of), name: parts.text(2)?, is_test: parts.number(3) != 0 })
            }
            6 => {
                let (receiver, arguments) = (all(1)?.pop().map(Box::new), all(3)?);
                Ok(Tree::Call { receiver, function: parts.text(2)?, arguments })
            }
            7 => Ok(Tree::List(all(1)?)),
            8 if parts.text(1)?.is_empty() => {
                let entries = parts.all(2).map(|entry| self.entry(entry, depth + 1));
                Ok(Tree::Map(entries.collect::<Result<_, _>>()?))
            }
            _ => Err(DecodeError::Malformed),
        }
    }

    fn entry(&mut self, bytes: &'a [u8], depth: usize) -> Result<(Tree, Tree), DecodeError> {
        let parts = Parts::of(bytes)?;
        Ok((self.node(parts.bytes(3)?, depth)?, self.node(parts.bytes(4)?, depth)?))
    }
}

/// The last field counts, as in all choices of protobuf.
fn value(parts: &Parts<'_>) -> Result<Value, DecodeError> {
    Ok(match parts.0.last() {
        Some((1, Wire::Varint(_))) => Value::Null,
        Some((2, Wire::Varint(value))) => Value::Bool(*value != 0),
        Some((3, Wire::Varint(value))) => Value::Int(*value as i64),
        Some((4, Wire::Varint(value))) => Value::Uint(*value),
        Some((5, Wire::Fixed64(bits))) => Value::Double(f64::from_bits(*bits)),
        Some((6, Wire::Bytes(_))) => Value::from(parts.text(6)?.as_str()),
        _ => return Err(DecodeError::Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_the_way() {
        for text in [
            "system_disk",
            "disk.transport == \"nvme\" && !system_disk",
            "a ? -1 : (b[0u] in [1, 2.5, null, false])",
            "has(disk.serial) || links.exists(l, l.startsWith(\"a\"))",
            "size({\"k\": x.size()}) == 1",
            "no expression",
            "",
        ] {
            assert_eq!(decode(&encode(text)).expect("an expression"), text);
        }
        assert_eq!(encode("system_disk"), b"\x22\x11\x10\x01\x22\x0d\x0a\x0bsystem_disk");
    }

    #[test]
    fn macros_that_others_replaced_are_read_as_they_were() {
        let (mut comprehension, mut entry, mut source, mut message) = (vec![], vec![], vec![], vec![]);
        put_nonzero(&mut comprehension, 2, 7);
        put_bytes(&mut comprehension, 9, b"");
        assert_eq!(decode(&[&[0x22_u8, 4][..], &comprehension].concat()), Err(DecodeError::Malformed));
        put_nonzero(&mut entry, 1, 7);
        let mut call = Vec::new();
        put_bytes(&mut call, 2, b"all");
        let mut macro_call = Vec::new();
        put_bytes(&mut macro_call, 6, &call);
        put_bytes(&mut entry, 2, &macro_call);
        put_bytes(&mut source, 5, &entry);
        put_bytes(&mut message, 4, &comprehension);
        put_bytes(&mut message, 5, &source);
        assert_eq!(decode(&message).as_deref(), Ok("all()"));
    }

    #[test]
    fn what_refers_to_itself_ends() {
        let (mut entry, mut source, mut message) = (vec![], vec![], vec![]);
        put_nonzero(&mut entry, 1, 7);
        put_bytes(&mut entry, 2, b"\x10\x07");
        put_bytes(&mut source, 5, &entry);
        put_bytes(&mut message, 4, b"\x10\x07");
        put_bytes(&mut message, 5, &source);
        assert_eq!(decode(&message), Err(DecodeError::Depth));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| drop(decode(bytes)));
    }
}
