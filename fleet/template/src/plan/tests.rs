//! What changes, and in which order.

use corten_resource::{Phase, Resource};

use super::*;
use crate::testing::{B, C, EXAMPLE, names, stored, template};
use crate::translate::translate;

fn desired(text: &str) -> Vec<AnyResource> {
    translate(&template(text))
}

/// The example without its workers.
fn without_workers() -> String {
    EXAMPLE.split("---\n").take(2).collect::<Vec<_>>().join("---\n")
}

fn label(resource: &AnyResource, key: &str, value: &str) -> AnyResource {
    resource.clone().edit(|metadata| {
        metadata.labels.insert(key.to_owned(), value.to_owned());
    })
}

fn conflicts(actual: AnyResource) -> String {
    plan("prod", &desired(EXAMPLE), &[actual]).unwrap_err().to_string()
}

fn one(kind: &str, id: &str) -> AnyResource {
    let mut found = stored(EXAMPLE).into_iter().filter(|resource| resource.metadata().kind.starts_with(kind));
    found.find(|resource| resource.id() == id).unwrap()
}

#[test]
fn nothing_changes_when_everything_is_as_wanted() {
    assert!(plan("prod", &desired(EXAMPLE), &stored(EXAMPLE)).unwrap().is_empty());
}

#[test]
fn resources_are_created_in_the_order_in_which_they_need_each_other() {
    let mut mixed = desired(EXAMPLE);
    mixed.reverse();
    let plan = plan("prod", &mixed, &[]).unwrap();
    let kinds: Vec<&str> = plan.creates.iter().map(|resource| resource.metadata().kind.as_str()).collect();
    let mut sorted = kinds.clone();
    sorted.sort_by_key(|kind| TYPES.iter().position(|known| known == kind));
    sorted.dedup();
    assert_eq!(sorted, TYPES);
    let mut kinds = kinds;
    kinds.dedup();
    assert_eq!(kinds, TYPES);
    assert!(plan.updates.is_empty() && plan.deletes.iter().all(Vec::is_empty));
}

#[test]
fn an_update_keeps_version_finalizers_and_locks() {
    let lock = |resource: AnyResource| {
        resource.edit(|metadata| {
            if metadata.kind == Cluster::DEFINITION.kind {
                metadata.annotations.insert(annotation::CLUSTER_LOCKED.to_owned(), String::new());
                metadata.annotations.insert("note".to_owned(), "by hand".to_owned());
            }
        })
    };
    let actual: Vec<AnyResource> = stored(EXAMPLE).into_iter().map(lock).collect();
    let plan = plan("prod", &desired(&EXAMPLE.replace("tier: gold", "tier: iron")), &actual).unwrap();
    assert_eq!(names(plan.updates.iter().map(|update| &update.new)), ["Clusters prod"]);
    let metadata = plan.updates[0].new.metadata();
    assert_eq!((metadata.version, metadata.finalizers.as_slice()), (3, &["Controller".to_owned()][..]));
    let annotations: Vec<&str> = metadata.annotations.keys().map(String::as_str).collect();
    assert_eq!(annotations, [annotation::CLUSTER_LOCKED, annotation::MANAGED_BY_CLUSTER_TEMPLATES]);
    assert!(plan.creates.is_empty() && plan.deletes.iter().all(Vec::is_empty));
}

#[test]
fn nodes_go_with_their_set_and_before_the_rest() {
    let without = plan("prod", &desired(&without_workers()), &stored(EXAMPLE)).unwrap();
    assert_eq!(names(&without.deletes[0]), ["MachineSets prod-workers"]);
    let rest = [format!("ConfigPatches 400-cm-{B}-x"), "ConfigPatches 950-env".to_owned()];
    assert_eq!(names(&without.deletes[1]), rest);

    let fewer = EXAMPLE.replace(&format!(", {C}]"), "]");
    let fewer = plan("prod", &desired(&fewer), &stored(EXAMPLE)).unwrap();
    assert_eq!(names(&fewer.deletes[0]), [format!("MachineSetNodes {C}")]);
}

