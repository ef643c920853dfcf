//! Has the tunnel take packets of the machines that were let in, and of those that wait to be.
//!
//! ```text
//! Link (held), PendingMachine (held) ──▶ tunnel ──▶ LinkStatus   (once packets are taken)
//! ```
//!
//! An item is a link, by its UUID, or a pending machine, by its key. Both may have one key: then the link says where
//! its packets go, and the peer goes with the last of both.
//!
//! The tunnel of a manager that was started again has no peer, and knows of none where it is. A machine that was
//! connected before is called where it was heard last: it notices that its session is gone only when it has something
//! to send.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use corten_fleet_resources::link::{InvalidLink, Link, LinkStatus, PendingMachine};
use corten_fleet_tunnel::{Peer, Tunnel};
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, View, controller};
use corten_wireguard::PublicKey;
use parking_lot::Mutex;

/// What may be done to the peers of the tunnel. Implemented for the tunnel and by a recording fake.
pub trait Peers: Send + Sync {
    /// Takes packets of a machine from now on.
    fn set(&self, peer: &Peer);
    /// Calls a machine where it was heard last, unless it was heard since the tunnel was opened.
    fn find(&self, key: &PublicKey, at: SocketAddr);
    /// Takes none any more.
    fn remove(&self, peer: &Peer);
}

impl Peers for Tunnel {
    fn set(&self, peer: &Peer) {
        self.set_peer(peer);
    }
    fn find(&self, key: &PublicKey, at: SocketAddr) {
        Self::find(self, key, at);
    }
    fn remove(&self, peer: &Peer) {
        self.remove_peer(peer);
    }
}

/// What an item wants of the tunnel; links weigh more than pending machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    is_link: bool,
    peer: Peer,
}

/// Who wants which peer.
#[derive(Debug, Default)]
struct Account {
    by_item: BTreeMap<String, Wish>,
    by_key: BTreeMap<PublicKey, BTreeMap<String, Wish>>,
}

impl Account {
    /// The peer that is in the tunnel for a key.
    fn effective(&self, key: &PublicKey) -> Option<Peer> {
        let wishes = self.by_key.get(key)?;
        let link = wishes.values().find(|wish| wish.is_link);
        link.or_else(|| wishes.values().next()).map(|wish| wish.peer)
    }

    fn set(&mut self, item: &str, wish: Option<Wish>) {
        if let Some(before) = self.by_item.remove(item)
            && let Some(wishes) = self.by_key.get_mut(&before.peer.key)
        {
            wishes.remove(item);
            if wishes.is_empty() {
                self.by_key.remove(&before.peer.key);
            }
        }
        if let Some(wish) = wish {
            self.by_item.insert(item.to_owned(), wish);
            self.by_key.entry(wish.peer.key).or_default().insert(item.to_owned(), wish);
        }
    }
}

/// Keeps the peers of the tunnel.
#[derive(Debug)]
pub struct LinkStatusController<P> {
    peers: P,
    account: Mutex<Account>,
}

controller!(impl<P: Peers + 'static> LinkStatusController<P>, "LinkStatusController",
    inputs: [strong Link, strong PendingMachine],
    outputs: [exclusive LinkStatus]);

impl<P: Peers> LinkStatusController<P> {
    /// A controller of a tunnel without peers.
    pub fn new(peers: P) -> Self {
        Self { peers, account: Mutex::default() }
    }
}

/// What is done about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assign {
    /// The item is given this peer, or none.
    wanted: Option<Wish>,
    /// Where the machine was heard last, if it was connected; not for one whose stream comes to the manager.
    last: Option<SocketAddr>,
}

impl<P: Peers + 'static> ItemDriver for LinkStatusController<P> {
    type Observed = Option<Wish>;
    type Op = Assign;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, _: &View<Self>) -> anyhow::Result<Option<Wish>> {
        Ok(self.account.lock().by_item.get(item).copied())
    }

    fn plan(&self, item: &str, view: &View<Self>, observed: &Option<Wish>) -> Plan<Self, Assign> {
        let mut plan = Plan::new();
        let wanted = wish(item, view).unwrap_or_else(|error| {
            // Whoever wrote it must write it again; until then nothing of the machine is taken.
            plan.missing(error.to_string());
            None
        });
        if wanted != *observed {
            plan.op(Assign { wanted, last: last_place(item, view) });
        } else if let Some(Wish { peer, .. }) = wanted {
            plan.put(item, status(item, &peer));
        }
        plan
    }

    async fn apply(&self, item: &str, Assign { wanted, last }: Assign) -> anyhow::Result<()> {
        // Under the lock, so that no other item with the same key comes between.
        let mut account = self.account.lock();
        let before = account.by_item.get(item).map(|wish| wish.peer.key);
        let keys = [before, wanted.map(|wish| wish.peer.key)];
        let was: Vec<Option<Peer>> = keys.iter().map(|key| account.effective(&(*key)?)).collect();
        account.set(item, wanted);
        for (key, was) in keys.iter().zip(was) {
            let is = key.and_then(|key| account.effective(&key));
            if let Some(gone) = was.filter(|gone| Some(*gone) != is) {
                self.peers.remove(&gone);
            }
            if let Some(peer) = is.filter(|peer| Some(*peer) != was) {
                self.peers.set(&peer);
            }
        }
        if let Some((wish, at)) = wanted.zip(last) {
            self.peers.find(&wish.peer.key, at);
        }
        Ok(())
    }
}

