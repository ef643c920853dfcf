//! From nodes to YAML text in the shape that Talos writes: four spaces, lists indented, no comments.
//!
//! Reading the text back gives equal nodes. Documents come out in the canonical order of their schema.

use std::fmt::Write as _;

use crate::document;
use crate::node::{Kind, Map, Node, Scalar, Value};
use crate::scalar;
use crate::schema::{self, Audience, ROOT_KIND, Record, Type};

/// Writes documents one after another, separated by `---`.
#[must_use]
pub fn documents(nodes: &[Node]) -> String {
    let texts: Vec<String> = nodes.iter().map(|node| document(&canonical(node))).collect();
    texts.join("---\n")
}

/// Writes one tree.
#[must_use]
pub fn document(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(map) if !map.is_empty() => mapping(&mut out, map, 0, false),
        Value::List(items) if !items.is_empty() => list(&mut out, items, 0),
        _ => {
            inline(&mut out, node, 0);
            out.push('\n');
        }
    }
    out
}

/// The same document with keys in the order of its schema.
fn canonical(node: &Node) -> Node {
    let mut node = node.clone();
    let kind = node.get("kind").and_then(Node::as_text).unwrap_or(ROOT_KIND);
    if let Some(kind) = schema::kind_for(kind, Audience::Manager) {
        order(&mut node, Type::Record(kind.record));
        if let Value::Map(map) = &mut node.value {
            map.sort_by_key(|key| {
                document::HEADER.iter().position(|header| *header == key).unwrap_or(usize::MAX)
            });
        }
    }
    node
}

fn order(node: &mut Node, kind: Type) {
    match (kind, &mut node.value) {
        (Type::Record(record), Value::Map(map)) => order_record(map, record),
        (Type::List(inner), Value::List(items)) => items.iter_mut().for_each(|item| order(item, *inner)),
        (Type::Map(inner), Value::Map(map)) => {
            map.iter_mut().for_each(|entry| order(&mut entry.value, *inner))
        }
        _ => {}
    }
}

fn order_record(map: &mut Map, record: &Record) {
    map.sort_by_key(|key| record.order(key));
    for entry in map.iter_mut() {
        if let Some(field) = record.field(&entry.key) {
            order(&mut entry.value, field.kind);
        }
    }
}

/// A mapping; `inline_first` when its first key follows `- ` on the same line.
fn mapping(out: &mut String, map: &Map, depth: usize, inline_first: bool) {
    for (index, entry) in map.iter().enumerate() {
        if index > 0 || !inline_first {
            indent(out, depth);
        }
        text(out, &Scalar::string(entry.key.as_str()));
        out.push(':');
        value(out, &entry.value, depth);
    }
}

fn list(out: &mut String, items: &[Node], depth: usize) {
    for item in items {
        indent(out, depth);
        out.push_str("- ");
        match &item.value {
            // Keys of an element stand under its first key, two columns right of the dash.
            Value::Map(map) if !map.is_empty() => {
                let mut inner = String::new();
                mapping(&mut inner, map, 0, true);
                push_indented(out, &inner, depth);
            }
            Value::List(inner_items) if !inner_items.is_empty() => {
                let mut inner = String::new();
                list(&mut inner, inner_items, 0);
                push_indented(out, &inner, depth);
            }
            _ => {
                inline(out, item, depth);
                out.push('\n');
            }
        }
    }
}

/// Puts an element's lines behind its dash: the first one there, the others two columns further in.
fn push_indented(out: &mut String, inner: &str, depth: usize) {
    for (index, line) in inner.split_inclusive('\n').enumerate() {
        if index > 0 && line != "\n" {
            indent(out, depth);
            out.push_str("  ");
        }
        out.push_str(line);
    }
}

fn value(out: &mut String, node: &Node, depth: usize) {
    match &node.value {
        Value::Map(map) if !map.is_empty() => {
            out.push('\n');
            mapping(out, map, depth + 1, false);
        }
        Value::List(items) if !items.is_empty() => {
            out.push('\n');
            list(out, items, depth + 1);
        }
        _ => {
            out.push(' ');
            inline(out, node, depth);
            out.push('\n');
        }
    }
}

