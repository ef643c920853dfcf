//! The WireGuard link: how it should be, how it is, and what may be done to it.

use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_wireguard::{PrivateKey, PublicKey};
use ipnet::Ipv6Net;

use crate::url::ApiAddress;

/// Name of the link whose datagrams go by UDP.
pub const UDP_LINK: &str = "siderolink";
/// Name of the link whose datagrams are carried inside gRPC.
pub const GRPC_LINK: &str = "siderolinktun";
/// Largest packet of either link, bytes (fleet.md 1.2).
pub const MTU: u32 = 1280;
/// Each end sends something as often, so that the way stays open (fleet.md 1.2).
pub const KEEPALIVE: Duration = Duration::from_secs(25);
/// A manager that has not shaken hands for so long is not reached (fleet.md 1.2).
pub const STALE: Duration = Duration::from_secs(275);

/// What carries the datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// UDP.
    Udp,
    /// A stream of the manager's gRPC service.
    Grpc {
        /// Where the service is.
        api: ApiAddress,
        /// What stands for the machine there.
        virtual_address: SocketAddr,
    },
}

/// The link as it should be. Where the manager is at the moment is told apart: it may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// What carries the datagrams.
    pub carrier: Carrier,
    /// Key of the machine.
    pub public_key: PublicKey,
    /// Address of the machine with the length of the network.
    pub address: Ipv6Net,
    /// Key of the manager.
    pub peer: PublicKey,
    /// Address of the manager, all that is let through.
    pub server: Ipv6Addr,
}

impl LinkSettings {
    /// Name of the link.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.carrier {
            Carrier::Udp => UDP_LINK,
            Carrier::Grpc { .. } => GRPC_LINK,
        }
    }
}

/// The link as it is.
#[derive(Clone, Debug, Default)]
pub struct LinkState {
    /// There is a link, perhaps one of an earlier program.
    pub exists: bool,
    /// What was set and still holds; nothing for a link of an earlier program, or one that somebody changed.
    pub settings: Option<LinkSettings>,
    /// The key that the kernel's link has.
    pub key: Option<PrivateKey>,
    /// Since the last handshake; nothing before the first one.
    pub handshake_age: Option<Duration>,
}

impl LinkState {
    /// Whether the manager was heard of lately.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.exists && self.handshake_age.is_some_and(|age| age < STALE)
    }
}

/// What may be done to the machine's one WireGuard link. Implemented for the real machine and by a fake for tests.
pub trait Links: Send + Sync + 'static {
    /// The link as it is.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn state(&self) -> impl Future<Output = anyhow::Result<LinkState>> + Send;

    /// Makes the link as wanted, with the manager at `endpoint`; a link with another carrier goes. Through gRPC there
    /// is no endpoint. Address, MTU and being up are the network domain's.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set(
        &self,
        key: &PrivateKey,
        settings: &LinkSettings,
        endpoint: Option<SocketAddr>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Takes the link away; one that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn remove(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}
