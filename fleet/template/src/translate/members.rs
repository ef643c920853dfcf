//! Machine sets and the machines in them.

use corten_fleet_resources::cluster::{
    AllocationKind, BootstrapSpec, MachineAllocation, MachineSet as Wanted, MachineSetNode,
    RollingUpdateConfig, UpdateStrategy, UpdateStrategyConfig,
};
use corten_fleet_resources::labels::{self, annotation};
use corten_fleet_resources::machine::{KernelArgs, MachineInstallDiskConfig};

use super::{MANAGED, Translator, texts};
use crate::model::{Descriptors, Install, Machine, MachineClass, MachineSet, Role, Size, Spanned, Strategy};
use crate::names::{self, Numbering};

impl Translator<'_> {
    pub(super) fn set(&mut self, set: &MachineSet) {
        let template = self.template;
        let id = names::set(template.name(), set.name());
        let cluster = (labels::CLUSTER, template.name());
        let role = match set.role {
            Role::ControlPlane => (labels::ROLE_CONTROL_PLANE, ""),
            Role::Workers => (labels::ROLE_WORKER, ""),
        };
        let member = (labels::MACHINE_SET, id.as_str());
        self.put(id.clone(), wanted(set), &[cluster, role], &[], &set.scope.descriptors);
        self.scope(&set.scope, &Numbering::of_set(&id), &id, &[cluster, member]);
        for uuid in set.uuids() {
            let machine = template.machine(uuid);
            self.node(uuid, machine, &[cluster, member, role]);
            self.kernel_args(uuid, set, machine);
            if let Some(machine) = machine {
                self.machine(uuid, machine);
            }
        }
    }

    fn node(&mut self, uuid: &str, machine: Option<&Machine>, labels: &[(&str, &str)]) {
        let none = Descriptors::default();
        let chosen = machine.map_or(&none, |machine| &machine.scope.descriptors);
        let is_locked = machine.is_some_and(Machine::is_locked);
        let annotations: &[(&str, &str)] = if is_locked { &[(annotation::LOCKED, "")] } else { &[] };
        self.put(uuid.to_owned(), MachineSetNode {}, labels, annotations, chosen);
    }

    /// Kernel arguments of the narrowest scope that gives any.
    fn kernel_args(&mut self, uuid: &str, set: &MachineSet, machine: Option<&Machine>) {
        let own = machine.and_then(|machine| machine.scope.kernel_args.as_ref());
        let wider = set.scope.kernel_args.as_ref().or(self.template.cluster.scope.kernel_args.as_ref());
        if let Some(args) = own.or(wider) {
            let spec = KernelArgs { args: texts(args) };
            self.put(uuid.to_owned(), spec, &[], &[MANAGED], &Descriptors::default());
        }
    }

    fn machine(&mut self, uuid: &str, machine: &Machine) {
        let labels = [(labels::CLUSTER, self.template.name()), (labels::CLUSTER_MACHINE, uuid)];
        self.scope(&machine.scope, &Numbering::of_machine(uuid), uuid, &labels);
        if let Some(spec) = machine.install.as_ref().and_then(disk) {
            self.put(uuid.to_owned(), spec, &[], &[MANAGED], &Descriptors::default());
        }
    }
}

fn disk(install: &Install) -> Option<MachineInstallDiskConfig> {
    if install.disk.is_none() && install.disk_selector.is_none() {
        return None;
    }
    let text = |field: Option<&Spanned<String>>| field.map(|text| text.value.clone()).unwrap_or_default();
    Some(MachineInstallDiskConfig {
        disk: text(install.disk.as_ref()),
        disk_selector: text(install.disk_selector.as_ref()),
    })
}

fn wanted(set: &MachineSet) -> Wanted {
    let kind = |strategy: Option<&Strategy>| strategy.and_then(|strategy| strategy.kind);
    let upgrade = set.upgrade_strategy.as_ref();
    Wanted {
        update_strategy: kind(set.update_strategy.as_ref()).unwrap_or(UpdateStrategy::Rolling),
        machine_class: None,
        bootstrap_spec: set.bootstrap.as_ref().map(|bootstrap| BootstrapSpec {
            cluster_uuid: bootstrap.cluster_uuid.clone(),
            snapshot: bootstrap.snapshot.clone(),
        }),
        delete_strategy: kind(set.delete_strategy.as_ref()).unwrap_or(UpdateStrategy::Unset),
        update_strategy_config: config(set.update_strategy.as_ref()),
        delete_strategy_config: config(set.delete_strategy.as_ref()),
        machine_allocation: set.class.as_ref().map(allocation),
        upgrade_strategy: match upgrade {
            Some(_) => kind(upgrade).unwrap_or(UpdateStrategy::Rolling),
            None => UpdateStrategy::Unset,
        },
        upgrade_strategy_config: config(upgrade),
    }
}

fn config(strategy: Option<&Strategy>) -> Option<UpdateStrategyConfig> {
    let max_parallelism = strategy?.max_parallelism?;
    Some(UpdateStrategyConfig { rolling: Some(RollingUpdateConfig { max_parallelism }) })
}

fn allocation(class: &MachineClass) -> MachineAllocation {
    let (machine_count, allocation_kind) = match class.size {
        Size::Count(count) => (count, AllocationKind::Static),
        Size::Unlimited => (0, AllocationKind::Unlimited),
    };
    MachineAllocation { name: class.name.clone(), machine_count, allocation_kind }
}
