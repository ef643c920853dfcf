//! The configuration file: YAML, read strictly against the table.
//!
//! ```text
//! text ─▶ tree with places ─▶ each key in the table? ─▶ values │ problems │ warnings
//! ```

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use corten_config::node::{Entry, Node, Position};
use corten_config::problem::unknown_key;
use corten_config::{Problem, Problems, read};

use crate::kind::Value;
use crate::load::{Taken, take};
use crate::table::{self, Setting, Support};

/// A configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Name, as messages call it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the configuration in {path}; name files that are there with --config-path")]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl File {
    /// Reads a file; of one that is too large only so much that it is refused later.
    ///
    /// # Errors
    /// When it cannot be read as UTF-8.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let limit = u64::try_from(read::BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let mut text = String::new();
        let file = fs::File::open(path);
        let result = file.and_then(|file| file.take(limit).read_to_string(&mut text));
        result.map_err(|source| ReadError { path: path.to_owned(), source })?;
        Ok(Self { name: path.display().to_string(), text })
    }
}

/// What a file has.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Values, in the order of the file.
    pub(crate) found: Vec<Found>,
    /// What is wrong.
    pub(crate) problems: Problems,
    /// What is accepted and should be known.
    pub(crate) warnings: Problems,
}

/// A value in a file.
#[derive(Debug)]
pub(crate) struct Found {
    /// The setting that it is for.
    pub(crate) path: &'static str,
    /// The value.
    pub(crate) value: Value,
    /// The keys under which it stands; others than the path when they are an old name.
    pub(crate) name: &'static str,
    /// Where it stands.
    pub(crate) at: Position,
}

/// Reads the text of a file.
pub(crate) fn walk(text: &str) -> Reading {
    let mut reading = Reading::default();
    match read::documents(text) {
        Err(problem) => reading.problems.push(problem),
        Ok(documents) => {
            for more in documents.iter().skip(1) {
                let message = "a configuration is one document; move this one into the first".to_owned();
                reading.problems.push(Problem::at(more.at, message));
            }
            if let Some(root) = documents.first() {
                reading.section(root, "");
            }
        }
    }
    reading
}

impl Reading {
    fn section(&mut self, node: &Node, section: &str) {
        let Some(map) = node.as_map() else {
            let message = format!("expected a mapping, found a {}", node.describe());
            return self.problems.push(problem(section, message, node.at));
        };
        let known = table::keys(section);
        for entry in map {
            let path =
                if section.is_empty() { entry.key.clone() } else { format!("{section}.{}", entry.key) };
            if !known.contains(&entry.key.as_str()) {
                let message = unknown_key(&entry.key, known.iter().copied());
                self.problems.push(problem(&path, message, entry.at));
            } else if !entry.value.is_null() {
                match table::setting(&path) {
                    Some(setting) => self.value(setting, entry),
                    None => self.section(&entry.value, &path),
                }
            }
        }
    }

    fn value(&mut self, setting: &'static Setting, entry: &Entry) {
        // Empty mappings and lists are off whatever the setting takes.
        if setting.support == Support::Later && entry.value.is_zero() {
            return;
        }
        let Taken { value, warning } = match take(setting, |setting| setting.read_node(&entry.value)) {
            Ok(taken) => taken,
            Err(message) => return self.problems.push(problem(setting.path, message, entry.value.at)),
        };
        if let Some(message) = warning {
            self.warnings.push(problem(setting.path, message, entry.at));
        }
        if let Some((path, value)) = value {
            if let Some(other) = self.found.iter().find(|other| other.path == path) {
                let message = format!("is the same setting as {}, which is set too; remove one", other.name);
                self.problems.push(problem(setting.path, message, entry.at));
            }
            self.found.push(Found { path, value, name: setting.path, at: entry.value.at });
        }
    }
}

