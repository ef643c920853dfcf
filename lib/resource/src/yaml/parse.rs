//! YAML text to a tree.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{DEPTH_MAX, YamlError};

/// A document without anchors; scalars stay text until a field says what they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Text and whether it stood without quotes.
    Scalar(String, bool),
    /// A sequence.
    Sequence(Vec<Self>),
    /// A mapping in the order written.
    Mapping(Vec<(String, Self)>),
}

impl Tree {
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(text, true) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// A container that is being filled.
enum Open {
    Sequence(Vec<Tree>),
    Mapping(Vec<(String, Tree)>, Option<String>),
}

fn syntax(text: impl ToString) -> YamlError {
    YamlError::Syntax(text.to_string())
}

/// The only document of `text`; an empty text is null.
pub fn parse(text: &str) -> Result<Tree, YamlError> {
    let mut stack: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(syntax)?;
        let value = match event {
            Event::Scalar(text, style, 0, _) => Tree::Scalar(text.into_owned(), style == ScalarStyle::Plain),
            Event::SequenceStart(.., 0, _) => {
                open(&mut stack, Open::Sequence(Vec::new()))?;
                continue;
            }
            Event::MappingStart(.., 0, _) => {
                open(&mut stack, Open::Mapping(Vec::new(), None))?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Open::Sequence(items)) => Tree::Sequence(items),
                Some(Open::Mapping(entries, _)) => Tree::Mapping(entries),
                None => return Err(syntax("unbalanced")),
            },
            Event::DocumentStart(_) if root.is_some() => return Err(syntax("more than one document")),
            Event::Alias(_) | Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
                return Err(syntax("anchors are not accepted"));
            }
            _ => continue,
        };
        match stack.last_mut() {
            None => root = Some(value),
            Some(Open::Sequence(items)) => items.push(value),
            Some(Open::Mapping(entries, key)) => match (key.take(), value) {
                (Some(name), value) => entries.push((name, value)),
                (None, Tree::Scalar(name, _)) => *key = Some(name),
                (None, _) => return Err(syntax("a key is no scalar")),
            },
        }
    }
    Ok(root.unwrap_or_else(|| Tree::Scalar(String::new(), true)))
}

fn open(stack: &mut Vec<Open>, container: Open) -> Result<(), YamlError> {
    if stack.len() >= DEPTH_MAX {
        return Err(syntax(format!("nested deeper than {DEPTH_MAX}")));
    }
    stack.push(container);
    Ok(())
}
