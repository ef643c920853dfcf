//! Publishing: what a plan put exists afterwards, what it did not put again goes.

use std::collections::BTreeSet;

use super::declare::Output;
use super::plan::Changes;
use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::state::State;
use crate::store::StateError;

/// The writing hand of one controller.
pub struct Publisher {
    pub state: State,
    pub owner: &'static str,
    pub outputs: &'static [Output],
}

impl Publisher {
    /// Makes the outputs exist and removes the rest. Pointers of wanted outputs that still are in teardown come
    /// out: they are put when their holders have let go.
    pub fn publish(&self, changes: &Changes) -> anyhow::Result<Vec<Pointer>> {
        let mut waiting = Vec::new();
        let mut first_error = None;
        let mut wanted = BTreeSet::new();
        for resource in &changes.puts {
            let pointer = resource.pointer();
            match self.put(resource) {
                Ok(true) => {}
                Ok(false) => waiting.push(pointer.clone()),
                Err(error) => first_error = first_error.or(Some(error)),
            }
            wanted.insert(pointer);
        }
        for output in self.outputs.iter().filter(|output| !changes.kept.contains(&output.definition.kind)) {
            first_error = self.sweep(output, &wanted).err().or(first_error);
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(waiting),
        }
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

    fn sweep(&self, output: &Output, wanted: &BTreeSet<Pointer>) -> anyhow::Result<()> {
        for resource in self.state.list_any(output.namespace, output.definition.kind) {
            let pointer = resource.pointer();
            if resource.metadata().owner == self.owner && !wanted.contains(&pointer) {
                self.state.remove_any(self.owner, &pointer)?;
            }
        }
        Ok(())
    }

    /// Holds inputs; one that is gone or going is not held, and the next view shows it.
    pub fn hold(&self, changes: &Changes) -> anyhow::Result<()> {
        for pointer in &changes.holds {
            match self.state.add_finalizer(pointer, self.owner) {
                Ok(()) | Err(StateError::NotFound(_) | StateError::Phase { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Lets go of inputs.
    pub fn release(&self, changes: &Changes) -> anyhow::Result<()> {
        for pointer in &changes.releases {
            self.state.remove_finalizer(pointer, self.owner)?;
        }
        Ok(())
    }
}
