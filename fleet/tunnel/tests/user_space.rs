//! Tunnels without any namespace: a manager and machines whose TCP is done in user space, over UDP of the host.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use corten_base::Rng;
use corten_fleet_tunnel::{Peer, StackChoice, Tunnel, TunnelListener, TunnelOptions, TunnelStream};
use corten_wireguard::{PrivateKey, PublicKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const PORT: u16 = 8090;
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for whatever would come on this host.
const MOMENT: Duration = Duration::from_secs(2);

const fn address(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfdae, 0x41e4, 0x649b, 0x9303, 0, 0, 0, host)
}

const HUB: Ipv6Addr = address(1);

fn at(address: Ipv6Addr) -> SocketAddrV6 {
    SocketAddrV6::new(address, PORT, 0, 0)
}

fn options(seed: u64, address: Ipv6Addr, stack: StackChoice) -> (PublicKey, TunnelOptions) {
    let key = PrivateKey::generate(&Rng::seeded(seed));
    let listen = ([127, 0, 0, 1], 0).into();
    let program = PathBuf::from("/nowhere/corten-fleet");
    let public = key.public();
    (public, TunnelOptions { key, address, listen, stack, program, rng: Rng::seeded(seed) })
}

async fn end(seed: u64, address: Ipv6Addr) -> (PublicKey, Tunnel) {
    let (key, options) = options(seed, address, StackChoice::UserSpace);
    (key, Tunnel::open(&options).await.expect("it needs nothing of the host"))
}

/// A manager with the machines that have these addresses.
async fn joined(machines: &[Ipv6Addr]) -> (Tunnel, Vec<(Peer, Tunnel)>) {
    let (hub_key, hub) = end(1, HUB).await;
    let mut all = Vec::new();
    for (seed, machine) in (2..).zip(machines) {
        let (key, tunnel) = end(seed, *machine).await;
        let peer = Peer { key, address: *machine, virtual_peer: None };
        hub.set_peer(&peer);
        tunnel.set_peer(&Peer { key: hub_key, address: HUB, virtual_peer: None });
        tunnel.find(&hub_key, hub.local_addr().expect("an address"));
        all.push((peer, tunnel));
    }
    (hub, all)
}

async fn connected(machine: &Tunnel, listener: &mut TunnelListener) -> (TunnelStream, TunnelStream) {
    let both = async { tokio::join!(machine.connect(at(HUB)), listener.accept()) };
    let (theirs, ours) = timeout(PATIENCE, both).await.expect("in time");
    (ours.expect("a connection").0, theirs.expect("connected"))
}

/// A mebibyte both ways at once.
async fn exchange(one: TunnelStream, two: TunnelStream) {
    async fn side(stream: TunnelStream) {
        let data: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_be_bytes).collect();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut read = Vec::new();
        let send = async {
            writer.write_all(&data).await.expect("written");
            writer.shutdown().await.expect("shut down");
        };
        let (received, ()) = tokio::join!(reader.read_to_end(&mut read), send);
        received.expect("read");
        assert!(read == data, "{} of {} bytes came", read.len(), data.len());
    }
    let both = async { tokio::join!(side(one), side(two)) };
    timeout(PATIENCE, both).await.expect("in time");
}

#[tokio::test]
async fn a_manager_and_a_machine_reach_each_other_while_another_one_never_reads() {
    let (hub, machines) = joined(&[address(2), address(3)]).await;
    let [(_, one), (_, other)] = machines.as_slice() else { panic!("two machines") };
    let mut listener = hub.listen(PORT).await.expect("a port");
    let (mut ours, _silent) = connected(other, &mut listener).await;
    let flood = async {
        loop {
            ours.write_all(&[7; 4096]).await.expect("written");
        }
    };
    let work = async {
        let (ours, theirs) = connected(one, &mut listener).await;
        assert_eq!(ours.peer_addr().expect("an address").ip(), address(2));
        exchange(ours, theirs).await;
        let mut api = one.listen(PORT).await.expect("a port");
        let (ours, theirs) = tokio::join!(hub.connect(at(address(2))), api.accept());
        exchange(ours.expect("connected"), theirs.expect("a connection").0).await;
    };
    tokio::select! {
        () = flood => {}
        () = work => {}
    }
}

#[tokio::test]
async fn machines_do_not_reach_each_other() {
    let (hub, machines) = joined(&[address(2), address(3)]).await;
    let [(_, one), (_, other)] = machines.as_slice() else { panic!("two machines") };
    let mut ours = hub.listen(PORT).await.expect("a port");
    connected(one, &mut ours).await;
    connected(other, &mut ours).await;
    let mut listener = other.listen(PORT).await.expect("a port");
    // Its own table lets it send to the other one through the manager.
    let (hub_key, _) = options(1, HUB, StackChoice::UserSpace);
    one.set_peer(&Peer { key: hub_key, address: address(3), virtual_peer: None });
    let reached = async { tokio::join!(one.connect(at(address(3))), listener.accept()) };
    assert!(timeout(MOMENT, reached).await.is_err(), "nothing comes through");
    one.set_peer(&Peer { key: hub_key, address: HUB, virtual_peer: None });
    connected(one, &mut ours).await;
}

#[tokio::test]
async fn a_machine_that_is_removed_loses_its_connections_at_once() {
    let (hub, machines) = joined(&[address(2), address(3)]).await;
    let [(peer, one), (_, other)] = machines.as_slice() else { panic!("two machines") };
    let mut listener = hub.listen(PORT).await.expect("a port");
    let (mut ours, mut theirs) = connected(one, &mut listener).await;
    let kept = connected(other, &mut listener).await;
    hub.remove_peer(peer);
    let mut byte = [0];
    assert!(timeout(MOMENT, ours.read(&mut byte)).await.expect("at once").is_err());
    assert!(timeout(MOMENT, theirs.read(&mut byte)).await.expect("it is told").is_err());
    assert_eq!(hub.status(&peer.key), None);
    exchange(kept.0, kept.1).await;
}

#[tokio::test]
async fn a_host_without_the_namespace_has_a_stack_in_user_space_unless_the_kernel_is_asked_for() {
    let (_, options) = options(1, HUB, StackChoice::Auto);
    let tunnel = Tunnel::open(&options).await.expect("a tunnel");
    assert!(!tunnel.has_kernel_stack());
    let options = TunnelOptions { stack: StackChoice::Kernel, ..options };
    Tunnel::open(&options).await.expect_err("there is no program to hold a namespace");
}
