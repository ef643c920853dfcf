//! Laws and cases of the strategic merge; the cases were taken from talosctl.

#![allow(clippy::disallowed_methods, reason = "judged by programs of the host")]

use proptest::prelude::*;

use crate::node::{Node, Value};
use crate::{Config, Patch, read, write};

const BASE: &str = "version: v1alpha1
machine:
    type: worker
    token: abc
    certSANs: [a, b]
    kubelet:
        image: foo
        clusterDNS: [1.1.1.1]
        extraArgs: {v: '1', w: [a, b]}
        extraConfig: {x: {p: 1, l: [1, 2]}, z: t}
    network:
        interfaces:
            - interface: eth0
              addresses: [10.0.0.1/24]
              vlans:
                - {vlanId: 5, addresses: [10.0.5.1/24]}
              mtu: 1400
              dhcp: true
            - deviceSelector: {driver: virtio, busPath: '0*'}
              addresses: [10.1.0.1/24]
    install: {disk: /dev/sda, wipe: true}
    sysctls: {a: x, b: '1'}
cluster:
    controlPlane: {endpoint: 'https://1.2.3.4:6443'}
    network: {podSubnets: [10.244.0.0/16], serviceSubnets: [10.96.0.0/12]}
    apiServer:
        admissionControl: [{name: PodSecurity, configuration: {a: 1, defaults: {enforce: baseline}}}]
        auditPolicy: {apiVersion: v1, rules: [{level: Metadata}]}
    inlineManifests: [{name: n1, contents: c1}]
";

fn base() -> Config {
    Config::parse(BASE.as_bytes()).unwrap()
}

fn patched(patch: &str) -> Result<Config, String> {
    let patch = Patch::parse(patch.as_bytes()).map_err(|error| corten_base::chain(&error))?;
    base().patched(&[patch]).map_err(|error| corten_base::chain(&error))
}

/// The patch turns `BASE` into the same text with these replacements.
fn check(patch: &str, replacements: &[(&str, &str)]) {
    let mut expected = BASE.to_owned();
    for (from, to) in replacements {
        assert!(expected.contains(from), "{from}");
        expected = expected.replacen(from, to, 1);
    }
    let expected = Config::parse(expected.as_bytes()).unwrap();
    let found = patched(patch).unwrap();
    for (found, expected) in found.documents().iter().zip(expected.documents()) {
        let diff = crate::diff::texts(&write::document(&expected.node), &write::document(&found.node));
        assert!(found.node == expected.node, "{patch}\n{diff}");
    }
    assert_eq!(found.documents().len(), expected.documents().len());
}

#[test]
fn zero_values_change_nothing_but_false_does() {
    check(
        "machine: {token: '', sysctls: {a: '', b: null, c: ''}, certSANs: [], install: {wipe: false, disk: null}}",
        &[("wipe: true", "wipe: false"), ("b: '1'}", "b: '1', c: ''}")],
    );
}

#[test]
fn lists_grow_and_arguments_are_replaced_one_by_one() {
    check(
        "machine: {certSANs: [b, c], kubelet: {clusterDNS: [9.9.9.9], extraArgs: {w: [c], n: [q]}, extraConfig: {x: {p: 0, l: [3]}, z: ''}}}",
        &[
            ("[a, b]", "[a, b, b, c]"),
            ("[1.1.1.1]", "[1.1.1.1, 9.9.9.9]"),
            ("w: [a, b]}", "w: [c], n: [q]}"),
            ("[1, 2]", "[1, 2, 3]"),
        ],
    );
}

#[test]
fn subnets_and_the_audit_policy_are_replaced() {
    check(
        "cluster: {network: {podSubnets: [1.0.0.0/8], serviceSubnets: []}, apiServer: {auditPolicy: {rules: []}}}",
        &[
            ("[10.244.0.0/16]", "[1.0.0.0/8]"),
            ("[10.96.0.0/12]", "[]"),
            ("{apiVersion: v1, rules: [{level: Metadata}]}", "{rules: []}"),
        ],
    );
}

#[test]
fn links_vlans_and_plugins_merge_by_their_keys() {
    check(
        "machine: {network: {interfaces: [{interface: eth0, addresses: [10.0.0.2/24], dhcp: false, mtu: 0, vlans: [{vlanId: 5, addresses: [10.0.5.2/24]}, {vlanId: 6}]}, {deviceSelector: {busPath: '0*', driver: virtio}, mtu: 9000}, {deviceSelector: {driver: virtio}}]}}\ncluster: {apiServer: {admissionControl: [{name: PodSecurity, configuration: {a: 2, defaults: {warn: x}}}, {name: Other}]}, inlineManifests: [{name: n1, contents: c2}]}",
        &[
            ("[10.0.0.1/24]", "[10.0.0.1/24, 10.0.0.2/24]"),
            ("[10.0.5.1/24]}", "[10.0.5.1/24, 10.0.5.2/24]}\n                - {vlanId: 6}"),
            ("dhcp: true", "dhcp: false"),
            (
                "[10.1.0.1/24]",
                "[10.1.0.1/24]\n              mtu: 9000\n            - deviceSelector: {driver: virtio}",
            ),
            (
                "{a: 1, defaults: {enforce: baseline}}}",
                "{a: 2, defaults: {enforce: baseline, warn: x}}}, {name: Other}",
            ),
            ("contents: c1}", "contents: c1}, {name: n1, contents: c2}"),
        ],
    );
}

