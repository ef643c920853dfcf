//! Sets kernel parameters and reports what the kernel has.
//!
//!     KernelParamDefaultSpec, KernelParamSpec ──▶ /proc/sys, /sys ──▶ KernelParamStatus

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::runtime::{KernelParamDefaultSpec, KernelParamSpec, KernelParamStatus};

/// Keeper of the kernel's parameters.
pub struct KernelParamsApply {
    /// Values from before our first change, by id.
    originals: BTreeMap<String, String>,
    /// Ids that this kernel does not have or does not let us set.
    unsupported: BTreeMap<String, bool>,
    /// What we wrote and how the kernel shows it, by id: it may write the same value in its own way.
    written: BTreeMap<String, (String, String)>,
}

controller!(KernelParamsApply, "runtime.KernelParamApply",
    inputs: [weak KernelParamSpec, weak KernelParamDefaultSpec],
    outputs: [exclusive KernelParamStatus]);

impl KernelParamsApply {
    /// Nothing set yet.
    pub const fn new() -> Self {
        Self { originals: BTreeMap::new(), unsupported: BTreeMap::new(), written: BTreeMap::new() }
    }
}

/// Current values by id; `None` when the kernel does not have the parameter.
type Values = BTreeMap<String, Option<String>>;

/// Writes one value.
#[derive(Debug)]
pub struct Set {
    id: String,
    value: String,
    ignore_errors: bool,
}

impl Driver for KernelParamsApply {
    type Observed = Values;
    type Op = Set;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Values> {
        let values: Values = wanted(view)
            .into_keys()
            .map(|id| {
                let value = fs::read_to_string(path(&id)).ok().map(|text| normal(&text));
                (id, value)
            })
            .collect();
        for (id, value) in &values {
            if let Some(value) = value {
                self.originals.entry(id.clone()).or_insert_with(|| value.clone());
            }
        }
        Ok(values)
    }

    fn plan(&self, view: &View<Self>, observed: &Values) -> Plan<Self, Set> {
        let mut plan = Plan::new();
        for (id, (value, ignore_errors)) in wanted(view) {
            let current = observed.get(&id).cloned().flatten();
            let unsupported = current.is_none() || self.unsupported.contains_key(&id);
            if let Some(current) = current.as_ref().filter(|_| !unsupported)
                && *current != normal(&value)
                && self.written.get(&id) != Some(&(value.clone(), current.clone()))
            {
                plan.op(Set { id: id.clone(), value, ignore_errors });
            }
            let default = self.originals.get(&id).cloned().unwrap_or_default();
            plan.put(&id, KernelParamStatus { current: current.unwrap_or_default(), default, unsupported });
        }
        plan
    }

    async fn apply(&mut self, op: Set) -> anyhow::Result<()> {
        match fs::write(path(&op.id), &op.value) {
            Err(error) if op.ignore_errors || refused(&error) => {
                self.unsupported.insert(op.id, true);
                Ok(())
            }
            Err(error) => Err(error).with_context(|| format!("cannot set {} to {}", op.id, op.value)),
            Ok(()) => {
                let shown = fs::read_to_string(path(&op.id)).map(|text| normal(&text)).unwrap_or_default();
                self.written.insert(op.id, (op.value, shown));
                Ok(())
            }
        }
    }
}

/// The kernel says no for good: the parameter cannot be set on this machine.
fn refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Wanted values; the configuration's win over the defaults.
fn wanted(view: &View<KernelParamsApply>) -> BTreeMap<String, (String, bool)> {
    let mut wanted: BTreeMap<_, _> = view
        .list::<KernelParamDefaultSpec>()
        .into_iter()
        .map(|spec| (spec.metadata.id.clone(), (spec.spec.value.clone(), spec.spec.ignore_errors)))
        .collect();
    for spec in view.list::<KernelParamSpec>() {
        wanted.insert(spec.metadata.id.clone(), (spec.spec.value.clone(), spec.spec.ignore_errors));
    }
    wanted
}

/// `proc.sys.net.ipv4.ip_forward` is `/proc/sys/net/ipv4/ip_forward`; a name that contains slashes has dots in its parts.
fn path(id: &str) -> PathBuf {
    let path = match id.strip_prefix("proc.sys.") {
        Some(name) if name.contains('/') => format!("proc/sys/{name}"),
        _ => id.replace('.', "/"),
    };
    PathBuf::from("/").join(path)
}

/// The kernel separates numbers by tabs, people by blanks.
fn normal(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_paths_and_interface_names_may_contain_dots() {
        assert_eq!(path("proc.sys.net.ipv4.ip_forward"), PathBuf::from("/proc/sys/net/ipv4/ip_forward"));
        let vlan = path("proc.sys.net/ipv4/conf/eth0.100/rp_filter");
        assert_eq!(vlan, PathBuf::from("/proc/sys/net/ipv4/conf/eth0.100/rp_filter"));
        assert_eq!(path("sys.block.sda"), PathBuf::from("/sys/block/sda"));
    }

    #[test]
    fn blanks_do_not_make_a_difference() {
        assert_eq!(normal("4096\t87380  6291456\n"), "4096 87380 6291456");
    }
}
