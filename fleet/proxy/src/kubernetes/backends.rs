//! The machines that serve the Kubernetes of a cluster, and connections to one that answers.
//!
//! ```text
//! LoadBalancerConfig ─▶ endpoints, one after the other, those that failed lately last ─▶ the first that answers
//! Kubeconfig ─▶ certificate of an administrator ─▶ TLS ─┬▶ HTTP/2, shared
//!                                                       └▶ HTTP/1.1, for one connection that is upgraded
//! ```

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use corten_base::{Clock, chain};
use corten_client::{Credentials, Server};
use corten_fleet_controllers_machine::connect::Streams;
use corten_fleet_resources::kubernetes::LoadBalancerConfig;
use corten_fleet_resources::secrets::Kubeconfig;
use corten_fleet_tunnel::TunnelStream;
use corten_kubernetes::kubeconfig::Material;
use corten_relay::Lease;
use corten_resource::State;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::refusal::Refusal;
use crate::pool::Pool;
use crate::way::Way;

/// A name in the certificate of every API server.
const SERVER_NAME: &str = "kubernetes.default";
/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a machine that did not answer comes last.
const SICK: Duration = Duration::from_secs(20);
/// Machines whose failure is remembered.
const SICK_MAX: usize = 4096;
/// Clusters whose set-up of TLS is kept.
const CLUSTERS_MAX: usize = 1024;
/// How long an upgraded connection may be silent before the other end is asked whether it is there, and how often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long it may owe them: nine of them are missing then.
const SILENCE_MAX: Duration = Duration::from_secs(9 * 30);

/// Set-ups of TLS for a cluster, and the version of the credentials that they were made of.
struct Held {
    version: (u64, SystemTime),
    shared: Arc<ClientConfig>,
    upgraded: Arc<ClientConfig>,
}

/// For what a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Many requests.
    Shared,
    /// One request, whose connection becomes something else.
    Upgraded,
}

/// Control planes of clusters.
pub(crate) struct Backends<S> {
    state: State,
    clock: Clock,
    streams: S,
    pool: Pool<S>,
    credentials: Mutex<BTreeMap<String, Held>>,
    /// When a machine did not answer last.
    sick: Mutex<HashMap<SocketAddrV6, Instant>>,
    /// Which machine comes next.
    turn: AtomicUsize,
}

