//! Who may call what: one row per method of the machine's API.
//!
//! A caller is allowed when it has any of the roles of the row. In maintenance mode every peer is a reader (an
//! administrator over SideroLink), so the usual roles decide there too, except for the few writes that a machine
//! without configuration opens to everyone who can reach it. A method without a row needs an administrator; a test
//! holds this table and the descriptor set together in both directions.

use Maintenance::{Closed, Opened, Usual};

use crate::roles::Roles;

/// How messages flow in a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One request, one response.
    Unary,
    /// One request, many responses.
    ServerStream,
    /// Many requests, one response.
    ClientStream,
    /// Many of both.
    Bidirectional,
}

/// What maintenance mode makes of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// The row's roles decide.
    Usual,
    /// Readers may call it as well, as long as the machine has no configuration.
    Opened,
    /// The method makes no sense without a configuration and answers `FailedPrecondition`.
    Closed,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Path as in HTTP/2, such as `/machine.MachineService/Version`.
    pub method: &'static str,
    /// Any of these suffices.
    pub roles: Roles,
    /// Meaning in maintenance mode.
    pub maintenance: Maintenance,
}

impl Rule {
    /// Whether a caller with `roles` may call the method.
    #[must_use]
    pub const fn allows(&self, roles: Roles, maintenance: bool) -> bool {
        let opened = maintenance && matches!(self.maintenance, Opened);
        let accepted = if opened { self.roles.union(Roles::READER) } else { self.roles };
        accepted.intersects(roles)
    }
}

/// Text of the `PermissionDenied` that a caller without a fitting role gets.
pub const NOT_AUTHORIZED: &str = "not authorized";

/// The row of a method, by HTTP/2 path.
#[must_use]
pub fn rule(path: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.method == path)
}

/// Whether a caller with `roles` may call the method with this path; unknown methods need an administrator.
#[must_use]
pub fn allows(path: &str, roles: Roles, maintenance: bool) -> bool {
    rule(path).map_or(roles.intersects(Roles::ADMIN), |rule| rule.allows(roles, maintenance))
}

/// How messages flow in the method with this path, from the descriptors; `None` for a method that is not ours.
#[must_use]
pub fn kind(path: &str) -> Option<Kind> {
    METHODS.binary_search_by(|(known, _)| (*known).cmp(path)).ok().map(|index| METHODS[index].1)
}

/// Whether one request may go to several machines at once (metadata `nodes`).
///
/// Only services whose responses have the `messages`/`metadata` envelope qualify.
#[must_use]
pub fn one_to_many(path: &str) -> bool {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    ONE_TO_MANY.contains(&service)
}

const ONE_TO_MANY: &[&str] = &[
    "cluster.ClusterService",
    "inspect.InspectService",
    "machine.MachineService",
    "storage.StorageService",
    "time.TimeService",
];

/// Every method with its kind, sorted by path; written by the build script.
pub const METHODS: &[(&str, Kind)] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// Every method that only the manager serves, with its kind, sorted by path; written by the build script.
///
/// Who may call what there is the table in [`crate::fleet`].
pub const FLEET_METHODS: &[(&str, Kind)] = include!(concat!(env!("OUT_DIR"), "/fleet-methods.rs"));

const A: Roles = Roles::ADMIN;
const AM: Roles = A.union(Roles::META_WRITER);
const AO: Roles = A.union(Roles::OPERATOR);
const AOB: Roles = AO.union(Roles::ETCD_BACKUP);
const AOR: Roles = AO.union(Roles::READER);
const AORB: Roles = AOR.union(Roles::ETCD_BACKUP);
const AORV: Roles = AOR.union(Roles::IMAGE_VERIFIER);

const fn row(method: &'static str, roles: Roles, maintenance: Maintenance) -> Rule {
    Rule { method, roles, maintenance }
}

