//! The whole domain on a real kernel, in network, host name and mount namespaces of its own.
//!
//! A virtual cable stands for the network card; its other end has a small DHCP server. Needs root.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use corten_base::{Capabilities, Clock, Platform, Rng, Task, spawn};
use corten_controllers_network::{Dependencies, Folders, Kernel, register};
use corten_dataplane::files::{DnsStatus, write_atomic};
use corten_resource::testing::state;
use corten_resource::{Change, Pointer, Registry, Resource, RunningRuntime, Runtime, Spec, State};
use corten_resources::cluster::Identity;
use corten_resources::config::MachineConfig;
use corten_resources::files::EtcFileStatus;
use corten_resources::network::*;
use corten_resources::runtime::KernelCmdline;
use corten_resources::time::TimeStatus;
use corten_sys::mount::{Depth, Mounts, Propagation};
use corten_sys::namespace::{Namespaces, unshare};
use corten_sys::network::{Links, PeerNamespace};
use tokio::net::UdpSocket;

#[path = "kernel/links.rs"]
mod links;
#[path = "kernel/routes.rs"]
mod routes;

/// Longest wait for anything; a condition that holds earlier ends it.
const DEADLINE: Duration = Duration::from_secs(20);
/// What the DHCP server gives out.
const LEASED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// Every type of a machine.
fn registry() -> Registry {
    corten_resources::registry()
}

/// Runs a test on a thread with its own view of the network, the host name and the mounts.
///
/// The folder that it gets goes outside of that view: inside, what the machine mounted over its files holds it.
fn in_namespaces(test: impl AsyncFnOnce(&Path) + Send + 'static) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_path_buf();
    #[expect(
        clippy::disallowed_methods,
        reason = "only a thread of its own can leave the namespaces of the others"
    )]
    let thread = std::thread::spawn(move || {
        unshare(Namespaces::NET.and(Namespaces::UTS).and(Namespaces::MOUNT)).expect("root may unshare");
        corten_sys::Kernel
            .propagate(Path::new("/"), Propagation::Private, Depth::Recursive)
            .expect("mounts become private");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tokio::time::timeout(2 * DEADLINE, test(&path)).await.expect("the test ends in time")
        });
    });
    thread.join().expect("the test passed");
}

/// `eth0` with a server's end `server0`.
fn cable() {
    let mut links = Links::open().expect("netlink");
    let here = PeerNamespace::Process(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    links.add_cable("server0", "eth0", [2, 0, 0, 0, 0, 1], here).expect("a cable");
    links.set_up("server0").expect("up");
    links.add_address("server0", SERVER, 24).expect("an address");
}

fn domain(state: &State, capabilities: Capabilities, folder: &Path) -> RunningRuntime {
    let folders = Folders {
        etc: folder.join("etc"),
        rendered: folder.join("rendered"),
        dataplane: folder.join("dataplane"),
        run: folder.join("run"),
    };
    std::fs::create_dir_all(&folders.etc).expect("mkdir");
    let mut runtime = Runtime::new(state.clone());
    let kernel = Kernel::connect().expect("netlink");
    let (clock, rng) = (Clock::system(), Rng::kernel());
    register(&mut runtime, Dependencies { kernel, capabilities, clock, rng, folders });
    runtime.start().expect("the controllers go together")
}

fn capabilities(links: bool) -> Capabilities {
    Capabilities { links, clock: false, ..Platform::Metal.capabilities() }
}

async fn wait<S: Spec>(state: &State, id: &str, ready: impl FnMut(Option<&S>) -> bool) -> Resource<S> {
    let found = tokio::time::timeout(DEADLINE, state.wait_for::<S>(id, ready)).await;
    found.unwrap_or_else(|_| panic!("{} {id} does not come:\n{:#?}", S::DEFINITION.kind, controllers(state)))
}

/// Waits until a resource is gone.
async fn gone<S: Spec>(state: &State, id: &str) {
    let mut changes = state.watch::<S>();
    let absent = async {
        while state.get::<S>(id).is_some() {
            changes.next().await.expect("the state lives");
        }
    };
    let result = tokio::time::timeout(DEADLINE, absent).await;
    result.unwrap_or_else(|_| panic!("{} {id} does not go:\n{:#?}", S::DEFINITION.kind, controllers(state)));
}

/// What every controller that is not content says.
fn controllers(state: &State) -> Vec<String> {
    let statuses = state.list::<corten_resource::ControllerStatus>();
    let reasons = statuses.iter().filter(|status| !status.spec.reason.is_empty());
    reasons.map(|status| format!("{}: {}", status.metadata.id, status.spec.reason)).collect()
}

/// An answer to a DHCP message: an offer to a discovery, an acknowledgement to a request.
fn dhcp_answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question[..240].to_vec();
    answer[0] = 2;
    answer[16..20].copy_from_slice(&LEASED.octets());
    let is_request = question.windows(3).any(|option| option == [53, 1, 3]);
    let address = SERVER.octets();
    answer.extend([53, 1, if is_request { 5 } else { 2 }]);
    answer.extend([54, 4]);
    answer.extend(address);
    answer.extend([51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 3, 4]);
    answer.extend(address);
    answer.extend([6, 4]);
    answer.extend(address);
    answer.extend([15, 11]);
    answer.extend(b"example.org");
    answer.extend([26, 2, 5, 120, 255]);
    answer
}

