//! Rules of `MachineClass`: machines that are found by labels, or made by a provider, never both.

use corten_fleet_resources::cluster::{MachineClass, MachineProvision, MachineSet};
use corten_fleet_resources::labels::{IS_STATIC_INFRA_PROVIDER, NO_MANUAL_ALLOCATION};
use corten_fleet_resources::provider::InfraProviderStatus;
use corten_resource::{Resource, Selector};

use super::View;
use super::machine_set::allocation;

pub(super) fn check(
    view: &View,
    _: Option<&Resource<MachineClass>>,
    new: &Resource<MachineClass>,
) -> Result<(), String> {
    match (&new.auto_provision, new.match_labels.is_empty()) {
        (Some(_), false) => Err("matchlabels and autoprovision exclude each other; keep one".to_owned()),
        (None, true) => Err("a machine class has either matchlabels or autoprovision".to_owned()),
        (Some(provision), true) => check_provision(view, provision),
        (None, false) => new.match_labels.iter().try_for_each(|selector| check_selector(selector)),
    }
}

pub(super) fn check_destroy(view: &View, stored: &Resource<MachineClass>) -> Result<(), String> {
    let uses = |set: &Resource<MachineSet>| allocation(&set.spec).is_some_and(|it| it.name == stored.id());
    let sets = view.all::<MachineSet>();
    match sets.iter().filter_map(|set| set.resource::<MachineSet>()).find(|set| uses(set)) {
        Some(set) => Err(format!(
            "machine set {:?} takes its machines from class {:?}; change the set first",
            set.id(),
            stored.id()
        )),
        None => Ok(()),
    }
}

fn check_selector(text: &str) -> Result<(), String> {
    let selector = Selector::parse(text).map_err(|error| error.to_string())?;
    if selector.is_empty() {
        return Err("an empty selector would take every machine; name at least one label".to_owned());
    }
    if selector.keys().any(|key| key == NO_MANUAL_ALLOCATION) {
        return Err(format!("the label {NO_MANUAL_ALLOCATION} cannot be selected by; the manager does that"));
    }
    Ok(())
}

fn check_provision(view: &View, provision: &MachineProvision) -> Result<(), String> {
    let id = &provision.provider_id;
    let status = view.get::<InfraProviderStatus>(id);
    let status =
        status.ok_or_else(|| format!("infrastructure provider {id:?} is not known; start it first"))?;
    if status.metadata.labels.contains_key(IS_STATIC_INFRA_PROVIDER) {
        return Err(format!("infrastructure provider {id:?} makes no machines; select by labels"));
    }
    if !provision.provider_data.is_empty() {
        let data = corten_config::yaml::parse(&provision.provider_data);
        data.map_err(|problem| format!("autoprovision.providerdata: {problem}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{AllocationKind, MachineAllocation};

    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing;

    fn found(selectors: &[&str]) -> MachineClass {
        let match_labels = selectors.iter().map(ToString::to_string).collect();
        MachineClass { match_labels, ..MachineClass::default() }
    }

    fn made(provider: &str, data: &str) -> MachineClass {
        let provision = MachineProvision {
            provider_id: provider.to_owned(),
            provider_data: data.to_owned(),
            ..MachineProvision::default()
        };
        MachineClass { auto_provision: Some(provision), ..MachineClass::default() }
    }

    #[test]
    fn its_machines_are_found_or_made() {
        let fleet = Fleet::new();
        fleet.put("cloud", InfraProviderStatus::default());
        fleet.put_with("metal", InfraProviderStatus::default(), &[(IS_STATIC_INFRA_PROVIDER, "")]);
        let both = MachineClass { match_labels: vec!["a".to_owned()], ..made("cloud", "") };
        for (class, refusal) in [
            (found(&["omni.sidero.dev/cores >= 4", "rack = a"]), ""),
            (made("cloud", "cores: 4"), ""),
            (both, "exclude each other"),
            (MachineClass::default(), "has either matchlabels or autoprovision"),
            (found(&["a b"]), "\"a b\" is no label selector"),
            (found(&[""]), "an empty selector would take every machine"),
            (found(&["omni.sidero.dev/no-manual-allocation"]), "cannot be selected by"),
            (made("none", ""), "infrastructure provider \"none\" is not known"),
            (made("metal", ""), "\"metal\" makes no machines"),
            (made("cloud", "a: ["), "autoprovision.providerdata: "),
        ] {
            testing::check(&fleet, with("c", class, &[]), refusal);
        }
    }

    #[test]
    fn a_class_that_is_used_stays() {
        let fleet = Fleet::new();
        fleet.put("c", found(&["a"]));
        testing::check_destroy::<MachineClass>(&fleet, "c", "");
        let allocation = MachineAllocation {
            name: "c".to_owned(),
            machine_count: 1,
            allocation_kind: AllocationKind::Static,
        };
        let older = MachineSet { machine_class: Some(allocation), ..MachineSet::default() };
        fleet.put("prod-workers", older);
        let refusal = "machine set \"prod-workers\" takes its machines from class \"c\"";
        testing::check_destroy::<MachineClass>(&fleet, "c", refusal);
    }
}
