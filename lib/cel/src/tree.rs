//! Expressions as they are handed on: a tree whose names stand for themselves, and the one text that it has.
//!
//! ```text
//! text ─▶ Tree ─▶ text of everybody who has this tree
//! ```
//!
//! The text is that of the language's implementation in Go (cel-go, `Unparse`): double quotes, blanks around operators,
//! brackets where the order needs them, and a new line after `&&` and `||` in lines that are full.

use std::fmt::{self, Write};

use crate::parse::{Binary, Node, Shape, Walk};
use crate::{Error, Value};

/// A line of this many bytes is full.
const LINE_BYTES: usize = 80;

/// An expression of which only the form is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// A single value: no list and no map.
    Constant(Value),
    /// A name.
    Name(String),
    /// A field.
    Field {
        /// What has it.
        of: Box<Self>,
        /// Its name.
        name: String,
        /// Whether it is there is asked for, not what is in it.
        is_test: bool,
    },
    /// A function, a method, an operator or a macro.
    Call {
        /// What has the method.
        receiver: Option<Box<Self>>,
        /// Name; those of operators have the places of their operands in them, such as `_&&_`.
        function: String,
        /// Arguments or operands.
        arguments: Vec<Self>,
    },
    /// A list.
    List(Vec<Self>),
    /// Keys and values.
    Map(Vec<(Self, Self)>),
}

const CHOICE: &str = "_?_:_";
const INDEX: &str = "_[_]";
const NOT: &str = "!_";
const NEGATE: &str = "-_";
/// How loosely a choice holds its parts together.
const CHOICE_LOOSENESS: u8 = 8;
/// Operators between two values: name, text, and how loosely they hold their operands together.
const BINARIES: [(Binary, &str, &str, u8); 14] = [
    (Binary::Or, "_||_", "||", 7),
    (Binary::And, "_&&_", "&&", 6),
    (Binary::Equal, "_==_", "==", 5),
    (Binary::Unequal, "_!=_", "!=", 5),
    (Binary::Less, "_<_", "<", 5),
    (Binary::LessOrEqual, "_<=_", "<=", 5),
    (Binary::Greater, "_>_", ">", 5),
    (Binary::GreaterOrEqual, "_>=_", ">=", 5),
    (Binary::In, "@in", "in", 5),
    (Binary::Add, "_+_", "+", 4),
    (Binary::Subtract, "_-_", "-", 4),
    (Binary::Multiply, "_*_", "*", 3),
    (Binary::Divide, "_/_", "/", 3),
    (Binary::Remainder, "_%_", "%", 3),
];

impl Tree {
    /// Reads an expression, whatever names it uses. A text that is none is a name.
    #[must_use]
    pub fn read(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|_| Self::Name(text.to_owned()))
    }

    fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self::of(&crate::root(text, None)?))
    }

    fn of(node: &Node) -> Self {
        match &node.shape {
            Shape::Constant(value) => Self::Constant(value.clone()),
            Shape::Name(name) => Self::Name(name.clone()),
            Shape::Not(inner) => Self::operator(NOT, [inner]),
            Shape::Negate(inner) => Self::operator(NEGATE, [inner]),
            Shape::Binary(operator, a, b) => {
                let row = BINARIES.iter().find(|(row, ..)| row == operator);
                Self::operator(row.map_or("", |(_, name, ..)| name), [a, b])
            }
            Shape::Choice(condition, then, otherwise) => Self::operator(CHOICE, [condition, then, otherwise]),
            Shape::Index(list, index) => Self::operator(INDEX, [list, index]),
            Shape::List(nodes) => Self::List(nodes.iter().map(Self::of).collect()),
            Shape::Map(entries) => {
                Self::Map(entries.iter().map(|(key, value)| (Self::of(key), Self::of(value))).collect())
            }
            Shape::Field(of, name) => Self::field(of, name, false),
            Shape::Has(of, name) => Self::field(of, name, true),
            Shape::Call(name, nodes) => Self::call(None, name, nodes.iter().map(Self::of).collect()),
            Shape::Method(name, nodes) => {
                let mut nodes = nodes.iter().map(Self::of);
                Self::call(nodes.next(), name, nodes.collect())
            }
            Shape::Walk(walk, list, element, body) => {
                let arguments = vec![Self::Name(element.clone()), Self::of(body)];
                Self::call(Some(Self::of(list)), word(*walk), arguments)
            }
        }
    }

    fn field(of: &Node, name: &str, is_test: bool) -> Self {
        Self::Field { of: Box::new(Self::of(of)), name: name.to_owned(), is_test }
    }

    fn operator<const N: usize>(name: &str, operands: [&Node; N]) -> Self {
        Self::call(None, name, operands.into_iter().map(Self::of).collect())
    }

    fn call(receiver: Option<Self>, function: &str, arguments: Vec<Self>) -> Self {
        Self::Call { receiver: receiver.map(Box::new), function: function.to_owned(), arguments }
    }

    /// How loosely it holds its parts together; nothing when it is no call.
    fn looseness(&self) -> Option<u8> {
        let Self::Call { function, .. } = self else { return None };
        Some(match function.as_str() {
            CHOICE => CHOICE_LOOSENESS,
            NOT | NEGATE => 2,
            INDEX => 1,
            name => binary(name).map_or(0, |(_, looseness)| looseness),
        })
    }

    /// A call with several arguments.
    const fn is_complex(&self) -> bool {
        matches!(self, Self::Call { arguments, .. } if arguments.len() >= 2)
    }

    /// An operator between values.
    fn is_operation(&self) -> bool {
        matches!(self, Self::Call { function, .. } if function == CHOICE || binary(function).is_some())
            && self.is_complex()
    }
}