fn inline(out: &mut String, node: &Node, depth: usize) {
    match &node.value {
        Value::Map(_) => out.push_str("{}"),
        Value::List(_) => out.push_str("[]"),
        Value::Scalar(scalar) if scalar.kind != Kind::Text => out.push_str(&scalar.text),
        Value::Scalar(scalar) if is_block(&scalar.text) => block(out, &scalar.text, depth),
        Value::Scalar(scalar) => text(out, scalar),
    }
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("    ");
    }
}

/// A text that reads well as a literal block: several lines, nothing that a block would change.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && text.lines().all(|line| !line.starts_with('\t') && !line.ends_with([' ', '\t']))
        && text.chars().all(|c| c == '\n' || is_plain_char(c))
}

fn block(out: &mut String, text: &str, depth: usize) {
    out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.lines() {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth + 1);
            out.push_str(line);
        }
    }
}

fn is_plain_char(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')
        && !('\u{fffe}'..='\u{ffff}').contains(&c)
}

fn text(out: &mut String, scalar: &Scalar) {
    if is_plain(&scalar.text) { out.push_str(&scalar.text) } else { quoted(out, &scalar.text) }
}

/// Whether a text can stand without quotes and stay text for every reader, old ones included.
fn is_plain(text: &str) -> bool {
    const STARTS: &[char] = &[
        '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', '=',
        '<',
    ];
    let old_words = ["y", "n", "yes", "no", "on", "off"];
    scalar::resolve(text) == Kind::Text
        && !old_words.contains(&text.to_lowercase().as_str())
        && !text.starts_with(STARTS)
        && !text.starts_with("...")
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && text.trim() == text
        && text.chars().all(is_plain_char)
        && !is_date_or_base60(text)
}

/// Dates and base 60 numbers, which some readers turn into other things.
fn is_date_or_base60(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '+')
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ':' | 'T' | 'Z' | '.' | '+' | '_'))
        && text.contains(['-', ':'])
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_plain_char(c) => out.push(c),
            c if u32::from(c) <= 0xff => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c if u32::from(c) <= 0xffff => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => drop(write!(out, "\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::read;

    pub(crate) fn any_node() -> impl Strategy<Value = Node> {
        let scalar = prop_oneof![
            any::<bool>().prop_map(Node::bool),
            any::<i64>().prop_map(Node::integer),
            Just(Node::default()),
            any::<String>().prop_map(Node::string),
            "[ -~\n]{0,20}".prop_map(Node::string),
            prop::sample::select(vec![
                "yes",
                "1",
                "null",
                "- a",
                "a: b",
                "0x1",
                "2001-01-01",
                "...",
                "---",
                "a\n\nb",
                "a\nb\n",
                "<<",
                ".5"
            ])
            .prop_map(Node::string),
        ];
        scalar.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Node::list),
                prop::collection::vec(("[ -~]{1,8}", inner), 0..5)
                    .prop_map(|entries| { Node::map(entries.into_iter().filter(|(key, _)| key != "<<")) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(node in any_node()) {
            let text = document(&Node::map([("root", node.clone())]));
            let back = read::documents(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            prop_assert!(back[0].get("root").cloned().unwrap_or_default() == node, "{}", text);
        }
    }

    #[test]
    fn the_shape_is_that_of_talos() {
        let node = read::documents(
            "a: {b: [1, {c: d, e: [f]}, []], g: {}}\nh: 'true'\ni: \"x\\ny\\n\"\nj: ~\nk: [[1, 2], {}]\n",
        )
        .unwrap();
        let expected = "a:\n    b:\n        - 1\n        - c: d\n          e:\n              - f\n        - []\n    g: {}\nh: \"true\"\ni: |\n    x\n    y\nj: null\nk:\n    - - 1\n      - 2\n    - {}\n";
        assert_eq!(document(&node[0]), expected);
    }

    #[test]
    fn documents_are_in_canonical_order() {
        let nodes = read::documents("cluster: {clusterName: x}\nmachine: {token: t, type: worker}\nversion: v1alpha1\n---\nhostname: a\nkind: HostnameConfig\napiVersion: v1alpha1\n").unwrap();
        let expected = "version: v1alpha1\nmachine:\n    type: worker\n    token: t\ncluster:\n    clusterName: x\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n";
        assert_eq!(documents(&nodes), expected);
    }
}
