//! One row for each rule of clusters.

use corten_fleet_resources::cluster::EtcdBackupConf;
use corten_resource::Nanos;

use super::*;
use crate::testing::{Fleet, with};
use crate::validate::testing;

/// A manager that offers 1.12.0 (deprecated), 1.13.8 and 1.14.1 with Kubernetes 1.34 to 1.36.
fn fleet() -> Fleet {
    let fleet = Fleet::new();
    let kubernetes = || ["1.34.0", "1.35.0", "1.36.0"].map(str::to_owned).to_vec();
    for (version, deprecated, unsupported) in
        [("1.8.0", false, true), ("1.12.0", true, false), ("1.13.8", false, false), ("1.14.1", false, false)]
    {
        let offered = TalosVersion {
            version: version.to_owned(),
            compatible_kubernetes_versions: kubernetes(),
            deprecated,
            unsupported,
            ..TalosVersion::default()
        };
        fleet.put(version, offered);
    }
    fleet
}

fn cluster(talos: &str, kubernetes: &str) -> Cluster {
    Cluster {
        talos_version: talos.to_owned(),
        kubernetes_version: kubernetes.to_owned(),
        ..Cluster::default()
    }
}

fn features(change: impl FnOnce(&mut ClusterFeatures)) -> Cluster {
    let mut features = ClusterFeatures::default();
    change(&mut features);
    Cluster { features: Some(features), ..cluster("1.13.8", "1.34.0") }
}

#[test]
fn a_name_is_of_few_characters() {
    let long = "a".repeat(64);
    testing::check(&fleet(), with("Prod_1-a", cluster("1.13.8", "1.34.0"), &[]), "");
    for name in ["", "a b", "é", long.as_str()] {
        testing::check(&fleet(), with(name, cluster("1.13.8", "1.34.0"), &[]), "is no name of a cluster");
    }
}

#[test]
fn a_new_cluster_has_versions_that_are_offered_and_go_together() {
    for (talos, kubernetes, refusal) in [
        ("1.14.1", "1.36.0", ""),
        ("v1.13.8", "1.34.0", "talosversion: \"v1.13.8\" is no version"),
        ("1.13.9", "1.34.0", "\"1.13.9\" is not offered"),
        ("1.8.0", "1.34.0", "1.8.0 is not supported"),
        ("1.12.0", "1.34.0", "1.12.0 is deprecated"),
        ("1.13.8", "1.33.0", "1.33.0 does not go with version 1.13.8"),
        ("1.13.8", "", "kubernetesversion: \"\" is no version"),
    ] {
        testing::check(&fleet(), with("prod", cluster(talos, kubernetes), &[]), refusal);
    }
}

#[test]
fn the_operating_system_stays_at_or_above_the_minor_that_it_began_with() {
    let fleet = fleet();
    fleet.put("prod", cluster("1.14.1", "1.34.0"));
    fleet.put("prod", ClusterConfigVersion { version: "v1.14.0".to_owned() });
    let refusal = "1.13.8 is older than 1.14.0, which the cluster was created with";
    testing::check(&fleet, with("prod", cluster("1.13.8", "1.34.0"), &[]), refusal);
}

#[test]
fn a_cluster_on_a_deprecated_version_may_move_to_another_one() {
    let fleet = fleet();
    fleet.put("prod", cluster("1.12.0", "1.34.0"));
    let older = TalosVersion {
        deprecated: true,
        compatible_kubernetes_versions: vec!["1.34.0".to_owned()],
        ..TalosVersion::default()
    };
    fleet.put("1.12.1", older);
    testing::check(&fleet, with("prod", cluster("1.12.1", "1.34.0"), &[]), "");
}

