//! The kernel's network over netlink: dumps of links, addresses, routes and rules, and the few changes we make.
//!
//! This folder's `kernel*` files are the only ones that name the netlink crates, which break their interface every
//! couple of months. Everything is read anew each time: a lost notification costs a moment, never the truth.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use corten_base::{Task, spawn};
use corten_resources::network::{AddressStatus, LinkStatus, RouteStatus, RoutingRuleStatus};
use corten_sys::netlink::Generic;
use corten_sys::wireguard::WIREGUARD;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{IpVersion, MulticastGroup, new_connection, new_multicast_connection};

use crate::kernel_wireguard::{self, WireguardLinks as _};
use crate::{kernel_addresses, kernel_links, kernel_routes, kernel_rules};

/// Objects read from one dump; a host with more than this is not a Kubernetes node.
const OBJECTS_MAX: usize = 65_536;

/// A connection to the kernel of the network namespace it was made in.
#[derive(Clone)]
pub struct Kernel {
    pub(crate) handle: rtnetlink::Handle,
    /// The kernel refuses a second dump on a socket that is in the middle of one.
    dumps: Arc<tokio::sync::Mutex<()>>,
    /// What is told over generic netlink: WireGuard and Ethernet devices.
    pub(crate) generic: Arc<Mutex<Generic>>,
    _connection: Arc<Task>,
}

/// The network as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Links by name.
    pub links: BTreeMap<String, LinkStatus>,
    /// Addresses, each with the name of its link.
    pub addresses: Vec<AddressStatus>,
    /// Routes of all tables.
    pub routes: Vec<RouteStatus>,
    /// Rules by which tables are asked.
    pub rules: Vec<RoutingRuleStatus>,
}

impl Snapshot {
    /// Name of the link with this index.
    #[must_use]
    pub fn link_name(&self, index: u32) -> Option<&str> {
        self.links.iter().find(|(_, link)| link.index == index).map(|(name, _)| name.as_str())
    }
}

/// What the kernel's network is like. With `LinkChanges`, `AddressChanges`, `RouteChanges`, `RuleChanges` and
/// `WireguardLinks` implemented for the real kernel and by a fake for tests.
pub trait Sight: Send + Sync {
    /// All links by name.
    ///
    /// # Errors
    /// When the dump fails.
    fn links(&self) -> impl Future<Output = anyhow::Result<BTreeMap<String, LinkStatus>>> + Send;

    /// Everything at once.
    ///
    /// # Errors
    /// When a dump fails.
    fn snapshot(&self) -> impl Future<Output = anyhow::Result<Snapshot>> + Send;
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kernel")
    }
}

impl Kernel {
    /// Connects.
    ///
    /// # Errors
    /// When the kernel refuses a netlink socket.
    pub fn connect() -> io::Result<Self> {
        let (connection, handle, _) = new_connection()?;
        let generic = Arc::new(Mutex::new(Generic::open()?));
        Ok(Self {
            handle,
            dumps: Arc::default(),
            generic,
            _connection: Arc::new(spawn("netlink", connection)),
        })
    }

    async fn dump_links(&self) -> anyhow::Result<BTreeMap<String, LinkStatus>> {
        let messages = self.handle.link().get().execute().take(OBJECTS_MAX);
        let messages: Vec<_> = messages.try_collect().await.context("failed to list links")?;
        let mut links: BTreeMap<_, _> = messages.iter().filter_map(kernel_links::status).collect();
        kernel_links::name_others(&mut links);
        for (name, link) in links.iter_mut().filter(|(_, link)| link.kind == WIREGUARD) {
            // Nobody needs what it tells; a link that cannot be read is shown without it.
            if let Ok(Some(device)) = self.device(name).await {
                link.wireguard = kernel_wireguard::status(&device);
            }
        }
        Ok(links)
    }

    async fn dump_rules(&self) -> anyhow::Result<Vec<RoutingRuleStatus>> {
        let mut rules = Vec::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            let messages = self.handle.rule().get(version).execute().take(OBJECTS_MAX);
            match messages.try_collect::<Vec<_>>().await {
                Ok(messages) => rules.extend(messages.iter().map(kernel_rules::status)),
                // A kernel with one table only has no rules.
                Err(error) if errno(&error) == rustix::io::Errno::OPNOTSUPP.raw_os_error() => {}
                Err(error) => return Err(refused(&error)).context("failed to list routing rules"),
            }
        }
        Ok(rules)
    }

    /// Calls `changed` at each notification about links, addresses, routes and rules, until the socket fails.
    ///
    /// # Errors
    /// When there is no socket any more.
    pub async fn watch(changed: impl Fn()) -> io::Result<()> {
        let (connection, _handle, mut messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ])?;
        let _connection = spawn("netlink-watch", connection);
        changed();
        while messages.next().await.is_some() {
            changed();
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl Sight for Kernel {
    async fn links(&self) -> anyhow::Result<BTreeMap<String, LinkStatus>> {
        let _one = self.dumps.lock().await;
        self.dump_links().await
    }

    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let _one = self.dumps.lock().await;
        let mut snapshot = Snapshot { links: self.dump_links().await?, ..Snapshot::default() };
        let addresses = self.handle.address().get().execute().take(OBJECTS_MAX);
        let addresses: Vec<_> = addresses.try_collect().await.context("failed to list addresses")?;
        snapshot.addresses =
            addresses.iter().filter_map(|message| kernel_addresses::status(message, &snapshot)).collect();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            let routes = self.handle.route().get(filter).execute().take(OBJECTS_MAX);
            let routes: Vec<_> = routes.try_collect().await.context("failed to list routes")?;
            let routes = routes.iter().filter_map(|message| kernel_routes::status(message, &snapshot));
            let routes: Vec<_> = routes.collect();
            snapshot.routes.extend(routes);
        }
        snapshot.rules = self.dump_rules().await?;
        Ok(snapshot)
    }
}

/// The error number of a refused request.
pub(crate) fn errno(error: &rtnetlink::Error) -> i32 {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.raw_code().saturating_neg(),
        _ => 0,
    }
}

/// A refused request, with the kernel's reason in words.
pub(crate) fn refused(error: &rtnetlink::Error) -> anyhow::Error {
    match errno(error) {
        0 => anyhow::anyhow!("{error:?}"),
        number => io::Error::from_raw_os_error(number).into(),
    }
}
