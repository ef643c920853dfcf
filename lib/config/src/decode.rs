//! Checks a document against the schema: unknown keys, wrong types and missing keys, all at once.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::node::{Entry, Kind, Node, Scalar, Value};
use crate::problem::{Path, Problem, Problems, nearest, unknown_key};
use crate::schema::{Audience, Field, Record, Support, Type};
use crate::{scalar, values};

/// What a document is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// A configuration: required keys must be there.
    Document,
    /// A patch: keys may be missing and `$patch` may stand among them.
    Patch,
}

/// Key that gives an order to the patcher instead of a value.
pub const DIRECTIVE: &str = "$patch";

/// What was found in one document.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub problems: Problems,
    /// What is accepted but should be known.
    pub warnings: Problems,
}

/// Checks a document, `skip` being the keys that are no fields of it.
pub fn check(node: &Node, record: &'static Record, document: &str, whole: Whole, skip: &[&str]) -> Findings {
    check_for(Audience::Machine, node, record, document, whole, skip)
}

/// Checks a document for somebody who may take more than a machine does.
pub(crate) fn check_for(
    audience: Audience,
    node: &Node,
    record: &'static Record,
    document: &str,
    whole: Whole,
    skip: &[&str],
) -> Findings {
    let mut checker = Checker { audience, document, whole, findings: Findings::default() };
    checker.record(node, record, &Path::ROOT, skip);
    checker.findings
}

struct Checker<'a> {
    audience: Audience,
    document: &'a str,
    whole: Whole,
    findings: Findings,
}

impl Checker<'_> {
    fn problem(&mut self, node: &Node, path: &Path<'_>, message: String) {
        let problem =
            Problem { document: self.document.to_owned(), path: path.to_string(), message, at: node.at };
        self.findings.problems.push(problem);
    }

    fn value(&mut self, node: &Node, kind: Type, path: &Path<'_>) {
        if node.is_null() {
            return;
        }
        match (kind, &node.value) {
            (Type::Any, _) => {}
            (Type::Record(record), _) => self.record(node, record, path, &[]),
            (Type::List(inner), Value::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(item, *inner, &path.index(index));
                }
            }
            (Type::Argument, Value::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(item, Type::Text, &path.index(index));
                }
            }
            (Type::Map(inner), Value::Map(map)) => {
                for entry in map {
                    if !self.is_directive(entry, path) {
                        self.value(&entry.value, *inner, &path.key(&entry.key));
                    }
                }
            }
            (Type::Object, Value::Map(_)) => {}
            (_, Value::Map(map)) if self.whole == Whole::Patch && map.get(DIRECTIVE).is_some() => {
                for entry in map {
                    self.is_directive(entry, path);
                }
            }
            (_, Value::Scalar(scalar)) => {
                if let Err(message) = check_scalar(scalar, kind) {
                    self.problem(node, path, message);
                }
            }
            _ => {
                self.problem(node, path, format!("expected {}, found a {}", expected(kind), node.describe()))
            }
        }
    }

    fn record(&mut self, node: &Node, record: &'static Record, path: &Path<'_>, skip: &[&str]) {
        let Some(map) = node.as_map() else {
            return self.problem(node, path, format!("expected a mapping, found a {}", node.describe()));
        };
        for entry in map {
            if skip.contains(&entry.key.as_str()) || self.is_directive(entry, path) {
                continue;
            }
            match record.field(&entry.key) {
                Some(field) => self.field(entry, field, &path.key(&entry.key)),
                None => self.unknown(entry, record, path),
            }
        }
        if self.whole == Whole::Document {
            for field in record.fields.iter().filter(|field| field.required) {
                if node.get(field.key).is_none_or(|value| value.as_text() == Some("")) {
                    let choices = match field.kind {
                        Type::OneOf(words) => {
                            format!("; expected {}", words[..words.len().min(2)].join(" or "))
                        }
                        _ => String::new(),
                    };
                    self.problem(node, &path.key(field.key), format!("missing{choices}"));
                }
            }
        }
    }

    fn field(&mut self, entry: &Entry, field: &'static Field, path: &Path<'_>) {
        self.value(&entry.value, field.kind, path);
        if entry.value.is_zero() || self.audience == Audience::Manager {
            return;
        }
        let deletes = entry.value.get(DIRECTIVE).is_some();
        match field.support {
            Support::Effective => self.later_words(entry, field, path),
            Support::Refused if deletes => {}
            Support::Refused => self.problem(&entry.value, path, "not yet supported".to_owned()),
            Support::Inert => {
                let message = "accepted, but has no effect yet".to_owned();
                let document = self.document.to_owned();
                let problem = Problem { document, path: path.to_string(), message, at: entry.at };
                self.findings.warnings.push(problem);
            }
        }
    }

    /// A word that the language has and this machine has not.
    fn later_words(&mut self, entry: &Entry, field: &'static Field, path: &Path<'_>) {
        let Some(word) = entry.value.as_text().filter(|text| field.later.contains(text)) else { return };
        self.problem(&entry.value, path, format!("{word} is not yet supported"));
    }

    fn unknown(&mut self, entry: &Entry, record: &Record, path: &Path<'_>) {
        if self.findings.problems.is_full() {
            return self.problem(&entry.value, path, String::new());
        }
        let message = unknown_key(&entry.key, record.fields.iter().map(|field| field.key));
        let document = self.document.to_owned();
        let path = path.key(&entry.key).to_string();
        let problem = Problem { document, path, message, at: entry.at };
        self.findings.problems.push(problem);
    }

    /// Whether the entry is an order to the patcher; a wrong one is a problem.
    fn is_directive(&mut self, entry: &Entry, path: &Path<'_>) -> bool {
        if entry.key != DIRECTIVE || self.whole != Whole::Patch {
            return false;
        }
        if entry.value.as_text() != Some("delete") {
            let path = path.key(DIRECTIVE);
            self.problem(&entry.value, &path, "expected delete, the only order there is".to_owned());
        }
        true
    }
}