#[test]
fn deletions_take_keys_elements_and_documents() {
    check("machine: {sysctls: {a: {$patch: delete}}}", &[("{a: x, b: '1'}", "{b: '1'}")]);
    check("machine: {sysctls: {$patch: delete}}", &[("    sysctls: {a: x, b: '1'}\n", "")]);
    check("machine: {kubelet: {extraArgs: {v: {$patch: delete}}}}", &[("{v: '1', w", "{w")]);
    check(
        "cluster: {inlineManifests: [{name: n1, $patch: delete}]}",
        &[("[{name: n1, contents: c1}]", "[]")],
    );
    check("{apiVersion: v1alpha1, kind: HostnameConfig, $patch: delete}", &[]);
    check("machine: {nodeTaints: {$patch: delete}}", &[]);
}

#[test]
fn deletions_must_find_what_they_name() {
    let error = |patch: &str| patched(patch).unwrap_err();
    assert!(
        error("machine: {sysctls: {q: {$patch: delete}}}")
            .contains("machine.sysctls.q: $patch: delete found nothing")
    );
    assert!(
        error("cluster: {inlineManifests: [{name: q, $patch: delete}]}")
            .contains("found no element with this name")
    );
    assert!(error("cluster: {inlineManifests: [{$patch: delete}]}").contains("needs a key"));
    assert!(error("{version: v1alpha1, $patch: delete}").contains("the v1alpha1 document cannot be deleted"));
    assert!(error("machine: {sysctls: {$patch: remove}}").contains("expected delete"));
}

#[test]
fn new_documents_are_added_and_wrong_patches_refused() {
    let config = patched("{apiVersion: v1alpha1, kind: HostnameConfig, hostname: foo}").unwrap();
    assert_eq!(config.documents()[1].id.to_string(), "HostnameConfig");
    assert_eq!(config.view().machine.network.hostname, "foo");
    let error = patched("machine: {tokn: a}").unwrap_err();
    assert!(error.contains("machine.tokn: unknown key; did you mean \"token\"?"), "{error}");
}

