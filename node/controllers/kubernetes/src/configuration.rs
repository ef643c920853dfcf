//! The machine configuration as this domain reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_config::view::MachineView;
use corten_resource::{Object, Resource};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::{ArgValues, ExtraVolume, Resources};

/// The view of a complete configuration; nothing in maintenance.
#[must_use]
pub fn complete(resource: Option<&Resource<MachineConfig>>) -> Option<Arc<MachineView>> {
    let config = corten_config::load_cached(&resource?.spec.yaml).ok()?;
    Some(config.view()).filter(|view| view.complete)
}

/// The view on a control plane.
#[must_use]
pub fn control_plane(resource: Option<&Resource<MachineConfig>>) -> Option<Arc<MachineView>> {
    complete(resource).filter(|view| view.is_control_plane())
}

/// Arguments as resources hold them.
#[must_use]
pub fn arguments(given: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, ArgValues> {
    given.iter().map(|(name, values)| (name.clone(), ArgValues { values: values.clone() })).collect()
}

/// Volumes as resources hold them, named by their order.
#[must_use]
pub fn volumes(given: &[corten_config::view::HostVolume]) -> Vec<ExtraVolume> {
    let volume = |(index, volume): (usize, &corten_config::view::HostVolume)| ExtraVolume {
        name: format!("extra-{index}"),
        host_path: volume.host_path.clone(),
        mount_path: volume.mount_path.clone(),
        read_only: volume.read_only,
    };
    given.iter().enumerate().map(volume).collect()
}

/// Requests and limits; numbers are taken as their text.
#[must_use]
pub fn resources(given: &Object) -> Resources {
    let map = |key: &str| {
        let entries = given.get(key).and_then(serde_json::Value::as_object);
        let text =
            |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        entries.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
    };
    Resources { requests: map("requests"), limits: map("limits") }
}