#[test]
fn kubernetes_goes_up_by_one_minor_or_back_to_where_an_upgrade_began() {
    let fleet = fleet();
    fleet.put("prod", cluster("1.13.8", "1.35.0"));
    let to = |version: &str, refusal: &str| {
        testing::check(&fleet, with("prod", cluster("1.13.8", version), &[]), refusal);
    };
    to("1.36.0", "");
    to("1.34.0", "1.35.0 cannot become 1.34.0");
    let status = |last: &str, offered: &str| KubernetesUpgradeStatus {
        last_upgrade_version: last.to_owned(),
        upgrade_versions: vec![offered.to_owned()],
        ..KubernetesUpgradeStatus::default()
    };
    fleet.put("prod", status("1.34.0", "1.36.0"));
    to("1.34.0", "");
    fleet.put("lab", cluster("1.13.8", "1.34.0"));
    let refusal = "1.34.0 cannot become 1.36.0; Kubernetes is upgraded by one minor version";
    testing::check(&fleet, with("lab", cluster("1.13.8", "1.36.0"), &[]), refusal);
}

#[test]
fn disk_encryption_is_for_life() {
    let fleet = fleet();
    fleet.put("prod", features(|_| ()));
    testing::check(&fleet, with("prod", features(|it| it.disk_encryption = true), &[]), "cannot be changed");
}

#[test]
fn discovery_is_switched_as_far_as_members_still_find_each_other() {
    let both = |talos: &str| Cluster {
        talos_version: talos.to_owned(),
        ..features(|it| {
            it.use_embedded_discovery_service = true;
            it.disable_public_discovery_service = true;
        })
    };
    for (cluster, refusal) in [
        (features(|it| it.use_embedded_discovery_service = true), ""),
        (features(|it| it.disable_public_discovery_service = true), "needs useembeddeddiscoveryservice"),
        (both("1.13.8"), "created with 1.14 or later"),
        (both("1.14.1"), ""),
    ] {
        testing::check(&fleet(), with("prod", cluster, &[]), refusal);
    }
    let limits = super::super::Limits { has_discovery: false, ..super::super::Limits::default() };
    let view = View::new(fleet().state, limits);
    let new = with("prod", features(|it| it.use_embedded_discovery_service = true), &[]);
    assert!(check(&view, None, &new).is_err_and(|text| text.contains("has no discovery service")));
}

#[test]
fn backups_are_made_hourly_to_daily() {
    let hours = |hours: i64| Cluster {
        backup_configuration: Some(EtcdBackupConf {
            interval: Some(Nanos(hours * 3600 * 1_000_000_000)),
            enabled: true,
        }),
        ..cluster("1.13.8", "1.34.0")
    };
    for (interval, refusal) in
        [(1, ""), (24, ""), (0, "is not from"), (25, "is not from"), (-1, "is not from")]
    {
        testing::check(&fleet(), with("prod", hours(interval), &[]), refusal);
    }
}

#[test]
fn a_locked_cluster_is_unlocked_before_anything_else() {
    let lock = format!("@{}", annotation::CLUSTER_LOCKED);
    let import = format!("@{}", annotation::CLUSTER_IMPORT_IS_IN_PROGRESS);
    let fleet = fleet();
    fleet.put_with("prod", cluster("1.13.8", "1.34.0"), &[(lock.as_str(), "")]);
    testing::check(&fleet, with("prod", cluster("1.14.1", "1.34.0"), &[]), "is locked");
    testing::check(&fleet, with("prod", cluster("1.13.8", "1.34.0"), &[("a", "b")]), "is locked");
    testing::check(&fleet, with("prod", cluster("1.13.8", "1.34.0"), &[]), "");
    testing::check_destroy::<Cluster>(&fleet, "prod", "is locked; unlock it before");
    fleet.put_with("prod", ClusterStatus::default(), &[(TAINTED_BY_IMPORTING, "")]);
    testing::check_destroy::<Cluster>(&fleet, "prod", "");
    fleet.put_with("lab", cluster("1.13.8", "1.34.0"), &[(lock.as_str(), ""), (import.as_str(), "")]);
    testing::check(&fleet, with("lab", cluster("1.14.1", "1.34.0"), &[]), "");
}
