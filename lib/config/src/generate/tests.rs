//! New configurations against ourselves, and against talosctl where there is one.

#![allow(clippy::disallowed_methods, reason = "judged by programs of the host")]

use std::path::Path;
use std::process::Command;

use corten_base::Clock;

use super::*;
use crate::{Config, Target, read};

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
