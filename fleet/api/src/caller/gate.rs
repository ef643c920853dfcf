//! Whose method it is, what it needs, and whether a caller has that: pure decisions over the path and a few headers.
//!
//! ```text
//! path, `runtime` ─▶ Destination: a row of the table of methods, or a machine behind the manager
//! row, caller, cluster ─▶ passes | Refused
//! ```

use corten_api::fleet::{FleetGate, FleetRule, Role, rule};
use tonic::Status;

use super::Caller;
use crate::metrics::Refusal;

/// Begin of the services that are the manager's whatever a call says (fleet.md 2.2).
const OWN: [&str; 5] = ["/auth.", "/config.", "/management.", "/oidc.", "/omni."];
/// Value of the header `runtime` that sends a call to a machine.
const MACHINES: &str = "Talos";
/// Methods about the one cluster that a header names, so that the role there counts. For all others such a header
/// means nothing: a role on a cluster must not become one beyond it.
const OF_A_CLUSTER: [&str; 4] = [
    "/management.ManagementService/Kubeconfig",
    "/management.ManagementService/Talosconfig",
    "/management.ManagementService/KubernetesUpgradePreChecks",
    "/management.ManagementService/KubernetesSyncManifests",
];
/// Ends of methods that change nothing and tell no secret, so that making such a call again does no harm.
const REPEATABLE: [&str; 15] = [
    "cosi.resource.State/Get",
    "cosi.resource.State/List",
    "cosi.resource.State/Watch",
    "omni.resources.ResourceService/Get",
    "omni.resources.ResourceService/List",
    "omni.resources.ResourceService/Watch",
    "omni.resources.ResourceService/Controllers",
    "omni.resources.ResourceService/DependencyGraph",
    "management.ManagementService/Omniconfig",
    "management.ManagementService/MachineLogs",
    "management.ManagementService/ValidateConfig",
    "management.ManagementService/ValidateJSONSchema",
    "management.ManagementService/ListServiceAccounts",
    "management.ManagementService/ListUsers",
    "management.ManagementService/KubernetesUpgradePreChecks",
];

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// To a method of the manager, with its row.
    Here(&'static FleetRule),
    /// To a machine behind the manager.
    Machine,
}

impl Destination {
    /// Where a call of this path goes, whose header `runtime` is this; `None` for a method that nobody has.
    pub(super) fn of(path: &str, runtime: Option<&str>) -> Option<Self> {
        let is_own = OWN.iter().any(|prefix| path.starts_with(prefix));
        if !is_own && runtime == Some(MACHINES) {
            return Some(Self::Machine);
        }
        rule(path).map(Self::Here)
    }

    /// What a call needs. A machine asks for its own role; the manager only wants to know who it is.
    pub(super) const fn gate(self) -> FleetGate {
        match self {
            Self::Here(rule) => rule.gate,
            Self::Machine => FleetGate::Signed,
        }
    }

    /// Whether the same signed call may be made again within the time for which it is taken.
    pub(super) fn is_repeatable(self) -> bool {
        match self {
            Self::Here(rule) => {
                rule.method.strip_prefix('/').is_some_and(|method| REPEATABLE.contains(&method))
            }
            Self::Machine => true,
        }
    }
}

/// A call that does not get through.
#[derive(Debug)]
pub(super) struct Refused {
    /// For the counters.
    pub(super) why: Refusal,
    /// For the client.
    pub(super) status: Status,
}

/// Whether this caller may call this method; `cluster` is what the headers name.
pub(super) fn permit(
    destination: Destination,
    caller: &Caller,
    cluster: Option<&str>,
) -> Result<(), Refused> {
    let (method, gate) = match destination {
        Destination::Here(rule) => (rule.method, rule.gate),
        Destination::Machine => ("a machine", FleetGate::Signed),
    };
    let role = match cluster.filter(|_| OF_A_CLUSTER.contains(&method)) {
        Some(cluster) => caller.role_on(cluster),
        None => caller.role(),
    };
    if gate.admits(role) {
        return Ok(());
    }
    let (Some(role), Some(email)) = (role, caller.email()) else {
        let text = format!("{method} needs a signed call: log in, or use the key of a service account");
        return Err(Refused { why: Refusal::Unsigned, status: Status::unauthenticated(text) });
    };
    let needs = needs(gate);
    let text = format!("{method} needs the role {needs}, and {email} has {role}; an Admin can change that");
    Err(Refused { why: Refusal::Role, status: Status::permission_denied(text) })
}

/// The roles that a gate lets through, in words.
fn needs(gate: FleetGate) -> String {
    match gate {
        FleetGate::Role(least) => least.to_string(),
        FleetGate::Exactly(roles) => roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" or "),
        FleetGate::Public | FleetGate::Token | FleetGate::Signed => Role::None.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use corten_api::fleet::RULES;

    use super::*;

    #[test]
    fn a_call_goes_to_a_machine_only_where_the_manager_has_no_say() {
        let here = |path: &str, runtime| match Destination::of(path, runtime) {
            Some(Destination::Here(rule)) => Some(rule.method == path),
            Some(Destination::Machine) => Some(false),
            None => None,
        };
        for (path, runtime, expected) in [
            ("/cosi.resource.State/Get", None, Some(true)),
            ("/cosi.resource.State/Get", Some("Talos"), Some(false)),
            ("/cosi.resource.State/Get", Some("Omni"), Some(true)),
            ("/management.ManagementService/ListUsers", Some("Talos"), Some(true)),
            ("/management.ManagementService/Unheard", Some("Talos"), None),
            ("/machine.MachineService/Version", Some("Talos"), Some(false)),
            ("/machine.MachineService/Version", None, None),
        ] {
            assert_eq!(here(path, runtime), expected, "{path} {runtime:?}");
        }
    }

    #[test]
    fn what_is_repeatable_or_of_a_cluster_is_a_method() {
        for method in REPEATABLE.map(|method| format!("/{method}")).iter().map(String::as_str) {
            assert!(rule(method).is_some(), "{method}");
        }
        for method in OF_A_CLUSTER {
            assert!(rule(method).is_some(), "{method}");
        }
        let writes = ["Create", "Update", "Destroy", "Delete", "Teardown", "Renew", "Reset", "Revoke"];
        for rule in RULES {
            let name = rule.method.rsplit('/').next().expect("a name");
            let is_write = writes.iter().any(|write| name.starts_with(write));
            assert!(!(is_write && Destination::Here(rule).is_repeatable()), "{}", rule.method);
        }
    }
}
