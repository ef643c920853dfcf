//! The configuration as controllers read it: typed, with defaults filled in and documents merged.
//!
//! Nothing here fails: a view exists only of documents that follow the schema, and what they leave out has
//! a default or is `None`. Dedicated documents come before the matching fields of `v1alpha1`.

mod cluster;
mod kubernetes;
mod machine;
mod management;
mod network;
mod registries;

pub use cluster::{AdminKubeconfig, Cluster, ClusterNetwork, Cni, Discovery, Etcd, InlineManifest};
pub use kubernetes::{
    AdmissionPlugin, ApiServer, Authorizer, ControllerManager, CoreDns, HostVolume, Proxy, Scheduler,
};
pub use machine::{
    ExtraMount, Features, File, FileOp, Install, KernelModule, Kubelet, Machine, MachineType, Pair, Time,
};
pub use management::Management;
pub use network::{
    DeviceSelector, Dhcp, ExtraHost, HostDns, HostnameMode, Interface, LinkAddress, Network, Route, Vlan,
};
pub use registries::{Mirror, MirrorEndpoint, Registries, RegistryTls};

use crate::document::Document;
use crate::reader::Reader;
use crate::schema::ROOT_KIND;

/// Everything that controllers need to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineView {
    /// Whether there is a `v1alpha1` document; without it the machine stays in maintenance.
    pub complete: bool,
    /// The machine.
    pub machine: Machine,
    /// The cluster.
    pub cluster: Cluster,
    /// The machine's manager.
    pub management: Management,
}

impl MachineView {
    pub(crate) fn new(documents: &[Document]) -> Self {
        let documents = Documents(documents);
        let root = documents.root();
        let machine = Machine::read(root.get("machine"), &documents);
        let cluster = Cluster::read(root.get("cluster"), &machine, &documents);
        let management = Management::read(&documents);
        Self { complete: root.exists(), machine, cluster, management }
    }

    /// Whether this machine is a control plane.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        self.complete && self.machine.kind == MachineType::ControlPlane
    }
}

/// All documents, to be read by kind.
pub(crate) struct Documents<'a>(&'a [Document]);

impl<'a> Documents<'a> {
    pub(crate) fn root(&self) -> Reader<'a> {
        self.one(ROOT_KIND)
    }

    pub(crate) fn one(&self, kind: &str) -> Reader<'a> {
        self.all(kind).next().map(|(_, reader)| reader).unwrap_or_default()
    }

    /// Name and content of every document of a kind.
    pub(crate) fn all(&self, kind: &str) -> impl Iterator<Item = (&'a str, Reader<'a>)> + use<'a, '_> {
        let kind = kind.to_owned();
        self.0
            .iter()
            .filter(move |document| document.id.kind == kind)
            .map(|document| (document.id.name.as_str(), Reader::new(&document.node)))
    }
}

#[cfg(test)]
mod reach;
#[cfg(test)]
mod tests;
