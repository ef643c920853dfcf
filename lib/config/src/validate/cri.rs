//! Rules of the documents about the container runtime, and what of `v1alpha1` they take the place of.

use super::documents::Conflict;
use super::{Rules, is_dns_name};
use crate::node::Node;
use crate::problem::Path;
use crate::values;

pub(super) const CONFLICTS: &[Conflict] = &[
    ("CRIBaseRuntimeSpecConfig", &[], &["machine", "baseRuntimeSpecOverrides"]),
    ("ImageCacheConfig", &[], &["machine", "features", "imageCache"]),
];

/// A part of containerd's configuration, which would not start with a wrong one.
pub(super) fn customization(rules: &mut Rules<'_>) {
    let name = rules.document.id.name.as_str();
    if !is_dns_name(name) {
        rules.refuse(&["name"], format!("{name:?} is not a DNS name, of which a file can be named"));
    }
    if let Some(content) = rules.get(&["content"]) {
        part(rules, content, &Path::ROOT.key("content"));
    }
}

/// A text that must be TOML.
pub(super) fn part(rules: &mut Rules<'_>, content: &Node, path: &Path<'_>) {
    let text = content.as_text().unwrap_or_default();
    if let Err(error) = toml::de::DeTable::parse(text) {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        let place = line.map_or_else(String::new, |line| format!(" in its line {line}"));
        rules.refuse_at(path, content.at, format!("not TOML{place}: {}", error.message()));
    }
}

/// Credentials of which nothing is left out.
pub(super) fn auth(rules: &mut Rules<'_>, auth: &Node, path: &Path<'_>) {
    let text = |key: &str| auth.get(key).and_then(Node::as_text).filter(|text| !text.is_empty());
    if text("password").is_some() && text("username").is_none() {
        rules.refuse_at(&path.key("username"), auth.at, "missing; a password needs it");
    }
    if let Some(pair) = text("auth") {
        let pair = values::base64(pair).and_then(|bytes| String::from_utf8(bytes).ok());
        if !pair.is_some_and(|pair| pair.contains(':')) {
            rules.refuse_at(&path.key("auth"), auth.at, "not base64 of user:password");
        }
    }
}

/// Credentials in `machine.registries`.
pub(super) fn auths(rules: &mut Rules<'_>) {
    let Some(map) = rules.get(&["machine", "registries", "config"]).and_then(Node::as_map) else { return };
    let config = Path::written("machine.registries.config");
    for entry in map {
        if let Some(node) = entry.value.get("auth") {
            auth(rules, node, &config.key(&entry.key).key("auth"));
        }
    }
}

/// Names of seccomp profiles are names of files.
pub(super) fn seccomp_profiles(rules: &mut Rules<'_>) {
    let machine = Path::ROOT.key("machine");
    let list = machine.key("seccompProfiles");
    for (index, profile) in rules.items(&["machine", "seccompProfiles"]).iter().enumerate() {
        let name = profile.get("name").and_then(Node::as_text).unwrap_or_default();
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            let path = list.index(index);
            let at = profile.get("name").unwrap_or(profile).at;
            rules.refuse_at(&path.key("name"), at, format!("{name:?} is not a name of a file"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Target};

    fn problems(kind: &str, fields: &str) -> String {
        let text = format!("apiVersion: v1alpha1\nkind: {kind}\n{fields}");
        let checked = Config::check(text.as_bytes(), Target::Installed);
        checked.err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[test]
    fn parts_of_containerds_configuration_are_toml() {
        let part =
            |content: &str| problems("CRICustomizationConfig", &format!("name: a\ncontent: |\n{content}"));
        assert_eq!(part("  [metrics]\n    address = \"0.0.0.0:11234\"\n"), "");
        let wrong = part("  [metrics]\n    password = hunter2\n");
        assert!(wrong.contains("content: not TOML in its line 2") && !wrong.contains("hunter2"), "{wrong}");
        assert!(problems("CRICustomizationConfig", "name: ../x\n").contains("is not a DNS name"));
    }

    #[test]
    fn credentials_are_whole_and_not_shown() {
        assert_eq!(problems("RegistryAuthConfig", "name: r\nusername: u\npassword: p\n"), "");
        assert_eq!(problems("RegistryAuthConfig", "name: r\nauth: dTpw\n"), "");
        let wrong = problems("RegistryAuthConfig", "name: r\npassword: hunter2\nauth: hunter3\n");
        assert!(
            wrong.contains("username: missing") && wrong.contains("auth: not base64 of user:password"),
            "{wrong}"
        );
        assert!(!wrong.contains("hunter"), "{wrong}");
    }
}
