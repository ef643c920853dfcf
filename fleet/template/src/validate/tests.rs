//! One template for each rule that it breaks.

use crate::loader::NoFiles;
use crate::read::load;
use crate::testing::{A, B, FILES, Files};

const CLUSTER: &str = "kind: Cluster
name: prod
kubernetes: {version: v1.34.1}
talos: {version: v1.11.2}
";

fn control_plane() -> String {
    format!("---\nkind: ControlPlane\nmachines: [{A}]\n")
}

fn found(text: &str) -> String {
    match load("t.yaml", text, &Files::new(&FILES)) {
        Ok(_) => String::new(),
        Err(findings) => findings.to_string(),
    }
}

/// What is found when this is added to a good template, after the document of the cluster and the control plane.
fn added(text: &str) -> String {
    found(&format!("{CLUSTER}{}{text}", control_plane()))
}

fn check(found: &str, expected: &str) {
    assert!(found.contains(expected), "expected {expected:?} in\n{found}");
    assert_eq!(found.lines().count(), 1, "expected one finding:\n{found}");
}

#[test]
fn the_least_template_keeps_all_rules() {
    assert_eq!(added(""), "");
    let class = "---\nkind: Workers\nname: other\nmachineClass: {name: c, size: 2}\n";
    assert_eq!(added(&format!("---\nkind: Workers\n{class}")), "");
}

#[test]
fn there_is_one_cluster_and_one_control_plane() {
    check(&found(&control_plane()), "no document of kind Cluster; add one that begins with `kind: Cluster`");
    check(&found(CLUSTER), "there is no document of kind ControlPlane;");
    let second = added(&format!("---\n{CLUSTER}"));
    check(&second, "a template has one Cluster, and there is one in line 1; remove one (t.yaml:9:1)");
    check(&added("---\nkind: ControlPlane\n"), "one ControlPlane, and there is one in line 6;");
}

#[test]
fn names_have_letters_digits_dashes_and_underscores() {
    let named = |name: &str| found(&format!("{}{}", CLUSTER.replace("prod", name), control_plane()));
    check(&named("'a b'"), "document Cluster/a b: name: \"a b\" is no name; only letters, digits");
    check(&named("''"), "document Cluster: name: missing; only letters");
    check(&added("---\nkind: Workers\nname: a.b\n"), "\"a.b\" is no name");
    check(&added("---\nkind: Workers\nname: control-planes\n"), "it stands for the control plane");
}

#[test]
fn versions_are_given_and_that_of_the_system_begins_with_v() {
    let talos = |version: &str| found(&format!("{}{}", CLUSTER.replace("v1.11.2", version), control_plane()));
    check(&talos("1.11.2"), "talos.version: \"1.11.2\" does not begin with v; write v1.11.2 (t.yaml:4:18)");
    check(&talos("latest"), "talos.version: \"latest\" is no version; expected one such as v1.2.3");
    check(&talos("''"), "talos.version: missing");
    let kubernetes = CLUSTER.replace("v1.34.1", "1.34.1");
    assert_eq!(found(&format!("{kubernetes}{}", control_plane())), "");
}

#[test]
fn workers_and_machines_are_given_once() {
    let twice = "---\nkind: Workers\n---\nkind: Workers\nname: workers\n";
    check(&added(twice), "document Workers/workers: already given in line 9; give one of them another");
    let machine = format!("---\nkind: Machine\nname: {A}\n");
    check(&added(&format!("{machine}{machine}")), "already given in line 9; make one of both");
}

#[test]
fn a_machine_is_in_one_set_only() {
    let workers = format!("---\nkind: Workers\nmachines: [{A}]\n");
    check(&added(&workers), "document Workers: machines[0]: already in ControlPlane in line 7; a machine is");
    check(&added(&format!("---\nkind: Workers\nmachines: [{B}, {B}]\n")), "machines[1]: already in Workers");
}

#[test]
fn machines_are_uuids_and_in_a_set() {
    check(&added("---\nkind: Workers\nmachines: [worker-1]\n"), "\"worker-1\" is no UUID of a machine");
    let machine = added(&format!("---\nkind: Machine\nname: {B}\n"));
    check(&machine, "in no machine set; list it in ControlPlane or Workers, or remove the document");
    check(&added("---\nkind: Machine\nlocked: false\n"), "document Machine: name: missing");
}

