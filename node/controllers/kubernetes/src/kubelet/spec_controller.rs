//! The kubelet as it will run.
//!
//!     KubeletConfig, Nodename, NodeIp ──▶ KubeletSpec

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineType;
use corten_resources::kubernetes::{KubeletConfig, KubeletSpec, NodeIp, Nodename};

use super::spec::{self, Inputs};
use crate::machine::Machine;

/// See the module.
pub struct KubeletSpecification {
    machine: Machine,
}

impl KubeletSpecification {
    /// A controller for this machine.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        Self { machine }
    }
}

controller!(KubeletSpecification, "k8s.KubeletSpec",
    inputs: [strong KubeletConfig, strong Nodename, strong NodeIp, weak MachineType],
    outputs: [exclusive KubeletSpec]);

impl Transform for KubeletSpecification {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = view.get::<KubeletConfig>(KubeletConfig::ID) else {
            return plan.waiting("the kubelet's configuration");
        };
        let Some(nodename) = view.get::<Nodename>(Nodename::ID) else {
            return plan.waiting("the node's name");
        };
        let Some(ip) = view.get::<NodeIp>(NodeIp::ID) else { return plan.waiting("the node's address") };
        let inputs = Inputs {
            nodename: &nodename.nodename,
            node_ips: &ip.addresses,
            control_plane: view
                .get::<MachineType>(MachineType::ID)
                .is_some_and(|kind| kind.role.is_control_plane()),
            machine: self.machine,
        };
        let rendered = spec::arguments(config, &inputs)
            .map_err(spec::Invalid::from)
            .and_then(|args| Ok((args, spec::configuration(config, &inputs)?)));
        match rendered {
            Err(invalid) => plan.failed(invalid.to_string()),
            Ok((args, configuration)) => {
                plan.put(
                    KubeletSpec::ID,
                    KubeletSpec {
                        image: config.image.clone(),
                        args,
                        extra_mounts: config.extra_mounts.clone(),
                        expected_nodename: nodename.nodename.clone(),
                        config: configuration,
                        credential_provider_config: config.credential_provider_config.clone(),
                    },
                );
                plan
            }
        }
    }
}
