//! Which roles a call has on a machine, and which calls the manager does not pass on (fleet.md 1.10, 2.9): pure
//! decisions.
//!
//! ```text
//! role in the manager, method, place ─▶ os:reader | os:operator | os:admin, for a few methods | refused
//! ```
//!
//! What would take a machine out of the manager's hands, or shows its secrets, takes an administrator of the machine,
//! which nobody is through the manager. The manager refuses it itself: a machine in maintenance would not.

use corten_api::fleet::Role;
use corten_api::roles::Roles;
use corten_api::rules::{self, Maintenance, Rule};
use corten_fleet_cluster::TalosVersion;
use tonic::Status;

/// Methods for which an Operator is an administrator of the machine.
const ELEVATED: [&str; 8] = [
    "/machine.DebugService/ContainerRun",
    "/machine.MachineService/EtcdDowngradeCancel",
    "/machine.MachineService/EtcdDowngradeEnable",
    "/machine.MachineService/EtcdDowngradeValidate",
    "/machine.MachineService/EtcdForfeitLeadership",
    "/machine.MachineService/MetaDelete",
    "/machine.MachineService/MetaWrite",
    "/storage.StorageService/BlockDeviceWipe",
];
/// The same for machines of version 1.12 and later; before, an operator of the machine sufficed.
const ELEVATED_SINCE_1_12: [&str; 2] = ["/machine.MachineService/Copy", "/machine.MachineService/Read"];
/// A machine in maintenance opens this to everybody; through the manager it is closed.
const APPLY: &str = "/machine.MachineService/ApplyConfiguration";

/// What a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A member of a cluster.
    Member,
    /// It waits for a configuration.
    Maintenance,
}

impl Place {
    /// The least role for any call.
    pub(crate) const fn least(self) -> Role {
        match self {
            Self::Member => Role::Reader,
            Self::Maintenance => Role::Operator,
        }
    }
}

/// Whether somebody with this role may call this machine at all.
///
/// # Errors
/// As [`refusal`].
pub(crate) fn admit(role: Option<Role>, place: Place) -> Result<(), Status> {
    if role.is_some_and(|role| role >= place.least()) { Ok(()) } else { Err(refusal(place)) }
}

/// `PermissionDenied` for such a machine. It does not tell whether the machine exists.
pub(crate) fn refusal(place: Place) -> Status {
    Status::permission_denied(format!(
        "calls to this machine need the role {}, on its cluster if it is in one; an Admin can change that",
        place.least()
    ))
}

/// The roles that a call has on a machine of this version (`v1.12.4`), whose caller was admitted.
///
/// # Errors
/// `PermissionDenied` for what nobody may do through the manager.
pub(crate) fn roles(path: &str, role: Role, place: Place, version: &str) -> Result<Roles, Status> {
    if rules::rule(path).is_some_and(|rule| !is_open(rule, place)) {
        return Err(Status::permission_denied(format!(
            "{path} is not permitted through the manager, which does such things itself; change the \
             resources of the cluster instead"
        )));
    }
    Ok(match (role >= Role::Operator, is_elevated(path, version)) {
        (true, true) => Roles::ADMIN,
        (true, false) => Roles::OPERATOR,
        (false, _) => Roles::READER,
    })
}

/// Whether a method changes nothing, as far as that is known here.
pub(crate) fn is_read(path: &str) -> bool {
    rules::allows(path, Roles::READER, false)
}

fn is_elevated(path: &str, version: &str) -> bool {
    let is_since = |major, minor| {
        let version = TalosVersion::parse(version);
        version.map_or(true, |version| version.is_since(major, minor))
    };
    ELEVATED.contains(&path) || (ELEVATED_SINCE_1_12.contains(&path) && is_since(1, 12))
}

/// Whether a method is passed on. Those without a row are newer than this manager, and the machine decides.
fn is_open(rule: &Rule, place: Place) -> bool {
    let is_listed = ELEVATED.contains(&rule.method) || ELEVATED_SINCE_1_12.contains(&rule.method);
    let is_opened = rule.maintenance == Maintenance::Opened && rule.method != APPLY;
    is_listed || rule.allows(Roles::OPERATOR, false) || (place == Place::Maintenance && is_opened)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::Place::{Maintenance as Waiting, Member};
    use super::*;

    const VERSION: &str = "/machine.MachineService/Version";
    const REBOOT: &str = "/machine.MachineService/Reboot";
    const READ: &str = "/machine.MachineService/Read";
    const NEW: &str = "/machine.MachineService/Unheard";

    fn outcome(path: &str, role: Role, place: Place, version: &str) -> Result<Roles, Code> {
        roles(path, role, place, version).map_err(|status| status.code())
    }

    #[test]
    fn readers_read_and_operators_operate_and_are_administrators_of_a_few_methods() {
        for (path, role, expected) in [
            (VERSION, Role::Reader, Roles::READER),
            (REBOOT, Role::Auditor, Roles::READER),
            (VERSION, Role::Operator, Roles::OPERATOR),
            (REBOOT, Role::Admin, Roles::OPERATOR),
            (READ, Role::Admin, Roles::ADMIN),
            (READ, Role::Reader, Roles::READER),
            (NEW, Role::Admin, Roles::OPERATOR),
        ] {
            assert_eq!(outcome(path, role, Member, "v1.14.1"), Ok(expected), "{path} {role}");
        }
        assert_eq!(outcome(READ, Role::Operator, Member, "v1.11.9"), Ok(Roles::OPERATOR));
        assert_eq!(outcome(READ, Role::Operator, Member, ""), Ok(Roles::ADMIN), "an unknown version");
    }

    #[test]
    fn what_takes_a_machine_out_of_the_managers_hands_is_refused_to_everybody() {
        for name in ["ApplyConfiguration", "Bootstrap", "Reset", "Upgrade", "EtcdRecover", "Kubeconfig"] {
            let path = format!("/machine.MachineService/{name}");
            for place in [Member, Waiting] {
                let found = outcome(&path, Role::Admin, place, "v1.14.1");
                assert_eq!(found, Err(Code::PermissionDenied), "{name}");
            }
        }
        let write = outcome("/cosi.resource.State/Update", Role::Admin, Member, "v1.14.1");
        assert_eq!(write, Err(Code::PermissionDenied));
    }

    #[test]
    fn in_maintenance_an_operator_may_clear_disks() {
        let path = "/machine.LVMService/VolumeGroupRemove";
        assert_eq!(outcome(path, Role::Operator, Waiting, "v1.14.1"), Ok(Roles::OPERATOR));
        assert_eq!(outcome(path, Role::Operator, Member, "v1.14.1"), Err(Code::PermissionDenied));
        assert!(admit(Some(Role::Auditor), Waiting).is_err() && admit(Some(Role::Operator), Waiting).is_ok());
        assert!(admit(Some(Role::Reader), Member).is_ok() && admit(None, Member).is_err());
    }

    #[test]
    fn every_elevated_method_takes_an_administrator() {
        for path in ELEVATED.iter().chain(&ELEVATED_SINCE_1_12) {
            let rule = rules::rule(path).expect(path);
            assert!(rule.allows(Roles::ADMIN, false) && !rule.allows(Roles::OPERATOR, false), "{path}");
        }
    }
}
