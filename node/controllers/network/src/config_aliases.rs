//! Which links the aliases of the configuration are for.
//!
//! ```text
//! MachineConfig (LinkAliasConfig), LinkStatus ──▶ LinkAliasSpec
//! ```
//! Only devices get aliases: what is made in software has the name that it was given. A link that several selectors choose
//! has the first of their names.

use std::collections::BTreeMap;

use corten_config::link_selector::{Link, LinkSelector};
use corten_config::view::LinkAlias;
use corten_resource::{Enumeration as _, Plan, Resource, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::network::{LinkAliasSpec, LinkStatus};

use crate::from_config::machine_view;

/// Stands for a number in the name of an alias.
const NUMBER: &str = "%d";

/// Chooses links for aliases.
#[derive(Debug)]
pub struct AliasConfig;

controller!(AliasConfig, "network.AliasConfig",
    inputs: [strong MachineConfig, weak LinkStatus],
    outputs: [exclusive LinkAliasSpec]);

/// Whether an expression is true for a link.
fn is_chosen(selector: &LinkSelector, status: &LinkStatus) -> Result<bool, String> {
    let (hardware, permanent) = (status.hardware_addr.to_string(), status.permanent_addr.to_string());
    let link = Link {
        index: status.index,
        link_type: status.link_type.0,
        link_index: status.link_index,
        flags: status.flags.0,
        hardware_addr: &hardware,
        permanent_addr: &permanent,
        mtu: status.mtu,
        master_index: status.master_index,
        operational_state: status.operational_state.number(),
        kind: &status.kind,
        slave_kind: &status.slave_kind,
        bus_path: &status.bus_path,
        pci_id: &status.pci_id,
        driver: &status.driver,
        driver_version: &status.driver_version,
        firmware_version: &status.firmware_version,
        product_id: &status.product_id,
        vendor_id: &status.vendor_id,
        product: &status.product,
        vendor: &status.vendor,
        link_state: status.link_state,
        speed_mbit: status.speed_mbit,
        alt_names: &status.alt_names,
    };
    selector.matches(&link).map_err(|error| error.to_string())
}

/// The devices that an alias chooses, in the order of their hardware addresses.
fn chosen<'a>(
    alias: &LinkAlias,
    devices: &[&'a Resource<LinkStatus>],
) -> Result<Vec<&'a Resource<LinkStatus>>, String> {
    let selector = LinkSelector::parse(&alias.selector).map_err(|error| error.to_string())?;
    let mut chosen = Vec::new();
    for device in devices {
        if is_chosen(&selector, &device.spec)? {
            chosen.push(*device);
        }
    }
    let address = |link: &LinkStatus| {
        let is_burnt_in = !link.permanent_addr.0.is_empty();
        if is_burnt_in { link.permanent_addr.clone() } else { link.hardware_addr.clone() }
    };
    chosen.sort_by_key(|device| (address(&device.spec), device.metadata.id.clone()));
    Ok(chosen)
}

/// Names of devices with their aliases, and why others have none.
fn aliases(all: &[LinkAlias], links: &[&Resource<LinkStatus>]) -> (BTreeMap<String, String>, Vec<String>) {
    let devices: Vec<_> = links.iter().copied().filter(|link| link.spec.is_physical()).collect();
    let (mut given, mut problems) = (BTreeMap::new(), Vec::new());
    for alias in all {
        let name = &alias.name;
        let chosen = match chosen(alias, &devices) {
            Ok(chosen) => chosen,
            Err(why) => {
                problems.push(format!("alias {name}: {why}"));
                continue;
            }
        };
        let names: Vec<String> = if name.contains(NUMBER) {
            (0..chosen.len()).map(|number| name.replacen(NUMBER, &number.to_string(), 1)).collect()
        } else if chosen.len() == 1 {
            vec![name.clone()]
        } else {
            problems.push(format!("alias {name}: one device must be chosen, {} are", chosen.len()));
            continue;
        };
        // Those that have a name already take no number.
        let free = chosen.iter().filter(|device| !given.contains_key(&device.metadata.id));
        let free: Vec<_> = free.map(|device| device.metadata.id.clone()).collect();
        for (device, name) in free.into_iter().zip(names) {
            if links.iter().any(|link| link.metadata.id == name && link.metadata.id != device) {
                problems.push(format!("alias {name}: a link has this name"));
            } else {
                given.insert(device, name);
            }
        }
    }
    (given, problems)
}

impl Transform for AliasConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = machine_view(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let (given, problems) = aliases(&config.machine.network.aliases, &view.list::<LinkStatus>());
        for (device, alias) in given {
            plan.put::<LinkAliasSpec>(device, LinkAliasSpec { alias });
        }
        for problem in problems {
            plan.missing(problem);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{HardwareAddr, Outcome};
    use corten_resources::network::LinkType;

    use super::*;

    fn device(last: u8, driver: &str) -> LinkStatus {
        LinkStatus {
            link_type: LinkType::ETHER,
            permanent_addr: HardwareAddr(vec![0x52, 0x54, 0, 0, 0, last]),
            driver: driver.into(),
            ..LinkStatus::default()
        }
    }

    fn plan(aliases: &[(&str, &str)]) -> Plan<AliasConfig> {
        let document = |(name, selector): &(&str, &str)| {
            format!(
                "apiVersion: v1alpha1\nkind: LinkAliasConfig\nname: {name}\nselector:\n  match: {selector}\n"
            )
        };
        let documents: Vec<_> = aliases.iter().map(document).collect();
        let resources = [
            resource(MachineConfig::ACTIVE, MachineConfig { yaml: documents.join("---\n").into_bytes() }),
            resource("eth0", device(3, "e1000")),
            resource("eth1", device(2, "e1000")),
            resource("eth2", device(1, "virtio_net")),
            resource("br0", LinkStatus { kind: "bridge".into(), ..device(1, "e1000") }),
        ];
        AliasConfig.plan(&View::of(resources, UNIX_EPOCH))
    }

    fn given(plan: &Plan<AliasConfig>) -> Vec<(String, String)> {
        let rows = plan.outputs::<LinkAliasSpec>();
        rows.iter().map(|row| (row.metadata.id.clone(), row.spec.alias.clone())).collect()
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
    }

    #[test]
    fn one_device_has_one_name() {
        let plan = plan(&[("lan", "mac(link.permanent_addr) == '52:54:00:00:00:03'")]);
        assert_eq!(given(&plan), pairs(&[("eth0", "lan")]));
        assert_eq!(plan.outcome(), Outcome::Done);
    }

    #[test]
    fn numbers_follow_the_hardware_addresses_and_skip_those_that_have_a_name() {
        let plan = plan(&[("wan", "link.driver == 'virtio_net'"), ("net%d", "link.type == 1")]);
        assert_eq!(given(&plan), pairs(&[("eth0", "net1"), ("eth1", "net0"), ("eth2", "wan")]));
    }

    #[test]
    fn what_is_not_clear_is_told_and_changes_nothing() {
        let plan = plan(&[("lan", "link.driver == 'e1000'"), ("br0", "link.driver == 'virtio_net'")]);
        assert_eq!(given(&plan), []);
        let reason = "alias lan: one device must be chosen, 2 are; alias br0: a link has this name";
        assert_eq!(plan.outcome(), Outcome::Waiting(reason.to_owned()));
    }
}