async fn dhcp_server() -> Task {
    let socket = UdpSocket::bind("0.0.0.0:67").await.expect("bind");
    socket.bind_device(Some(b"server0")).expect("bind to the cable");
    socket.set_broadcast(true).expect("broadcast");
    spawn("dhcp-server", async move {
        let mut buffer = [0; 1500];
        while let Ok((length, _)) = socket.recv_from(&mut buffer).await {
            if length > 240 {
                let _ = socket.send_to(&dhcp_answer(&buffer[..length]), "255.255.255.255:68").await;
            }
        }
    })
}

#[test]
fn a_machine_gets_its_network_by_dhcp_and_follows_its_configuration() {
    in_namespaces(async |folder| {
        cable();
        let _server = dhcp_server().await;
        let state = state(registry());
        let cmdline = "ip=eth0:dhcp talos.hostname=vm-1";
        state.put("", "cmdline", KernelCmdline { cmdline: cmdline.into() }).expect("put");
        state.put("", Identity::ID, Identity { node_id: "node".into() }).expect("put");
        let runtime = domain(&state, capabilities(true), folder);

        wait::<AddressStatus>(&state, "eth0/10.9.0.15/24", |row| row.is_some()).await;
        wait::<RouteStatus>(&state, "inet4/10.9.0.1//1024", |row| row.is_some()).await;
        wait::<LinkStatus>(&state, "eth0", |row| row.is_some_and(|link| link.mtu == 1400)).await;
        wait::<ResolverStatus>(&state, "resolvers", |row| {
            row.is_some_and(|status| {
                status.dns_servers == [SERVER] && status.search_domains == ["example.org"]
            })
        })
        .await;
        let hostname = wait::<HostnameStatus>(&state, "hostname", |row| row.is_some()).await;
        assert_eq!(hostname.spec.hostname, "vm-1");
        assert_eq!(rustix::system::uname().nodename(), c"vm-1");
        let all = NetworkStatus {
            address_ready: true,
            connectivity_ready: true,
            hostname_ready: true,
            etc_files_ready: true,
        };
        wait::<NetworkStatus>(&state, "status", |row| row == Some(&all)).await;
        wait::<EtcFileStatus>(&state, "hosts", |_| read(folder, "etc/hosts").contains(" vm-1\n")).await;
        assert!(read(folder, "etc/resolv.conf").contains("nameserver 10.9.0.1"));
        wait::<TimeStatus>(&state, "node", |row| row.is_some_and(|time| time.synced && time.sync_disabled))
            .await;

        configure(&state, CONFIG);
        wait::<AddressStatus>(&state, "eth0/10.8.0.1/24", |row| row.is_some()).await;
        wait::<AddressStatus>(&state, "lo/169.254.116.108/32", |row| row.is_some()).await;
        wait::<RouteStatus>(&state, "inet4/10.8.0.254/10.20.0.0/16/1024", |row| row.is_some()).await;
        wait::<HostnameStatus>(&state, "hostname", |row| row.is_some_and(|row| row.fqdn() == "node-1.test"))
            .await;
        wait::<EtcFileStatus>(&state, "hosts", |_| {
            read(folder, "etc/resolv.conf").contains("nameserver 127.0.0.53")
        })
        .await;
        assert!(state.get::<DnsUpstream>("10.9.0.1").is_none(), "nobody asked it yet");
        resolver_reports(folder);
        wait::<DnsUpstream>(&state, "10.9.0.1", |row| row.is_some_and(|row| !row.healthy)).await;
        assert!(read(folder, "dataplane/dns.json").contains("node-1.test"));

        configure(
            &state,
            "version: v1alpha1\nmachine: {type: worker}\ncluster: {controlPlane: {endpoint: 'https://a:6443'}}\n",
        );
        gone::<AddressStatus>(&state, "eth0/10.8.0.1/24").await;
        gone::<RouteStatus>(&state, "inet4/10.8.0.254/10.20.0.0/16/1024").await;
        gone::<AddressStatus>(&state, "lo/169.254.116.108/32").await;
        assert!(state.get::<AddressStatus>("eth0/10.9.0.15/24").is_some(), "what DHCP gave stays");
        runtime.stop().await;
    });
}

