//! Namespaces of infrastructure providers: what they and the manager tell each other, and what each keeps for itself.
//!
//! ```text
//! role exactly InfraProvider ─▶ registered? ─▶ private namespace: its own, and types with its id in the name
//!                                           └▶ shared namespace:  row of the type, then its label
//! a greater role             ─▶ table of access, as everywhere; private namespaces are read by Admins
//! ```

use corten_api::fleet::Role;
use corten_fleet_resources::access;
use corten_fleet_resources::namespace::{INFRA_PROVIDER, INFRA_PROVIDER_EPHEMERAL, INFRA_PROVIDER_PREFIX};

use super::{Decision, Denial, Edit, Operation, Verb, through};
use crate::caller::Caller;

/// End of the types that a provider keeps for itself, after its id and a dot.
const PRIVATE_SUFFIX: &str = "infraprovider.sidero.dev";

/// What a provider may do with a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// See it, and hold it with finalizers.
    Read,
    /// Make it as well.
    Write,
}

/// What tells whose a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Its label.
    Label,
    /// Its id, which is that of the provider; the label as well, if the provider makes it.
    Id,
}

/// A type that providers and the manager share.
struct Row {
    kind: &'static str,
    namespace: &'static str,
    right: Right,
    mark: Mark,
}

const fn row(kind: &'static str, right: Right, mark: Mark) -> Row {
    Row { kind, namespace: INFRA_PROVIDER, right, mark }
}

/// All of them.
static ROWS: [Row; 11] = [
    row("BMCConfigs.omni.sidero.dev", Right::Read, Mark::Label),
    row("ConfigPatchRequests.omni.sidero.dev", Right::Write, Mark::Label),
    row("InfraMachineRegistrations.omni.sidero.dev", Right::Read, Mark::Label),
    row("InfraMachineStatuses.omni.sidero.dev", Right::Write, Mark::Label),
    row("InfraMachines.omni.sidero.dev", Right::Read, Mark::Label),
    Row {
        namespace: INFRA_PROVIDER_EPHEMERAL,
        ..row("InfraProviderHealthStatuses.omni.sidero.dev", Right::Write, Mark::Id)
    },
    row("InfraProviderStatuses.omni.sidero.dev", Right::Write, Mark::Id),
    row("InfraProviders.omni.sidero.dev", Right::Read, Mark::Id),
    row("MachineRequestStatuses.omni.sidero.dev", Right::Write, Mark::Label),
    row("MachineRequests.omni.sidero.dev", Right::Read, Mark::Label),
    row("ProviderJoinConfigs.omni.sidero.dev", Right::Read, Mark::Label),
];

/// Whether a namespace is one of infrastructure providers.
pub(super) fn is_namespace(namespace: &str) -> bool {
    [INFRA_PROVIDER, INFRA_PROVIDER_EPHEMERAL].contains(&namespace) || private_to(namespace).is_some()
}

/// The decision in such a namespace.
pub(super) fn decide(caller: Option<&Caller<'_>>, operation: &Operation<'_>) -> Result<Decision, Denial> {
    let caller = caller.ok_or_else(|| operation.unsigned())?;
    match caller.role() {
        Role::None => Err(operation.needs(Role::InfraProvider.as_str(), caller)),
        Role::InfraProvider => program(caller, operation),
        _ => person(caller, operation).map(|()| Decision::Allow),
    }
}

/// The id of the provider whose own namespace this is.
fn private_to(namespace: &str) -> Option<&str> {
    namespace.strip_prefix(INFRA_PROVIDER_PREFIX)
}

fn shared(operation: &Operation<'_>) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.kind == operation.kind && row.namespace == operation.namespace)
}

/// A caller above providers: nothing of what a provider keeps for itself, which may be secrets, but for Admins.
fn person(caller: &Caller<'_>, operation: &Operation<'_>) -> Result<(), Denial> {
    if private_to(operation.namespace).is_some() {
        return match (operation.verb.is_read(), caller.role()) {
            (true, Role::Admin) => Ok(()),
            (true, _) => Err(operation.needs(Role::Admin.as_str(), caller)),
            _ => Err(Denial::Verb { verb: operation.verb.word(), kind: operation.kind.to_owned() }),
        };
    }
    let rule = shared(operation).and_then(|row| access::rule(row.kind));
    through(Some(caller), operation, rule.ok_or_else(|| operation.unknown())?)
}

fn program(caller: &Caller<'_>, operation: &Operation<'_>) -> Result<Decision, Denial> {
    let provider = caller.provider().filter(|_| caller.is_registered);
    let Some(provider) = provider else {
        return Err(Denial::Unregistered { email: caller.email.to_string() });
    };
    let foreign = || Denial::Provider {
        provider: provider.clone(),
        verb: operation.verb.word(),
        kind: operation.kind.to_owned(),
        id: operation.id.to_owned(),
        namespace: operation.namespace.to_owned(),
    };
    if let Some(owner) = private_to(operation.namespace) {
        let is_own = owner == provider && is_private_kind(operation.kind, &provider);
        return is_own.then_some(Decision::Allow).ok_or_else(foreign);
    }
    let row = shared(operation).ok_or_else(foreign)?;
    let is_list = matches!(operation.verb, Verb::List(_));
    let is_proven = row.mark == Mark::Id && !is_list;
    if is_proven && operation.id != provider {
        return Err(foreign());
    }
    match (row.right, operation.verb) {
        (Right::Read, Verb::Create(_) | Verb::Destroy(_)) => Err(foreign()),
        (Right::Read, Verb::Update { edit: Edit::Anything, .. }) => {
            Err(Denial::Finalizers { provider, kind: operation.kind.to_owned() })
        }
        (Right::Read, _) if is_proven => Ok(Decision::Allow),
        _ => Ok(Decision::Own(provider)),
    }
}

/// Whether a type is one that this provider keeps for itself.
fn is_private_kind(kind: &str, provider: &str) -> bool {
    let name = kind.strip_suffix(PRIVATE_SUFFIX).and_then(|rest| rest.strip_suffix('.'));
    let name = name.and_then(|rest| rest.strip_suffix(provider)).and_then(|rest| rest.strip_suffix('.'));
    name.is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shared_type_is_in_its_namespace_and_has_access_of_its_own() {
        let registry = corten_fleet_resources::registry();
        for row in &ROWS {
            let definition = registry.definition(row.kind).expect(row.kind);
            assert_eq!(definition.namespace, row.namespace, "{}", row.kind);
            assert!(access::rule(row.kind).is_some(), "{}", row.kind);
        }
        let all = registry.types().filter(|registered| is_namespace(registered.definition.namespace));
        assert_eq!(all.count(), ROWS.len(), "a type of these namespaces has no row");
    }

    #[test]
    fn a_private_type_has_the_id_of_its_provider_in_its_name() {
        assert!(is_private_kind("Machines.metal.infraprovider.sidero.dev", "metal"));
        for kind in [
            "Machines.other.infraprovider.sidero.dev",
            "Machines.metal.sidero.dev",
            "metal.infraprovider.sidero.dev",
            ".metal.infraprovider.sidero.dev",
            "Machinesmetal.infraprovider.sidero.dev",
            "Machines.metalinfraprovider.sidero.dev",
        ] {
            assert!(!is_private_kind(kind, "metal"), "{kind}");
        }
    }
}
