//! The Kubernetes API of an emulated control plane: version, readiness, nodes and static pods, over HTTPS.
//!
//! ```text
//! [machine]:6443 ─TLS, client certificate─▶ request.rs: what is asked ─▶ objects.rs: JSON of the shared cluster
//!                                                                   └─▶ anything else: 404 that says so
//! ```
//!
//! It answers while etcd has a quorum, as a real one does.

mod objects;
mod request;
mod serve;

use std::net::{IpAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use corten_base::chain;
use corten_pki::{LeafRequest, Subject};
use rustls::ServerConfig;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::tls::{self, ServeError};
use crate::applied::Applied;
use crate::cluster::Cluster;
use crate::link::place::Place;
use crate::machine::Machine;

/// How long the serving certificate is valid.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Protocols that clients may speak.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Before an address is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// With what a control plane serves.
#[derive(Clone)]
struct Wanted {
    place: Arc<Place>,
    applied: Arc<Applied>,
    cluster: Arc<Cluster>,
}

impl Wanted {
    /// What a machine is to serve now; nothing unless it is a control plane with a member of etcd.
    fn of(machine: &Machine) -> Option<Self> {
        let is_member = machine.with_facts(|facts| facts.is_control_plane() && facts.member.is_some());
        let place = machine.places().borrow().clone();
        let (place, applied) = place.zip(machine.applied()).filter(|_| is_member)?;
        Some(Self { place, applied, cluster: machine.own_cluster()? })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.place == other.place
            && Arc::ptr_eq(&self.applied, &other.applied)
            && Arc::ptr_eq(&self.cluster, &other.cluster)
    }
}

/// Serves for as long as the boot lasts, when the machine is a control plane.
pub async fn run(machine: Arc<Machine>) {
    if !machine.world().network.has_link() {
        return std::future::pending().await;
    }
    let mut configurations = machine.configurations();
    let mut places = machine.places();
    loop {
        configurations.borrow_and_update();
        places.borrow_and_update();
        if let Some(wanted) = Wanted::of(&machine) {
            if let Err(error) = serve(&machine, &wanted).await {
                tracing::debug!(machine = machine.spec().number, error = chain(&error), "no Kubernetes API");
                sleep(RETRY).await;
            }
            continue;
        }
        tokio::select! {
            _ = configurations.changed() => {}
            _ = places.changed() => {}
        }
    }
}

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
enum KubeError {
    #[error(transparent)]
    Tls(#[from] ServeError),
    #[error("the configuration has no key of the Kubernetes CA")]
    NoAuthority,
    #[error("cannot listen")]
    Listen(#[source] std::io::Error),
}

fn server(machine: &Machine, wanted: &Wanted) -> Result<Arc<ServerConfig>, KubeError> {
    let trust = &wanted.applied.cluster.trust;
    let authority = tls::issuer(trust).map_err(ServeError::from)?.ok_or(KubeError::NoAuthority)?;
    let names = [machine.hostname(), "kubernetes".to_owned(), "kubernetes.default".to_owned()];
    let endpoint = wanted.applied.cluster.endpoint.parse::<IpAddr>().ok();
    let addresses = [IpAddr::V6(wanted.place.address())].into_iter().chain(endpoint);
    let request =
        LeafRequest::server(Subject::common_name("kube-apiserver"), LIFETIME).with_names(names, addresses);
    let now = machine.now();
    let identity = authority.issue(&request, now, &machine.world().options.rng);
    let identity = identity.map_err(ServeError::from)?;
    Ok(tls::config(&identity, Some(&trust.bundle), now, &PROTOCOLS)?)
}

/// Serves until something else is wanted.
async fn serve(machine: &Arc<Machine>, wanted: &Wanted) -> Result<(), KubeError> {
    let config = server(machine, wanted)?;
    let at = SocketAddrV6::new(wanted.place.address(), wanted.applied.cluster.port, 0, 0);
    let listener = machine.world().network.listen(at).await.map_err(KubeError::Listen)?;
    let mut connections = JoinSet::new();
    let mut configurations = machine.configurations();
    let mut places = machine.places();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (config, cluster) = (Arc::clone(&config), Arc::clone(&wanted.cluster));
                    connections.spawn(async move {
                        if let Err(error) = serve::connection(stream, config, cluster).await {
                            tracing::debug!(error = %error, "a Kubernetes connection ended");
                        }
                    });
                }
                Err(error) => return Err(KubeError::Listen(error)),
            },
            Some(_) = connections.join_next() => {}
            _ = configurations.changed() => {}
            _ = places.changed() => {}
        }
        configurations.borrow_and_update();
        places.borrow_and_update();
        if !Wanted::of(machine).is_some_and(|now| now.is_same(wanted)) {
            return Ok(());
        }
    }
}
