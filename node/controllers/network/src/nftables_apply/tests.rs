//! Plans over a fake table; and the kernel as judge: datagrams between two networks arrive or do not.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use corten_resource::testing::resource;
use corten_resource::{AnyResource, Outcome, Transform as _};
use corten_resources::config::MachineConfig;
use corten_resources::network::{ClampMss, NfTablesRule, NodeAddress};
use corten_sys::network::Links;
use parking_lot::Mutex;

use super::*;
use crate::config_firewall::Firewall;
use crate::neighbour::Neighbour;

/// A kernel in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Chains>>);

impl Tables for Memory {
    async fn read(&self, table: &'static str) -> anyhow::Result<Chains> {
        assert_eq!(table, TABLE);
        Ok(self.0.lock().clone())
    }

    async fn replace(&self, table: Table) -> anyhow::Result<()> {
        let chains: BTreeMap<_, _> =
            table.chains.iter().map(|(name, chain)| (name.clone(), chain.programmed())).collect();
        *self.0.lock() = (!chains.is_empty()).then_some(chains);
        Ok(())
    }
}

/// A kernel without nftables.
struct Nothing;

impl Tables for Nothing {
    async fn read(&self, _: &'static str) -> anyhow::Result<Chains> {
        anyhow::bail!("not supported")
    }

    async fn replace(&self, _: Table) -> anyhow::Result<()> {
        anyhow::bail!("not supported")
    }
}

/// The chains that a configuration makes on a machine with this address.
fn chains(yaml: &str) -> Vec<AnyResource> {
    let addresses = vec!["10.9.0.1/24".parse().expect("an address")];
    let resources = [
        resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }),
        resource(NodeAddress::ROUTED, NodeAddress { addresses, ..NodeAddress::default() }),
    ];
    let plan = Firewall.plan(&View::of(resources, UNIX_EPOCH));
    let rows = plan.outputs::<NfTablesChain>();
    rows.iter().map(|row| resource(&row.metadata.id, row.spec.clone())).collect()
}

/// Observes, plans and applies until nothing is left to do; how often something was done comes out.
async fn settle<K: Tables + 'static>(kernel: K, rows: &[AnyResource]) -> usize {
    let mut driver = NftablesApply::new(kernel);
    let view = View::of(rows.iter().cloned(), UNIX_EPOCH);
    for done in 0..4 {
        let observed = driver.observe(&view).await.expect("the table");
        let plan = driver.plan(&view, &observed);
        let Some(table) = plan.ops().first() else { return done };
        driver.apply(table.clone()).await.expect("programmed");
    }
    panic!("what was programmed is never what is read back");
}

/// Programs the kernel of this thread's network as a configuration says, and reads it back.
pub(crate) async fn program(yaml: &str) {
    assert_eq!(settle(KernelTables, &chains(yaml)).await, 1, "{yaml}");
}

pub(crate) const BLOCK: &str = "apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n";
const RULE: &str = "---
apiVersion: v1alpha1
kind: NetworkRuleConfig
name: open
portSelector: {ports: [4000-4001], protocol: udp}
ingress: [{subnet: 10.9.0.0/24, except: 10.9.0.3/32}]
";

#[tokio::test]
async fn the_table_is_programmed_once_and_after_a_change_of_others() {
    let kernel = Memory::default();
    let rows = chains(BLOCK);
    assert_eq!(settle(kernel.clone(), &rows).await, 1);
    assert_eq!(settle(kernel.clone(), &rows).await, 0);
    if let Some(chain) = kernel.0.lock().as_mut().and_then(|chains| chains.get_mut("ingress")) {
        chain.comments.pop();
    }
    assert_eq!(settle(kernel.clone(), &rows).await, 1);
    assert_eq!(settle(kernel.clone(), &chains(&format!("{BLOCK}{RULE}"))).await, 1);
    assert_eq!(settle(kernel.clone(), &[]).await, 1);
    assert_eq!(*kernel.0.lock(), None);
}

