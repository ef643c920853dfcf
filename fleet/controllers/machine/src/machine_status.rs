//! What is known of a machine.
//!
//! ```text
//! Machine (held) ─wanted─▶ Watching ─▶ machine ─▶ Board ─MachineObservation─┐
//! MachineJoinConfig (first of all)                                          │
//! MachineSetNode, ClusterMachine, MachineLabels, InfraMachineStatus, … ─────┴▶ MachineStatus
//!                                                            └▶ MachineLabels, KernelArgs (once)
//! ```
//!
//! A machine is watched as long as it is connected. What it said stays when it goes away: the status of before is an
//! input.
//!
//! - `kinds`: the types that machines are asked for
//! - `observed`: events fold into what is known; `convert`, `extension`: from their words to ours
//! - `facts`, `status`: from what is known to the status and its labels
//! - `watch`, `watches`, `feed`: one connection, all of them, the network

mod convert;
mod ears;
mod extension;
mod facts;
mod feed;
mod kinds;
mod observed;
mod rows;
mod status;
mod watch;
mod watches;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use corten_fleet_resources::cluster::{ClusterMachine, MachineSetNode};
use corten_fleet_resources::labels::annotation::{KERNEL_ARGS_INITIALIZED, PLATFORM_TAG_LABELS_INITIALIZED};
use corten_fleet_resources::labels::{self, machine_status as names};
use corten_fleet_resources::link::{Link, MachineJoinConfig};
use corten_fleet_resources::machine::{
    KernelArgs, Machine, MachineLabels, MachineStatus, MachineStatusSnapshot,
};
use corten_fleet_resources::provider::InfraMachineStatus;
use corten_fleet_schematic::is_protected;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, Reads, Resource, Spec, View, controller};

pub use convert::event as stage_of_event;
pub use facts::{Facts, facts};
pub use feed::Network;
pub use kinds::Kind;
pub use observed::{Event, Observed, fold};
pub use status::{Around, Labels, is_installed, labels as labels_of, status as status_of};
pub use watches::{MACHINES_MAX, Watches, Watching};

use crate::board::{MachineObservation, Sight};
use crate::labels::{Handover, initial};
use crate::pool::Target;

/// Whether an event is about the stage of a machine.
pub(crate) const fn is_stage(event: &Event) -> bool {
    matches!(event, Event::Put { item: kinds::Item::Stage(_), .. })
}

/// Publishes what is known of machines, and has those that are connected watched.
#[derive(Debug)]
pub struct MachineStatusController<W, H> {
    watching: W,
    handover: H,
}

impl<W: Watching, H: Handover> MachineStatusController<W, H> {
    /// A controller with watches of machines, which makes what belongs to people with `handover`.
    pub const fn new(watching: W, handover: H) -> Self {
        Self { watching, handover }
    }
}

controller!(impl<W: Watching, H: Handover> MachineStatusController<W, H>, "MachineStatusController",
    inputs: [strong Machine, weak Link, weak MachineJoinConfig, weak MachineSetNode, weak ClusterMachine,
        weak MachineLabels, weak KernelArgs, weak InfraMachineStatus, weak MachineStatusSnapshot,
        weak MachineObservation, weak MachineStatus],
    outputs: [exclusive MachineStatus]);

/// What is done for a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// It is watched, and so.
    Watch(Target),
    /// It is watched no more.
    Unwatch,
    /// Nothing is known of it any more.
    Forget,
    /// It gets its first labels.
    Label(BTreeMap<String, String>),
    /// It gets its first kernel arguments.
    SetKernelArgs(Vec<String>),
}