#[test]
fn machines_of_the_control_plane_cannot_be_locked() {
    let locked = |locked: bool| added(&format!("---\nkind: Machine\nname: {A}\nlocked: {locked}\n"));
    check(&locked(true), "machines of the control plane cannot be locked; remove the field (t.yaml:11:9)");
    assert_eq!(locked(false), "");
}

#[test]
fn a_control_plane_has_neither_name_nor_strategies_of_workers() {
    let plane = |field: &str| found(&format!("{CLUSTER}{}{field}\n", control_plane()));
    check(&plane("name: a"), "document ControlPlane/a: name: not for a control plane");
    check(&plane("updateStrategy: {type: Rolling}"), "updateStrategy: not for a control plane");
    check(&plane("deleteStrategy: {type: Unset}"), "deleteStrategy: not for a control plane");
    assert_eq!(plane("upgradeStrategy: {rolling: {maxParallelism: 1}}"), "");
}

#[test]
fn only_a_control_plane_is_bootstrapped_and_from_a_whole_backup() {
    let spec = "bootstrapSpec: {clusterUUID: u, snapshot: s}\n";
    check(&added(&format!("---\nkind: Workers\n{spec}")), "bootstrapSpec: only for ControlPlane; move");
    assert_eq!(found(&format!("{CLUSTER}{}{spec}", control_plane())), "");
    let half = found(&format!("{CLUSTER}{}bootstrapSpec: {{snapshot: s}}\n", control_plane()));
    check(&half, "bootstrapSpec.clusterUUID: missing");
}

#[test]
fn machines_and_class_exclude_each_other() {
    let both = format!("---\nkind: Workers\nmachines: [{B}]\nmachineClass: {{name: c, size: 1}}\n");
    check(&added(&both), "machineClass: machines and machineClass exclude each other; keep one");
}

#[test]
fn kernel_args_are_not_for_machines_of_a_class() {
    let class = "---\nkind: Workers\nmachineClass: {name: c, size: 1}\n";
    let set = added(&format!("{class}kernelArgs: []\n"));
    check(&set, "document Workers: kernelArgs: not for machines of a class");
    let cluster = found(&format!("{CLUSTER}kernelArgs: [a]\n{}{class}", control_plane()));
    check(&cluster, "kernelArgs: not for clusters with machines of a class, which Workers has");
}

#[test]
fn reserved_keys_are_not_for_people() {
    let parts = [
        "labels: {omni.sidero.dev/x: a}\n",
        "patches: [{file: patches/a.yaml, labels: {omni.sidero.dev/x: a}}]\n",
        "annotations: {omni.sidero.dev/locked: a}\n",
    ];
    for part in parts {
        let found = found(&format!("{CLUSTER}{part}{}", control_plane()));
        check(&found, "keys that begin with omni.sidero.dev/ belong to the manager");
    }
}

#[test]
fn a_patch_has_one_text_a_name_and_an_id_of_its_own() {
    let patch = |patch: &str| found(&format!("{CLUSTER}patches: [{patch}]\n{}", control_plane()));
    assert_eq!(patch("{file: patches/a.yaml}, {idOverride: x, inline: {machine: {}}}"), "");
    check(&patch("{name: a}"), "patches[0]: neither file nor inline; give one of them (t.yaml:5:11)");
    check(&patch("{file: patches/a.yaml, inline: {a: b}}"), "patches[0]: file and inline exclude each other");
    check(&patch("{inline: {machine: {}}}"), "patches[0].name: missing; an inline patch needs name or id");
    check(&patch("{name: a, inline: {}}"), "patches[0].inline: it changes nothing");
    check(&patch("{name: a, inline: 'a: ['}"), "patches[0].inline: not YAML");
    check(&patch("{name: a, inline: text}"), "a patch is made of mappings, or is one list; this is a string");
    let same = patch("{idOverride: x, inline: {machine: {}}}, {idOverride: x, inline: {cluster: {}}}");
    check(&same, "patches[1]: the patch in line 5 has the id \"x\" too; give one of them another name");
}

