//! Which machines are in which set, as far as classes decide it (fleet.md 4.4).
//!
//! ```text
//! free MachineStatuses, MachineClass, MachineRequestSet ─┐
//! MachineSets with their clusters ───────────────────────┼─allocate─▶ MachineSetNode made, or torn down
//! MachineSetNodes ───────────────────────────────────────┘
//! MachineSet torn down ─▶ its MachineSetNodes torn down;   MachineSetNode that nobody holds ─▶ destroyed
//! ```
//!
//! All sets are planned together: what one takes, no other can have. A MachineSetNode has no owner, since people lock
//! machines and take them out also where a class brought them in; a label says that it did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corten_fleet_cluster::Labels;
use corten_fleet_cluster::allocate::{self, Allocation, Source};
use corten_fleet_resources::cluster::{
    AllocationKind, Cluster, MachineAllocation, MachineClass, MachineSet, MachineSetNode,
};
use corten_fleet_resources::labels::{
    CLUSTER, MACHINE_CLASS_NAME, MACHINE_SET, MANAGED_BY_MACHINE_SET_NODE_CONTROLLER, annotation,
    machine_status,
};
use corten_fleet_resources::machine::MachineStatus;
use corten_fleet_resources::provider::{InfraMachineConfig, MachineRequestSet};
use corten_resource::{
    AnyResource, Driver, LabelTerm, Plan, Pointer, Query, Resource, State, StateError, Store as _, View,
    controller,
};

use crate::view::{all, allocation, is_locked, label, member_labels, pointer, remove};

/// Reads a label selector of a machine class: the terms that must all hold, or a sentence that says why it is none.
pub type Selectors = fn(&str) -> Result<Vec<LabelTerm>, String>;

/// Owner of what people may change.
const NOBODY: &str = "";

/// Brings machines into sets and takes them out again, as classes want it.
#[derive(Debug)]
pub struct MachineSetNodeController {
    state: State,
    selectors: Selectors,
}

impl MachineSetNodeController {
    /// A controller that changes `state` and reads the selectors of classes with `selectors`.
    pub const fn new(state: State, selectors: Selectors) -> Self {
        Self { state, selectors }
    }

    /// What a set takes from its class now, or why its class cannot be used.
    fn allocate(
        &self,
        view: &View<Self>,
        fleet: &Fleet<'_>,
        set: &Resource<MachineSet>,
        allocation: &MachineAllocation,
    ) -> Result<Allocation, String> {
        // A set whose cluster goes gets no machines, and gives none away before it goes itself.
        let cluster = view.get::<Cluster>(label(&set.metadata, CLUSTER));
        let Some(cluster) = cluster else { return Ok(Allocation::default()) };
        let every = |_: &Labels| true;
        let name = allocation.name.as_str();
        let (source, query) = match view.get::<MachineClass>(name) {
            Some(class) if class.auto_provision.is_some() => (Source::Requests(set.id()), Query::default()),
            Some(class) => (Source::Labels(&every), self.query(class)?),
            None if view.get::<MachineRequestSet>(name).is_some() => {
                (Source::Requests(name), Query::default())
            }
            None => return Err(format!("there is no machine class {name:?}; create it, or change the set")),
        };
        let nodes = fleet.nodes_of(set.id());
        let machines = match is_full(allocation, &nodes) {
            true => Vec::new(),
            false => fleet.candidates(&query),
        };
        let set = allocate::Set {
            allocation,
            source,
            talos_version: &cluster.talos_version,
            is_locked: is_locked(&cluster.metadata),
            is_tearing_down: false,
        };
        Ok(allocate::allocate(&set, &machines, &nodes))
    }

    /// What the selectors of a class mean together.
    fn query(&self, class: &Resource<MachineClass>) -> Result<Query, String> {
        let wrong = |why: &str| format!("machine class {:?}: {why}", class.id());
        let read = |selector: &String| (self.selectors)(selector).map_err(|why| wrong(&why));
        let terms: Vec<Vec<LabelTerm>> = class.match_labels.iter().map(read).collect::<Result<_, _>>()?;
        if terms.is_empty() || terms.iter().any(Vec::is_empty) {
            return Err(wrong("a selector is missing or empty; name the labels of its machines"));
        }
        Ok(Query::any_of(terms))
    }
}

controller!(MachineSetNodeController, "MachineSetNodeController",
    inputs: [weak MachineSet, weak Cluster, weak MachineClass, weak MachineRequestSet, weak MachineSetNode,
        weak MachineStatus, weak InfraMachineConfig],
    outputs: []);

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A machine comes into a set, which the labels name.
    Create {
        /// UUID of the machine.
        machine: String,
        /// Labels of its MachineSetNode.
        labels: Labels,
    },
    /// A MachineSetNode goes; one that nobody holds any more is destroyed.
    Remove(Pointer),
}

impl Driver for MachineSetNodeController {
    type Observed = ();
    type Op = Op;
    // Each change of a machine is looked at together with all machines.
    const PACE: Duration = Duration::from_millis(250);

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<()> {
        Ok(())
    }