impl<W: Watching, H: Handover> ItemDriver for MachineStatusController<W, H> {
    type Observed = Sight;
    type Op = Op;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, _: &View<Self>) -> anyhow::Result<Sight> {
        Ok(self.watching.sight(item))
    }

    fn plan(&self, item: &str, view: &View<Self>, sight: &Sight) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let Some(machine) = view.get::<Machine>(item) else {
            if sight.is_known {
                plan.op(Op::Forget);
            }
            return plan;
        };
        let last = view.get::<MachineStatus>(item);
        if last.is_none() && view.get::<MachineJoinConfig>(item).is_none() {
            return plan.waiting("its join configuration");
        }
        let place = any::<MachineSetNode, _>(view).map(|node| &node.metadata.labels);
        let place = place.or_else(|| any::<ClusterMachine, _>(view).map(|member| &member.metadata.labels));
        let key = view.get::<Link>(item).map(|link| link.node_public_key.as_str());
        match target(machine, key, place) {
            Ok(wanted) => plan_watch(&mut plan, sight, wanted),
            Err(address) => {
                let way_out = "it is written anew when the machine calls again";
                plan.missing(format!("an IPv6 address; {address:?} is none, {way_out}"));
            }
        }
        let around = Around {
            machine,
            reach: &sight.reach,
            membership: place,
            people: view.get::<MachineLabels>(item).map(|labels| &labels.metadata.labels),
            provider: view.get::<InfraMachineStatus>(item).map(|status| &status.spec),
            has_events: view
                .get::<MachineStatusSnapshot>(item)
                .is_some_and(|snapshot| snapshot.machine_status.is_some()),
        };
        let facts = sight.facts.as_deref();
        let status = status_of(facts, last.map(|last| &last.spec), &around);
        let fips = last.and_then(|last| last.metadata.labels.get(names::FIPS)).map(String::as_str);
        let fips = facts.map_or(fips.unwrap_or_default(), |facts| facts.fips);
        let labels = labels_of(&status, fips, &around);
        let mut annotations = last.map(|last| last.metadata.annotations.clone()).unwrap_or_default();
        if let Some(facts) = facts {
            let has_args = view.get::<KernelArgs>(item).is_some();
            plan_first(&mut plan, facts, around.people.is_some(), has_args, &mut annotations);
        }
        plan.put_with(item, status, |metadata| {
            metadata.labels = labels;
            metadata.annotations = annotations;
        });
        plan
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Watch(target) => self.watching.watch(item, &target)?,
            Op::Unwatch => self.watching.unwatch(item),
            Op::Forget => self.watching.forget(item),
            Op::Label(labels) => self.handover.labels(item, &labels)?,
            Op::SetKernelArgs(args) => self.handover.kernel_args(item, &args)?,
        }
        Ok(())
    }
}

/// The resource of a type that concerns the item, also one that goes away.
fn any<R: Spec, C: Reads<R>>(view: &View<C>) -> Option<&Resource<R>> {
    view.list::<R>().into_iter().chain(view.tearing_down::<R>()).next()
}

/// How a machine is to be watched: not at all while it is not connected. An address that is none is the error.
fn target<'a>(
    machine: &'a Resource<Machine>,
    key: Option<&str>,
    place: Option<&Labels>,
) -> Result<Option<Target>, &'a str> {
    if !machine.connected {
        return Ok(None);
    }
    let text = machine.management_address.as_str();
    let address: Ipv6Addr = text.parse().map_err(|_| text)?;
    let cluster = place.and_then(|labels| labels.get(labels::CLUSTER)).cloned();
    Ok(Some(Target { address, public_key: key.unwrap_or_default().to_owned(), cluster }))
}

fn plan_watch<C: corten_resource::Declared>(plan: &mut Plan<C, Op>, sight: &Sight, wanted: Option<Target>) {
    if sight.target == wanted {
        return;
    }
    plan.op(wanted.map_or(Op::Unwatch, Op::Watch));
}

/// What a machine brings along becomes its people's, once. It is noted in the annotations when it is there, or when
/// there is nothing to make.
fn plan_first<C: corten_resource::Declared>(
    plan: &mut Plan<C, Op>,
    facts: &Facts,
    has_labels: bool,
    has_args: bool,
    annotations: &mut BTreeMap<String, String>,
) {
    let is_done = |key: &str| annotations.contains_key(key);
    let (are_labels_done, are_args_done) =
        (is_done(PLATFORM_TAG_LABELS_INITIALIZED), is_done(KERNEL_ARGS_INITIALIZED));
    let is_agent = facts.status.schematic.as_ref().is_some_and(|schematic| schematic.in_agent_mode);
    let platform = facts.status.platform_metadata.as_ref();
    if let Some(platform) = platform.filter(|_| !are_labels_done && !is_agent) {
        let labels = initial(&facts.status.image_labels, &platform.tags);
        if labels.is_empty() || has_labels {
            annotations.insert(PLATFORM_TAG_LABELS_INITIALIZED.to_owned(), String::new());
        } else {
            plan.op(Op::Label(labels));
        }
    }
    if let Some(args) = facts.kernel_args.as_ref().filter(|_| !are_args_done && !is_agent) {
        let args: Vec<String> = args.iter().filter(|argument| !is_protected(argument)).cloned().collect();
        if args.is_empty() || has_args {
            annotations.insert(KERNEL_ARGS_INITIALIZED.to_owned(), String::new());
        } else {
            plan.op(Op::SetKernelArgs(args));
        }
    }
}

#[cfg(test)]
mod tests;
