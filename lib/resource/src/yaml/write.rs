//! Records to YAML.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_cel::Tree;
use serde_json::Value;

use super::Style;
use super::text::{NEVER, SECOND, duration, time};
use super::url::{self, Entry};
use crate::field::{Entries, Field, HardwareAddr, Items, Kind, Node, Object};
use crate::record::{Form, Record};

/// The YAML form of `record` in the style of its type.
#[must_use]
pub fn write(record: &dyn Record, style: Style) -> String {
    let mut out = Writer { out: String::new(), is_message: style == Style::Message };
    match record.field(0).filter(|_| style == Style::Scalar) {
        Some(field) => match field.read() {
            Node::Bytes(bytes) => quoted(&mut out.out, &String::from_utf8_lossy(&bytes)),
            _ => out.value(field, Form::Plain, Place { indent: 0, dash: false }),
        },
        None if is_bare(record) => out.out.push_str("{}"),
        None => out.mapping(record, 0, true),
    }
    // A bare mapping or list stands where it would after a key.
    let mut out = out.out.trim_start().trim_end_matches('\n').to_owned();
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
    let is_left_out = |field: &dyn Field| def.key.is_empty() || (def.omit_empty && field.is_zero());
    record.field(index).is_some_and(|field| !is_left_out(field))
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

struct Writer {
    out: String,
    /// Whether values stand as in Go's struct of a protobuf message.
    is_message: bool,
}

impl Writer {
    /// Lines of a mapping; the first one is not indented when it follows a dash or starts the text.
    fn mapping(&mut self, record: &dyn Record, indent: usize, mut first: bool) {
        for (index, def) in record.fields().iter().enumerate() {
            let Some(field) = record.field(index) else { continue };
            if def.inline {
                match field.read() {
                    Node::Record(inner) if !is_bare(inner) => self.mapping(inner, indent, first),
                    Node::Object(inner) if !inner.is_empty() => {
                        object_entries(&mut self.out, &inner, indent, first);
                    }
                    _ => continue,
                }
                first = false;
                continue;
            }
            if !is_written(record, index) {
                continue;
            }
            if !first {
                pad(&mut self.out, indent);
            }
            first = false;
            self.entry(def.key, field, def.form, indent);
        }
    }

    fn entry(&mut self, key: &str, field: &dyn Field, form: Form, indent: usize) {
        text(&mut self.out, key);
        self.out.push(':');
        self.value(field, form, Place { indent: indent + 4, dash: false });
    }

    /// A value after `key:` or `-`, with the line break that ends it.
    fn value(&mut self, field: &dyn Field, form: Form, place: Place) {
        match field.read() {
            Node::Record(record) if is_bare(record) => self.out.push_str(" {}\n"),
            Node::Record(record) => {
                open(&mut self.out, place);
                self.mapping(record, place.indent, true);
            }
            Node::List(items) if form == Form::Pairs && items.count() > 0 => self.pairs(items, place),
            Node::List(items) if items.count() == 0 => self.out.push_str(" []\n"),
            Node::List(items) => self.list(items, form, place),
            Node::Map(entries) if entries.is_empty() => self.out.push_str(" {}\n"),
            Node::Map(entries) => self.map(entries, form, place),
            Node::Object(content) => object(&mut self.out, &content, place),
            Node::Duration(nanos) if self.is_message => self.moment(nanos.into(), place),
            Node::Time(time) if self.is_message => self.moment(since_epoch(time), place),
            Node::Text(url) if form == Form::Url && !field.is_zero() => match url::entries(&url) {
                Some(entries) => self.url(entries, place),
                None => self.line(&Node::Text(url), field.kind(), Form::Plain, place),
            },
            node => self.line(&node, field.kind(), form, place),
        }
    }

    /// A value in the line where it begins.
    fn line(&mut self, node: &Node<'_>, kind: Kind, form: Form, place: Place) {
        if place.indent > 0 {
            self.out.push(' ');
        }
        self.scalar(node, kind, form);
        self.out.push('\n');
    }

    fn url(&mut self, entries: [(&'static str, Entry<'_>); 11], place: Place) {
        open(&mut self.out, place);
        for (index, (key, entry)) in entries.into_iter().enumerate() {
            if index > 0 {
                pad(&mut self.out, place.indent);
            }
            let _ = write!(self.out, "{key}: ");
            match entry {
                Entry::Text(value) => text(&mut self.out, value),
                Entry::Word(word) => self.out.push_str(word),
            }
            self.out.push('\n');
        }
    }

    /// Nanoseconds as the mapping that stands for protobuf's own durations and times.
    fn moment(&mut self, nanos: i128, place: Place) {
        open(&mut self.out, place);
        let _ = writeln!(self.out, "seconds: {}", nanos.div_euclid(SECOND));
        pad(&mut self.out, place.indent);
        let _ = writeln!(self.out, "nanos: {}", nanos.rem_euclid(SECOND));
    }

    fn list(&mut self, items: &dyn Items, form: Form, place: Place) {
        open(&mut self.out, place);
        for index in 0..items.count() {
            if index > 0 {
                pad(&mut self.out, place.indent);
            }
            self.out.push('-');
            self.value(items.item(index), form, Place { indent: place.indent + 2, dash: true });
        }
    }

    fn pairs(&mut self, items: &dyn Items, place: Place) {
        open(&mut self.out, place);
        let records = (0..items.count()).filter_map(|index| match items.item(index).read() {
            Node::Record(record) => Some(record),
            _ => None,
        });
        for (index, record) in records.enumerate() {
            let (Some(key), Some(value)) = (record.field(0), record.field(1)) else { continue };
            let Node::Text(key) = key.read() else { continue };
            if index > 0 {
                pad(&mut self.out, place.indent);
            }
            self.entry(&key, value, Form::Plain, place.indent);
        }
    }

    fn map(&mut self, entries: &dyn Entries, form: Form, place: Place) {
        open(&mut self.out, place);
        let mut first = true;
        entries.each(&mut |key, item| {
            if !first {
                pad(&mut self.out, place.indent);
            }
            first = false;
            if form == Form::NumberKeys {
                self.out.push_str(key);
                self.out.push(':');
                self.value(item, form, Place { indent: place.indent + 4, dash: false });
            } else {
                self.entry(key, item, form, place.indent);
            }
        });
    }

    fn scalar(&mut self, node: &Node<'_>, kind: Kind, form: Form) {
        let is_message = self.is_message;
        let out = &mut self.out;
        match node {
            Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Node::Int(value) => out.push_str(&value.to_string()),
            Node::Uint(value) => out.push_str(&value.to_string()),
            Node::Float(value) => float(out, *value),
            Node::Enumeration(number, _) if is_message => out.push_str(&number.to_string()),
            Node::Text(_) | Node::Null if form == Form::Url => out.push_str("null"),
            Node::Text(value) if form == Form::Expression => text(out, &Tree::read(value).to_string()),
            Node::Text(value) | Node::Enumeration(_, value) => text(out, value),
            Node::Bytes(value) => bytes(out, value, kind, form),
            Node::Address(address) => text(out, &address.to_string()),
            Node::Prefix(prefix) => text(out, &prefix.to_string()),
            Node::Endpoint(endpoint) => text(out, &endpoint.to_string()),
            Node::Duration(nanos) => out.push_str(&duration(*nanos)),
            Node::Time(moment) => out.push_str(&time(*moment)),
            Node::Null | Node::Object(_) | Node::Record(_) | Node::List(_) | Node::Map(_) => {
                out.push_str(if is_message { "null" } else { absent(kind) });
            }
        }
    }
}

/// Nanoseconds from the epoch to `time`.
fn since_epoch(time: SystemTime) -> i128 {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    }
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
