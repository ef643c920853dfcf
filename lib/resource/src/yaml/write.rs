//! Records to YAML.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::text::{NEVER, duration, time};
use crate::field::{Entries, Field, HardwareAddr, Items, Kind, Node, Object};
use crate::record::{Form, Record};

/// The YAML form of `record`; `scalar` when that is the bare value of its only field.
#[must_use]
pub fn write(record: &dyn Record, scalar: bool) -> String {
    let mut out = String::new();
    match record.field(0).filter(|_| scalar) {
        Some(field) => match field.read() {
            Node::Bytes(bytes) => quoted(&mut out, &String::from_utf8_lossy(&bytes)),
            _ => value(&mut out, field, Form::Plain, Place { indent: 0, dash: false }),
        },
        None if is_bare(record) => out.push_str("{}"),
        None => mapping(&mut out, record, 0, true),
    }
    out.truncate(out.trim_end_matches('\n').len());
    out.push('\n');
    out
}

/// Where a value stands: its indentation, and whether right after the dash of a list.
#[derive(Clone, Copy)]
struct Place {
    indent: usize,
    dash: bool,
}

fn is_written(record: &dyn Record, index: usize) -> bool {
    let def = &record.fields()[index];
    record.field(index).is_some_and(|field| !(def.omit_empty && field.is_zero()))
}

/// Whether nothing of it is written, so that it stands as `{}`.
fn is_bare(record: &dyn Record) -> bool {
    (0..record.fields().len()).all(|index| match record.field(index).map(Field::read) {
        Some(Node::Record(inner)) if record.fields()[index].inline => is_bare(inner),
        Some(Node::Object(inner)) if record.fields()[index].inline => inner.is_empty(),
        Some(Node::Null) if record.fields()[index].inline => true,
        _ => !is_written(record, index),
    })
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Lines of a mapping; the first one is not indented when it follows a dash or starts the text.
fn mapping(out: &mut String, record: &dyn Record, indent: usize, mut first: bool) {
    for (index, def) in record.fields().iter().enumerate() {
        let Some(field) = record.field(index) else { continue };
        if def.inline {
            match field.read() {
                Node::Record(inner) if !is_bare(inner) => mapping(out, inner, indent, first),
                Node::Object(inner) if !inner.is_empty() => object_entries(out, &inner, indent, first),
                _ => continue,
            }
            first = false;
            continue;
        }
        if !is_written(record, index) {
            continue;
        }
        if !first {
            pad(out, indent);
        }
        first = false;
        entry(out, def.key, field, def.form, indent);
    }
}

fn entry(out: &mut String, key: &str, field: &dyn Field, form: Form, indent: usize) {
    text(out, key);
    out.push(':');
    value(out, field, form, Place { indent: indent + 4, dash: false });
}

/// What stands between `key:` or `-` and the first line of a block.
fn open(out: &mut String, place: Place) {
    if place.dash {
        out.push(' ');
    } else {
        out.push('\n');
        pad(out, place.indent);
    }
}

/// A value after `key:` or `-`, with the line break that ends it.
fn value(out: &mut String, field: &dyn Field, form: Form, place: Place) {
    match field.read() {
        Node::Record(record) if is_bare(record) => out.push_str(" {}\n"),
        Node::Record(record) => {
            open(out, place);
            mapping(out, record, place.indent, true);
        }
        Node::List(items) if items.count() == 0 => out.push_str(" []\n"),
        Node::List(items) => list(out, items, form, place),
        Node::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Node::Map(entries) => map(out, entries, form, place),
        Node::Object(content) => object(out, &content, place),
        node => {
            if place.indent > 0 {
                out.push(' ');
            }
            scalar(out, &node, field.kind(), form);
            out.push('\n');
        }
    }
}

fn list(out: &mut String, items: &dyn Items, form: Form, place: Place) {
    open(out, place);
    for index in 0..items.count() {
        if index > 0 {
            pad(out, place.indent);
        }
        out.push('-');
        value(out, items.item(index), form, Place { indent: place.indent + 2, dash: true });
    }
}

fn map(out: &mut String, entries: &dyn Entries, form: Form, place: Place) {
    open(out, place);
    let mut first = true;
    entries.each(&mut |key, item| {
        if !first {
            pad(out, place.indent);
        }
        first = false;
        entry(out, key, item, form, place.indent);
    });
}

fn scalar(out: &mut String, node: &Node<'_>, kind: Kind, form: Form) {
    match node {
        Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Node::Int(value) => out.push_str(&value.to_string()),
        Node::Uint(value) => out.push_str(&value.to_string()),
        Node::Float(value) => float(out, *value),
        Node::Text(value) | Node::Enumeration(_, value) => text(out, value),
        Node::Bytes(value) => bytes(out, value, kind, form),
        Node::Address(address) => text(out, &address.to_string()),
        Node::Prefix(prefix) => text(out, &prefix.to_string()),
        Node::Endpoint(endpoint) => text(out, &endpoint.to_string()),
        Node::Duration(nanos) => out.push_str(&duration(*nanos)),
        Node::Time(moment) => out.push_str(&time(*moment)),
        Node::Null | Node::Object(_) | Node::Record(_) | Node::List(_) | Node::Map(_) => {
            out.push_str(absent(kind))
        }
    }
}

/// How an absent value reads: as the zero value of the type that Go has for it.
const fn absent(kind: Kind) -> &'static str {
    match kind {
        Kind::Address | Kind::Prefix | Kind::Endpoint | Kind::Hardware => "\"\"",
        Kind::Time => NEVER,
        _ => "null",
    }
}

