//! Sets kernel parameters and reports what the kernel has.
//!
//!     KernelParamDefaultSpec, KernelParamSpec ──▶ /proc/sys, /sys ──▶ KernelParamStatus
//!
//! What the configuration does not name any more gets the value back that it had before us. That value stands in the
//! status, where the next machined finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Context;
use corten_base::blocking;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::runtime::{KernelParamDefaultSpec, KernelParamSpec, KernelParamStatus};
use corten_sys::sysctl::{Sysctls, Sysfs};

/// Some parameters set much in motion, such as the allocation of huge pages.
const DEADLINE: Duration = Duration::from_secs(30);
/// Parameters of modules and links come with these, and nobody tells.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What may be done to the kernel's parameters.
pub trait Parameters: Sysctls + Sysfs + Clone + 'static {}

impl<K: Sysctls + Sysfs + Clone + 'static> Parameters for K {}

/// Keeper of the kernel's parameters.
pub struct KernelParamsApply<K> {
    kernel: K,
    /// Values from before our first change, by id.
    originals: BTreeMap<String, String>,
    /// Ids that this kernel does not let us set.
    refused: BTreeSet<String>,
    /// Ids whose original value the kernel did not take back.
    abandoned: BTreeSet<String>,
    /// What we wrote and how the kernel shows it, by id: it may write the same value in its own way.
    written: BTreeMap<String, (String, String)>,
}

controller!(impl<K: Parameters> KernelParamsApply<K>, "runtime.KernelParamApply",
    inputs: [strong KernelParamSpec, weak KernelParamDefaultSpec, weak KernelParamStatus],
    outputs: [exclusive KernelParamStatus]);

impl<K> KernelParamsApply<K> {
    /// Nothing set yet.
    pub const fn new(kernel: K) -> Self {
        Self {
            kernel,
            originals: BTreeMap::new(),
            refused: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            written: BTreeMap::new(),
        }
    }
}

/// Current values by id; `None` when the kernel does not have the parameter.
type Values = BTreeMap<String, Option<String>>;

/// Writes one value.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    id: String,
    value: String,
    on_error: OnError,
}

/// What an error means that is not a refusal for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnError {
    /// The parameter cannot be set on this machine.
    Unsupported,
    /// It is told, and tried again.
    Retry,
    /// It is told, and the value stays: nobody wants the parameter any more.
    Abandon,
}

impl<K: Parameters> Driver for KernelParamsApply<K> {
    type Observed = Values;
    type Op = Set;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Values> {
        let gone = view.tearing_down::<KernelParamSpec>().into_iter().map(|spec| spec.metadata.id.clone());
        let ids: BTreeSet<String> = wanted(view).into_keys().chain(gone).collect();
        let mut values = Values::new();
        for id in ids {
            let value = get(&self.kernel, &id).ok();
            if let Some(value) = &value
                && !self.originals.contains_key(&id)
            {
                let status = view.get::<KernelParamStatus>(&id).filter(|status| !status.spec.unsupported);
                let original = status.map_or(value, |status| &status.spec.default).clone();
                self.originals.insert(id.clone(), original);
            }
            values.insert(id, value);
        }
        Ok(values)
    }

    fn plan(&self, view: &View<Self>, observed: &Values) -> Plan<Self, Set> {
        let mut plan = Plan::new();
        for spec in view.list::<KernelParamSpec>() {
            plan.hold::<KernelParamSpec>(&spec.metadata.id);
        }
        let wanted = wanted(view);
        for (id, (value, on_error)) in &wanted {
            let current = observed.get(id).cloned().flatten();
            let unsupported = current.is_none() || self.refused.contains(id);
            if let Some(current) = current.as_ref().filter(|_| !unsupported)
                && !self.is_set(id, value, current)
            {
                plan.op(Set { id: id.clone(), value: value.clone(), on_error: *on_error });
            }
            let default = self.originals.get(id).cloned().unwrap_or_default();
            plan.put(id, KernelParamStatus { current: current.unwrap_or_default(), default, unsupported });
        }
        for spec in view.tearing_down::<KernelParamSpec>() {
            let id = &spec.metadata.id;
            match self.restore(id, observed.get(id).cloned().flatten()) {
                Some(op) if !wanted.contains_key(id) => plan.op(op),
                _ => plan.release::<KernelParamSpec>(id),
            };
        }
        let is_absent = |id| observed.get(id).is_none_or(Option::is_none);
        if wanted.keys().any(is_absent) { plan.again_in(LOOK_AGAIN) } else { plan }
    }