/// What dataplane would write after a query that nobody answered.
fn resolver_reports(folder: &Path) {
    let upstreams = [((SERVER, 53).into(), false)].into();
    let status = DnsStatus { upstreams, ..DnsStatus::default() };
    write_atomic(&folder.join("dataplane"), &status).expect("the status is written");
}

const CONFIG: &str = "
version: v1alpha1
machine:
  type: controlplane
  network:
    hostname: node-1.test
    interfaces:
      - interface: eth0
        dhcp: true
        addresses: [10.8.0.1/24]
        routes: [{network: 10.20.0.0/16, gateway: 10.8.0.254}]
  features:
    hostDNS: {enabled: true, forwardKubeDNSToHost: true}
cluster:
  controlPlane: {endpoint: https://10.8.0.1:6443}
";

fn configure(state: &State, yaml: &str) {
    state.put("", MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }).expect("put");
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap_or_default()
}

#[test]
fn a_restart_of_the_controllers_leaves_the_leased_address_alone() {
    in_namespaces(async |folder| {
        cable();
        let _server = dhcp_server().await;
        let state = state(registry());
        state.put("", "cmdline", KernelCmdline { cmdline: "ip=eth0:dhcp".into() }).expect("put");
        let runtime = domain(&state, capabilities(true), folder);
        let leased = "eth0/10.9.0.15/24";
        wait::<ResolverStatus>(&state, "resolvers", |row| row.is_some_and(|row| row.dns_servers == [SERVER]))
            .await;
        wait::<AddressStatus>(&state, leased, |row| row.is_some()).await;
        runtime.stop().await;

        let mut changes = state.watch::<AddressSpec>();
        let _second = domain(&state, capabilities(true), folder);
        let layer = "operator/dhcp4/eth0/eth0/10.9.0.15/24";
        let before =
            state.get_in::<AddressSpec>(CONFIG_NAMESPACE, layer).expect("the lease").metadata.version;
        // A later change that arrives shows that the second life has looked at everything once.
        configure(&state, CONFIG);
        wait::<AddressStatus>(&state, "eth0/10.8.0.1/24", |row| row.is_some()).await;
        while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, changes.next()).await {
            let lost = matches!(&event.change, Change::Destroyed(row) if row.metadata().id == leased);
            assert!(!lost, "the address was given up for a moment");
        }
        let after = state.get_in::<AddressSpec>(CONFIG_NAMESPACE, layer).expect("the lease").metadata.version;
        assert_eq!(before, after);
    });
}

/// Of the links made in software, a bridge is the one that every kernel of a test machine has.
#[test]
fn links_in_software_are_made_and_removed() {
    in_namespaces(async |folder| {
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        let bridge = LinkSpec {
            logical: true,
            kind: "bridge".into(),
            mtu: 1300,
            ..LinkSpec::up(Layer::Configuration, "br0")
        };
        let id = layered_id(Layer::Configuration, "br0");
        state.put_in("", CONFIG_NAMESPACE, &id, bridge).expect("put");
        let address = "10.8.0.1/24".parse().expect("an address");
        let address = AddressSpec::new(Layer::Configuration, "br0", address, Scope::GLOBAL);
        let address_id = layered_id(Layer::Configuration, &address.id());
        state.put_in("", CONFIG_NAMESPACE, &address_id, address).expect("put");
        wait::<LinkStatus>(&state, "br0", |row| {
            row.is_some_and(|link| {
                link.kind == "bridge" && link.mtu == 1300 && link.flags.contains(LinkFlags::UP)
            })
        })
        .await;
        wait::<AddressStatus>(&state, "br0/10.8.0.1/24", |row| row.is_some()).await;
        for (kind, id) in [(LinkSpec::DEFINITION.kind, &id), (AddressSpec::DEFINITION.kind, &address_id)] {
            let pointer = Pointer::new(CONFIG_NAMESPACE, kind, id.as_str());
            state.remove_any("", &pointer).expect("remove");
        }
        gone::<LinkStatus>(&state, "br0").await;
        gone::<AddressSpec>(&state, "br0/10.8.0.1/24").await;
        gone::<LinkSpec>(&state, "br0").await;
        runtime.stop().await;
    });
}

