//! Starts the etcd of a cluster, once (fleet.md 4.6).
//!
//! ```text
//! ClusterEndpoint, control planes ─decide─▶ whom to ask ─▶ kept as an annotation ─▶ asked ─▶ bootstrapped
//! ClusterMachineIdentity: a member of etcd ─────────────────────────────────────────────────▶ bootstrapped
//! ClusterSecrets: imported ─────────────────────────────────────────────────────────────────▶ bootstrapped
//! ```
//!
//! Two machines that both start an etcd make two clusters. Who is asked is on the disk of the manager before the
//! machine hears of it, so that nobody else is asked after a restart either.

use std::collections::{BTreeMap, BTreeSet};

use corten_fleet_cluster::bootstrap::{self, ControlPlane, Decision, decide};
use corten_fleet_resources::cluster::{
    Cluster, ClusterBootstrapStatus, ClusterDestroyStatus, ClusterEndpoint, ClusterMachine,
    ClusterMachineIdentity, ClusterMachineStage, ClusterMachineStatus, MachineSet,
};
use corten_fleet_resources::config::ClusterMachineConfigStatus;
use corten_fleet_resources::machine::{MachineStage, MachineStatus};
use corten_fleet_resources::secrets::ClusterSecrets;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, Resource, View, controller};
use parking_lot::Mutex;

use crate::machine_calls::MachineCalls;
use crate::{roll, scope};

/// On a ClusterBootstrapStatus: UUID of the machine that was asked to start etcd.
const ASKED: &str = "corten.dev/bootstrap-machine";

/// Starts etcd.
#[derive(Debug)]
pub(crate) struct ClusterBootstrapStatusController<M> {
    calls: M,
    /// Clusters whose etcd was started and that do not say so yet.
    started: Mutex<BTreeSet<String>>,
}

impl<M: MachineCalls> ClusterBootstrapStatusController<M> {
    /// A controller that has asked nobody yet.
    pub(crate) const fn new(calls: M) -> Self {
        Self { calls, started: Mutex::new(BTreeSet::new()) }
    }
}

controller!(impl<M: MachineCalls> ClusterBootstrapStatusController<M>, "ClusterBootstrapStatusController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterEndpoint, weak ClusterMachine,
        weak ClusterMachineStatus, weak ClusterMachineConfigStatus, weak ClusterMachineIdentity,
        weak MachineStatus, weak MachineSet, weak ClusterSecrets, weak ClusterBootstrapStatus],
    outputs: [exclusive ClusterBootstrapStatus]);

/// What is done for a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// This machine starts etcd.
    Bootstrap(String),
    /// That it was started is published, or the cluster is gone.
    Forget,
}

impl<M: MachineCalls> ItemDriver for ClusterBootstrapStatusController<M> {
    /// Whether etcd was started by this program.
    type Observed = bool;
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, _: &View<Self>) -> anyhow::Result<bool> {
        Ok(self.started.lock().contains(item))
    }

    fn plan(&self, item: &str, view: &View<Self>, was_started: &bool) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let known = view.get::<ClusterBootstrapStatus>(item);
        let is_known = known.is_some_and(|status| status.bootstrapped);
        let living = scope::living(view);
        if *was_started && (is_known || living.is_none()) {
            plan.op(Op::Forget);
        }
        let Some(cluster) = living else { return plan };
        let mut asked = known.and_then(|status| status.metadata.annotations.get(ASKED)).cloned();
        let decision = decided(item, cluster, view, is_known || *was_started, asked.as_deref());
        let mut wait = None;
        match &decision {
            Decision::Done => {}
            Decision::Wait(why) => wait = Some(why.clone()),
            Decision::Bootstrap { recover: Some(backup), .. } => {
                wait = Some(cannot_recover(&backup.snapshot));
            }
            Decision::Bootstrap { machine, recover: None } if asked.as_ref() == Some(machine) => {
                plan.op(Op::Bootstrap(machine.clone()));
            }
            // The status is an input: when it is kept, the machine is asked.
            Decision::Bootstrap { machine, recover: None } => asked = Some(machine.clone()),
        }
        let status = ClusterBootstrapStatus { bootstrapped: decision == Decision::Done };
        plan.put_with(item, status, |metadata| {
            metadata.annotations = asked.map(|machine| (ASKED.to_owned(), machine)).into_iter().collect();
        });
        match wait {
            Some(why) => plan.waiting(why),
            None => plan,
        }
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Bootstrap(machine) => {
                self.calls.bootstrap(item, &machine).await?;
                tracing::info!(cluster = item, machine, "started etcd");
                self.started.lock().insert(item.to_owned());
            }
            Op::Forget => {
                self.started.lock().remove(item);
            }
        }
        Ok(())
    }
}

