//! The documents of a machine in maintenance, from what everybody has to say.
//!
//! ```text
//! logins ─▶ RegistryAuthConfig …
//! patches ─▶ their documents that have a kind, those of one kind and name merged
//! join configuration ─▶ as it is, last
//! ```

use std::borrow::Cow;
use std::io;

use corten_base::Secret;
use corten_config::read::BYTES_MAX;
use corten_config::{Problem, yaml};
use corten_fleet_resources::config::ConfigPatch;
use serde_json::{Map, Value, json};

use crate::machine_join_config::{DOCUMENT_KINDS, KERNEL_LOG_NAME, stream};

/// Key by which a document asks for something to be removed; there is nothing to remove in maintenance.
const DIRECTIVE: &str = "$patch";

/// How a machine logs in at a registry.
#[derive(Clone, Debug)]
pub struct Login {
    /// Host of the registry.
    pub host: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret<String>,
}

/// A patch that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentsError {
    /// It is no zstd frame, no text, or larger than any configuration.
    #[error("ConfigPatch {id} cannot be unpacked; write it anew")]
    Unpack {
        /// Which patch.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not YAML.
    #[error("ConfigPatch {id} cannot be read; correct it")]
    Read {
        /// Which patch.
        id: String,
        /// Where and why.
        #[source]
        source: Problem,
    },
}

/// The documents of a machine in maintenance, YAML; `patches` in the order in which they apply.
///
/// # Errors
/// When a patch cannot be read.
pub fn documents<'a>(
    logins: &[Login],
    patches: impl IntoIterator<Item = (&'a str, &'a ConfigPatch)>,
    join: &str,
) -> Result<String, DocumentsError> {
    let mut all: Vec<Value> = logins.iter().map(login).collect();
    for (id, patch) in patches {
        let text = text(id, patch)?;
        let read = yaml::parse(&text).map_err(|source| DocumentsError::Read { id: id.to_owned(), source })?;
        for document in read.into_iter().filter(is_wanted) {
            match all.iter_mut().find(|other| name(other) == name(&document)) {
                Some(other) => merge(other, document),
                None => all.push(document),
            }
        }
    }
    if all.is_empty() { Ok(join.to_owned()) } else { Ok(format!("{}---\n{join}", stream(&all))) }
}

fn login(login: &Login) -> Value {
    json!({
        "apiVersion": "v1alpha1",
        "kind": "RegistryAuthConfig",
        "name": login.host,
        "username": login.user,
        "password": login.password.reveal(),
    })
}

fn text<'a>(id: &str, patch: &'a ConfigPatch) -> Result<Cow<'a, str>, DocumentsError> {
    if patch.compressed_data.is_empty() {
        return Ok(Cow::Borrowed(&patch.data));
    }
    let failed = |source| DocumentsError::Unpack { id: id.to_owned(), source };
    let bytes = zstd::bulk::decompress(&patch.compressed_data, BYTES_MAX).map_err(failed)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|error| failed(io::Error::other(error)))
}

/// Kind and name of a document.
fn name(document: &Value) -> (Option<&str>, Option<&str>) {
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    (text("kind"), text("name"))
}

/// Whether a document of a patch is for a machine in maintenance: it has a kind, so that it is not `v1alpha1`, and does
/// not take the machine away from its manager.
fn is_wanted(document: &Value) -> bool {
    let (Some(kind), name) = name(document) else { return false };
    let is_other_log = kind == "KmsgLogConfig" && name != Some(KERNEL_LOG_NAME);
    let is_managers = DOCUMENT_KINDS.contains(&kind) && !is_other_log;
    document.get(DIRECTIVE).is_none() && !is_managers
}

/// Lays a document over another: mappings merge, lists grow, everything else is replaced.
fn merge(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => merge_maps(base, patch),
        (Value::Array(base), Value::Array(patch)) => base.extend(patch),
        (base, patch) => *base = patch,
    }
}

fn merge_maps(base: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match base.get_mut(&key) {
            Some(old) => merge(old, value),
            None => drop(base.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(data: &str) -> ConfigPatch {
        ConfigPatch { data: data.to_owned(), ..ConfigPatch::default() }
    }

    fn of(patches: &[ConfigPatch]) -> Result<Vec<Value>, DocumentsError> {
        let text = documents(&[], patches.iter().map(|patch| ("p", patch)), "kind: SideroLinkConfig\n")?;
        Ok(yaml::parse(&text).expect("YAML"))
    }

    #[test]
    fn patches_of_one_document_merge_in_their_order() {
        let first = plain("kind: HostnameConfig\nauto: stable\nlist: [1]\n");
        let second =
            plain("kind: HostnameConfig\nhostname: b\nlist: [2]\n---\nkind: LinkConfig\nname: eth0\n");
        let third = plain("kind: LinkConfig\nname: eth1\n");
        let merged = json!({ "kind": "HostnameConfig", "auto": "stable", "list": [1, 2], "hostname": "b" });
        let expected = [
            merged,
            json!({ "kind": "LinkConfig", "name": "eth0" }),
            json!({ "kind": "LinkConfig", "name": "eth1" }),
            json!({ "kind": "SideroLinkConfig" }),
        ];
        assert_eq!(of(&[first, second, third]).expect("documents"), expected);
    }

    #[test]
    fn nothing_installs_the_machine_or_takes_it_away_from_its_manager() {
        let patches = [
            plain("machine: {type: worker}\n"),
            plain("- op: add\n  path: /machine\n  value: {}\n"),
            plain("kind: SideroLinkConfig\napiUrl: https://elsewhere\n"),
            plain("kind: KmsgLogConfig\nname: omni-kmsg\n"),
            plain("kind: HostnameConfig\n$patch: delete\n"),
        ];
        assert_eq!(of(&patches).expect("documents"), [json!({ "kind": "SideroLinkConfig" })]);
        let own = of(&[plain("kind: KmsgLogConfig\nname: mine\n")]).expect("documents");
        assert_eq!(own.len(), 2, "a destination of a person's own stays");
    }

    #[test]
    fn packed_patches_are_read_and_broken_ones_named() {
        let packed = zstd::bulk::compress(b"kind: HostnameConfig\n", 3).expect("packed");
        let packed = ConfigPatch { compressed_data: packed, ..ConfigPatch::default() };
        assert_eq!(of(&[packed]).expect("documents").len(), 2);
        let broken = ConfigPatch { compressed_data: vec![1], ..ConfigPatch::default() };
        let error = of(&[broken]).expect_err("broken").to_string();
        assert!(error.starts_with("ConfigPatch p cannot be unpacked"), "{error}");
        assert!(of(&[plain("a: [")]).is_err());
    }
}
