//! A whole control plane from one machine configuration: every controller of the Kubernetes and secrets domains on virtual time, with a folder
//! in place of the machine's disk.
//!
//! With `CORTEN_RENDER_TO` set to a folder the rendered files and pods stay there, so that real components can be started on them by hand.

use std::path::PathBuf;
use std::time::Duration;

use corten_base::Rng;
use corten_config::generate::{GenerateOptions, generate};
use corten_config::node::Node;
use corten_config::secrets::SecretsBundle;
use corten_config::{Contract, read, schema, write};
use corten_controllers_kubernetes::{Dependencies, Disk, Folder, Machine, register};
use corten_dataplane::files::{self, KubePrism, StaticPods, StaticPodsStatus};
use corten_resource::testing::{TestRuntime, resource};
use corten_resources::block::{VolumeMountStatus, VolumeStatus};
use corten_resources::config::{MachineConfig, MachineType, Role};
use corten_resources::etcd::{EtcdPkiStatus, EtcdSpec};
use corten_resources::kubernetes::{
    ApiServerConfig, ConfigStatus, KubeletSpec, Manifest, NodeLabelSpec, NodeTaintSpec, Nodename,
    SecretStatus, StaticPod,
};
use corten_resources::network::{HostnameStatus, NodeAddress, SortAlgorithm};
use corten_resources::secrets::{ApiCertificate, KubernetesDynamicCerts, KubernetesSecrets};
use corten_resources::service::{BootstrapIntent, Service, ServiceSpec};
use serde_json::Value;

const NOW: u64 = 1_700_000_000;

struct Lab {
    runtime: TestRuntime,
    root: PathBuf,
    dataplane: PathBuf,
    _folder: tempfile::TempDir,
}

fn configuration(now: std::time::SystemTime) -> Vec<u8> {
    let secrets = SecretsBundle::generate(now, &Rng::kernel()).expect("secrets of a cluster");
    let address = std::env::var("CORTEN_RENDER_ADDRESS").unwrap_or_else(|_| "10.5.0.2".to_owned());
    let options = GenerateOptions::new("demo", format!("https://{address}:6443"));
    generate(&options, &secrets).controlplane.reveal().clone().into_bytes()
}

