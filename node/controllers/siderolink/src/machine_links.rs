//! The machine's WireGuard link: of the kernel where it has one, in user space otherwise.
//!
//! ```text
//! UDP   ──▶ kernel's link `siderolink`, or TUN link `siderolink` with the engine
//! gRPC  ──▶ TUN link `siderolinktun` with the engine
//! ```
//! Whether the kernel has WireGuard is found out once, by trying. Its link outlives this program, with its key; one in
//! user space does not.
//!
//! The kernel tells the time of day of the last handshake. A clock that is set meanwhile must not make the manager look
//! lost, or heard while it is lost, so that the age is counted from when the handshake was seen.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::{Clock, Secret, blocking};
use corten_sys::netlink::Generic;
use corten_sys::network::Links as KernelLinks;
use corten_sys::wireguard::{self, Device, DeviceChange, PeerChange, PeerWish};
use corten_wireguard::PrivateKey;
use rustix::io::Errno;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::link::{Carrier, KEEPALIVE, LinkSettings, LinkState, Links, UDP_LINK};
use crate::userspace::UserSpace;

/// Time for calls of the kernel, which may load a module.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bits of an IPv6 address.
const ADDRESS_BITS: u8 = 128;

/// What is known about the link.
#[derive(Default)]
struct Held {
    /// What was set last.
    settings: Option<LinkSettings>,
    /// The link in user space, if it is there.
    user: Option<UserSpace>,
    /// Whether the kernel has WireGuard; nothing before it was tried.
    kernel_has: Option<bool>,
    /// The last handshake of the kernel's link.
    handshake: Option<Handshake>,
}

/// A handshake as the kernel tells it.
#[derive(Clone, Copy, Debug)]
struct Handshake {
    /// Time of day.
    at: SystemTime,
    /// When it was seen first, and how old it was then.
    seen: (Instant, Duration),
    /// When it was looked at last.
    looked: Instant,
}

impl Handshake {
    /// What is known of the handshake that the kernel tells now.
    fn next(before: Option<Self>, at: SystemTime, now: SystemTime) -> Self {
        let looked = Instant::now();
        let age = now.duration_since(at).unwrap_or_default();
        let seen = match before {
            Some(before) if before.at == at => before.seen,
            // It came since the last look, whatever the clock says.
            Some(before) => (looked, age.min(looked.duration_since(before.looked))),
            // It may be of an earlier program.
            None => (looked, age),
        };
        Self { at, seen, looked }
    }

    fn age(&self) -> Duration {
        let (since, age) = self.seen;
        age + self.looked.duration_since(since)
    }
}

/// The real link. Clones are the same.
#[derive(Clone)]
pub struct MachineLinks {
    held: Arc<Mutex<Held>>,
    clock: Clock,
}

impl MachineLinks {
    /// Nothing is known yet. The clock is that of the kernel's handshakes.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { held: Arc::default(), clock }
    }

    /// The kernel's link as it is.
    async fn of_kernel(&self, settings: Option<LinkSettings>) -> anyhow::Result<LinkState> {
        let read = || wireguard::device(&mut Generic::open()?, UDP_LINK);
        let device = blocking(DEADLINE, read).await?;
        let Some(device) = device.context("cannot read the WireGuard link")? else {
            return Ok(LinkState::default());
        };
        let last = device.peers.iter().filter_map(|peer| peer.last_handshake).max();
        let mut held = self.held.lock().await;
        held.handshake = last.map(|at| Handshake::next(held.handshake, at, self.clock.now()));
        Ok(LinkState {
            exists: true,
            settings: settings.filter(|settings| is_as_set(&device, settings)),
            key: device.private_key.as_ref().and_then(|key| STANDARD.encode(key.reveal()).parse().ok()),
            handshake_age: held.handshake.as_ref().map(Handshake::age),
        })
    }
}

/// Whether the kernel's link has these keys, this one peer, and lets only the manager through.
fn is_as_set(device: &Device, settings: &LinkSettings) -> bool {
    let [peer] = device.peers.as_slice() else { return false };
    device.public_key == Some(settings.public_key.0)
        && peer.public_key == settings.peer.0
        && peer.allowed == [(IpAddr::V6(settings.server), ADDRESS_BITS)]
        && u64::from(peer.keepalive_seconds) == KEEPALIVE.as_secs()
}

impl Held {
    /// Sets the kernel's link; false when the kernel has none.
    async fn set_in_kernel(
        &mut self,
        key: &PrivateKey,
        settings: &LinkSettings,
        endpoint: Option<SocketAddr>,
    ) -> anyhow::Result<bool> {
        if self.kernel_has == Some(false) {
            return Ok(false);
        }
        let bytes: [u8; 32] = STANDARD.decode(key.reveal())?.as_slice().try_into()?;
        let key = Secret::new(bytes);
        let peer = PeerWish {
            public_key: settings.peer.0,
            preshared_key: None,
            endpoint,
            keepalive_seconds: KEEPALIVE.as_secs().try_into()?,
            allowed: vec![(settings.server.into(), ADDRESS_BITS)],
        };
        let set = move || if create()? { configure(key, peer).map(|()| true) } else { Ok(false) };
        let made = blocking(DEADLINE, set).await?.context("cannot set the WireGuard link")?;
        if self.kernel_has.is_none() && !made {
            tracing::info!("the kernel has no WireGuard; the link to the manager is carried in user space");
        }
        self.kernel_has = Some(made);
        Ok(made)
    }

