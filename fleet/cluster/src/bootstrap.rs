//! Which machine starts the etcd of a cluster, and when (fleet.md 4.6).
//!
//! ```text
//! already started, imported, or etcd has members ─▶ Done
//! a control plane that is connected and configured ─▶ Bootstrap on it, from a backup if the set names one
//! else ─▶ Wait, with the reason
//! ```
//!
//! Two machines that both start an etcd make two clusters. So the machine that was asked once is asked again as long as
//! it is there, whatever it answered, and any sign of an etcd ends it.

use corten_fleet_resources::cluster::BootstrapSpec;
use corten_fleet_resources::machine::MachineStage;

/// A machine of the control plane.
#[derive(Clone, Copy, Debug)]
pub struct ControlPlane<'a> {
    /// Its UUID.
    pub id: &'a str,
    /// Address of the machine in the tunnel.
    pub address: &'a str,
    /// Its tunnel is up.
    pub is_connected: bool,
    /// It took its configuration.
    pub is_configured: bool,
    /// What it is doing.
    pub stage: MachineStage,
    /// Its id in etcd; 0 when it is no member.
    pub etcd_member_id: u64,
    /// It leaves.
    pub is_tearing_down: bool,
}

/// What is known of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// It was started before.
    pub is_bootstrapped: bool,
    /// It was made elsewhere, so its etcd runs already.
    pub is_imported: bool,
    /// It goes away.
    pub is_tearing_down: bool,
    /// Addresses of its control plane in their order, from the ClusterEndpoint.
    pub endpoints: &'a [String],
    /// Its control plane.
    pub control_planes: &'a [ControlPlane<'a>],
    /// The machine that was asked before; `None` when none was.
    pub asked: Option<&'a str>,
    /// The backup that it starts from; `None` for an empty etcd.
    pub backup: Option<&'a BootstrapSpec>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The etcd runs.
    Done,
    /// Nothing now, for this reason.
    Wait(String),
    /// Ask a machine to start etcd. That it runs already is a success.
    Bootstrap {
        /// UUID of the machine.
        machine: String,
        /// The backup to send to it first; `None` for an empty etcd.
        recover: Option<BootstrapSpec>,
    },
}

/// Decides whom to ask to start the etcd of a cluster.
#[must_use]
pub fn decide(view: &View<'_>) -> Decision {
    let is_running = view.control_planes.iter().any(|machine| machine.etcd_member_id != 0);
    if view.is_bootstrapped || view.is_imported || is_running {
        return Decision::Done;
    }
    if view.is_tearing_down {
        return Decision::Wait("the cluster goes away".to_owned());
    }
    let there = || view.control_planes.iter().filter(|machine| !machine.is_tearing_down);
    if let Some(asked) = there().find(|machine| Some(machine.id) == view.asked) {
        return ask(asked, view);
    }
    let in_order = view.endpoints.iter().filter_map(|address| there().find(|one| one.address == *address));
    let decisions: Vec<Decision> = in_order.map(|machine| ask(machine, view)).collect();
    let can = decisions.iter().find(|decision| matches!(decision, Decision::Bootstrap { .. }));
    can.or(decisions.first()).cloned().unwrap_or_else(|| {
        Decision::Wait("the cluster has no control plane yet; add a machine to its control plane".to_owned())
    })
}

