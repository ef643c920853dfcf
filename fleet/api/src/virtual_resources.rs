//! What is computed for the one who asks, at the time of asking: namespace `virtual` (fleet.md 3.11), and what others
//! keep in a store though it follows from what is there.
//!
//! ```text
//! Caller, State ─▶ Views ─┬▶ permissions: CurrentUser, Permissions, ClusterPermissions
//!                         ├▶ labels: LabelsCompletion        joining: ConnectionParams
//!                         ├▶ metrics: MachineStatusMetrics, ClusterMetrics, ClusterStatusMetrics
//! tables ─▶ platforms, versions ─▶ clouds, boards, media, Quirks, VersionContract
//! KubernetesUsages (another crate) ─▶ KubernetesUsage
//! ```
//!
//! Access was decided before: here everybody sees their own rights, and labels of types that they may list. A watch
//! computes again every few seconds and tells what changed.

mod joining;
mod labels;
mod metrics;
mod permissions;
pub mod platforms;
mod versions;
mod watching;

use std::sync::Arc;

use corten_fleet_resources::cluster::{Cluster, ClusterMetrics, ClusterStatusMetrics};
use corten_fleet_resources::link::{ConnectionParams, SiderolinkConfig};
use corten_fleet_resources::machine::MachineStatusMetrics;
use corten_fleet_resources::namespace::VIRTUAL;
use corten_fleet_resources::system::InstallationMedia;
use corten_fleet_resources::upgrade::TalosVersion;
use corten_fleet_resources::views::{
    AdvertisedEndpoints, CloudPlatformConfig, ClusterPermissions, CurrentUser, KubernetesUsage,
    LabelsCompletion, MetalPlatformConfig, Permissions, Quirks, SbcConfig, Support, VersionContract,
};
use corten_resource::{
    Answer, AnyResource, Definition, Pointer, Query, Resource, Spec, State, StateError, Watch, WatchOptions,
};
use futures::future::join_all;

use crate::caller::{Caller, Directory};
use watching::{Repeated, What};

/// Measures how full the Kubernetes of clusters are.
pub trait KubernetesUsages: Send + Sync {
    /// How full the Kubernetes of a cluster is, which exists.
    fn usage<'a>(&'a self, cluster: &'a str) -> Answer<'a, KubernetesUsage>;
}

/// Measures nothing, and says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKubernetes;

impl KubernetesUsages for NoKubernetes {
    fn usage<'a>(&'a self, _: &'a str) -> Answer<'a, KubernetesUsage> {
        Box::pin(std::future::ready(Err(unsupported(KubernetesUsage::DEFINITION.kind))))
    }
}

fn unsupported(kind: &str) -> StateError {
    StateError::Unsupported(format!("this manager does not compute {kind}; nothing stands in its place"))
}

/// The types that are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Permissions,
    ClusterPermissions,
    Labels,
    Endpoints,
    Support,
    Usage,
    Cloud,
    Metal,
    Board,
    Medium,
    Quirks,
    Contract,
    Machines,
    Clusters,
    ClusterStatuses,
    Connection,
}

const KINDS: [(Kind, Definition); 17] = [
    (Kind::User, CurrentUser::DEFINITION),
    (Kind::Permissions, Permissions::DEFINITION),
    (Kind::ClusterPermissions, ClusterPermissions::DEFINITION),
    (Kind::Labels, LabelsCompletion::DEFINITION),
    (Kind::Endpoints, AdvertisedEndpoints::DEFINITION),
    (Kind::Support, Support::DEFINITION),
    (Kind::Usage, KubernetesUsage::DEFINITION),
    (Kind::Cloud, CloudPlatformConfig::DEFINITION),
    (Kind::Metal, MetalPlatformConfig::DEFINITION),
    (Kind::Board, SbcConfig::DEFINITION),
    (Kind::Medium, InstallationMedia::DEFINITION),
    (Kind::Quirks, Quirks::DEFINITION),
    (Kind::Contract, VersionContract::DEFINITION),
    (Kind::Machines, MachineStatusMetrics::DEFINITION),
    (Kind::Clusters, ClusterMetrics::DEFINITION),
    (Kind::ClusterStatuses, ClusterStatusMetrics::DEFINITION),
    (Kind::Connection, ConnectionParams::DEFINITION),
];

impl Kind {
    fn of(at: &Pointer) -> Option<Self> {
        let found = KINDS.iter().find(|(_, it)| it.kind == at.kind && it.namespace == at.namespace);
        found.map(|(kind, _)| *kind)
    }

    /// Id of the only resource of the type, if there is but one.
    const fn only_id(self) -> Option<&'static str> {
        match self {
            Self::User => Some(CurrentUser::ID),
            Self::Permissions => Some(Permissions::ID),
            Self::Endpoints => Some(AdvertisedEndpoints::ID),
            Self::Support => Some(Support::ID),
            Self::Machines => Some(MachineStatusMetrics::ID),
            Self::Clusters => Some(ClusterMetrics::ID),
            Self::ClusterStatuses => Some(ClusterStatusMetrics::ID),
            Self::Connection => Some(SiderolinkConfig::ID),
            Self::Metal => Some(platforms::METAL),
            Self::ClusterPermissions
            | Self::Labels
            | Self::Usage
            | Self::Cloud
            | Self::Board
            | Self::Medium
            | Self::Quirks
            | Self::Contract => None,
        }
    }
}

