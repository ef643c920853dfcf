//! Reads a schematic strictly: every unknown field, wrong type and missing value at once, with its place.
//!
//! What would get another id in an existing factory than here is refused too: it is told how to write it plainly.

use corten_config::node::{Entry, Kind, Map, Node, Position, Scalar, Value};
use corten_config::problem::{Path, nearest, unknown_key};
use corten_config::{Problem, Problems, read, scalar as yaml};

use crate::option::OptionValue;
use crate::scalar;
use crate::schematic::{Bootloader, Customization, MetaValue, Overlay, Schematic, SecureBoot};

/// Longest text of a schematic, bytes; most of it may be an embedded machine configuration.
pub const SCHEMATIC_BYTES_MAX: usize = 1 << 20;
/// Most elements of a list, and most options on one level.
pub const LIST_MAX: usize = 256;
/// Longest key of an option, bytes: what a reader of YAML takes for a key without further ado.
pub const OPTION_KEY_BYTES_MAX: usize = 128;

/// Line ends that Go's library writes in a way that nobody reads back.
const SEPARATORS: [char; 2] = ['\u{2028}', '\u{2029}'];

/// Reads a schematic.
pub(crate) fn schematic(text: &str) -> Result<Schematic, Problems> {
    let whole = |message: String| Problems::from(Problem::at(Position::default(), message));
    if text.len() > SCHEMATIC_BYTES_MAX {
        return Err(whole(format!("a schematic has at most {SCHEMATIC_BYTES_MAX} bytes")));
    }
    let documents = read::documents(text)?;
    let [root] = documents.as_slice() else {
        let count = documents.len();
        let smallest = "the smallest one is `customization: {}`";
        return Err(whole(format!("expected one document, found {count}; {smallest}")));
    };
    let mut walk = Walk::default();
    let schematic = walk.schematic(root);
    walk.problems.into_result()?;
    Ok(schematic)
}

/// Goes through the tree and keeps what is wrong.
#[derive(Default)]
struct Walk {
    problems: Problems,
}

impl Walk {
    fn schematic(&mut self, node: &Node) -> Schematic {
        let path = Path::ROOT;
        self.keys(node, &path, &["owner", "overlay", "customization"]);
        Schematic {
            owner: self.text(node, &path, "owner"),
            overlay: self.section(node, &path, "overlay", Self::overlay),
            customization: self.section(node, &path, "customization", Self::customization),
        }
    }

    fn overlay(&mut self, node: &Node, path: &Path<'_>) -> Overlay {
        self.keys(node, path, &["image", "name", "options"]);
        let mut overlay = Overlay {
            image: self.text(node, path, "image"),
            name: self.text(node, path, "name"),
            ..Overlay::default()
        };
        if let Some(options) = node.get("options") {
            match self.option(options, &path.key("options")) {
                Some(OptionValue::Map(options)) => overlay.options = options,
                Some(_) => self.unexpected(options, &path.key("options"), "a mapping"),
                None => {}
            }
        }
        overlay
    }

    fn customization(&mut self, node: &Node, path: &Path<'_>) -> Customization {
        const KEYS: &[&str] = &[
            "embeddedMachineConfiguration",
            "extraKernelArgs",
            "meta",
            "systemExtensions",
            "bootloader",
            "secureboot",
            "diskImage",
        ];
        self.keys(node, path, KEYS);
        Customization {
            embedded_machine_configuration: self.text(node, path, "embeddedMachineConfiguration"),
            extra_kernel_args: self.texts(node, path, "extraKernelArgs"),
            meta: self.items(node, path, "meta", Self::meta),
            official_extensions: self.section(node, path, "systemExtensions", Self::extensions),
            bootloader: self.section(node, path, "bootloader", Self::bootloader),
            secure_boot: self.section(node, path, "secureboot", Self::secure_boot),
            sector_size: self.section(node, path, "diskImage", Self::disk_image),
        }
    }

    fn meta(&mut self, node: &Node, path: &Path<'_>) -> MetaValue {
        self.keys(node, path, &["key", "value"]);
        if node.as_map().is_some() && node.get("key").is_none() {
            self.problem(node, &path.key("key"), "missing; expected the number of a slot".to_owned());
        }
        MetaValue {
            key: u8::try_from(self.integer(node, path, "key", u8::MAX.into())).unwrap_or_default(),
            value: self.text(node, path, "value"),
        }
    }

    fn extensions(&mut self, node: &Node, path: &Path<'_>) -> Vec<String> {
        self.keys(node, path, &["officialExtensions"]);
        self.texts(node, path, "officialExtensions")
    }

