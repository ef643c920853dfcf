//! The network of a machine, and its clock.
//!
//! ```text
//! built in, command line, launcher, DHCP, configuration      (layer_default, layer_cmdline, adopt, dhcp, from_config)
//!        │  *Spec@network-config, id `<layer>/<id>`
//!        ▼
//!      merge ──▶ *Spec@network ──▶ link_apply, wireguard_apply, address_apply, route_apply, rule_apply,
//!                                  ethernet_apply, alias_apply, hostname_apply, resolvers
//!                                        │
//!        kernel (netlink) ◀──────────────┘
//!        │
//!        ▼
//!   kernel_status ──▶ LinkStatus, AddressStatus, RouteStatus, RoutingRuleStatus
//!        │                                 ╰──▶ ethernet_status ──▶ EthernetStatus
//!        ╰──▶ node_addresses ──▶ network_status
//!                                                            ──▶ etc_files ──▶ etc_apply (/etc/hosts, /etc/resolv.conf)
//!                                                            ──▶ host_dns (dataplane's document)
//!   time_sync: TimeServerStatus ──▶ clock ──▶ TimeStatus
//!   config_firewall ──▶ NfTablesChain ──▶ nftables_apply ──▶ kernel (nftables)
//!   config_operators ──▶ OperatorSpec ──▶ merge ──▶ vip ──▶ etcd's election ──▶ AddressSpec
//!   config_probes ──▶ ProbeSpec ──▶ merge ──▶ probe_run ──▶ ProbeStatus ──▶ network_status
//! ```
//! Invariants: statuses are what the kernel said, never what was wished; nothing that nobody specified is removed
//! from the kernel (a wanted route does take the place of one with the same destination and metric, a wanted rule that of
//! one with the same priority, a wanted link in software that of one with its name); only `kernel*`
//! files name the netlink crates; only `from_config`, `config_*` and `time_sync` know the configuration.

mod address_apply;
mod adopt;
mod alias_apply;
pub mod cmdline;
mod cmdline_bond;
mod config_aliases;
mod config_bond;
mod config_firewall;
mod config_links;
mod config_operators;
mod config_probes;
mod dhcp;
mod dhcp4;
mod dhcp6;
mod etc_apply;
mod etc_files;
mod ethernet_apply;
mod ethernet_status;
#[cfg(test)]
mod fake;
mod follow;
mod from_config;
mod host_dns;
pub mod hostname;
mod hostname_apply;
mod kernel;
mod kernel_addresses;
mod kernel_bonds;
mod kernel_ethernet;
mod kernel_links;
mod kernel_routes;
mod kernel_rules;
mod kernel_status;
mod kernel_wireguard;
mod layer_cmdline;
mod layer_default;
mod lease;
mod link_apply;
mod merge;
#[cfg(test)]
mod neighbour;
mod network_status;
mod nftables_apply;
mod nftables_ranges;
mod nftables_rules;
mod node_addresses;
mod platform_config;
mod probe_run;
mod resolvers;
mod route_apply;
mod rule_apply;
pub mod sntp;
pub mod time_query;
mod time_sync;
mod vip;
mod vip_candidate;
mod wireguard_apply;

use std::path::PathBuf;

use corten_base::{Capabilities, Clock, Rng, paths};
use corten_resource::Runtime;

pub use kernel::{Kernel, Snapshot};

/// What the controllers of this domain need from the program that runs them.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// The kernel's network.
    pub kernel: Kernel,
    /// What this machine lets us do.
    pub capabilities: Capabilities,
    /// Wall clock.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
    /// Folders.
    pub folders: Folders,
}

/// Folders that the controllers write.
#[derive(Clone, Debug)]
pub struct Folders {
    /// `/etc`.
    pub etc: PathBuf,
    /// Rendered files that are bound over those in `/etc`.
    pub rendered: PathBuf,
    /// Documents of dataplane.
    pub dataplane: PathBuf,
    /// Files that outlive this program within one boot.
    pub run: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            etc: "/etc".into(),
            rendered: paths::ETC.into(),
            dataplane: paths::DATAPLANE.into(),
            run: PathBuf::from(paths::RUN).join("machined"),
        }
    }
}

/// Registers all controllers of the domain.
pub fn register(runtime: &mut Runtime, dependencies: Dependencies) {
    let Dependencies { kernel, capabilities, clock, rng, folders } = dependencies;
    register_layers(runtime, &kernel, capabilities, &rng, &folders);
    runtime
        .register_transform(merge::AddressMerge)
        .register_transform(merge::RouteMerge)
        .register_transform(merge::RoutingRuleMerge)
        .register_transform(merge::OperatorMerge)
        .register_transform(merge::LinkMerge)
        .register_transform(merge::HostnameMerge)
        .register_transform(merge::ResolverMerge)
        .register_transform(merge::TimeServerMerge)
        .register(link_apply::LinkApply::new(kernel.clone()))
        .register(address_apply::AddressApply::new(kernel.clone()))
        .register(route_apply::RouteApply::new(kernel.clone()))
        .register(rule_apply::RuleApply::new(kernel.clone()))
        .register(wireguard_apply::WireguardApply::new(kernel.clone()))
        .register(alias_apply::AliasApply::new(kernel.clone()))
        .register(ethernet_apply::EthernetApply::new(kernel.clone()))
        .register(ethernet_status::EthernetPublish::new(kernel.clone()))
        .register(kernel_status::KernelStatus::new(kernel))
        .register(hostname_apply::HostnameApply::new(hostname_apply::KernelUts))
        .register_transform(config_firewall::Firewall)
        .register(nftables_apply::NftablesApply::new(nftables_apply::KernelTables))
        .register_transform(config_probes::ProbeConfig)
        .register_transform(merge::ProbeMerge)
        .register(probe_run::ProbeRun::new(probe_run::Network))
        .register_transform(resolvers::ResolverPublish)
        .register_transform(resolvers::TimeServerPublish)
        .register_transform(platform_config::PlatformPublish)
        .register_transform(node_addresses::NodeAddresses)
        .register_transform(network_status::NetworkReady)
        .register_transform(etc_files::EtcFiles)
        .register(etc_apply::EtcApply::new(folders.etc, folders.rendered))
        .register(host_dns::HostDns::new(folders.dataplane))
        .register(time_sync::TimeSync::new(corten_sys::Kernel, capabilities.clock, clock, rng));
}

fn register_layers(
    runtime: &mut Runtime,
    kernel: &Kernel,
    capabilities: Capabilities,
    rng: &Rng,
    folders: &Folders,
) {
    let own_links = capabilities.links;
    runtime
        .register_transform(layer_default::DefaultLayer { own_links })
        .register_transform(from_config::ConfigLayer)
        .register_transform(config_aliases::AliasConfig);
    if own_links {
        runtime
            .register_transform(layer_cmdline::CmdlineLayer)
            .register_transform(config_operators::OperatorConfig)
            .register(dhcp::Dhcp::new(rng.clone()))
            .register(vip::Vip::new(vip_candidate::Etcd, kernel.clone(), rng.clone()));
    } else {
        let memory = folders.run.join("adopted-network.json");
        let resolv_conf = folders.etc.join(etc_files::RESOLV_CONF);
        runtime.register(adopt::AdoptLayer::new(
            kernel.clone(),
            &hostname_apply::KernelUts,
            memory,
            &resolv_conf,
        ));
    }
}