#[test]
fn json_patches_change_single_documents() {
    let patch = r#"[{"op":"replace","path":"/machine/token","value":"zz"},{"op":"add","path":"/machine/certSANs/-","value":"c"},{"op":"add","path":"/machine/sysctls/net.ipv4~1x","value":5}]"#;
    check(
        patch,
        &[("token: abc", "token: zz"), ("[a, b]", "[a, b, c]"), ("b: '1'}", "b: '1', net.ipv4/x: 5}")],
    );
    check("- {op: remove, path: /machine/sysctls}", &[("    sysctls: {a: x, b: '1'}\n", "")]);
    assert!(
        patched(r#"[{"op":"remove","path":"/machine/nope"}]"#)
            .unwrap_err()
            .contains("failed to apply the JSON patch")
    );
    assert!(patched(r#"[{"op":"jump"}]"#).unwrap_err().contains("failed to read the JSON patch"));
    let two = patched("{apiVersion: v1alpha1, kind: HostnameConfig, auto: stable}").unwrap();
    let json = Patch::parse(b"[]").unwrap();
    let error = two.patched(&[json]).unwrap_err().to_string();
    assert_eq!(
        error,
        "a JSON patch is not supported for a configuration of 2 documents; use a strategic merge patch"
    );
}

/// The same tree without what says nothing: Talos writes some empty fields, and none of them counts.
fn without_empty(node: &Node) -> Node {
    match &node.value {
        Value::Map(map) => {
            let kept = map.iter().map(|entry| (entry.key.as_str(), without_empty(&entry.value)));
            Node::map(kept.filter(|(_, value)| !value.is_zero() || value.describe() == "boolean"))
        }
        Value::List(items) => Node::list(items.iter().map(without_empty)),
        Value::Scalar(_) => node.clone(),
    }
}

const LIVE_PATCHES: &[&str] = &[
    "machine: {token: '', sysctls: {a: '', b: null, c: 'd'}, certSANs: [c], install: {wipe: false}}",
    "machine: {kubelet: {extraArgs: {w: [c], n: [q]}, extraConfig: {x: {p: 0, l: [3]}, z: '', new: {a: [1]}}}}",
    "cluster: {network: {podSubnets: [1.0.0.0/8]}, apiServer: {auditPolicy: {rules: [{level: None}]}}}",
    "machine: {network: {interfaces: [{interface: eth0, dhcp: false, vlans: [{vlanId: 5, mtu: 1300}, {vlanId: 6}]}, {interface: eth1}]}}",
    "cluster: {apiServer: {admissionControl: [{name: PodSecurity, configuration: {a: 2, defaults: {warn: x}}}, {name: Other}]}}",
    "machine: {sysctls: {a: {$patch: delete}}, kubelet: {extraArgs: {$patch: delete}}}",
    "cluster: {inlineManifests: [{name: n1, $patch: delete}]}",
    "machine: {network: {interfaces: [{interface: eth0, $patch: delete}]}}",
    "{apiVersion: v1alpha1, kind: HostnameConfig, hostname: foo}",
    "[{op: replace, path: /machine/token, value: zz}, {op: add, path: /machine/certSANs/0, value: first}]",
];

#[test]
fn patches_do_what_they_do_in_talosctl() {
    let program = std::env::var("CORTEN_TALOSCTL").unwrap_or_default();
    if !std::path::Path::new(&program).exists() {
        eprintln!("skipped: patches_do_what_they_do_in_talosctl: CORTEN_TALOSCTL names no talosctl");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("base.yaml");
    std::fs::write(&file, BASE).unwrap();
    for patch in LIVE_PATCHES {
        let output = std::process::Command::new(&program)
            .args(["machineconfig", "patch", file.to_str().unwrap(), "--patch", patch])
            .output()
            .unwrap();
        assert!(output.status.success(), "{patch}: {}", String::from_utf8_lossy(&output.stderr));
        let expected = read::documents(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
        let found = read::documents(patched(patch).unwrap().text()).unwrap();
        assert_eq!(found.len(), expected.len(), "{patch}");
        for (found, expected) in found.iter().zip(&expected) {
            let (found, expected) = (without_empty(found), without_empty(expected));
            let diff = crate::diff::texts(&write::document(&expected), &write::document(&found));
            assert!(found == expected, "{patch}\n{diff}");
        }
    }
}

/// Patches without lists, whose effect does not depend on how often they are applied.
fn idempotent_patch() -> impl Strategy<Value = String> {
    let pair = ("[a-z]{1,4}", "[a-z0-9]{0,4}");
    (
        prop::collection::btree_map(pair.0, pair.1, 0..4),
        any::<Option<bool>>(),
        "[a-z]{0,5}",
        prop::collection::vec("10\\.[0-9]{1,2}\\.0\\.0/16", 0..3),
    )
        .prop_map(|(sysctls, wipe, token, pods)| {
            let sysctls: Vec<String> = sysctls.iter().map(|(key, value)| format!("'{key}': '{value}'")).collect();
            let wipe = wipe.map_or_else(String::new, |wipe| format!(", install: {{wipe: {wipe}}}"));
            let (sysctls, pods) = (sysctls.join(", "), pods.join(", "));
            format!("machine: {{token: '{token}', sysctls: {{{sysctls}}}{wipe}}}\ncluster: {{network: {{podSubnets: [{pods}]}}}}\n")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_patch_without_growing_lists_may_be_applied_twice(patch in idempotent_patch()) {
        let patch = Patch::parse(patch.as_bytes()).unwrap();
        let once = base().patched(std::slice::from_ref(&patch)).unwrap();
        let twice = once.patched(&[patch]).unwrap();
        prop_assert_eq!(once.text(), twice.text());
    }

    #[test]
    fn patches_together_are_patches_one_after_another(a in idempotent_patch(), b in idempotent_patch()) {
        let (a, b) = (Patch::parse(a.as_bytes()).unwrap(), Patch::parse(b.as_bytes()).unwrap());
        let together = base().patched(&[a.clone(), b.clone()]).unwrap();
        let after = base().patched(&[a]).unwrap().patched(&[b]).unwrap();
        prop_assert_eq!(together.text(), after.text());
    }
}

#[test]
fn an_empty_patch_changes_nothing_but_the_form() {
    let once = patched("{}").unwrap();
    check("{}", &[]);
    assert_eq!(once.patched(&[Patch::parse(b"{}").unwrap()]).unwrap().text(), once.text());
}

/// Patches come from whoever may change the configuration; whatever is in them, the result is a configuration or an
/// error that says why.
#[test]
fn any_patch_is_applied_or_refused() {
    let base = base();
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(patch) = Patch::parse(bytes) {
            let _ = base.patched(&[patch]);
        }
    });
}
