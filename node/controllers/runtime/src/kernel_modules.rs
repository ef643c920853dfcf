//! Kernel modules.
//!
//!     what every node needs, MachineConfig (kernel.modules) ──▶ KernelModuleSpec

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::KernelModuleSpec;

/// Reads the modules that the configuration names.
pub struct KernelModulesFromConfig;

controller!(KernelModulesFromConfig, "runtime.KernelModuleConfig",
    inputs: [weak MachineConfig],
    outputs: [exclusive KernelModuleSpec]);

impl Transform for KernelModulesFromConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        for name in ALWAYS {
            plan.put(name, KernelModuleSpec { name: name.to_owned(), parameters: Vec::new() });
        }
        let Some(config) = view.get::<MachineConfig>(MachineConfig::ACTIVE) else { return plan };
        match corten_config::load_cached(&config.spec.yaml) {
            Err(error) => return plan.failed(corten_base::chain(&error)),
            Ok(config) => {
                for module in &config.view().machine.kernel_modules {
                    let spec =
                        KernelModuleSpec { name: module.name.clone(), parameters: module.parameters.clone() };
                    plan.put(&module.name, spec);
                }
            }
        }
        plan
    }
}

/// What Kubernetes and its network need and nothing else loads in time.
const ALWAYS: [&str; 12] = [
    "br_netfilter",
    "overlay",
    "bridge",
    "veth",
    "vxlan",
    "nf_conntrack",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_fib_ipv4",
];