/// A route that changed while nobody looked, and then went, is removed as the kernel has it.
#[test]
fn a_route_that_is_not_quite_the_wanted_one_is_removed_all_the_same() {
    in_namespaces(async |folder| {
        cable();
        let state = state(registry());
        let address = AddressSpec::new(
            Layer::Configuration,
            "eth0",
            "10.9.0.15/24".parse().expect("a net"),
            Scope::GLOBAL,
        );
        let dst = Some("10.20.0.0/16".parse().expect("a net"));
        let route = RouteSpec {
            mtu: 1300,
            ..RouteSpec::new(Layer::Configuration, dst, Some(SERVER.into()), "eth0", 1024)
        };
        let link = LinkSpec::up(Layer::Configuration, "eth0");
        let id = |id: &str| layered_id(Layer::Configuration, id);
        let route_id = route.id();
        state.put_in("", CONFIG_NAMESPACE, &id("eth0"), link).expect("put");
        state.put_in("", CONFIG_NAMESPACE, &id(&address.id()), address).expect("put");
        state.put_in("", CONFIG_NAMESPACE, &id(&route_id), route.clone()).expect("put");
        let runtime = domain(&state, capabilities(true), folder);
        wait::<RouteStatus>(&state, &route_id, |row| row.is_some_and(|row| row.mtu == 1300)).await;
        runtime.stop().await;

        let changed = RouteSpec { mtu: 1200, protocol: RouteProtocol::BOOT, ..route };
        state.put("network.RouteMerge", &route_id, changed).expect("put");
        let layer = Pointer::new(CONFIG_NAMESPACE, RouteSpec::DEFINITION.kind, id(&route_id));
        state.remove_any("", &layer).expect("removed");
        let runtime = domain(&state, capabilities(true), folder);
        gone::<RouteStatus>(&state, &route_id).await;
        gone::<RouteSpec>(&state, &route_id).await;
        runtime.stop().await;
    });
}

#[test]
fn a_container_machine_adopts_what_its_launcher_made() {
    in_namespaces(async |folder| {
        cable();
        let mut links = Links::open().expect("netlink");
        links.set_up("lo").expect("up");
        links.set_up("eth0").expect("up");
        links.add_address("eth0", LEASED, 24).expect("an address");
        links.add_default_route(SERVER).expect("a route");
        rustix::system::sethostname(b"container-1").expect("a name");
        std::fs::create_dir_all(folder.join("etc")).expect("mkdir");
        std::fs::write(folder.join("etc/resolv.conf"), "nameserver 10.9.0.1\n").expect("write");
        let state = state(registry());
        let runtime = domain(&state, capabilities(false), folder);
        let ready = |row: Option<&NetworkStatus>| {
            row.is_some_and(|status| {
                status.address_ready && status.connectivity_ready && status.etc_files_ready
            })
        };
        wait(&state, "status", ready).await;
        let default = wait::<NodeAddress>(&state, "default", |row| row.is_some()).await;
        assert_eq!(
            default.spec.ips(),
            [std::net::IpAddr::V4(SERVER)],
            "the first of both ends, which are here"
        );
        wait::<HostnameStatus>(&state, "hostname", |row| {
            row.is_some_and(|row| row.hostname == "container-1")
        })
        .await;
        wait::<ResolverStatus>(&state, "resolvers", |row| row.is_some_and(|row| row.dns_servers == [SERVER]))
            .await;
        let link =
            "{apiVersion: v1alpha1, kind: LinkConfig, name: eth0, addresses: [{address: 10.8.0.1/24}]}";
        configure(&state, link);
        wait::<AddressStatus>(&state, "eth0/10.8.0.1/24", |row| row.is_some()).await;
        configure(&state, "");
        gone::<AddressStatus>(&state, "eth0/10.8.0.1/24").await;
        assert!(state.get::<AddressStatus>("eth0/10.9.0.15/24").is_some(), "what the launcher gave stays");
        runtime.stop().await;

        // A second life: what is written in /etc by now is not adopted as if the launcher had made it.
        let again = self::state(registry());
        let runtime = domain(&again, capabilities(false), folder);
        wait(&again, "status", ready).await;
        wait::<ResolverStatus>(&again, "resolvers", |row| row.is_some_and(|row| row.dns_servers == [SERVER]))
            .await;
        runtime.stop().await;
    });
}
