//! New configurations against ourselves, and against talosctl where there is one.

#![allow(clippy::disallowed_methods, reason = "judged by programs of the host")]

use std::path::Path;
use std::process::Command;

use corten_base::Clock;

use super::*;
use crate::{Audience, Config, Target, read};

fn bundle() -> SecretsBundle {
    SecretsBundle::generate(Clock::fixed(1_800_000_000).now(), &Rng::seeded(1)).unwrap()
}

#[test]
fn what_is_generated_is_valid_everywhere() {
    let bundle = bundle();
    let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
    options.registry_mirrors.push(("docker.io".to_owned(), "http://mirror:5000".to_owned()));
    let generated = generate(&options, &bundle);
    for (text, control_plane) in [(&generated.controlplane, true), (&generated.worker, false)] {
        for target in [Target::Metal, Target::Installed, Target::Container] {
            let config =
                Config::check(text.reveal().as_bytes(), target).unwrap_or_else(|error| panic!("{error}"));
            assert!(config.is_complete());
            assert_eq!(config.warnings().to_string(), "", "whatever we write has its effect");
            let view = config.view();
            assert_eq!(view.is_control_plane(), control_plane);
            assert_eq!(view.machine.registries.mirrors["docker.io"].endpoints[0].url, "http://mirror:5000");
            assert_eq!(view.cluster.ca.as_ref().unwrap().has_key(), control_plane);
        }
    }
    assert!(!format!("{generated:?}").contains("PRIVATE"));
}

/// The configurations of control planes and of workers in a form, with mirrors and further names.
fn in_form(contract: Contract, bundle: &SecretsBundle) -> Generated {
    let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
    options.contract = contract;
    options.additional_sans.push("api.example.com".to_owned());
    options.registry_mirrors.push(("docker.io".to_owned(), "http://mirror:5000".to_owned()));
    generate(&options, bundle)
}

#[test]
fn every_form_up_to_ours_is_valid_for_our_machines() {
    let bundle = bundle();
    for minor in 4..=13 {
        let generated = in_form(Contract::new(1, minor), &bundle);
        for text in [&generated.controlplane, &generated.worker] {
            let checked = Config::check(text.reveal().as_bytes(), Target::Metal);
            let config = checked.unwrap_or_else(|error| panic!("1.{minor}: {error}"));
            assert_eq!(config.warnings().to_string(), "", "1.{minor}");
            let mirrors = &config.view().machine.registries.mirrors;
            assert_eq!(mirrors["docker.io"].endpoints[0].url, "http://mirror:5000");
        }
    }
}

/// What is where in the forms of some releases (node.md 4.5): a release, a document, a path in it, and whether it is there.
const FACTS: &[(u64, &str, &[&str], bool)] = &[
    (4, "v1alpha1", &["machine", "features", "kubePrism"], false),
    (6, "v1alpha1", &["machine", "features", "kubePrism"], true),
    (6, "v1alpha1", &["machine", "features", "hostDNS"], false),
    (7, "v1alpha1", &["machine", "features", "hostDNS"], true),
    (7, "v1alpha1", &["machine", "features", "hostDNS", "forwardKubeDNSToHost"], false),
    (8, "v1alpha1", &["machine", "features", "hostDNS", "forwardKubeDNSToHost"], true),
    (11, "v1alpha1", &["machine", "features", "rbac"], true),
    (11, "v1alpha1", &["machine", "features", "stableHostname"], true),
    (11, "v1alpha1", &["machine", "registries", "mirrors", "docker.io"], true),
    (11, "HostnameConfig", &[], false),
    (12, "v1alpha1", &["machine", "features", "rbac"], false),
    (12, "v1alpha1", &["machine", "features", "stableHostname"], false),
    (12, "v1alpha1", &["machine", "network"], true),
    (12, "v1alpha1", &["machine", "install", "grubUseUKICmdline"], true),
    (12, "HostnameConfig", &["auto"], true),
    (12, "RegistryMirrorConfig", &["endpoints"], true),
    (12, "KubeletConfig", &[], false),
    (13, "v1alpha1", &["machine", "network"], false),
    (13, "v1alpha1", &["machine", "kubelet", "image"], true),
    (13, "v1alpha1", &["cluster", "discovery", "enabled"], true),
    (13, "KubeletConfig", &[], false),
    (13, "VolumeConfig", &[], false),
    (14, "v1alpha1", &["machine", "kubelet"], false),
    (14, "v1alpha1", &["cluster", "discovery"], false),
    (14, "v1alpha1", &["machine", "install"], false),
    (14, "v1alpha1", &["machine", "features", "hostDNS"], false),
    (14, "KubeletConfig", &["image"], true),
    (14, "ResolverConfig", &["hostDNS", "enabled"], true),
    (14, "DiscoveryIdentityConfig", &["clusterID"], true),
    (14, "UnattendedInstallConfig", &["provisioning", "diskSelector", "match"], true),
    (14, "VolumeConfig", &["mount", "secure"], true),
    (14, "FilesystemTrimConfig", &["interval"], true),
    (14, "SecurityProfileConfig", &["workloadIsolation"], true),
];