fn check_scalar(scalar: &Scalar, kind: Type) -> Result<(), String> {
    let text = scalar.text.as_str();
    match kind {
        Type::Text | Type::Argument => return Ok(()),
        Type::Bool => {
            return match scalar::typed_bool(text, scalar.kind) {
                Some(_) => Ok(()),
                None => Err(format!("{text:?} is not a boolean; expected true or false")),
            };
        }
        Type::Integer(min, max) => return check_integer(scalar, min, max),
        Type::Mode => {
            return check_integer(scalar, 0, 0o7777)
                .map_err(|text| format!("{text}; expected octal permissions"));
        }
        _ => {}
    }
    let ok = text.is_empty()
        || match kind {
            Type::Duration => values::duration(text).is_some(),
            Type::Size => values::size(text).is_some(),
            Type::Ip => text.parse::<IpAddr>().is_ok(),
            Type::Cidr => text.parse::<IpNet>().is_ok(),
            Type::Address => values::address(text).is_some(),
            Type::Ports => values::ports(text).is_some(),
            Type::Url => values::url(text).is_some(),
            Type::Pem => values::base64(text).is_some(),
            Type::OneOf(words) => words.contains(&text),
            _ => false,
        };
    if ok {
        return Ok(());
    }
    let hint = match kind {
        Type::OneOf(words) => {
            let near = nearest(text, words.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            return Err(format!("{text:?} is not one of {}{near}", words.join(", ")));
        }
        // What should have been a key must not be shown.
        Type::Pem => return Err("not base64".to_owned()),
        _ => expected(kind),
    };
    Err(format!("{text:?} is not {hint}"))
}

fn check_integer(scalar: &Scalar, min: i64, max: i64) -> Result<(), String> {
    let value = match scalar.kind {
        Kind::Integer(value) => value,
        Kind::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => value as i128,
        _ => return Err(format!("{:?} is not a whole number", scalar.text)),
    };
    if value < i128::from(min) {
        return Err(format!("{value} is below the minimum {min}"));
    }
    if value > i128::from(max) {
        return Err(format!("{value} is above the maximum {max}"));
    }
    Ok(())
}

const fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Text => "a string",
        Type::Bool => "a boolean",
        Type::Integer(..) => "a whole number",
        Type::Duration => "a duration such as 1h30m",
        Type::Size => "a size such as 10GiB",
        Type::Mode => "octal permissions",
        Type::Ip => "an IP address",
        Type::Cidr => "an address with prefix length such as 10.0.0.0/8",
        Type::Address => "an IP address, with or without prefix length",
        Type::Ports => "a port such as 443, or a range such as 80-90",
        Type::Url => "a URL with scheme and host",
        Type::Pem => "base64 of PEM",
        Type::OneOf(_) => "one of a few words",
        Type::Argument => "a string or a list of strings",
        Type::Any => "any value",
        Type::Object | Type::Map(_) | Type::Record(_) => "a mapping",
        Type::List(_) => "a list",
    }
}

#[cfg(test)]
mod tests;
