//! From machine sets to members of clusters, and back.
//!
//! ```text
//! MachineClass, free machines ─▶ machine_set_node ─▶ MachineSetNode (people make them too)
//!                                                       │
//! Cluster ─▶ machine_set_cluster ─▶ (what a set needs)  │        etcd, asked through the control plane
//!                                          └────────────┴▶ machine_set_status ◀──┘
//!                                                            ├─▶ ClusterMachine ─▶ cluster_machine_status
//!                                                            └─▶ MachineSetStatus, MachineSetConfigStatus
//!
//! ClusterMachine torn down ─(reset, by others)─▶ cluster_machine_teardown ─▶ Kubernetes: the node goes
//!        │                                             └▶ DiscoveryAffiliateDeleteTask ─▶ discovery service
//!        └▶ machine_set_destroy_status: what is waited for
//! NodeForceDestroyRequest ─▶ node_force_destroy_request: the machine leaves its set, whatever state it is in
//! ```
//!
//! What is decided is decided in `corten-fleet-cluster`; here is what is read for it and what becomes of it. That a
//! machine is in a cluster is said in its MachineStatus by the controllers of machines, from the labels of its
//! MachineSetNode and its ClusterMachine.
//!
//! Invariants: a control plane never loses a member before its etcd has told that it can decide without it, unless a
//! person insists; nothing that could not be read makes a machine leave; a wait that leads out of a cluster ends,
//! however dead the machine is.

mod cluster_machine_status;
mod cluster_machine_teardown;
mod discovery_affiliate_delete_task;
mod etcd;
mod kubernetes;
mod machine_set_cluster;
mod machine_set_destroy_status;
mod machine_set_node;
mod machine_set_status;
mod node_force_destroy_request;
#[cfg(test)]
mod testing;
mod view;

use std::sync::Arc;

use corten_fleet_controllers_machine::Pool;
use corten_fleet_controllers_machine::connect::Dial;
use corten_resource::Runtime;

pub use discovery_affiliate_delete_task::{Affiliates, Services};
pub use kubernetes::KubernetesNodes;
pub use machine_set_cluster::{MachineSetCluster, types};
pub use machine_set_node::Selectors;

use cluster_machine_status::ClusterMachineStatusController;
use cluster_machine_teardown::ClusterMachineTeardownController;
use discovery_affiliate_delete_task::DiscoveryAffiliateDeleteTaskController;
use etcd::Calls;
use machine_set_cluster::MachineSetClusterController;
use machine_set_destroy_status::MachineSetDestroyStatusController;
use machine_set_node::MachineSetNodeController;
use machine_set_status::MachineSetStatusController;
use node_force_destroy_request::NodeForceDestroyRequestController;

/// Who holds a ClusterMachine until the machine is reset, or let go as it is.
const RESET: &str = "ClusterMachineConfigStatusController";

/// What the controllers of this domain need.
#[derive(Debug)]
pub struct Dependencies<D, K, A> {
    /// Connections to machines.
    pub pool: Arc<Pool<D>>,
    /// Removes nodes from Kubernetes.
    pub kubernetes: K,
    /// Removes machines from discovery services.
    pub affiliates: A,
    /// Reads the selectors of machine classes.
    pub selectors: Selectors,
}

/// Registers the controllers of this domain. The state of the runtime must know the types of [`types`].
pub fn register<D: Dial, K: KubernetesNodes, A: Affiliates>(
    runtime: &mut Runtime,
    dependencies: Dependencies<D, K, A>,
) {
    let Dependencies { pool, kubernetes, affiliates, selectors } = dependencies;
    let state = runtime.state().clone();
    let members = Calls::new(pool, state.clone());
    runtime.register_item_transform(MachineSetClusterController);
    runtime.register(MachineSetNodeController::new(state.clone(), selectors));
    runtime.register_items(MachineSetStatusController::new(members, state.clone()));
    runtime.register_item_transform(ClusterMachineStatusController);
    runtime.register_items(ClusterMachineTeardownController::new(kubernetes, state.clone()));
    runtime.register_items(DiscoveryAffiliateDeleteTaskController::new(affiliates, state.clone()));
    runtime.register_items(NodeForceDestroyRequestController::new(state));
    runtime.register_item_transform(MachineSetDestroyStatusController);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use corten_fleet_controllers_machine::connect::{Connection, DialError, MemberAccess, Stream};
    use corten_fleet_resources::cluster::{ClusterMachine, ClusterMachineStatus, MachineSetNode};
    use corten_fleet_resources::machine::NodeForceDestroyRequest;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{CONTROL_PLANES, cluster, load_balancer, machine_set, node, registry, selectors};

    /// Nobody answers.
    struct Silence;

    impl Dial for Silence {
        async fn maintenance(&self, address: Ipv6Addr) -> Result<Connection, DialError> {
            Err(DialError::Silent { address })
        }
        async fn member(&self, address: Ipv6Addr, _: &MemberAccess) -> Result<Connection, DialError> {
            Err(DialError::Silent { address })
        }
        async fn stream(&self, address: Ipv6Addr, _: Option<&MemberAccess>) -> Result<Stream, DialError> {
            Err(DialError::Silent { address })
        }
    }

    impl KubernetesNodes for Silence {
        async fn delete(&self, _: &str, _: &str) -> anyhow::Result<()> {
            anyhow::bail!("no answer")
        }
    }

    impl Affiliates for Silence {
        async fn delete(&self, _: &str, _: &str, _: &str) -> anyhow::Result<()> {
            anyhow::bail!("no answer")
        }
    }

    fn started() -> TestRuntime {
        TestRuntime::new(registry(), |runtime| {
            let pool = Arc::new(Pool::new(Silence));
            register(runtime, Dependencies { pool, kubernetes: Silence, affiliates: Silence, selectors });
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_control_plane_machine_stays_while_etcd_is_silent_and_leaves_when_forced() {
        let runtime = started();
        runtime.put(cluster());
        runtime.put(machine_set(CONTROL_PLANES));
        runtime.put(load_balancer(true));
        for id in ["m1", "m2"] {
            runtime.put(node(id, CONTROL_PLANES));
        }
        runtime.quiet().await;
        assert!(runtime.state().get::<ClusterMachineStatus>("m2").is_some());
        runtime.state().remove::<MachineSetNode>("", "m2").expect("torn down");
        runtime.advance(Duration::from_secs(120)).await;
        let member = runtime.state().get::<ClusterMachine>("m2").expect("etcd does not answer");
        assert!(!member.metadata.is_tearing_down());
        let node = runtime.state().get::<MachineSetNode>("m2").expect("held until the machine left");
        assert!(node.metadata.is_tearing_down());
        runtime.put(resource("m2", NodeForceDestroyRequest {}));
        runtime.advance(Duration::from_secs(120)).await;
        assert!(runtime.state().get::<ClusterMachine>("m2").is_none());
        assert!(runtime.state().get::<MachineSetNode>("m2").is_none());
        assert!(runtime.state().get::<NodeForceDestroyRequest>("m2").is_none(), "it is done");
        assert!(runtime.state().get::<ClusterMachine>("m1").is_some());
    }
}
