//! Brings machines to have the configuration that they are to have, and out of their clusters again.
//!
//! ```text
//! ClusterMachine (held) ─┬─ stays ──▶ decide ─▶ take a slot, apply, look at what it has ─▶ ClusterMachineConfigStatus
//!                        └─ leaves ─▶ next ───▶ META, etcd, reset … until it is in maintenance, or let go
//! ```
//!
//! The hash of a configuration is recorded when the machine took it without a restart, or has it after one. What a
//! machine has is looked at when it became a member, after each of its boots, and once in a while; what drifts is sent
//! again. The finalizer of this controller on the ClusterMachine is what keeps the machine in its cluster until it is
//! reset: it goes with the end of leaving and not before.
//!
//! - `scene`: a member with all that is around it; `memory`: what is remembered of it
//! - `stay`, `leave`: what is done; `slots`: how many machines of a set change at a time

mod leave;
mod memory;
mod scene;
mod slots;
mod stay;

use std::collections::BTreeMap;
use std::time::Duration;

use corten_base::{Rng, Secret, chain};
use corten_fleet_cluster::TalosVersion;
use corten_fleet_cluster::apply::Availability;
use corten_fleet_cluster::teardown::{Outcome, Step};
use corten_fleet_controllers_machine::calls::CallError;
use corten_fleet_resources::cluster::{ClusterMachine, MachineSetNode};
use corten_fleet_resources::config::{ClusterMachineConfig, ClusterMachineConfigStatus};
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::{
    Machine, MachineConfigGenOptions, MachineStatus, MachineStatusSnapshot, NodeForceDestroyRequest,
};
use corten_fleet_resources::provider::InfraMachineStatus;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, State, View, controller};
use parking_lot::Mutex;
use tokio::time::Instant;

pub use slots::{CONFIG_SLOT, UPGRADE_SLOT};

use crate::calls::{At, Machines, Probe};
use crate::member_scope::MemberScope;
use memory::{Known, LOOK_EVERY, Memory, Refused};
use scene::Scene;
use slots::Slots;

/// Tag of META that says how STATE is encrypted (node.md 5.9).
const STATE_ENCRYPTION: u32 = 9;
/// Until a machine that leaves is looked at again, if nothing tells of it before.
const LEAVING_AGAIN: Duration = Duration::from_secs(10);

/// Configures machines and resets them.
#[derive(Debug)]
pub struct ClusterMachineConfigStatusController<M> {
    machines: M,
    slots: Slots,
    rng: Rng,
    memories: Mutex<BTreeMap<String, Memory>>,
}

impl<M: Machines> ClusterMachineConfigStatusController<M> {
    /// A controller that remembers nothing but who has a slot; looks of machines are spread with `rng`.
    #[must_use]
    pub fn new(machines: M, state: State, rng: Rng) -> Self {
        Self { machines, slots: Slots::new(state), rng, memories: Mutex::default() }
    }
}

controller!(impl<M: Machines> ClusterMachineConfigStatusController<M>, "ClusterMachineConfigStatusController",
    inputs: [strong ClusterMachine, weak ClusterMachineConfig, weak ClusterMachineConfigStatus,
        weak MemberScope, weak Machine, weak Link, weak MachineStatus, weak MachineStatusSnapshot,
        weak MachineConfigGenOptions, weak MachineSetNode, weak NodeForceDestroyRequest,
        weak InfraMachineStatus],
    outputs: [exclusive ClusterMachineConfigStatus]);

/// What is seen of a machine.
#[derive(Debug)]
pub struct Seen {
    /// What is remembered of it.
    pub memory: Memory,
    /// Anything is remembered of it.
    pub is_remembered: bool,
    /// Its slot.
    pub slot: Availability,
    /// Wait before it asks again for a slot.
    pub pause: Duration,
    /// Id of the boot that it is in; empty when it is not known.
    pub boot_id: String,
    /// Version that runs, if it leaves.
    pub version: Option<TalosVersion>,
    /// What it is, if it leaves.
    pub probe: Option<Probe>,
    /// When.
    pub now: Instant,
}

impl Seen {
    /// How long ago a moment is.
    #[must_use]
    pub fn since(&self, moment: Instant) -> Duration {
        self.now.saturating_duration_since(moment)
    }
}

/// A configuration for a machine.
#[derive(Clone, Debug)]
pub struct Apply {
    /// The machine.
    pub at: At,
    /// The documents, YAML.
    pub documents: Secret<String>,
    /// Hash of them.
    pub sha256: String,
    /// Version of the resource that they are in.
    pub version: String,
    /// What was known of the machine before.
    pub before: Known,
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Op {
    /// The machine takes one of the slots of its set, unless others were faster.
    TakeSlot {
        /// The set.
        set: String,
        /// Most machines that have one.
        most: Option<usize>,
    },
    /// It gives its slot back.
    GiveSlotBack {
        /// The set.
        set: String,
    },
    /// It gets a configuration.
    Apply(Box<Apply>),
    /// It does a step of leaving.
    Leave(At, Step),
    /// It is let go as it is, for this reason.
    LetGo(String),
    /// Nothing is remembered of it any more.
    Forget,
}

impl<M: Machines> ItemDriver for ClusterMachineConfigStatusController<M> {
    type Observed = Seen;
    type Op = Op;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Seen> {
        let now = Instant::now();
        let remembered = self.memories.lock().get(item).cloned();
        let mut seen = Seen {
            is_remembered: remembered.is_some(),
            memory: remembered.unwrap_or_default(),
            slot: Availability::Taken,
            pause: Duration::ZERO,
            boot_id: String::new(),
            version: None,
            probe: None,
            now,
        };
        let Some(scene) = Scene::of(item, view) else { return Ok(seen) };
        let most = scene.scope.map_or(Some(1), MemberScope::limit);
        (seen.slot, seen.pause) = match scene.is_upgraded() {
            true => (Availability::Taken, Duration::ZERO),
            false => self.slots.ask(scene.set(), item, most),
        };
        if scene.is_leaving() {
            self.look_at_leaving(&scene, &mut seen).await;
        } else {
            self.look_at(&scene, &mut seen).await;
        }
        self.memories.lock().insert(item.to_owned(), seen.memory.clone());
        Ok(seen)
    }

