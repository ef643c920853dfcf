//! The wire of every type, held by tests: both encodings carry every field, nothing secret is public, and a change of
//! what clients see is a change of `tests/contract.txt`.

use std::fmt::Write as _;

use corten_resource::testing::{FieldView, sample, walk};
use corten_resource::{AnyResource, Definition, Form, Kind, Spec};

use crate::registry::{TYPES, registry};

/// What the tests know of a type.
pub struct Type {
    definition: &'static Definition,
    sample: fn(&str) -> AnyResource,
    fields: fn() -> Vec<Row>,
}

impl Type {
    /// Everything about `S`.
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
    let kind_text = if def.form == Form::Url { "url".to_owned() } else { name(*kind) };
    let _ = write!(text, " {kind_text}");
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

#[test]
fn every_field_of_every_type_survives_both_encodings() {
    let registry = registry();
    for kind in TYPES {
        let full = (kind.sample)("id");
        let name = kind.definition.kind;
        let (metadata, proto, yaml) = (full.metadata().clone(), full.to_proto(), full.to_yaml());
        let decoded = registry.decode(metadata.clone(), proto.clone(), yaml.clone()).expect(name);
        assert!(decoded.same_spec(&full), "{name}: protobuf\n{}\n{yaml}", decoded.to_yaml());
        assert_eq!(decoded.to_proto(), proto, "{name}");
        let decoded = registry.decode_yaml(metadata, &yaml).expect(name);
        assert!(decoded.same_spec(&full), "{name}: YAML\n{}\n{yaml}", decoded.to_yaml());
        assert_eq!(decoded.to_yaml(), yaml, "{name}");
    }
}

/// Fields that only sound secret, each with its reason.
const PUBLIC: &[(&str, &str)] =
    &[("VolumeStatuses.block.talos.dev configuredEncryptionKeys", "kinds of keys, not the keys")];

/// Whether whoever reads the field can act as somebody else.
fn looks_secret(row: &Row) -> bool {
    let words =
        ["key", "keys", "token", "secret", "secrets", "password", "passphrase", "auth", "credentials"];
    let is_value = !matches!(row.kind, Kind::Bool | Kind::Int | Kind::Uint | Kind::Enumeration);
    let last = row.key.to_lowercase();
    is_value && words.iter().any(|word| last.ends_with(word)) && !last.ends_with("publickey")
}

#[test]
fn what_looks_like_a_secret_is_for_administrators() {
    let mut excused = Vec::new();
    for kind in TYPES.iter().filter(|kind| !kind.definition.sensitive && !kind.definition.internal) {
        for row in (kind.fields)().into_iter().filter(looks_secret) {
            let name = format!("{} {}", kind.definition.kind, row.path);
            assert!(PUBLIC.iter().any(|(public, _)| *public == name), "{name}: sensitive is not set");
            excused.push(name);
        }
    }
    assert_eq!(excused.len(), PUBLIC.len(), "an excuse that nobody needs: {excused:?}");
}

/// The contract as text: types by name, each with what a client can see of it.
fn contract() -> String {
    let mut types: Vec<&Type> = TYPES.iter().collect();
    types.sort_by_key(|kind| kind.definition.kind);
    let mut text = String::new();
    for kind in types {
        let Definition { kind: name, namespace, aliases, columns, .. } = kind.definition;
        let flags = [
            (kind.definition.sensitive, "sensitive"),
            (kind.definition.internal, "internal"),
            (kind.definition.scalar, "scalar"),
            (kind.definition.yaml_string, "yaml-string"),
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

#[test]
fn the_wire_is_that_of_the_golden_file() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract.txt");
    let text = contract();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &text).expect("a golden file");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (old, new)) in golden.lines().zip(text.lines()).enumerate() {
        assert_eq!(
            old,
            new,
            "tests/contract.txt:{}: clients see this; UPDATE_GOLDEN=1 if it is meant",
            line + 1
        );
    }
    assert_eq!(golden.lines().count(), text.lines().count(), "types at the end of tests/contract.txt");
}
