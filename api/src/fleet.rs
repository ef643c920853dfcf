//! Who may call what in the manager: one row per method that machines, people and their tools call there.
//!
//! ```text
//! call ──▶ signature ──▶ the method's row ──▶ the method ──▶ access of the resource type
//!          (if any)      (FleetGate)                         (resource services only)
//! ```
//!
//! The row is the first check, and for most methods the only one. A method without a row is not the manager's: it is
//! refused, or belongs to a machine behind the manager. A test holds this table and the descriptor set together in both
//! directions.

use std::fmt;
use std::str::FromStr;

/// What a caller may do in the manager, from nothing to everything; each role may do what the lesser ones may, except
/// where [`FleetGate::Exactly`] says otherwise.
///
/// Both a user and the key of a call have a role; the lesser one counts. An access policy may raise it for a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing but what is open to every signature.
    #[default]
    None,
    /// What a provider of machines needs, within its own part of the resources.
    InfraProvider,
    /// Reads without secrets.
    Reader,
    /// Reads, and the audit log.
    Auditor,
    /// Changes of clusters and machines.
    Operator,
    /// Everything, users and keys included.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 6] =
        [Self::None, Self::InfraProvider, Self::Reader, Self::Auditor, Self::Operator, Self::Admin];

    /// The text of the role on the wire and in resources.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::InfraProvider => "InfraProvider",
            Self::Reader => "Reader",
            Self::Auditor => "Auditor",
            Self::Operator => "Operator",
            Self::Admin => "Admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// A text that is not the text of a [`Role`]; case counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRole(pub String);

impl fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Role::ALL.map(Role::as_str).join(", ");
        write!(f, "unknown role `{}`; the roles are {known}", self.0)
    }
}

impl std::error::Error for UnknownRole {}

/// What lets a call through to its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetGate {
    /// Nothing is needed. What the method gives away, it decides itself.
    Public,
    /// No signature: the method itself checks what the caller shows instead, such as a join token, its address in the
    /// WireGuard network, the UUID of a machine, or the word of an identity provider.
    Token,
    /// A valid signature, whatever the role.
    Signed,
    /// A valid signature and at least this role. Calls that are about one cluster count with the role that the access
    /// policy gives their caller there.
    Role(Role),
    /// A valid signature and one of these roles; a greater one does not help.
    Exactly(&'static [Role]),
}

