//! Expressions by which people select disks, volumes, links and processes: the Common Expression Language
//! (<https://cel.dev>), as much of it as a machine can afford.
//!
//! ```text
//! text ─lex─▶ tokens ─parse─▶ Expression ─evaluate─▶ Value | Error with its place
//!              Dialect: names ────▲            ▲── Scope: values of names, functions of the domain
//! ```
//!
//! - Literals: `1`, `0x1f`, `1u`, `1.5`, texts in all four kinds of quotes, `true`, `false`, `null`, `[…]`, and maps from texts `{…}`.
//! - Operators: `?:`, `||`, `&&`, comparisons, `in`, `+ - * / %`, `!`, `-`, `.field`, `[index]`.
//! - Functions: `size`, `contains`, `startsWith`, `endsWith`, `matches`, `lowerAscii`, `upperAscii`, `int`, `uint`,
//!   `double`, `string`, and those that a dialect adds.
//! - Constants for sizes: `KiB` to `EiB`, `kB` to `EB`.
//! - Macros: `has`, `all`, `exists`, `exists_one`, `filter`, `map`.
//!
//! Bytes, timestamps and durations are not in it. Numbers of different types compare by value;
//! a whole number without sign also takes part in arithmetic of unsigned ones.
//!
//! Expressions come from users and are evaluated in programs of little memory with small stacks. So everything is
//! bounded before it begins: bytes, depth of the tree, steps, and bytes that are made.

mod evaluate;
mod functions;
mod lex;
mod parse;
mod tree;
mod units;
mod value;

pub use tree::Tree;
pub use value::Value;

/// Longest expression, bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4096;
/// Deepest tree. A chain of operators is as deep as it is long.
pub const DEPTH_MAX: usize = 64;
/// Most steps of one evaluation. Making texts and lists and searching in them counts by their length.
pub const STEPS_MAX: usize = 100_000;

/// What is wrong with an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It is too large or too deep, or takes too long.
    Bound,
    /// It is no expression of the language.
    Syntax,
    /// It names something that is not there, or combines what cannot be combined. It is wrong whatever the values are.
    Mistake,
    /// It cannot be evaluated with these values: an overflow, an index that is too large.
    Values,
}

/// Why an expression cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {place})", place = self.at + 1)]
pub struct Error {
    /// What kind of trouble it is.
    pub kind: ErrorKind,
    /// Where: characters before it.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, at: usize, message: impl Into<String>) -> Self {
        Self { kind, at, message: message.into() }
    }
}

/// The names that expressions of a domain may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dialect {
    /// Names of values.
    pub variables: &'static [&'static str],
    /// Functions besides those of the language.
    pub functions: &'static [&'static str],
}

/// What names stand for in one evaluation.
pub trait Scope {
    /// The value of a name of the dialect.
    fn variable(&self, name: &str) -> Option<Value>;

    /// Calls a function of the dialect; for `a.f(b)` the arguments are `a` and `b`. Nothing when it does not take
    /// arguments of these types.
    fn call(&self, _name: &str, _arguments: &[Value]) -> Option<Value> {
        None
    }
}

/// An expression that was read.
#[derive(Clone, Debug)]
pub struct Expression {
    root: parse::Node,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, is too large, or uses names that the dialect does not have.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, Error> {
        Ok(Self { root: root(text, Some(dialect))? })
    }

    /// Its value.
    ///
    /// # Errors
    /// When it has none.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Error> {
        evaluate::evaluate(&self.root, scope)
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// When it has no value, or one that is neither true nor false.
    pub fn is_true(&self, scope: &dyn Scope) -> Result<bool, Error> {
        match self.evaluate(scope)? {
            Value::Bool(is_true) => Ok(is_true),
            other => {
                let message = format!("it gives {}, neither true nor false; compare it", other.kind());
                Err(Error::new(ErrorKind::Mistake, 0, message))
            }
        }
    }
}

/// Reads an expression; without a dialect every name is known.
fn root(text: &str, dialect: Option<Dialect>) -> Result<parse::Node, Error> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let message = format!("it has {} bytes; at most {EXPRESSION_BYTES_MAX} are read", text.len());
        return Err(Error::new(ErrorKind::Bound, 0, message));
    }
    parse::parse(lex::lex(text)?, dialect)
}

#[cfg(test)]
mod tests;