fn problem(path: &str, message: String, at: Position) -> Problem {
    Problem { document: String::new(), path: path.to_owned(), message, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        walk(text).problems.sorted().in_file("f.yaml").join("\n")
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_place() {
        let text = "servics: {}
services:
  api:
    endpont: 0.0.0.0:80
    endpoint: localhost
    advertisedURL: [a]
  loadBalancer: 7
  siderolink: {joinTokensMode: strickt, eventSinkPort: 70000}
services.api: {}
etcdBackup: {tickInterval: 5}
logs: {level: ''}
";
        let expected = "servics: unknown key; did you mean \"services\"? (f.yaml:1:1)
services.api.endpont: unknown key; did you mean \"endpoint\"? (f.yaml:4:5)
services.api.endpoint: \"localhost\" is not an address to listen on, such as 0.0.0.0:8080 (f.yaml:5:15)
services.api.advertisedURL: expected a URL (http, https), found a list (f.yaml:6:20)
services.loadBalancer: expected a mapping, found a integer (f.yaml:7:17)
services.siderolink.joinTokensMode: \"strickt\" is not one of strict, legacyAllowed, legacy; did you mean \"strict\"? (f.yaml:8:32)
services.siderolink.eventSinkPort: 70000 is not a whole number from 1 to 65535 (f.yaml:8:56)
services.api: unknown key; did you mean \"services\"? (f.yaml:9:1)
etcdBackup.tickInterval: \"5\" is not a duration such as 30s or 1h0m0s (f.yaml:10:28)
logs.level: must not be empty (f.yaml:11:15)";
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn what_is_not_there_yet_is_refused_unless_it_is_off() {
        let off = "auth:
  saml: {enabled: false, labelRules: {}, url: ''}
  oidc: {scopes: []}
services: {workloadProxy: {subdomain: proxy-us, stopLBsAfter: 300s}}
debug: {server: {endpoint: ':9988'}}
logs: {machine: {storage: {cleanupProbability: 0.01}}}
";
        assert_eq!(problems(off), "");
        let on = "auth: {saml: {enabled: true, labelRules: {a: b}}}
storage: {default: {etcd: {embedded: yes}}}
";
        let expected = "auth.saml.enabled: is not supported yet: logging in through SAML (f.yaml:1:24)
auth.saml.labelRules: is not supported yet: logging in through SAML (f.yaml:1:42)
storage.default.etcd.embedded: is not supported yet: an etcd within the manager; the kind embedded takes its place (f.yaml:2:38)";
        assert_eq!(problems(on), expected);
    }

    #[test]
    fn old_names_and_names_without_effect_are_told() {
        let reading = walk("registries: {imageFactoryBaseURL: https://f}\neulaAccept: {name: A B}\n");
        assert!(reading.problems.is_empty(), "{}", reading.problems);
        let warnings = reading.warnings.sorted().in_file("f.yaml");
        let expected = [
            "registries.imageFactoryBaseURL: is the old name of registries.factories.primary.url \
             (f.yaml:1:14)",
            "eulaAccept.name: has no effect: Corten Fleet is under the Apache License 2.0, so that there is \
             no agreement to accept (f.yaml:2:14)",
        ];
        assert_eq!(warnings, expected);
        let found: Vec<_> = reading.found.iter().map(|found| found.path).collect();
        assert_eq!(found, ["registries.factories.primary.url"]);
        let twice = "auth: {initialUsers: [a@b], auth0: {initialUsers: [c@d]}}";
        assert!(problems(twice).contains("is the same setting as auth.initialUsers, which is set too"));
    }

    #[test]
    fn nothing_and_null_set_nothing() {
        for text in ["", "# only a comment\n", "services:\n", "services: {api: {endpoint: ~}}"] {
            let reading = walk(text);
            assert!(reading.problems.is_empty() && reading.found.is_empty(), "{text}");
        }
        assert!(problems("a: 1\n---\nb: 2\n").contains("a configuration is one document"));
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = walk(text);
            let _ = walk(&format!("services: {{api: {{endpoint: {text}}}}}"));
        });
    }
}
