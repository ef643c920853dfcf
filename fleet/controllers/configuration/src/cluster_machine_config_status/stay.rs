//! What is done with a machine that stays: it is brought to have the wanted configuration, and to prove it.

use std::time::Duration;

use corten_base::Secret;
use corten_fleet_cluster::apply::{Availability, Decision, Restart, Slot, Step, View as Facts, decide};
use corten_fleet_resources::config::ClusterMachineConfigStatus;
use corten_resource::Plan;

use super::memory::{Known, REFUSED_FOR};
use super::scene::Scene;
use super::{Apply, ClusterMachineConfigStatusController, Op, Seen};
use crate::calls::Machines;
use crate::machine_pending_updates::upgrade;
use crate::member_scope::MemberScope;
use crate::tags::copy_place;

/// Wait before a machine is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(10);

/// Plans a machine that stays; how long until it is looked at again by itself.
pub fn plan<M: Machines>(
    plan: &mut Plan<ClusterMachineConfigStatusController<M>, Op>,
    item: &str,
    scene: &Scene<'_>,
    seen: &Seen,
) -> Option<Duration> {
    let known = seen.memory.known(scene);
    let status = status(scene, seen, &known);
    tell_image(plan, scene, &status);
    let place = &scene.member.metadata;
    plan.put_with(item, status, |metadata| copy_place(place, metadata));
    if let Some(obstacle) = obstacle(scene) {
        give_back(plan, scene, seen);
        plan.missing(obstacle);
        return None;
    }
    let Some(scope) = scene.scope else {
        plan.missing("what its cluster says of it");
        return None;
    };
    let decision = decide(&facts(scene, scope, seen, &known));
    let again = carry_out(plan, scene, seen, decision, known);
    let next_look = seen.memory.look.next.filter(|_| scene.is_member());
    let next_look = next_look.map(|next| next.saturating_duration_since(seen.now).max(AGAIN));
    again.into_iter().chain(next_look).min()
}

/// Why nothing can be done with the machine whatever is wanted.
fn obstacle(scene: &Scene<'_>) -> Option<&'static str> {
    if scene.is_foreign() {
        Some("a reset of the machine, or the import of its cluster: it belongs to one that is unknown here")
    } else if scene.is_agent() {
        Some("its own system; an agent runs on it")
    } else {
        None
    }
}

/// What is published.
fn status(scene: &Scene<'_>, seen: &Seen, known: &Known) -> ClusterMachineConfigStatus {
    let mut status = scene.last.cloned().unwrap_or_default();
    known.write(&mut status);
    status.last_config_error = seen.memory.refused(scene).map(|(why, _)| why.to_owned()).unwrap_or_default();
    let Some(machine) = scene.status else { return status };
    let version = machine.talos_version.strip_prefix('v').unwrap_or(&machine.talos_version);
    version.clone_into(&mut status.talos_version);
    if let Some(schematic) = &machine.schematic {
        status.schematic_id.clone_from(&schematic.full_id);
    }
    if let Some(image) = scene.image.filter(|image| upgrade(&status, image).is_none()) {
        status.image_factory_host.clone_from(&image.image_factory_host);
    }
    status
}

/// Says that another image is wanted. The configuration goes on all the same: what it says about the image counts for
/// the next installation only.
fn tell_image<M: Machines>(
    plan: &mut Plan<ClusterMachineConfigStatusController<M>, Op>,
    scene: &Scene<'_>,
    status: &ClusterMachineConfigStatus,
) {
    let is_configured = !status.cluster_machine_config_sha256.is_empty();
    let pending = scene.image.filter(|_| is_configured).and_then(|image| upgrade(status, image));
    if let Some(pending) = pending {
        plan.missing(format!(
            "an upgrade: version {} with schematic {} is wanted and {} with {} runs; this manager carries no \
             upgrades out, so install the image by hand",
            pending.to_version, pending.to_schematic, pending.from_version, pending.from_schematic
        ));
    }
}

fn facts<'a>(scene: &'a Scene<'_>, scope: &MemberScope, seen: &Seen, known: &'a Known) -> Facts<'a> {
    Facts {
        is_tearing_down: false,
        is_connected: scene.is_connected(),
        is_schematic_ready: scene.image.is_some_and(|image| image.schematic_initialized),
        provider: scene.provider,
        has_system_disk: scene.has_system_disk(),
        is_cluster_locked: scope.is_locked,
        is_locked: scene.is_locked,
        config_updates_allowed: scope.config_updates_allowed,
        stage: scene.stage,
        is_maintenance: scene.is_maintenance(),
        was_configured: !known.sha256.is_empty() || !known.pre_reboot_boot_id.is_empty() || scene.is_member(),
        wanted_sha256: scene.wanted.as_ref().map_or("", |wanted| wanted.sha256.as_str()),
        taken_sha256: &known.sha256,
        is_drifting: seen.memory.look.is_drifting,
        // Nobody carries out upgrades; that one is wanted is told apart.
        is_other_image: false,
        restart: restart(scene, seen, known),
        config_slot: seen.slot,
        upgrade_slot: if scene.is_upgraded() { Availability::Held } else { Availability::Taken },
    }
}

