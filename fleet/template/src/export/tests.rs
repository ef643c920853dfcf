//! Round trips from templates to resources and back.

use corten_fleet_resources::labels::annotation;

use super::*;
use crate::plan::plan;
use crate::testing::{A, B, C, EXAMPLE, stored, summary, template};
use crate::translate::translate;

const WITH_ARGS: ExportOptions = ExportOptions { include_kernel_args: true };

fn exported(text: &str) -> Export {
    export("prod", &stored(text), WITH_ARGS).unwrap()
}

/// What a template uses that is written in one form only, so that exporting it gives it back.
fn golden() -> String {
    format!(
        "kind: Cluster
name: prod
labels:
    tier: gold
kubernetes:
    version: v1.34.1
    manifests:
        - name: ns
          mode: full
          inline:
              - apiVersion: v1
                kind: Namespace
                metadata:
                    name: a
    healthchecks:
        - name: nodes
          interval: 30s
          job: |
              apiVersion: batch/v1
              kind: Job
talos:
    version: v1.11.2
features:
    diskEncryption: true
    backupConfiguration:
        interval: 1h0m0s
patches:
    - idOverride: 200-cluster-prod-ntp
      annotations:
          name: ntp
      inline: |
          machine:
              time: {{}}
systemExtensions:
    - siderolabs/hello
---
kind: ControlPlane
machines:
    - {A}
---
kind: Workers
name: extra
machineClass:
    name: large
    size: unlimited
upgradeStrategy:
    type: Rolling
---
kind: Workers
machines:
    - {B}
updateStrategy:
    type: Rolling
    rolling:
        maxParallelism: 3
---
kind: Machine
name: {A}
---
kind: Machine
name: {B}
labels:
    rack: r1
locked: true
install:
    disk: /dev/vda
systemExtensions: []
"
    )
}

#[test]
fn an_exported_template_is_written_in_one_form() {
    let export = exported(&golden());
    assert_eq!(export.text, golden());
    assert!(export.left_out.is_empty());
}

#[test]
fn a_sync_of_the_exported_template_changes_nothing() {
    let actual = stored(EXAMPLE);
    let text = exported(EXAMPLE).text;
    let plan = plan("prod", &translate(&template(&text)), &actual).unwrap();
    let names = |resources: &[AnyResource]| resources.iter().map(summary).collect::<Vec<_>>();
    assert_eq!(names(&plan.creates), Vec::<String>::new());
    assert_eq!(names(&plan.deletes.concat()), Vec::<String>::new());
    let updated: Vec<String> = plan.updates.iter().map(|update| summary(&update.new)).collect();
    assert_eq!(updated, Vec::<String>::new(), "{text}");
}

#[test]
fn kernel_args_are_exported_only_when_asked_for() {
    let text = export("prod", &stored(EXAMPLE), ExportOptions::default()).unwrap().text;
    assert!(!text.contains("kernelArgs"), "{text}");
    let text = exported(EXAMPLE).text;
    assert!(text.contains(&format!("name: {C}\nkernelArgs:\n    - b=2\n")), "{text}");
}

#[test]
fn marks_of_the_manager_stay_out_of_the_template() {
    let text = exported(EXAMPLE).text;
    assert!(!text.contains("omni.sidero.dev"), "{text}");
    assert!(!text.contains(annotation::MANAGED_BY_CLUSTER_TEMPLATES), "{text}");
}

#[test]
fn what_the_language_cannot_say_is_named() {
    let mut resources = stored(EXAMPLE);
    for resource in &mut resources {
        if resource.id() == "950-env" {
            *resource = resource.clone().edit(|metadata| {
                metadata.labels.insert(labels::DISABLED.to_owned(), String::new());
            });
        }
    }
    let export = export("prod", &resources, WITH_ARGS).unwrap();
    assert_eq!(export.left_out.iter().map(|pointer| pointer.id.as_str()).collect::<Vec<_>>(), ["950-env"]);
    assert!(!export.text.contains("950-env"), "{}", export.text);
}

#[test]
fn a_cluster_that_is_not_there_and_resources_that_break_rules_are_errors() {
    let missing = export("other", &stored(EXAMPLE), WITH_ARGS).unwrap_err();
    assert!(matches!(missing, ExportError::NoCluster(name) if name == "other"));
    let mut resources = stored(EXAMPLE);
    resources.retain(|resource| resource.id() != "prod-control-planes");
    let ExportError::Invalid { source, .. } = export("prod", &resources, WITH_ARGS).unwrap_err() else {
        panic!("a template without control plane");
    };
    assert!(source.to_string().contains("there is no document of kind ControlPlane"), "{source}");
}
