//! Rules of `Cluster`: versions that exist and may follow each other, switches that may be switched, the lock.

use std::time::Duration;

use corten_fleet_resources::cluster::{Cluster, ClusterConfigVersion, ClusterFeatures, ClusterStatus};
use corten_fleet_resources::labels::{TAINTED_BY_IMPORTING, annotation};
use corten_fleet_resources::upgrade::{KubernetesUpgradeStatus, TalosVersion};
use corten_resource::Resource;
use semver::Version;

use super::{View, version};

/// Longest name, bytes: it stands before others in names of Kubernetes and DNS.
const NAME_MAX: usize = 63;
/// First version whose machines can do without the public discovery service.
const WITHOUT_PUBLIC_DISCOVERY: (u64, u64) = (1, 14);

pub(super) fn check(
    view: &View,
    stored: Option<&Resource<Cluster>>,
    new: &Resource<Cluster>,
) -> Result<(), String> {
    match stored {
        None => check_name(new.id())?,
        Some(stored) => check_lock(stored, new)?,
    }
    check_talos(view, stored, new)?;
    check_kubernetes(view, stored, new)?;
    check_features(view, stored, new)?;
    check_backups(view, new)
}

pub(super) fn check_destroy(view: &View, stored: &Resource<Cluster>) -> Result<(), String> {
    let is_imported = view
        .get::<ClusterStatus>(stored.id())
        .is_some_and(|status| status.metadata.labels.contains_key(TAINTED_BY_IMPORTING));
    if is_locked(stored) && !is_imported {
        return Err(format!("cluster {:?} is locked; unlock it before it is destroyed", stored.id()));
    }
    Ok(())
}

/// Whether nothing of a cluster may be changed now. While its machines are taken over, it may.
pub(super) fn is_locked(cluster: &Resource<Cluster>) -> bool {
    let has = |key: &str| cluster.metadata.annotations.contains_key(key);
    has(annotation::CLUSTER_LOCKED) && !has(annotation::CLUSTER_IMPORT_IS_IN_PROGRESS)
}

/// Whether a cluster, if it is there, may be changed.
pub(super) fn check_unlocked(view: &View, cluster: &str) -> Result<(), String> {
    match view.get::<Cluster>(cluster) {
        Some(found) if is_locked(&found) => Err(format!("cluster {cluster:?} is locked; unlock it first")),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_name_byte) {
        return Err(format!(
            "{name:?} is no name of a cluster; take letters, digits, _ and -, at most {NAME_MAX}"
        ));
    }
    Ok(())
}

/// A locked cluster is unlocked by an edit of its annotations alone.
fn check_lock(stored: &Resource<Cluster>, new: &Resource<Cluster>) -> Result<(), String> {
    let is_edited = stored.spec != new.spec || stored.metadata.labels != new.metadata.labels;
    if is_locked(stored) && is_edited {
        return Err(format!("cluster {:?} is locked; unlock it first", stored.id()));
    }
    Ok(())
}

fn check_talos(
    view: &View,
    stored: Option<&Resource<Cluster>>,
    new: &Resource<Cluster>,
) -> Result<(), String> {
    if stored.is_some_and(|stored| stored.talos_version == new.talos_version) {
        return Ok(());
    }
    let wanted = version::written("talosversion", &new.talos_version)?;
    let known = view.get::<TalosVersion>(&new.talos_version);
    let known = known.ok_or_else(|| not_offered("talosversion", &new.talos_version))?;
    if known.unsupported {
        return Err(format!("talosversion: {wanted} is not supported; choose a newer one"));
    }
    let is_deprecated_already = stored
        .and_then(|stored| view.get::<TalosVersion>(&stored.talos_version))
        .is_some_and(|current| current.deprecated);
    if known.deprecated && !is_deprecated_already {
        return Err(format!("talosversion: {wanted} is deprecated; choose a newer one"));
    }
    match created_with(view, stored) {
        Some(first) if version::minor(&wanted) < version::minor(&first) => Err(format!(
            "talosversion: {wanted} is older than {first}, which the cluster was created with; its \
             configuration does not fit"
        )),
        _ => Ok(()),
    }
}

