//! The checks, in the order in which a cluster comes up.

use super::fleet::{Fleet, Which};
use super::{machines, objects};

/// What must be true of a healthy cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    EtcdHealthy,
    EtcdConsistent,
    EtcdMembers,
    Apid,
    MemorySizes,
    DiskSizes,
    Diagnostics,
    Kubelet,
    Booted,
    NodesReported,
    StaticPods,
    ControlPlane,
    NodesReady,
    KubeProxy,
    CoreDns,
    Schedulable,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is true.
    Holds,
    /// The cluster does without what it is about.
    DoesNotApply,
}

impl Check {
    /// All, in order.
    pub(super) const ORDER: [Self; 16] = [
        Self::EtcdHealthy,
        Self::EtcdConsistent,
        Self::EtcdMembers,
        Self::Apid,
        Self::MemorySizes,
        Self::DiskSizes,
        Self::Diagnostics,
        Self::Kubelet,
        Self::Booted,
        Self::NodesReported,
        Self::StaticPods,
        Self::ControlPlane,
        Self::NodesReady,
        Self::KubeProxy,
        Self::CoreDns,
        Self::Schedulable,
    ];

    /// What is waited for.
    pub(super) const fn subject(self) -> &'static str {
        match self {
            Self::EtcdHealthy => "etcd to be healthy",
            Self::EtcdConsistent => "etcd members to be consistent across nodes",
            Self::EtcdMembers => "etcd members to be control plane nodes",
            Self::Apid => "apid to be ready",
            Self::MemorySizes => "all nodes memory sizes",
            Self::DiskSizes => "all nodes disk sizes",
            Self::Diagnostics => "no diagnostics",
            Self::Kubelet => "kubelet to be healthy",
            Self::Booted => "all nodes to finish boot sequence",
            Self::NodesReported => "all k8s nodes to report",
            Self::StaticPods => "all control plane static pods to be running",
            Self::ControlPlane => "all control plane components to be ready",
            Self::NodesReady => "all k8s nodes to report ready",
            Self::KubeProxy => "kube-proxy to report ready",
            Self::CoreDns => "coredns to report ready",
            Self::Schedulable => "all k8s nodes to report schedulable",
        }
    }

    /// Looks once; the error says what is missing.
    pub(super) async fn run(self, fleet: &Fleet) -> anyhow::Result<Verdict> {
        use Which::{All, ControlPlanes};
        match self {
            Self::EtcdHealthy => fleet.each(ControlPlanes, |m| machines::service_healthy(m, "etcd")).await?,
            Self::EtcdConsistent => machines::etcd_agrees(fleet).await?,
            Self::EtcdMembers => machines::etcd_is_control_plane(fleet).await?,
            Self::Apid => fleet.each(All, machines::answers).await?,
            Self::MemorySizes => fleet.each(All, machines::memory_suffices).await?,
            Self::DiskSizes => fleet.each(All, machines::disks_suffice).await?,
            Self::Diagnostics => fleet.each(All, machines::no_diagnostics).await?,
            Self::Kubelet => fleet.each(All, |m| machines::service_healthy(m, "kubelet")).await?,
            Self::Booted => fleet.each(All, machines::booted).await?,
            Self::NodesReported => objects::reported(fleet).await?,
            Self::StaticPods => fleet.each(ControlPlanes, machines::static_pods_ready).await?,
            Self::ControlPlane => objects::components_ready(fleet).await?,
            Self::NodesReady => objects::nodes_ready(fleet).await?,
            Self::KubeProxy => return objects::proxy_ready(fleet).await,
            Self::CoreDns => return objects::dns_ready(fleet).await,
            Self::Schedulable => objects::schedulable(fleet).await?,
        };
        Ok(Verdict::Holds)
    }
}
