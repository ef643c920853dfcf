//! How apid listens: with the configuration's CA, or open for a first configuration.
//!
//!     MachineConfig complete? ──▶ APIServiceConfig, MaintenanceServiceConfig
//!     SiderolinkConfig, NodeAddress current ──▶ the only address in maintenance
//!
//! In maintenance everybody who reaches the machine may configure it. One that has a manager is reached by that alone:
//! apid listens on the machine's address in the manager's network, and by loopback until there is one (fleet.md 1.2).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::network::NodeAddress;
use corten_resources::runtime::{ApiServiceConfig, MaintenanceServiceConfig};
use corten_resources::siderolink::{SiderolinkConfig, is_in_network};

/// Id of the only configuration.
pub const ID: &str = "apid";
/// Port of the machine API.
const PORT: u16 = 50000;
/// On all addresses.
const EVERYWHERE: &str = ":50000";

/// Chooses between apid's two modes.
pub struct ApiServiceMode;

controller!(ApiServiceMode, "runtime.APIServiceConfig",
    inputs: [weak MachineConfig, weak NodeAddress, weak SiderolinkConfig],
    outputs: [exclusive ApiServiceConfig, exclusive MaintenanceServiceConfig]);

/// Where apid listens in maintenance, and where it is reached by others.
fn maintenance(view: &View<ApiServiceMode>) -> MaintenanceServiceConfig {
    let current = view.get::<NodeAddress>(NodeAddress::CURRENT);
    let current: Vec<IpAddr> = current.map(|addresses| addresses.spec.ips()).unwrap_or_default();
    if view.get::<SiderolinkConfig>(SiderolinkConfig::ID).is_none() {
        return MaintenanceServiceConfig {
            listen_address: EVERYWHERE.to_owned(),
            reachable_addresses: current,
        };
    }
    let own: Vec<IpAddr> = current.into_iter().filter(|address| is_in_network(*address)).collect();
    let address = own.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let listen_address = SocketAddr::new(address, PORT).to_string();
    MaintenanceServiceConfig { listen_address, reachable_addresses: own }
}

impl Transform for ApiServiceMode {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        if config.is_some_and(|config| corten_config::is_complete(&config.spec.yaml)) {
            let listen_address = EVERYWHERE.to_owned();
            plan.put(ID, ApiServiceConfig { listen_address, ..ApiServiceConfig::default() });
            return plan;
        }
        let service = maintenance(view);
        let config = ApiServiceConfig {
            listen_address: service.listen_address.clone(),
            node_routing_disabled: true,
            readonly_role_mode: true,
            skip_verifying_client_cert: true,
        };
        let is_unreachable = service.reachable_addresses.is_empty();
        plan.put(ID, config).put("maintenance", service);
        if is_unreachable { plan.waiting("an address to be reached at in maintenance") } else { plan }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, Outcome};

    use super::*;

    const OWN: &str = "fdae:41e4:649b:9303::2";

    fn addresses(texts: &[&str]) -> AnyResource {
        let addresses = texts.iter().map(|text| text.parse().expect("a prefix")).collect();
        resource(NodeAddress::CURRENT, NodeAddress { addresses, ..NodeAddress::default() })
    }

    fn manager() -> AnyResource {
        resource(SiderolinkConfig::ID, SiderolinkConfig { host: "m:1".into(), ..SiderolinkConfig::default() })
    }

    fn config(yaml: &str) -> AnyResource {
        resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() })
    }

    fn plan(resources: impl IntoIterator<Item = AnyResource>) -> Plan<ApiServiceMode> {
        ApiServiceMode.plan(&View::of(resources, UNIX_EPOCH))
    }

    fn listens(plan: &Plan<ApiServiceMode>) -> (&str, bool) {
        let config = plan.output::<ApiServiceConfig>(ID).expect("always there");
        (config.listen_address.as_str(), config.skip_verifying_client_cert)
    }

    #[test]
    fn in_maintenance_a_machine_with_a_manager_listens_in_its_network_only() {
        let both = || addresses(&["10.5.0.2/24", &format!("{OWN}/64")]);
        let alone = plan([both()]);
        assert_eq!(listens(&alone), (":50000", true));
        let service = alone.output::<MaintenanceServiceConfig>("maintenance").expect("a service");
        assert_eq!(service.reachable_addresses.len(), 2);
        let managed = plan([both(), manager()]);
        assert_eq!(listens(&managed), (format!("[{OWN}]:50000").as_str(), true));
        let service = managed.output::<MaintenanceServiceConfig>("maintenance").expect("a service");
        assert_eq!(service.reachable_addresses, [OWN.parse::<IpAddr>().expect("an address")]);
    }

    #[test]
    fn until_the_manager_has_a_place_for_it_only_the_machine_itself_reaches_it() {
        let waiting = plan([addresses(&["10.5.0.2/24"]), manager()]);
        assert_eq!(listens(&waiting), ("127.0.0.1:50000", true));
        assert!(matches!(waiting.outcome(), Outcome::Waiting(_)));
    }

    #[test]
    fn only_a_complete_configuration_ends_maintenance() {
        let partial = "{apiVersion: v1alpha1, kind: EventSinkConfig, endpoint: 'h:1'}";
        assert_eq!(listens(&plan([addresses(&[]), config(partial)])), (":50000", true));
        let complete = plan([addresses(&[]), manager(), config("version: v1alpha1\n")]);
        assert_eq!(listens(&complete), (":50000", false));
        assert!(complete.output::<MaintenanceServiceConfig>("maintenance").is_none());
    }
}