fn cannot_recover(snapshot: &str) -> String {
    format!(
        "backup {snapshot}: this manager keeps no backups of etcd, so it cannot send one; start etcd from it \
         with talosctl bootstrap --recover-from on one control plane, or make the cluster anew without \
         bootstrapspec"
    )
}

/// Decides from what concerns the cluster.
fn decided<M: MachineCalls>(
    item: &str,
    cluster: &Resource<Cluster>,
    view: &View<ClusterBootstrapStatusController<M>>,
    is_bootstrapped: bool,
    asked: Option<&str>,
) -> Decision {
    let members = roll::etcd_ids(view);
    let control_planes: Vec<ControlPlane<'_>> =
        roll::control_planes(view).iter().map(|member| control_plane(member, view, &members)).collect();
    let endpoint = view.get::<ClusterEndpoint>(item);
    let set = view.get::<MachineSet>(&MachineSet::control_planes_of(item));
    decide(&bootstrap::View {
        is_bootstrapped,
        is_imported: view.get::<ClusterSecrets>(item).is_some_and(|secrets| secrets.imported),
        is_tearing_down: cluster.metadata.is_tearing_down(),
        endpoints: endpoint.map(|endpoint| endpoint.management_addresses.as_slice()).unwrap_or_default(),
        control_planes: &control_planes,
        asked,
        backup: set.and_then(|set| set.bootstrap_spec.as_ref()),
    })
}

