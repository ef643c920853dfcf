//! All controllers of this domain together.

use std::io;
use std::net::SocketAddrV6;
use std::time::Duration;

use corten_fleet_cluster::secrets::read;
use corten_fleet_controllers_machine::connect::{Connection, DialError, MemberAccess, Stream, Streams};
use corten_fleet_resources::cluster::{
    Cluster, ClusterBootstrapStatus, ClusterConfigVersion, ClusterDestroyStatus, ClusterPhase, ClusterStatus,
    ClusterUuid, MachineSet,
};
use corten_fleet_resources::kubernetes::{LoadBalancerConfig, LoadBalancerStatus};
use corten_fleet_resources::labels::ROLE_CONTROL_PLANE;
use corten_fleet_resources::secrets::{ClusterSecrets, ImportedClusterSecrets, Kubeconfig, TalosConfig};
use corten_fleet_tunnel::{TunnelListener, TunnelStream};
use corten_resource::testing::{TestRuntime, resource, state};
use corten_resource::{AnyResource, State};

use super::*;
use crate::testing::{in_cluster, registry, secrets};

/// Nobody answers, and no port opens.
#[derive(Clone)]
struct Silence;

impl Dial for Silence {
    async fn maintenance(&self, address: Ipv6Addr) -> Result<Connection, DialError> {
        Err(DialError::Silent { address })
    }
    async fn member(&self, address: Ipv6Addr, _: &MemberAccess) -> Result<Connection, DialError> {
        Err(DialError::Silent { address })
    }
    async fn stream(&self, address: Ipv6Addr, _: Option<&MemberAccess>) -> Result<Stream, DialError> {
        Err(DialError::Silent { address })
    }
}

impl Streams for Silence {
    async fn connect(&self, _: SocketAddrV6) -> io::Result<TunnelStream> {
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Ports for Silence {
    async fn listen(&self, _: u16) -> io::Result<TunnelListener> {
        Err(io::ErrorKind::AddrInUse.into())
    }
}

/// The controllers on a state that holds something already; keys and UUIDs are those of the seed.
fn started_on(state: State, seed: u64) -> TestRuntime {
    let load_balancer = LoadBalancer {
        min_port: 10_000,
        max_port: 35_000,
        dial_timeout: Duration::from_secs(15),
        keep_alive_period: Duration::from_secs(30),
        tcp_user_timeout: Duration::from_secs(30),
        health_check_interval: Duration::from_secs(20),
        health_check_timeout: Duration::from_secs(15),
    };
    TestRuntime::with_state(state, |runtime| {
        let dependencies = Dependencies {
            pool: Arc::new(Pool::new(Silence)),
            ports: Silence,
            address: "fdae::1".parse().expect("an address"),
            load_balancer,
            rng: Rng::seeded(seed),
        };
        register(runtime, dependencies);
    })
}

/// The control plane of `prod`.
fn control_plane_set() -> AnyResource {
    let set = in_cluster(resource("prod-control-planes", MachineSet::default()));
    set.edit(|metadata| drop(metadata.labels.insert(ROLE_CONTROL_PLANE.to_owned(), String::new())))
}

/// `prod`.
fn cluster() -> AnyResource {
    resource("prod", Cluster { talos_version: "1.14.0".to_owned(), ..Cluster::default() })
}

/// Whether `prod` has all that its machines need.
fn has_all(state: &State) -> bool {
    state.get::<ClusterUuid>("prod").is_some()
        && state.get::<ClusterConfigVersion>("prod").is_some_and(|found| found.version == "v1.14.0")
        && state.get::<LoadBalancerConfig>("prod").is_some()
        && state.get::<LoadBalancerStatus>("prod").is_some_and(|found| found.stopped)
        && state.get::<ClusterSecrets>("prod").is_some()
        && state.get::<TalosConfig>("prod").is_some()
        && state.get::<Kubeconfig>("prod").is_some()
        && state.get::<ClusterBootstrapStatus>("prod").is_some()
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_dies_at_any_step_of_a_creation_finishes_it_and_changes_nothing_that_is_for_life() {
    let bundle = read(&secrets().data).expect("a bundle").to_yaml().reveal().clone();
    for steps in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144] {
        let state = state(registry());
        let import = resource("prod", ImportedClusterSecrets { data: bundle.clone() });
        for resource in [cluster(), control_plane_set(), import] {
            state.put_any("", resource).expect("put");
        }
        let first = started_on(state.clone(), 1);
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        drop(first);
        let kept = |state: &State| {
            let uuid = state.get::<ClusterUuid>("prod").map(|found| found.spec.uuid);
            (uuid, state.get::<LoadBalancerConfig>("prod").map(|found| found.spec.bind_port))
        };
        let (uuid, port) = kept(&state);
        let again = started_on(state.clone(), 2);
        again.quiet().await;
        assert!(has_all(&state), "after {steps} steps");
        let (uuid_now, port_now) = kept(&state);
        assert!(uuid.is_none() || uuid == uuid_now, "after {steps} steps");
        assert!(port.is_none() || port == port_now, "after {steps} steps");
        assert!(state.get::<ImportedClusterSecrets>("prod").is_none(), "after {steps} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_gets_all_that_its_machines_need_and_leaves_nothing() {
    let runtime = started_on(state(registry()), 1);
    runtime.put(cluster());
    runtime.put(control_plane_set());
    runtime.quiet().await;
    let state = runtime.state();
    assert!(has_all(state));
    assert!(state.get::<ClusterBootstrapStatus>("prod").is_some_and(|found| !found.bootstrapped));
    let phase = || state.get::<ClusterStatus>("prod").map(|status| status.phase);
    assert_eq!(phase(), Some(ClusterPhase::Unknown));
    let waiting = runtime.status("ClusterBootstrapStatusController/prod").expect("it waits");
    assert!(waiting.reason.contains("add a machine to its control plane"), "{}", waiting.reason);

    let pointer = control_plane_set().pointer();
    state.add_finalizer(&pointer, "somebody").expect("held");
    state.remove::<Cluster>("", "prod").expect("torn down");
    runtime.advance(Duration::from_secs(60)).await;
    assert!(has_all(state), "its machines are reset with it");
    assert_eq!(phase(), Some(ClusterPhase::Destroying));
    state.remove_finalizer(&pointer, "somebody").expect("released");
    for _ in 0..5 {
        runtime.advance(Duration::from_secs(60)).await;
    }
    assert!(state.get::<ClusterSecrets>("prod").is_none() && state.get::<TalosConfig>("prod").is_none());
    assert!(state.get::<ClusterBootstrapStatus>("prod").is_none() && phase().is_none());
    assert!(state.get::<ClusterDestroyStatus>("prod").is_none());
    assert!(state.get::<Cluster>("prod").is_some_and(|cluster| cluster.metadata.is_destroy_ready()));
}
