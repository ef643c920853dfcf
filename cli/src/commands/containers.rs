//! `containers`: what runs in the containerds of machines.

use clap::Args;
use corten_api::common::ContainerDriver;
use corten_api::machine::{ContainerInfo, ContainersRequest};

use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::table::{Column, Row};

/// containerd's namespace of the system's own containers.
pub const SYSTEM: &str = "system";
/// containerd's namespace of Kubernetes.
pub const KUBERNETES: &str = "k8s.io";

/// List containers of the system, or of Kubernetes.
#[derive(Args, Debug)]
pub struct Containers {
    #[command(flatten)]
    namespace: Namespace,
}

/// Which containers are meant.
#[derive(Args, Clone, Copy, Debug)]
pub struct Namespace {
    /// Pods and containers of Kubernetes instead of those of the system.
    #[arg(short, long)]
    pub kubernetes: bool,
}

impl Namespace {
    /// As requests carry it.
    pub fn wire(self) -> (String, i32) {
        match self.kubernetes {
            true => (KUBERNETES.to_owned(), ContainerDriver::Cri.into()),
            false => (SYSTEM.to_owned(), ContainerDriver::Containerd.into()),
        }
    }
}

/// The id as people read it: containers stand under their pod.
pub fn shown_id(id: &str, pod_id: &str) -> String {
    if !pod_id.is_empty() && id != pod_id { format!("└─ {id}") } else { id.to_owned() }
}

/// Pods in order, each followed by its containers.
pub fn by_pod<T>(mut all: Vec<T>, key: impl Fn(&T) -> (String, bool, String)) -> Vec<T> {
    all.sort_by_cached_key(key);
    all
}

impl Row for ContainerInfo {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAMESPACE", "namespace", |c| (&c.namespace).into()),
        Column::new("ID", "id", |c| crate::table::Cell::new(shown_id(&c.id, &c.pod_id), c.id.clone())),
        Column::new("IMAGE", "image", |c| (&c.image).into()),
        Column::new("PID", "pid", |c| c.pid.into()),
        Column::new("STATUS", "status", |c| (&c.status).into()),
    ];
}

impl Command for Containers {
    type Report = PerNode<Vec<ContainerInfo>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let (namespace, driver) = self.namespace.wire();
        let request = ContainersRequest { namespace, driver };
        let ask = |node: crate::connect::Node| {
            let request = request.clone();
            async move {
                let all = only(node.client.machine().containers(request).await?)?.containers;
                Ok(by_pod(all, |c| (c.pod_id.clone(), c.id != c.pod_id, c.id.clone())))
            }
        };
        Ok(cx.targets()?.each("list the containers on", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Report as _;

    #[test]
    fn containers_stand_under_their_pod() {
        let container = |pod: &str, id: &str, image: &str| ContainerInfo {
            namespace: KUBERNETES.into(),
            id: id.into(),
            pod_id: pod.into(),
            image: image.into(),
            pid: 4711,
            status: "CONTAINER_RUNNING".into(),
            ..ContainerInfo::default()
        };
        let pod = "kube-system/coredns-1";
        let all = vec![
            container(pod, "kube-system/coredns-1:coredns:abc", "coredns:v1"),
            container(pod, pod, "pause:3.10"),
        ];
        let sorted = by_pod(all, |c| (c.pod_id.clone(), c.id != c.pod_id, c.id.clone()));
        crate::snapshot::check("containers", &PerNode(vec![("10.5.0.2".into(), Ok(sorted))]).text());
    }
}