fn control_plane<'v, M: MachineCalls>(
    member: &roll::Member<'v>,
    view: &View<ClusterBootstrapStatusController<M>>,
    etcd_ids: &BTreeMap<String, u64>,
) -> ControlPlane<'v> {
    let stage = view.get::<ClusterMachineStatus>(member.id).map(|status| status.stage);
    let config = view.get::<ClusterMachineConfigStatus>(member.id);
    ControlPlane {
        id: member.id,
        address: member.address,
        is_connected: member.is_connected,
        is_configured: config.is_some_and(|status| !status.cluster_machine_config_sha256.is_empty()),
        stage: match stage {
            Some(ClusterMachineStage::Booting) => MachineStage::Booting,
            Some(ClusterMachineStage::Running) => MachineStage::Running,
            _ => MachineStage::Unknown,
        },
        etcd_member_id: etcd_ids.get(member.id).copied().unwrap_or_default(),
        is_tearing_down: member.is_leaving,
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::BootstrapSpec;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{Recorder, control_plane, identity, in_cluster, machine_status, registry};

    fn started(recorder: &Recorder) -> TestRuntime {
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_items(ClusterBootstrapStatusController::new(recorder.clone()));
        });
        runtime.put(resource("prod", Cluster::default()));
        let management_addresses = ["fdae::1", "fdae::2"].map(str::to_owned).to_vec();
        runtime.put(resource("prod", ClusterEndpoint { management_addresses }));
        for (id, address) in [("a", "fdae::1"), ("b", "fdae::2")] {
            runtime.put(control_plane(id));
            runtime.put(machine_status(id, address, true));
            runtime.put(stage(id, ClusterMachineStage::Booting));
        }
        runtime
    }

    fn stage(id: &str, stage: ClusterMachineStage) -> AnyResource {
        in_cluster(resource(id, ClusterMachineStatus { stage, ..ClusterMachineStatus::default() }))
    }

    fn configured(id: &str) -> AnyResource {
        let spec = ClusterMachineConfigStatus {
            cluster_machine_config_sha256: "hash".to_owned(),
            ..ClusterMachineConfigStatus::default()
        };
        in_cluster(resource(id, spec))
    }

    fn is_bootstrapped(runtime: &TestRuntime) -> bool {
        runtime.state().get::<ClusterBootstrapStatus>("prod").is_some_and(|status| status.bootstrapped)
    }

    #[tokio::test(start_paused = true)]
    async fn one_machine_starts_etcd_when_it_is_configured_and_nobody_is_asked_again() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.quiet().await;
        let status = runtime.status("ClusterBootstrapStatusController/prod").expect("it waits");
        assert!(status.reason.contains("has not taken its configuration"), "{}", status.reason);
        runtime.put(configured("b"));
        runtime.quiet().await;
        assert_eq!(recorder.take(), ["bootstrap prod on b"]);
        assert!(is_bootstrapped(&runtime));
        runtime.put(configured("a"));
        runtime.put(machine_status("b", "fdae::2", false));
        runtime.quiet().await;
        assert!(recorder.take().is_empty() && is_bootstrapped(&runtime));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_asked_is_kept_before_and_stays_the_one() {
        let recorder = Recorder::default();
        recorder.set(|told| told.silent.push("a".to_owned()));
        let runtime = started(&recorder);
        runtime.put(configured("a"));
        runtime.quiet().await;
        let kept = runtime.state().get::<ClusterBootstrapStatus>("prod").expect("a status");
        assert_eq!(kept.metadata.annotations.get(ASKED).map(String::as_str), Some("a"));
        runtime.put(configured("b"));
        runtime.put(machine_status("a", "fdae::1", false));
        runtime.advance(std::time::Duration::from_secs(60)).await;
        assert!(recorder.take().is_empty(), "a may have started it and lost its line");
        assert!(!is_bootstrapped(&runtime));
        runtime.put(identity("a", 7, "a"));
        runtime.advance(std::time::Duration::from_secs(60)).await;
        assert!(is_bootstrapped(&runtime), "a member of etcd is a sign of it");
        assert!(recorder.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_died_before_it_heard_the_answer_asks_the_same_machine_again() {
        let recorder = Recorder::default();
        recorder.set(|told| told.silent.push("a".to_owned()));
        let runtime = started(&recorder);
        runtime.put(configured("a"));
        runtime.quiet().await;
        let state = runtime.state().clone();
        drop(runtime);
        recorder.set(|told| told.silent.clear());
        state.put_any("", configured("b")).expect("put");
        let again = TestRuntime::with_state(state, |runtime| {
            runtime.register_items(ClusterBootstrapStatusController::new(recorder.clone()));
        });
        again.quiet().await;
        assert_eq!(recorder.take(), ["bootstrap prod on a"]);
        assert!(is_bootstrapped(&again));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_is_to_start_from_a_backup_does_not_start_empty() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        let spec = BootstrapSpec { cluster_uuid: "uuid".to_owned(), snapshot: "s".to_owned() };
        let set = MachineSet { bootstrap_spec: Some(spec), ..MachineSet::default() };
        runtime.put(in_cluster(resource("prod-control-planes", set)));
        runtime.put(configured("a"));
        runtime.quiet().await;
        assert!(recorder.take().is_empty() && !is_bootstrapped(&runtime));
        let status = runtime.status("ClusterBootstrapStatusController/prod").expect("it waits");
        assert!(status.reason.starts_with("backup s: "), "{}", status.reason);
    }
}
