//! The configuration as controllers read it: typed, with defaults filled in and documents merged.
//!
//! Nothing here fails: a view exists only of documents that follow the schema, and what they leave out has
//! a default or is `None`. Dedicated documents come before the matching fields of `v1alpha1`.

mod cluster;
mod connectivity;
mod cri;
mod firewall;
mod hardware;
mod kubernetes;
mod links;
mod machine;
mod management;
mod network;
mod pools;
mod registries;
mod runtime;
mod volumes;

pub use cluster::{
    AdminKubeconfig, Cluster, ClusterNetwork, Cni, Discovery, Etcd, ExternalManifest, Flannel,
    InlineManifest, ServiceAccounts,
};
pub use connectivity::{Dhcp6, Probe, ProbeTarget};
pub use cri::{CUSTOMIZATION_FILE, Cri, Customization, SeccompProfile};
pub use firewall::{Firewall, FirewallRule, Ingress, RuleProtocol};
pub use hardware::{Hardware, Watchdog};
pub use kubernetes::{
    AdmissionPlugin, ApiServer, Authorizer, ControllerManager, CoreDns, HostVolume, Proxy, Scheduler,
};
pub use links::{
    BlackholeRoute, Bond, Bridge, Ethernet, EthernetChannels, EthernetRings, LinkAlias, LinkKind,
    RoutingRule, VlanLink, Vrf, WireguardLink, WireguardPeer,
};
pub use machine::{
    ExtraMount, Features, File, FileOp, Install, KernelModule, Kubelet, Machine, MachineType, Pair, Time,
};
pub use management::Management;
pub use network::{
    DeviceSelector, Dhcp, ExtraHost, HostDns, HostnameMode, Interface, LinkAddress, Network, Route, Vlan,
};
pub use pools::{LogicalVolume, Pools, RaidArray, VolumeGroup};
pub use registries::{Mirror, MirrorEndpoint, Registries, RegistryAuth, RegistryTls};
pub use runtime::{EtcFile, Oom, Runtime};
pub use volumes::{Storage, UserDisk, UserDiskPartition, Volume, VolumeDocument, VolumeType, Zswap};

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
    /// The running system.
    pub runtime: Runtime,
    /// Disks and what is on them.
    pub storage: Storage,
    /// What is made of several disks.
    pub pools: Pools,
    /// Hardware that is set up.
    pub hardware: Hardware,
}

impl MachineView {
    pub(crate) fn new(documents: &[Document]) -> Self {
        let documents = Documents(documents);
        let root = documents.root();
        let machine = Machine::read(root.get("machine"), &documents);
        let cluster = Cluster::read(root.get("cluster"), &machine, &documents);
        let management = Management::read(&documents);
        let runtime = Runtime::read(root.get("machine"), &documents);
        let storage = Storage::read(root.get("machine"), &documents);
        let (pools, hardware) = (Pools::read(&documents), Hardware::read(&documents));
        Self { complete: root.exists(), machine, cluster, management, runtime, storage, pools, hardware }
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

    /// The document of a kind, or what `v1alpha1` has in its place. Both together are refused.
    pub(crate) fn section(&self, kind: &str, legacy: Reader<'a>) -> Reader<'a> {
        self.one(kind).or(legacy)
    }

    /// Every document of a kind, then the elements of the list that `v1alpha1` has for them.
    pub(crate) fn elements(&self, kind: &str, legacy: Reader<'a>) -> impl Iterator<Item = Reader<'a>> {
        self.all(kind).map(|(_, reader)| reader).chain(legacy.items())
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
