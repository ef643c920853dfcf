//! Labels that resources of a type have, for the completion of what people type.

use std::collections::{BTreeMap, BTreeSet};

use corten_fleet_auth::{Decision, Operation, Verb};
use corten_fleet_resources::views::{LabelValues, LabelsCompletion};
use corten_resource::{State, StateError};

use crate::caller::Caller;

/// Most values of a label that are offered.
const VALUES_MAX: usize = 1000;
/// Labels of machines are asked for under a type that stands for nothing else, besides their own.
const MACHINE_LABELS: (&str, &str) =
    ("MachineStatusLabels.omni.sidero.dev", "MachineStatuses.omni.sidero.dev");

/// Labels of the resources of a type that the caller may list.
pub(super) fn of(state: &State, caller: &Caller, kind: &str) -> Result<LabelsCompletion, StateError> {
    let kind = if kind == MACHINE_LABELS.0 { MACHINE_LABELS.1 } else { kind };
    let definition = state.registry().definition(kind);
    let definition = definition.ok_or_else(|| StateError::Invalid(format!("there is no type {kind:?}")))?;
    let namespace = definition.namespace;
    let operation = Operation { verb: Verb::List(&[]), namespace, kind, id: "" };
    if let Decision::Deny(denial) = caller.decide(&operation) {
        return Err(StateError::Denied(denial.to_string()));
    }
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in state.list_any(namespace, kind) {
        for (key, value) in &resource.metadata().labels {
            let values = found.entry(key.clone()).or_default();
            if values.len() < VALUES_MAX {
                values.insert(value.clone());
            }
        }
    }
    let values = |values: BTreeSet<String>| LabelValues { items: values.into_iter().collect() };
    Ok(LabelsCompletion { items: found.into_iter().map(|(key, found)| (key, values(found))).collect() })
}
