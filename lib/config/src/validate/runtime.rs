//! Rules of the documents about the running system, and of the fields of `v1alpha1` that mean the same.

use corten_pki::Certificate;

use super::Rules;
use crate::node::Node;
use crate::oom::{Ranking, SAMPLE_INTERVAL_MIN, Trigger};
use crate::problem::Path;
use crate::values;

/// Names of a variable of the environment.
pub(super) fn environment(rules: &mut Rules<'_>, keys: &[&str]) {
    let Some(map) = rules.get(keys).and_then(Node::as_map) else { return };
    for entry in map {
        let name = &entry.key;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
            let path = format!("{}.{name}", keys.join("."));
            let message = format!("{name:?} is not a name such as HTTPS_PROXY (letters, digits and _)");
            rules.refuse_at(&Path::written(&path), entry.at, message);
        }
    }
}

/// Files below /etc that the machine writes itself; a configuration has other ways to change most of them.
const ETC_OWN: &[(&str, &str)] = &[
    ("hosts", "use StaticHostConfig"),
    ("resolv.conf", "use ResolverConfig"),
    ("hostname", "use HostnameConfig"),
    ("machine-id", "it identifies the machine"),
    ("mtab", "it is a link to the kernel's table"),
    ("localtime", "machines run in UTC"),
    ("os-release", "it names the running system"),
    ("passwd", "users of a machine are those of its services"),
    ("group", "users of a machine are those of its services"),
    ("ssl/certs/ca-certificates.crt", "use TrustedRootsConfig"),
    ("udev/rules.d/99-talos.rules", "use UdevRulesConfig"),
];

/// Folders below /etc that are the machine's own as a whole.
const ETC_OWN_FOLDERS: &[&str] = &["cni", "cri", "kubernetes"];

/// Longest content of a file below /etc, bytes; it is kept in memory.
const ETC_FILE_BYTES_MAX: usize = 1 << 20;

pub(super) fn etc_file(rules: &mut Rules<'_>) {
    let name = rules.document.id.name.clone();
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return rules.refuse(&["name"], format!("{name:?} is not a path below /etc such as nfsmount.conf"));
    }
    if let Some((_, why)) = ETC_OWN.iter().find(|(own, _)| *own == name) {
        return rules.refuse(&["name"], format!("the machine writes /etc/{name} itself; {why}"));
    }
    if let Some(folder) = parts.first().filter(|folder| ETC_OWN_FOLDERS.contains(folder)) {
        rules.refuse(&["name"], format!("/etc/{folder} is written by the machine itself"));
    }
    if rules.text(&["contents"]).is_some_and(|contents| contents.len() > ETC_FILE_BYTES_MAX) {
        rules.refuse(&["contents"], format!("longer than {ETC_FILE_BYTES_MAX} bytes"));
    }
}

/// Rules are lines of their own.
pub(super) fn udev_rules(rules: &mut Rules<'_>, keys: &[&str]) {
    let list = keys.join(".");
    for (index, rule) in rules.items(keys).iter().enumerate() {
        if rule.as_text().is_none_or(|text| text.trim().is_empty()) {
            let path = format!("{list}[{index}]");
            rules.refuse_at(&Path::written(&path), rule.at, "an empty rule");
        }
    }
}

pub(super) fn trusted_roots(rules: &mut Rules<'_>) {
    let Some(text) = rules.text(&["certificates"]) else { return };
    match Certificate::bundle_from_pem(text.as_bytes()) {
        Ok(certificates) if certificates.is_empty() => {
            rules.refuse(&["certificates"], "holds no certificate in PEM");
        }
        Ok(_) => {}
        Err(error) => rules.refuse(&["certificates"], corten_base::chain(&error)),
    }
}

