//! Links: from netlink messages to statuses, and the changes we make to them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use anyhow::{Context, bail};
use corten_resource::{Enumeration as _, HardwareAddr};
use corten_resources::network::{
    BridgeMaster, BridgeVlan, Duplex, LinkFlags, LinkSpec, LinkStatus, LinkType, OperationalState, Port,
    RouteTable, Stp, Vlan, VlanProtocol, VrfMaster,
};
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVlan, InfoVrf, LinkAttribute, LinkInfo, LinkMessage,
    Prop, State, VlanProtocol as WireProtocol,
};
use rtnetlink::{
    LinkBond, LinkBridge, LinkDummy, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan, LinkVrf,
    LinkWireguard,
};

use crate::kernel::{Kernel, errno, refused};
use crate::kernel_bonds::{self, BondChange};

/// Where the kernel shows devices.
const SYSFS: &str = "/sys/class/net";
const VETH: &str = "veth";

/// What to change on a link; nothing leaves a property alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Up or down.
    pub up: Option<bool>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// Hardware address.
    pub hardware_addr: Option<HardwareAddr>,
    /// Index of the bond, bridge or VRF to belong to, 0 for none.
    pub master: Option<u32>,
    /// Takes multicast or not.
    pub multicast: Option<bool>,
    /// Another name, empty for none.
    pub alias: Option<String>,
    /// Settings of a bridge.
    pub bridge: BridgeChange,
}

/// Settings of a bridge; nothing leaves one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeChange {
    /// The spanning tree runs.
    pub stp: Option<bool>,
    /// Tags are looked at.
    pub vlan_filtering: Option<bool>,
}

/// Name and status of a link.
pub(crate) fn status(message: &LinkMessage) -> Option<(String, LinkStatus)> {
    let mut name = None;
    let mut link = LinkStatus {
        index: message.header.index,
        link_type: LinkType(u16::from(message.header.link_layer_type).into()),
        flags: LinkFlags(message.header.flags.bits()),
        port: Port::Other,
        duplex: Duplex::Unknown,
        ..LinkStatus::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::IfAlias(text) => link.alias.clone_from(text),
            LinkAttribute::PropList(properties) => {
                link.alt_names = properties.iter().filter_map(alt_name).collect()
            }
            LinkAttribute::Link(index) => link.link_index = *index,
            LinkAttribute::Address(bytes) => link.hardware_addr = HardwareAddr(bytes.clone()),
            LinkAttribute::PermAddress(bytes) => link.permanent_addr = HardwareAddr(bytes.clone()),
            LinkAttribute::Broadcast(bytes) => link.broadcast_addr = HardwareAddr(bytes.clone()),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Qdisc(text) => link.queue_disc.clone_from(text),
            LinkAttribute::Controller(index) => link.master_index = *index,
            LinkAttribute::Carrier(carrier) => link.link_state = *carrier != 0,
            LinkAttribute::OperState(state) => link.operational_state = operational(*state),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| take_info(&mut link, info)),
            _ => {}
        }
    }
    let name = name?;
    take_sysfs(&mut link, &Path::new(SYSFS).join(&name));
    Some((name, link))
}

/// Fills in the names of links that others are told by their index: the other ends of virtual cables, and the links
/// that bonds prefer.
pub(crate) fn name_others(links: &mut BTreeMap<String, LinkStatus>) {
    let names: BTreeMap<u32, (String, u32)> =
        links.iter().map(|(name, link)| (link.index, (name.clone(), link.link_index))).collect();
    for link in links.values_mut() {
        let other = |index: u32| names.get(&index).map(|(name, _)| name.clone()).unwrap_or_default();
        if let Some(index) = link.bond_master.primary_index {
            link.bond_master.primary = other(index);
        }
        // An end in another namespace has an index of that one; only two that point at each other are of one cable.
        if link.kind == VETH && names.get(&link.link_index).is_some_and(|(_, back)| *back == link.index) {
            link.veth.peer_name = other(link.link_index);
        }
    }
}