/// Where the last restart is. A member of which it is not known what it has is looked at before it gets anything.
fn restart(scene: &Scene<'_>, seen: &Seen, known: &Known) -> Restart {
    let is_begun = scene.is_maintenance() && seen.memory.sent_until(scene, seen.now).is_some();
    let is_unknown = known.sha256.is_empty() && seen.memory.look.public_key.is_none();
    if is_begun {
        Restart::Awaited
    } else if !known.pre_reboot_boot_id.is_empty() {
        Restart::of(&known.pre_reboot_boot_id, &seen.boot_id)
    } else if is_unknown && scene.is_member() {
        Restart::Done
    } else {
        Restart::None
    }
}

/// Turns a decision into operations; how long until the machine is looked at again because of it.
fn carry_out<M: Machines>(
    plan: &mut Plan<ClusterMachineConfigStatusController<M>, Op>,
    scene: &Scene<'_>,
    seen: &Seen,
    decision: Decision,
    known: Known,
) -> Option<Duration> {
    let refused = seen.memory.refused(scene).filter(|(_, until)| *until > seen.now);
    let is_refused = decision.step == Step::Apply && refused.is_some();
    if decision.slot != Some(Slot::Config) || is_refused {
        give_back(plan, scene, seen);
    }
    match decision.step {
        Step::Done => None,
        Step::Skip(reason) => {
            plan.missing(reason);
            let until = seen.memory.sent_until(scene, seen.now);
            let is_waiting = seen.slot == Availability::Taken;
            until.map(|until| until - seen.now).or(is_waiting.then_some(seen.pause))
        }
        Step::Verify => {
            let why = seen.memory.look.missed.as_deref().unwrap_or("it was not asked yet");
            plan.missing(format!("a look at the configuration that it has: {why}"));
            Some(AGAIN)
        }
        Step::Lifecycle => {
            plan.missing("an upgrade, which this manager does not carry out");
            None
        }
        Step::Apply => match (refused, decision.slot) {
            (Some((why, until)), _) => {
                let seconds = REFUSED_FOR.as_secs();
                plan.missing(format!(
                    "a configuration that the machine takes; correct its patches, this one is sent again \
                     every {seconds} s: {why}"
                ));
                Some(until - seen.now)
            }
            (None, Some(Slot::Config)) if seen.slot != Availability::Held => {
                let (set, most) = (scene.set().to_owned(), scene.scope.and_then(MemberScope::limit));
                plan.op(Op::TakeSlot { set, most });
                None
            }
            (None, _) => {
                match apply(scene, known) {
                    Some(apply) => plan.op(Op::Apply(Box::new(apply))),
                    None => plan.missing("an address of the machine"),
                };
                None
            }
        },
    }
}

fn apply(scene: &Scene<'_>, before: Known) -> Option<Apply> {
    let (at, wanted) = (scene.at()?, scene.wanted.as_ref()?);
    Some(Apply {
        at: if scene.is_maintenance() { at.in_maintenance() } else { at },
        documents: Secret::new(wanted.text.clone().into_owned()),
        sha256: wanted.sha256.clone(),
        version: wanted.version.clone(),
        before,
    })
}

/// Gives the slot back that the machine has.
pub fn give_back<M: Machines>(
    plan: &mut Plan<ClusterMachineConfigStatusController<M>, Op>,
    scene: &Scene<'_>,
    seen: &Seen,
) {
    if seen.slot == Availability::Held {
        plan.op(Op::GiveSlotBack { set: scene.set().to_owned() });
    }
}
