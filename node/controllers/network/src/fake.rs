//! A kernel in memory for tests of the controllers that apply: it does what it is told and can be looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{bail, ensure};
use corten_resources::network::{
    AddressSpec, AddressStatus, LinkFlags, LinkSpec, LinkStatus, LinkType, RouteSpec, RouteStatus,
    RoutingRuleStatus,
};
use corten_sys::ethtool::Device as Ethernet;
use corten_sys::wireguard::{Device, DeviceChange, clamped};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::kernel::{Sight, Snapshot};
use crate::kernel_addresses::AddressChanges;
use crate::kernel_bonds::BondChange;
use crate::kernel_ethernet::{EthernetChange, EthernetDevices};
use crate::kernel_links::{LinkChange, LinkChanges};
use crate::kernel_routes::{OutLinks, RouteChanges};
use crate::kernel_rules::RuleChanges;
use crate::kernel_wireguard::WireguardLinks;

/// The kernel's network of a test.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    network: Arc<Mutex<Snapshot>>,
    /// WireGuard by link.
    devices: Arc<Mutex<BTreeMap<String, Device>>>,
    /// What the Ethernet device wakes by.
    wakes: Arc<Mutex<u32>>,
}

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
        let network = Arc::new(Mutex::new(Snapshot { links, addresses, ..Snapshot::default() }));
        Self { network, ..Self::default() }
    }

    /// The network now.
    pub fn look(&self) -> Snapshot {
        self.network.lock().clone()
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
        let mut network = self.network.lock();
        let link = network.links.values_mut().find(|link| link.index == index);
        let link = link.ok_or_else(|| anyhow::anyhow!("no link {index}"))?;
        link.mtu = change.mtu.unwrap_or(link.mtu);
        link.master_index = change.master.unwrap_or(link.master_index);
        if let Some(up) = change.up {
            link.flags = if up { LinkFlags::UP } else { LinkFlags::default() };
        }
        Ok(())
    }
    async fn change_bond(&self, index: u32, _: &BondChange) -> anyhow::Result<()> {
        ensure!(self.network.lock().link_name(index).is_some(), "no link {index}");
        Ok(())
    }
    async fn create_link(&self, spec: &LinkSpec, parent: u32) -> anyhow::Result<()> {
        let mut network = self.network.lock();
        let index = network.links.values().map(|link| link.index).max().unwrap_or(0) + 1;
        let status = LinkStatus { index, link_index: parent, kind: spec.kind.clone(), ..Default::default() };
        network.links.insert(spec.name.clone(), status);
        Ok(())
    }
    async fn delete_link(&self, index: u32) -> anyhow::Result<()> {
        self.network.lock().links.retain(|_, link| link.index != index);
        Ok(())
    }
}

impl WireguardLinks for FakeKernel {
    async fn device(&self, name: &str) -> anyhow::Result<Option<Device>> {
        let is_there = self.look().links.contains_key(name);
        Ok(is_there.then(|| self.devices.lock().get(name).cloned().unwrap_or_default()))
    }
    async fn change_device(&self, name: &str, change: DeviceChange) -> anyhow::Result<()> {
        let mut devices = self.devices.lock();
        let device = devices.entry(name.to_owned()).or_default();
        device.private_key = change.private_key.as_ref().map(clamped).or(device.private_key.take());
        device.listen_port = change.listen_port.unwrap_or(device.listen_port);
        device.firewall_mark = change.firewall_mark.unwrap_or(device.firewall_mark);
        Ok(())
    }
}

/// One device that wakes by nothing, whatever its name, and never by its cable.
impl EthernetDevices for FakeKernel {
    async fn ethernet(&self, _: &str) -> anyhow::Result<Ethernet> {
        Ok(Ethernet { wake_on_lan: Some(*self.wakes.lock()), ..Ethernet::default() })
    }
    async fn change_ethernet(&self, name: &str, change: EthernetChange) -> anyhow::Result<()> {
        let EthernetChange::WakeOnLan(modes) = change else { bail!("{name} has nothing else") };
        *self.wakes.lock() = modes & !1;
        Ok(())
    }
}

impl RuleChanges for FakeKernel {
    async fn add_rule(&self, rule: &RoutingRuleStatus) -> anyhow::Result<()> {
        self.network.lock().rules.push(rule.clone());
        Ok(())
    }
    async fn delete_rule(&self, rule: &RoutingRuleStatus) -> anyhow::Result<()> {
        self.network.lock().rules.retain(|row| row != rule);
        Ok(())
    }
}

impl AddressChanges for FakeKernel {
    async fn add_address(&self, index: u32, spec: &AddressSpec) -> anyhow::Result<()> {
        let mut network = self.network.lock();
        ensure!(network.link_name(index) == Some(spec.link_name.as_str()), "no link {index}");
        network.addresses.push(address(&spec.link_name, &spec.address.to_string()));
        Ok(())
    }
    async fn delete_address(&self, index: u32, net: IpNet) -> anyhow::Result<()> {
        let mut network = self.network.lock();
        let name = network.link_name(index).unwrap_or_default().to_owned();
        network.addresses.retain(|row| row.link_name != name || row.address != net);
        Ok(())
    }
}

impl RouteChanges for FakeKernel {
    async fn add_route(&self, spec: &RouteSpec, out: &OutLinks) -> anyhow::Result<()> {
        let route = RouteStatus {
            family: spec.family,
            dst: spec.dst,
            src: spec.src,
            gateway: spec.gateway,
            out_link_index: out.link,
            out_link_name: spec.out_link_name.clone(),
            table: spec.table,
            priority: spec.priority,
            scope: spec.scope,
            route_type: spec.route_type,
            protocol: spec.protocol,
            mtu: spec.mtu,
            next_hops: spec.next_hops.clone(),
            ..RouteStatus::default()
        };
        let mut network = self.network.lock();
        network.routes.retain(|row| row.id() != route.id());
        network.routes.push(route);
        Ok(())
    }
    /// Like the kernel it compares every part and does not mind when there is no such route.
    async fn delete_route(&self, route: &RouteStatus) -> anyhow::Result<()> {
        self.network.lock().routes.retain(|row| row != route);
        Ok(())
    }
}