fn alt_name(property: &Prop) -> Option<String> {
    match property {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
}

fn operational(state: State) -> OperationalState {
    match state {
        State::NotPresent => OperationalState::NotPresent,
        State::Down => OperationalState::Down,
        State::LowerLayerDown => OperationalState::LowerLayerDown,
        State::Testing => OperationalState::Testing,
        State::Dormant => OperationalState::Dormant,
        State::Up => OperationalState::Up,
        _ => OperationalState::Unknown,
    }
}

fn take_info(link: &mut LinkStatus, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => link.kind = kind.to_string(),
        LinkInfo::PortKind(kind) => link.slave_kind = kind.to_string(),
        LinkInfo::Data(InfoData::Vlan(data)) => link.vlan = vlan(data),
        LinkInfo::Data(InfoData::Bridge(data)) => link.bridge_master = bridge(data),
        LinkInfo::Data(InfoData::Bond(data)) => link.bond_master = kernel_bonds::read(data),
        LinkInfo::Data(InfoData::Vrf(data)) => link.vrf_master = data.iter().find_map(vrf),
        _ => {}
    }
}

fn vlan(data: &[InfoVlan]) -> Vlan {
    let mut vlan = Vlan { protocol: VlanProtocol::Dot1Q, ..Vlan::default() };
    for item in data {
        match item {
            InfoVlan::Id(id) => vlan.id = (*id).into(),
            InfoVlan::Protocol(WireProtocol::Ieee8021Ad) => vlan.protocol = VlanProtocol::Dot1Ad,
            _ => {}
        }
    }
    vlan
}

fn bridge(data: &[InfoBridge]) -> BridgeMaster {
    let mut bridge = BridgeMaster::default();
    for item in data {
        match item {
            InfoBridge::StpState(state) => bridge.stp = Stp { enabled: u32::from(*state) != 0 },
            InfoBridge::VlanFiltering(filtering) => {
                bridge.vlan = BridgeVlan { filtering_enabled: *filtering }
            }
            _ => {}
        }
    }
    bridge
}

fn vrf(item: &InfoVrf) -> Option<VrfMaster> {
    match item {
        InfoVrf::TableId(table) => Some(VrfMaster { table: RouteTable(*table) }),
        _ => None,
    }
}

/// What netlink does not tell: bus, driver, ids, speed. Absent for links made in software.
fn take_sysfs(link: &mut LinkStatus, folder: &Path) {
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned());
    let target = |file: &str| {
        let path = std::fs::read_link(folder.join(file)).ok()?;
        Some(path.file_name()?.to_string_lossy().into_owned())
    };
    link.bus_path = target("device").unwrap_or_default();
    link.driver = target("device/driver").unwrap_or_default();
    link.vendor_id = text("device/vendor").unwrap_or_default();
    link.product_id = text("device/device").unwrap_or_default();
    if !link.vendor_id.is_empty() && !link.product_id.is_empty() {
        let digits = |id: &str| id.trim_start_matches("0x").to_ascii_uppercase();
        link.pci_id = format!("{}:{}", digits(&link.vendor_id), digits(&link.product_id));
    }
    link.speed_mbit =
        text("speed").ok().and_then(|speed| speed.parse().ok()).filter(|speed| *speed > 0).unwrap_or(0);
    link.duplex = match text("duplex").as_deref() {
        Ok("full") => Duplex::Full,
        Ok("half") => Duplex::Half,
        _ => Duplex::Unknown,
    };
}

