//! Services of a machine, as they follow from what it is doing.

use super::Facts;
use crate::life::Stage;

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub id: &'static str,
    /// What it waits for; `None` when it runs.
    pub waits_for: Option<&'static str>,
}

impl Service {
    /// Its state as `ServiceList` names it (node.md 1.3).
    #[must_use]
    pub const fn state(self) -> &'static str {
        if self.waits_for.is_none() { "Running" } else { "Preparing" }
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(self) -> bool {
        self.waits_for.is_none()
    }
}

/// Services that every machine has.
const ALWAYS: &[&str] = &["apid", "auditd", "containerd", "dashboard", "machined", "syslogd", "udevd"];

/// Services of a machine.
#[must_use]
pub fn services(facts: &Facts<'_>) -> Vec<Service> {
    let mut all: Vec<Service> = ALWAYS.iter().map(|id| Service { id, waits_for: None }).collect();
    if facts.complete().is_some() && facts.stage != Stage::Installing {
        let missing = |is_there: bool, what: &'static str| (!is_there).then_some(what);
        all.push(Service { id: "cri", waits_for: None });
        let kubelet = missing(facts.kubernetes, "the Kubernetes API of the cluster");
        all.push(Service { id: "kubelet", waits_for: kubelet });
        if facts.is_control_plane() {
            let etcd = missing(facts.member.is_some(), "etcd to be bootstrapped");
            all.push(Service { id: "etcd", waits_for: etcd });
            all.push(Service { id: "trustd", waits_for: None });
        }
    }
    all.sort_by_key(|service| service.id);
    all
}
