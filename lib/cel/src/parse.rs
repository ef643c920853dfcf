//! Tokens into a tree, by precedence climbing: two calls for each level, however many operators the language has.

use std::sync::Arc;

use crate::functions;
use crate::lex::{Placed, Token};
use crate::units;
use crate::{DEPTH_MAX, Dialect, Error, ErrorKind, Value};

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A macro that walks a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Shape {
    Constant(Value),
    Name(String),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    List(Vec<Node>),
    /// Keys and values.
    Map(Vec<(Node, Node)>),
    Field(Box<Node>, String),
    Has(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    /// A function.
    Call(String, Vec<Node>),
    /// A method, of which the receiver is the first argument.
    Method(String, Vec<Node>),
    /// Macro, list, name of the element, and what is evaluated for each.
    Walk(Walk, Box<Node>, String, Box<Node>),
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub shape: Shape,
    /// Characters before it.
    pub at: usize,
    /// Levels below it and its own.
    depth: usize,
}

const OPERATORS: [(&str, Binary, u8); 13] = [
    ("||", Binary::Or, 1),
    ("&&", Binary::And, 2),
    ("==", Binary::Equal, 3),
    ("!=", Binary::Unequal, 3),
    ("<", Binary::Less, 3),
    ("<=", Binary::LessOrEqual, 3),
    (">", Binary::Greater, 3),
    (">=", Binary::GreaterOrEqual, 3),
    ("+", Binary::Add, 4),
    ("-", Binary::Subtract, 4),
    ("*", Binary::Multiply, 5),
    ("/", Binary::Divide, 5),
    ("%", Binary::Remainder, 5),
];
/// Most calls of the parser that are within each other; a pair of brackets takes two.
const CALLS_MAX: usize = 2 * DEPTH_MAX;
/// Strength of `in`, which is a word.
const IN_STRENGTH: u8 = 3;
const WALKS: [(&str, Walk); 6] = [
    ("all", Walk::All),
    ("exists", Walk::Exists),
    ("exists_one", Walk::ExistsOne),
    ("existsOne", Walk::ExistsOne),
    ("filter", Walk::Filter),
    ("map", Walk::Map),
];

/// Reads a whole expression.
pub fn parse(tokens: Vec<Placed>, dialect: Option<Dialect>) -> Result<Node, Error> {
    let mut parser = Parser { tokens, next: 0, level: 0, dialect, elements: Vec::new() };
    let root = parser.expression()?;
    match parser.token() {
        Token::End => Ok(root),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    level: usize,
    /// Without one every name is known.
    dialect: Option<Dialect>,
    /// Names of elements of the lists that are being walked.
    elements: Vec<String>,
}

impl Parser {
    fn token(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |placed| &placed.token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |placed| placed.at)
    }

    /// Takes this mark if it comes next.
    fn takes(&mut self, mark: &str) -> bool {
        let is_next = matches!(self.token(), Token::Mark(next) if *next == mark);
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, mark: &'static str) -> Result<(), Error> {
        if self.takes(mark) { Ok(()) } else { Err(self.unexpected(&format!("{mark:?}"))) }
    }

    fn unexpected(&self, expected: &str) -> Error {
        let found = match self.token() {
            Token::End => "the end".to_owned(),
            Token::Mark(mark) => format!("{mark:?}"),
            Token::Name(name) => format!("{name:?}"),
            Token::Int(value) => value.to_string(),
            Token::Uint(value) => format!("{value}u"),
            Token::Double(value) => value.to_string(),
            Token::Text(_) => "a string".to_owned(),
        };
        Error::new(ErrorKind::Syntax, self.at(), format!("expected {expected}, found {found}"))
    }

    fn name(&mut self, what: &str) -> Result<String, Error> {
        let Token::Name(name) = self.token() else { return Err(self.unexpected(what)) };
        let name = name.clone();
        self.next += 1;
        Ok(name)
    }

    /// A node, unless the tree becomes too deep.
    fn node(&self, shape: Shape, at: usize) -> Result<Node, Error> {
        let below = match &shape {
            Shape::Constant(_) | Shape::Name(_) => 0,
            Shape::Not(node) | Shape::Negate(node) | Shape::Field(node, _) | Shape::Has(node, _) => {
                node.depth
            }
            Shape::Binary(_, a, b) | Shape::Index(a, b) | Shape::Walk(_, a, _, b) => a.depth.max(b.depth),
            Shape::Choice(a, b, c) => a.depth.max(b.depth).max(c.depth),
            Shape::List(nodes) | Shape::Call(_, nodes) | Shape::Method(_, nodes) => {
                nodes.iter().map(|node| node.depth).max().unwrap_or(0)
            }
            Shape::Map(entries) => {
                entries.iter().map(|(key, value)| key.depth.max(value.depth)).max().unwrap_or(0)
            }
        };
        if below >= DEPTH_MAX {
            return Err(too_deep(at));
        }
        Ok(Node { shape, at, depth: below + 1 })
    }

    /// Counts calls that are within each other; a call that fails ends the whole reading.
    fn enter(&mut self) -> Result<(), Error> {
        self.level += 1;
        if self.level > CALLS_MAX { Err(too_deep(self.at())) } else { Ok(()) }
    }

    fn expression(&mut self) -> Result<Node, Error> {
        self.enter()?;
        let at = self.at();
        let mut node = self.operators(1)?;
        if self.takes("?") {
            let then = self.expression()?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            node = self.node(Shape::Choice(Box::new(node), Box::new(then), Box::new(otherwise)), at)?;
        }
        self.level -= 1;
        Ok(node)
    }

    fn operator(&self) -> Option<(Binary, u8)> {
        match self.token() {
            Token::Name(name) if name == "in" => Some((Binary::In, IN_STRENGTH)),
            Token::Mark(mark) => {
                let found = OPERATORS.iter().find(|(text, ..)| text == mark);
                found.map(|(_, operator, strength)| (*operator, *strength))
            }
            _ => None,
        }
    }

    /// Operators of at least this strength, from left to right. Recurs at most once for each strength.
    fn operators(&mut self, strength_min: u8) -> Result<Node, Error> {
        self.enter()?;
        let mut left = self.unary()?;
        while let Some((operator, strength)) =
            self.operator().filter(|(_, strength)| *strength >= strength_min)
        {
            let at = self.at();
            self.next += 1;
            let right = self.operators(strength + 1)?;
            left = self.node(Shape::Binary(operator, Box::new(left), Box::new(right)), at)?;
        }
        self.level -= 1;
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, Error> {
        let mut marks = Vec::new();
        loop {
            let at = self.at();
            if self.takes("!") {
                marks.push((true, at));
            } else if self.takes("-") {
                marks.push((false, at));
            } else {
                break;
            }
            if marks.len() > DEPTH_MAX {
                return Err(too_deep(at));
            }
        }
        // The lowest whole number has no positive one beside it.
        if let (Some((false, at)), Token::Int(value)) = (marks.last().copied(), self.token()) {
            let negative = 0_i64.checked_sub_unsigned(*value);
            let negative = negative.ok_or_else(|| too_large(at))?;
            self.next += 1;
            marks.pop();
            let constant = self.node(Shape::Constant(Value::Int(negative)), at)?;
            let operand = self.postfix(constant)?;
            return self.marked(operand, marks);
        }
        let primary = self.primary()?;
        let operand = self.postfix(primary)?;
        self.marked(operand, marks)
    }

    fn marked(&self, mut node: Node, marks: Vec<(bool, usize)>) -> Result<Node, Error> {
        for (is_not, at) in marks.into_iter().rev() {
            let inner = Box::new(node);
            node = self.node(if is_not { Shape::Not(inner) } else { Shape::Negate(inner) }, at)?;
        }
        Ok(node)
    }

    fn primary(&mut self) -> Result<Node, Error> {
        let at = self.at();
        let constant = match self.token() {
            Token::Int(value) => Value::Int(i64::try_from(*value).map_err(|_| too_large(at))?),
            Token::Uint(value) => Value::Uint(*value),
            Token::Double(value) => Value::Double(*value),
            Token::Text(text) => Value::Text(Arc::from(text.as_str())),
            Token::Name(name) => match name.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => return self.named(at),
            },
            Token::Mark("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Mark("[") => {
                self.next += 1;
                let items = self.arguments("]")?;
                return self.node(Shape::List(items), at);
            }
            Token::Mark("{") => {
                self.next += 1;
                let entries = self.entries()?;
                return self.node(Shape::Map(entries), at);
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.next += 1;
        self.node(Shape::Constant(constant), at)
    }

    /// A name, a function or `has`.
    fn named(&mut self, at: usize) -> Result<Node, Error> {
        let name = self.name("a name")?;
        if !self.takes("(") {
            let is_known = self.elements.contains(&name)
                || self.dialect.is_none_or(|dialect| dialect.variables.contains(&name.as_str()))
                || units::unit(&name).is_some();
            return if is_known { self.node(Shape::Name(name), at) } else { Err(self.unknown(&name, at)) };
        }
        if name == "has" {
            let inner = self.expression()?;
            self.expect(")")?;
            return match inner.shape {
                Shape::Field(message, field) => self.node(Shape::Has(message, field), at),
                _ => Err(Error::new(ErrorKind::Syntax, at, "has() takes a field, as in has(disk.serial)")),
            };
        }
        let arguments = self.arguments(")")?;
        self.check_function(&name, at)?;
        self.node(Shape::Call(name, arguments), at)
    }

    fn unknown(&self, name: &str, at: usize) -> Error {
        let known = self.dialect.unwrap_or_default().variables.join(", ");
        let message = format!("{name:?} is not known here; there is {known}");
        Error::new(ErrorKind::Mistake, at, message)
    }

    fn check_function(&self, name: &str, at: usize) -> Result<(), Error> {
        let is_known = functions::NAMES.contains(&name)
            || self.dialect.is_none_or(|dialect| dialect.functions.contains(&name));
        if is_known {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Mistake, at, format!("there is no function {name:?}")))
    }

    /// Expressions up to a closing mark, separated by commas.
    fn arguments(&mut self, close: &'static str) -> Result<Vec<Node>, Error> {
        let mut all = Vec::new();
        while !self.takes(close) {
            all.push(self.expression()?);
            if !self.takes(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(all)
    }

    /// Keys and values up to the closing bracket.
    fn entries(&mut self) -> Result<Vec<(Node, Node)>, Error> {
        let mut all = Vec::new();
        while !self.takes("}") {
            let key = self.expression()?;
            self.expect(":")?;
            all.push((key, self.expression()?));
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(all)
    }

    /// Fields, methods and indices behind a value.
    fn postfix(&mut self, mut node: Node) -> Result<Node, Error> {
        loop {
            let at = self.at();
            if self.takes(".") {
                let name = self.name("the name of a field or function")?;
                node = if !self.takes("(") {
                    self.node(Shape::Field(Box::new(node), name), at)?
                } else if let Some((_, walk)) = WALKS.iter().find(|(word, _)| *word == name) {
                    self.walk(*walk, node, at)?
                } else {
                    let mut arguments = vec![node];
                    arguments.extend(self.arguments(")")?);
                    self.check_function(&name, at)?;
                    self.node(Shape::Method(name, arguments), at)?
                };
            } else if self.takes("[") {
                let index = self.expression()?;
                self.expect("]")?;
                node = self.node(Shape::Index(Box::new(node), Box::new(index)), at)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn walk(&mut self, walk: Walk, list: Node, at: usize) -> Result<Node, Error> {
        let element = self.name("a name for the elements of the list")?;
        self.expect(",")?;
        self.elements.push(element.clone());
        let body = self.expression();
        self.elements.pop();
        let body = body?;
        self.expect(")")?;
        self.node(Shape::Walk(walk, Box::new(list), element, Box::new(body)), at)
    }
}

fn too_deep(at: usize) -> Error {
    Error::new(ErrorKind::Bound, at, format!("it is nested more than {DEPTH_MAX} levels deep"))
}

fn too_large(at: usize) -> Error {
    Error::new(ErrorKind::Syntax, at, "the number is too large for an int; write u behind it")
}