/// Text of an operator between two values, and how loosely it holds them together.
fn binary(name: &str) -> Option<(&'static str, u8)> {
    BINARIES.iter().find(|(_, row, ..)| *row == name).map(|(.., text, looseness)| (*text, *looseness))
}

const fn word(walk: Walk) -> &'static str {
    match walk {
        Walk::All => "all",
        Walk::Exists => "exists",
        Walk::ExistsOne => "exists_one",
        Walk::Filter => "filter",
        Walk::Map => "map",
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer::default();
        printer.tree(self);
        f.write_str(&printer.text)
    }
}

#[derive(Default)]
struct Printer {
    text: String,
    /// Where the line begins, almost: at the operator that ended the one before.
    line: usize,
}

impl Printer {
    fn tree(&mut self, tree: &Tree) {
        match tree {
            Tree::Constant(value) => constant(&mut self.text, value),
            Tree::Name(name) => self.text.push_str(name),
            Tree::Field { of, name, is_test } => {
                self.text.push_str(if *is_test { "has(" } else { "" });
                self.nested(of, !is_test && of.is_operation());
                self.text.push('.');
                self.text.push_str(name);
                self.text.push_str(if *is_test { ")" } else { "" });
            }
            Tree::Call { receiver, function, arguments } => {
                self.call(receiver.as_deref(), function, arguments);
            }
            Tree::List(items) => {
                self.text.push('[');
                self.separated(items);
                self.text.push(']');
            }
            Tree::Map(entries) => {
                self.text.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.text.push_str(if index > 0 { ", " } else { "" });
                    self.tree(key);
                    self.text.push_str(": ");
                    self.tree(value);
                }
                self.text.push('}');
            }
        }
    }

    fn call(&mut self, receiver: Option<&Tree>, function: &str, arguments: &[Tree]) {
        match (function, arguments) {
            (CHOICE, [condition, then, otherwise]) => {
                for (before, part) in [("", condition), (" ? ", then), (" : ", otherwise)] {
                    self.text.push_str(before);
                    self.nested(part, part.is_complex());
                }
            }
            (INDEX, [list, index]) => {
                self.nested(list, list.is_operation());
                self.text.push('[');
                self.tree(index);
                self.text.push(']');
            }
            (NOT | NEGATE, [operand]) => {
                self.text.push_str(function.trim_end_matches('_'));
                self.nested(operand, operand.is_complex());
            }
            (_, [left, right]) if binary(function).is_some() => self.operation(function, left, right),
            _ => {
                if let Some(receiver) = receiver {
                    self.nested(receiver, receiver.is_operation());
                    self.text.push('.');
                }
                self.text.push_str(function);
                self.text.push('(');
                self.separated(arguments);
                self.text.push(')');
            }
        }
    }

    fn operation(&mut self, function: &str, left: &Tree, right: &Tree) {
        let Some((text, own)) = binary(function) else { return };
        let is_looser = |tree: &Tree| tree.is_complex() && tree.looseness().is_some_and(|other| own < other);
        // From the left all but these two are read.
        let is_joining = matches!(text, "&&" | "||");
        self.nested(left, is_looser(left));
        let (end, length) = (self.text.len(), self.text.len() - self.line + function.len());
        let is_full = is_joining && length >= LINE_BYTES;
        self.text.push(' ');
        self.text.push_str(text);
        self.text.push(if is_full { '\n' } else { ' ' });
        if is_full {
            self.line = end;
        }
        self.nested(right, is_looser(right) || !is_joining && right.looseness() == Some(own));
    }

    fn nested(&mut self, tree: &Tree, in_brackets: bool) {
        self.text.push_str(if in_brackets { "(" } else { "" });
        self.tree(tree);
        self.text.push_str(if in_brackets { ")" } else { "" });
    }

    fn separated(&mut self, trees: &[Tree]) {
        for (index, tree) in trees.iter().enumerate() {
            self.text.push_str(if index > 0 { ", " } else { "" });
            self.tree(tree);
        }
    }
}

