//! What is written down about changes: who did what to which resource. Writing it is another crate's business.
//!
//! ```text
//! Access, management ─▶ AuditEvent ─▶ Audit   (fleet.md 2.11)
//! ```

use std::time::SystemTime;

use corten_fleet_resources::access::{self, Scope};
use corten_fleet_resources::labels;
use corten_resource::{AnyResource, Pointer};

use crate::caller::Caller;

/// Types of which changes are not written down: providers say by them again and again that they are there.
pub const SIGNS_OF_LIFE: [&str; 1] = ["InfraProviderHealthStatuses.omni.sidero.dev"];

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditKind {
    /// A resource was created.
    Create,
    /// It was changed.
    Update,
    /// It was destroyed.
    Destroy,
    /// It was told to go.
    Teardown,
}

impl AuditKind {
    /// The word for it in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Destroy => "destroy",
            Self::Teardown => "teardown",
        }
    }
}

/// Who did it, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// E-mail address; empty for a call without signature.
    pub email: String,
    /// Id of the user.
    pub user_id: String,
    /// Role beyond single clusters.
    pub role: String,
    /// Id of the key.
    pub fingerprint: String,
    /// When the key ends, if that is known.
    pub key_expiration: Option<SystemTime>,
    /// What the client calls itself.
    pub user_agent: String,
}

impl Actor {
    /// The caller of a request.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        let user_agent = caller.user_agent.clone();
        let Some(signer) = &caller.signer else { return Self { user_agent, ..Self::default() } };
        Self {
            email: signer.email.to_string(),
            user_id: signer.user_id.clone(),
            role: caller.role().unwrap_or_default().to_string(),
            fingerprint: signer.fingerprint.clone(),
            key_expiration: signer.key_expiration,
            user_agent,
        }
    }
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// What happened.
    pub kind: AuditKind,
    /// To which resource.
    pub resource: Pointer,
    /// Of which cluster it is; empty for none.
    pub cluster: String,
    /// Who did it.
    pub actor: Actor,
    /// The resource before; none for one that is new.
    pub old: Option<AnyResource>,
    /// The resource after; none for one that is gone.
    pub new: Option<AnyResource>,
}

impl AuditEvent {
    /// The event of a change; nothing for [`SIGNS_OF_LIFE`].
    ///
    /// At least one of `old` and `new` is given.
    #[must_use]
    pub fn of(
        kind: AuditKind,
        caller: &Caller,
        old: Option<AnyResource>,
        new: Option<AnyResource>,
    ) -> Option<Self> {
        let shown = new.as_ref().or(old.as_ref())?;
        let (resource, cluster) = (shown.pointer(), cluster_of(shown));
        let is_audited = !SIGNS_OF_LIFE.contains(&resource.kind.as_str());
        is_audited.then(|| Self { kind, resource, cluster, actor: Actor::of(caller), old, new })
    }
}

/// Takes events. It must only make a note: callers wait for it.
pub trait Audit: Send + Sync {
    /// A change was made.
    fn record(&self, event: AuditEvent);
}

/// Writes nothing down.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAudit;

impl Audit for NoAudit {
    fn record(&self, _: AuditEvent) {}
}

fn cluster_of(resource: &AnyResource) -> String {
    let metadata = resource.metadata();
    match access::rule(&metadata.kind).map(|rule| rule.scope) {
        Some(Scope::ClusterId) => metadata.id.clone(),
        _ => metadata.labels.get(labels::CLUSTER).cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! An audit log in memory.

    use parking_lot::Mutex;

    use super::{Audit, AuditEvent};

    /// Remembers what happened, one line each.
    #[derive(Debug, Default)]
    pub(crate) struct Remembered(pub(crate) Mutex<Vec<String>>);

    impl Audit for Remembered {
        fn record(&self, event: AuditEvent) {
            let AuditEvent { kind, resource, cluster, actor, .. } = event;
            self.0.lock().push(format!("{} {resource} [{cluster}] by {}", kind.as_str(), actor.email));
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{Cluster, MachineSetNode};
    use corten_fleet_resources::provider::{ConfigPatchRequest, InfraProviderHealthStatus};

    use super::*;
    use crate::testing::any;

    #[test]
    fn every_change_is_written_down_with_its_cluster_and_signs_of_life_are_not() {
        let event = |resource| AuditEvent::of(AuditKind::Create, &Caller::default(), None, Some(resource));
        let cluster = event(any("prod", Cluster::default(), &[])).expect("audited");
        assert_eq!(cluster.cluster, "prod");
        let node = any("m", MachineSetNode {}, &[(labels::CLUSTER, "lab")]);
        assert_eq!(event(node).expect("audited").cluster, "lab");
        assert!(event(any("p", ConfigPatchRequest::default(), &[])).is_some(), "what providers write, too");
        assert!(event(any("metal", InfraProviderHealthStatus::default(), &[])).is_none());
    }
}