impl FleetGate {
    /// Whether a caller with this role passes; `None` stands for a call without signature.
    #[must_use]
    pub fn admits(self, caller: Option<Role>) -> bool {
        match self {
            Self::Public | Self::Token => true,
            Self::Signed => caller.is_some(),
            Self::Role(least) => caller.is_some_and(|role| role >= least),
            Self::Exactly(roles) => caller.is_some_and(|role| roles.contains(&role)),
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetRule {
    /// Path as in HTTP/2, such as `/management.ManagementService/Kubeconfig`.
    pub method: &'static str,
    /// What a call needs.
    pub gate: FleetGate,
}

/// The row of a method, by HTTP/2 path; `None` for a method that is not the manager's.
#[must_use]
pub fn rule(path: &str) -> Option<&'static FleetRule> {
    RULES.iter().find(|rule| rule.method == path)
}

const PUBLIC: FleetGate = FleetGate::Public;
const TOKEN: FleetGate = FleetGate::Token;
const SIGNED: FleetGate = FleetGate::Signed;
const READER: FleetGate = FleetGate::Role(Role::Reader);
const OPERATOR: FleetGate = FleetGate::Role(Role::Operator);
const ADMIN: FleetGate = FleetGate::Role(Role::Admin);
/// Providers ask for images; readers and auditors, who are above them, do not.
const IMAGES: FleetGate = FleetGate::Exactly(&[Role::InfraProvider, Role::Operator, Role::Admin]);
/// Operators are above auditors, and still do not read what they did.
const AUDIT: FleetGate = FleetGate::Exactly(&[Role::Auditor, Role::Admin]);

const fn row(method: &'static str, gate: FleetGate) -> FleetRule {
    FleetRule { method, gate }
}

/// The table.
pub const RULES: &[FleetRule] = &[
    row("/sidero.link.ProvisionService/Provision", TOKEN),
    row("/sidero.link.WireGuardOverGRPCService/CreateStream", TOKEN),
    row("/sidero.kms.KMSService/Seal", TOKEN),
    row("/sidero.kms.KMSService/Unseal", TOKEN),
    row("/events.EventSinkService/Publish", TOKEN),
    // All data is sealed; the id of a cluster is all that there is to know.
    row("/sidero.discovery.server.Cluster/Hello", PUBLIC),
    row("/sidero.discovery.server.Cluster/AffiliateUpdate", PUBLIC),
    row("/sidero.discovery.server.Cluster/AffiliateDelete", PUBLIC),
    row("/sidero.discovery.server.Cluster/List", PUBLIC),
    row("/sidero.discovery.server.Cluster/Watch", PUBLIC),
    // A key cannot sign before it is confirmed.
    row("/auth.AuthService/RegisterPublicKey", PUBLIC),
    row("/auth.AuthService/AwaitPublicKeyConfirmation", PUBLIC),
    row("/auth.AuthService/ConfirmPublicKey", TOKEN),
    row("/auth.AuthService/RevokePublicKey", SIGNED),
    row("/oidc.OIDCService/Authenticate", SIGNED),
    // The access of the resource type decides. A few types are open to browsers that have no key yet: reading how to
    // log in, reading and accepting the license agreement.
    row("/omni.resources.ResourceService/Get", PUBLIC),
    row("/omni.resources.ResourceService/List", PUBLIC),
    row("/omni.resources.ResourceService/Watch", PUBLIC),
    row("/omni.resources.ResourceService/Create", PUBLIC),
    row("/omni.resources.ResourceService/Update", SIGNED),
    row("/omni.resources.ResourceService/Delete", SIGNED),
    row("/omni.resources.ResourceService/Teardown", SIGNED),
    row("/omni.resources.ResourceService/Controllers", ADMIN),
    row("/omni.resources.ResourceService/DependencyGraph", ADMIN),
    // The same for tools, which always have a key.
    row("/cosi.resource.State/Get", SIGNED),
    row("/cosi.resource.State/List", SIGNED),
    row("/cosi.resource.State/Watch", SIGNED),
    row("/cosi.resource.State/Create", SIGNED),
    row("/cosi.resource.State/Update", SIGNED),
    row("/cosi.resource.State/Destroy", SIGNED),
    row("/cosi.resource.State/Teardown", SIGNED),
    row("/cosi.resource.State/TeardownAndDestroy", SIGNED),
    // Some forms of Kubeconfig and Talosconfig need more than their row, which the methods check.
    row("/management.ManagementService/Kubeconfig", READER),
    row("/management.ManagementService/Talosconfig", READER),
    row("/management.ManagementService/Omniconfig", SIGNED),
    row("/management.ManagementService/MachineLogs", READER),
    row("/management.ManagementService/ValidateConfig", SIGNED),
    row("/management.ManagementService/ValidateJSONSchema", SIGNED),
    row("/management.ManagementService/CreateServiceAccount", ADMIN),
    row("/management.ManagementService/RenewServiceAccount", ADMIN),
    row("/management.ManagementService/ListServiceAccounts", ADMIN),
    row("/management.ManagementService/DestroyServiceAccount", ADMIN),
    row("/management.ManagementService/KubernetesUpgradePreChecks", OPERATOR),
    row("/management.ManagementService/KubernetesSyncManifests", OPERATOR),
    row("/management.ManagementService/CreateSchematic", OPERATOR),
    row("/management.ManagementService/CreateSchematicFromRaw", IMAGES),
    row("/management.ManagementService/GetBootAssetURL", IMAGES),
    // Operators of the cluster that the message names (fleet.md 2.4), which an access policy can make of anybody: the
    // method checks that.
    row("/management.ManagementService/GetSupportBundle", SIGNED),
    row("/management.ManagementService/ReadAuditLog", AUDIT),
    row("/management.ManagementService/MaintenanceUpgrade", OPERATOR),
    row("/management.ManagementService/MaintenanceLifecycle", OPERATOR),
    row("/management.ManagementService/GetMachineJoinConfig", READER),
    row("/management.ManagementService/CreateJoinToken", ADMIN),
    row("/management.ManagementService/ResetNodeUniqueToken", ADMIN),
    row("/management.ManagementService/CreateUser", ADMIN),
    row("/management.ManagementService/ListUsers", ADMIN),
    row("/management.ManagementService/UpdateUser", ADMIN),
    row("/management.ManagementService/DestroyUser", ADMIN),
    row("/management.ManagementService/MachinePowerOff", OPERATOR),
    row("/management.ManagementService/MachinePowerOn", OPERATOR),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;
    use crate::rules::{self, FLEET_METHODS, METHODS};

    const AUDIT_LOG: &str = "/management.ManagementService/ReadAuditLog";

    fn admits(path: &str, caller: Option<Role>) -> bool {
        rule(path).is_some_and(|rule| rule.gate.admits(caller))
    }

    #[test]
    fn every_method_has_one_gate_and_every_gate_a_method() {
        let state = METHODS.iter().filter(|(path, _)| path.starts_with("/cosi.resource.State/"));
        let described: BTreeSet<&str> = FLEET_METHODS.iter().chain(state).map(|(path, _)| *path).collect();
        let ruled: BTreeSet<&str> = RULES.iter().map(|rule| rule.method).collect();
        assert_eq!(ruled.len(), RULES.len(), "a method stands twice in the table");
        assert_eq!(ruled, described);
    }

    #[test]
    fn the_methods_are_those_of_the_descriptors_and_none_is_a_machines() {
        let set =
            prost_types::FileDescriptorSet::decode(crate::FLEET_DESCRIPTORS).expect("descriptors decode");
        let mut described = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    described.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        assert!(FLEET_METHODS.is_sorted_by_key(|(path, _)| *path));
        assert_eq!(
            FLEET_METHODS.iter().map(|(path, _)| (*path).to_owned()).collect::<BTreeSet<_>>(),
            described
        );
        assert!(FLEET_METHODS.iter().all(|(path, _)| rules::kind(path).is_none()));
    }

    #[test]
    fn a_role_survives_its_text_and_an_unknown_text_is_none() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>(), Ok(role));
        }
        let error = "admin".parse::<Role>().expect_err("case counts");
        assert_eq!(
            error.to_string(),
            "unknown role `admin`; the roles are None, InfraProvider, Reader, Auditor, Operator, Admin"
        );
    }

    #[test]
    fn a_call_without_signature_passes_only_open_gates() {
        for rule in RULES {
            let is_open = matches!(rule.gate, FleetGate::Public | FleetGate::Token);
            assert_eq!(rule.gate.admits(None), is_open, "{}", rule.method);
        }
        assert!(admits("/management.ManagementService/Omniconfig", Some(Role::None)));
        assert!(!admits("/management.ManagementService/Unheard", Some(Role::Admin)));
    }

    #[test]
    fn a_greater_role_opens_what_a_lesser_one_does_but_not_an_exact_gate() {
        let create = "/management.ManagementService/CreateSchematic";
        assert!(!admits(create, Some(Role::Auditor)));
        assert!(admits(create, Some(Role::Operator)) && admits(create, Some(Role::Admin)));
        assert!(admits(AUDIT_LOG, Some(Role::Auditor)) && admits(AUDIT_LOG, Some(Role::Admin)));
        assert!(!admits(AUDIT_LOG, Some(Role::Operator)));
        let raw = "/management.ManagementService/CreateSchematicFromRaw";
        assert!(admits(raw, Some(Role::InfraProvider)) && !admits(raw, Some(Role::Reader)));
    }
}
