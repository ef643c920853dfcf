//! The documents `ControlPlane`, `Workers` and `Machine` of resources.

use corten_config::node::Node;
use corten_fleet_resources::cluster::{
    AllocationKind, BootstrapSpec, MachineAllocation, MachineSet, MachineSetNode, UpdateStrategy,
    UpdateStrategyConfig,
};
use corten_fleet_resources::labels::{self, annotation};
use corten_fleet_resources::machine::{KernelArgs, MachineInstallDiskConfig};
use corten_resource::{AnyResource, Resource, Spec};

use super::{Exporter, Target, mapping, tags, texts, unless_empty};
use crate::model;

impl<'a> Exporter<'a> {
    /// The control plane, the workers by name, and their machines by UUID.
    pub(super) fn members(&mut self) -> Vec<Node> {
        let mut sets = self.ours::<MachineSet>();
        sets.sort_by_key(|set| !is_control_plane(set));
        let mut documents = Vec::new();
        let mut members = Vec::new();
        for set in sets {
            let Some(name) = self.name(set) else { continue };
            self.take(&set.metadata);
            let nodes = self.nodes(set);
            documents.push(self.set(set, name, &nodes));
            members.extend(nodes);
        }
        members.sort_by(|a, b| a.id().cmp(b.id()));
        documents.extend(members.into_iter().map(|node| self.machine(node)));
        documents
    }

    /// Name of a set in the template; nothing when the language cannot say it.
    fn name(&self, set: &'a Resource<MachineSet>) -> Option<&'a str> {
        let name = set.id().strip_prefix(self.cluster)?.strip_prefix('-')?;
        (is_control_plane(set) == (name == model::MachineSet::CONTROL_PLANES)).then_some(name)
    }

    /// Machines that a person put into a set.
    fn nodes(&self, set: &Resource<MachineSet>) -> Vec<&'a Resource<MachineSetNode>> {
        if allocation(set).is_some() {
            return Vec::new();
        }
        let mut nodes = self.ours::<MachineSetNode>();
        nodes.retain(|node| node.metadata.labels.get(labels::MACHINE_SET).is_some_and(|id| id == set.id()));
        nodes
    }

    fn set(&mut self, set: &Resource<MachineSet>, name: &str, nodes: &[&Resource<MachineSetNode>]) -> Node {
        let is_worker = !is_control_plane(set);
        let kind = if is_worker { "Workers" } else { "ControlPlane" };
        let is_named = is_worker && name != model::MachineSet::WORKERS;
        let machines = Node::list(nodes.iter().map(|node| Node::string(node.id())));
        let class = allocation(set);
        let (rolling, unset) = (UpdateStrategy::Rolling, UpdateStrategy::Unset);
        let update = strategy(set.update_strategy, set.update_strategy_config.as_ref(), rolling);
        let upgrade = strategy(set.upgrade_strategy, set.upgrade_strategy_config.as_ref(), unset);
        let delete = strategy(set.delete_strategy, set.delete_strategy_config.as_ref(), unset);
        let entries = [
            ("kind", Some(Node::string(kind))),
            ("name", is_named.then(|| Node::string(name))),
            ("labels", tags(&set.metadata.labels)),
            ("annotations", tags(&set.metadata.annotations)),
            ("bootstrapSpec", set.bootstrap_spec.as_ref().filter(|_| !is_worker).map(bootstrap)),
            ("machines", class.is_none().then_some(machines)),
            ("machineClass", class.map(machine_class)),
            ("updateStrategy", update.filter(|_| is_worker)),
            ("upgradeStrategy", upgrade),
            ("deleteStrategy", delete.filter(|_| is_worker)),
        ];
        mapping(entries.into_iter().chain(self.scope(Target::Set(set.id()))))
    }

    fn machine(&mut self, node: &Resource<MachineSetNode>) -> Node {
        self.take(&node.metadata);
        let is_locked = node.metadata.annotations.contains_key(annotation::LOCKED);
        let disk = self.of_machine::<MachineInstallDiskConfig>(node.id()).and_then(|disk| install(disk));
        let args = self.of_machine::<KernelArgs>(node.id()).filter(|_| self.options.include_kernel_args);
        let entries = [
            ("kind", Some(Node::string("Machine"))),
            ("name", Some(Node::string(node.id()))),
            ("labels", tags(&node.metadata.labels)),
            ("annotations", tags(&node.metadata.annotations)),
            ("locked", is_locked.then(|| Node::bool(true))),
            ("install", disk),
        ];
        let args = [("kernelArgs", args.map(|args| texts(&args.args)))];
        mapping(entries.into_iter().chain(self.scope(Target::Machine(node.id()))).chain(args))
    }

    /// What a person said about a machine wherever it is.
    fn of_machine<S: Spec>(&self, uuid: &str) -> Option<&'a Resource<S>> {
        let mut typed = self.resources.iter().filter_map(AnyResource::resource::<S>);
        typed.find(|resource| resource.id() == uuid && resource.metadata.owner.is_empty())
    }
}

fn is_control_plane(set: &Resource<MachineSet>) -> bool {
    set.metadata.labels.contains_key(labels::ROLE_CONTROL_PLANE)
}

/// From where a set takes its machines, in the newer form or the older one.
fn allocation(set: &MachineSet) -> Option<&MachineAllocation> {
    set.machine_allocation.as_ref().or(set.machine_class.as_ref())
}

fn machine_class(allocation: &MachineAllocation) -> Node {
    let size = match allocation.allocation_kind {
        AllocationKind::Static => Node::integer(i64::from(allocation.machine_count)),
        AllocationKind::Unlimited => Node::string("unlimited"),
    };
    mapping([("name", Some(Node::string(allocation.name.as_str()))), ("size", Some(size))])
}

fn bootstrap(bootstrap: &BootstrapSpec) -> Node {
    mapping([
        ("clusterUUID", Some(Node::string(bootstrap.cluster_uuid.as_str()))),
        ("snapshot", Some(Node::string(bootstrap.snapshot.as_str()))),
    ])
}

fn install(disk: &MachineInstallDiskConfig) -> Option<Node> {
    let text = |text: &String| unless_empty(Node::string(text.as_str()));
    unless_empty(mapping([("disk", text(&disk.disk)), ("diskSelector", text(&disk.disk_selector))]))
}

/// A strategy, unless it is the one that a template without it means.
fn strategy(
    kind: UpdateStrategy,
    config: Option<&UpdateStrategyConfig>,
    usual: UpdateStrategy,
) -> Option<Node> {
    let rolling = config.and_then(|config| config.rolling.as_ref());
    if kind == usual && rolling.is_none() {
        return None;
    }
    let name = match kind {
        UpdateStrategy::Rolling => "Rolling",
        UpdateStrategy::Unset => "Unset",
    };
    let rolling = rolling.map(|rolling| {
        mapping([("maxParallelism", Some(Node::integer(i64::from(rolling.max_parallelism))))])
    });
    Some(mapping([("type", Some(Node::string(name))), ("rolling", rolling)]))
}