#[test]
fn what_belongs_to_a_machine_stays_with_it_and_loses_the_annotation() {
    let plan = plan("prod", &desired(&without_workers()), &stored(EXAMPLE)).unwrap();
    let expected =
        [format!("MachineInstallDiskConfigs {B}"), format!("KernelArgs {B}"), format!("KernelArgs {C}")];
    assert_eq!(names(plan.updates.iter().map(|update| &update.new)), expected);
    assert!(plan.updates.iter().all(|update| update.new.metadata().annotations.is_empty()));
    assert!(plan.updates.iter().all(|update| update.new.metadata().version == 3));
}

#[test]
fn the_choice_of_a_disk_is_deleted_while_its_machine_stays() {
    let without = EXAMPLE.replace("install: {disk: /dev/vda}\n", "");
    let plan = plan("prod", &desired(&without), &stored(EXAMPLE)).unwrap();
    assert_eq!(names(&plan.deletes[1]), [format!("MachineInstallDiskConfigs {B}")]);
    assert!(plan.updates.is_empty());
}

#[test]
fn a_cluster_takes_its_sets_and_nodes_along() {
    let plan = plan("prod", &[], &stored(EXAMPLE)).unwrap();
    assert!(plan.creates.is_empty() && plan.deletes[0].is_empty());
    let deleted = names(&plan.deletes[1]);
    assert_eq!(deleted[0], "Clusters prod");
    assert!(!deleted.iter().any(|name| name.starts_with("MachineSet")), "{deleted:?}");
    assert_eq!(deleted.len(), 8, "{deleted:?}");
}

#[test]
fn what_controllers_made_and_what_is_elsewhere_is_not_touched() {
    let picked = one("MachineSetNodes", C);
    let mut actual = vec![
        label(&one("ConfigPatches", "201-cluster-prod-patches/a.yaml"), labels::SYSTEM_PATCH, ""),
        label(&one("ConfigPatches", "950-env"), labels::CLUSTER, "other"),
        label(&picked, labels::MANAGED_BY_MACHINE_SET_NODE_CONTROLLER, ""),
        one("MachineSets", "prod-workers").edit(|metadata| metadata.owner = "Controller".to_owned()),
    ];
    assert!(plan("prod", &[], &actual).unwrap().is_empty());
    actual.push(one("ConfigPatches", "200-cluster-prod-ntp"));
    let found = plan("prod", &[], &actual).unwrap();
    assert_eq!(names(&found.deletes[1]), ["ConfigPatches 200-cluster-prod-ntp"]);
}

#[test]
fn conflicts_are_errors_that_name_the_way_out() {
    let node = one("MachineSetNodes", B);
    let pointer = node.pointer();
    let found = conflicts(label(&node, labels::CLUSTER, "other"));
    let other = "belongs to cluster \"other\"; give it another name in the template";
    assert_eq!(found, format!("{pointer} {other}"));
    let found = conflicts(label(&node, labels::MANAGED_BY_MACHINE_SET_NODE_CONTROLLER, ""));
    assert!(found.contains("was picked by a machine class"), "{found}");
    let found = conflicts(label(&node, labels::MACHINE_SET, "prod-control-planes"));
    assert!(found.contains("is in prod-control-planes; remove it there and sync, then add it"), "{found}");
    let found = conflicts(node.clone().edit(|metadata| metadata.owner = "Controller".to_owned()));
    assert!(found.contains("belongs to Controller, and templates do not touch it"), "{found}");
    let found = conflicts(node.edit(|metadata| metadata.phase = Phase::TearingDown));
    assert!(found.contains("is being destroyed; wait until it is gone"), "{found}");
    let patch = one("ConfigPatches", "950-env").edit(|metadata| metadata.labels.clear());
    assert!(conflicts(patch).contains("belongs to no cluster"));
}

#[test]
fn a_compressed_text_that_says_the_same_is_no_change() {
    let pack = |resource: AnyResource| match resource.spec::<ConfigPatch>() {
        Some(patch) => {
            let compressed_data = zstd::bulk::compress(patch.data.as_bytes(), 3).unwrap();
            let spec = ConfigPatch { data: String::new(), compressed_data };
            AnyResource::from(Resource { metadata: resource.metadata().clone(), spec })
        }
        None => resource,
    };
    let actual: Vec<AnyResource> = stored(EXAMPLE).into_iter().map(pack).collect();
    assert!(plan("prod", &desired(EXAMPLE), &actual).unwrap().is_empty());
}
