//! All controllers of this domain together.

use std::io;
use std::net::SocketAddrV6;
use std::time::Duration;

use corten_fleet_controllers_machine::connect::{Connection, DialError, MemberAccess, Streams};
use corten_fleet_resources::cluster::{
    Cluster, ClusterBootstrapStatus, ClusterConfigVersion, ClusterDestroyStatus, ClusterPhase, ClusterStatus,
    ClusterUuid, MachineSet,
};
use corten_fleet_resources::kubernetes::{LoadBalancerConfig, LoadBalancerStatus};
use corten_fleet_resources::labels::ROLE_CONTROL_PLANE;
use corten_fleet_resources::secrets::{ClusterSecrets, Kubeconfig, TalosConfig};
use corten_resource::testing::{TestRuntime, resource};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::testing::{in_cluster, registry};

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
}

impl Streams for Silence {
    async fn connect(&self, _: SocketAddrV6) -> io::Result<TcpStream> {
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Ports for Silence {
    async fn listen(&self, _: u16) -> io::Result<TcpListener> {
        Err(io::ErrorKind::AddrInUse.into())
    }
}

fn started() -> TestRuntime {
    let load_balancer = LoadBalancer {
        min_port: 10_000,
        max_port: 35_000,
        dial_timeout: Duration::from_secs(15),
        keep_alive_period: Duration::from_secs(30),
        tcp_user_timeout: Duration::from_secs(30),
        health_check_interval: Duration::from_secs(20),
        health_check_timeout: Duration::from_secs(15),
    };
    TestRuntime::new(registry(), |runtime| {
        let dependencies = Dependencies {
            pool: Arc::new(Pool::new(Silence)),
            ports: Silence,
            address: "fdae::1".parse().expect("an address"),
            load_balancer,
            rng: Rng::seeded(1),
        };
        register(runtime, dependencies);
    })
}

#[tokio::test(start_paused = true)]
async fn a_cluster_gets_all_that_its_machines_need_and_leaves_nothing() {
    let runtime = started();
    let spec = Cluster { talos_version: "1.14.0".to_owned(), ..Cluster::default() };
    runtime.put(resource("prod", spec));
    let set = in_cluster(resource("prod-control-planes", MachineSet::default()));
    let role = ROLE_CONTROL_PLANE.to_owned();
    runtime.put(set.edit(|metadata| drop(metadata.labels.insert(role, String::new()))));
    runtime.quiet().await;
    let state = runtime.state();
    let has_all = || {
        state.get::<ClusterUuid>("prod").is_some()
            && state.get::<ClusterConfigVersion>("prod").is_some_and(|found| found.version == "v1.14.0")
            && state.get::<LoadBalancerConfig>("prod").is_some()
            && state.get::<LoadBalancerStatus>("prod").is_some_and(|found| found.stopped)
            && state.get::<ClusterSecrets>("prod").is_some()
            && state.get::<TalosConfig>("prod").is_some()
            && state.get::<Kubeconfig>("prod").is_some()
            && state.get::<ClusterBootstrapStatus>("prod").is_some_and(|found| !found.bootstrapped)
    };
    assert!(has_all());
    let phase = || state.get::<ClusterStatus>("prod").map(|status| status.phase);
    assert_eq!(phase(), Some(ClusterPhase::Unknown));
    let waiting = runtime.status("ClusterBootstrapStatusController/prod").expect("it waits");
    assert!(waiting.reason.contains("add a machine to its control plane"), "{}", waiting.reason);

    let pointer = in_cluster(resource("prod-control-planes", MachineSet::default())).pointer();
    state.add_finalizer(&pointer, "somebody").expect("held");
    state.remove::<Cluster>("", "prod").expect("torn down");
    runtime.advance(Duration::from_secs(60)).await;
    assert!(has_all(), "its machines are reset with it");
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
