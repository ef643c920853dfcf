//! What the manager writes for a caller beside the doors to resources: without an owner, and written down.
//!
//! ```text
//! management ─▶ Writer ─▶ store, then Audit
//! ```

use corten_resource::{AnyResource, Pointer, Resource, Spec, State, StateError, Store as _, UpdateOptions};

use crate::audit::{Audit, AuditEvent, AuditKind};
use crate::caller::Caller;

/// Writes for one caller.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) state: &'a State,
    pub(crate) audit: &'a dyn Audit,
    pub(crate) caller: &'a Caller,
}

impl Writer<'_> {
    /// Creates a resource.
    pub(crate) async fn create<S: Spec>(&self, resource: Resource<S>) -> Result<AnyResource, StateError> {
        let created = self.state.store().create(resource.into(), "").await?;
        self.note(AuditKind::Create, None, Some(created.clone()));
        Ok(created)
    }

    /// Changes a resource, in whatever phase it is and whoever owns it.
    pub(crate) async fn change<S: Spec>(
        &self,
        id: &str,
        change: impl Fn(&mut Resource<S>) + Send,
    ) -> Result<(), StateError> {
        let at = Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id);
        loop {
            let stored = self.state.store().newest(&at).await?;
            let found = stored.resource::<S>().ok_or_else(|| StateError::NotFound(at.clone()))?;
            let mut changed = found.clone();
            change(&mut changed);
            let options = UpdateOptions::any_phase(changed.metadata.owner.clone());
            match self.state.store().update(changed.into(), &options).await {
                Err(StateError::Version { .. }) => {}
                Err(error) => return Err(error),
                Ok(updated) => {
                    self.note(AuditKind::Update, Some(stored), Some(updated));
                    return Ok(());
                }
            }
        }
    }

    /// Removes a resource, whoever owns it; false when there is none. What others hold stays until they let go of it.
    pub(crate) async fn remove<S: Spec>(&self, id: &str) -> Result<bool, StateError> {
        let at = Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id);
        let stored = match self.state.store().newest(&at).await {
            Ok(stored) => stored,
            Err(StateError::NotFound(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let owner = stored.metadata().owner.clone();
        if self.state.store().teardown(&at, &owner).await? {
            self.state.store().destroy(&at, &owner).await?;
        }
        self.note(AuditKind::Destroy, Some(stored), None);
        Ok(true)
    }

    fn note(&self, kind: AuditKind, old: Option<AnyResource>, new: Option<AnyResource>) {
        if let Some(event) = AuditEvent::of(kind, self.caller, old, new) {
            self.audit.record(event);
        }
    }
}