pub(super) fn oom(rules: &mut Rules<'_>) {
    if let Some(Err(error)) = rules.text(&["triggerExpression"]).map(Trigger::parse) {
        rules.refuse(&["triggerExpression"], error.to_string());
    }
    if let Some(Err(error)) = rules.text(&["cgroupRankingExpression"]).map(Ranking::parse) {
        rules.refuse(&["cgroupRankingExpression"], error.to_string());
    }
    let interval = rules.text(&["sampleInterval"]).and_then(values::duration);
    if interval.is_some_and(|interval| !interval.is_zero() && interval < SAMPLE_INTERVAL_MIN) {
        rules.refuse(&["sampleInterval"], format!("shorter than {SAMPLE_INTERVAL_MIN:?}"));
    }
}

#[cfg(test)]
mod tests {
    use corten_base::{Clock, Rng};
    use corten_pki::{Authority, AuthorityKind};

    use crate::{Config, Target};

    /// What is wrong with a document of this kind.
    fn problems(kind: &str, fields: &str) -> String {
        let text = format!("apiVersion: v1alpha1\nkind: {kind}\n{fields}");
        let checked = Config::check(text.as_bytes(), Target::Container);
        checked.err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[test]
    fn variables_have_names() {
        assert_eq!(problems("EnvironmentConfig", "variables: {HTTPS_PROXY: 'http://p:1', _a1: ''}\n"), "");
        for name in ["'A=B'", "''", "1A", "a-b"] {
            let found = problems("EnvironmentConfig", &format!("variables: {{{name}: x}}\n"));
            assert!(found.contains("is not a name such as HTTPS_PROXY"), "{name}: {found}");
        }
    }

    #[test]
    fn files_stay_below_etc_and_leave_the_machines_own_alone() {
        for name in ["nfsmount.conf", "a/b/c", "hosts.allow"] {
            assert_eq!(problems("EtcFileConfig", &format!("name: {name}\n")), "", "{name}");
        }
        for (name, word) in [
            ("../passwd", "not a path below /etc"),
            ("/etc/x", "not a path below /etc"),
            ("a//b", "not a path below /etc"),
            ("hosts", "StaticHostConfig"),
            ("ssl/certs/ca-certificates.crt", "TrustedRootsConfig"),
            ("cri/conf.d/x", "/etc/cri is written by the machine itself"),
        ] {
            let found = problems("EtcFileConfig", &format!("name: {name}\n"));
            assert!(found.contains(word), "{name}: {found}");
        }
    }

    #[test]
    fn authorities_are_certificates() {
        let now = Clock::fixed(1_800_000_000).now();
        let authority =
            Authority::generate(AuthorityKind::Talos, now, &Rng::seeded(1)).expect("an authority");
        let pem = authority.certificate().to_pem().replace('\n', "\n    ");
        assert_eq!(problems("TrustedRootsConfig", &format!("name: a\ncertificates: |\n    {pem}\n")), "");
        let found = problems("TrustedRootsConfig", "name: a\ncertificates: nonsense\n");
        assert!(found.contains("certificates:"), "{found}");
        assert!(problems("TrustedRootsConfig", "name: a\n").contains("certificates: missing"));
    }

    #[test]
    fn expressions_about_memory_are_read_before_they_are_needed() {
        let good = "triggerExpression: 'memory_full_avg10 > 10.0'\ncgroupRankingExpression: '1.0'\nsampleInterval: 100ms\n";
        assert_eq!(problems("OOMConfig", good), "");
        for (fields, word) in [
            ("triggerExpression: 'memory_full_avg10 >'\n", "triggerExpression:"),
            ("cgroupRankingExpression: path\n", "cgroupRankingExpression:"),
            ("sampleInterval: 1ms\n", "shorter than 50ms"),
        ] {
            let found = problems("OOMConfig", fields);
            assert!(found.contains(word), "{fields}: {found}");
        }
    }

    #[test]
    fn an_empty_rule_is_no_rule() {
        assert_eq!(problems("UdevRulesConfig", "rules: ['KERNEL==\"null\"']\n"), "");
        assert!(problems("UdevRulesConfig", "rules: [a, ' ']\n").contains("rules[1]: an empty rule"));
    }
}
