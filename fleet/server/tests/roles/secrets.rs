//! Secrets that are known are put in, and then looked for wherever something may be read.
//!
//! ```text
//! keys of the first start, tokens, a bundle of a cluster, a password, a patch ─▶ manager ─▶ everything that it keeps,
//!                                                    └▶ Needles ─ none is there ────────────  says and answers
//! ```
//!
//! The answers to those who may have a secret are no such places, and neither are the two files that hold a key for
//! its owner.

use std::fmt::Debug;
use std::path::Path;

use bytes::Bytes;
use corten_api::cosi::resource::state_client::StateClient;
use corten_api::cosi::resource::{CreateRequest, ListRequest, Resource};
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_api::management::{
    CreateJoinTokenRequest, GetMachineJoinConfigRequest, GetSupportBundleRequest, KubeconfigRequest,
};
use corten_api::sidero::link::ProvisionRequest;
use corten_api::sidero::link::provision_service_client::ProvisionServiceClient;
use corten_base::{Clock, Rng, Secret};
use corten_config::SecretsBundle;
use corten_config::values::{base64, to_base64};
use corten_fleet_link::UniqueToken;
use corten_fleet_resources::cluster::Cluster;
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels;
use corten_fleet_resources::secrets::ImportedClusterSecrets;
use corten_resource::{AnyResource, Spec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::Channel;

use crate::book;
use crate::manager::{PATIENCE, Signer, connect, listener, refused, started};
use crate::needles::Needles;
use crate::world::{PAUSE, World, home, resource};

/// The cluster whose secrets are brought along.
const CLUSTER: &str = "hush";
/// One whose secrets are damaged.
const DAMAGED: &str = "hush-damaged";
/// Files that hold a key for their owner.
const KEYS: [&str; 2] = ["admin.key", "fleet.key"];
const CREATE: &str = "/cosi.resource.State/Create";
const LIST: &str = "/cosi.resource.State/List";

/// Something that may be read, and what is in it.
type Place = (String, Vec<u8>);

/// A manager with secrets in it, what they are, and what it said about them.
struct House {
    world: World,
    rng: Rng,
    known: Needles,
    places: Vec<Place>,
}

impl House {
    /// A random secret of letters and digits.
    fn random(&self) -> String {
        hex::encode(self.rng.bytes::<16>())
    }

    fn place(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.places.push((name.to_owned(), content.into()));
    }

    /// Keeps what was refused, which is a place too.
    fn refused<T: Debug>(&mut self, what: &str, answer: Result<T, Status>) {
        let status = answer.expect_err(what);
        self.place(&format!("the refusal of {what}"), format!("{status:?} {status}"));
    }

    async fn create(&self, resource: Resource) -> Result<(), Status> {
        let request = CreateRequest { resource: Some(resource), options: None };
        let request = self.world.admin.signed(CREATE, &[], request);
        StateClient::new(self.world.channel.clone()).create(request).await.map(drop)
    }

    fn management(&self) -> ManagementServiceClient<Channel> {
        ManagementServiceClient::new(self.world.channel.clone())
    }

    /// The keys that the first start made.
    fn first_start(&mut self) {
        let read = |name: &str| std::fs::read_to_string(self.world.folder.path().join(name)).expect(name);
        let (admin, master) = (read("admin.key"), read("fleet.key"));
        let admin = admin.trim();
        self.known.add("key of the first administrator", admin.as_bytes());
        let content: Value =
            serde_json::from_slice(&base64(admin).expect("base64")).expect("a key of a service account");
        let armored = content["pgp_key"].as_str().expect("a PGP key");
        self.known.add_pem("its PGP key", armored.as_bytes());
        self.known.add("key of the store, as it is written", master.trim().as_bytes());
        self.known.add("key of the store", &base64(master.trim()).expect("base64"));
    }

    /// A join token, and a machine that comes in with it and with a token of its own.
    async fn join(&mut self) {
        let method = "/management.ManagementService/CreateJoinToken";
        let request = CreateJoinTokenRequest { name: CLUSTER.to_owned(), expiration_time: None };
        let request = self.world.admin.signed(method, &[], request);
        let join_token = self.management().create_join_token(request).await.expect("a token").into_inner().id;
        self.known.add("join token", join_token.as_bytes());
        let own = self.random();
        self.known.add("unique token of a machine", own.as_bytes());
        let own = UniqueToken::new("ab12".to_owned(), Secret::new(own)).expect("a unique token");
        let call = ProvisionRequest {
            node_uuid: self.rng.uuid(),
            node_public_key: to_base64(self.rng.bytes::<32>()),
            join_token: Some(join_token.clone()),
            node_unique_token: Some(own.encode().reveal().clone()),
            talos_version: Some("v1.13.8".to_owned()),
            wireguard_over_grpc: None,
        };
        let mut client = ProvisionServiceClient::new(self.world.channel.clone());
        client.provision(call.clone()).await.expect("let in");
        let wrong = self.random();
        self.known.add("join token of another manager", wrong.as_bytes());
        let stranger = ProvisionRequest { node_uuid: self.rng.uuid(), join_token: Some(wrong), ..call };
        let answer = client.provision(stranger).await;
        self.refused("a machine with another join token", answer);
        let method = "/management.ManagementService/GetMachineJoinConfig";
        let request =
            GetMachineJoinConfigRequest { use_grpc_tunnel: false, join_token: format!("{join_token}x") };
        let request = self.world.admin.signed(method, &[], request);
        let answer = self.management().get_machine_join_config(request).await;
        self.refused("arguments with a join token that is none", answer);
    }

    /// A cluster that brings its secrets along, and one whose secrets are damaged.
    async fn clusters(&mut self) {
        let bundle = SecretsBundle::generate(Clock::system().now(), &self.rng).expect("secrets");
        for (name, key) in [
            ("authority of etcd", &bundle.etcd.key),
            ("authority of Kubernetes", &bundle.kubernetes.key),
            ("authority of the aggregator", &bundle.aggregator.key),
            ("authority of the machines", &bundle.talos.key),
            ("key of service accounts of Kubernetes", &bundle.service_account_key),
        ] {
            self.known.add_pem(name, key.reveal());
        }
        for (name, text) in [
            ("secret of the cluster", &bundle.cluster_secret),
            ("bootstrap token", &bundle.bootstrap_token),
            ("key of secrets in etcd", &bundle.secretbox_secret),
            ("token of trustd", &bundle.trustd_token),
        ] {
            self.known.add(name, text.reveal().as_bytes());
        }
        let whole = bundle.to_yaml().reveal().clone();
        let half = whole.chars().take(whole.len() / 2).collect();
        for (id, data) in [(CLUSTER, whole), (DAMAGED, half)] {
            self.create(typed(id, ImportedClusterSecrets { data }, &[])).await.expect("imported");
            let cluster = Cluster {
                kubernetes_version: "1.36.3".to_owned(),
                talos_version: "1.13.9".to_owned(),
                ..Cluster::default()
            };
            self.create(typed(id, cluster, &[])).await.expect("a cluster");
        }
    }

    /// A patch with a secret of somebody, and one that cannot be read.
    async fn patches(&mut self) {
        let secret = self.random();
        self.known.add("secret in a patch", secret.as_bytes());
        let patch = |id: &str, data: String| {
            let spec = ConfigPatch { data, ..ConfigPatch::default() };
            typed(id, spec, &[(labels::CLUSTER, CLUSTER)])
        };
        let good = || patch("500-hush", format!("machine:\n  env:\n    TOKEN: {secret}\n"));
        self.create(good()).await.expect("a patch");
        let again = self.create(good()).await;
        let bad = self.create(patch("501-hush", format!("machine: [{secret}"))).await;
        self.refused("a patch that is there", again);
        self.refused("a patch that is none", bad);
    }

    /// A token for the Kubernetes of the cluster.
    async fn kubeconfig(&mut self) {
        let method = "/management.ManagementService/Kubeconfig";
        let wish = KubeconfigRequest {
            service_account: true,
            service_account_user: "walker".to_owned(),
            service_account_groups: vec!["readers".to_owned()],
            ..KubeconfigRequest::default()
        };
        let end = Instant::now() + PATIENCE;
        let kubeconfig = loop {
            let request = self.world.admin.signed(method, &[("cluster", CLUSTER)], wish.clone());
            match self.management().kubeconfig(request).await {
                Ok(answer) => break answer.into_inner().kubeconfig,
                Err(status) => assert!(Instant::now() < end, "no kubeconfig: {status}"),
            }
            sleep(PAUSE).await;
        };
        let text = String::from_utf8(kubeconfig).expect("text");
        let token = text.lines().find_map(|line| line.trim().strip_prefix("token: ")).expect("a token");
        let token = token.trim_matches('"');
        let signature = token.rsplit('.').next().expect("a signature");
        self.known.add("token for Kubernetes", token.as_bytes());
        self.known.add("signature of the token for Kubernetes", signature.as_bytes());
    }

    /// What can be read from outside.
    async fn look_from_outside(&mut self) {
        let audit = book::lines(&self.world).await.concat();
        assert!(!audit.is_empty(), "somebody has written");
        self.place("the audit log", audit);
        let request = self.world.admin.signed(LIST, &[], all("Controllers.corten.dev"));
        let listed = StateClient::new(self.world.channel.clone()).list(request).await;
        let mut controllers = listed.expect("controllers").into_inner();
        while let Some(controller) = controllers.message().await.expect("a controller") {
            self.place("what controllers wait for", format!("{controller:?}"));
        }
        let page = page(listener(&self.world.ready, "metrics"), "/metrics").await;
        self.place("the metrics", page);
        self.support_bundle().await;
    }

    /// The bundle as it is handed out. What is packed in it is looked at by the crate that packs it.
    async fn support_bundle(&mut self) {
        let method = "/management.ManagementService/GetSupportBundle";
        let cluster = CLUSTER.to_owned();
        let wish = GetSupportBundleRequest { cluster, ..GetSupportBundleRequest::default() };
        let request = self.world.admin.signed(method, &[], wish);
        let mut messages = match self.management().get_support_bundle(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return self.place("the refusal of a support bundle", format!("{status:?}")),
        };
        while let Some(message) = messages.message().await.expect("a part of the bundle") {
            self.place("the support bundle", message.bundle_data.to_vec());
            self.place("progress of the support bundle", format!("{:?}", message.progress));
        }
    }

    /// What is on the disk, logs and outputs of the manager among it, when the manager has ended.
    fn look_at_files(&mut self) {
        let folder = self.world.folder.path().to_owned();
        for (name, content) in files(&folder) {
            if KEYS.contains(&name.as_str()) {
                assert!(!self.known.find(&content).is_empty(), "what is in {name} is found");
            } else {
                self.place(&name, content);
            }
        }
        let names: Vec<&str> = self.places.iter().map(|(name, _)| name.as_str()).collect();
        for needed in ["fleet.redb", "stderr", "stdout"] {
            assert!(names.contains(&needed), "{needed} is not among {names:?}");
        }
        assert!(names.iter().any(|name| name.starts_with("audit/")), "no audit log among {names:?}");
    }

    /// Another key is refused with the way out, and the right one opens the store again.
    async fn try_keys(&self, more: &[&str]) {
        let (folder, key) = (&self.world.folder, self.world.folder.path().join("fleet.key"));
        let right = std::fs::read_to_string(&key).expect("a key");
        let wrong = to_base64(self.rng.bytes::<32>());
        std::fs::write(&key, format!("{wrong}\n")).expect("written");
        let text = refused(folder, more).await;
        assert!(text.contains("does not open the store"), "{text}");
        assert!(!text.contains(&wrong) && self.known.find(text.as_bytes()).is_empty(), "{text}");
        std::fs::write(&key, right).expect("written");
        let (_manager, ready) = started(folder, more).await.expect("a start");
        let request = Signer::first(&ready).signed(LIST, &[], all("Clusters.omni.sidero.dev"));
        let listed = StateClient::new(connect(&ready).await).list(request).await;
        let first = listed.expect("clusters").into_inner().message().await.expect("a cluster");
        let found = first.and_then(|first| first.resource).and_then(|resource| resource.metadata);
        assert_eq!(found.map(|metadata| metadata.id).as_deref(), Some(CLUSTER));
    }
}

/// A resource of a type that is known here.
fn typed<S: Spec>(id: &str, spec: S, labels: &[(&str, &str)]) -> Resource {
    let (namespace, kind) = (S::DEFINITION.namespace, S::DEFINITION.kind);
    let spec = AnyResource::new(namespace, id, spec).to_proto();
    resource(namespace, kind, id, labels, Bytes::from(spec))
}

/// A request for all resources of a type.
fn all(kind: &str) -> ListRequest {
    ListRequest { namespace: home(kind).to_owned(), r#type: kind.to_owned(), options: None }
}

/// All files below a folder, by their names from there.
fn files(folder: &Path) -> Vec<Place> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below the folder").display().to_string();
                found.push((name, std::fs::read(&path).expect("a file")));
            }
        }
    }
    found
}

