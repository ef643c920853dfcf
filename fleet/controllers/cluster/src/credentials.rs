//! What the credentials of the manager have in common: they are kept while they are good, and made anew in time.

use std::time::SystemTime;

use corten_fleet_cluster::secrets::{ClusterSecretsError, Renewal};
use corten_resource::{Never, Plan, Spec, Writes};

/// Credentials as they are to be. They cannot be printed.
pub(crate) struct Credential<S> {
    spec: S,
    /// When they are looked at again; `None` for those that are new.
    due_at: Option<SystemTime>,
}

impl<S: Clone> Credential<S> {
    /// Those that are held, or new ones if `renewal` says so.
    ///
    /// # Errors
    /// When new ones cannot be made.
    pub(crate) fn of(
        held: Option<&S>,
        renewal: Renewal,
        make: impl FnOnce() -> Result<S, ClusterSecretsError>,
    ) -> Result<Self, ClusterSecretsError> {
        match (held, renewal) {
            (Some(held), Renewal::DueAt(at)) => Ok(Self { spec: held.clone(), due_at: Some(at) }),
            _ => Ok(Self { spec: make()?, due_at: None }),
        }
    }
}

/// Publishes credentials, and looks again when they are due. Without any, none are left.
pub(crate) fn settle<C: Writes<S>, S: Spec>(
    item: &str,
    now: SystemTime,
    credential: Option<&Credential<S>>,
) -> Plan<C, Never> {
    let mut plan = Plan::new();
    let Some(credential) = credential else { return plan };
    plan.put(item, credential.spec.clone());
    match credential.due_at.and_then(|at| at.duration_since(now).ok()) {
        Some(left) => plan.again_in(left),
        None => plan,
    }
}
