//! Makes the Node as this machine wants it.
//!
//!     NodeLabelSpecs, NodeAnnotationSpecs, NodeTaintSpecs, NodeCordonedSpecs ──patch──▶ the Node
//!
//! A node that does not exist yet is the kubelet's to make; it is looked for again.

use std::time::Duration;

use anyhow::Context as _;
use corten_kubernetes::{ApiResource, PatchKind};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::kubernetes::{
    KubeletKubeconfig, NodeAnnotationSpec, NodeCordonedSpec, NodeLabelSpec, NodeStatus, NodeTaintSpec,
    Nodename,
};
use corten_resources::secrets::{KubeletSecrets, KubernetesSecrets};
use serde_json::Value;

use super::ownership::{Taint, Wish, patch};
use crate::api::{Access, Identity};
use crate::files::Disk;

/// How often a node that does not exist yet is looked for.
const MISSING: Duration = Duration::from_secs(1);

/// See the module.
pub struct NodeApply {
    access: Access,
}

impl NodeApply {
    /// A controller.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { access: Access::new(disk) }
    }
}

controller!(NodeApply, "k8s.NodeApply",
    inputs: [
        strong NodeLabelSpec, strong NodeAnnotationSpec, strong NodeTaintSpec, strong NodeCordonedSpec, strong Nodename,
        weak KubernetesSecrets, weak KubeletSecrets, weak NodeStatus, weak KubeletKubeconfig,
    ],
    outputs: []);

/// Patch the node.
#[derive(Debug)]
pub struct Change {
    nodename: String,
    patch: Value,
}

/// The node as the server has it.
#[derive(Debug)]
pub enum Seen {
    /// There is no way to the server yet.
    NoAccess,
    /// There is no such node yet, or the server does not answer.
    Missing,
    /// The node.
    Node(Value),
}

impl Driver for NodeApply {
    type Observed = Seen;
    type Op = Change;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        let Some(nodename) = view.get::<Nodename>(Nodename::ID).filter(|name| !name.skip_node_registration)
        else {
            return Ok(Seen::NoAccess);
        };
        let secrets = view.get::<KubernetesSecrets>(KubernetesSecrets::ID).map(|secrets| &secrets.spec);
        let kubelet = view.get::<KubeletSecrets>(KubeletSecrets::ID).map(|secrets| &secrets.spec);
        let Some(client) = self.access.client(Identity::of_machine(secrets, kubelet)).await? else {
            return Ok(Seen::NoAccess);
        };
        match client.api(&ApiResource::nodes(), None).find(&nodename.nodename).await {
            Ok(Some(node)) => Ok(Seen::Node(node)),
            Ok(None) | Err(_) => Ok(Seen::Missing),
        }
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Change> {
        let mut plan = Plan::new();
        let Some(nodename) = view.get::<Nodename>(Nodename::ID) else {
            return plan.waiting("the node's name");
        };
        match seen {
            Seen::NoAccess => plan.waiting("a way to the Kubernetes API"),
            Seen::Missing => plan.waiting("the node to be registered").again_in(MISSING),
            Seen::Node(node) => {
                if let Some(patch) = patch(node, &wish(view)) {
                    plan.op(Change { nodename: nodename.nodename.clone(), patch });
                }
                plan
            }
        }
    }

    async fn apply(&mut self, op: Change) -> anyhow::Result<()> {
        let client = self.access.last().context("there is no client")?;
        let nodes = client.api(&ApiResource::nodes(), None);
        match nodes.patch(&op.nodename, PatchKind::Merge, &op.patch).await {
            // Somebody else changed the node; the next round reads it again.
            Err(error) if error.is_conflict() => Ok(()),
            result => result.map(drop).context("cannot patch the node"),
        }
    }
}

fn wish(view: &View<NodeApply>) -> Wish {
    let taint = |taint: &NodeTaintSpec| Taint {
        key: taint.key.clone(),
        value: taint.value.clone(),
        effect: taint.effect.clone(),
    };
    Wish {
        labels: view
            .list::<NodeLabelSpec>()
            .iter()
            .map(|label| (label.key.clone(), label.value.clone()))
            .collect(),
        annotations: view
            .list::<NodeAnnotationSpec>()
            .iter()
            .map(|note| (note.key.clone(), note.value.clone()))
            .collect(),
        taints: view.list::<NodeTaintSpec>().iter().map(|spec| taint(spec)).collect(),
        cordoned: !view.list::<NodeCordonedSpec>().is_empty(),
    }
}
