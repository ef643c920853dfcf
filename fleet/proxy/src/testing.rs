//! What several tests need: a store with a cluster of two machines, callers, ways to this host and to nowhere, servers,
//! a log in memory.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use corten_api::fleet::Role;
use corten_base::{Clock, Rng};
use corten_client::{Credentials, Server};
use corten_config::SecretsBundle;
use corten_fleet_api::caller::{Caller, Directory};
use corten_fleet_cluster::secrets;
use corten_fleet_controllers_machine::connect::Streams;
use corten_fleet_resources::auth::{
    AccessPolicy, Identity, KeyIdentity, PolicyRule, PublicKey, PublicKeyKind, User,
};
use corten_fleet_resources::cluster::{ClusterMachine, ClusterMachineIdentity, ClusterUuid};
use corten_fleet_resources::labels;
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::{Machine, MachineStatus, Network};
use corten_fleet_tunnel::TunnelStream;
use corten_pki::{Authority, LeafRequest, PrivateKey};
use corten_resource::{AnyResource, Spec, State, testing};
use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::net::TcpStream;

use crate::log::{AccessEvent, AccessLog};
use crate::token::Claims;
use crate::way::Way;

/// The cluster of the store.
pub(crate) const CLUSTER: &str = "prod";
/// Its machine of the control plane.
pub(crate) const ONE: &str = "11111111-1111-1111-1111-111111111111";
/// Its worker.
pub(crate) const TWO: &str = "22222222-2222-2222-2222-222222222222";
/// A machine in no cluster, in maintenance.
pub(crate) const FREE: &str = "33333333-3333-3333-3333-333333333333";

/// The time of all tests.
pub(crate) fn now() -> SystemTime {
    Clock::fixed(1_700_000_000).now()
}

/// A store with a cluster.
pub(crate) fn store() -> State {
    let state = testing::state(corten_fleet_resources::registry());
    state.put("", CLUSTER, ClusterUuid { uuid: "the-uuid".to_owned() }).expect("stored");
    let member = |id: &str, number: u8, role: &str| {
        put(&state, id, ClusterMachine::default(), &[(labels::CLUSTER, CLUSTER), (role, "")]);
        let identity = ClusterMachineIdentity {
            nodename: format!("node-{number}"),
            node_ips: vec![format!("10.0.0.{number}")],
            ..ClusterMachineIdentity::default()
        };
        put(&state, id, identity, &[(labels::CLUSTER, CLUSTER)]);
        machine(&state, id, number, CLUSTER);
    };
    member(ONE, 1, labels::ROLE_CONTROL_PLANE);
    member(TWO, 2, labels::ROLE_WORKER);
    machine(&state, FREE, 3, "");
    state
}

/// A machine that is connected; in maintenance when it is in no cluster.
fn machine(state: &State, id: &str, number: u8, cluster: &str) {
    let management_address = format!("fdae:41e4:649b:9303::{number}");
    let machine =
        Machine { management_address: management_address.clone(), connected: true, ..Machine::default() };
    put(state, id, machine, &[]);
    put(state, id, Link { node_public_key: format!("key {number}"), ..Link::default() }, &[]);
    let network = Network {
        hostname: format!("host-{number}"),
        addresses: vec![format!("10.0.0.{number}/24")],
        ..Network::default()
    };
    let status = MachineStatus {
        talos_version: "v1.14.1".to_owned(),
        network: Some(network),
        management_address,
        maintenance: cluster.is_empty(),
        cluster: cluster.to_owned(),
        ..MachineStatus::default()
    };
    put(state, id, status, &[]);
}

/// Stores a resource with labels.
pub(crate) fn put<S: Spec>(state: &State, id: &str, spec: S, with: &[(&str, &str)]) {
    let resource: AnyResource = testing::resource(id, spec).edit(|metadata| {
        for (key, value) in with {
            metadata.labels.insert((*key).to_owned(), (*value).to_owned());
        }
    });
    state.put_any("", resource).expect("stored");
}

/// Somebody with a key who has this role beyond clusters.
pub(crate) fn caller(state: &State, role: Role) -> Arc<Caller> {
    let (name, email) = (role.as_str(), format!("{}@example.com", role.as_str().to_lowercase()));
    let key = PublicKey {
        confirmed: true,
        identity: Some(KeyIdentity { email: email.clone() }),
        role: Role::Admin.to_string(),
        kind: PublicKeyKind::Pgp,
        ..PublicKey::default()
    };
    put(state, name, key, &[]);
    put(state, &email, Identity { user_id: name.to_owned() }, &[]);
    put(state, name, User { role: role.to_string(), ..User::default() }, &[]);
    let signer = Directory::new(state.clone()).signer(name, now()).expect("the key works");
    Arc::new(Caller { signer: Some(signer), ..Caller::default() })
}

