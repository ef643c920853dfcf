//! Namespace `virtual`: what is computed for the one who asks, at the time of asking (fleet.md 3.11).
//!
//! ```text
//! Caller, State, advertised URL ─▶ Views ─▶ CurrentUser, Permissions, ClusterPermissions, LabelsCompletion,
//!                                           AdvertisedEndpoints, Support
//! tables and polls of other crates ─▶ Computed ─▶ platforms, boards, versions, use of clusters
//! ```
//!
//! Access was decided before: here everybody sees their own rights, and labels of types that they may list. A watch
//! computes again every few seconds and tells what changed.

mod permissions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use corten_fleet_auth::{Decision, Operation, Verb};
use corten_fleet_resources::cluster::Cluster;
use corten_fleet_resources::namespace::VIRTUAL;
use corten_fleet_resources::views::{
    AdvertisedEndpoints, ClusterPermissions, CurrentUser, LabelValues, LabelsCompletion, Permissions, Support,
};
use corten_resource::{
    Answer, AnyResource, Change, Event, Pointer, Query, Resource, Spec, State, StateError, Watch,
};
use futures::stream;
use tokio::time::sleep;

use crate::caller::{Caller, Directory};

/// How often a watch computes again.
const REFRESH: Duration = Duration::from_secs(10);
/// Most values of a label that are offered.
const VALUES_MAX: usize = 1000;
/// Labels of machines are asked for under a type that stands for nothing else, besides their own.
const MACHINE_LABELS: (&str, &str) =
    ("MachineStatusLabels.omni.sidero.dev", "MachineStatuses.omni.sidero.dev");

/// What is computed from more than the store: by crates that know systems, images or clusters.
pub trait Computed: Send + Sync {
    /// One resource.
    fn get<'a>(&'a self, at: &'a Pointer) -> Answer<'a, AnyResource>;

    /// All resources of a type, sorted by id.
    fn list<'a>(&'a self, kind: &'a Pointer) -> Answer<'a, Vec<AnyResource>>;
}

/// Computes nothing, and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotComputed;

impl Computed for NotComputed {
    fn get<'a>(&'a self, at: &'a Pointer) -> Answer<'a, AnyResource> {
        Box::pin(std::future::ready(Err(unsupported(&at.kind))))
    }

    fn list<'a>(&'a self, kind: &'a Pointer) -> Answer<'a, Vec<AnyResource>> {
        Box::pin(std::future::ready(Err(unsupported(&kind.kind))))
    }
}

fn unsupported(kind: &str) -> StateError {
    StateError::Unsupported(format!("this manager does not compute {kind} yet; nothing stands in its place"))
}

/// Computes resources for callers.
#[derive(Clone)]
pub struct Views {
    state: State,
    url: Arc<str>,
    others: Arc<dyn Computed>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Views {
    /// Views of a store; `url` is where clients reach the API, and `others` computes what the store does not tell.
    #[must_use]
    pub fn new(state: State, url: String, others: Arc<dyn Computed>) -> Self {
        Self { state, url: url.into(), others }
    }

    /// One resource for a caller.
    pub(crate) async fn get(&self, caller: &Caller, at: &Pointer) -> Result<AnyResource, StateError> {
        let kind = at.kind.as_str();
        let is_one = |id: &str| if at.id == id { Ok(()) } else { Err(StateError::NotFound(at.clone())) };
        if kind == CurrentUser::DEFINITION.kind {
            is_one(CurrentUser::ID).map(|()| self.resource(CurrentUser::ID, permissions::user(caller)))
        } else if kind == Permissions::DEFINITION.kind {
            let spec = permissions::beyond_clusters(caller, &self.clusters());
            is_one(Permissions::ID).map(|()| self.resource(Permissions::ID, spec))
        } else if kind == ClusterPermissions::DEFINITION.kind {
            Ok(self.resource(&at.id, permissions::on_cluster(caller, &at.id)))
        } else if kind == LabelsCompletion::DEFINITION.kind {
            self.labels(caller, &at.id).map(|spec| self.resource(&at.id, spec))
        } else if kind == AdvertisedEndpoints::DEFINITION.kind {
            let spec = AdvertisedEndpoints { grpc_api_url: self.url.to_string() };
            is_one(AdvertisedEndpoints::ID).map(|()| self.resource(AdvertisedEndpoints::ID, spec))
        } else if kind == Support::DEFINITION.kind {
            is_one(Support::ID).map(|()| self.resource(Support::ID, Support::default()))
        } else {
            self.others.get(at).await
        }
    }

    /// All resources of a type for a caller.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        kind: &Pointer,
        query: &Query,
    ) -> Result<Vec<AnyResource>, StateError> {
        let Some(ids) = self.ids(&kind.kind) else {
            let mut all = self.others.list(kind).await?;
            all.retain(|resource| query.matches(resource.metadata()));
            return Ok(all);
        };
        let mut all = Vec::new();
        for id in ids {
            let at = Pointer::new(VIRTUAL, &kind.kind, id);
            all.push(self.get(caller, &at).await?);
        }
        all.retain(|resource| query.matches(resource.metadata()));
        Ok(all)
    }

