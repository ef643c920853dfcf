//! What configurations of a version look like. A cluster keeps the form of the version that it was created with.
//!
//! ```text
//! ClusterConfigVersion ─▶ Contract ─▶ a patch that brings a new configuration into that form
//! ```
//!
//! Another form would differ, and every machine would restart for it (fleet.md 13, point 31).

use corten_config::yaml;
use corten_fleet_resources::labels::annotation;
use serde_json::{Map, Value, json};

use crate::{InvalidVersion, Labels, TalosVersion};

/// The form of configurations of a minor release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contract {
    major: u64,
    minor: u64,
}

/// Fields that a machine keeps although the contract does not have them, since it was made with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preserved {
    /// `machine.features.diskQuotaSupport`.
    pub disk_quota_support: bool,
    /// `machine.features.apidCheckExtKeyUsage`.
    pub apid_check_ext_key_usage: bool,
}

impl Preserved {
    /// What the annotations of a ClusterMachine say.
    #[must_use]
    pub fn of(annotations: &Labels) -> Self {
        Self {
            disk_quota_support: annotations.contains_key(annotation::PRESERVE_DISK_QUOTA_SUPPORT),
            apid_check_ext_key_usage: annotations.contains_key(annotation::PRESERVE_APID_CHECK_EXT_KEY_USAGE),
        }
    }
}

/// The order to take a field or a document away.
fn deletion() -> Value {
    json!({ "$patch": "delete" })
}

impl Contract {
    /// The contract of the version that a cluster was created with.
    #[must_use]
    pub const fn of(initial: &TalosVersion) -> Self {
        let (major, minor) = initial.minor();
        Self { major, minor }
    }

    /// Reads the version of a ClusterConfigVersion.
    ///
    /// # Errors
    /// When the text is no version.
    pub fn parse(version: &str) -> Result<Self, InvalidVersion> {
        TalosVersion::parse(version).map(|version| Self::of(&version))
    }

    /// Whether the contract is that of the minor release of major 1, or a later one.
    const fn since(self, minor: u64) -> bool {
        self.major > 1 || (self.major == 1 && self.minor >= minor)
    }

    /// Whether machines have a load balancer of their own for the Kubernetes API, on port 7445: after 1.4.
    #[must_use]
    pub const fn has_kube_prism(self) -> bool {
        self.since(5)
    }

    /// Whether EPHEMERAL is mounted with project quotas: after 1.4.
    #[must_use]
    pub const fn has_disk_quota(self) -> bool {
        self.since(5)
    }

    /// Whether the machine has a caching resolver: after 1.6.
    #[must_use]
    pub const fn has_host_dns(self) -> bool {
        self.since(7)
    }

    /// Whether CoreDNS asks that resolver: after 1.7.
    #[must_use]
    pub const fn forwards_kube_dns(self) -> bool {
        self.since(8)
    }

    /// Whether the host name has a document of its own: after 1.11.
    #[must_use]
    pub const fn has_hostname_document(self) -> bool {
        self.since(12)
    }

    /// Whether machines that boot through GRUB take their kernel arguments from the image: after 1.11.
    #[must_use]
    pub const fn grub_uses_uki_cmdline(self) -> bool {
        self.since(12)
    }

    /// The patch that brings a new configuration into the form of the contract, YAML; empty when it has it already.
    pub(crate) fn patch(self, preserved: Preserved) -> String {
        let mut documents = Vec::new();
        let features = self.features(preserved);
        let mut machine = Map::new();
        if !features.is_empty() {
            machine.insert("features".to_owned(), Value::Object(features));
        }
        if !self.grub_uses_uki_cmdline() {
            machine.insert("install".to_owned(), json!({ "grubUseUKICmdline": deletion() }));
        }
        if !machine.is_empty() {
            documents.push(yaml::render(&json!({ "machine": machine })));
        }
        if !self.has_hostname_document() {
            let hostname = json!({ "apiVersion": "v1alpha1", "kind": "HostnameConfig", "$patch": "delete" });
            documents.push(yaml::render(&hostname));
        }
        documents.join("---\n")
    }

    fn features(self, preserved: Preserved) -> Map<String, Value> {
        let mut features = Map::new();
        let mut set = |key: &str, value: Value| drop(features.insert(key.to_owned(), value));
        if !self.has_kube_prism() {
            set("kubePrism", deletion());
        }
        if !self.has_host_dns() {
            set("hostDNS", deletion());
        } else if !self.forwards_kube_dns() {
            set("hostDNS", json!({ "forwardKubeDNSToHost": deletion() }));
        }
        if !self.has_disk_quota() && !preserved.disk_quota_support {
            set("diskQuotaSupport", deletion());
        }
        if preserved.apid_check_ext_key_usage {
            set("apidCheckExtKeyUsage", Value::Bool(true));
        }
        if !self.has_hostname_document() {
            set("stableHostname", Value::Bool(true));
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use corten_config::Patch;

    use super::*;
    use crate::testing::labels;

    fn contract(version: &str) -> Contract {
        Contract::parse(version).unwrap()
    }

    #[test]
    fn the_newest_form_needs_no_patch() {
        assert_eq!(contract("1.12.0").patch(Preserved::default()), "");
        assert_eq!(contract("v1.14.1").patch(Preserved::default()), "");
    }

    #[test]
    fn older_forms_lose_what_came_later() {
        let patch = |version: &str| contract(version).patch(Preserved::default());
        let gone = |version: &str, key: &str| patch(version).contains(&format!("{key}:\n"));
        for (version, key, is_gone) in [
            ("1.4.8", "kubePrism", true),
            ("1.5.0", "kubePrism", false),
            ("1.4.8", "diskQuotaSupport", true),
            ("1.5.0", "diskQuotaSupport", false),
            ("1.6.7", "hostDNS", true),
            ("1.7.0", "forwardKubeDNSToHost", true),
            ("1.8.0", "forwardKubeDNSToHost", false),
            ("1.11.5", "grubUseUKICmdline", true),
        ] {
            assert_eq!(gone(version, key), is_gone, "{version} {key}\n{}", patch(version));
        }
        let patch = patch("1.11.5");
        assert!(patch.contains("kind: HostnameConfig") && patch.contains("stableHostname: true"), "{patch}");
    }

    #[test]
    fn a_machine_keeps_what_it_was_made_with() {
        let annotations = labels(&[
            (annotation::PRESERVE_DISK_QUOTA_SUPPORT, ""),
            (annotation::PRESERVE_APID_CHECK_EXT_KEY_USAGE, ""),
        ]);
        let patch = contract("1.2.0").patch(Preserved::of(&annotations));
        assert!(!patch.contains("diskQuotaSupport"), "{patch}");
        assert!(patch.contains("apidCheckExtKeyUsage: true"), "{patch}");
    }

    #[test]
    fn every_patch_of_a_contract_can_be_read() {
        for minor in 0..20 {
            let patch = contract(&format!("1.{minor}.0")).patch(Preserved::default());
            Patch::parse(patch.as_bytes()).unwrap_or_else(|error| panic!("1.{minor}: {error}\n{patch}"));
        }
    }
}
