//! The cluster, and what it gives to its Kubernetes.

use std::time::Duration;

use corten_fleet_resources::cluster::{Cluster as Wanted, ClusterFeatures, EtcdBackupConf};
use corten_fleet_resources::kubernetes::{KubernetesHealthCheck, KubernetesManifestGroup};
use corten_fleet_resources::labels::{self, annotation};
use corten_resource::Nanos;

use super::{MANAGED, Translator};
use crate::model::{Cluster, Features, Spanned};
use crate::names::{self, Numbering};

impl Translator<'_> {
    pub(super) fn cluster(&mut self, cluster: &Cluster) {
        let name = cluster.name();
        let spec = Wanted {
            kubernetes_version: bare(cluster.kubernetes_version.as_ref()),
            talos_version: bare(cluster.talos_version.as_ref()),
            features: Some(features(&cluster.features)),
            backup_configuration: backup(&cluster.features),
        };
        self.put(name.to_owned(), spec, &[], &[MANAGED], &cluster.scope.descriptors);
        let numbering = Numbering::of_cluster(name);
        let labels = [(labels::CLUSTER, name)];
        self.scope(&cluster.scope, &numbering, name, &labels);
        for (index, manifest) in cluster.manifests.iter().enumerate() {
            let (Some(id), Some(name), Some(text)) =
                (numbering.manifest(index, manifest), &manifest.name, manifest.text())
            else {
                continue;
            };
            let spec = KubernetesManifestGroup {
                data: text.to_owned(),
                mode: manifest.mode,
                ..KubernetesManifestGroup::default()
            };
            self.put(id, spec, &labels, &[(annotation::NAME, name.as_str())], &manifest.descriptors);
        }
        for check in &cluster.health_checks {
            let (Some(id), Some(text)) = (names::health_check(name, check), check.text()) else { continue };
            let interval = check.interval.as_ref().map(|interval| nanos(interval.value));
            let spec = KubernetesHealthCheck { job: text.to_owned(), interval };
            self.put(id, spec, &labels, &[], &check.descriptors);
        }
    }
}

/// A version as resources have it, without `v`.
fn bare(version: Option<&Spanned<String>>) -> String {
    let version = version.map(|version| version.as_str()).unwrap_or_default();
    version.strip_prefix('v').unwrap_or(version).to_owned()
}

const fn features(features: &Features) -> ClusterFeatures {
    ClusterFeatures {
        enable_workload_proxy: features.enable_workload_proxy,
        disk_encryption: features.disk_encryption,
        use_embedded_discovery_service: features.use_embedded_discovery_service,
        enable_node_audit_skip: features.enable_node_audit_skip,
        disable_public_discovery_service: features.disable_public_discovery_service,
    }
}

fn backup(features: &Features) -> Option<EtcdBackupConf> {
    let interval = features.backup_interval.as_ref().filter(|interval| !interval.value.is_zero())?;
    Some(EtcdBackupConf { interval: Some(nanos(interval.value)), enabled: true })
}

fn nanos(duration: Duration) -> Nanos {
    Nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}