    /// A watch of one resource; it ends when the key of the caller does.
    pub(crate) async fn watch(
        &self,
        directory: &Arc<Directory>,
        caller: &Arc<Caller>,
        at: &Pointer,
    ) -> Result<Watch, StateError> {
        let first = present(self.get(caller, at).await)?;
        let repeated = Repeated {
            views: self.clone(),
            directory: Arc::clone(directory),
            caller: Arc::clone(caller),
            at: at.clone(),
            last: first.clone(),
        };
        let first = first.map_or_else(|| Change::Destroyed(AnyResource::tombstone(at)), Change::Created);
        let state = (Some(first), Some(repeated));
        Ok(Watch::new(stream::unfold(state, |(first, repeated)| async move {
            if let Some(change) = first {
                return Some((vec![Event { change, bookmark: None }], (None, repeated)));
            }
            let (change, repeated) = repeated?.next().await;
            Some((vec![Event { change, bookmark: None }], (None, repeated)))
        })))
    }

    /// Ids of the resources of a type that is computed here; none for other types.
    fn ids(&self, kind: &str) -> Option<Vec<String>> {
        let singletons = [
            (CurrentUser::DEFINITION.kind, CurrentUser::ID),
            (Permissions::DEFINITION.kind, Permissions::ID),
            (AdvertisedEndpoints::DEFINITION.kind, AdvertisedEndpoints::ID),
            (Support::DEFINITION.kind, Support::ID),
        ];
        if kind == ClusterPermissions::DEFINITION.kind {
            return Some(self.clusters());
        }
        if kind == LabelsCompletion::DEFINITION.kind {
            return Some(Vec::new());
        }
        singletons.iter().find(|(known, _)| *known == kind).map(|(_, id)| vec![(*id).to_owned()])
    }

    fn clusters(&self) -> Vec<String> {
        let all = self.state.list_any(Cluster::DEFINITION.namespace, Cluster::DEFINITION.kind);
        all.iter().map(|cluster| cluster.id().to_owned()).collect()
    }

    fn resource<S: Spec>(&self, id: &str, spec: S) -> AnyResource {
        let mut resource = Resource::new_in(VIRTUAL, id, spec);
        let now = self.state.store().clock().now();
        resource.metadata.version = 1;
        resource.metadata.created = now;
        resource.metadata.updated = now;
        resource.into()
    }