/// Whether this is computed, and stands in no store.
pub(crate) fn is_computed(at: &Pointer) -> bool {
    at.namespace == VIRTUAL || Kind::of(at).is_some()
}

/// What views know beside the store.
#[derive(Clone, Debug, Default)]
pub struct ViewOptions {
    /// Where clients reach the API, a URL.
    pub url: String,
    /// Machines that may be let in at most; none for any number.
    pub machines_max: Option<u32>,
}

/// Computes resources for callers.
#[derive(Clone)]
pub struct Views {
    state: State,
    options: Arc<ViewOptions>,
    kubernetes: Arc<dyn KubernetesUsages>,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Views {
    /// Views of a store.
    #[must_use]
    pub fn new(state: State, options: ViewOptions, kubernetes: Arc<dyn KubernetesUsages>) -> Self {
        Self { state, options: Arc::new(options), kubernetes }
    }

    /// One resource for a caller.
    pub(crate) async fn get(&self, caller: &Caller, at: &Pointer) -> Result<AnyResource, StateError> {
        let kind = Kind::of(at).ok_or_else(|| unsupported(&at.kind))?;
        let id = at.id.as_str();
        let absent = || StateError::NotFound(at.clone());
        if kind.only_id().is_some_and(|only| only != id) {
            return Err(absent());
        }
        Ok(match kind {
            Kind::User => self.resource(id, permissions::user(caller)),
            Kind::Permissions => self.resource(id, permissions::beyond_clusters(caller, &self.clusters())),
            Kind::ClusterPermissions => self.resource(id, permissions::on_cluster(caller, id)),
            Kind::Labels => self.resource(id, labels::of(&self.state, caller, id)?),
            Kind::Endpoints => {
                self.resource(id, AdvertisedEndpoints { grpc_api_url: self.options.url.clone() })
            }
            Kind::Support => self.resource(id, Support::default()),
            Kind::Usage => {
                self.state.get::<Cluster>(id).ok_or_else(absent)?;
                self.resource(id, self.kubernetes.usage(id).await?)
            }
            Kind::Cloud => self.resource(id, platforms::cloud(id).ok_or_else(absent)?),
            Kind::Metal => self.resource(id, platforms::metal()),
            Kind::Board => self.resource(id, platforms::board(id).ok_or_else(absent)?),
            Kind::Medium => self.resource(id, platforms::medium(id).ok_or_else(absent)?),
            Kind::Quirks => self.resource(id, versions::quirks(id).ok_or_else(absent)?),
            Kind::Contract => self.resource(id, versions::contract(id).ok_or_else(absent)?),
            Kind::Machines => self.resource(id, metrics::machines(&self.state, self.options.machines_max)),
            Kind::Clusters => self.resource(id, metrics::clusters(&self.state)),
            Kind::ClusterStatuses => self.resource(id, metrics::cluster_statuses(&self.state)),
            Kind::Connection => self.resource(id, joining::params(&self.state).ok_or_else(absent)?),
        })
    }

    /// All resources of a type for a caller, sorted by id. What cannot be had at present is left out.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        kind: &Pointer,
        query: &Query,
    ) -> Result<Vec<AnyResource>, StateError> {
        let known = Kind::of(kind).ok_or_else(|| unsupported(&kind.kind))?;
        let pointers = self.ids(known).into_iter().map(|id| Pointer::new(&kind.namespace, &kind.kind, id));
        let pointers: Vec<Pointer> = pointers.collect();
        let mut all = Vec::new();
        for found in join_all(pointers.iter().map(|at| self.get(caller, at))).await {
            match found {
                Ok(found) => all.push(found),
                Err(StateError::NotFound(_) | StateError::Unavailable(_)) => {}
                Err(error) => return Err(error),
            }
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
        Ok(Repeated::new(self, directory, caller, What::One(at.clone())).await?.watch_one(at))
    }

    /// A watch of a type; it ends when the key of the caller does.
    pub(crate) async fn watch_all(
        &self,
        directory: &Arc<Directory>,
        caller: &Arc<Caller>,
        kind: &Pointer,
        options: WatchOptions,
    ) -> Result<Watch, StateError> {
        let what = What::All(kind.clone(), options.query);
        Repeated::new(self, directory, caller, what).await?.watch_all(&options.start)
    }

    /// Ids of the resources of a type, sorted.
    fn ids(&self, kind: Kind) -> Vec<String> {
        let mut ids = match kind {
            Kind::ClusterPermissions | Kind::Usage => self.clusters(),
            Kind::Labels => Vec::new(),
            Kind::Cloud => platforms::clouds(),
            Kind::Board => platforms::boards(),
            Kind::Medium => platforms::media(),
            Kind::Quirks | Kind::Contract => {
                self.state.list::<TalosVersion>().iter().map(|version| version.id().to_owned()).collect()
            }
            other => other.only_id().into_iter().map(str::to_owned).collect(),
        };
        ids.sort();
        ids
    }

    fn clusters(&self) -> Vec<String> {
        self.state.list::<Cluster>().iter().map(|cluster| cluster.id().to_owned()).collect()
    }

    fn resource<S: Spec>(&self, id: &str, spec: S) -> AnyResource {
        let mut resource = Resource::new(id, spec);
        let now = self.state.store().clock().now();
        resource.metadata.version = 1;
        resource.metadata.created = now;
        resource.metadata.updated = now;
        resource.into()
    }
}

#[cfg(test)]
mod tests;