fn constant(out: &mut String, value: &Value) {
    let _ = match value {
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}u"),
        Value::Double(value) => double(out, *value),
        Value::Text(text) => quote(out, text),
        Value::Null | Value::List(_) | Value::Map(_) => write!(out, "null"),
    };
}

/// As many digits as tell it from its neighbours; an exponent below 0.0001 and from a million.
fn double(out: &mut String, value: f64) -> fmt::Result {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = value.to_string();
    let end = if plain.contains('.') { "" } else { ".0" };
    write!(out, "{plain}{end}")
}

fn quote(out: &mut String, text: &str) -> fmt::Result {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(out, "\\{letter}")?,
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if letter.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(letter))?,
            _ if letter.is_ascii() || letter.escape_debug().count() == 1 => out.push(letter),
            _ if u32::from(letter) < 0x1_0000 => write!(out, "\\u{:04x}", u32::from(letter))?,
            _ => write!(out, "\\U{:08x}", u32::from(letter))?,
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cel-go 0.27 writes them.
    const WRITTEN: [(&str, &str); 14] = [
        ("disk.transport=='nvme'&&!system_disk", "disk.transport == \"nvme\" && !system_disk"),
        ("(a || b) && (c && d)", "(a || b) && c && d"),
        ("a - (b - c) * 2u", "a - (b - c) * 2u"),
        ("(a * b) + (c == d ? 1 : 2)", "a * b + ((c == d) ? 1 : 2)"),
        ("!(a == b) || - x < -5", "!(a == b) || -x < -5"),
        ("disk . size > 10u*GiB", "disk.size > 10u * GiB"),
        ("links.exists( l , l.startsWith(\"a\") )", "links.exists(l, l.startsWith(\"a\"))"),
        ("size(x) == x.size()", "size(x) == x.size()"),
        ("has(disk.serial) ? disk.serial : ''", "has(disk.serial) ? disk.serial : \"\""),
        ("(a ? b : c) ? d : e", "(a ? b : c) ? d : e"),
        ("(a + b)[0x10] in [1, 2,]", "(a + b)[16] in [1, 2]"),
        ("{'k': 1.0, \"l\": 1e6, 'm': 0.00001}", "{\"k\": 1.0, \"l\": 1e+06, \"m\": 1e-05}"),
        (r#"'\x07\n\t"\\é\u200b' + "" "#, r#""\a\n\t\"\\é\u200b" + """#),
        ("null == true", "null == true"),
    ];

    #[test]
    fn a_tree_has_one_text() {
        for (text, written) in WRITTEN {
            assert_eq!(Tree::read(text).to_string(), written);
            assert_eq!(Tree::read(written).to_string(), written);
        }
        assert_eq!(Tree::read("no expression").to_string(), "no expression");
    }

    #[test]
    fn full_lines_end_after_what_joins() {
        let part = "disk.transport == \"nvme\"";
        let text = [part; 7].join(" && ");
        let line = [part; 3].join(" && ");
        let written = Tree::read(&text).to_string();
        assert_eq!(written, format!("{line} &&\n{line} &&\n{part}"), "{written}");
        assert_eq!(Tree::read(&written).to_string(), written);
    }

    #[test]
    fn what_was_written_is_read_as_the_same() {
        const WORDS: [&str; 32] = [
            "a",
            "b",
            "1",
            "2u",
            "1.5",
            "'x'",
            "true",
            "null",
            "(",
            ")",
            "[",
            "]",
            ".",
            ",",
            "&&",
            "||",
            "==",
            "<",
            "+",
            "-",
            "*",
            "!",
            "?",
            ":",
            "in",
            "has(",
            ".exists(e, ",
            "e",
            "size(",
            ".size()",
            "{",
            "}",
        ];
        bolero::check!().for_each(|bytes: &[u8]| {
            let words = bytes.iter().filter_map(|byte| WORDS.get(usize::from(byte % 32)).copied());
            let text = words.collect::<Vec<_>>().join(" ");
            let Ok(tree) = Tree::parse(&text) else { return };
            let written = tree.to_string();
            if let Ok(again) = Tree::parse(&written) {
                assert_eq!(again.to_string(), written, "{text}");
            }
        });
    }
}
