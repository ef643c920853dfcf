//! The configuration language as data: every document, field, type, merge rule and description once.
//!
//! Decoding, merging, redaction, canonical order and the printed reference all walk these tables, so a
//! field is added in one place. What the values mean together is `validate`'s business.

mod bundle;
mod cluster;
mod connectivity;
mod cri;
mod documents;
mod hardware;
mod kubernetes;
mod later;
mod links;
mod machine;
mod network;
mod pools;
mod runtime;
mod volumes;

pub use bundle::BUNDLE;
pub use cluster::CLUSTER;
pub use documents::DOCUMENTS;
pub use later::{LATER_DOCUMENTS, LATER_KINDS};
pub use machine::MACHINE;

/// Type of a value.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// Any scalar, as its text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number in a range.
    Integer(i64, i64),
    /// A Go duration such as `1h30m`.
    Duration,
    /// Bytes, plain or with a unit such as `10GiB`.
    Size,
    /// Unix permissions, octal.
    Mode,
    /// An IP address.
    Ip,
    /// An address with the length of its network, such as `10.0.0.1/8`.
    Cidr,
    /// An address, with or without the length of its network.
    Address,
    /// A port, or a range of ports such as `80-90`.
    Ports,
    /// A URL with scheme and host.
    Url,
    /// Base64 of a PEM text.
    Pem,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A command line argument: a string or a list of strings.
    Argument,
    /// Anything.
    Any,
    /// A mapping with any content, such as a Kubernetes object.
    Object,
    /// A list.
    List(&'static Self),
    /// A mapping from any key.
    Map(&'static Self),
    /// A mapping with known keys.
    Record(&'static Record),
}

/// How a patch changes a list or an object; everything else follows the general rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Lists grow, mappings merge deeply.
    Default,
    /// The new value takes the place of the old one.
    Replace,
    /// Elements with the same value under one of these keys merge; others are added.
    Keyed(&'static [&'static str]),
    /// Elements with the same value under one of these keys are replaced; others are added.
    Elements(&'static [&'static str]),
}

/// Who reads a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// A machine of ours. What it does not support yet is refused by name, for ignoring it would mislead.
    #[default]
    Machine,
    /// A manager of machines, ours and those of Talos. Whatever is valid for one of them is taken.
    Manager,
}

/// What happens to a field that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It takes effect.
    Effective,
    /// It is accepted; whoever sets it is warned that it changes nothing yet.
    Inert,
    /// Ignoring it would mislead, so a configuration that sets it is refused.
    Refused,
}

/// A mapping with known keys.
#[derive(Debug)]
pub struct Record {
    /// What it describes, in one sentence.
    pub doc: &'static str,
    /// Its keys in canonical order.
    pub fields: &'static [Field],
}

impl Record {
    /// The field of a key.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    /// Place of a key in canonical order.
    #[must_use]
    pub fn order(&self, key: &str) -> usize {
        self.fields.iter().position(|field| field.key == key).unwrap_or(usize::MAX)
    }
}

/// One key of a record.
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// Type of its value.
    pub kind: Type,
    /// How patches change it.
    pub merge: Merge,
    /// What happens when it is set.
    pub support: Support,
    /// Words of the language that are refused as not yet supported.
    pub later: &'static [&'static str],
    /// Whether it must not be shown.
    pub secret: bool,
    /// Whether a document without it is refused.
    pub required: bool,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// A field with the usual rules.
const fn field(key: &'static str, kind: Type, doc: &'static str) -> Field {
    Field {
        key,
        kind,
        merge: Merge::Default,
        support: Support::Effective,
        later: &[],
        secret: false,
        required: false,
        doc,
    }
}

