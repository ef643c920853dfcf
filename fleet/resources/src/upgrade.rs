//! Which versions exist, and how clusters get from one to the other.
//!
//! ```text
//! image factory ─▶ TalosVersion, TalosExtensions      registry ─▶ KubernetesVersion
//! Cluster ─▶ TalosUpgradeStatus ─▶ UpgradeRollout ─▶ as many machines at a time as each set permits
//! Cluster ─▶ KubernetesUpgradeStatus ─▶ ImagePullRequest ─▶ ImagePullStatus ─▶ one component of one machine at a time
//! ```

use std::collections::BTreeMap;

use corten_resource::{Enumeration, Record, Resource};

/// A version of the operating system that exists, by the version without `v`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TalosVersions.omni.sidero.dev", namespace = "default", message)]
pub struct TalosVersion {
    /// The version, without `v`.
    #[field(1, "version")]
    pub version: String,
    /// Versions of Kubernetes that run on it, without `v`.
    #[field(2, "compatiblekubernetesversions")]
    pub compatible_kubernetes_versions: Vec<String>,
    /// Too old for new clusters; those that have it may keep it.
    #[field(3, "deprecated")]
    pub deprecated: bool,
    /// Versions that a machine may go to from it, without `v`.
    #[field(4, "upgradabletalosversions")]
    pub upgradable_talos_versions: Vec<String>,
    /// The manager does not know how to work with it; no cluster may go to it.
    #[field(5, "unsupported")]
    pub unsupported: bool,
    /// Image factory that offers it, a URL.
    #[field(6, "imagefactoryurl")]
    pub image_factory_url: String,
    /// That factory is one of the enterprise edition.
    #[field(7, "isenterprise")]
    pub is_enterprise: bool,
}

/// A version of Kubernetes that exists, by the version without `v`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesVersions.omni.sidero.dev", namespace = "default", message)]
pub struct KubernetesVersion {
    /// The version, without `v`.
    #[field(1, "version")]
    pub version: String,
}

/// An extension of the operating system that an image factory can put into an image.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct TalosExtension {
    /// Name by which schematics ask for it, such as `siderolabs/gvisor`.
    #[field(1, "name")]
    pub name: String,
    /// Who makes it.
    #[field(2, "author")]
    pub author: String,
    /// Its own version.
    #[field(3, "version")]
    pub version: String,
    /// What it is for, in words of its author.
    #[field(4, "description")]
    pub description: String,
    /// Reference of its image with the tag.
    #[field(5, "ref")]
    pub reference: String,
    /// Digest of its image.
    #[field(6, "digest")]
    pub digest: String,
}

/// The extensions for one version of the operating system, by the version without `v`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TalosExtensions.omni.sidero.dev", namespace = "default", message)]
pub struct TalosExtensions {
    /// One row for each.
    #[field(1, "items")]
    pub items: Vec<TalosExtension>,
}

/// How the machines of a cluster stand to the version they shall have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum TalosUpgradePhase {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Machines go to the version of the cluster.
    #[variant(1, "upgrading")]
    Upgrading,
    /// All have it.
    #[variant(2, "done")]
    Done,
    /// It stopped with an error.
    #[variant(3, "failed")]
    Failed,
    /// The cluster was set back to the last version, and machines return to it.
    #[variant(4, "reverting")]
    Reverting,
    /// The version stays; extensions or kernel arguments change.
    #[variant(5, "updating machine schematics")]
    UpdatingMachineSchematics,
}

/// How far an upgrade of the operating system is, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "TalosUpgradeStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct TalosUpgradeStatus {
    /// How far it is.
    #[field(1, "phase")]
    pub phase: TalosUpgradePhase,
    /// Why it failed; empty when it did not.
    #[field(2, "error")]
    pub error: String,
    /// What is done now, a sentence.
    #[field(3, "step")]
    pub step: String,
    /// What it waits for, or how much is done.
    #[field(4, "status")]
    pub status: String,
    /// Version that all machines had last, without `v`; a revert goes there.
    #[field(5, "lastupgradeversion")]
    pub last_upgrade_version: String,
    /// Version that machines go to, without `v`; empty when nothing runs.
    #[field(6, "currentupgradeversion")]
    pub current_upgrade_version: String,
    /// Versions that the cluster may go to next, without `v`.
    #[field(7, "upgradeversions")]
    pub upgrade_versions: Vec<String>,
}

/// How many machines may be upgraded now, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "UpgradeRollouts.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct UpgradeRollout {
    /// Machines by machine set: what its strategy permits without those that are not ready. Zero for workers until the
    /// control plane is done.
    #[field(1, "machinesetsupgradequota")]
    pub machine_sets_upgrade_quota: BTreeMap<String, i32>,
}

/// How Kubernetes of a cluster stands to the version it shall have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum KubernetesUpgradePhase {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Components go to the version of the cluster.
    #[variant(1, "upgrading")]
    Upgrading,
    /// All have it.
    #[variant(2, "done")]
    Done,
    /// It stopped with an error.
    #[variant(3, "failed")]
    Failed,
    /// The cluster was set back to the last version, and components return to it.
    #[variant(4, "reverting")]
    Reverting,
}

/// How far an upgrade of Kubernetes is, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesUpgradeStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct KubernetesUpgradeStatus {
    /// How far it is.
    #[field(1, "phase")]
    pub phase: KubernetesUpgradePhase,
    /// Why it failed; empty when it did not.
    #[field(2, "error")]
    pub error: String,
    /// What is done now, a sentence.
    #[field(3, "step")]
    pub step: String,
    /// What it waits for.
    #[field(4, "status")]
    pub status: String,
    /// Version that all components had last, without `v`; a revert goes there.
    #[field(5, "lastupgradeversion")]
    pub last_upgrade_version: String,
    /// Version that components go to, without `v`; empty when nothing runs.
    #[field(7, "currentupgradeversion")]
    pub current_upgrade_version: String,
    /// Versions that the cluster may go to next, without `v`.
    #[field(6, "upgradeversions")]
    pub upgrade_versions: Vec<String>,
}

/// Images that one machine will need.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct NodeImages {
    /// Name of the machine in Kubernetes.
    #[field(1, "node")]
    pub node: String,
    /// References of the images.
    #[field(2, "images")]
    pub images: Vec<String>,
}

/// Images to pull before an upgrade of Kubernetes begins, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ImagePullRequests.omni.sidero.dev", namespace = "default", message)]
pub struct ImagePullRequest {
    /// What each machine is to pull.
    #[field(1, "nodeimagelist")]
    pub node_image_list: Vec<NodeImages>,
}

/// How far the pulling is, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ImagePullStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct ImagePullStatus {
    /// The machine that pulled last.
    #[field(1, "lastprocessednode")]
    pub last_processed_node: String,
    /// What it pulled.
    #[field(2, "lastprocessedimage")]
    pub last_processed_image: String,
    /// Why that failed; empty when it did not.
    #[field(3, "lastprocessederror")]
    pub last_processed_error: String,
    /// Images that were pulled, counted on all machines.
    #[field(4, "processedcount")]
    pub processed_count: u32,
    /// Images to pull, counted on all machines.
    #[field(5, "totalcount")]
    pub total_count: u32,
    /// Version of the [`ImagePullRequest`] that this answers, as text.
    #[field(6, "requestversion")]
    pub request_version: String,
}
