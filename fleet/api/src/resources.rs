//! The store as a caller may use it: every door to resources is an [`Access`].
//!
//! ```text
//! Caller, operation ─▶ decide ─▶ owner rules ─▶ normal form ─▶ Checks ─▶ store ─▶ Audit
//!                        │ what is computed ─▶ Views
//!                        └ watches: decided anew with each batch of events
//! ```
//!
//! - The decision is made over the resource as it is stored, and the change is based on that very version.
//! - People write without an owner; only the controllers of an infrastructure provider have names here.
//! - A resource that an infrastructure provider may not see counts as absent.

mod watching;

use std::borrow::Cow;
use std::sync::Arc;

use corten_api::cosi::resource::state_server::StateServer;
use corten_cosi::Service;
use corten_fleet_auth::decide::{is_own, own_only};
use corten_fleet_auth::{Decision, Edit, Labels, Operation, Verb};
use corten_fleet_resources::labels::INFRA_PROVIDER_ID;
use corten_fleet_resources::namespace::{INFRA_PROVIDER, INFRA_PROVIDER_EPHEMERAL, INFRA_PROVIDER_PREFIX};
use corten_resource::{
    Answer, AnyResource, Phase, Pointer, Query, Start, State, StateError, Store, UpdateOptions, Watch,
    WatchOptions,
};

use crate::COMPRESSION;
use crate::audit::{Audit, AuditEvent, AuditKind};
use crate::caller::{Caller, Directory};
use crate::dictionaries::Dictionaries;
use crate::metrics::{Metrics, Refusal};
use crate::normal::normal;
use crate::validate::Checks;
use crate::virtual_resources::{Views, is_computed};
use watching::Watching;

/// What all callers share.
pub struct Resources {
    /// The store.
    pub state: State,
    /// Knows callers, so that a watch ends with the rights of its caller.
    pub directory: Arc<Directory>,
    /// What texts may be compressed with.
    pub dictionaries: Arc<Dictionaries>,
    /// Rules of the types.
    pub checks: Checks,
    /// What is computed for each request.
    pub views: Views,
    /// Told of every change.
    pub audit: Arc<dyn Audit>,
    /// Counts refusals.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resources").field("checks", &self.checks).finish_non_exhaustive()
    }
}

impl Resources {
    /// The store as this caller may use it.
    #[must_use]
    pub fn open(self: &Arc<Self>, caller: Arc<Caller>) -> Access {
        Access { shared: Arc::clone(self), caller }
    }

    /// `cosi.resource.State` for the callers that the layer left in the extensions of requests.
    #[must_use]
    pub fn service(self: &Arc<Self>) -> StateServer<Service> {
        let shared = Arc::clone(self);
        let service = corten_cosi::service(self.state.registry().clone(), move |extensions| {
            Arc::new(shared.open(Caller::of(extensions)))
        });
        service.accept_compressed(COMPRESSION).send_compressed(COMPRESSION)
    }

    /// Writes down a change.
    pub(crate) fn note(
        &self,
        kind: AuditKind,
        caller: &Caller,
        old: Option<AnyResource>,
        new: Option<AnyResource>,
    ) {
        if let Some(event) = AuditEvent::of(kind, caller, old, new) {
            self.audit.record(event);
        }
    }
}

/// The store as one caller may use it.
#[derive(Clone, Debug)]
pub struct Access {
    shared: Arc<Resources>,
    caller: Arc<Caller>,
}

/// How far a permission reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// To every resource that was asked for.
    All,
    /// To those of the infrastructure provider with this id.
    Own(String),
}

impl Reach {
    fn holds(&self, resource: &AnyResource) -> bool {
        match self {
            Self::All => true,
            Self::Own(provider) => is_own(&resource.metadata().labels, provider),
        }
    }

    /// The query without what is out of reach.
    fn narrow<'a>(&self, query: &'a Query) -> Cow<'a, Query> {
        match self {
            Self::All => Cow::Borrowed(query),
            Self::Own(provider) => Cow::Owned(own_only(query.clone(), provider)),
        }
    }

    /// The resource with the label of its infrastructure provider.
    fn mark(&self, resource: AnyResource) -> AnyResource {
        match self {
            Self::All => resource,
            Self::Own(provider) => resource.edit(|metadata| {
                metadata.labels.insert(INFRA_PROVIDER_ID.to_owned(), provider.clone());
            }),
        }
    }
}

impl Access {
    fn decide(&self, verb: Verb<'_>, at: &Pointer) -> Result<Reach, StateError> {
        let id = if matches!(verb, Verb::List(_)) { "" } else { at.id.as_str() };
        let operation = Operation { verb, namespace: &at.namespace, kind: &at.kind, id };
        match self.caller.decide(&operation) {
            Decision::Allow => Ok(Reach::All),
            Decision::Own(provider) => Ok(Reach::Own(provider)),
            Decision::Deny(denial) => {
                self.shared.metrics.refused(Refusal::Access);
                Err(StateError::Denied(denial.to_string()))
            }
        }
    }