    /// Labels of the resources of a type that the caller may list.
    fn labels(&self, caller: &Caller, kind: &str) -> Result<LabelsCompletion, StateError> {
        let kind = if kind == MACHINE_LABELS.0 { MACHINE_LABELS.1 } else { kind };
        let definition = self.state.registry().definition(kind);
        let definition =
            definition.ok_or_else(|| StateError::Invalid(format!("there is no type {kind:?}")))?;
        let namespace = definition.namespace;
        let operation = Operation { verb: Verb::List(&[]), namespace, kind, id: "" };
        if let Decision::Deny(denial) = caller.decide(&operation) {
            return Err(StateError::Denied(denial.to_string()));
        }
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for resource in self.state.list_any(namespace, kind) {
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
}

/// What is there, where absence is no error.
fn present(found: Result<AnyResource, StateError>) -> Result<Option<AnyResource>, StateError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StateError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A resource that is computed again and again.
struct Repeated {
    views: Views,
    directory: Arc<Directory>,
    caller: Arc<Caller>,
    at: Pointer,
    last: Option<AnyResource>,
}

impl Repeated {
    /// The next change, and what computes those after it; nothing does after an error.
    async fn next(mut self) -> (Change, Option<Self>) {
        loop {
            sleep(REFRESH).await;
            let now = self.views.state.store().clock().now();
            let Some(caller) = self.directory.again(&self.caller, now) else {
                return (Change::Errored("the key of the caller has ended".to_owned()), None);
            };
            let found = match present(self.views.get(&caller, &self.at).await) {
                Ok(found) => found,
                Err(error) => return (Change::Errored(error.to_string()), None),
            };
            let old = std::mem::replace(&mut self.last, found.clone());
            let change = match (old, found) {
                (Some(old), Some(new)) if !old.same_spec(&new) => Change::Updated { new, old },
                (None, Some(new)) => Change::Created(new),
                (Some(old), None) => Change::Destroyed(old),
                _ => continue,
            };
            return (change, Some(self));
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_api::fleet::Role;
    use corten_fleet_resources::machine::MachineStatus;
    use corten_fleet_resources::views::Quirks;
    use corten_resource::{Start, Store as _};

    use super::*;
    use crate::testing::Fleet;

    async fn get<S: Spec>(fleet: &Fleet, role: Role, id: &str) -> Result<S, StateError> {
        let at = Pointer::new(VIRTUAL, S::DEFINITION.kind, id);
        let found = fleet.access(fleet.with_role(role)).get(&at).await?;
        Ok(found.spec::<S>().expect("of its type").clone())
    }

    #[tokio::test]
    async fn everybody_sees_who_they_are() {
        let fleet = Fleet::new();
        let user = get::<CurrentUser>(&fleet, Role::Reader, "current").await.expect("a user");
        assert_eq!(user.identity, "reader@serviceaccount.omni.sidero.dev");
        assert_eq!((user.role.as_str(), user.user_id.as_str()), ("Reader", "user-reader"));
        let other = get::<CurrentUser>(&fleet, Role::Reader, "other").await;
        assert!(matches!(other, Err(StateError::NotFound(_))));
        let endpoints = get::<AdvertisedEndpoints>(&fleet, Role::None, "current").await.expect("endpoints");
        assert_eq!(endpoints.grpc_api_url, "https://fleet.example.org");
    }

    #[tokio::test]
    async fn labels_are_those_of_types_that_the_caller_may_list() {
        let fleet = Fleet::new();
        for (id, rack) in [("m-1", "a"), ("m-2", "b"), ("m-3", "a")] {
            fleet.put_with(id, MachineStatus::default(), &[("rack", rack)]);
        }
        for kind in ["MachineStatuses.omni.sidero.dev", "MachineStatusLabels.omni.sidero.dev"] {
            let found = get::<LabelsCompletion>(&fleet, Role::Reader, kind).await.expect(kind);
            assert_eq!(found.items["rack"].items, ["a", "b"]);
        }
        let denied = get::<LabelsCompletion>(&fleet, Role::Reader, "Users.omni.sidero.dev").await;
        assert!(matches!(denied, Err(StateError::Denied(_))));
        let unknown = get::<LabelsCompletion>(&fleet, Role::Reader, "Cats.omni.sidero.dev").await;
        assert!(matches!(unknown, Err(StateError::Invalid(_))));
    }

    #[tokio::test]
    async fn what_nobody_computes_says_so() {
        let fleet = Fleet::new();
        let quirks = get::<Quirks>(&fleet, Role::Reader, "1.13.8").await;
        let text = quirks.expect_err("not computed").to_string();
        assert!(text.contains("does not compute Quirks.omni.sidero.dev yet"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_tells_when_rights_change() {
        let fleet = Fleet::new();
        let access = fleet.access(fleet.with_role(Role::Reader));
        let at = Pointer::new(VIRTUAL, CurrentUser::DEFINITION.kind, CurrentUser::ID);
        let mut watch = access.watch(&at, Start::Contents).await.expect("watched");
        let role = |change: &Change| {
            change.resource().and_then(|it| it.spec::<CurrentUser>()).map(|user| user.role.clone())
        };
        let first = watch.next().await.expect("the first").change;
        assert_eq!(role(&first).as_deref(), Some("Reader"));
        fleet.set_role("reader", Role::Operator);
        let next = watch.next().await.expect("the next").change;
        assert!(matches!(next, Change::Updated { .. }));
        assert_eq!(role(&next).as_deref(), Some("Operator"));
    }
}
