//! Kernel modules.
//!
//!     what every node needs, MachineConfig (kernel.modules) ──▶ KernelModuleSpec
//!     SiderolinkConfig ──▶ what the link to a manager needs ──▶ KernelModuleSpec

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::KernelModuleSpec;
use corten_resources::siderolink::SiderolinkConfig;

/// Reads the modules that the configuration names.
pub struct KernelModulesFromConfig;

controller!(KernelModulesFromConfig, "runtime.KernelModuleConfig",
    inputs: [weak MachineConfig, weak SiderolinkConfig],
    outputs: [exclusive KernelModuleSpec]);

impl Transform for KernelModulesFromConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let is_managed = view.get::<SiderolinkConfig>(SiderolinkConfig::ID).is_some();
        let of_link = LINK.iter().filter(|_| is_managed);
        for name in ALWAYS.iter().chain(&LAST_WORDS).chain(of_link) {
            plan.put(*name, KernelModuleSpec { name: (*name).to_owned(), parameters: Vec::new() });
        }
        let Some(config) = view.get::<MachineConfig>(MachineConfig::ACTIVE) else { return plan };
        match corten_config::load_cached(&config.spec.yaml) {
            Err(error) => return plan.failed(corten_base::chain(&error)),
            Ok(config) => {
                if config.view().machine.network.firewall.blocks {
                    let spec = KernelModuleSpec { name: LIMIT.to_owned(), parameters: Vec::new() };
                    plan.put(LIMIT, spec);
                }
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

/// What a firewall that blocks lets in a few messages of ICMP with.
const LIMIT: &str = "nft_limit";

/// What keeps the kernel's last words in variables of the firmware. A kernel may lack it.
pub const LAST_WORDS: [&str; 1] = ["efi_pstore"];

/// What the link to a manager is made of: the kernel's WireGuard, or a tunnel in user space where it has none or the
/// manager wants gRPC. A kernel may lack either.
pub const LINK: [&str; 2] = ["wireguard", "tun"];

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn only_a_machine_with_a_manager_loads_what_the_link_needs() {
        let loads = |plan: Plan<KernelModulesFromConfig>| {
            LINK.map(|name| plan.output::<KernelModuleSpec>(name).is_some())
        };
        let view = View::of([], UNIX_EPOCH);
        assert_eq!(loads(KernelModulesFromConfig.plan(&view)), [false, false]);
        let view = View::of([resource(SiderolinkConfig::ID, SiderolinkConfig::default())], UNIX_EPOCH);
        assert_eq!(loads(KernelModulesFromConfig.plan(&view)), [true, true]);
    }

    #[test]
    fn only_a_firewall_that_blocks_needs_limits() {
        for (ingress, needs) in [("accept", false), ("block", true)] {
            let yaml =
                format!("apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: {ingress}\n");
            let config = MachineConfig { yaml: yaml.into_bytes() };
            let view = View::of([resource(MachineConfig::ACTIVE, config)], UNIX_EPOCH);
            let plan = KernelModulesFromConfig.plan(&view);
            assert_eq!(plan.output::<KernelModuleSpec>(LIMIT).is_some(), needs, "{ingress}");
        }
    }
}