#[test]
fn each_release_has_its_own_form() {
    let bundle = bundle();
    for (minor, kind, path, is_there) in FACTS {
        let generated = in_form(Contract::new(1, *minor), &bundle);
        let config = Config::parse_for(generated.controlplane.reveal().as_bytes(), Audience::Manager)
            .unwrap_or_else(|error| panic!("1.{minor}: {error}"));
        let documents = config.documents().iter();
        let found = documents
            .filter(|document| document.id.kind == *kind)
            .any(|document| path.is_empty() || document.node.at_path(path).is_some());
        assert_eq!(found, *is_there, "1.{minor} {kind} {}", path.join("."));
    }
}

#[test]
fn since_1_14_a_small_document_and_one_for_each_thing_are_written_for_stock_machines() {
    let bundle = bundle();
    let generated = in_form(Contract::new(1, 14), &bundle);
    let (mut control_plane, mut worker) = (Vec::new(), Vec::new());
    for (text, kinds) in [(&generated.controlplane, &mut control_plane), (&generated.worker, &mut worker)] {
        assert!(Config::parse(text.reveal().as_bytes()).is_err(), "our machines do not read it");
        let config = Config::parse_for(text.reveal().as_bytes(), Audience::Manager)
            .unwrap_or_else(|error| panic!("{error}"));
        kinds.extend(config.documents().iter().map(|document| document.id.to_string()));
        let root = &config.documents()[0].node;
        for gone in [["machine", "install"], ["machine", "kubelet"], ["cluster", "ca"], ["cluster", "id"]] {
            assert!(root.at_path(&gone).is_none(), "{gone:?}");
        }
        assert!(!config.redacted().contains("PRIVATE KEY"));
    }
    let expected = [
        "v1alpha1",
        "DiscoveryServiceConfig/default",
        "DiscoveryIdentityConfig",
        "UnattendedInstallConfig",
        "ResolverConfig",
        "VolumeConfig/EPHEMERAL",
        "FilesystemTrimConfig",
        "SecurityProfileConfig",
        "RegistryMirrorConfig/docker.io",
        "HostnameConfig",
        "KubeClusterConfig",
        "KubeNetworkConfig",
        "KubeAPIServerCAConfig",
        "KubeletConfig",
        "KubeNodeConfig",
        "KubePrismConfig",
    ];
    assert_eq!(worker, expected);
    assert_eq!((control_plane.len(), &control_plane[..16]), (30, &worker[..]));
    let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
    options.contract = Contract::new(1, 14);
    options.install_disk.clear();
    options.discovery = false;
    let text = generate(&options, &bundle).worker;
    assert!(!text.reveal().contains("UnattendedInstallConfig"));
    assert!(!text.reveal().contains("DiscoveryServiceConfig"));
}

#[test]
fn a_talosconfig_names_the_context_and_carries_an_admin() {
    let bundle = bundle();
    let now = Clock::fixed(1_800_000_000).now();
    let text = talosconfig("demo", &["10.5.0.2".to_owned()], &bundle, now, &Rng::seeded(2)).unwrap();
    let root = read::documents(text.reveal()).unwrap().remove(0);
    assert_eq!(root.get("context").unwrap().as_text(), Some("demo"));
    let crt =
        root.at_path(&["contexts", "demo", "crt"]).and_then(Node::as_text).and_then(values::base64).unwrap();
    let certificate = corten_pki::Certificate::from_pem(&crt).unwrap();
    assert_eq!(certificate.subject().organizations, ["os:admin"]);
    assert!(certificate.is_client_only());
}