/// What an item wants of the tunnel; nothing when it is gone or going.
fn wish<P: Peers + 'static>(
    item: &str,
    view: &View<LinkStatusController<P>>,
) -> Result<Option<Wish>, InvalidLink> {
    if let Some(link) = view.get::<Link>(item) {
        return peer(link.address()?, &link.node_public_key, link.virtual_peer()?, item)
            .map(|peer| Some(Wish { is_link: true, peer }));
    }
    let Some(pending) = view.get::<PendingMachine>(item) else { return Ok(None) };
    peer(pending.address()?, &pending.node_public_key, pending.virtual_peer()?, item)
        .map(|peer| Some(Wish { is_link: false, peer }))
}

/// Where a machine is called that was connected when the manager stopped.
fn last_place<P: Peers + 'static>(item: &str, view: &View<LinkStatusController<P>>) -> Option<SocketAddr> {
    let link = view.get::<Link>(item)?;
    let is_called = link.connected && link.virtual_addr_port.is_empty();
    is_called.then(|| link.last_endpoint.parse().ok()).flatten()
}

fn peer(
    address: std::net::Ipv6Addr,
    key: &str,
    virtual_peer: Option<std::net::SocketAddrV6>,
    item: &str,
) -> Result<Peer, InvalidLink> {
    let invalid = |_| InvalidLink::new(item, "node public key", key, "32 bytes in base64");
    Ok(Peer { key: key.parse().map_err(invalid)?, address, virtual_peer })
}

fn status(item: &str, peer: &Peer) -> LinkStatus {
    LinkStatus {
        node_subnet: format!("{}/64", peer.address),
        node_public_key: peer.key.to_string(),
        virtual_addr_port: peer.virtual_peer.map(|address| address.to_string()).unwrap_or_default(),
        link_id: item.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_resource::ControllerState;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    const OTHER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

    /// What was done, in order.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>);

    impl Recorder {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock())
        }
    }

    impl Peers for Recorder {
        fn set(&self, peer: &Peer) {
            self.0.lock().push(format!("set {}", peer.address));
        }
        fn find(&self, _: &PublicKey, at: SocketAddr) {
            self.0.lock().push(format!("find at {at}"));
        }
        fn remove(&self, peer: &Peer) {
            self.0.lock().push(format!("remove {}", peer.address));
        }
    }

    fn link(address: &str, key: &str) -> AnyResource {
        let (node_subnet, node_public_key) = (format!("{address}/64"), key.to_owned());
        resource("uuid", Link { node_subnet, node_public_key, ..Link::default() })
    }

    fn pending(address: &str) -> AnyResource {
        let (node_subnet, node_public_key) = (format!("{address}/64"), KEY.to_owned());
        resource(KEY, PendingMachine { node_subnet, node_public_key, ..PendingMachine::default() })
    }

    fn started(recorder: &Recorder) -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(LinkStatusController::new(recorder.clone()));
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_says_that_packets_are_taken_and_a_new_key_takes_the_place_of_the_old() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.put(link("fdae::7", KEY));
        runtime.quiet().await;
        let key = || runtime.state().get::<LinkStatus>("uuid").map(|status| status.node_public_key.clone());
        assert_eq!(key().as_deref(), Some(KEY));
        runtime.put(link("fdae::7", OTHER));
        runtime.quiet().await;
        assert_eq!(recorder.take(), ["set fdae::7", "remove fdae::7", "set fdae::7"]);
        assert_eq!(key().as_deref(), Some(OTHER));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_link_and_a_pending_machine_with_one_key_the_link_says_where_and_the_last_takes_the_peer_along()
     {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.put(link("fdae::7", KEY));
        runtime.put(pending("fdae::8"));
        runtime.quiet().await;
        assert_eq!(recorder.take().last().map(String::as_str), Some("set fdae::7"));
        runtime.state().remove::<PendingMachine>("", KEY).expect("torn down");
        runtime.quiet().await;
        runtime.state().remove::<PendingMachine>("", KEY).expect("destroyed");
        runtime.quiet().await;
        assert!(recorder.take().is_empty(), "the link has the same key");
        runtime.state().remove::<Link>("", "uuid").expect("torn down");
        runtime.quiet().await;
        assert_eq!(recorder.take(), ["remove fdae::7"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_was_connected_is_called_where_it_was_heard_last_and_once() {
        const LAST: &str = "192.0.2.1:50180";
        for (connected, virtual_peer, expected) in
            [(true, "", Some("find at 192.0.2.1:50180")), (false, "", None), (true, "[fdaf::9]:50889", None)]
        {
            let recorder = Recorder::default();
            let runtime = started(&recorder);
            let spec = |last: &str| Link {
                node_subnet: "fdae::7/64".to_owned(),
                node_public_key: KEY.to_owned(),
                virtual_addr_port: virtual_peer.to_owned(),
                last_endpoint: last.to_owned(),
                connected,
                ..Link::default()
            };
            runtime.put(resource("uuid", spec(LAST)));
            runtime.quiet().await;
            let said = recorder.take();
            assert_eq!(said.first().map(String::as_str), Some("set fdae::7"));
            assert_eq!(said.get(1).map(String::as_str), expected);
            // It moves: the tunnel knows that better.
            runtime.put(resource("uuid", spec("192.0.2.2:1")));
            runtime.quiet().await;
            assert!(recorder.take().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_that_cannot_be_a_peer_says_why_and_has_none() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.put(link("fdae::7", KEY));
        runtime.quiet().await;
        runtime.put(link("fdae::7", "no key"));
        runtime.quiet().await;
        let status = runtime.status("LinkStatusController/uuid").expect("a status of its own");
        assert_eq!(status.state, ControllerState::Waiting);
        assert!(status.reason.contains("\"no key\" is not 32 bytes in base64"), "{}", status.reason);
        assert_eq!(recorder.take(), ["set fdae::7", "remove fdae::7"]);
        assert!(runtime.state().get::<LinkStatus>("uuid").is_none());
    }
}
