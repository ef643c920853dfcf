//! From YAML text to nodes, with budgets.
//!
//! The stream is untrusted: size, depth, number of nodes and copies made by aliases are all bounded, and
//! crossing a bound is an error with its place.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::node::{Entry, Kind, Map, Node, Position, Scalar, Value};
use crate::problem::Problem;
use crate::scalar;

/// Largest text.
pub const BYTES_MAX: usize = 8 << 20;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 100;
/// Most nodes in all documents together, copies by aliases included.
pub const NODES_MAX: usize = 200_000;
/// Most keys in one mapping.
pub const KEYS_MAX: usize = 10_000;
/// Most documents.
pub const DOCUMENTS_MAX: usize = 1_000;

/// Reads every document of a stream; empty documents are left out.
pub fn documents(text: &str) -> Result<Vec<Node>, Problem> {
    if text.len() > BYTES_MAX {
        return Err(Problem::at(Position::default(), format!("larger than {BYTES_MAX} bytes")));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| Problem::at(place(*error.marker()), format!("not YAML: {}", error.info())))?;
        builder.event(event, place(span.start))?;
    }
    Ok(builder.documents)
}

fn place(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// A collection that is not closed yet.
enum Open {
    List(Vec<Node>),
    Map { map: Map, merges: Vec<Node>, key: Option<(String, Position)> },
}

struct Frame {
    open: Open,
    at: Position,
    anchor: usize,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let scalar =
                    read_scalar(&text, style, tag.as_deref()).map_err(|text| Problem::at(at, text))?;
                self.finish(Node { value: Value::Scalar(scalar), at }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq").map_err(|text| Problem::at(at, text))?;
                self.open(Open::List(Vec::new()), at, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map").map_err(|text| Problem::at(at, text))?;
                self.open(Open::Map { map: Map::default(), merges: Vec::new(), key: None }, at, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(anchor) => {
                let mut node = self.anchors.get(&anchor).cloned();
                if let Some(node) = &mut node {
                    node.at = at;
                }
                let node = node.ok_or_else(|| Problem::at(at, "alias inside its own anchor".to_owned()))?;
                self.spend(count(&node), at)?;
                self.attach(node)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, open: Open, at: Position, anchor: usize) -> Result<(), Problem> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(Problem::at(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.stack.push(Frame { open, at, anchor });
        Ok(())
    }

    fn close(&mut self, at: Position) -> Result<(), Problem> {
        let frame = self.stack.pop().ok_or_else(|| Problem::at(at, "unexpected end".to_owned()))?;
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { mut map, merges, .. } => {
                self.spend(merges.iter().map(count).sum(), frame.at)?;
                merge_keys(&mut map, merges, frame.at)?;
                Value::Map(map)
            }
        };
        self.finish(Node { value, at: frame.at }, frame.anchor)
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        self.spend(1, node.at)?;
        if anchor != 0 {
            self.spend(count(&node), node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        self.attach(node)
    }

    fn spend(&mut self, nodes: usize, at: Position) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(Problem::at(at, format!("more than {NODES_MAX} values, aliases included")));
        }
        Ok(())
    }

    fn attach(&mut self, node: Node) -> Result<(), Problem> {
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.document(node),
            Some(Open::List(items)) => {
                items.push(node);
                Ok(())
            }
            Some(Open::Map { map, merges, key }) => match key.take() {
                None => {
                    *key = Some((key_text(&node)?, node.at));
                    Ok(())
                }
                Some((name, _)) if name == "<<" => {
                    merges.push(node);
                    Ok(())
                }
                Some((_, at)) if map.len() >= KEYS_MAX => {
                    Err(Problem::at(at, format!("more than {KEYS_MAX} keys in one mapping")))
                }
                Some((key, at)) => {
                    let message = format!("key {key:?} is already set in line ");
                    match map.insert_new(Entry { key, at, value: node }) {
                        Some(first) => Err(Problem::at(at, format!("{message}{}", first.line))),
                        None => Ok(()),
                    }
                }
            },
        }
    }

    fn document(&mut self, node: Node) -> Result<(), Problem> {
        if node.is_null() {
            return Ok(());
        }
        if self.documents.len() >= DOCUMENTS_MAX {
            return Err(Problem::at(node.at, format!("more than {DOCUMENTS_MAX} documents")));
        }
        self.documents.push(node);
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(map) => map.iter().map(|entry| count(&entry.value)).sum(),
    }
}

fn key_text(node: &Node) -> Result<String, Problem> {
    match &node.value {
        Value::Scalar(scalar) => Ok(scalar.text.clone()),
        _ => Err(Problem::at(node.at, format!("a key must be a scalar, this is a {}", node.describe()))),
    }
}

/// `<<`: keys of the merged mappings that the mapping itself does not set.
fn merge_keys(map: &mut Map, merges: Vec<Node>, at: Position) -> Result<(), Problem> {
    for node in merges {
        let sources = match node.value {
            Value::List(items) => items,
            other => vec![Node { value: other, at: node.at }],
        };
        for source in sources {
            let Value::Map(source) = source.value else {
                return Err(Problem::at(at, "`<<` takes a mapping or a list of mappings".to_owned()));
            };
            for entry in source {
                // A key that is already there wins over the merged one.
                let _ = map.insert_new(entry);
            }
        }
    }
    Ok(())
}

fn read_scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar, String> {
    let resolved = || match style {
        ScalarStyle::Plain => scalar::resolve(text),
        _ => Kind::Text,
    };
    let kind = match tag {
        None => resolved(),
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" => Kind::Text,
            "int" | "float" | "bool" | "null" => scalar::resolve(text),
            other => return Err(format!("tag !!{other} is not supported")),
        },
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Kind::Text,
        Some(tag) => return Err(format!("tag {tag} is not supported")),
    };
    let text = if kind == Kind::Null { "null" } else { text };
    Ok(Scalar { text: text.to_owned(), kind })
}

fn check_tag(tag: Option<&Tag>, expected: &str) -> Result<(), String> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => Ok(()),
        Some(tag) => Err(format!("tag {tag} is not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        documents(text).unwrap().remove(0)
    }

    fn error(text: &str) -> String {
        documents(text).unwrap_err().to_string()
    }

    #[test]
    fn places_and_order_are_kept() {
        let node = one("b: 1\na:\n  - x\n  - {c: d}\n");
        let map = node.as_map().unwrap();
        assert_eq!(map.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(map.entry("a").unwrap().at, Position { line: 2, column: 1 });
        let list = node.get("a").unwrap().as_list().unwrap();
        assert_eq!(list[1].get("c").unwrap().at, Position { line: 4, column: 9 });
    }

    #[test]
    fn empty_documents_are_left_out() {
        assert_eq!(documents("---\n---\na: 1\n---\n# only a comment\n---\nnull\n").unwrap().len(), 1);
        assert_eq!(documents("").unwrap().len(), 0);
    }

    #[test]
    fn duplicate_and_complex_keys_are_refused() {
        assert_eq!(error("a: 1\nb: 2\na: 3\n"), "key \"a\" is already set in line 1 (line 3, column 1)");
        assert!(error("? [a]\n: b\n").contains("a key must be a scalar"));
    }

    #[test]
    fn quotes_and_tags_make_text() {
        let node = one("a: '1'\nb: !!str 1\nc: \"true\"\nd: |\n  1\ne: 1\nf: ~\n");
        for key in ["a", "b", "c", "d"] {
            assert_eq!(node.get(key).unwrap().describe(), "string", "{key}");
        }
        assert_eq!(node.get("e").unwrap().describe(), "integer");
        assert!(node.as_map().unwrap().get("f").unwrap().is_null());
        assert!(error("a: !secret x\n").contains("is not supported"));
    }

    #[test]
    fn aliases_and_merge_keys_copy() {
        let node = one("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nagain: *b\n");
        assert!(node.get("use").unwrap() == &Node::map([("y", Node::integer(3)), ("x", Node::integer(1))]));
        assert!(node.get("again").unwrap() == node.get("base").unwrap());
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let previous = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{previous}]\n");
        }
        assert!(error(&text).starts_with("more than 200000 values, aliases included"));
    }

    #[test]
    fn line_ends_of_other_systems_are_read() {
        assert!(one("a: 1\r\nb: x\r\n") == Node::map([("a", Node::integer(1)), ("b", Node::string("x"))]));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let keys: String = (0..=KEYS_MAX).map(|key| format!("k{key}: 1\n")).collect();
        assert!(error(&keys).starts_with("more than 10000 keys in one mapping (line 10001, "));
        assert!(error(&"[".repeat(200)).contains("nested deeper than 100 levels"));
        assert!(error(&" ".repeat(BYTES_MAX + 1)).starts_with("larger than"));
    }

    #[test]
    fn arbitrary_text_is_read_or_refused_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = documents(text);
        });
    }
}