    /// Sets the link in user space, which stays when only the place of the manager has changed.
    async fn set_in_user_space(
        &mut self,
        key: &PrivateKey,
        settings: &LinkSettings,
        endpoint: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let usable = |user: &&mut UserSpace| user.fits(settings, endpoint) && !user.is_broken();
        if let Some(user) = self.user.as_mut().filter(usable) {
            user.call(endpoint);
            return Ok(());
        }
        self.close_user_space().await;
        self.user = Some(UserSpace::open(key, settings.clone(), endpoint).await?);
        Ok(())
    }

    async fn close_user_space(&mut self) {
        if let Some(user) = self.user.take() {
            user.close().await;
        }
    }
}

/// Makes the kernel's link; one that is there already is fine. False when the kernel has no such kind of link.
fn create() -> io::Result<bool> {
    let is = |error: &corten_sys::Error, errno: Errno| error.errno() == Some(errno.raw_os_error());
    match KernelLinks::open().and_then(|mut links| links.add_wireguard(UDP_LINK)) {
        Err(error) if is(&error, Errno::EXIST) => Ok(true),
        Err(error) if is(&error, Errno::OPNOTSUPP) => Ok(false),
        result => result.map(|()| true).map_err(io::Error::other),
    }
}

/// Gives the kernel's link its key and its one peer. A peer that is there keeps its session; others go.
fn configure(key: Secret<[u8; wireguard::KEY]>, peer: PeerWish) -> io::Result<()> {
    let mut generic = Generic::open()?;
    let before = wireguard::device(&mut generic, UDP_LINK)?.unwrap_or_default();
    let others = before.peers.iter().filter(|other| other.public_key != peer.public_key);
    let mut peers: Vec<_> = others.map(|other| PeerChange::Remove(other.public_key)).collect();
    peers.push(PeerChange::Set(peer));
    let change = DeviceChange { private_key: Some(key), peers, ..DeviceChange::default() };
    wireguard::change(&mut generic, UDP_LINK, &change)
}

/// Takes the kernel's link away; a missing one is fine.
async fn remove_from_kernel() -> anyhow::Result<()> {
    let remove = || KernelLinks::open()?.delete(UDP_LINK);
    Ok(blocking(DEADLINE, remove).await??)
}

impl Links for MachineLinks {
    async fn state(&self) -> anyhow::Result<LinkState> {
        let held = self.held.lock().await;
        let settings = held.settings.clone();
        let Some(user) = &held.user else {
            drop(held);
            return self.of_kernel(settings).await;
        };
        let exists = !user.is_broken();
        Ok(LinkState {
            exists,
            settings: settings.filter(|_| exists),
            key: None,
            handshake_age: user.handshake_age(),
        })
    }

    async fn set(
        &self,
        key: &PrivateKey,
        settings: &LinkSettings,
        endpoint: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let mut held = self.held.lock().await;
        held.settings = None;
        let is_udp = settings.carrier == Carrier::Udp;
        if is_udp && held.set_in_kernel(key, settings, endpoint).await? {
            held.close_user_space().await;
        } else {
            if !is_udp && held.kernel_has != Some(false) {
                remove_from_kernel().await?;
            }
            held.set_in_user_space(key, settings, endpoint).await?;
        }
        held.settings = Some(settings.clone());
        Ok(())
    }

    async fn remove(&self) -> anyhow::Result<()> {
        let mut held = self.held.lock().await;
        held.settings = None;
        held.close_user_space().await;
        remove_from_kernel().await
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use corten_base::Rng;
    use corten_sys::wireguard::Peer;

    use super::*;

    fn settings() -> LinkSettings {
        LinkSettings {
            carrier: Carrier::Udp,
            public_key: PrivateKey::generate(&Rng::seeded(1)).public(),
            address: "fdae::2/64".parse().expect("a network"),
            peer: PrivateKey::generate(&Rng::seeded(2)).public(),
            server: Ipv6Addr::LOCALHOST,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_makes_no_handshake_older_or_younger() {
        let second = Duration::from_secs(1);
        let at = SystemTime::UNIX_EPOCH + second * 1_700_000_000;
        // That of an earlier program; there is only the clock to go by.
        let first = Handshake::next(None, at, at + second * 20);
        assert_eq!(first.age(), second * 20);
        tokio::time::advance(second * 10).await;
        for now in [at + second * 3600, at - second * 3600] {
            assert_eq!(Handshake::next(Some(first), at, now).age(), second * 30);
        }
        // A new one, after the clock was set an hour ahead and an hour back.
        let new = at + second * 25;
        for (now, most) in [(new + second * 3600, 10), (new - second * 3600, 0)] {
            assert_eq!(Handshake::next(Some(first), new, now).age(), second * most);
        }
    }

    #[test]
    fn a_link_that_somebody_changed_is_not_as_set() {
        let settings = settings();
        let peer = Peer {
            public_key: settings.peer.0,
            keepalive_seconds: 25,
            allowed: vec![(settings.server.into(), ADDRESS_BITS)],
            ..Peer::default()
        };
        let device =
            |peers: Vec<Peer>| Device { public_key: Some(settings.public_key.0), peers, ..Device::default() };
        assert!(is_as_set(&device(vec![peer.clone()]), &settings));
        assert!(!is_as_set(&device(vec![peer.clone(), Peer::default()]), &settings));
        assert!(!is_as_set(&device(Vec::new()), &settings));
        let wider = Peer { allowed: vec![(settings.server.into(), 0)], ..peer };
        assert!(!is_as_set(&device(vec![wider]), &settings));
    }
}
