//! What is done with a machine that leaves its cluster, until it is in maintenance or let go (fleet.md 4.7).

use std::time::Duration;

use corten_fleet_cluster::TalosVersion;
use corten_fleet_cluster::teardown::{End, Observed, Progress, Reach, Step, next, unreachable_for};
use corten_fleet_resources::config::ClusterMachineConfigStatus;
use corten_fleet_resources::labels::CLUSTER;
use corten_fleet_resources::machine::MachineStage;
use corten_resource::Plan;
use tokio::time::Instant;

use super::scene::Scene;
use super::stay::give_back;
use super::{ClusterMachineConfigStatusController, Op, Seen};
use crate::calls::{Machines, Probe};
use crate::member_scope::MemberScope;

/// Plans a machine that leaves. While it waits the plan has a problem: one without lets go of the machine.
pub fn plan<M: Machines>(
    plan: &mut Plan<ClusterMachineConfigStatusController<M>, Op>,
    scene: &Scene<'_>,
    seen: &Seen,
) {
    give_back(plan, scene, seen);
    let is_of_cluster = scene.member.metadata.labels.contains_key(CLUSTER);
    let nobody = MemberScope::default();
    let Some(scope) = scene.scope.or((!is_of_cluster).then_some(&nobody)) else {
        plan.keep::<ClusterMachineConfigStatus>();
        plan.unfinished("what its cluster says of it is not known yet; it goes on when it is");
        return;
    };
    let leaving = seen.memory.leaving.as_ref();
    let progress = leaving.map_or_else(Progress::default, |leaving| leaving.progress);
    let step = next(&observed(scene, scope, seen), &progress);
    match step {
        Step::Done(End::LetGo(why)) if !leaving.is_some_and(|leaving| leaving.is_let_go) => {
            plan.op(Op::LetGo(why));
        }
        Step::Done(_) => {}
        Step::WaitMaintenance(reason) => {
            plan.keep::<ClusterMachineConfigStatus>();
            plan.unfinished(reason);
        }
        step => {
            plan.keep::<ClusterMachineConfigStatus>();
            match scene.at() {
                Some(at) => plan.op(Op::Leave(at, step)),
                None => plan.unfinished("it has no address; one is written when the machine calls"),
            };
        }
    }
}

fn observed<'a>(scene: &'a Scene<'_>, scope: &MemberScope, seen: &'a Seen) -> Observed<'a> {
    let leaving = seen.memory.leaving.as_ref();
    let (reach, stage) = reach(scene, seen);
    let since = |moment: Option<Instant>| moment.map(|moment| seen.since(moment));
    let missed = since(leaving.and_then(|leaving| leaving.unreachable_since));
    Observed {
        reach,
        stage,
        role: scene.role(),
        version: seen.version.as_ref(),
        is_forced: scene.is_forced,
        is_graceful: scope.should_reset_graceful,
        is_import_aborted: scope.keeps_machines,
        elapsed: leaving.map_or(Duration::ZERO, |leaving| seen.since(leaving.began)),
        unreachable_for: missed.map(|here| unreachable_for(here, scene.away_for)).unwrap_or_default(),
        since_reset: since(leaving.and_then(|leaving| leaving.reset_at)),
    }
}

/// How a machine is reached, and what it is doing.
fn reach(scene: &Scene<'_>, seen: &Seen) -> (Reach, MachineStage) {
    if scene.machine.is_none() {
        return (Reach::Gone, scene.stage);
    }
    match &seen.probe {
        Some(Probe::Member) => (Reach::Configured, scene.stage),
        Some(Probe::Maintenance) => (Reach::Maintenance, scene.stage),
        // It became a member in the last moment. It is reset when it is one.
        Some(Probe::Configuring) => (Reach::Configured, MachineStage::Installing),
        Some(Probe::Silent(_)) | None => (Reach::Unreachable, scene.stage),
    }
}

/// Version that runs on a machine.
#[must_use]
pub fn version(scene: &Scene<'_>) -> Option<TalosVersion> {
    TalosVersion::parse(&scene.status?.talos_version).ok()
}
