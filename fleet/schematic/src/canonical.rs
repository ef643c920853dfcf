//! The canonical text of a schematic, on which its id depends.
//!
//! ```text
//! Schematic ──tree: fields in order, empty ones left out──▶ Tree ──▶ text: four spaces, lists indented under their key
//! ```
//! Only `customization` is always there.

use std::collections::BTreeMap;

use crate::option::{self, OptionValue};
use crate::scalar;
use crate::schematic::{Customization, MetaValue, Overlay, Schematic, SecureBoot};

/// Spaces of a level.
const INDENT: usize = 4;
/// Spaces of a level that begins behind the dash of a list.
const DASH: usize = 2;

/// A value as it is written.
enum Tree<'a> {
    /// A number, a boolean or null.
    Plain(String),
    /// A text.
    Text(&'a str),
    /// A list.
    List(Vec<Self>),
    /// A mapping, in order.
    Map(Vec<(&'a str, Self)>),
}

/// The canonical text.
pub(crate) fn text(schematic: &Schematic) -> String {
    let mut entries = Vec::new();
    push_text(&mut entries, "owner", &schematic.owner);
    if schematic.overlay != Overlay::default() {
        entries.push(("overlay", overlay(&schematic.overlay)));
    }
    entries.push(("customization", customization(&schematic.customization)));
    let mut out = String::new();
    mapping(&mut out, &entries, 0, false);
    out
}

fn overlay(overlay: &Overlay) -> Tree<'_> {
    let mut entries = vec![("image", Tree::Text(&overlay.image)), ("name", Tree::Text(&overlay.name))];
    if !overlay.options.is_empty() {
        entries.push(("options", options(&overlay.options)));
    }
    Tree::Map(entries)
}

fn options(map: &BTreeMap<String, OptionValue>) -> Tree<'_> {
    Tree::Map(option::ordered(map).into_iter().map(|(key, value)| (key, option_value(value))).collect())
}

fn option_value(value: &OptionValue) -> Tree<'_> {
    match value {
        OptionValue::Null => Tree::Plain("null".to_owned()),
        OptionValue::Bool(value) => Tree::Plain(value.to_string()),
        OptionValue::Integer(value) => Tree::Plain(value.to_string()),
        OptionValue::Float(value) => Tree::Plain(option::float(*value)),
        OptionValue::Text(text) => Tree::Text(text),
        OptionValue::List(items) => Tree::List(items.iter().map(option_value).collect()),
        OptionValue::Map(map) => options(map),
    }
}

fn customization(customization: &Customization) -> Tree<'_> {
    let mut entries = Vec::new();
    push_text(&mut entries, "embeddedMachineConfiguration", &customization.embedded_machine_configuration);
    push_list(&mut entries, "extraKernelArgs", texts(&customization.extra_kernel_args));
    push_list(&mut entries, "meta", customization.meta.iter().map(meta_value).collect());
    if !customization.official_extensions.is_empty() {
        let extensions = Tree::List(texts(&customization.official_extensions));
        entries.push(("systemExtensions", Tree::Map(vec![("officialExtensions", extensions)])));
    }
    push_text(&mut entries, "bootloader", customization.bootloader.word().unwrap_or_default());
    if customization.secure_boot != SecureBoot::default() {
        entries.push(("secureboot", secure_boot(&customization.secure_boot)));
    }
    if customization.sector_size != 0 {
        let size = Tree::Plain(customization.sector_size.to_string());
        entries.push(("diskImage", Tree::Map(vec![("sectorSize", size)])));
    }
    Tree::Map(entries)
}

fn meta_value(meta: &MetaValue) -> Tree<'_> {
    Tree::Map(vec![("key", Tree::Plain(meta.key.to_string())), ("value", Tree::Text(&meta.value))])
}

fn secure_boot(secure_boot: &SecureBoot) -> Tree<'_> {
    let mut entries = Vec::new();
    push_text(&mut entries, "enrollKeys", &secure_boot.enroll_keys);
    if secure_boot.include_well_known_certificates {
        entries.push(("includeWellKnownCertificates", Tree::Plain("true".to_owned())));
    }
    Tree::Map(entries)
}

fn texts(texts: &[String]) -> Vec<Tree<'_>> {
    texts.iter().map(|text| Tree::Text(text)).collect()
}

fn push_text<'a>(entries: &mut Vec<(&'a str, Tree<'a>)>, key: &'a str, text: &'a str) {
    if !text.is_empty() {
        entries.push((key, Tree::Text(text)));
    }
}

fn push_list<'a>(entries: &mut Vec<(&'a str, Tree<'a>)>, key: &'a str, items: Vec<Tree<'a>>) {
    if !items.is_empty() {
        entries.push((key, Tree::List(items)));
    }
}