fn check_kubernetes(
    view: &View,
    stored: Option<&Resource<Cluster>>,
    new: &Resource<Cluster>,
) -> Result<(), String> {
    let is_same = |stored: &Resource<Cluster>| {
        stored.kubernetes_version == new.kubernetes_version && stored.talos_version == new.talos_version
    };
    if stored.is_some_and(is_same) {
        return Ok(());
    }
    let wanted = version::written("kubernetesversion", &new.kubernetes_version)?;
    let talos = view.get::<TalosVersion>(&new.talos_version);
    let is_compatible =
        talos.is_some_and(|talos| talos.compatible_kubernetes_versions.contains(&new.kubernetes_version));
    if !is_compatible {
        return Err(format!(
            "kubernetesversion: {wanted} does not go with version {} of the operating system; see its \
             TalosVersion for those that do",
            new.talos_version
        ));
    }
    match stored.filter(|stored| stored.kubernetes_version != new.kubernetes_version) {
        Some(stored) => check_path(view, stored, &wanted),
        None => Ok(()),
    }
}

/// Whether an upgrade of Kubernetes leads from what the cluster has to this version. Back to where a running one began
/// is always a way.
fn check_path(view: &View, stored: &Resource<Cluster>, wanted: &Version) -> Result<(), String> {
    let text = wanted.to_string();
    let status = view.get::<KubernetesUpgradeStatus>(stored.id());
    let is_offered = status
        .is_some_and(|status| status.upgrade_versions.contains(&text) || status.last_upgrade_version == text);
    if is_offered {
        return Ok(());
    }
    let Some(current) = version::parse(&stored.kubernetes_version) else { return Ok(()) };
    let is_next =
        current.major == wanted.major && (wanted.minor == current.minor || wanted.minor == current.minor + 1);
    if is_next {
        return Ok(());
    }
    Err(format!(
        "kubernetesversion: {current} cannot become {wanted}; Kubernetes is upgraded by one minor version at \
         a time, and not back"
    ))
}

fn check_features(
    view: &View,
    stored: Option<&Resource<Cluster>>,
    new: &Resource<Cluster>,
) -> Result<(), String> {
    let of = |cluster: &Resource<Cluster>| cluster.features.clone().unwrap_or_default();
    let (old, wanted): (Option<ClusterFeatures>, ClusterFeatures) = (stored.map(of), of(new));
    if old.as_ref().is_some_and(|old| old.disk_encryption != wanted.disk_encryption) {
        return Err("features.diskencryption cannot be changed; create another cluster".to_owned());
    }
    let had_embedded = old.is_some_and(|old| old.use_embedded_discovery_service);
    if wanted.use_embedded_discovery_service && !had_embedded && !view.limits().has_discovery {
        let text = "features.useembeddeddiscoveryservice: this manager has no discovery service; enable it in \
                    the manager's configuration";
        return Err(text.to_owned());
    }
    if !wanted.disable_public_discovery_service {
        return Ok(());
    }
    if !wanted.use_embedded_discovery_service {
        let text = "features.disablepublicdiscoveryservice needs useembeddeddiscoveryservice as well, or \
                    members do not find each other";
        return Err(text.to_owned());
    }
    let first = created_with(view, stored).or_else(|| version::parse(&new.talos_version));
    if first.is_some_and(|first| version::minor(&first) < WITHOUT_PUBLIC_DISCOVERY) {
        let text = "features.disablepublicdiscoveryservice is for clusters created with 1.14 or later";
        return Err(text.to_owned());
    }
    Ok(())
}

fn check_backups(view: &View, new: &Resource<Cluster>) -> Result<(), String> {
    let interval = new.backup_configuration.as_ref().and_then(|backups| backups.interval);
    let Some(interval) = interval else { return Ok(()) };
    let interval = u64::try_from(interval.0).map(Duration::from_nanos).unwrap_or_default();
    let (min, max) = (view.limits().backup_interval_min, view.limits().backup_interval_max);
    if interval < min || interval > max {
        return Err(format!("backupconfiguration.interval: {interval:?} is not from {min:?} to {max:?}"));
    }
    Ok(())
}

/// The version of the operating system that a cluster was created with; none for a new one.
fn created_with(view: &View, stored: Option<&Resource<Cluster>>) -> Option<Version> {
    let kept = view.get::<ClusterConfigVersion>(stored?.id())?;
    version::parse(&kept.version)
}

fn not_offered(field: &str, version: &str) -> String {
    format!("{field}: {version:?} is not offered; the TalosVersions say which are")
}

#[cfg(test)]
mod tests;
