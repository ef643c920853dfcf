//! What a machine brings along becomes its people's once: labels of its medium and of its cloud, its kernel arguments.
//!
//! ```text
//! META 0x0c (installation medium) ─┐
//! tags of the platform ────────────┴─initial─▶ MachineLabels   (once; people change them from then on)
//! kernel arguments of the schematic ─────────▶ KernelArgs      (once, without the protected ones)
//! ```
//!
//! That it was done stands as an annotation on the machine's status, so that labels which people remove stay away.

use std::collections::BTreeMap;

use corten_config::yaml;
use corten_fleet_resources::labels::is_reserved;
use corten_fleet_resources::machine::{KernelArgs, MachineLabels};
use corten_resource::{AnyResource, Spec, State, StateError};
use serde_json::Value;

/// Tag of META that holds the labels of the installation medium (fleet.md 11.3).
pub const IMAGE_LABELS_META_KEY: &str = "0x0c";

/// Key of the labels in that tag, and what it was called once.
const LABELS_KEYS: [&str; 2] = ["machineLabels", "initialMachineLabels"];
/// Most labels of a machine (fleet.md 3.1).
const LABELS_MAX: usize = 256;
/// Longest key of a label, bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Longest value of a label, bytes.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Labels by their keys.
pub type ImageLabels = BTreeMap<String, String>;

/// The labels in a tag of META; none when the text is something else. Reserved ones are left out: a medium must not say
/// which cluster its machine is in.
#[must_use]
pub fn image_labels(text: &str) -> ImageLabels {
    let documents = yaml::parse(text).unwrap_or_default();
    let [document] = documents.as_slice() else { return ImageLabels::new() };
    let found = LABELS_KEYS.iter().find_map(|key| document.get(key)?.as_object());
    let entries = found.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), text_of(value)?)));
    entries.filter(|(key, value)| is_label(key, value)).take(LABELS_MAX).collect()
}

/// The first labels of a machine: tags of its platform, and over them labels of its medium.
#[must_use]
pub fn initial(image: &ImageLabels, tags: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let all: BTreeMap<String, String> =
        tags.iter().chain(image).map(|(key, value)| (key.clone(), value.clone())).collect();
    all.into_iter().filter(|(key, value)| is_label(key, value)).take(LABELS_MAX).collect()
}

fn is_label(key: &str, value: &str) -> bool {
    let is_plain = |text: &str| !text.contains(char::is_control);
    let fits = key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX;
    !key.is_empty() && fits && is_plain(key) && is_plain(value) && !is_reserved(key)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Makes what belongs to people from then on. Implemented for the store and by a recording fake.
pub trait Handover: Send + Sync + 'static {
    /// Makes the labels of a machine, unless it has some.
    ///
    /// # Errors
    /// When the store does not take them.
    fn labels(&self, machine: &str, labels: &BTreeMap<String, String>) -> Result<(), StateError>;

    /// Makes the kernel arguments of a machine, unless it has some.
    ///
    /// # Errors
    /// When the store does not take them.
    fn kernel_args(&self, machine: &str, args: &[String]) -> Result<(), StateError>;
}

/// Owner of what people may change.
const NOBODY: &str = "";

impl Handover for State {
    fn labels(&self, machine: &str, labels: &BTreeMap<String, String>) -> Result<(), StateError> {
        if self.get::<MachineLabels>(machine).is_some() {
            return Ok(());
        }
        let resource = AnyResource::new(MachineLabels::DEFINITION.namespace, machine, MachineLabels {});
        self.put_any(NOBODY, resource.edit(|metadata| metadata.labels.clone_from(labels))).map(drop)
    }

    fn kernel_args(&self, machine: &str, args: &[String]) -> Result<(), StateError> {
        if self.get::<KernelArgs>(machine).is_some() {
            return Ok(());
        }
        self.put(NOBODY, machine, KernelArgs { args: args.to_vec() }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::state;

    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_medium_labels_its_machine_but_not_in_the_managers_name() {
        let text = "machineLabels:\n  rack: 7\n  zone: a\n  list: [a]\n  omni.sidero.dev/cluster: prod\n";
        assert_eq!(image_labels(text), map(&[("rack", "7"), ("zone", "a")]));
        assert_eq!(image_labels("initialMachineLabels: {a: b}"), map(&[("a", "b")]));
        for other in ["", "[", "a: b", "machineLabels: [a]"] {
            assert!(image_labels(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn the_medium_weighs_more_than_the_cloud() {
        let (image, tags) = (map(&[("rack", "7")]), map(&[("rack", "1"), ("team", "x"), ("", "y")]));
        assert_eq!(initial(&image, &tags), map(&[("rack", "7"), ("team", "x")]));
    }

    #[test]
    fn what_people_have_is_not_made_again() {
        let state = state(corten_fleet_resources::registry());
        state.labels("m1", &map(&[("rack", "7")])).expect("made");
        state.labels("m1", &map(&[("rack", "8")])).expect("left alone");
        let labels = state.get::<MachineLabels>("m1").expect("labels").metadata;
        assert_eq!((labels.labels, labels.owner.as_str()), (map(&[("rack", "7")]), ""));
        state.kernel_args("m1", &["quiet".to_owned()]).expect("made");
        assert_eq!(state.get::<KernelArgs>("m1").expect("arguments").args, ["quiet"]);
    }

    #[test]
    fn arbitrary_text_has_labels_that_a_machine_may_have() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let labels = image_labels(&String::from_utf8_lossy(bytes));
            assert!(labels.iter().all(|(key, value)| is_label(key, value)));
        });
    }
}
