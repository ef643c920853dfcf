//! The machine's role.
//!
//!     MachineConfig ──▶ machine.type ──▶ MachineType

use corten_config::view::MachineType as Kind;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::{MachineConfig, MachineType, Role};

/// Reads the role from the configuration.
pub struct MachineTypeFromConfig;

controller!(MachineTypeFromConfig, "config.MachineType",
    inputs: [strong MachineConfig],
    outputs: [exclusive MachineType]);

impl Transform for MachineTypeFromConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let Some(config) = view.get::<MachineConfig>(MachineConfig::ACTIVE) else {
            return Plan::new().waiting("a machine configuration");
        };
        let config = match corten_config::load_cached(&config.spec.yaml) {
            Ok(config) if config.is_complete() => config,
            Ok(_) => return Plan::new().waiting("a complete machine configuration"),
            Err(error) => return Plan::new().failed(corten_base::chain(&error)),
        };
        let role = match config.view().machine.kind {
            Kind::ControlPlane => Role::ControlPlane,
            Kind::Worker => Role::Worker,
            Kind::Unknown => Role::Unknown,
        };
        let mut plan = Plan::new();
        plan.put(MachineType::ID, MachineType { role });
        plan
    }
}