    fn plan(&self, item: &str, view: &View<Self>, seen: &Seen) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let Some(scene) = Scene::of(item, view) else {
            if seen.is_remembered {
                plan.op(Op::Forget);
            }
            return plan;
        };
        if scene.is_leaving() {
            leave::plan(&mut plan, &scene, seen);
            return plan.again_in(LEAVING_AGAIN);
        }
        match stay::plan(&mut plan, item, &scene, seen) {
            Some(delay) => plan.again_in(delay),
            None => plan,
        }
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::TakeSlot { set, most } => self.slots.take(&set, item, most).await,
            Op::GiveSlotBack { set } => self.slots.give_back(&set, item).await,
            Op::Apply(apply) => self.send(item, &apply).await,
            Op::Leave(at, step) => self.step(item, &at, &step).await,
            Op::LetGo(why) => {
                tracing::warn!(machine = item, why, "a machine left its cluster without being wiped");
                self.remember(item, |memory| {
                    if let Some(leaving) = &mut memory.leaving {
                        leaving.is_let_go = true;
                    }
                });
                Ok(())
            }
            Op::Forget => {
                self.memories.lock().remove(item);
                Ok(())
            }
        }
    }
}

impl<M: Machines> ClusterMachineConfigStatusController<M> {
    fn remember(&self, item: &str, change: impl FnOnce(&mut Memory)) {
        change(self.memories.lock().entry(item.to_owned()).or_default());
    }

    /// Looks at what a machine has, if it is time to.
    async fn look_at(&self, scene: &Scene<'_>, seen: &mut Seen) {
        seen.memory.leaving = None;
        seen.memory.settle(scene);
        let known = seen.memory.known(scene);
        if seen.memory.look.next.is_none() && !known.sha256.is_empty() {
            // Those that are fine already are not all looked at when the manager starts.
            seen.memory.look.next = Some(seen.now + LOOK_EVERY.mul_f64(self.rng.fraction()));
        }
        let Some(at) = scene.at() else { return };
        scene.boot_id.clone_into(&mut seen.boot_id);
        if seen.boot_id.is_empty() && !known.pre_reboot_boot_id.is_empty() && scene.is_member() {
            // Old versions tell it when they are asked, and only then.
            seen.boot_id = self.machines.boot_id(&at).await.unwrap_or_default();
        }
        if !seen.memory.look.is_due(scene, &known, &seen.boot_id, seen.now) {
            return;
        }
        match self.machines.configuration(&at).await {
            Ok(found) => {
                let current = found.as_ref().map(Secret::reveal).map_or("", String::as_str);
                seen.memory.looked(scene, current, seen.now);
            }
            Err(error) => seen.memory.look.missed = Some(chain(&error)),
        }
    }

    /// Looks where a machine is that leaves.
    async fn look_at_leaving(&self, scene: &Scene<'_>, seen: &mut Seen) {
        seen.version = leave::version(scene);
        if scene.is_connected()
            && let Some(at) = scene.at()
        {
            seen.probe = Some(self.machines.probe(&at).await);
        }
        seen.memory.probed(seen.probe.as_ref(), seen.now);
    }

    /// Sends a configuration. That the machine will not take it is remembered and no failure.
    async fn send(&self, item: &str, apply: &Apply) -> anyhow::Result<()> {
        let boot_id = match &apply.at.target.cluster {
            Some(_) => self.machines.boot_id(&apply.at).await?,
            None => String::new(),
        };
        match self.machines.apply(&apply.at, &apply.documents).await {
            Ok(answer) => {
                self.remember(item, |memory| memory.took(apply, answer, &boot_id, Instant::now()));
                Ok(())
            }
            Err(error) => {
                let Some(why) = error.refusal() else { return Err(error.into()) };
                let refused = Refused { sha256: apply.sha256.clone(), why, at: Instant::now() };
                self.remember(item, |memory| memory.refused = Some(refused));
                Ok(())
            }
        }
    }

    /// Does a step of leaving and remembers how it went.
    async fn step(&self, item: &str, at: &At, step: &Step) -> anyhow::Result<()> {
        let result: Result<(), CallError> = match step {
            Step::MetaDelete => self.machines.delete_meta(at, STATE_ENCRYPTION).await,
            Step::EtcdForfeit => self.machines.forfeit_leadership(at).await,
            Step::EtcdLeave => self.machines.leave_etcd(at).await,
            Step::Reset { graceful, volumes } => self.machines.reset(at, *graceful, volumes).await,
            Step::WaitMaintenance(_) | Step::Done(_) => Ok(()),
        };
        let outcome = if result.is_ok() { Outcome::Succeeded } else { Outcome::Failed };
        self.remember(item, |memory| memory.stepped(step, outcome, Instant::now()));
        Ok(result?)
    }
}

#[cfg(test)]
mod tests;
