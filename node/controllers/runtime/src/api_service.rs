//! How apid listens: with the configuration's CA, or open for a first configuration.
//!
//!     MachineConfig present? ──▶ APIServiceConfig, MaintenanceServiceConfig

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::network::NodeAddress;
use corten_resources::runtime::{ApiServiceConfig, MaintenanceServiceConfig};

const LISTEN: &str = ":50000";

/// Chooses between apid's two modes.
pub struct ApiServiceMode;

controller!(ApiServiceMode, "runtime.APIServiceConfig",
    inputs: [weak MachineConfig, weak NodeAddress],
    outputs: [exclusive ApiServiceConfig, exclusive MaintenanceServiceConfig]);

impl Transform for ApiServiceMode {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let maintenance = view.get::<MachineConfig>(MachineConfig::ACTIVE).is_none();
        let config = ApiServiceConfig {
            listen_address: LISTEN.to_owned(),
            node_routing_disabled: maintenance,
            readonly_role_mode: maintenance,
            skip_verifying_client_cert: maintenance,
        };
        let mut plan = Plan::new();
        plan.put("apid", config);
        if !maintenance {
            return plan;
        }
        let reachable_addresses = view
            .get::<NodeAddress>("current")
            .map(|addresses| addresses.spec.addresses.iter().map(|prefix| prefix.addr()).collect())
            .unwrap_or_default();
        let service = MaintenanceServiceConfig { listen_address: LISTEN.to_owned(), reachable_addresses };
        plan.put("maintenance", service);
        plan
    }
}
