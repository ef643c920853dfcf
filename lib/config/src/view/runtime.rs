//! The running system: environment, files below /etc, device rules, authorities, memory.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Documents;
use crate::oom;
use crate::reader::Reader;

/// Permissions of a file below /etc that says nothing of them.
const MODE: u32 = 0o644;

/// Settings of the running system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    /// Environment of the services that are not ours.
    pub environment: BTreeMap<String, String>,
    /// Files below /etc, by path there.
    pub etc_files: BTreeMap<String, EtcFile>,
    /// Lines of device rules, in order.
    pub udev_rules: Vec<String>,
    /// More authorities to trust: name of the set and PEM text, ordered by name.
    pub trusted_roots: BTreeMap<String, String>,
    /// What happens when memory is short.
    pub oom: Oom,
}

impl Runtime {
    pub(super) fn read(machine: Reader<'_>, documents: &Documents<'_>) -> Self {
        let mut environment = machine.get("env").text_map();
        environment.extend(documents.one("EnvironmentConfig").get("variables").text_map());
        let mut udev_rules = machine.path(&["udev", "rules"]).texts();
        udev_rules.extend(documents.one("UdevRulesConfig").get("rules").texts());
        let files = documents.all("EtcFileConfig");
        let roots = documents.all("TrustedRootsConfig");
        Self {
            environment,
            etc_files: files.map(|(name, file)| (name.to_owned(), EtcFile::read(file))).collect(),
            udev_rules,
            trusted_roots: roots
                .map(|(name, roots)| (name.to_owned(), roots.get("certificates").string()))
                .collect(),
            oom: Oom::read(documents.one("OOMConfig")),
        }
    }
}

/// A file below /etc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcFile {
    /// Permissions.
    pub mode: u32,
    /// Content.
    pub contents: String,
}

impl EtcFile {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            mode: reader.get("mode").positive().unwrap_or(MODE),
            contents: reader.get("contents").string(),
        }
    }
}

/// What happens when memory is short; expressions are those of [`oom`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oom {
    /// Expression that says when something is ended.
    pub trigger: String,
    /// Expression that says what is ended first.
    pub ranking: String,
    /// Whether classes come before the ranking.
    pub strict_class_ordering: bool,
    /// How often memory is looked at.
    pub sample_interval: Duration,
}

impl Default for Oom {
    fn default() -> Self {
        Self {
            trigger: oom::TRIGGER.to_owned(),
            ranking: oom::RANKING.to_owned(),
            strict_class_ordering: false,
            sample_interval: oom::SAMPLE_INTERVAL,
        }
    }
}

impl Oom {
    fn read(reader: Reader<'_>) -> Self {
        let default = Self::default();
        let interval = reader.get("sampleInterval").duration().filter(|interval| !interval.is_zero());
        Self {
            trigger: reader.get("triggerExpression").string_or(&default.trigger),
            ranking: reader.get("cgroupRankingExpression").string_or(&default.ranking),
            strict_class_ordering: reader.get("strictCgroupClassOrdering").is(),
            sample_interval: interval.unwrap_or(default.sample_interval),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn view(text: &str) -> Runtime {
        Config::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}")).view().runtime.clone()
    }

    #[test]
    fn documents_and_fields_of_v1alpha1_come_together() {
        let root = "version: v1alpha1\nmachine: {type: worker, env: {A: old}, udev: {rules: [ONE]}}\n";
        let runtime = view(&format!(
            "{root}---\n{{apiVersion: v1alpha1, kind: UdevRulesConfig, rules: [TWO]}}\n---\n\
             {{apiVersion: v1alpha1, kind: EnvironmentConfig, variables: {{A: new, B: b}}}}\n---\n\
             {{apiVersion: v1alpha1, kind: EtcFileConfig, name: a/b, contents: x}}\n---\n\
             {{apiVersion: v1alpha1, kind: TrustedRootsConfig, name: r, certificates: PEM}}\n"
        ));
        assert_eq!(runtime.environment, [("A", "new"), ("B", "b")].map(|(k, v)| (k.into(), v.into())).into());
        assert_eq!(runtime.udev_rules, ["ONE", "TWO"]);
        assert_eq!(runtime.etc_files["a/b"], EtcFile { mode: 0o644, contents: "x".into() });
        assert_eq!(runtime.trusted_roots["r"], "PEM");
        assert_eq!(runtime.oom, Oom::default());
    }

    #[test]
    fn what_is_not_said_about_memory_has_a_default() {
        let runtime = view(
            "{apiVersion: v1alpha1, kind: OOMConfig, strictCgroupClassOrdering: true, sampleInterval: 1s}",
        );
        let expected =
            Oom { strict_class_ordering: true, sample_interval: Duration::from_secs(1), ..Oom::default() };
        assert_eq!(runtime.oom, expected);
    }
}
