//! Counts of machines and clusters, from what is in the store.

use std::collections::BTreeMap;

use corten_fleet_resources::cluster::{
    Cluster, ClusterFeatures, ClusterMetrics, ClusterStatus, ClusterStatusMetrics,
};
use corten_fleet_resources::machine::{Machine, MachineStatus, MachineStatusMetrics};
use corten_fleet_resources::provider::{Acceptance, InfraMachine};
use corten_fleet_resources::upgrade::TalosVersion;
use corten_resource::{Enumeration as _, Spec, State};

/// Where a machine does not say what is counted.
const UNKNOWN: &str = "unknown";

/// A name, and whether a cluster has what it names.
type Feature = (&'static str, fn(&ClusterFeatures) -> bool);

/// Features of clusters, by the names that cluster templates have for them.
const FEATURES: [Feature; 5] = [
    ("diskEncryption", |features| features.disk_encryption),
    ("disablePublicDiscoveryService", |features| features.disable_public_discovery_service),
    ("enableNodeAuditSkip", |features| features.enable_node_audit_skip),
    ("enableWorkloadProxy", |features| features.enable_workload_proxy),
    ("useEmbeddedDiscoveryService", |features| features.use_embedded_discovery_service),
];

/// How many machines there are; `limit` is how many may be let in.
pub(super) fn machines(state: &State, limit: Option<u32>) -> MachineStatusMetrics {
    let mut metrics = MachineStatusMetrics::default();
    each::<Machine>(state, |machine| {
        metrics.registered_machines_count += 1;
        metrics.connected_machines_count += u32::from(machine.connected);
    });
    let versions = Support::of(state);
    each::<MachineStatus>(state, |status| add(&mut metrics, status, &versions));
    // Those of bare metal providers that nobody has accepted or rejected.
    each::<InfraMachine>(state, |machine| {
        metrics.pending_machines_count += u32::from(machine.acceptance_status == Acceptance::Pending);
    });
    metrics.registered_machines_limit = limit.unwrap_or_default();
    let registered = metrics.registered_machines_count;
    metrics.registration_limit_reached = limit.is_some_and(|limit| registered >= limit);
    metrics
}

/// Visits all resources of a type, without copies: there may be very many.
fn each<S: Spec>(state: &State, mut visit: impl FnMut(&S)) {
    for resource in state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind) {
        if let Some(spec) = resource.spec::<S>() {
            visit(spec);
        }
    }
}

/// Versions whose support ends, without `v`.
#[derive(Default)]
struct Support {
    ends: Vec<String>,
    ended: Vec<String>,
}

impl Support {
    fn of(state: &State) -> Self {
        let mut support = Self::default();
        each::<TalosVersion>(state, |version| {
            if version.unsupported {
                support.ended.push(version.version.clone());
            } else if version.deprecated {
                support.ends.push(version.version.clone());
            }
        });
        support
    }
}

fn add(metrics: &mut MachineStatusMetrics, status: &MachineStatus, versions: &Support) {
    let platform = status.platform_metadata.as_ref().map(|metadata| metadata.platform.as_str());
    let platform = platform.filter(|platform| !platform.is_empty()).unwrap_or(UNKNOWN);
    *metrics.platforms.entry(platform.to_owned()).or_default() += 1;
    let security = status.security_state.as_ref();
    let word = |is: Option<bool>| is.map_or(UNKNOWN, |is| if is { "enabled" } else { "disabled" });
    let secure_boot = word(security.map(|state| state.secure_boot));
    *metrics.secure_boot_status.entry(secure_boot.to_owned()).or_default() += 1;
    let uki = word(security.map(|state| state.booted_with_uki));
    *metrics.uki_status.entry(uki.to_owned()).or_default() += 1;
    metrics.allocated_machines_count += u32::from(!status.cluster.is_empty());
    let is_invalid = status.schematic.as_ref().is_some_and(|schematic| schematic.invalid);
    metrics.invalid_schematic_machines_count += u32::from(is_invalid);
    let version = status.talos_version.trim_start_matches('v');
    let is_in = |list: &[String]| u32::from(list.iter().any(|known| known == version));
    metrics.approaching_talos_version_end_of_support_machines_count += is_in(&versions.ends);
    metrics.talos_version_end_of_support_machines_count += is_in(&versions.ended);
    let processors = status.hardware.iter().flat_map(|hardware| &hardware.processors);
    metrics.cores_count += processors.map(|processor| u64::from(processor.core_count)).sum::<u64>();
}

/// How many clusters use which feature.
pub(super) fn clusters(state: &State) -> ClusterMetrics {
    let mut features: BTreeMap<String, u32> =
        FEATURES.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect();
    each::<Cluster>(state, |cluster| {
        let Some(switches) = &cluster.features else { return };
        for (name, uses) in &FEATURES {
            *features.entry((*name).to_owned()).or_default() += u32::from(uses(switches));
        }
    });
    ClusterMetrics { features }
}

/// How many clusters are in which state.
pub(super) fn cluster_statuses(state: &State) -> ClusterStatusMetrics {
    let mut metrics = ClusterStatusMetrics::default();
    each::<ClusterStatus>(state, |status| {
        metrics.not_ready_count += u32::from(!status.ready);
        *metrics.phases.entry(status.phase.number().to_string()).or_default() += 1;
    });
    metrics
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::ClusterPhase;
    use corten_fleet_resources::machine::SecurityState;

    use super::*;
    use crate::testing::Fleet;

    #[test]
    fn machines_are_counted_by_what_they_are_and_against_the_limit() {
        let fleet = Fleet::new();
        fleet.put("m-1", Machine { connected: true, ..Machine::default() });
        fleet.put("m-2", Machine::default());
        let security_state = Some(SecurityState { secure_boot: true, booted_with_uki: true });
        let status = MachineStatus {
            cluster: "prod".to_owned(),
            talos_version: "v1.9.0".to_owned(),
            security_state,
            ..MachineStatus::default()
        };
        fleet.put("m-1", status);
        fleet.put("m-2", MachineStatus::default());
        let old = TalosVersion { version: "1.9.0".to_owned(), deprecated: true, ..TalosVersion::default() };
        fleet.put("1.9.0", old);
        let found = machines(&fleet.state, Some(2));
        assert_eq!((found.registered_machines_count, found.connected_machines_count), (2, 1));
        assert_eq!((found.allocated_machines_count, found.registration_limit_reached), (1, true));
        assert_eq!(found.secure_boot_status["enabled"], 1);
        assert_eq!(found.platforms[UNKNOWN], 2);
        assert_eq!(found.approaching_talos_version_end_of_support_machines_count, 1);
        assert!(!machines(&fleet.state, None).registration_limit_reached);
    }

    #[test]
    fn clusters_are_counted_by_feature_and_by_the_number_of_their_phase() {
        let fleet = Fleet::new();
        let features = Some(ClusterFeatures { disk_encryption: true, ..ClusterFeatures::default() });
        fleet.put("prod", Cluster { features, ..Cluster::default() });
        fleet.put("lab", Cluster::default());
        let found = clusters(&fleet.state).features;
        assert_eq!((found["diskEncryption"], found["enableWorkloadProxy"]), (1, 0));
        let running = ClusterPhase::Running;
        fleet.put("prod", ClusterStatus { phase: running, ready: true, ..ClusterStatus::default() });
        fleet.put("lab", ClusterStatus::default());
        let found = cluster_statuses(&fleet.state);
        assert_eq!((found.not_ready_count, found.phases["3"], found.phases["0"]), (1, 1, 1));
    }
}