/// What may be done to the kernel's links.
pub trait LinkChanges: Send + Sync {
    /// Changes the link with this index.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn change_link(&self, index: u32, change: &LinkChange)
    -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Changes the settings of the bond with this index.
    ///
    /// # Errors
    /// When the kernel refuses, for example while the bond is up.
    fn change_bond(&self, index: u32, change: &BondChange)
    -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Makes the link in software that `spec` describes, on top of the link with index `parent` if it needs one.
    ///
    /// # Errors
    /// When its kind is not known here or the kernel refuses.
    fn create_link(&self, spec: &LinkSpec, parent: u32) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Removes a link that was made in software; one that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn delete_link(&self, index: u32) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl LinkChanges for Kernel {
    async fn change_link(&self, index: u32, change: &LinkChange) -> anyhow::Result<()> {
        let mut message = LinkUnspec::new_with_index(index);
        if let Some(up) = change.up {
            message = if up { message.up() } else { message.down() };
        }
        if let Some(mtu) = change.mtu {
            message = message.mtu(mtu);
        }
        if let Some(address) = &change.hardware_addr {
            message = message.address(address.0.clone());
        }
        if let Some(master) = change.master {
            message = message.controller(master);
        }
        if let Some(multicast) = change.multicast {
            message = message.multicast(multicast);
        }
        if let Some(alias) = &change.alias {
            message = message.alias(alias);
        }
        let result = self.handle.link().set(message.build()).execute().await;
        result.map_err(|error| refused(&error)).context("failed to change a link")?;
        if change.bridge == BridgeChange::default() {
            return Ok(());
        }
        self.change_data(index, InfoKind::Bridge, bridge_data(change.bridge)).await
    }

    async fn change_bond(&self, index: u32, change: &BondChange) -> anyhow::Result<()> {
        self.change_data(index, InfoKind::Bond, InfoData::Bond(change.0.clone())).await
    }

    async fn create_link(&self, spec: &LinkSpec, parent: u32) -> anyhow::Result<()> {
        let name = spec.name.as_str();
        let message = match spec.kind.as_str() {
            "dummy" => LinkDummy::new(name).build(),
            "bridge" => LinkBridge::new(name).build(),
            "vlan" => {
                let id = u16::try_from(spec.vlan.id).context("a VLAN id has 12 bits")?;
                let protocol = match spec.vlan.protocol {
                    VlanProtocol::Dot1Ad => WireProtocol::Ieee8021Ad,
                    _ => WireProtocol::Ieee8021Q,
                };
                LinkVlan::new(name, parent, id).protocol(protocol).build()
            }
            "bond" => {
                let mode = u8::try_from(spec.bond_master.mode.number()).unwrap_or(0);
                LinkBond::new(name).mode(mode.into()).build()
            }
            "vrf" => {
                let vrf = spec.vrf_master.as_ref().context("a VRF has a routing table")?;
                LinkVrf::new(name, vrf.table.0).build()
            }
            VETH => LinkVeth::new(name, &spec.veth.peer_name).build(),
            "wireguard" => LinkWireguard::new(name).build(),
            other => bail!("links of kind {other:?} cannot be made"),
        };
        match self.handle.link().add(message).execute().await {
            Err(error) if errno(&error) == rustix::io::Errno::EXIST.raw_os_error() => Ok(()),
            result => {
                result.map_err(|error| refused(&error)).with_context(|| format!("failed to make link {name}"))
            }
        }
    }

    async fn delete_link(&self, index: u32) -> anyhow::Result<()> {
        match self.handle.link().del(index).execute().await {
            Err(error) if errno(&error) == rustix::io::Errno::NODEV.raw_os_error() => Ok(()),
            result => result.map_err(|error| refused(&error)).context("failed to remove a link"),
        }
    }
}

impl Kernel {
    /// Changes settings that only links of one kind have. Only a request for a new link may carry them; without the flag
    /// that makes it, it changes the one that is there.
    async fn change_data(&self, index: u32, kind: InfoKind, data: InfoData) -> anyhow::Result<()> {
        let text = kind.to_string();
        let message =
            LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind).set_info_data(data).index(index);
        let result = self.handle.link().change(message.build()).execute().await;
        result.map_err(|error| refused(&error)).with_context(|| format!("failed to change a {text}"))
    }
}

fn bridge_data(bridge: BridgeChange) -> InfoData {
    let stp = bridge.stp.map(|stp| if stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled });
    let filtering = bridge.vlan_filtering.map(InfoBridge::VlanFiltering);
    InfoData::Bridge(stp.map(InfoBridge::StpState).into_iter().chain(filtering).collect())
}

/// Whether links of this kind can be made here.
#[must_use]
pub fn can_create(kind: &str) -> bool {
    ["dummy", "bridge", "vlan", "bond", "vrf", VETH, "wireguard"].contains(&kind)
}