fn bytes(out: &mut String, bytes: &[u8], kind: Kind, form: Form) {
    if kind == Kind::Hardware {
        text(out, &HardwareAddr(bytes.to_vec()).to_string());
    } else if form == Form::Base64 {
        text(out, &STANDARD.encode(bytes));
    } else {
        let items: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let _ = write!(out, "[{}]", items.join(", "));
    }
}

fn float(out: &mut String, value: f64) {
    let _ = match value {
        _ if value.is_nan() => out.write_str(".nan"),
        f64::INFINITY => out.write_str(".inf"),
        f64::NEG_INFINITY => out.write_str("-.inf"),
        _ => write!(out, "{value}"),
    };
}

fn object(out: &mut String, content: &Object, place: Place) {
    if content.is_empty() {
        out.push_str(" {}\n");
        return;
    }
    open(out, place);
    object_entries(out, content, place.indent, true);
}

/// Lines of an object; the first one is not indented when it follows a dash or starts the text.
fn object_entries(out: &mut String, content: &Object, indent: usize, first: bool) {
    for (index, (key, item)) in content.iter().enumerate() {
        if index > 0 || !first {
            pad(out, indent);
        }
        text(out, key);
        out.push(':');
        json(out, item, Place { indent: indent + 4, dash: false });
    }
}

fn json(out: &mut String, item: &Value, place: Place) {
    match item {
        Value::Object(content) => object(out, content, place),
        Value::Array(items) if !items.is_empty() => {
            open(out, place);
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    pad(out, place.indent);
                }
                out.push('-');
                json(out, item, Place { indent: place.indent + 2, dash: true });
            }
        }
        Value::String(value) => {
            out.push(' ');
            text(out, value);
            out.push('\n');
        }
        other => {
            let _ = writeln!(out, " {other}");
        }
    }
}

/// Text as a plain scalar where no reader could take it for something else, in quotes otherwise.
fn text(out: &mut String, value: &str) {
    if is_plain(value) { out.push_str(value) } else { quoted(out, value) }
}

fn is_plain(value: &str) -> bool {
    const WORDS: [&str; 12] =
        ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let harmless = |index: usize, byte: u8| match byte {
        b':' => bytes.get(index + 1).is_some_and(|next| *next != b' '),
        b' ' => bytes.get(index + 1).is_some_and(|next| *next != b'#'),
        _ => byte.is_ascii_alphanumeric() || b"-_./@+=,()^$;%*~".contains(&byte),
    };
    (first.is_ascii_alphabetic() || b"/_".contains(first) || (first.is_ascii_digit() && !is_numeric(value)))
        && *last != b' '
        && bytes.iter().enumerate().all(|(index, byte)| harmless(index, *byte))
        && !WORDS.contains(&value.to_ascii_lowercase().as_str())
}

/// Whether some reader of YAML 1.1 or 1.2 may see a number, a time or a date.
fn is_numeric(value: &str) -> bool {
    value.parse::<f64>().is_ok()
        || value.starts_with("0x")
        || value.starts_with("0o")
        || value.starts_with("0b")
        || value.bytes().all(|byte| byte.is_ascii_digit() || b"_:.-+eETZtz ".contains(&byte))
}

fn quoted(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