#[test]
fn a_patch_changes_what_talos_knows() {
    let text = format!("{CLUSTER}patches: [{{file: p.yaml}}]\n{}", control_plane());
    let patch = |patch: &'static str| match load("t.yaml", &text, &Files::new(&[("p.yaml", patch)])) {
        Ok(_) => String::new(),
        Err(findings) => findings.to_string(),
    };
    assert_eq!(patch("apiVersion: v1alpha1\nkind: VLANConfig\nname: a.5\nvlanID: 5\nparent: a\n"), "");
    assert_eq!(patch("[{op: add, path: /machine/env/A, value: b}]"), "");
    let found = patch("machine:\n  netwrk: {}\n  env: {A: [b]}\n");
    assert!(found.contains("machine.netwrk: unknown key; did you mean \"network\"? (p.yaml:2:3)"), "{found}");
    assert!(found.contains("patches[0].file: machine.env.A: expected a string"), "{found}");
    assert!(patch("[{op: paint, path: /machine}]").contains("failed to read the JSON patch"));
}

#[test]
fn a_wrong_file_is_told_with_its_own_place() {
    let text = format!("{CLUSTER}patches: [{{file: bad.yaml}}]\n{}", control_plane());
    let found = load("t.yaml", &text, &Files::new(&[("bad.yaml", "a: 1\nb: [\n")])).unwrap_err().to_string();
    assert!(found.starts_with("document Cluster/prod: patches[0].file: not YAML"), "{found}");
    assert!(found.contains("(bad.yaml:"), "{found}");
}

#[test]
fn manifests_are_named_objects_with_a_mode() {
    let manifest = |manifest: &str| {
        let kubernetes = format!("version: v1.34.1, manifests: [{manifest}]");
        found(&format!("{}{}", CLUSTER.replace("version: v1.34.1", &kubernetes), control_plane()))
    };
    assert_eq!(manifest("{name: a, mode: one-time, inline: [{kind: Namespace}]}"), "");
    check(&manifest("{name: a, inline: [{kind: Namespace}]}"), "manifests[0].mode: missing; expected full");
    check(&manifest("{mode: full, inline: [{kind: Namespace}]}"), "manifests[0].name: missing");
    check(&manifest("{name: a, mode: full}"), "manifests[0]: neither file nor inline");
    check(&manifest("{name: a, mode: full, inline: []}"), "manifests[0].inline: there is no object");
    check(&manifest("{name: a, mode: full, inline: {kind: X}}"), "expected a list, found a mapping");
}

#[test]
fn checks_are_named_jobs_that_do_not_run_too_often() {
    let health_check = |check: &str| {
        let kubernetes = format!("version: v1.34.1, healthchecks: [{check}]");
        found(&format!("{}{}", CLUSTER.replace("version: v1.34.1", &kubernetes), control_plane()))
    };
    let job = "job: '{apiVersion: batch/v1, kind: Job}'";
    let good = format!("{{name: a, {job}}}, {{idOverride: b, file: job.yaml, interval: 5s}}");
    assert_eq!(health_check(&good), "");
    check(&health_check(&format!("{{{job}}}")), "healthchecks[0].name: missing; a check needs name or id");
    check(&health_check("{name: a}"), "healthchecks[0]: neither file nor job");
    check(&health_check(&format!("{{name: a, file: job.yaml, {job}}}")), "file and job exclude each other");
    check(&health_check("{name: a, job: 'kind: Pod'}"), "healthchecks[0].job: a check is exactly one doc");
    check(&health_check(&format!("{{name: a, interval: 4s, {job}}}")), "interval: shorter than 5s");
    let same = format!("{{name: a, {job}}}, {{idOverride: cluster-prod-a, {job}}}");
    check(&health_check(&same), "the healthcheck in line 3 has the id \"cluster-prod-a\" too");
}

#[test]
fn a_disk_is_named_or_selected() {
    let install = |install: &str| added(&format!("---\nkind: Machine\nname: {A}\ninstall: {{{install}}}\n"));
    check(&install("disk: /dev/sda, diskSelector: 'true'"), "disk and diskSelector exclude each other");
    assert_eq!(install("diskSelector: disk.size > 6u * GB"), "");
}

#[test]
fn all_rules_are_told_at_once() {
    let cluster = "kind: Cluster\nname: a b\ntalos: {version: 1.0.0}\n";
    let text = &format!("{cluster}---\nkind: ControlPlane\nmachines: [x]\nfoo: 1\n");
    let found = load("t.yaml", text, &NoFiles).unwrap_err().to_string();
    let starts: Vec<&str> = found.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(starts, ["kubernetes.version", "name", "talos.version", "machines[0]", "foo"]);
}