/// Asks a machine, or says why it cannot be asked.
fn ask(machine: &ControlPlane<'_>, view: &View<'_>) -> Decision {
    let id = machine.id;
    let can_start = matches!(machine.stage, MachineStage::Booting | MachineStage::Running);
    if !machine.is_connected {
        Decision::Wait(format!("control plane {id} is not connected; it goes on when its tunnel is up"))
    } else if !machine.is_configured || !can_start {
        Decision::Wait(format!("control plane {id} has not taken its configuration yet"))
    } else {
        Decision::Bootstrap { machine: id.to_owned(), recover: view.backup.cloned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(id: &'static str, address: &'static str) -> ControlPlane<'static> {
        ControlPlane {
            id,
            address,
            is_connected: true,
            is_configured: true,
            stage: MachineStage::Booting,
            etcd_member_id: 0,
            is_tearing_down: false,
        }
    }

    fn view<'a>(endpoints: &'a [String], control_planes: &'a [ControlPlane<'a>]) -> View<'a> {
        View {
            is_bootstrapped: false,
            is_imported: false,
            is_tearing_down: false,
            endpoints,
            control_planes,
            asked: None,
            backup: None,
        }
    }

    fn addresses() -> Vec<String> {
        vec!["::2".to_owned(), "::1".to_owned()]
    }

    /// UUID of the machine that is asked; the reason when none is.
    fn asked(view: &View<'_>) -> String {
        match decide(view) {
            Decision::Done => "done".to_owned(),
            Decision::Wait(reason) => reason,
            Decision::Bootstrap { machine, .. } => machine,
        }
    }

    #[test]
    fn the_first_endpoint_that_can_is_asked() {
        let (endpoints, both) = (addresses(), [machine("a", "::1"), machine("b", "::2")]);
        assert_eq!(asked(&view(&endpoints, &both)), "b");
        let lost = [machine("a", "::1"), ControlPlane { is_connected: false, ..machine("b", "::2") }];
        assert_eq!(asked(&view(&endpoints, &lost)), "a");
    }

    #[test]
    fn any_sign_of_an_etcd_ends_it() {
        let (endpoints, machines) = (addresses(), [machine("a", "::1")]);
        let view = view(&endpoints, &machines);
        assert_eq!(decide(&View { is_bootstrapped: true, ..view }), Decision::Done);
        assert_eq!(decide(&View { is_imported: true, ..view }), Decision::Done);
        let member = [ControlPlane { etcd_member_id: 7, is_connected: false, ..machine("a", "::1") }];
        assert_eq!(decide(&View { control_planes: &member, ..view }), Decision::Done);
    }

    #[test]
    fn a_machine_that_was_asked_is_asked_again_while_it_is_there() {
        let (endpoints, both) = (addresses(), [machine("a", "::1"), machine("b", "::2")]);
        assert_eq!(asked(&View { asked: Some("a"), ..view(&endpoints, &both) }), "a");
        let lost = [ControlPlane { is_connected: false, ..machine("a", "::1") }, machine("b", "::2")];
        let reason = asked(&View { asked: Some("a"), ..view(&endpoints, &lost) });
        assert!(reason.contains("control plane a is not connected"), "{reason}");
        let gone = [ControlPlane { is_tearing_down: true, ..machine("a", "::1") }, machine("b", "::2")];
        assert_eq!(asked(&View { asked: Some("a"), ..view(&endpoints, &gone) }), "b");
    }

    #[test]
    fn who_cannot_be_asked_says_why() {
        let endpoints = addresses();
        assert!(asked(&view(&endpoints, &[])).contains("no control plane yet"));
        for edit in [
            ControlPlane { is_configured: false, ..machine("a", "::1") },
            ControlPlane { stage: MachineStage::Maintenance, ..machine("a", "::1") },
        ] {
            assert!(asked(&view(&endpoints, &[edit])).contains("has not taken its configuration"));
        }
        let machines = [machine("a", "::1")];
        let going = View { is_tearing_down: true, ..view(&endpoints, &machines) };
        assert_eq!(asked(&going), "the cluster goes away");
    }

    #[test]
    fn a_cluster_may_start_from_a_backup() {
        let (endpoints, machines) = (addresses(), [machine("a", "::1")]);
        let backup = BootstrapSpec { cluster_uuid: "u".to_owned(), snapshot: "s".to_owned() };
        let decision = decide(&View { backup: Some(&backup), ..view(&endpoints, &machines) });
        let expected = Decision::Bootstrap { machine: "a".to_owned(), recover: Some(backup.clone()) };
        assert_eq!(decision, expected);
    }
}
