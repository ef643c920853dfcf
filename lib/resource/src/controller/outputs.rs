//! Publishing: what a plan put exists afterwards, what it did not put again goes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::declare::Output;
use super::plan::Changes;
use super::reasons::Reasons;
use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::state::State;
use crate::store::StateError;

/// Collisions that are remembered, so that each is logged once and not in every cycle.
const TOLD_MAX: usize = 256;

/// What came of publishing.
#[derive(Debug, Default)]
pub struct Published {
    /// Outputs that are wanted and not there yet, since an earlier one of the same name is still held.
    pub waiting: Reasons,
    /// Outputs that are not wanted and still there, since somebody holds them.
    pub held: Reasons,
}

/// The writing hand of one controller.
pub struct Publisher {
    state: State,
    owner: &'static str,
    outputs: &'static [Output],
    /// Outputs that were put twice, as far as that was logged.
    told: BTreeSet<Pointer>,
}

impl Publisher {
    pub const fn new(state: State, owner: &'static str, outputs: &'static [Output]) -> Self {
        Self { state, owner, outputs, told: BTreeSet::new() }
    }

    pub const fn state(&self) -> &State {
        &self.state
    }

    pub const fn owner(&self) -> &'static str {
        self.owner
    }

    pub const fn outputs(&self) -> &'static [Output] {
        self.outputs
    }

    /// Makes the outputs exist and removes the rest. What is not as wanted yet comes out: a wanted output that still is
    /// in teardown is put when its holders have let go.
    pub fn publish(&mut self, changes: &Changes) -> anyhow::Result<Published> {
        let all = self.outputs.iter().flat_map(|output| {
            let kind = Pointer::to_kind(output.namespace, output.definition.kind);
            self.state.store().heads_now(&kind)
        });
        let owned = all.filter(|resource| resource.metadata().owner == self.owner);
        let owned: Vec<Pointer> = owned.map(|resource| resource.pointer()).collect();
        self.publish_among(changes, &owned)
    }

    /// As [`Publisher::publish`], where `owned` is all that the plan may remove.
    pub fn publish_among(&mut self, changes: &Changes, owned: &[Pointer]) -> anyhow::Result<Published> {
        let mut published = Published::default();
        let mut errors = Vec::new();
        let wanted = self.wanted(&changes.puts);
        for (pointer, resource) in &wanted {
            match self.put(resource) {
                Ok(true) => {}
                Ok(false) => published.waiting.push(format!("the earlier {pointer} to be released")),
                Err(error) => errors.push(error),
            }
        }
        let is_left = |pointer: &&Pointer| {
            !wanted.contains_key(*pointer) && !changes.kept.contains(&pointer.kind.as_str())
        };
        for pointer in owned.iter().filter(is_left) {
            match self.state.remove_any(self.owner, pointer) {
                Ok(true) => {}
                Ok(false) => published.held.push(format!("{pointer} to be released")),
                Err(error) => errors.push(error.into()),
            }
        }
        match errors.into_iter().collect::<Reasons>().into_error() {
            Some(error) => Err(error),
            None => Ok(published),
        }
    }

    /// The outputs by their place. The first of a place stays: two that took turns would wake their readers for ever.
    fn wanted<'a>(&mut self, puts: &'a [AnyResource]) -> BTreeMap<Pointer, &'a AnyResource> {
        let mut wanted: BTreeMap<Pointer, &AnyResource> = BTreeMap::new();
        for resource in puts {
            match wanted.entry(resource.pointer()) {
                Entry::Vacant(place) => {
                    place.insert(resource);
                }
                Entry::Occupied(place) => {
                    let is_other = *place.get() != resource;
                    if is_other && self.told.len() < TOLD_MAX && self.told.insert(place.key().clone()) {
                        tracing::warn!(
                            controller = self.owner,
                            output = %place.key(),
                            "put twice with different content; the first stays"
                        );
                    }
                }
            }
        }
        wanted
    }

    /// True when the output is as wanted, false when an earlier one must go first.
    fn put(&self, resource: &AnyResource) -> anyhow::Result<bool> {
        let metadata = resource.metadata();
        let is_declared = |output: &Output| {
            output.namespace == metadata.namespace && output.definition.kind == metadata.kind
        };
        anyhow::ensure!(
            self.outputs.iter().any(is_declared),
            "{} writes {} in {:?} without declaring it",
            self.owner,
            metadata.kind,
            metadata.namespace
        );
        match self.state.put_any(self.owner, resource.clone()) {
            Ok(_) => Ok(true),
            Err(StateError::Phase { pointer, .. }) => {
                if !self.state.remove_any(self.owner, &pointer)? {
                    return Ok(false);
                }
                self.state.put_any(self.owner, resource.clone())?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Holds inputs and says whether all are held; one that is gone or going is not, and the next view shows it.
    pub fn hold(&self, changes: &Changes) -> anyhow::Result<bool> {
        let mut is_held = true;
        for pointer in &changes.holds {
            match self.state.add_finalizer(pointer, self.owner) {
                Ok(()) => {}
                Err(StateError::NotFound(_) | StateError::Phase { .. }) => is_held = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(is_held)
    }

    /// Lets go of inputs.
    pub fn release(&self, changes: &Changes) -> anyhow::Result<()> {
        for pointer in &changes.releases {
            self.state.remove_finalizer(pointer, self.owner)?;
        }
        Ok(())
    }
}
