//! Parts of a template as texts of their own.
//!
//! ```text
//! tree ─▶ keys in the order of Go's YAML library, plain scalars in its words ─▶ text
//! ```
//!
//! Other clients write the same text for the same tree, so that who syncs last does not change it.

use corten_config::node::{Kind, Node, Scalar, Value};
use corten_config::write;

/// One document.
pub fn document(node: &Node) -> String {
    write::document(&plain(node))
}

/// Several documents, separated by `---`.
pub fn documents(nodes: &[Node]) -> String {
    let texts: Vec<String> = nodes.iter().map(document).collect();
    texts.join("---\n")
}

fn plain(node: &Node) -> Node {
    match &node.value {
        Value::List(items) => Node::list(items.iter().map(plain)),
        Value::Scalar(scalar) => Node::from(Value::Scalar(plain_scalar(scalar))),
        Value::Map(map) => {
            let mut map = map.clone();
            map.sort_by_key(tokens);
            for entry in map.iter_mut() {
                entry.value = plain(&entry.value);
            }
            Node::from(Value::Map(map))
        }
    }
}

/// Numbers in decimal, and the usual words.
fn plain_scalar(scalar: &Scalar) -> Scalar {
    match scalar.kind {
        Kind::Integer(value) => Scalar { text: value.to_string(), kind: scalar.kind },
        Kind::Bool(value) => Scalar { text: value.to_string(), kind: scalar.kind },
        Kind::Null => Scalar::null(),
        Kind::Float(_) | Kind::Text => scalar.clone(),
    }
}

/// A part of a key. The order of the variants is that of keys: other signs, then numbers by value, then letters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    Sign(char),
    /// Its value and how many digits it has.
    Number(u64, usize),
    Letter(char),
}

fn tokens(key: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = key.chars().peekable();
    while let Some(first) = rest.next() {
        let Some(digit) = first.to_digit(10) else {
            tokens.push(if first.is_alphabetic() { Token::Letter(first) } else { Token::Sign(first) });
            continue;
        };
        let (mut value, mut digits) = (u64::from(digit), 1_usize);
        while let Some(next) = rest.peek().and_then(|next| next.to_digit(10)) {
            value = value.saturating_mul(10).saturating_add(u64::from(next));
            digits += 1;
            rest.next();
        }
        tokens.push(Token::Number(value, digits));
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_gos_library() {
        let mut keys = ["b", "a10", "a2", "a-x", "_z", "B", "a", "a02", "net.core"];
        keys.sort_by_key(|key| tokens(key));
        assert_eq!(keys, ["_z", "B", "a", "a-x", "a2", "a02", "a10", "b", "net.core"]);
    }

    #[test]
    fn scalars_are_written_in_one_way() {
        let text = "b: 0x10\na: [True, ~, '1', 1.50, yes]\n";
        let node = corten_config::read::documents(text).unwrap().remove(0);
        let expected = "a:\n    - true\n    - null\n    - \"1\"\n    - 1.50\n    - \"yes\"\nb: 16\n";
        assert_eq!(document(&node), expected);
    }
}
