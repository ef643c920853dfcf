//! This machine as a Node: its name and addresses, what it owns on the object, and what the API server says of it.
//!
//!     HostnameStatus ──▶ Nodename          NodeAddress ──▶ NodeIp
//!     machine configuration ──▶ Node{Label,Annotation,Taint}Specs, NodeCordonedSpec ──▶ the Node ──▶ NodeStatus

pub mod apply;
pub mod identity;
pub mod intent;
pub mod ownership;
pub mod pods;
pub mod status;

use std::collections::BTreeMap;

use corten_config::view::MachineView;

/// Label and taint of control planes.
pub const CONTROL_PLANE_KEY: &str = "node-role.kubernetes.io/control-plane";

/// Taints of this machine's node, the control plane's included unless a document names all of them.
#[must_use]
pub fn taints(config: &MachineView) -> BTreeMap<String, String> {
    let mut all = config.machine.node_taints.clone();
    let is_known = config.machine.node_is_explicit || config.cluster.schedule_on_control_planes;
    if config.is_control_plane() && !is_known {
        all.entry(CONTROL_PLANE_KEY.to_owned()).or_insert_with(|| "NoSchedule".to_owned());
    }
    all
}