/// The table.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    row("/machine.MachineService/ApplyConfiguration", A, Opened),
    row("/machine.MachineService/Bootstrap", A, Closed),
    row("/machine.MachineService/Containers", AOR, Usual),
    row("/machine.MachineService/Copy", A, Usual),
    row("/machine.MachineService/CPUFreqStats", AOR, Usual),
    row("/machine.MachineService/CPUInfo", AOR, Usual),
    row("/machine.MachineService/DiskStats", AOR, Usual),
    row("/machine.MachineService/Dmesg", AOR, Usual),
    row("/machine.MachineService/Events", AOR, Usual),
    row("/machine.MachineService/EtcdMemberList", AORB, Closed),
    row("/machine.MachineService/EtcdRemoveMemberByID", A, Closed),
    row("/machine.MachineService/EtcdLeaveCluster", A, Closed),
    row("/machine.MachineService/EtcdForfeitLeadership", A, Closed),
    row("/machine.MachineService/EtcdRecover", A, Closed),
    row("/machine.MachineService/EtcdSnapshot", AOB, Closed),
    row("/machine.MachineService/EtcdAlarmList", AORB, Closed),
    row("/machine.MachineService/EtcdAlarmDisarm", AO, Closed),
    row("/machine.MachineService/EtcdDefragment", AO, Closed),
    row("/machine.MachineService/EtcdStatus", AORB, Closed),
    row("/machine.MachineService/EtcdDowngradeValidate", A, Closed),
    row("/machine.MachineService/EtcdDowngradeEnable", A, Closed),
    row("/machine.MachineService/EtcdDowngradeCancel", A, Closed),
    row("/machine.MachineService/Hostname", AOR, Usual),
    row("/machine.MachineService/Kubeconfig", A, Closed),
    row("/machine.MachineService/List", AOR, Usual),
    row("/machine.MachineService/DiskUsage", AOR, Usual),
    row("/machine.MachineService/LoadAvg", AOR, Usual),
    row("/machine.MachineService/Logs", AOR, Usual),
    row("/machine.MachineService/LogsContainers", AOR, Usual),
    row("/machine.MachineService/Memory", AOR, Usual),
    row("/machine.MachineService/Mounts", AOR, Usual),
    row("/machine.MachineService/NetworkDeviceStats", AOR, Usual),
    row("/machine.MachineService/Processes", AOR, Usual),
    row("/machine.MachineService/Read", A, Usual),
    row("/machine.MachineService/Reboot", AO, Usual),
    row("/machine.MachineService/Restart", AO, Usual),
    row("/machine.MachineService/Rollback", A, Closed),
    row("/machine.MachineService/Reset", A, Usual),
    row("/machine.MachineService/ServiceList", AOR, Usual),
    row("/machine.MachineService/ServiceRestart", AO, Usual),
    row("/machine.MachineService/ServiceStart", AO, Usual),
    row("/machine.MachineService/ServiceStop", AO, Usual),
    row("/machine.MachineService/Shutdown", AO, Usual),
    row("/machine.MachineService/Stats", AOR, Usual),
    row("/machine.MachineService/SystemStat", AOR, Usual),
    row("/machine.MachineService/Upgrade", A, Usual),
    row("/machine.MachineService/Version", AOR, Usual),
    row("/machine.MachineService/GenerateClientConfiguration", A, Closed),
    row("/machine.MachineService/PacketCapture", AO, Usual),
    row("/machine.MachineService/Netstat", AOR, Usual),
    row("/machine.MachineService/MetaWrite", AM, Usual),
    row("/machine.MachineService/MetaDelete", AM, Usual),
    row("/machine.MachineService/ImageList", AOR, Usual),
    row("/machine.MachineService/ImagePull", AO, Usual),

    row("/machine.ImageService/List", AOR, Usual),
    row("/machine.ImageService/Pull", AO, Usual),
    row("/machine.ImageService/Import", A, Usual),
    row("/machine.ImageService/Remove", A, Usual),
    row("/machine.ImageService/Verify", AORV, Usual),

    row("/machine.LifecycleService/Install", A, Usual),
    row("/machine.LifecycleService/Upgrade", A, Closed),

    row("/machine.DebugService/ContainerRun", A, Closed),

    row("/machine.StorageService/Statfs", AOR, Usual),

    row("/machine.LVMService/LogicalVolumeRemove", A, Opened),
    row("/machine.LVMService/VolumeGroupRemove", A, Opened),
    row("/machine.LVMService/PhysicalVolumeRemove", A, Opened),

    row("/machine.MDService/Destroy", A, Opened),

    row("/storage.StorageService/Disks", AOR, Usual),
    row("/storage.StorageService/BlockDeviceWipe", A, Opened),

    row("/cluster.ClusterService/HealthCheck", AOR, Closed),

    row("/inspect.InspectService/ControllerRuntimeDependencies", AOR, Usual),

    row("/time.TimeService/Time", AOR, Usual),
    row("/time.TimeService/TimeCheck", AOR, Usual),

    row("/cosi.resource.State/Get", AOR, Usual),
    row("/cosi.resource.State/List", AOR, Usual),
    row("/cosi.resource.State/Watch", AOR, Usual),
    row("/cosi.resource.State/Create", A, Usual),
    row("/cosi.resource.State/Update", A, Usual),
    row("/cosi.resource.State/Destroy", A, Usual),
    row("/cosi.resource.State/Teardown", A, Usual),
    row("/cosi.resource.State/TeardownAndDestroy", A, Usual),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    fn described() -> BTreeSet<String> {
        let set = prost_types::FileDescriptorSet::decode(crate::DESCRIPTORS).expect("descriptors decode");
        let mut paths = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        paths
    }

    /// trustd's one method is guarded by a token, not by roles.
    const BY_TOKEN: &str = "/securityapi.SecurityService/Certificate";

    #[test]
    fn every_method_has_one_rule_and_every_rule_a_method() {
        let mut described = described();
        assert!(described.remove(BY_TOKEN));
        let ruled: BTreeSet<String> = RULES.iter().map(|rule| rule.method.to_owned()).collect();
        assert_eq!(ruled.len(), RULES.len(), "a method stands twice in the table");
        assert_eq!(ruled, described);
    }

    #[test]
    fn the_kinds_cover_all_methods_in_order() {
        let paths: Vec<&str> = METHODS.iter().map(|(path, _)| *path).collect();
        assert!(paths.is_sorted());
        assert_eq!(paths.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<_>>(), described());
        assert_eq!(kind("/machine.MachineService/Version"), Some(Kind::Unary));
        assert_eq!(kind("/cosi.resource.State/Watch"), Some(Kind::ServerStream));
        assert_eq!(kind("/machine.MachineService/EtcdRecover"), Some(Kind::ClientStream));
        assert_eq!(kind("/machine.DebugService/ContainerRun"), Some(Kind::Bidirectional));
        assert_eq!(kind("/machine.MachineService/Unheard"), None);
    }

    /// Fan-out merges by concatenating `messages` (field 1): every unary response must have exactly that shape.
    #[test]
    fn one_to_many_responses_have_the_envelope() {
        let set = prost_types::FileDescriptorSet::decode(crate::DESCRIPTORS).expect("descriptors decode");
        let messages: Vec<_> = set
            .file
            .iter()
            .flat_map(|file| {
                file.message_type
                    .iter()
                    .map(|message| (format!(".{}.{}", file.package(), message.name()), message))
            })
            .collect();
        let find =
            |name: &str| messages.iter().find(|(known, _)| known == name).expect("type is described").1;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    if !one_to_many(&path) {
                        continue;
                    }
                    let output = find(method.output_type());
                    let inner = if method.server_streaming() {
                        output
                    } else {
                        let field = output.field.first().expect("a wrapper has a field");
                        assert_eq!(
                            (output.field.len(), field.number(), field.name()),
                            (1, 1, "messages"),
                            "{path}"
                        );
                        find(field.type_name())
                    };
                    let metadata = inner.field.first().expect("an envelope has metadata");
                    assert_eq!((metadata.number(), metadata.type_name()), (1, ".common.Metadata"), "{path}");
                }
            }
        }
    }

    #[test]
    fn maintenance_opens_a_few_writes_to_readers() {
        let apply = "/machine.MachineService/ApplyConfiguration";
        assert!(!allows(apply, Roles::READER, false));
        assert!(allows(apply, Roles::READER, true));
        assert!(!allows("/machine.MachineService/Reset", Roles::READER, true));
        assert!(allows("/machine.MachineService/Reset", Roles::ADMIN, true));
        assert!(!allows("/machine.MachineService/Unheard", Roles::OPERATOR, false));
        assert!(!allows("/machine.MachineService/Version", Roles::IMPERSONATOR, false));
    }
}
