//! What the versions of Talos do differently, as far as a manager notices: one table, each row with where it is known
//! from (sections of `fleet.md` and `node.md`, the references of this project).
//!
//! ```text
//! QUIRKS ─▶ has_service ─▶ door: `Unimplemented`          has_document, has_field ─▶ configuration: refused
//!        ─▶ has_type ────▶ state: neither listed nor got   has_volume ─▶ reset: refused
//! ```
//!
//! What is no thing that is there or not is a behavior:
//!
//! | | 1.12 | 1.13 | 1.14 | source |
//! |---|---|---|---|---|
//! | answer to the first whole configuration | REBOOT | REBOOT | NO_REBOOT | fleet.md 9.1, node.md 4.7 |
//! | mode REBOOT on a configured machine | reboots | reboots | `Unimplemented` | node.md 4.7 |
//!
//! Earlier versions behave as 1.12 does, later ones as 1.14. A kind of documents counts as of the version whose
//! configurations have it first; Talos may have read some of them before. No real machine of Talos has been asked.

use semver::Version;

use crate::life::Mode;

/// A minor version with behavior of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Talos 1.12.
    V12,
    /// Talos 1.13.
    V13,
    /// Talos 1.14.
    V14,
}

/// Something that not every version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// A gRPC service, such as `machine.ImageService`.
    Service(&'a str),
    /// A type of resources, such as `BootIDs.runtime.talos.dev`.
    Resource(&'a str),
    /// A kind of documents of the configuration.
    Document(&'a str),
    /// A field at the top of a document whose kind is older.
    Field(&'a str, &'a str),
    /// A volume that a reset can wipe.
    Volume(&'a str),
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirk {
    /// What it is about.
    pub what: What<'static>,
    /// The first version that has it.
    pub since: Profile,
    /// Where that is known from.
    pub source: &'static str,
}

const fn quirk(since: Profile, source: &'static str, what: What<'static>) -> Quirk {
    Quirk { what, since, source }
}

/// Of configurations since 1.14: the gates of the contract, and the documents that the gates are about.
const GATES: &str = "node.md 4.5, 4.3";

const fn document(kind: &'static str) -> Quirk {
    quirk(Profile::V14, GATES, What::Document(kind))
}

/// Everything that not every version has.
pub const QUIRKS: &[Quirk] = &[
    quirk(Profile::V13, "node.md 1.2, 2.8; fleet.md 4.8", What::Service("machine.LifecycleService")),
    quirk(Profile::V13, "node.md 1.2, 2.8; fleet.md 4.8", What::Service("machine.ImageService")),
    quirk(Profile::V14, "node.md 1.2; not in fleet.md 9.1", What::Service("machine.StorageService")),
    quirk(Profile::V14, "node.md 1.2; not in fleet.md 9.1", What::Service("machine.LVMService")),
    quirk(Profile::V14, "node.md 1.2; not in fleet.md 9.1", What::Service("machine.MDService")),
    quirk(Profile::V14, "node.md 1.2; not in fleet.md 9.1", What::Service("machine.DebugService")),
    quirk(Profile::V14, "node.md 3.5; fleet.md 4.2", What::Resource("BootIDs.runtime.talos.dev")),
    quirk(Profile::V14, "fleet.md 4.7, 13 (37)", What::Volume("CRI")),
    quirk(Profile::V14, "fleet.md 4.7, 13 (37)", What::Volume("ETCD")),
    quirk(Profile::V14, "fleet.md 4.7, 13 (37)", What::Volume("KUBELET")),
    quirk(Profile::V14, "fleet.md 4.7, 13 (37)", What::Volume("LOG")),
    quirk(Profile::V13, "node.md 4.5", What::Document("KubeSpanConfig")),
    quirk(Profile::V14, "node.md 4.3", What::Document("BGPInstanceConfig")),
    quirk(Profile::V14, "node.md 4.3", What::Document("SecurityProfileConfig")),
    quirk(Profile::V14, "node.md 4.5", What::Field("ResolverConfig", "hostDNS")),
    quirk(Profile::V14, "node.md 4.5", What::Field("VolumeConfig", "mount")),
    document("DiscoveryIdentityConfig"),
    document("DiscoveryServiceConfig"),
    document("FilesystemTrimConfig"),
    document("KernelModuleConfig"),
    document("KubeAPIServerCAConfig"),
    document("KubeAPIServerConfig"),
    document("KubeAdmissionControlConfig"),
    document("KubeAggregatorCAConfig"),
    document("KubeAuditPolicyConfig"),
    document("KubeAuthenticationConfig"),
    document("KubeAuthorizerConfig"),
    document("KubeClusterConfig"),
    document("KubeControllerManagerConfig"),
    document("KubeCoreDNSConfig"),
    document("KubeCredentialProviderConfig"),
    document("KubeEtcdEncryptionConfig"),
    document("KubeExternalManifestConfig"),
    document("KubeFlannelCNIConfig"),
    document("KubeInlineManifestConfig"),
    document("KubeNetworkConfig"),
    document("KubeNodeConfig"),
    document("KubePrismConfig"),
    document("KubeProxyConfig"),
    document("KubeSchedulerConfig"),
    document("KubeServiceAccountConfig"),
    document("KubeStaticPodConfig"),
    document("KubeTalosAPIAccessConfig"),
    document("KubeletConfig"),
    document("SysctlConfig"),
    document("UnattendedInstallConfig"),
];

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V12, Self::V13, Self::V14];

    /// How a version behaves.
    #[must_use]
    pub fn of(version: &Version) -> Self {
        match (version.major, version.minor) {
            (0, _) | (1, 0..=12) => Self::V12,
            (1, 13) => Self::V13,
            _ => Self::V14,
        }
    }

    /// Whether there is something; what stands in no row is everywhere.
    #[must_use]
    pub fn has(self, what: What<'_>) -> bool {
        QUIRKS.iter().all(|quirk| quirk.what != what || quirk.since <= self)
    }

    /// Whether there is a gRPC service, such as `machine.MachineService`.
    #[must_use]
    pub fn has_service(self, service: &str) -> bool {
        self.has(What::Service(service))
    }

    /// Whether there is a resource type.
    #[must_use]
    pub fn has_type(self, kind: &str) -> bool {
        self.has(What::Resource(kind))
    }

    /// Types that this version does not have.
    pub fn hidden_types(self) -> impl Iterator<Item = &'static str> {
        QUIRKS.iter().filter(move |quirk| quirk.since > self).filter_map(|quirk| match quirk.what {
            What::Resource(kind) => Some(kind),
            _ => None,
        })
    }

    /// What the first whole configuration is answered.
    #[must_use]
    pub const fn first_apply(self) -> Mode {
        match self {
            Self::V12 | Self::V13 => Mode::Reboot,
            Self::V14 => Mode::NoReboot,
        }
    }

    /// Whether a configured machine can be told to reboot into a configuration.
    #[must_use]
    pub const fn applies_with_reboot(self) -> bool {
        matches!(self, Self::V12 | Self::V13)
    }
}

#[cfg(test)]
mod tests {
    use corten_config::Audience;
    use corten_config::schema::kind_for;

    use super::*;

    #[test]
    fn the_minor_version_decides() {
        let of = |text: &str| Profile::of(&text.parse().expect("a version"));
        assert_eq!(of("1.9.3"), Profile::V12);
        assert_eq!(of("1.12.0-beta.1"), Profile::V12);
        assert_eq!(of("1.13.5"), Profile::V13);
        assert_eq!(of("1.15.0"), Profile::V14);
        assert_eq!(of("2.0.0"), Profile::V14);
    }

    #[test]
    fn what_comes_with_a_version_is_there_from_then_on() {
        assert!(!Profile::V12.has_service("machine.LifecycleService"));
        assert!(Profile::V13.has_service("machine.LifecycleService"));
        assert!(!Profile::V13.has_service("machine.StorageService"));
        assert!(!Profile::V12.has(What::Document("KubeSpanConfig")));
        assert!(Profile::V13.has(What::Document("KubeSpanConfig")));
        assert!(!Profile::V13.has(What::Field("ResolverConfig", "hostDNS")));
        assert!(Profile::V12.has(What::Field("ResolverConfig", "nameservers")));
        for profile in Profile::ALL {
            assert!(profile.has_service("machine.MachineService"));
            assert!(profile.has(What::Document("HostnameConfig")));
            assert!(profile.hidden_types().all(|kind| !profile.has_type(kind)));
            assert!(QUIRKS.iter().all(|quirk| Profile::V14.has(quirk.what)));
        }
    }

    #[test]
    fn every_row_stands_once_says_where_it_is_from_and_names_what_exists() {
        for (index, row) in QUIRKS.iter().enumerate() {
            assert!(row.source.contains(".md "), "{row:?}");
            assert!(QUIRKS.iter().skip(index + 1).all(|other| other.what != row.what), "{row:?}");
            let record = |kind: &str| kind_for(kind, Audience::Manager).map(|kind| kind.record);
            match row.what {
                What::Document(kind) => assert!(record(kind).is_some(), "{row:?}"),
                What::Field(kind, field) => {
                    assert!(record(kind).is_some_and(|record| record.field(field).is_some()), "{row:?}");
                }
                What::Service(_) | What::Resource(_) | What::Volume(_) => {}
            }
        }
    }
}
