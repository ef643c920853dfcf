//! Kubernetes, etcd and membership on this machine: from the machine configuration to running components and back to their state.
//!
//! ```text
//! configuration ──▶ intent ──▶ files, static pods, kubelet, etcd ──▶ running
//!                                                                      │
//!       API server ◀── manifests, labels, taints                       ▼
//!           └──────────▶ NodeStatus, StaticPodStatus, Members, Endpoints
//! ```
//!
//! Plans are pure; what touches disks, sockets and API servers stands behind a driver's `observe` and `apply`.

mod api;
mod arguments;
mod configuration;
mod files;
#[cfg(test)]
mod golden;
mod images;
mod machine;
mod subnets;

pub mod cluster;
pub mod cni;
pub mod control_plane;
pub mod etcd;
pub mod kubelet;
pub mod kubeprism;
pub mod manifests;
pub mod node;
pub mod seccomp;

use std::collections::BTreeMap;
use std::path::PathBuf;

use corten_base::{Capabilities, Rng};
use corten_resource::Runtime;
use corten_resources::kubernetes::ArgValues;

pub use files::Disk;
pub use machine::Machine;

/// Folder that machined and the data plane share.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

/// What the controllers of this domain need from the machine.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// What this machine is.
    pub machine: Machine,
    /// The file system.
    pub disk: Disk,
    /// The data plane's folder.
    pub dataplane: Folder,
    /// Randomness for keys and names.
    pub rng: Rng,
}

impl Dependencies {
    /// The real ones.
    #[must_use]
    pub fn machine(capabilities: Capabilities) -> Self {
        Self {
            machine: Machine::detect(capabilities),
            disk: Disk::machine(),
            dataplane: Folder(PathBuf::from(corten_base::paths::DATAPLANE)),
            rng: Rng::kernel(),
        }
    }
}

/// Values of extra arguments, as the arguments' merge takes them.
fn arguments_of(given: &BTreeMap<String, ArgValues>) -> BTreeMap<String, Vec<String>> {
    given.iter().map(|(name, values)| (name.clone(), values.values.clone())).collect()
}

/// Registers every controller of this domain.
pub fn register(runtime: &mut Runtime, dependencies: &Dependencies) {
    let Dependencies { machine, disk, dataplane, rng } = dependencies.clone();
    runtime
        .register_transform(control_plane::intent::ControlPlaneConfig)
        .register_transform(control_plane::user_pods::UserPods)
        .register(control_plane::render::SecretFiles::new(disk.clone()))
        .register(control_plane::render::ConfigFiles::new(disk.clone()))
        .register_transform(control_plane::static_pods::ControlPlanePods)
        .register(control_plane::publish::PublishStaticPods::new(dataplane.clone()))
        .register(control_plane::probe::ApiServerProbe::new(disk.clone()))
        .register_transform(etcd::spec::EtcdIntent)
        .register_transform(etcd::spec::EtcdSpecification)
        .register(etcd::pki::EtcdPki::new(disk.clone()))
        .register(etcd::service::EtcdService::new(disk.clone()))
        .register(etcd::member::Membership)
        .register_transform(kubelet::intent::KubeletIntent)
        .register_transform(kubelet::spec_controller::KubeletSpecification::new(machine))
        .register(kubelet::lifecycle::KubeletService::new(disk.clone(), rng.clone()))
        .register(kubelet::kubeconfig::KubeletIdentity::new(disk.clone()))
        .register(seccomp::SeccompProfiles::new(disk.clone()));
    runtime
        .register_transform(node::identity::NodeNaming)
        .register_transform(node::identity::NodeAddresses)
        .register_transform(node::intent::NodeIntent)
        .register(node::apply::NodeApply::new(disk.clone()))
        .register(node::status::Nodes::new(disk.clone()))
        .register(node::pods::StaticPodStatuses::new(disk.clone()))
        .register_transform(manifests::intent::ManifestIntent)
        .register(manifests::fetching::ManifestFetching::default())
        .register_transform(manifests::rendering::ManifestRendering)
        .register(manifests::applier::ManifestApplier::new(disk.clone()))
        .register(cni::FlannelNetwork::new(disk.clone()))
        .register_transform(kubeprism::PrismEndpoints)
        .register_transform(kubeprism::PrismConfig)
        .register(kubeprism::PublishKubePrism::new(dataplane))
        .register(cluster::identity::NodeIdentity::new(disk, rng))
        .register_transform(cluster::info::ClusterInfo)
        .register_transform(cluster::affiliates::LocalAffiliate)
        .register_transform(cluster::members::AffiliateMerge)
        .register_transform(cluster::members::Membership)
        .register_transform(cluster::members::DiscoveredEndpoints);
}
