//! Rules of the documents `ControlPlane`, `Workers` and `Machine`.

use super::Checker;
use crate::model::{Machine, MachineSet, Role, Strategy};
use crate::names::{self, Numbering};

impl Checker<'_> {
    pub(super) fn set(&mut self, cluster: &str, set: &MachineSet) {
        match set.role {
            Role::ControlPlane => self.control_plane(set),
            Role::Workers => self.workers(set),
        }
        for (index, uuid) in set.uuids().enumerate() {
            self.uuid(&format!("machines[{index}]"), uuid);
        }
        if let Some(class) = &set.class {
            if set.machines.is_some() {
                let message = "machines and machineClass exclude each other; keep one";
                self.refuse("machineClass", class.at, message);
            }
            if let Some(args) = &set.scope.kernel_args {
                let message = "not for machines of a class; give the class kernelArgs, or list machines";
                self.refuse("kernelArgs", args.at, message);
            }
        }
        self.scope(&set.scope, &Numbering::of_set(&names::set(cluster, set.name())));
    }

    fn control_plane(&mut self, set: &MachineSet) {
        let at = |strategy: Option<&Strategy>| strategy.map(|strategy| strategy.at);
        let forbidden = [
            ("name", set.name.as_ref().map(|name| name.at), "it is always named control-planes"),
            ("updateStrategy", at(set.update_strategy.as_ref()), "it is always updated one by one"),
            ("deleteStrategy", at(set.delete_strategy.as_ref()), "it always shrinks one by one"),
        ];
        for (field, at, why) in forbidden {
            if let Some(at) = at {
                self.refuse(field, at, format!("not for a control plane, {why}; remove the field"));
            }
        }
    }

    fn workers(&mut self, set: &MachineSet) {
        if let Some(name) = &set.name {
            self.name(Some(name), set.at);
            if name.value == MachineSet::CONTROL_PLANES {
                self.refuse("name", name.at, "it stands for the control plane; choose another");
            }
        }
        if let Some(bootstrap) = &set.bootstrap {
            self.refuse("bootstrapSpec", bootstrap.at, "only for ControlPlane; move it there");
        }
    }

    pub(super) fn machine(&mut self, machine: &Machine) {
        match &machine.name {
            Some(name) => self.uuid("name", name),
            None => self.refuse("name", machine.at, "missing; expected the UUID of a machine"),
        }
        if let Some(install) = &machine.install
            && install.disk.is_some()
            && install.disk_selector.is_some()
        {
            self.refuse("install", install.at, "disk and diskSelector exclude each other; keep one");
        }
        self.scope(&machine.scope, &Numbering::of_machine(machine.uuid()));
    }
}