    fn bootloader(&mut self, node: &Node, path: &Path<'_>) -> Bootloader {
        let Some(word) = node.as_text() else {
            self.unexpected(node, path, "a string");
            return Bootloader::default();
        };
        Bootloader::read(word).unwrap_or_else(|| {
            let near = nearest(word, Bootloader::WORDS.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let words = Bootloader::WORDS.join(", ");
            self.problem(node, path, format!("{word:?} is not one of {words}{near}"));
            Bootloader::default()
        })
    }

    fn secure_boot(&mut self, node: &Node, path: &Path<'_>) -> SecureBoot {
        self.keys(node, path, &["enrollKeys", "includeWellKnownCertificates"]);
        SecureBoot {
            enroll_keys: self.text(node, path, "enrollKeys"),
            include_well_known_certificates: self.boolean(node, path, "includeWellKnownCertificates"),
        }
    }

    fn disk_image(&mut self, node: &Node, path: &Path<'_>) -> u32 {
        self.keys(node, path, &["sectorSize"]);
        self.integer(node, path, "sectorSize", u32::MAX)
    }

    /// A value of any shape; nothing if it is wrong, which is told then.
    fn option(&mut self, node: &Node, path: &Path<'_>) -> Option<OptionValue> {
        match &node.value {
            Value::Scalar(found) => self.option_scalar(node, found, path),
            Value::List(items) => {
                self.count(node, path, items.len());
                // All are read before the first wrong one counts, so that every problem is told.
                let option = |(index, item): (usize, &Node)| self.option(item, &path.index(index));
                let items: Vec<_> = items.iter().enumerate().map(option).collect();
                items.into_iter().collect::<Option<_>>().map(OptionValue::List)
            }
            Value::Map(map) => {
                self.count(node, path, map.len());
                let entries = map.iter().map(|entry| {
                    let path = path.key(&entry.key);
                    self.option_key(&entry.key, &entry.value, &path);
                    self.option(&entry.value, &path).map(|value| (entry.key.clone(), value))
                });
                let entries: Vec<_> = entries.collect();
                entries.into_iter().collect::<Option<_>>().map(OptionValue::Map)
            }
        }
    }

    fn option_key(&mut self, key: &str, value: &Node, path: &Path<'_>) {
        let is_plain = key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !is_plain || key.is_empty() || key.len() > OPTION_KEY_BYTES_MAX {
            let most = OPTION_KEY_BYTES_MAX;
            self.problem(value, path, format!("the key of an option has 1 to {most} characters of ASCII"));
        } else if !scalar::is_read_as_text(key) {
            let message = "the key of an option must not look like a number or a word of YAML";
            self.problem(value, path, message.to_owned());
        }
    }

    fn option_scalar(&mut self, node: &Node, found: &Scalar, path: &Path<'_>) -> Option<OptionValue> {
        Some(match found.kind {
            Kind::Null => OptionValue::Null,
            Kind::Bool(value) => OptionValue::Bool(value),
            // What Go's library reads as the negative zero of floats.
            Kind::Integer(0) if found.text.starts_with('-') => OptionValue::Float(-0.0),
            Kind::Integer(value) => OptionValue::Integer(value),
            Kind::Float(value) if value.is_finite() => OptionValue::Float(value),
            Kind::Float(_) => {
                self.problem(node, path, format!("{:?} is no number that an option can have", found.text));
                return None;
            }
            Kind::Text if scalar::is_timestamp(&found.text) => {
                let message = "looks like a date, which readers understand differently; write another text";
                self.problem(node, path, message.to_owned());
                return None;
            }
            Kind::Text => OptionValue::Text(self.text_of(node, path)),
        })
    }
}

/// What all records have.
impl Walk {
    fn problem(&mut self, node: &Node, path: &Path<'_>, message: String) {
        self.problems.push(Problem { document: String::new(), path: path.to_string(), message, at: node.at });
    }

    fn unexpected(&mut self, node: &Node, path: &Path<'_>, expected: &str) {
        self.problem(node, path, format!("expected {expected}, found a {}", node.describe()));
    }

    /// Checks that a node is a mapping with no other keys than these.
    fn keys(&mut self, node: &Node, path: &Path<'_>, known: &[&str]) {
        let Some(map) = node.as_map() else { return self.unexpected(node, path, "a mapping") };
        for entry in unknown(map, known) {
            let message = unknown_key(&entry.key, known.iter().copied());
            let path = path.key(&entry.key).to_string();
            self.problems.push(Problem { document: String::new(), path, message, at: entry.at });
        }
    }