/// The path of talosctl, or nothing after saying which test is left out.
fn talosctl(test: &str) -> Option<String> {
    let path = std::env::var("CORTEN_TALOSCTL").ok().filter(|path| Path::new(path).exists());
    if path.is_none() {
        eprintln!("skipped: {test}: CORTEN_TALOSCTL names no talosctl");
    }
    path
}

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn documents_of(path: &Path) -> Vec<Node> {
    read::documents(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_same_secrets_give_what_talosctl_gives() {
    let Some(program) = talosctl("the_same_secrets_give_what_talosctl_gives") else { return };
    let directory = tempfile::tempdir().unwrap();
    let ours = bundle();
    std::fs::write(directory.path().join("ours.yaml"), ours.to_yaml().reveal()).unwrap();
    run(&program, &["gen", "secrets", "-o", "theirs.yaml"], directory.path());
    let theirs = SecretsBundle::parse(&std::fs::read(directory.path().join("theirs.yaml")).unwrap()).unwrap();
    for (name, secrets) in [("ours", &ours), ("theirs", &theirs)] {
        let file = format!("{name}.yaml");
        let arguments = [
            "gen",
            "config",
            "demo",
            "https://10.5.0.2:6443",
            "--with-secrets",
            file.as_str(),
            "--output",
            name,
            "--additional-sans",
            "api.example.com,10.9.9.9",
            "--dns-domain",
            "demo.local",
            "--install-disk",
            "/dev/vda",
            "--install-image",
            "installer:1",
            "--kubernetes-version",
            "1.35.4",
            "--registry-mirror",
            "docker.io=http://mirror:5000,ghcr.io=https://mirror2",
            "--with-docs=false",
            "--with-examples=false",
        ];
        run(&program, &arguments, directory.path());
        let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
        options.additional_sans = vec!["api.example.com".to_owned(), "10.9.9.9".to_owned()];
        "demo.local".clone_into(&mut options.dns_domain);
        "/dev/vda".clone_into(&mut options.install_disk);
        "installer:1".clone_into(&mut options.install_image);
        "1.35.4".clone_into(&mut options.kubernetes_version);
        options.registry_mirrors = vec![
            ("docker.io".to_owned(), "http://mirror:5000".to_owned()),
            ("ghcr.io".to_owned(), "https://mirror2".to_owned()),
        ];
        let generated = generate(&options, secrets);
        for (file, text) in
            [("controlplane.yaml", &generated.controlplane), ("worker.yaml", &generated.worker)]
        {
            let expected = documents_of(&directory.path().join(name).join(file));
            let found = read::documents(text.reveal()).unwrap();
            assert_eq!(found.len(), expected.len(), "{name}/{file}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    found == expected,
                    "{name}/{file}:\n{}",
                    crate::diff::texts(&write::document(expected), &write::document(found))
                );
            }
        }
    }
}

#[test]
fn every_form_is_that_of_talosctl_for_its_release() {
    let Some(program) = talosctl("every_form_is_that_of_talosctl_for_its_release") else { return };
    let directory = tempfile::tempdir().unwrap();
    let bundle = bundle();
    std::fs::write(directory.path().join("secrets.yaml"), bundle.to_yaml().reveal()).unwrap();
    for minor in 4..=13 {
        let version = format!("v1.{minor}");
        let arguments = [
            "gen",
            "config",
            "demo",
            "https://10.5.0.2:6443",
            "--with-secrets",
            "secrets.yaml",
            "--talos-version",
            version.as_str(),
            "--output",
            version.as_str(),
            "--additional-sans",
            "api.example.com",
            "--install-image",
            "installer:1",
            "--kubernetes-version",
            defaults::KUBERNETES_VERSION,
            "--registry-mirror",
            "docker.io=http://mirror:5000",
            "--with-docs=false",
            "--with-examples=false",
        ];
        run(&program, &arguments, directory.path());
        let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
        options.contract = Contract::new(1, minor);
        options.additional_sans.push("api.example.com".to_owned());
        "installer:1".clone_into(&mut options.install_image);
        options.registry_mirrors.push(("docker.io".to_owned(), "http://mirror:5000".to_owned()));
        let generated = generate(&options, &bundle);
        for (file, text) in
            [("controlplane.yaml", &generated.controlplane), ("worker.yaml", &generated.worker)]
        {
            let expected = documents_of(&directory.path().join(&version).join(file));
            let found = read::documents(text.reveal()).unwrap();
            assert_eq!(found.len(), expected.len(), "{version}/{file}");
            for (found, expected) in found.iter().zip(&expected) {
                let diff = crate::diff::texts(&write::document(expected), &write::document(found));
                assert!(found == expected, "{version}/{file}:\n{diff}");
            }
        }
    }
}

#[test]
fn what_talosctl_writes_with_docs_and_examples_is_accepted() {
    let Some(program) = talosctl("what_talosctl_writes_with_docs_and_examples_is_accepted") else { return };
    let directory = tempfile::tempdir().unwrap();
    run(&program, &["gen", "config", "demo", "https://10.5.0.2:6443"], directory.path());
    for file in ["controlplane.yaml", "worker.yaml"] {
        let text = std::fs::read(directory.path().join(file)).unwrap();
        let config = Config::check(&text, Target::Metal).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(config.text().as_bytes(), text);
        assert_eq!(config.warnings().to_string(), "", "{file}");
    }
}

#[test]
fn talosctl_finds_our_configurations_valid() {
    let Some(program) = talosctl("talosctl_finds_our_configurations_valid") else { return };
    let directory = tempfile::tempdir().unwrap();
    let generated = generate(&GenerateOptions::new("demo", "https://10.5.0.2:6443"), &bundle());
    for (name, text) in [("controlplane", &generated.controlplane), ("worker", &generated.worker)] {
        let file = format!("{name}.yaml");
        std::fs::write(directory.path().join(&file), text.reveal()).unwrap();
        for mode in ["metal", "cloud", "container"] {
            run(&program, &["validate", "--config", &file, "--mode", mode, "--strict"], directory.path());
        }
    }
}
