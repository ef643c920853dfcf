//! Texts of configurations: packed ones, whether two say the same, and without their secrets.
//!
//! ```text
//! plain | zstd ─unpack─▶ text ─┬─ same ──▶ whether two say the same, whatever their form
//!                              ├─ is_whole ▶ whether a machine leaves maintenance with it
//!                              └─ redacted ▶ for people
//! ```
//!
//! Machines may have documents that the manager does not know: nobody can tell what in them is secret, so none of it is
//! shown.

use std::borrow::Cow;
use std::io;

use corten_config::read::BYTES_MAX;
use corten_config::{Audience, Config, diff, yaml};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// What is shown of a document that is not known here.
const NAMES: [&str; 3] = ["apiVersion", "kind", "name"];
/// What stands for the rest of it.
const UNKNOWN: &str = "# what this document says is not known here and not shown\n";

/// Hash of a text, hex of a SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The text of a resource that has it plain or packed.
///
/// # Errors
/// When it is damaged, too long, or not UTF-8.
pub fn unpacked<'a>(plain: &'a [u8], packed: &[u8]) -> io::Result<Cow<'a, str>> {
    if packed.is_empty() {
        return std::str::from_utf8(plain).map(Cow::Borrowed).map_err(|_| not_text());
    }
    let bytes = zstd::bulk::decompress(packed, BYTES_MAX)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| not_text())
}

fn not_text() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")
}

/// Whether two configurations say the same, secrets included; form, comments and the order of keys do not count.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (yaml::parse(one), yaml::parse(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether a machine leaves maintenance with this configuration: it has the document without `kind`.
#[must_use]
pub fn is_whole(text: &str) -> bool {
    yaml::parse(text).is_ok_and(|documents| documents.iter().any(|document| document.get("kind").is_none()))
}

/// The documents of a configuration without secrets and comments, YAML.
#[must_use]
pub fn redacted(text: &str) -> String {
    let bodies = bodies(text);
    let shown: Vec<String> = bodies.iter().map(|body| redacted_document(body)).collect();
    shown.join("---\n")
}

/// The documents as they are written, without separators; empty ones are left out.
fn bodies(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if is_separator(line) {
            all.push(String::new());
        } else if let Some(body) = all.last_mut() {
            body.push_str(line);
        }
    }
    all.retain(|body| !body.trim().is_empty());
    all
}

/// Whether a line begins another document: nothing else may begin so.
fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// What is shown of a change when no text that may be shown differs.
pub const ONLY_SECRETS: &str = "  (only secrets change)\n";

/// What changes between two texts without secrets, of two configurations that are not the same.
#[must_use]
pub fn change(before: &str, after: &str) -> String {
    if before == after { ONLY_SECRETS.to_owned() } else { diff::texts(before, after) }
}

fn redacted_document(body: &str) -> String {
    if let Ok(config) = Config::parse_for(body.as_bytes(), Audience::Manager) {
        return config.redacted();
    }
    let documents = yaml::parse(body).unwrap_or_default();
    let name = |key: &str| documents.first()?.get(key)?.as_str().map(ToOwned::to_owned);
    let names = NAMES.iter().filter_map(|key| Some(((*key).to_owned(), Value::String(name(key)?))));
    let names: Map<String, Value> = names.collect();
    if names.is_empty() {
        return UNKNOWN.to_owned();
    }
    format!("{UNKNOWN}{}", yaml::render(&Value::Object(names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str =
        "version: v1alpha1\nmachine:\n    type: worker\n    token: hunter2\ncluster:\n    token: hunter2\n";

    #[test]
    fn secrets_of_every_document_are_hidden_and_the_rest_stays() {
        let text = format!(
            "{ROOT}---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n---\n\n---\n\
             kind: SomethingNewConfig\nname: b\nphrase: hunter2\n---\na: [hunter2\n"
        );
        let shown = redacted(&text);
        assert!(!shown.contains("hunter2"), "{shown}");
        for kept in ["type: worker", "hostname: a", "kind: SomethingNewConfig", "name: b"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        assert_eq!(shown.matches(UNKNOWN).count(), 2, "{shown}");
    }

    #[test]
    fn form_and_order_do_not_count_and_secrets_do() {
        assert!(same("a: 1\nb: {c: x}\n", "# words\nb:\n  c: x\na: 1\n"));
        assert!(!same("token: a\n", "token: b\n"));
        assert!(!same("a: [\n", "a: 1\n"));
    }

    #[test]
    fn documents_with_a_kind_leave_a_machine_in_maintenance() {
        assert!(is_whole(ROOT) && is_whole("kind: HostnameConfig\n---\nmachine: {}\n"));
        assert!(!is_whole("kind: HostnameConfig\n") && !is_whole("") && !is_whole("a: ["));
    }

    #[test]
    fn packed_texts_are_read_and_broken_ones_refused() {
        let packed = zstd::bulk::compress(b"machine: {}\n", 3).expect("packed");
        assert_eq!(unpacked(&[], &packed).expect("text"), "machine: {}\n");
        assert_eq!(unpacked(b"plain", &[]).expect("text"), "plain");
        assert!(unpacked(&[], &[1]).is_err() && unpacked(&[0xff], &[]).is_err());
    }

    #[test]
    fn any_text_is_shown_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = redacted(text);
            let _ = is_whole(text);
        });
    }
}