    fn plan(&self, view: &View<Self>, _: &()) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        for node in leaving(view) {
            plan.op(Op::Remove(node));
        }
        let sets = view.list::<MachineSet>().into_iter();
        let sets: Vec<_> = sets.filter_map(|set| Some((set, allocation(set)?))).collect();
        if sets.is_empty() {
            // Thousands of machines need not be looked at for nobody.
            return plan;
        }
        let mut fleet = Fleet::of(view);
        for (set, allocation) in sets {
            let wanted = match self.allocate(view, &fleet, set, allocation) {
                Ok(wanted) => wanted,
                Err(why) => {
                    plan.missing(format!("{}: {why}", set.id()));
                    continue;
                }
            };
            for machine in wanted.create {
                fleet.free.retain(|free| free.id() != machine);
                plan.op(Op::Create { machine, labels: labels(set, &allocation.name) });
            }
            if let Some(machine) = wanted.tear_down {
                plan.op(Op::Remove(pointer::<MachineSetNode>(&machine)));
            }
            if let Some(reason) = wanted.reason {
                plan.missing(format!("{}: {reason}", set.id()));
            }
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Create { machine, labels } => {
                let node = AnyResource::from(Resource::new(machine, MachineSetNode {}));
                let node = node.edit(|metadata| metadata.labels = labels);
                match self.state.store().create(node, NOBODY).await {
                    // Where somebody was faster, the next look shows it.
                    Ok(_) | Err(StateError::AlreadyExists(_)) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Op::Remove(node) => Ok(remove(&self.state, &node)?),
        }
    }
}

/// MachineSetNodes to remove in any case: of sets that go, and those that nobody holds any more.
fn leaving(view: &View<MachineSetNodeController>) -> Vec<Pointer> {
    let going: BTreeSet<&str> = view.tearing_down::<MachineSet>().into_iter().map(Resource::id).collect();
    let of_going = view.list::<MachineSetNode>().into_iter();
    let of_going = of_going.filter(|node| going.contains(label(&node.metadata, MACHINE_SET)));
    let left = view.tearing_down::<MachineSetNode>().into_iter();
    let left = left.filter(|node| node.metadata.is_destroy_ready());
    of_going.chain(left).map(|node| node.metadata.pointer()).collect()
}

/// Labels of the MachineSetNode of a machine that a class brings into a set.
fn labels(set: &Resource<MachineSet>, class: &str) -> Labels {
    let mut labels = member_labels(&set.metadata);
    labels.insert(MANAGED_BY_MACHINE_SET_NODE_CONTROLLER.to_owned(), String::new());
    labels.insert(MACHINE_CLASS_NAME.to_owned(), class.to_owned());
    labels
}

/// Whether a set has as many machines as it is to have, so that none is looked for.
fn is_full(allocation: &MachineAllocation, nodes: &[allocate::Node<'_>]) -> bool {
    let running = nodes.iter().filter(|node| !node.is_tearing_down).count();
    let wanted = usize::try_from(allocation.machine_count).unwrap_or(usize::MAX);
    allocation.allocation_kind == AllocationKind::Static && running >= wanted
}

/// The machines: those that are free, and those that are in sets.
struct Fleet<'a> {
    free: Vec<&'a Resource<MachineStatus>>,
    cordoned: BTreeSet<&'a str>,
    connected: BTreeSet<&'a str>,
    nodes: BTreeMap<&'a str, Vec<&'a Resource<MachineSetNode>>>,
}

impl<'a> Fleet<'a> {
    fn of(view: &'a View<MachineSetNodeController>) -> Self {
        let places = all::<MachineSetNode, _>(view);
        let placed: BTreeSet<&str> = places.iter().map(|node| node.id()).collect();
        let mut nodes: BTreeMap<&str, Vec<&Resource<MachineSetNode>>> = BTreeMap::new();
        for node in places {
            nodes.entry(label(&node.metadata, MACHINE_SET)).or_default().push(node);
        }
        let machines = view.list::<MachineStatus>();
        let connected = machines.iter().filter(|machine| machine.connected).map(|machine| machine.id());
        let connected = connected.collect();
        let is_free = |machine: &&Resource<MachineStatus>| {
            let labels = &machine.metadata.labels;
            // That a machine is in a cluster may stand in its status a little later.
            labels.contains_key(machine_status::AVAILABLE) && !placed.contains(machine.id())
        };
        let configs = view.list::<InfraMachineConfig>().into_iter();
        Self {
            free: machines.into_iter().filter(is_free).collect(),
            cordoned: configs.filter(|config| config.cordoned).map(Resource::id).collect(),
            connected,
            nodes,
        }
    }

