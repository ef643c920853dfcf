//! Rules that several documents keep together.

use std::collections::BTreeMap;

use corten_config::node::Position;

use super::{Checker, missing};
use crate::model::{Documents, MachineSet, Role};
use crate::schema::DocumentKind;

/// Where a machine is listed.
struct Membership<'a> {
    set: &'a MachineSet,
    at: Position,
}

impl Checker<'_> {
    pub(super) fn together(&mut self, documents: &Documents) {
        self.numbers(documents);
        self.repeated(documents);
        let members = self.members(documents);
        self.machines(documents, &members);
        self.kernel_args(documents);
    }

    /// One cluster and one control plane.
    fn numbers(&mut self, documents: &Documents) {
        let clusters: Vec<(String, Position)> =
            documents.clusters.iter().map(|cluster| (cluster.label(), cluster.at)).collect();
        let planes: Vec<(String, Position)> =
            documents.control_planes.iter().map(|set| (set.label(), set.at)).collect();
        for (kind, found) in [(DocumentKind::Cluster, clusters), (DocumentKind::ControlPlane, planes)] {
            if found.is_empty() && !documents.is_partial {
                self.findings.push(missing(self.file, kind));
            }
            let kind = kind.name();
            self.repeats(found, |line| {
                format!("a template has one {kind}, and there is one in line {line}; remove one")
            });
        }
    }

    /// Workers by name, machines by UUID.
    fn repeated(&mut self, documents: &Documents) {
        let mut first: BTreeMap<(DocumentKind, &str), Vec<(String, Position)>> = BTreeMap::new();
        for set in &documents.workers {
            first.entry((DocumentKind::Workers, set.name())).or_default().push((set.label(), set.at));
        }
        for machine in documents.machines.iter().filter(|machine| machine.name.is_some()) {
            let key = (DocumentKind::Machine, machine.uuid());
            first.entry(key).or_default().push((machine.label(), machine.at));
        }
        for ((kind, _), found) in first {
            let way_out = match kind {
                DocumentKind::Workers => "give one of them another name",
                _ => "make one of both",
            };
            self.repeats(found, |line| format!("already given in line {line}; {way_out}"));
        }
    }

    /// Refuses all but the first of these documents.
    fn repeats(&mut self, found: Vec<(String, Position)>, message: impl Fn(usize) -> String) {
        let mut found = found.into_iter();
        let Some((_, first)) = found.next() else { return };
        for (label, at) in found {
            self.document = label;
            self.refuse("", at, message(first.line));
        }
    }

    /// Each machine is in one set only.
    fn members<'a>(&mut self, documents: &'a Documents) -> BTreeMap<&'a str, Membership<'a>> {
        let mut members: BTreeMap<&str, Membership<'a>> = BTreeMap::new();
        for set in documents.sets() {
            self.document = set.label();
            for (index, uuid) in set.uuids().enumerate() {
                match members.get(uuid.as_str()) {
                    Some(Membership { set: first, at }) => {
                        let place = format!("{} in line {}", first.label(), at.line);
                        let message = format!("already in {place}; a machine is in one set only");
                        self.refuse(format!("machines[{index}]"), uuid.at, message);
                    }
                    None => {
                        members.insert(uuid.as_str(), Membership { set, at: uuid.at });
                    }
                }
            }
        }
        members
    }

    /// Machines are in a set; those of the control plane are not locked.
    fn machines(&mut self, documents: &Documents, members: &BTreeMap<&str, Membership<'_>>) {
        for machine in documents.machines.iter().filter(|machine| machine.name.is_some()) {
            self.document = machine.label();
            match members.get(machine.uuid()) {
                None => {
                    let way_out = "list it in ControlPlane or Workers, or remove the document";
                    self.refuse("name", machine.at, format!("in no machine set; {way_out}"));
                }
                Some(member) if member.set.role == Role::ControlPlane && machine.is_locked() => {
                    let at = machine.locked.as_ref().map(|locked| locked.at).unwrap_or_default();
                    let message = "machines of the control plane cannot be locked; remove the field";
                    self.refuse("locked", at, message);
                }
                Some(_) => {}
            }
        }
    }

    /// Kernel arguments of a cluster would be for machines of classes too.
    fn kernel_args(&mut self, documents: &Documents) {
        let Some(set) = documents.sets().find(|set| set.class.is_some()) else { return };
        for cluster in &documents.clusters {
            if let Some(args) = &cluster.scope.kernel_args {
                self.document = cluster.label();
                let message = format!(
                    "not for clusters with machines of a class, which {} has; give them to sets or machines",
                    set.label()
                );
                self.refuse("kernelArgs", args.at, message);
            }
        }
    }
}
