//! The form of a cluster's configurations: that of the version that it was created with. Another one would differ, and
//! every machine would restart for it (fleet.md 13, point 31).
//!
//! What the forms are is in [`corten_config`].

use corten_config::{Audience, yaml};
use corten_fleet_resources::labels::annotation;
use corten_fleet_resources::machine::MachineStatus;
use serde_json::{Map, Value, json};

use crate::{InvalidVersion, Labels, TalosVersion};

pub use corten_config::Contract;

/// Reads the version of a ClusterConfigVersion.
///
/// # Errors
/// When the text is no version.
pub fn parse(version: &str) -> Result<Contract, InvalidVersion> {
    let (major, minor) = TalosVersion::parse(version)?.minor();
    Ok(Contract::new(major, minor))
}

/// What a machine reads: everything that Talos does, or what machines of ours support.
#[must_use]
pub fn audience(status: &MachineStatus) -> Audience {
    match status.talos_version_name.as_str() {
        corten_base::version::NAME => Audience::Machine,
        _ => Audience::Manager,
    }
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

    /// The patch that keeps them, YAML; empty when there is nothing to keep.
    pub(crate) fn patch(self) -> String {
        let fields = [
            ("diskQuotaSupport", self.disk_quota_support),
            ("apidCheckExtKeyUsage", self.apid_check_ext_key_usage),
        ];
        let kept = fields.into_iter().filter(|(_, is_kept)| *is_kept);
        let features: Map<String, Value> = kept.map(|(key, _)| (key.to_owned(), Value::Bool(true))).collect();
        if features.is_empty() {
            return String::new();
        }
        yaml::render(&json!({ "machine": { "features": features } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::labels;

    #[test]
    fn the_contract_is_that_of_the_minor_release() {
        assert_eq!(parse("v1.12.4"), Ok(Contract::new(1, 12)));
        assert_eq!(parse("1.14.0-beta.1"), Ok(Contract::new(1, 14)));
        assert!(parse("new").is_err());
    }

    #[test]
    fn machines_of_ours_say_so_by_the_name_of_their_version() {
        let named = |name: &str| MachineStatus { talos_version_name: name.to_owned(), ..Default::default() };
        assert_eq!(audience(&named("Corten")), Audience::Machine);
        for name in ["", "Talos", "Talos (enterprise)"] {
            assert_eq!(audience(&named(name)), Audience::Manager, "{name}");
        }
    }

    #[test]
    fn a_machine_keeps_what_it_was_made_with() {
        let annotations = labels(&[
            (annotation::PRESERVE_DISK_QUOTA_SUPPORT, ""),
            (annotation::PRESERVE_APID_CHECK_EXT_KEY_USAGE, ""),
        ]);
        let patch = Preserved::of(&annotations).patch();
        assert!(patch.contains("diskQuotaSupport: true") && patch.contains("apidCheckExtKeyUsage: true"));
        assert_eq!(Preserved::default().patch(), "");
    }
}
