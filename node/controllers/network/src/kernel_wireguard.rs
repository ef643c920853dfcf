//! WireGuard: from what the kernel tells of a link to its status, and the change that makes it as wanted.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::{Secret, blocking};
use corten_resources::network::{Wireguard, WireguardPeer, WireguardPeerStatus, WireguardStatus};
use corten_sys::wireguard::{self, Device, DeviceChange, KEY, Peer, PeerChange, PeerWish, clamped};
use ipnet::IpNet;

use crate::kernel::Kernel;

/// Time for a call of the kernel, which may load a module.
const DEADLINE: Duration = Duration::from_secs(30);

/// What everybody may see of a link.
pub(crate) fn status(device: &Device) -> WireguardStatus {
    let text = |key: &[u8; KEY]| STANDARD.encode(key);
    let peers = device.peers.iter().map(|peer| WireguardPeerStatus {
        public_key: text(&peer.public_key),
        endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default(),
        persistent_keepalive_interval: Duration::from_secs(peer.keepalive_seconds.into()),
        allowed_ips: peer.allowed.iter().filter_map(|(ip, length)| IpNet::new(*ip, *length).ok()).collect(),
    });
    WireguardStatus {
        public_key: device.public_key.as_ref().map(text).unwrap_or_default(),
        listen_port: device.listen_port.into(),
        firewall_mark: device.firewall_mark.into(),
        peers: peers.collect(),
    }
}

fn key(text: &str) -> anyhow::Result<Secret<[u8; KEY]>> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.as_slice().try_into().ok());
    bytes.map(Secret::new).context("a WireGuard key is the base64 of 32 bytes")
}

fn wish(peer: &WireguardPeer) -> anyhow::Result<PeerWish> {
    let endpoint = match peer.endpoint.as_str() {
        "" => None,
        text => Some(text.parse().with_context(|| format!("{text:?} is not an address with a port"))?),
    };
    let preshared = Some(&peer.preshared_key).filter(|text| !text.is_empty());
    Ok(PeerWish {
        public_key: *key(&peer.public_key)?.reveal(),
        preshared_key: preshared.map(|text| key(text)).transpose()?,
        endpoint,
        keepalive_seconds: peer.persistent_keepalive_interval.as_secs().try_into().unwrap_or(u16::MAX),
        allowed: peer.allowed_ips.iter().map(|net| (net.network(), net.prefix_len())).collect(),
    })
}

/// Leaves each network with the last peer that has it, as the kernel does; otherwise two peers would take it from each other
/// for ever.
fn share_out(wishes: &mut [PeerWish]) {
    let mut taken = BTreeSet::new();
    for wish in wishes.iter_mut().rev() {
        wish.allowed.retain(|network| taken.insert(*network));
    }
}

/// Whether a peer is as wished. Where it is, it may tell by itself: an address is set when there is none yet, or when
/// another one is wished than was set before.
fn is_as_wished(peer: &Peer, wish: &PeerWish, set: Option<SocketAddr>) -> bool {
    let sorted = |networks: &wireguard::Networks| {
        let mut networks = networks.clone();
        networks.sort_unstable();
        networks
    };
    let is_placed = wish.endpoint.is_none()
        || peer.endpoint == wish.endpoint
        || (peer.endpoint.is_some() && set.is_none_or(|set| Some(set) == wish.endpoint));
    is_placed
        && peer.preshared_key == wish.preshared_key
        && peer.keepalive_seconds == wish.keepalive_seconds
        && sorted(&peer.allowed) == sorted(&wish.allowed)
}

/// How a link becomes the wanted one; nothing when it is. `set` is what was wanted when it was changed last.
///
/// # Errors
/// When a key or an address of the specification is none.
pub fn change(
    device: &Device,
    wanted: &Wireguard,
    set: Option<&Wireguard>,
) -> anyhow::Result<Option<DeviceChange>> {
    let private_key = key(&wanted.private_key).context("privateKey")?;
    let is_own_key = device.private_key.as_ref() == Some(&clamped(&private_key));
    let port = u16::try_from(wanted.listen_port).context("listenPort")?;
    let mark = u32::try_from(wanted.firewall_mark).context("firewallMark")?;
    let mut wishes: Vec<PeerWish> = wanted.peers.iter().map(wish).collect::<Result<_, _>>()?;
    share_out(&mut wishes);
    let is_wished = |peer: &&Peer| wishes.iter().any(|wish| wish.public_key == peer.public_key);
    let others = device.peers.iter().filter(|peer| !is_wished(peer));
    let mut peers: Vec<_> = others.map(|peer| PeerChange::Remove(peer.public_key)).collect();
    for (wish, spec) in wishes.iter().zip(&wanted.peers) {
        let before = set.and_then(|set| set.peers.iter().find(|peer| peer.public_key == spec.public_key));
        let endpoint = before.and_then(|before| before.endpoint.parse().ok());
        let peer = device.peers.iter().find(|peer| peer.public_key == wish.public_key);
        if !peer.is_some_and(|peer| is_as_wished(peer, wish, endpoint)) {
            peers.push(PeerChange::Set(wish.clone()));
        }
    }
    let change = DeviceChange {
        private_key: Some(private_key).filter(|_| !is_own_key),
        // Without a wish the kernel has chosen one.
        listen_port: Some(port).filter(|port| *port != 0 && *port != device.listen_port),
        firewall_mark: Some(mark).filter(|mark| *mark != device.firewall_mark),
        peers,
    };
    Ok((change != DeviceChange::default()).then_some(change))
}