/// The form of a release, without the documents that no machine of ours reads.
fn in_form(contract: Contract, secrets: &SecretsBundle) -> Vec<u8> {
    let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
    options.contract = contract;
    let mut documents = read::documents(generate(&options, secrets).controlplane.reveal()).expect("YAML");
    documents.retain(|document| {
        let kind = document.get("kind").and_then(Node::as_text);
        kind.is_none_or(|kind| schema::kind(kind).is_some())
    });
    write::documents(&documents).into_bytes()
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root =
            std::env::var_os("CORTEN_RENDER_TO").map_or_else(|| folder.path().join("root"), PathBuf::from);
        let dataplane = folder.path().join("dataplane");
        std::fs::create_dir_all(&dataplane).expect("a folder");
        let machine = Machine { shares_kernel: true, cgroup_v2: false };
        let dependencies = Dependencies {
            machine,
            disk: Disk::below(&root),
            dataplane: Folder(dataplane.clone()),
            rng: Rng::seeded(5),
        };
        let clock = if std::env::var_os("CORTEN_RENDER_TO").is_some() {
            corten_base::Clock::system()
        } else {
            corten_base::Clock::fixed(NOW)
        };
        let options = corten_resource::StateOptions { clock, ..corten_resource::StateOptions::default() };
        let state = corten_resource::State::open(corten_resources::registry(), options).expect("a state");
        let runtime = TestRuntime::with_state(state, |runtime| {
            corten_controllers_secrets::register(runtime, &Rng::seeded(6));
            register(runtime, &dependencies);
        });
        Self { runtime, root, dataplane, _folder: folder }
    }

    fn surroundings(&self) {
        self.surround(configuration(self.runtime.state().store().clock().now()));
    }

    /// What the other domains of a machine would say.
    fn surround(&self, yaml: Vec<u8>) {
        let address = std::env::var("CORTEN_RENDER_ADDRESS").unwrap_or_else(|_| "10.5.0.2".to_owned());
        let addresses = NodeAddress {
            addresses: vec![format!("{address}/24").parse().expect("an address")],
            sort_algorithm: SortAlgorithm::default(),
        };
        let mount =
            VolumeMountStatus { volume_id: VolumeStatus::STATE.into(), ..VolumeMountStatus::default() };
        let hostname = HostnameStatus { hostname: "talos-abc".into(), domainname: String::new() };
        for given in [
            resource(MachineConfig::ACTIVE, MachineConfig { yaml }),
            resource(MachineType::ID, MachineType { role: Role::ControlPlane }),
            resource(HostnameStatus::ID, hostname),
            resource(NodeAddress::ROUTED, addresses.clone()),
            resource(NodeAddress::ACCUMULATIVE, addresses),
            resource(VolumeStatus::STATE, mount),
            resource("cri", Service { running: true, healthy: true, unknown: false }),
        ] {
            self.runtime.put(given);
        }
        let url = "http://127.0.0.1:9999/".to_owned();
        files::write_atomic(&self.dataplane, &StaticPodsStatus { url }).expect("the data plane's status");
    }

    fn get<S: corten_resource::Spec>(&self, id: &str) -> S {
        let found = self.runtime.state().get::<S>(id);
        found.unwrap_or_else(|| panic!("{} {id} is missing", S::DEFINITION.kind)).spec
    }

    fn dump(&self, name: &str, content: &str) {
        if std::env::var_os("CORTEN_RENDER_TO").is_some() {
            std::fs::write(self.root.join(name), content).expect("a rendered file");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_becomes_a_control_plane() {
    let lab = Lab::new();
    lab.surroundings();
    lab.runtime.advance(Duration::from_secs(2)).await;
    waits_for_bootstrap(&lab);
    lab.runtime.put(resource(BootstrapIntent::ID, BootstrapIntent::default()));
    lab.runtime.put(resource("etcd", Service { running: true, healthy: true, unknown: false }));
    lab.runtime.advance(Duration::from_secs(2)).await;
    starts_the_api_server_only(&lab);
    the_kubelet_is_wanted(&lab);
    manifests_are_rendered_in_order(&lab);
    certificates_are_issued(&lab);
    let prism: KubePrism = files::read(&lab.dataplane).expect("read").expect("KubePrism's file");
    assert!(prism.listen.is_some_and(|listen| listen.port() == 7445));
    let statuses = lab.runtime.state().list::<corten_resource::ControllerStatus>();
    let failed: Vec<String> = statuses
        .iter()
        .filter(|status| status.state == corten_resource::ControllerState::Failed)
        .map(|status| format!("{}: {}", status.id(), status.reason))
        .collect();
    assert_eq!(failed, Vec::<String>::new());
}

/// What of a control plane must not depend on the form of its configuration.
async fn control_plane(yaml: Vec<u8>) -> Vec<(String, Value)> {
    let lab = Lab::new();
    lab.surround(yaml);
    lab.runtime.put(resource(BootstrapIntent::ID, BootstrapIntent::default()));
    lab.runtime.put(resource("etcd", Service { running: true, healthy: true, unknown: false }));
    lab.runtime.advance(Duration::from_secs(4)).await;
    let pods: StaticPods = files::read(&lab.dataplane).expect("read").expect("the list of pods");
    let kubelet: KubeletSpec = lab.get(KubeletSpec::ID);
    let state = lab.runtime.state();
    let ids = |ids: Vec<String>| Value::from(ids);
    let mut facts = vec![
        ("pods".to_owned(), pods.pods.iter().map(|pod| pod["spec"].clone()).collect()),
        ("kubelet".to_owned(), Value::Object(kubelet.config)),
        ("arguments of the kubelet".to_owned(), ids(kubelet.args)),
        (
            "labels".to_owned(),
            ids(state.list::<NodeLabelSpec>().iter().map(|one| one.id().to_owned()).collect()),
        ),
        (
            "taints".to_owned(),
            ids(state.list::<NodeTaintSpec>().iter().map(|one| one.id().to_owned()).collect()),
        ),
    ];
    // kube-proxy is told by a file instead of by arguments.
    let manifests = state.list::<Manifest>();
    facts.extend(manifests.iter().filter(|manifest| manifest.id() != "10-kube-proxy").map(|manifest| {
        let objects = manifest.items.iter().map(|item| Value::Object(item.object.clone())).collect();
        (manifest.id().to_owned(), objects)
    }));
    facts
}

#[tokio::test(start_paused = true)]
async fn documents_become_the_same_control_plane_as_old_fields() {
    let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let secrets = SecretsBundle::generate(now, &Rng::kernel()).expect("secrets of a cluster");
    let old = control_plane(in_form(Contract::new(1, 13), &secrets)).await;
    let new = control_plane(in_form(Contract::new(1, 14), &secrets)).await;
    assert_eq!(old.len(), new.len());
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(old, new);
    }
    assert!(old.len() > 10, "{}", old.len());
}

fn waits_for_bootstrap(lab: &Lab) {
    let etcd: ServiceSpec = lab.get("etcd");
    assert_eq!(etcd.waiting_for, ["bootstrap"]);
    assert!(lab.get::<EtcdPkiStatus>(EtcdPkiStatus::ID).ready);
    assert!(
        lab.get::<SecretStatus>(SecretStatus::ID).ready && lab.get::<ConfigStatus>(ConfigStatus::ID).ready
    );
    assert!(lab.runtime.state().list::<StaticPod>().is_empty());
    assert_eq!(lab.get::<EtcdSpec>(EtcdSpec::ID).name, "talos-abc");
}

fn starts_the_api_server_only(lab: &Lab) {
    let etcd: ServiceSpec = lab.get("etcd");
    assert!(etcd.waiting_for.is_empty());
    lab.dump("etcd.args", &etcd.container.args.join("\n"));
    let pods: StaticPods = files::read(&lab.dataplane).expect("read").expect("the list of pods");
    let names: Vec<&Value> = pods.pods.iter().map(|pod| &pod["metadata"]["name"]).collect();
    assert_eq!(names, ["kube-apiserver"], "the others wait until it is ready");
    let intent = lab.runtime.state().get::<ApiServerConfig>(ApiServerConfig::ID).expect("the intent");
    let annotations = &pods.pods[0]["metadata"]["annotations"];
    assert_eq!(annotations["talos.dev/config-version"], intent.metadata.version.to_string());
    let finished: ApiServerConfig = lab.get(ApiServerConfig::FINAL_ID);
    lab.dump("kube-apiserver.args", &finished.args.join("\n"));
    assert!(finished.args.iter().any(|argument| argument == "--etcd-servers=https://127.0.0.1:2379"));
}

fn the_kubelet_is_wanted(lab: &Lab) {
    let kubelet: ServiceSpec = lab.get("kubelet");
    assert!(kubelet.waiting_for.is_empty(), "{:?}", kubelet.waiting_for);
    assert_eq!(kubelet.container.image, "ghcr.io/siderolabs/kubelet:v1.36.3");
    let spec: KubeletSpec = lab.get(KubeletSpec::ID);
    assert_eq!(spec.config["failCgroupV1"], false);
    assert_eq!(spec.expected_nodename, lab.get::<Nodename>(Nodename::ID).nodename);
    lab.dump("kubelet.args", &spec.args.join("\n"));
    for file in ["kubelet.yaml", "bootstrap-kubeconfig", "kubeconfig-kubelet", "pki/ca.crt"] {
        assert!(lab.root.join("etc/kubernetes").join(file).exists(), "{file}");
    }
    assert!(lab.root.join("var/lib/kubelet/pki/kubelet-client-current.pem").exists());
}

fn manifests_are_rendered_in_order(lab: &Lab) {
    let manifests = lab.runtime.state().list::<Manifest>();
    let ids: Vec<&str> = manifests.iter().map(|manifest| manifest.id()).collect();
    let expected = [
        "00-kubelet-bootstrapping-token",
        "01-csr-approver-role-binding",
        "01-csr-node-bootstrap",
        "01-csr-renewal-role-binding",
        "05-flannel",
        "10-kube-proxy",
        "11-core-dns",
        "11-core-dns-svc",
        "11-kube-config-in-cluster",
        "11-talos-node-rbac-template",
    ];
    assert_eq!(ids, expected);
    let objects: Vec<Value> = manifests
        .iter()
        .flat_map(|manifest| &manifest.items)
        .map(|item| Value::Object(item.object.clone()))
        .collect();
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    lab.dump("manifests.json", &list.to_string());
}

fn certificates_are_issued(lab: &Lab) {
    assert!(lab.get::<KubernetesDynamicCerts>(KubernetesDynamicCerts::ID).api_server.is_some());
    let api: ApiCertificate = lab.get(ApiCertificate::ID);
    assert!(api.client.is_some() && api.server.is_some() && !api.skip_verifying_client_cert);
    let secrets: KubernetesSecrets = lab.get(KubernetesSecrets::ID);
    lab.dump("admin.kubeconfig", &secrets.localhost_admin_kubeconfig);
}

#[tokio::test(start_paused = true)]
async fn time_and_restarts_change_no_certificate_before_it_is_due() {
    let lab = Lab::new();
    lab.surroundings();
    lab.runtime.advance(Duration::from_secs(2)).await;
    let (certificates, files): (KubernetesDynamicCerts, SecretStatus) =
        (lab.get(KubernetesDynamicCerts::ID), lab.get(SecretStatus::ID));
    let api: ApiCertificate = lab.get(ApiCertificate::ID);
    let state = lab.runtime.state().clone();
    state.store().clock().advance(Duration::from_secs(13 * 3600));
    let again = TestRuntime::with_state(state, |runtime| {
        corten_controllers_secrets::register(runtime, &Rng::seeded(7))
    });
    again.quiet().await;
    assert_eq!(lab.get::<KubernetesDynamicCerts>(KubernetesDynamicCerts::ID), certificates);
    assert_eq!(lab.get::<SecretStatus>(SecretStatus::ID), files);
    assert_ne!(lab.get::<ApiCertificate>(ApiCertificate::ID).server, api.server, "half of its day is over");
}
