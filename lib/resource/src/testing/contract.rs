//! The wire of every type of a crate, held by its tests: both encodings carry every field, nothing secret is public, and
//! a change of what clients see is a change of a golden file.

use std::fmt::Write as _;
use std::path::Path;

use super::{FieldView, sample, walk};
use crate::definition::Definition;
use crate::field::Kind;
use crate::record::Form;
use crate::registry::Registry;
use crate::resource::{AnyResource, Spec};

/// What the tests know of a type.
#[derive(Clone, Copy)]
pub struct Type {
    definition: &'static Definition,
    sample: fn(&str) -> AnyResource,
    fields: fn() -> Vec<Row>,
}

impl Type {
    /// Everything about `S`.
    #[must_use]
    pub const fn of<S: Spec>() -> Self {
        Self { definition: &S::DEFINITION, sample: sample::<S>, fields: rows::<S> }
    }
}

/// A field as the contract shows it.
struct Row {
    path: String,
    key: &'static str,
    kind: Kind,
    text: String,
}

fn rows<S: Spec>() -> Vec<Row> {
    let mut rows = Vec::new();
    walk::<S>(|field| rows.push(row(field)));
    rows
}

fn row(field: &FieldView<'_>) -> Row {
    let FieldView { path, def, kind, variants } = field;
    let mut text = format!("{path}={}", def.number);
    let flags = [(def.omit_empty, "?"), (def.inline, " inline"), (def.form == Form::Base64, " base64")];
    for (_, flag) in flags.into_iter().filter(|(is_set, _)| *is_set) {
        text += flag;
    }
    let kind_text = match def.form {
        Form::Url => "url".to_owned(),
        Form::Pairs => "pairs".to_owned(),
        Form::Expression => "expression".to_owned(),
        _ => name(*kind),
    };
    let _ = write!(text, " {kind_text}");
    if def.form == Form::NumberKeys {
        text += " by number";
    }
    if !variants.is_empty() {
        let texts: Vec<String> = variants.iter().map(|(number, text)| format!("{number} {text:?}")).collect();
        let _ = write!(text, " ({})", texts.join(", "));
    }
    Row { path: (*path).to_owned(), key: def.key, kind: *kind, text }
}

fn name(kind: Kind) -> String {
    match kind {
        Kind::List(inner) => format!("[{}]", name(*inner)),
        Kind::Map(inner) => format!("{{{}}}", name(*inner)),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

/// Both encodings carry every field of every type.
///
/// # Panics
/// When one does not.
pub fn survives_both_encodings(registry: &Registry, types: &[Type]) {
    for kind in types {
        let full = (kind.sample)("id");
        let name = kind.definition.kind;
        let (metadata, proto, yaml) = (full.metadata().clone(), full.to_proto(), full.to_yaml());
        let decoded = registry.decode(metadata.clone(), proto.clone(), yaml.clone()).expect(name);
        assert!(decoded.same_spec(&full), "{name}: protobuf\n{}\n{yaml}", decoded.to_yaml());
        assert_eq!(decoded.to_proto(), proto, "{name}");
        if (kind.fields)().iter().any(|row| row.key.is_empty()) {
            continue;
        }
        let decoded = registry.decode_yaml(metadata, &yaml).expect(name);
        assert!(decoded.same_spec(&full), "{name}: YAML\n{}\n{yaml}", decoded.to_yaml());
        assert_eq!(decoded.to_yaml(), yaml, "{name}");
    }
}

/// Whether whoever reads the field can act as somebody else.
fn looks_secret(row: &Row) -> bool {
    let words =
        ["key", "keys", "token", "secret", "secrets", "password", "passphrase", "auth", "credentials"];
    let is_value = !matches!(row.kind, Kind::Bool | Kind::Int | Kind::Uint | Kind::Enumeration);
    let last = row.key.to_lowercase();
    is_value && words.iter().any(|word| last.ends_with(word)) && !last.ends_with("publickey")
}

/// Every field that sounds secret is in a type that is sensitive, or in `public` (type, space, path) with a reason.
///
/// # Panics
/// When one is not, or an excuse is not needed.
pub fn secrets_are_sensitive(types: &[Type], public: &[(&str, &str)]) {
    let mut excused = Vec::new();
    for kind in types.iter().filter(|kind| !kind.definition.sensitive && !kind.definition.internal) {
        for row in (kind.fields)().into_iter().filter(looks_secret) {
            let name = format!("{} {}", kind.definition.kind, row.path);
            assert!(public.iter().any(|(public, _)| *public == name), "{name}: sensitive is not set");
            excused.push(name);
        }
    }
    assert_eq!(excused.len(), public.len(), "an excuse that nobody needs: {excused:?}");
}

/// The contract as text: types by name, each with what a client can see of it.
fn text(types: &[Type]) -> String {
    let mut types: Vec<&Type> = types.iter().collect();
    types.sort_by_key(|kind| kind.definition.kind);
    let mut text = String::new();
    for kind in types {
        let Definition { kind: name, namespace, aliases, columns, .. } = kind.definition;
        let flags = [
            (kind.definition.sensitive, "sensitive"),
            (kind.definition.internal, "internal"),
            (kind.definition.scalar, "scalar"),
            (kind.definition.yaml_string, "yaml-string"),
            (kind.definition.message, "message"),
        ];
        let _ = write!(text, "{name} in {namespace}");
        for (_, flag) in flags.into_iter().filter(|(is_set, _)| *is_set) {
            let _ = write!(text, ", {flag}");
        }
        if !aliases.is_empty() {
            let _ = write!(text, ", also {}", aliases.join(" "));
        }
        text.push('\n');
        for (title, path) in *columns {
            let _ = writeln!(text, "  | {title}: {path}");
        }
        for row in (kind.fields)() {
            let _ = writeln!(text, "  {}", row.text);
        }
    }
    text
}

/// What clients see is what the golden file says; with `UPDATE_GOLDEN` in the environment it is written.
///
/// # Panics
/// When it is not, with the first line that differs.
pub fn is_golden(types: &[Type], path: &Path) {
    let text = text(types);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, &text).expect("a golden file");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    for (line, (old, new)) in golden.lines().zip(text.lines()).enumerate() {
        let place = format!("{}:{}", path.display(), line + 1);
        assert_eq!(old, new, "{place}: clients see this; UPDATE_GOLDEN=1 if it is meant");
    }
    assert_eq!(golden.lines().count(), text.lines().count(), "types at the end of {}", path.display());
}