impl Field {
    const fn merged(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    const fn inert(mut self) -> Self {
        self.support = Support::Inert;
        self
    }

    const fn refused(mut self) -> Self {
        self.support = Support::Refused;
        self
    }

    const fn later(mut self, words: &'static [&'static str]) -> Self {
        self.later = words;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

const TEXTS: Type = Type::List(&Type::Text);
const TEXT_MAP: Type = Type::Map(&Type::Text);
const CIDRS: Type = Type::List(&Type::Cidr);
const ARGUMENTS: Type = Type::Map(&Type::Argument);
const PORT: Type = Type::Integer(1, 65_535);
const U32: Type = Type::Integer(0, u32::MAX as i64);
const PERCENT: Type = Type::Integer(0, 100);

/// One kind of document.
#[derive(Debug)]
pub struct DocumentKind {
    /// `kind`, or `v1alpha1` for the document that has none.
    pub kind: &'static str,
    /// Its keys, `apiVersion` and `kind` apart.
    pub record: &'static Record,
    /// Whether several of it are told apart by `name`.
    pub named: bool,
}

/// Name of the document without `kind`.
pub const ROOT_KIND: &str = "v1alpha1";

/// The kind with this name, if this machine understands it.
#[must_use]
pub fn kind(name: &str) -> Option<&'static DocumentKind> {
    kind_for(name, Audience::Machine)
}

/// The kind with this name, if this audience takes it.
#[must_use]
pub fn kind_for(name: &str, audience: Audience) -> Option<&'static DocumentKind> {
    let later: &'static [DocumentKind] = match audience {
        Audience::Machine => &[],
        Audience::Manager => LATER_DOCUMENTS,
    };
    DOCUMENTS.iter().chain(later).find(|document| document.kind == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(path: &str, kind: Type, depth: usize, visit: &mut impl FnMut(&str, &Field)) {
        assert!(depth < 20, "{path} is endless");
        match kind {
            Type::List(inner) | Type::Map(inner) => walk(path, *inner, depth + 1, visit),
            Type::Record(record) => {
                for field in record.fields {
                    let path = format!("{path}.{}", field.key);
                    visit(&path, field);
                    walk(&path, field.kind, depth + 1, visit);
                }
            }
            _ => {}
        }
    }

    fn walk_all(mut visit: impl FnMut(&str, &Field)) {
        for document in DOCUMENTS.iter().chain(LATER_DOCUMENTS) {
            walk(document.kind, Type::Record(document.record), 0, &mut visit);
        }
    }

    #[test]
    fn every_field_is_described_and_keys_are_unique() {
        for document in DOCUMENTS.iter().chain(LATER_DOCUMENTS) {
            assert!(document.record.doc.ends_with('.'), "{}", document.kind);
        }
        let mut seen = std::collections::HashSet::new();
        walk_all(|path, field| {
            assert!(field.doc.ends_with('.'), "{path} needs a sentence");
            assert!(seen.insert(path.to_owned()), "{path} twice");
        });
        assert!(seen.len() > 300, "{}", seen.len());
    }

    #[test]
    fn what_looks_like_a_secret_is_one() {
        let words = ["key", "token", "secret", "password", "passphrase", "auth"];
        let public = ["publicKey"];
        walk_all(|path, field| {
            let last = field.key.to_lowercase();
            let text = matches!(field.kind, Type::Text | Type::Pem);
            let looks = text && words.iter().any(|word| last.ends_with(word)) && !public.contains(&field.key);
            assert!(!looks || field.secret, "{path}");
        });
    }

    #[test]
    fn kinds_are_unique_and_known_ones_are_not_announced_for_later() {
        let mut seen = std::collections::HashSet::new();
        for kind in DOCUMENTS.iter().map(|document| document.kind).chain(LATER_KINDS.iter().copied()) {
            assert!(seen.insert(kind), "{kind}");
        }
        assert_eq!(seen.len(), 90);
        assert!(LATER_KINDS.is_sorted());
    }

    #[test]
    fn documents_with_names_need_one_and_others_have_none() {
        for document in DOCUMENTS.iter().chain(LATER_DOCUMENTS) {
            let name = document.record.field("name");
            assert_eq!(name.is_some_and(|field| field.required), document.named, "{}", document.kind);
        }
    }

    #[test]
    fn a_machine_knows_its_own_kinds_and_a_manager_all() {
        assert!(kind("HostnameConfig").is_some() && kind("BGPInstanceConfig").is_none());
        for name in ["HostnameConfig", "BGPInstanceConfig", ROOT_KIND] {
            assert!(kind_for(name, Audience::Manager).is_some(), "{name}");
        }
        assert!(kind_for("NoSuchConfig", Audience::Manager).is_none());
    }
}