/// What may be seen of the kernel's WireGuard links, and done to them.
pub trait WireguardLinks: Send + Sync {
    /// A link with its keys; nothing when there is none of this name and kind.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn device(&self, name: &str) -> impl Future<Output = anyhow::Result<Option<Device>>> + Send;

    /// Changes a link.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn change_device(
        &self,
        name: &str,
        change: DeviceChange,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl WireguardLinks for Kernel {
    async fn device(&self, name: &str) -> anyhow::Result<Option<Device>> {
        let (generic, owned) = (self.generic.clone(), name.to_owned());
        let device = blocking(DEADLINE, move || wireguard::device(&mut generic.lock(), &owned)).await?;
        device.with_context(|| format!("failed to read WireGuard of {name}"))
    }

    async fn change_device(&self, name: &str, change: DeviceChange) -> anyhow::Result<()> {
        let (generic, owned) = (self.generic.clone(), name.to_owned());
        let set = move || wireguard::change(&mut generic.lock(), &owned, &change);
        blocking(DEADLINE, set).await?.with_context(|| format!("failed to set WireGuard of {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(byte: u8) -> String {
        STANDARD.encode([byte; KEY])
    }

    fn wanted() -> Wireguard {
        let peer = WireguardPeer {
            public_key: text(9),
            endpoint: "192.0.2.1:51820".into(),
            persistent_keepalive_interval: Duration::from_secs(25),
            allowed_ips: vec!["10.1.0.0/16".parse().expect("net"), "fd00::/8".parse().expect("net")],
            ..WireguardPeer::default()
        };
        Wireguard { private_key: text(7), firewall_mark: 32, peers: vec![peer], ..Wireguard::default() }
    }

    /// The device after a change of an empty one.
    fn device(change: &DeviceChange) -> Device {
        let peers = change.peers.iter().filter_map(|peer| match peer {
            PeerChange::Set(wish) => Some(Peer {
                public_key: wish.public_key,
                preshared_key: wish.preshared_key.clone(),
                endpoint: wish.endpoint,
                keepalive_seconds: wish.keepalive_seconds,
                last_handshake: None,
                allowed: wish.allowed.iter().rev().copied().collect(),
            }),
            PeerChange::Remove(_) => None,
        });
        Device {
            private_key: change.private_key.as_ref().map(clamped),
            public_key: Some([1; KEY]),
            listen_port: change.listen_port.unwrap_or(40_000),
            firewall_mark: change.firewall_mark.unwrap_or(0),
            peers: peers.collect(),
        }
    }

    fn between(device: &Device, wanted: &Wireguard, set: Option<&Wireguard>) -> Option<DeviceChange> {
        change(device, wanted, set).expect("a change")
    }

    #[test]
    fn a_link_is_set_once() {
        let first = between(&Device::default(), &wanted(), None).expect("all of it");
        assert_eq!((first.listen_port, first.firewall_mark, first.peers.len()), (None, Some(32), 1));
        let device = device(&first);
        assert_eq!(between(&device, &wanted(), Some(&wanted())), None, "networks have no order");
        let status = status(&device);
        assert_eq!((status.public_key, status.listen_port), (text(1), 40_000));
        assert_eq!(status.peers[0].endpoint, "192.0.2.1:51820");
    }

    #[test]
    fn peers_that_stay_are_left_alone_and_others_go() {
        let mut device = device(&between(&Device::default(), &wanted(), None).expect("all of it"));
        device.peers.push(Peer { public_key: [8; KEY], ..Peer::default() });
        let change = between(&device, &wanted(), None).expect("one peer");
        assert_eq!(
            change,
            DeviceChange { peers: vec![PeerChange::Remove([8; KEY])], ..DeviceChange::default() }
        );
    }

    #[test]
    fn a_network_that_two_peers_have_is_the_last_ones() {
        let peer = |byte: u8, networks: &[&str]| WireguardPeer {
            public_key: text(byte),
            allowed_ips: networks.iter().map(|net| net.parse().expect("net")).collect(),
            ..WireguardPeer::default()
        };
        let peers = vec![peer(8, &["10.1.0.0/16", "10.2.0.0/16"]), peer(9, &["10.1.0.0/16", "10.1.0.0/16"])];
        let wanted = Wireguard { peers, ..wanted() };
        let first = between(&Device::default(), &wanted, None).expect("all of it");
        let device = device(&first);
        let count = |peer: &Peer| peer.allowed.len();
        assert_eq!(device.peers.iter().map(count).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(between(&device, &wanted, None), None);
    }

    #[test]
    fn a_peer_that_moved_is_left_there_until_another_address_is_wished() {
        let mut device = device(&between(&Device::default(), &wanted(), None).expect("all of it"));
        device.peers[0].endpoint = "198.51.100.7:1".parse().ok();
        assert_eq!(between(&device, &wanted(), Some(&wanted())), None);
        assert_eq!(between(&device, &wanted(), None), None, "as after a restart of this program");
        let mut other = wanted();
        other.peers[0].endpoint = "192.0.2.2:51820".into();
        let change = between(&device, &other, Some(&wanted())).expect("another place");
        let [PeerChange::Set(wish)] = change.peers.as_slice() else { panic!("one peer") };
        assert_eq!(wish.endpoint, "192.0.2.2:51820".parse().ok());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let wrong = Wireguard { private_key: "hunter2".into(), ..wanted() };
        let error = format!("{:#}", change(&Device::default(), &wrong, None).expect_err("no key"));
        assert!(error.contains("privateKey") && !error.contains("hunter2"), "{error}");
    }
}