#[tokio::test]
async fn a_kernel_without_nftables_is_told_of_when_a_firewall_is_wanted() {
    assert_eq!(settle(Nothing, &[]).await, 0);
    let view = View::of(chains(BLOCK), UNIX_EPOCH);
    assert!(NftablesApply::new(Nothing).observe(&view).await.is_err());
}

#[test]
fn a_chain_that_cannot_be_programmed_fails_by_name_and_changes_nothing() {
    let rule = NfTablesRule { clamp_mss: Some(ClampMss { mtu: 1420 }), ..NfTablesRule::default() };
    let rows = [resource("kubespan", NfTablesChain { rules: vec![rule], ..NfTablesChain::default() })];
    let plan = NftablesApply::new(Memory::default()).plan(&View::of(rows, UNIX_EPOCH), &None);
    assert_eq!(plan.ops(), []);
    assert!(matches!(plan.outcome(), Outcome::Failed(why) if why.contains("kubespan")));
}

const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FRIEND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);
/// Long for a datagram over a cable.
const PATIENCE: Duration = Duration::from_millis(300);
/// A cable carries nothing until the kernel has noticed both its ends, which takes a second or more on a host with work.
const TRIES: usize = 20;

/// A neighbour with two addresses.
fn neighbour() -> Neighbour {
    let neighbour = Neighbour::of_this_thread("nftables");
    let mut links = Links::open().expect("links");
    links.add_address("eth0", MACHINE, 24).expect("an address");
    links.set_up("eth0").and_then(|()| links.set_up("lo")).expect("up");
    let there = || {
        let mut links = Links::open()?;
        links.add_address("eth0", FRIEND, 24)?;
        links.add_address("eth0", STRANGER, 24)?;
        links.set_up("eth0")
    };
    neighbour.run(there).expect("its end");
    neighbour
}

/// Whether a datagram from an address of the neighbour arrives at a port of this machine.
fn arrives(neighbour: &Neighbour, from: Ipv4Addr, port: u16) -> bool {
    let receiver = UdpSocket::bind((MACHINE, port)).expect("bind");
    receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let send = || {
        let sender = UdpSocket::bind((from, 0)).expect("bind there");
        sender.send_to(b"hello", SocketAddr::from((MACHINE, port))).expect("send");
    };
    neighbour.run(send);
    receiver.recv(&mut [0; 16]).is_ok()
}

/// Whether an answer of the neighbour arrives at the port of this machine that asked.
fn is_answered(neighbour: &Neighbour, by: Ipv4Addr, port: u16) -> bool {
    let asker = UdpSocket::bind((MACHINE, port)).expect("bind");
    asker.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let answer = || {
        let other = UdpSocket::bind((by, 53)).expect("bind there");
        other.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        asker.send_to(b"question", (by, 53)).expect("ask");
        let Ok((_, from)) = other.recv_from(&mut [0; 16]) else { return };
        other.send_to(b"answer", from).expect("answer");
    };
    neighbour.run(answer);
    asker.recv(&mut [0; 16]).is_ok()
}

#[test]
fn packets_pass_or_not_as_the_configuration_says() {
    let work = || {
        let neighbour = neighbour();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().expect("a runtime");
        let program = |yaml: &str| runtime.block_on(program(yaml));
        let passes = |cases: [(Ipv4Addr, u16); 4]| cases.map(|(from, port)| arrives(&neighbour, from, port));
        let cases = [(FRIEND, 4000), (STRANGER, 4001), (FRIEND, 5000), (STRANGER, 5000)];

        assert!((0..TRIES).any(|_| passes(cases) == [true; 4]), "the cable carries nothing");
        program(RULE.trim_start_matches("---\n"));
        assert_eq!(passes(cases), [true, false, true, true]);
        assert!(
            is_answered(&neighbour, STRANGER, 4001),
            "a rule about a port keeps out what the machine asked for"
        );
        program(&format!("{BLOCK}{RULE}"));
        assert_eq!(passes(cases), [true, false, false, false]);
        assert!(is_answered(&neighbour, STRANGER, 4001), "an answer is kept out");
        program("");
        assert_eq!(passes(cases), [true; 4]);
    };
    std::thread::scope(|scope| scope.spawn(work).join()).expect("no panic");
}