    fn section<T: Default>(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        key: &str,
        read: fn(&mut Self, &Node, &Path<'_>) -> T,
    ) -> T {
        match node.get(key) {
            Some(inner) => read(self, inner, &path.key(key)),
            None => T::default(),
        }
    }

    fn items<T>(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        key: &str,
        read: fn(&mut Self, &Node, &Path<'_>) -> T,
    ) -> Vec<T> {
        let Some(inner) = node.get(key) else { return Vec::new() };
        let path = path.key(key);
        let Some(items) = inner.as_list() else {
            self.unexpected(inner, &path, "a list");
            return Vec::new();
        };
        self.count(inner, &path, items.len());
        let items = items.iter().enumerate().take(LIST_MAX);
        items.map(|(index, item)| read(self, item, &path.index(index))).collect()
    }

    fn count(&mut self, node: &Node, path: &Path<'_>, count: usize) {
        if count > LIST_MAX {
            self.problem(node, path, format!("has {count} elements; at most {LIST_MAX} are allowed"));
        }
    }

    fn texts(&mut self, node: &Node, path: &Path<'_>, key: &str) -> Vec<String> {
        self.items(node, path, key, |walk, item, path| {
            let text = walk.text_of(item, path);
            if item.as_text() == Some("") {
                walk.problem(item, path, "must not be empty".to_owned());
            }
            text
        })
    }

    fn text(&mut self, node: &Node, path: &Path<'_>, key: &str) -> String {
        self.section(node, path, key, Self::text_of)
    }

    fn text_of(&mut self, node: &Node, path: &Path<'_>) -> String {
        let Some(text) = node.as_text() else {
            self.unexpected(node, path, "a string");
            return String::new();
        };
        if text.contains(SEPARATORS) {
            let message = "has a line or paragraph separator of Unicode; write a line end instead";
            self.problem(node, path, message.to_owned());
        }
        text.to_owned()
    }

    fn boolean(&mut self, node: &Node, path: &Path<'_>, key: &str) -> bool {
        self.section(node, path, key, |walk, inner, path| {
            let value = inner.as_scalar().and_then(|scalar| yaml::typed_bool(&scalar.text, scalar.kind));
            value.unwrap_or_else(|| {
                walk.unexpected(inner, path, "true or false");
                false
            })
        })
    }

    fn integer(&mut self, node: &Node, path: &Path<'_>, key: &str, most: u32) -> u32 {
        let Some(inner) = node.get(key) else { return 0 };
        let value = match inner.as_scalar().map(|scalar| scalar.kind) {
            Some(Kind::Integer(value)) => u32::try_from(value).ok().filter(|value| *value <= most),
            _ => None,
        };
        value.unwrap_or_else(|| {
            self.problem(inner, &path.key(key), format!("expected a whole number from 0 to {most}"));
            0
        })
    }
}

fn unknown<'a>(map: &'a Map, known: &'a [&str]) -> impl Iterator<Item = &'a Entry> {
    map.iter().filter(move |entry| !known.contains(&entry.key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Schematic::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_place() {
        let text = "customisation: {}
customization:
  extraKernelArgs: [a, '', {}]
  meta:
    - value: x
    - {key: 256, value: y}
  bootloader: grab
  diskImage: {sectorSize: -1}
  secureboot: {includeWellKnownCertificates: maybe}
  systemExtensions: {officialExtensions: siderolabs/gvisor}
";
        let expected = "customisation: unknown key; did you mean \"customization\"? (line 1, column 1)
customization.extraKernelArgs[1]: must not be empty (line 3, column 24)
customization.extraKernelArgs[2]: expected a string, found a mapping (line 3, column 28)
customization.meta[0].key: missing; expected the number of a slot (line 5, column 7)
customization.meta[1].key: expected a whole number from 0 to 255 (line 6, column 13)
customization.bootloader: \"grab\" is not one of auto, none, dual-boot, sd-boot, grub; did you mean \"grub\"? (line 7, column 15)
customization.diskImage.sectorSize: expected a whole number from 0 to 4294967295 (line 8, column 27)
customization.secureboot.includeWellKnownCertificates: expected true or false, found a string (line 9, column 46)
customization.systemExtensions.officialExtensions: expected a list, found a string (line 10, column 42)";
        assert_eq!(refused(text), expected);
    }

    #[test]
    fn json_is_read_as_well() {
        let json = "{\n  \"customization\": {\n    \"extraKernelArgs\": [\"noapic\", \"nolapic\"]\n  }\n}\n";
        let yaml = "customization:\n    extraKernelArgs:\n        - noapic\n        - nolapic\n";
        assert_eq!(Schematic::parse(json), Schematic::parse(yaml));
        assert_eq!(Schematic::parse(json).unwrap().canonical(), yaml);
    }

    #[test]
    fn what_factories_would_read_in_another_way_is_refused() {
        for (text, message) in [
            ("", "expected one document, found 0"),
            ("customization: {}\n---\ncustomization: {}\n", "expected one document, found 2"),
            ("overlay: {options: {a: 2001-12-14}}", "overlay.options.a: looks like a date"),
            ("overlay: {options: {1: a}}", "must not look like a number"),
            ("overlay: {options: {é: a}}", "characters of ASCII"),
            ("overlay: {options: {a: .inf}}", "\".inf\" is no number"),
            ("overlay: {options: [a]}", "overlay.options: expected a mapping, found a list"),
            ("owner: \"a\\Lb\"", "separator of Unicode"),
        ] {
            let problems = refused(text);
            assert!(problems.contains(message), "{text}: {problems}");
        }
        assert!(refused(&" ".repeat(SCHEMATIC_BYTES_MAX + 1)).contains("at most 1048576 bytes"));
        let many = format!("customization: {{extraKernelArgs: [{}]}}", "a, ".repeat(LIST_MAX + 1));
        assert!(refused(&many).contains("has 257 elements; at most 256"));
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Ok(schematic) = Schematic::parse(text) {
                let _ = schematic.canonical();
            }
            let _ = Schematic::parse(&format!("customization: {{extraKernelArgs: [{text}]}}"));
        });
    }
}