/// Somebody without a role of their own whom the access policy gives this one on [`CLUSTER`].
pub(crate) fn caller_on_cluster(state: &State, role: Role) -> Arc<Caller> {
    let rule = PolicyRule {
        users: vec!["none@example.com".to_owned()],
        clusters: vec![CLUSTER.to_owned()],
        role: role.to_string(),
        ..PolicyRule::default()
    };
    let policy = AccessPolicy { rules: vec![rule], ..AccessPolicy::default() };
    put(state, AccessPolicy::ID, policy, &[]);
    caller(state, Role::None)
}

/// Secrets of the cluster. Making them takes a moment, so all tests share them.
pub(crate) fn bundle() -> &'static SecretsBundle {
    static BUNDLE: OnceLock<SecretsBundle> = OnceLock::new();
    BUNDLE.get_or_init(|| SecretsBundle::generate(now(), &Rng::seeded(1)).expect("made"))
}

/// Puts the secrets of the cluster into the store.
pub(crate) fn put_secrets(state: &State) {
    put(state, CLUSTER, secrets::write(bundle()), &[]);
}

/// A key for tokens with its public half, shared by all tests.
pub(crate) fn key() -> &'static (PrivateKey, Vec<u8>) {
    static KEY: OnceLock<(PrivateKey, Vec<u8>)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = PrivateKey::rsa_2048().expect("a key");
        let pair = RsaKeyPair::from_pkcs8(key.pkcs8_der().reveal()).expect("the same key");
        let public = pair.public_key().as_ref().to_vec();
        (key, public)
    })
}

/// What a token of the cluster says.
pub(crate) fn claims() -> Claims {
    Claims {
        issuer: "omni-default-service-account-issuer".to_owned(),
        subject: "ci".to_owned(),
        groups: vec!["deployers".to_owned(), "readers".to_owned()],
        cluster: CLUSTER.to_owned(),
        cluster_uuid: "the-uuid".to_owned(),
        issued: now(),
        expires: now() + Duration::from_secs(3600),
    }
}

/// Leads nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Nowhere;

impl Streams for Nowhere {
    async fn connect(&self, _: SocketAddrV6) -> io::Result<TunnelStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

/// Leads to a listener on this host, whoever is called.
#[derive(Clone, Debug)]
pub(crate) struct Here(pub(crate) SocketAddr);

impl Streams for Here {
    async fn connect(&self, _: SocketAddrV6) -> io::Result<TunnelStream> {
        TcpStream::connect(self.0).await.map(TunnelStream::from)
    }
}

/// The time of all tests, for TLS.
#[derive(Debug)]
struct Then;

impl TimeProvider for Then {
    fn current_time(&self) -> Option<UnixTime> {
        now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// TLS of a server that shows such a certificate of an authority, and wants one of the same.
pub(crate) fn server_tls(authority: &Authority, request: &LeafRequest, protocols: &[&str]) -> ServerConfig {
    let identity = authority.issue(request, now(), &Rng::seeded(2)).expect("issued");
    let (chain, key) = identity.to_rustls();
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().to_rustls()).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_details(provider, Arc::new(Then))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"));
    let mut config = config.with_single_cert(chain, key).expect("a certificate");
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// A way to nowhere.
pub(crate) fn way(boot: &str) -> Way<Nowhere> {
    let anyone = Credentials { server: Server::Anyone, own: None, clock: Clock::fixed(1_700_000_000) };
    Way {
        streams: Nowhere,
        to: SocketAddrV6::new(Ipv6Addr::LOCALHOST, 50_000, 0, 0),
        name: ServerName::try_from("machine").expect("a name"),
        tls: anyone.config().expect("TLS"),
        boot: boot.to_owned(),
        limit: Duration::from_secs(1),
    }
}

/// An audit log in memory.
#[derive(Default)]
pub(crate) struct Remembered(pub(crate) Mutex<Vec<AccessEvent>>);

impl AccessLog for Remembered {
    fn record(&self, event: AccessEvent) {
        self.0.lock().push(event);
    }
}