    /// The newest decided state of a resource.
    async fn head(&self, at: &Pointer) -> Result<Option<AnyResource>, StateError> {
        match self.shared.state.store().newest(at).await {
            Ok(found) => Ok(Some(found)),
            Err(StateError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What was found, if the caller may read it.
    fn readable(&self, at: &Pointer, found: Option<AnyResource>) -> Result<AnyResource, StateError> {
        let reach = self.decide(Verb::Get(labels(found.as_ref())), at)?;
        within(&reach, at, found)
    }

    async fn read(&self, at: &Pointer) -> Result<AnyResource, StateError> {
        if is_computed(at) {
            self.decide(Verb::Get(None), at)?;
            return self.shared.views.get(&self.caller, at).await;
        }
        let found = self.shared.state.get_any(at);
        self.readable(at, found)
    }

    async fn read_all(&self, kind: &Pointer, query: &Query) -> Result<Vec<AnyResource>, StateError> {
        let reach = self.decide(Verb::List(&query.labels), kind)?;
        if is_computed(kind) {
            return self.shared.views.list(&self.caller, kind, query).await;
        }
        let query = reach.narrow(query);
        self.shared.state.store().list(kind, &query).await
    }

    async fn add(&self, new: AnyResource, owner: &str) -> Result<AnyResource, StateError> {
        let at = new.pointer();
        let reach = self.decide(Verb::Create(&new.metadata().labels), &at)?;
        self.check_owner(owner, &at)?;
        if self.head(&at).await?.is_some() {
            return Err(StateError::AlreadyExists(at));
        }
        if new.is_tombstone() || new.metadata().is_tearing_down() {
            let text = "a new resource has a specification and the phase running";
            return Err(StateError::Invalid(text.to_owned()));
        }
        let new = self.prepare(None, reach.mark(new))?;
        let created = self.shared.state.store().create(new, owner).await?;
        self.shared.note(AuditKind::Create, &self.caller, None, Some(created.clone()));
        Ok(created)
    }

    async fn change(&self, new: AnyResource, options: &UpdateOptions) -> Result<AnyResource, StateError> {
        let at = new.pointer();
        let head = self.head(&at).await?;
        let edit = head.as_ref().map_or(Edit::Anything, |head| Edit::between(head, &new));
        let verb = Verb::Update { stored: labels(head.as_ref()), new: &new.metadata().labels, edit };
        let reach = self.decide(verb, &at)?;
        let stored = within(&reach, &at, head)?;
        self.check_owner(&options.owner, &at)?;
        check_base(&stored, &new, options)?;
        let is_teardown = self.check_phase(&stored, &new)?;
        let new = match edit {
            Edit::Finalizers => new,
            Edit::Anything => self.prepare(Some(&stored), reach.mark(new))?,
        };
        let updated = self.shared.state.store().update(new, options).await?;
        if edit == Edit::Anything {
            let kind = if is_teardown { AuditKind::Teardown } else { AuditKind::Update };
            self.shared.note(kind, &self.caller, Some(stored), Some(updated.clone()));
        }
        Ok(updated)
    }

    /// The resource that is to go, if it may.
    async fn leaving(&self, at: &Pointer, owner: &str) -> Result<AnyResource, StateError> {
        let head = self.head(at).await?;
        let reach = self.decide(Verb::Destroy(labels(head.as_ref())), at)?;
        let stored = within(&reach, at, head)?;
        self.check_owner(owner, at)?;
        self.check_destroy(&stored)?;
        Ok(stored)
    }

    async fn remove(&self, at: &Pointer, owner: &str) -> Result<(), StateError> {
        let stored = self.leaving(at, owner).await?;
        self.shared.state.store().destroy(at, owner).await?;
        self.shared.note(AuditKind::Destroy, &self.caller, Some(stored), None);
        Ok(())
    }

    async fn tear_down(&self, at: &Pointer, owner: &str) -> Result<bool, StateError> {
        let stored = self.leaving(at, owner).await?;
        let is_ready = self.shared.state.store().teardown(at, owner).await?;
        self.shared.note(AuditKind::Teardown, &self.caller, Some(stored), None);
        Ok(is_ready)
    }

    async fn tear_down_and_remove(&self, at: &Pointer, owner: &str) -> Result<(), StateError> {
        let stored = self.leaving(at, owner).await?;
        match self.shared.state.store().teardown_and_destroy(at, owner).await {
            // The controllers destroy what was torn down as well.
            Ok(()) | Err(StateError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        self.shared.note(AuditKind::Destroy, &self.caller, Some(stored), None);
        Ok(())
    }

    /// Names of controllers are those of the manager, but where infrastructure providers run their own.
    fn check_owner(&self, owner: &str, at: &Pointer) -> Result<(), StateError> {
        let is_providers = is_of_providers(&at.namespace) && self.caller.provider().is_some();
        if owner.is_empty() || is_providers {
            return Ok(());
        }
        let text = format!("{owner:?} is the name of a controller; write {at} without an owner");
        Err(StateError::Denied(text))
    }

    /// Whether the phase may become what it is to become; true for a teardown, which needs what a destroy needs.
    fn check_phase(&self, stored: &AnyResource, new: &AnyResource) -> Result<bool, StateError> {
        match (stored.metadata().phase, new.metadata().phase) {
            (Phase::Running, Phase::TearingDown) => {
                self.decide(Verb::Destroy(labels(Some(stored))), &stored.pointer())?;
                self.check_destroy(stored)?;
                Ok(true)
            }
            (Phase::TearingDown, Phase::Running) => {
                let text = format!("{} is being torn down and cannot come back", stored.pointer());
                Err(StateError::Invalid(text))
            }
            _ => Ok(false),
        }
    }

    /// Once a teardown has been allowed, nothing stands against its end.
    fn check_destroy(&self, stored: &AnyResource) -> Result<(), StateError> {
        if stored.metadata().is_tearing_down() {
            return Ok(());
        }
        self.shared.checks.check_destroy(stored).map_err(StateError::Invalid)
    }

    /// The resource as it is stored, if it may be.
    fn prepare(&self, stored: Option<&AnyResource>, new: AnyResource) -> Result<AnyResource, StateError> {
        let limits = corten_fleet_auth::validate::metadata(stored.map(AnyResource::metadata), new.metadata());
        limits.map_err(|error| StateError::Invalid(error.to_string()))?;
        let new = normal(new, &self.shared.dictionaries).map_err(StateError::Invalid)?;
        self.shared.checks.check(stored, &new).map_err(StateError::Invalid)?;
        Ok(new)
    }

    async fn follow(&self, at: &Pointer, start: Start) -> Result<Watch, StateError> {
        let reach = self.decide(Verb::WatchOne, at)?;
        if is_computed(at) {
            return self.shared.views.watch(&self.shared.directory, &self.caller, at).await;
        }
        let watch = self.shared.state.store().watch(at, start).await?;
        Ok(Watching::one(self, watch, at, reach).into_watch())
    }

    async fn follow_all(&self, kind: &Pointer, mut options: WatchOptions) -> Result<Watch, StateError> {
        let reach = self.decide(Verb::List(&options.query.labels), kind)?;
        if is_computed(kind) {
            return self.shared.views.watch_all(&self.shared.directory, &self.caller, kind, options).await;
        }
        let asked = options.query.labels.clone();
        options.query = reach.narrow(&options.query).into_owned();
        let watch = self.shared.state.store().watch_all(kind, options).await?;
        Ok(Watching::all(self, watch, kind, asked).into_watch())
    }
}

impl Store for Access {
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        Box::pin(self.read(pointer))
    }
    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>> {
        Box::pin(self.read_all(kind, query))
    }
    fn create<'a>(&'a self, resource: AnyResource, owner: &'a str) -> Answer<'a, AnyResource> {
        Box::pin(self.add(resource, owner))
    }
    fn update<'a>(&'a self, resource: AnyResource, options: &'a UpdateOptions) -> Answer<'a, AnyResource> {
        Box::pin(self.change(resource, options))
    }
    fn destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()> {
        Box::pin(self.remove(pointer, owner))
    }
    fn teardown<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, bool> {
        Box::pin(self.tear_down(pointer, owner))
    }
    fn teardown_and_destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()> {
        Box::pin(self.tear_down_and_remove(pointer, owner))
    }
    fn watch<'a>(&'a self, pointer: &'a Pointer, start: Start) -> Answer<'a, Watch> {
        Box::pin(self.follow(pointer, start))
    }
    fn watch_all<'a>(&'a self, kind: &'a Pointer, options: WatchOptions) -> Answer<'a, Watch> {
        Box::pin(self.follow_all(kind, options))
    }
    fn newest<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            let found = self.head(pointer).await?;
            self.readable(pointer, found)
        })
    }
}

fn labels(resource: Option<&AnyResource>) -> Option<&Labels> {
    resource.map(|resource| &resource.metadata().labels)
}

/// The resource, unless it is absent or out of reach, which is the same to the caller.
fn within(reach: &Reach, at: &Pointer, found: Option<AnyResource>) -> Result<AnyResource, StateError> {
    let found = found.filter(|found| reach.holds(found));
    found.ok_or_else(|| StateError::NotFound(at.clone()))
}

/// Whether the change is based on what the decision was made over; otherwise the refusal that the store would give.
fn check_base(stored: &AnyResource, new: &AnyResource, options: &UpdateOptions) -> Result<(), StateError> {
    let (metadata, pointer) = (stored.metadata(), stored.pointer());
    if metadata.version == new.metadata().version {
        return Ok(());
    }
    if metadata.owner != options.owner {
        return Err(StateError::Owner { pointer, owner: metadata.owner.clone() });
    }
    Err(StateError::Version { pointer, expected: new.metadata().version, actual: metadata.version })
}

fn is_of_providers(namespace: &str) -> bool {
    [INFRA_PROVIDER, INFRA_PROVIDER_EPHEMERAL].contains(&namespace)
        || namespace.starts_with(INFRA_PROVIDER_PREFIX)
}

#[cfg(test)]
mod tests;