/// A mapping that is not empty; `follows_dash` when its first key stands behind the dash of a list.
fn mapping(out: &mut String, entries: &[(&str, Tree<'_>)], indent: usize, follows_dash: bool) {
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 || !follows_dash {
            spaces(out, indent);
        }
        scalar::key(out, key);
        out.push(':');
        // Levels are multiples of four again below a mapping in a list.
        let inner = INDENT * ((indent + INDENT) / INDENT);
        match value {
            Tree::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                mapping(out, entries, inner, false);
            }
            Tree::List(items) if !items.is_empty() => {
                out.push('\n');
                list(out, items, inner, false);
            }
            other => {
                out.push(' ');
                within_line(out, other, inner);
            }
        }
    }
}

/// A list that is not empty.
fn list(out: &mut String, items: &[Tree<'_>], indent: usize, follows_dash: bool) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !follows_dash {
            spaces(out, indent);
        }
        out.push_str("- ");
        let inner = indent + DASH;
        match item {
            Tree::Map(entries) if !entries.is_empty() => mapping(out, entries, inner, true),
            Tree::List(items) if !items.is_empty() => list(out, items, inner, true),
            other => within_line(out, other, inner),
        }
    }
}

/// What begins on the line of its key or dash, and the end of the line.
fn within_line(out: &mut String, value: &Tree<'_>, indent: usize) {
    match value {
        Tree::Text(text) => scalar::value(out, text, indent),
        Tree::Plain(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Tree::List(_) => out.push_str("[]\n"),
        Tree::Map(_) => out.push_str("{}\n"),
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Expectations follow the rules of go.yaml.in/yaml v4.0.0-rc.4.
    #[test]
    fn all_fields_stand_in_order_with_four_spaces() {
        let text = "customization:
  diskImage: {sectorSize: 4096}
  secureboot: {includeWellKnownCertificates: true, enrollKeys: if-safe}
  bootloader: sd-boot
  systemExtensions: {officialExtensions: [siderolabs/gvisor]}
  meta: [{key: 12, value: \"machineLabels:\\n    a: b\\n\"}, {value: '', key: 10}]
  extraKernelArgs: [a=1, '2']
  embeddedMachineConfiguration: \"version: v1alpha1\\n\"
overlay: {name: rpi_generic, image: i, options: {z: [1, [2, x], {b: 0x10, a: {c: ~}}, [], {}], y: 0.5, x: true}}
owner: me
";
        let expected = "owner: me
overlay:
    image: i
    name: rpi_generic
    options:
        x: true
        \"y\": 0.5
        z:
            - 1
            - - 2
              - x
            - a:
                c: null
              b: 16
            - []
            - {}
customization:
    embeddedMachineConfiguration: |
        version: v1alpha1
    extraKernelArgs:
        - a=1
        - \"2\"
    meta:
        - key: 12
          value: |
            machineLabels:
                a: b
        - key: 10
          value: \"\"
    systemExtensions:
        officialExtensions:
            - siderolabs/gvisor
    bootloader: sd-boot
    secureboot:
        enrollKeys: if-safe
        includeWellKnownCertificates: true
    diskImage:
        sectorSize: 4096
";
        assert_eq!(Schematic::parse(text).unwrap().canonical(), expected);
    }

    #[test]
    fn an_overlay_has_both_names_even_when_one_is_empty() {
        let schematic = Schematic::parse("overlay: {name: rpi}").unwrap();
        assert_eq!(schematic.canonical(), "overlay:\n    image: \"\"\n    name: rpi\ncustomization: {}\n");
    }

    /// Texts of several lines begin with no space: in a list, Go's library gives a wrong hint for those.
    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{1,20}", "[!-~][ -~\n]{0,30}", "[\\PC&&[^\\x{2028}\\x{2029}]]{1,10}"]
    }

    fn any_schematic() -> impl Strategy<Value = Schematic> {
        let texts = || prop::collection::vec(any_text(), 0..4);
        let meta = prop::collection::vec((any::<u8>(), any_text()), 0..3);
        (any_text(), texts(), meta, texts(), any::<bool>(), any::<u32>()).prop_map(
            |(embedded, args, meta, extensions, certificates, sector_size)| Schematic {
                customization: Customization {
                    embedded_machine_configuration: embedded,
                    extra_kernel_args: args,
                    meta: meta.into_iter().map(|(key, value)| MetaValue { key, value }).collect(),
                    official_extensions: extensions,
                    secure_boot: SecureBoot {
                        include_well_known_certificates: certificates,
                        ..SecureBoot::default()
                    },
                    sector_size,
                    ..Customization::default()
                },
                ..Schematic::default()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(schematic in any_schematic()) {
            let text = schematic.canonical();
            let back = Schematic::parse(&text);
            prop_assert!(back.as_ref() == Ok(&schematic), "{text}\n{back:?}");
        }
    }
}