    /// The machines that a set has.
    fn nodes_of(&self, set: &str) -> Vec<allocate::Node<'a>> {
        let nodes = self.nodes.get(set).into_iter().flatten();
        let node = |node: &&'a Resource<MachineSetNode>| {
            let metadata = &node.metadata;
            allocate::Node {
                id: node.id(),
                created: metadata.created,
                is_managed: metadata.labels.contains_key(MANAGED_BY_MACHINE_SET_NODE_CONTROLLER),
                is_locked: metadata.annotations.contains_key(annotation::LOCKED),
                is_tearing_down: metadata.is_tearing_down(),
                is_connected: self.connected.contains(node.id()),
            }
        };
        nodes.map(node).collect()
    }

    /// Free machines that a query means.
    fn candidates(&self, query: &Query) -> Vec<allocate::Machine<'a>> {
        let meant = self.free.iter().filter(|machine| query.matches(&machine.metadata));
        let candidate = |machine: &&'a Resource<MachineStatus>| allocate::Machine {
            id: machine.id(),
            labels: &machine.metadata.labels,
            talos_version: &machine.talos_version,
            is_cordoned: self.cordoned.contains(machine.id()),
            is_tearing_down: false,
        };
        meant.map(candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{WORKERS, annotated, cluster, labelled, machine_set_of, node, registry, selectors};

    fn started() -> TestRuntime {
        let runtime = TestRuntime::new(registry(), |runtime| {
            let state = runtime.state().clone();
            runtime.register(MachineSetNodeController::new(state, selectors));
        });
        runtime.put(cluster());
        let class = MachineClass { match_labels: vec!["big".to_owned()], auto_provision: None };
        runtime.put(resource("large", class));
        runtime
    }

    /// A machine that is free, with one more label.
    fn machine(id: &str, label: &str) -> AnyResource {
        let talos_version = "v1.14.0".to_owned();
        let spec = MachineStatus { talos_version, connected: true, ..MachineStatus::default() };
        let free = [
            machine_status::AVAILABLE,
            machine_status::READY_TO_USE,
            machine_status::REPORTING_EVENTS,
            label,
        ];
        labelled(resource(id, spec), &free.map(|key| (key, "")))
    }

    fn by_class(id: &str, machine_count: u32) -> AnyResource {
        let name = "large".to_owned();
        let allocation = MachineAllocation { name, machine_count, ..MachineAllocation::default() };
        machine_set_of(id, MachineSet { machine_allocation: Some(allocation), ..MachineSet::default() })
    }

    /// Machines in sets, as `machine in set`.
    fn placed(runtime: &TestRuntime) -> Vec<String> {
        let nodes = runtime.state().list::<MachineSetNode>();
        nodes.iter().map(|node| format!("{} in {}", node.id(), label(&node.metadata, MACHINE_SET))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn two_sets_share_the_free_machines_of_a_class_and_say_what_is_missing() {
        let runtime = started();
        for (id, label) in [("m1", "big"), ("m2", "big"), ("m3", "small")] {
            runtime.put(machine(id, label));
        }
        runtime.put(by_class("prod-a", 1));
        runtime.put(by_class("prod-b", 2));
        runtime.quiet().await;
        assert_eq!(placed(&runtime), ["m1 in prod-a", "m2 in prod-b"]);
        let node = runtime.state().get::<MachineSetNode>("m1").expect("placed").metadata;
        assert_eq!(node.owner, "", "people may lock it and take it out");
        assert!(node.labels.contains_key(MANAGED_BY_MACHINE_SET_NODE_CONTROLLER));
        let waits = runtime.status("MachineSetNodeController").expect("a status").reason;
        assert_eq!(waits, "prod-b: 1 more machines of large are needed; free or add some");
        runtime.put(machine("m4", "big"));
        runtime.quiet().await;
        assert_eq!(placed(&runtime), ["m1 in prod-a", "m2 in prod-b", "m4 in prod-b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_set_gives_back_what_a_class_brought_and_keeps_what_is_locked() {
        let runtime = started();
        for id in ["m1", "m2"] {
            let managed = [(MANAGED_BY_MACHINE_SET_NODE_CONTROLLER, "")];
            runtime.put(labelled(node(id, WORKERS), &managed));
        }
        let locked = runtime.state().get::<MachineSetNode>("m1").expect("put");
        runtime.put(annotated(locked.into(), &[annotation::LOCKED]));
        runtime.put(by_class(WORKERS, 1));
        runtime.quiet().await;
        assert_eq!(placed(&runtime), ["m1 in prod-workers"]);
    }

    #[tokio::test(start_paused = true)]
    async fn machines_leave_with_their_set_also_those_that_people_put_in() {
        let runtime = started();
        runtime.put(by_class(WORKERS, 0));
        runtime.put(node("m1", WORKERS));
        runtime.put(node("m2", "prod-other"));
        runtime.quiet().await;
        let set = pointer::<MachineSet>(WORKERS);
        runtime.state().add_finalizer(&set, "machines").expect("held");
        runtime.state().remove_any("", &set).expect("torn down");
        runtime.quiet().await;
        assert_eq!(placed(&runtime), ["m2 in prod-other"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_class_that_cannot_be_read_takes_no_machine() {
        let runtime = started();
        runtime.put(machine("m1", "big"));
        let class = MachineClass { match_labels: vec!["no selector".to_owned()], auto_provision: None };
        runtime.put(resource("large", class));
        runtime.put(by_class(WORKERS, 1));
        runtime.quiet().await;
        assert!(placed(&runtime).is_empty());
        let waits = runtime.status("MachineSetNodeController").expect("a status").reason;
        assert!(waits.contains("machine class \"large\""), "{waits}");
    }
}