impl<S: Streams> Backends<S> {
    /// Nothing is connected yet. Must be called inside a runtime.
    pub(crate) fn new(state: State, clock: Clock, streams: S) -> Self {
        Self {
            state,
            clock,
            streams,
            pool: Pool::new(),
            credentials: Mutex::default(),
            sick: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// A place for a request on a connection to the first machine that answers, and where that is.
    ///
    /// # Errors
    /// `ServiceUnavailable` when none answers, or the cluster has no control plane.
    pub(crate) async fn lease(&self, cluster: &str) -> Result<(SocketAddrV6, Lease), Refusal> {
        let tls = self.tls(cluster, Purpose::Shared)?;
        self.first(cluster, |to| {
            let way = self.way(to, &tls);
            let upstream = way.map(|way| self.pool.get(&format!("{cluster}/{to}"), way));
            async move { upstream?.lease().await }
        })
        .await
    }

    /// A connection of HTTP/1.1 to the first machine that answers, and where that is.
    ///
    /// # Errors
    /// As [`Backends::lease`].
    pub(crate) async fn connect(
        &self,
        cluster: &str,
    ) -> Result<(SocketAddrV6, TlsStream<TunnelStream>), Refusal> {
        let tls = self.tls(cluster, Purpose::Upgraded)?;
        self.first(cluster, |to| {
            let way = self.way(to, &tls);
            async move {
                let stream = way?.open().await?;
                // A machine that is switched off says nothing, and neither does somebody who thinks before they type.
                stream.get_ref().0.set_signs_of_life(KEEP_ALIVE, SILENCE_MAX)?;
                Ok(stream)
            }
        })
        .await
    }

    /// What the first machine that answers gives.
    async fn first<T, F>(
        &self,
        cluster: &str,
        attempt: impl Fn(SocketAddrV6) -> F,
    ) -> Result<(SocketAddrV6, T), Refusal>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut failures = Vec::new();
        for to in self.endpoints(cluster)? {
            match attempt(to).await {
                Ok(found) => {
                    self.sick.lock().remove(&to);
                    return Ok((to, found));
                }
                Err(error) => {
                    self.failed(to);
                    failures.push(format!("{}: {}", to.ip(), chain(&error)));
                }
            }
        }
        Err(Refusal::unavailable(format!(
            "no machine of the control plane of cluster {cluster} answers ({}); see whether they are \
             connected",
            failures.join("; ")
        )))
    }

    /// All machines of a control plane, the one to try first in front.
    fn endpoints(&self, cluster: &str) -> Result<Vec<SocketAddrV6>, Refusal> {
        let config = self.state.get::<LoadBalancerConfig>(cluster);
        let endpoints: Vec<SocketAddrV6> = config
            .map(|config| config.endpoints.iter().filter_map(|text| text.parse().ok()).collect())
            .unwrap_or_default();
        if endpoints.is_empty() {
            return Err(Refusal::unavailable(format!(
                "cluster {cluster} has no machine of the control plane yet; wait until one has joined it"
            )));
        }
        let sick = self.sick.lock();
        let is_sick = |to: &SocketAddrV6| sick.get(to).is_some_and(|since| since.elapsed() < SICK);
        Ok(in_turn(endpoints, self.turn.fetch_add(1, Ordering::Relaxed), is_sick))
    }

    fn failed(&self, to: SocketAddrV6) {
        let mut sick = self.sick.lock();
        if sick.len() >= SICK_MAX {
            sick.clear();
        }
        sick.insert(to, Instant::now());
    }

    fn way(&self, to: SocketAddrV6, tls: &Arc<ClientConfig>) -> io::Result<Way<S>> {
        Ok(Way {
            streams: self.streams.clone(),
            to,
            name: ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?,
            tls: Arc::clone(tls),
            boot: String::new(),
            limit: CONNECT_LIMIT,
        })
    }

    /// TLS to a cluster.
    fn tls(&self, cluster: &str, purpose: Purpose) -> Result<Arc<ClientConfig>, Refusal> {
        let mut credentials = self.credentials.lock();
        let Some(kubeconfig) = self.state.get::<Kubeconfig>(cluster) else {
            credentials.remove(cluster);
            return Err(Refusal::unavailable(format!(
                "the manager has no credentials for the Kubernetes of cluster {cluster} yet; try again in a \
                 moment"
            )));
        };
        let version = (kubeconfig.metadata.version, kubeconfig.metadata.updated);
        if credentials.get(cluster).is_none_or(|held| held.version != version) {
            let config = config(&kubeconfig, &self.clock).ok_or_else(|| {
                Refusal::unavailable(format!(
                    "the credentials for the Kubernetes of cluster {cluster} do not work; delete its \
                     Kubeconfig to get new ones"
                ))
            })?;
            if credentials.len() >= CLUSTERS_MAX && !credentials.contains_key(cluster) {
                credentials.pop_first();
            }
            let mut upgraded = ClientConfig::clone(&config);
            upgraded.alpn_protocols = vec![b"http/1.1".to_vec()];
            let held = Held { version, shared: config, upgraded: Arc::new(upgraded) };
            credentials.insert(cluster.to_owned(), held);
        }
        let held =
            credentials.get(cluster).ok_or_else(|| Refusal::unavailable("the credentials are gone"))?;
        Ok(Arc::clone(match purpose {
            Purpose::Shared => &held.shared,
            Purpose::Upgraded => &held.upgraded,
        }))
    }
}

/// TLS with the credentials of a kubeconfig; nothing when they do not work, which the log tells.
fn config(kubeconfig: &Kubeconfig, clock: &Clock) -> Option<Arc<ClientConfig>> {
    let text = std::str::from_utf8(&kubeconfig.data).ok()?;
    let read = corten_kubernetes::Kubeconfig::parse(text);
    let read = read.inspect_err(|error| tracing::warn!(error = chain(error), "a Kubeconfig is none")).ok()?;
    let (Material::Inline(ca), Material::Inline(certificate), Material::Inline(key)) =
        (read.ca, read.certificate, read.key)
    else {
        return None;
    };
    let credentials = Credentials {
        server: Server::Authorities(ca.reveal().clone()),
        own: Some((certificate.reveal().clone(), key)),
        clock: clock.clone(),
    };
    let config = credentials.config();
    config.inspect_err(|error| tracing::warn!(error = chain(error), "a Kubeconfig does not work")).ok()
}

/// Machines in the order in which they are tried: one after the other begins, and those that failed lately come last.
fn in_turn(
    mut endpoints: Vec<SocketAddrV6>,
    turn: usize,
    is_sick: impl Fn(&SocketAddrV6) -> bool,
) -> Vec<SocketAddrV6> {
    let first = turn.checked_rem(endpoints.len()).unwrap_or_default();
    endpoints.rotate_left(first);
    endpoints.sort_by_key(is_sick);
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CLUSTER, Nowhere, bundle, now, put, store};

    fn at(number: u16) -> SocketAddrV6 {
        SocketAddrV6::new([0xfdae, 0, 0, 0, 0, 0, 0, number].into(), 6443, 0, 0)
    }

    #[test]
    fn machines_take_turns_and_those_that_failed_come_last() {
        let order = |turn, sick: &[u16]| {
            let sick: Vec<_> = sick.iter().map(|number| at(*number)).collect();
            let order = in_turn(vec![at(1), at(2), at(3)], turn, |to| sick.contains(to));
            order.iter().map(|to| to.ip().segments()[7]).collect::<Vec<_>>()
        };
        assert_eq!(order(0, &[]), [1, 2, 3]);
        assert_eq!(order(4, &[]), [2, 3, 1]);
        assert_eq!(order(0, &[1]), [2, 3, 1]);
        assert_eq!(order(1, &[1, 2, 3]), [2, 3, 1]);
    }

    #[tokio::test]
    async fn what_is_missing_is_told_and_a_machine_that_does_not_answer_is_remembered() {
        let state = store();
        let clock = state.store().clock().clone();
        let backends = Backends::new(state.clone(), clock, Nowhere);
        let told = async |text: &str| {
            let refusal = backends.lease(CLUSTER).await.err().expect("refused");
            assert!(format!("{refusal:?}").contains(text), "{refusal:?}");
        };
        told("has no credentials for the Kubernetes of cluster prod yet").await;
        let kubeconfig = corten_fleet_cluster::secrets::kubeconfig(
            CLUSTER,
            "https://localhost:10000",
            bundle(),
            None,
            now(),
            &corten_base::Rng::seeded(1),
        );
        put(&state, CLUSTER, kubeconfig.expect("made"), &[]);
        told("has no machine of the control plane yet").await;
        let endpoints = vec!["[fdae::1]:6443".to_owned(), "nonsense".to_owned()];
        put(&state, CLUSTER, LoadBalancerConfig { endpoints, ..LoadBalancerConfig::default() }, &[]);
        told("no machine of the control plane of cluster prod answers (fdae::1: connection refused)").await;
        assert!(backends.sick.lock().contains_key(&at(1)));
        put(&state, CLUSTER, Kubeconfig { data: b"kind: Config\n".to_vec() }, &[]);
        told("do not work").await;
    }
}
