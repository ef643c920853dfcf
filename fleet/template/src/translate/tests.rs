//! What becomes of templates.

use corten_fleet_resources::cluster::{
    AllocationKind, Cluster, EtcdBackupConf, MachineAllocation, MachineSet, RollingUpdateConfig,
    UpdateStrategy, UpdateStrategyConfig,
};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::kubernetes::{KubernetesHealthCheck, KubernetesManifestGroup, ManifestMode};
use corten_fleet_resources::machine::{KernelArgs, MachineInstallDiskConfig};
use corten_resource::{AnyResource, Nanos, Spec};

use super::translate;
use crate::testing::{A, B, C, EXAMPLE, summary, template};

fn spec<'a, S: Spec>(resources: &'a [AnyResource], id: &str) -> &'a S {
    resources.iter().filter(|resource| resource.id() == id).find_map(AnyResource::spec::<S>).unwrap()
}

#[test]
fn resources_have_the_ids_labels_and_annotations_that_every_client_gives_them() {
    let found: Vec<String> = translate(&template(EXAMPLE)).iter().map(summary).collect();
    let managed = "@managed-by-cluster-templates=";
    let expected = [
        format!("Clusters prod tier=gold {managed}"),
        "ExtensionsConfigurations schematic-prod cluster=prod".to_owned(),
        "ConfigPatches 200-cluster-prod-ntp cluster=prod @name=ntp".to_owned(),
        "ConfigPatches 201-cluster-prod-patches/a.yaml cluster=prod @name=patches/a.yaml".to_owned(),
        "ConfigPatches 950-env cluster=prod machine-set=prod-workers @description=env".to_owned(),
        format!("ConfigPatches 400-cm-{B}-x cluster=prod cluster-machine={B} @name=x"),
        format!("MachineInstallDiskConfigs {B} {managed}"),
        "KubernetesManifestGroups 200-cluster-prod-ns cluster=prod @name=ns".to_owned(),
        "KubernetesHealthChecks cluster-prod-nodes cluster=prod".to_owned(),
        "MachineSets prod-control-planes cluster=prod role-controlplane=".to_owned(),
        "MachineSets prod-workers cluster=prod role-worker=".to_owned(),
        format!("MachineSetNodes {A} cluster=prod machine-set=prod-control-planes role-controlplane="),
        format!("MachineSetNodes {B} cluster=prod machine-set=prod-workers role-worker= rack=r1 @locked="),
        format!("MachineSetNodes {C} cluster=prod machine-set=prod-workers role-worker="),
        format!("KernelArgs {A} {managed}"),
        format!("KernelArgs {B} {managed}"),
        format!("KernelArgs {C} {managed}"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn versions_lose_their_v_and_an_interval_turns_backups_on() {
    let resources = translate(&template(EXAMPLE));
    let cluster: &Cluster = spec(&resources, "prod");
    assert_eq!((cluster.kubernetes_version.as_str(), cluster.talos_version.as_str()), ("1.34.1", "1.11.2"));
    assert!(cluster.features.as_ref().unwrap().disk_encryption);
    let hour = Some(Nanos(3_600_000_000_000));
    assert_eq!(cluster.backup_configuration, Some(EtcdBackupConf { interval: hour, enabled: true }));

    let off = translate(&template(&EXAMPLE.replace("interval: 1h", "interval: 0")));
    assert_eq!(spec::<Cluster>(&off, "prod").backup_configuration, None);
}

#[test]
fn texts_are_taken_as_they_are_and_mappings_in_one_form() {
    let resources = translate(&template(EXAMPLE));
    let patch = |id: &str| spec::<ConfigPatch>(&resources, id).data.as_str();
    let ntp = "machine:
    time:
        disabled: false
        servers:
            - b
            - a
";
    assert_eq!(patch("200-cluster-prod-ntp"), ntp);
    assert_eq!(patch("201-cluster-prod-patches/a.yaml"), "machine:\n  env: {}\n");
    assert_eq!(patch("950-env"), "machine: {env: {}}\n");
    let group: &KubernetesManifestGroup = spec(&resources, "200-cluster-prod-ns");
    assert_eq!(group.mode, ManifestMode::Full);
    assert_eq!(group.data, "apiVersion: v1\nkind: Namespace\nmetadata:\n    name: a\n");
    let check: &KubernetesHealthCheck = spec(&resources, "cluster-prod-nodes");
    assert_eq!(check.job, "apiVersion: batch/v1\nkind: Job\n");
    assert_eq!(check.interval, Some(Nanos(30_000_000_000)));
    assert_eq!(spec::<MachineInstallDiskConfig>(&resources, B).disk, "/dev/vda");
}

#[test]
fn kernel_args_come_from_the_narrowest_scope_that_gives_any() {
    let resources = translate(&template(EXAMPLE));
    let args = |uuid: &str| spec::<KernelArgs>(&resources, uuid).args.clone();
    assert_eq!(args(A), ["a=1"]);
    assert_eq!(args(B), Vec::<String>::new());
    assert_eq!(args(C), ["b=2"]);
    let none = EXAMPLE.replace("kernelArgs: [a=1]\n", "");
    let found: Vec<String> = translate(&template(&none)).iter().map(summary).collect();
    assert!(!found.iter().any(|line| line.starts_with(&format!("KernelArgs {A}"))), "{found:?}");
}

#[test]
fn sets_update_in_turns_unless_they_say_otherwise() {
    let text = "kind: Cluster
name: a
kubernetes: {version: v1.34.1}
talos: {version: v1.11.2}
---
kind: ControlPlane
machineClass: {name: planes, size: 3}
upgradeStrategy: {rolling: {maxParallelism: 2}}
---
kind: Workers
machineClass: {name: all, size: unlimited}
updateStrategy: {type: Unset}
deleteStrategy: {rolling: {maxParallelism: 5}}
";
    let resources = translate(&template(text));
    let rolling = |max_parallelism| {
        Some(UpdateStrategyConfig { rolling: Some(RollingUpdateConfig { max_parallelism }) })
    };
    let allocation = |name: &str, machine_count, allocation_kind| {
        Some(MachineAllocation { name: name.to_owned(), machine_count, allocation_kind })
    };
    let planes = MachineSet {
        update_strategy: UpdateStrategy::Rolling,
        upgrade_strategy: UpdateStrategy::Rolling,
        upgrade_strategy_config: rolling(2),
        machine_allocation: allocation("planes", 3, AllocationKind::Static),
        ..MachineSet::default()
    };
    let workers = MachineSet {
        delete_strategy_config: rolling(5),
        machine_allocation: allocation("all", 0, AllocationKind::Unlimited),
        ..MachineSet::default()
    };
    assert_eq!(spec::<MachineSet>(&resources, "a-control-planes"), &planes);
    assert_eq!(spec::<MachineSet>(&resources, "a-workers"), &workers);
}