/// A page of plain HTTP.
async fn page(address: &str, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await.expect("a page");
    page
}

#[tokio::test]
async fn known_secrets_are_nowhere_in_clear_and_another_key_opens_nothing() {
    let rng = Rng::kernel();
    let password = hex::encode(rng.bytes::<16>());
    let flag = format!("--primary-factory-password={password}");
    let more = ["--log-level=debug", "--primary-factory-username=walker", flag.as_str()];
    let Some(world) = World::open(&more).await else { return };
    let mut house = House { world, rng, known: Needles::default(), places: Vec::new() };
    house.known.add("password of the image factory", password.as_bytes());
    house.first_start();
    house.join().await;
    house.clusters().await;
    house.patches().await;
    house.kubeconfig().await;
    house.look_from_outside().await;
    assert!(house.world.manager.stop().await.success(), "{}", house.world.manager.said("stderr"));
    house.look_at_files();
    let mut found = Vec::new();
    for (name, content) in &house.places {
        found.extend(house.known.find(content).into_iter().map(|secret| format!("{name}: {secret}")));
    }
    assert!(found.is_empty(), "secrets can be read:\n{}", found.join("\n"));
    let bytes: usize = house.places.iter().map(|(_, content)| content.len()).sum();
    let (secrets, forms, places) = (house.known.secrets().len(), house.known.forms(), house.places.len());
    let figures = json!({ "secrets": secrets, "forms": forms, "places": places, "bytes": bytes });
    println!("fleet-secrets: {figures}");
    house.try_keys(&more).await;
}
