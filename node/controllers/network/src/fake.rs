//! A kernel in memory for tests of the controllers that apply: it does what it is told and can be looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::ensure;
use corten_resources::network::{
    AddressSpec, AddressStatus, LinkFlags, LinkSpec, LinkStatus, LinkType, RouteSpec, RouteStatus,
};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::kernel::{Sight, Snapshot};
use crate::kernel_addresses::AddressChanges;
use crate::kernel_links::{LinkChange, LinkChanges};
use crate::kernel_routes::RouteChanges;

/// The kernel's network of a test.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel(Arc<Mutex<Snapshot>>);

/// A link that is up.
pub fn link(name: &str, index: u32) -> (String, LinkStatus) {
    let status = LinkStatus {
        index,
        mtu: 1500,
        link_type: LinkType::ETHER,
        flags: LinkFlags::UP,
        ..Default::default()
    };
    (name.to_owned(), status)
}

/// An address of a link.
pub fn address(link: &str, net: &str) -> AddressStatus {
    AddressStatus { link_name: link.to_owned(), address: net.parse().expect("a net"), ..Default::default() }
}

impl FakeKernel {
    /// A kernel with these links and addresses.
    pub fn with(
        links: impl IntoIterator<Item = (String, LinkStatus)>,
        addresses: impl IntoIterator<Item = AddressStatus>,
    ) -> Self {
        let (links, addresses) = (links.into_iter().collect(), addresses.into_iter().collect());
        Self(Arc::new(Mutex::new(Snapshot { links, addresses, routes: Vec::new() })))
    }

    /// The network now.
    pub fn look(&self) -> Snapshot {
        self.0.lock().clone()
    }
}

impl Sight for FakeKernel {
    async fn links(&self) -> anyhow::Result<BTreeMap<String, LinkStatus>> {
        Ok(self.look().links)
    }
    async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Ok(self.look())
    }
}

impl LinkChanges for FakeKernel {
    async fn change_link(&self, index: u32, change: &LinkChange) -> anyhow::Result<()> {
        let mut network = self.0.lock();
        let link = network.links.values_mut().find(|link| link.index == index);
        let link = link.ok_or_else(|| anyhow::anyhow!("no link {index}"))?;
        link.mtu = change.mtu.unwrap_or(link.mtu);
        link.master_index = change.master.unwrap_or(link.master_index);
        if let Some(up) = change.up {
            link.flags = if up { LinkFlags::UP } else { LinkFlags::default() };
        }
        Ok(())
    }
    async fn create_link(&self, spec: &LinkSpec, parent: u32) -> anyhow::Result<()> {
        let mut network = self.0.lock();
        let index = network.links.values().map(|link| link.index).max().unwrap_or(0) + 1;
        let status = LinkStatus { index, link_index: parent, kind: spec.kind.clone(), ..Default::default() };
        network.links.insert(spec.name.clone(), status);
        Ok(())
    }
    async fn delete_link(&self, index: u32) -> anyhow::Result<()> {
        self.0.lock().links.retain(|_, link| link.index != index);
        Ok(())
    }
}

impl AddressChanges for FakeKernel {
    async fn add_address(&self, index: u32, spec: &AddressSpec) -> anyhow::Result<()> {
        let mut network = self.0.lock();
        ensure!(network.link_name(index) == Some(spec.link_name.as_str()), "no link {index}");
        network.addresses.push(address(&spec.link_name, &spec.address.to_string()));
        Ok(())
    }
    async fn delete_address(&self, index: u32, net: IpNet) -> anyhow::Result<()> {
        let mut network = self.0.lock();
        let name = network.link_name(index).unwrap_or_default().to_owned();
        network.addresses.retain(|row| row.link_name != name || row.address != net);
        Ok(())
    }
}

impl RouteChanges for FakeKernel {
    async fn add_route(&self, spec: &RouteSpec, link: u32) -> anyhow::Result<()> {
        let route = RouteStatus {
            family: spec.family,
            dst: spec.dst,
            src: spec.src,
            gateway: spec.gateway,
            out_link_index: link,
            out_link_name: spec.out_link_name.clone(),
            table: spec.table,
            priority: spec.priority,
            scope: spec.scope,
            route_type: spec.route_type,
            protocol: spec.protocol,
            mtu: spec.mtu,
            ..RouteStatus::default()
        };
        let mut network = self.0.lock();
        network.routes.retain(|row| row.id() != route.id());
        network.routes.push(route);
        Ok(())
    }
    /// Like the kernel it compares every part and does not mind when there is no such route.
    async fn delete_route(&self, route: &RouteStatus) -> anyhow::Result<()> {
        self.0.lock().routes.retain(|row| row != route);
        Ok(())
    }
}