    async fn apply(&mut self, op: Set) -> anyhow::Result<()> {
        let Set { id, value, on_error } = op;
        let (kernel, name, wish) = (self.kernel.clone(), id.clone(), value.clone());
        let write = move || {
            set(&kernel, &name, &wish)?;
            // Some can only be written; they are as if they had become what was written.
            Ok(get(&kernel, &name).unwrap_or_else(|_| normal(&wish)))
        };
        let error = match blocking(DEADLINE, write).await? {
            Ok(shown) => {
                self.abandoned.remove(&id);
                self.written.insert(id, (value, shown));
                return Ok(());
            }
            Err(error) => error,
        };
        if on_error == OnError::Abandon {
            self.abandoned.insert(id.clone());
        } else if on_error == OnError::Unsupported || is_refusal(&error) {
            self.refused.insert(id);
            return Ok(());
        }
        Err(error).with_context(|| format!("cannot set {id} to {value:?}"))
    }
}

impl<K> KernelParamsApply<K> {
    fn is_set(&self, id: &str, value: &str, current: &str) -> bool {
        let written = self.written.get(id);
        current == normal(value) || written.is_some_and(|(wish, shown)| wish == value && shown == current)
    }

    /// What gives a parameter its own value back, if it has another one and can have it.
    fn restore(&self, id: &str, current: Option<String>) -> Option<Set> {
        let original = self.originals.get(id)?;
        let is_ours = !self.refused.contains(id) && !self.abandoned.contains(id);
        let differs = !self.is_set(id, original, &current?);
        let value = original.clone();
        (is_ours && differs).then(|| Set { id: id.to_owned(), value, on_error: OnError::Abandon })
    }
}

/// The kernel says no for good: the parameter cannot be set on this machine.
fn is_refusal(error: &corten_sys::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Wanted values; the configuration's win over the defaults.
fn wanted<K: Parameters>(view: &View<KernelParamsApply<K>>) -> BTreeMap<String, (String, OnError)> {
    let row = |id: &String, value: &String, ignore_errors| {
        let on_error = if ignore_errors { OnError::Unsupported } else { OnError::Retry };
        (id.clone(), (value.clone(), on_error))
    };
    let defaults = view.list::<KernelParamDefaultSpec>().into_iter();
    let defaults = defaults.map(|spec| row(&spec.metadata.id, &spec.spec.value, spec.spec.ignore_errors));
    let configured = view.list::<KernelParamSpec>().into_iter();
    let configured = configured.map(|spec| row(&spec.metadata.id, &spec.spec.value, spec.spec.ignore_errors));
    defaults.chain(configured).collect()
}

/// The name of a sysctl; other ids are those of attributes.
fn sysctl(id: &str) -> Option<&str> {
    id.strip_prefix("proc.sys.")
}

fn attribute(id: &str) -> &str {
    id.strip_prefix("sys.").unwrap_or(id)
}

fn get(kernel: &impl Parameters, id: &str) -> corten_sys::Result<String> {
    let value = match sysctl(id) {
        Some(name) => kernel.read(name),
        None => kernel.read_attribute(attribute(id)),
    };
    value.map(|value| normal(&value))
}

fn set(kernel: &impl Parameters, id: &str, value: &str) -> corten_sys::Result<()> {
    match sysctl(id) {
        Some(name) => kernel.write(name, value),
        None => kernel.write_attribute(attribute(id), value),
    }
}

/// The kernel separates numbers by tabs, people by blanks.
fn normal(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
