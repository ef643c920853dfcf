//! Links: physical interfaces and those made in software.

use corten_resource::{Enumeration, HardwareAddr, Object, Record, Resource};

use super::{
    BondMaster, Duplex, Layer, LinkFlags, LinkType, OperationalState, Port, RouteTable, Wireguard,
    WireguardStatus,
};

/// Tagging protocol of a VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum VlanProtocol {
    /// Not a VLAN.
    #[default]
    #[variant(0, "")]
    None,
    /// Customer tags.
    #[variant(33024, "802.1q")]
    Dot1Q,
    /// Service tags.
    #[variant(34984, "802.1ad")]
    Dot1Ad,
}

/// A VLAN on its parent.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Vlan {
    /// Tag.
    #[field(1, "vlanID")]
    pub id: u32,
    /// Tagging protocol.
    #[field(2, "vlanProtocol")]
    pub protocol: VlanProtocol,
}

/// Membership in a bond.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BondSlave {
    /// The bond.
    #[field(1, "masterName", omitempty)]
    pub master_name: String,
    /// Position in the bond.
    #[field(2, "slaveIndex", omitempty)]
    pub slave_index: i64,
}

/// Membership in a bridge.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BridgeSlave {
    /// The bridge.
    #[field(1, "masterName", omitempty)]
    pub master_name: String,
}

/// Membership in a VRF.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct VrfSlave {
    /// The VRF.
    #[field(1, "masterName", omitempty)]
    pub master_name: String,
}

/// Settings of a VRF.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct VrfMaster {
    /// Its routing table.
    #[field(1, "table")]
    pub table: RouteTable,
}

/// One end of a virtual cable.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Veth {
    /// The other end.
    #[field(1, "peerName", omitempty)]
    pub peer_name: String,
}

/// Spanning tree.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Stp {
    /// Runs.
    #[field(1, "enabled")]
    pub enabled: bool,
}

/// VLANs inside a bridge.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BridgeVlan {
    /// Tags are looked at.
    #[field(1, "filteringEnabled")]
    pub filtering_enabled: bool,
}

/// Settings of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BridgeMaster {
    /// Spanning tree.
    #[field(1, "stp", omitempty)]
    pub stp: Stp,
    /// VLANs.
    #[field(2, "vlan", omitempty)]
    pub vlan: BridgeVlan,
}

/// A link as wanted; the plain id is its name. Layers are merged field by field.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LinkSpecs.net.talos.dev", namespace = "network", sensitive)]
pub struct LinkSpec {
    /// Name.
    #[field(1, "name")]
    pub name: String,
    /// Made in software: created when missing, removed when no longer wanted.
    #[field(2, "logical")]
    pub logical: bool,
    /// Up.
    #[field(3, "up")]
    pub up: bool,
    /// Largest packet; 0 leaves it alone.
    #[field(4, "mtu")]
    pub mtu: u32,
    /// `vlan`, `bridge`, `dummy` …; empty for physical links.
    #[field(5, "kind")]
    pub kind: String,
    /// Hardware type.
    #[field(6, "type")]
    pub link_type: LinkType,
    /// Hardware address to set.
    #[field(15, "hardwareAddr", omitempty)]
    pub hardware_addr: HardwareAddr,
    /// Link below, for VLANs.
    #[field(7, "parentName", omitempty)]
    pub parent_name: String,
    /// Membership in a bond.
    #[field(8, "bondSlave", omitempty, inline)]
    pub bond_slave: BondSlave,
    /// Membership in a bridge.
    #[field(9, "bridgeSlave", omitempty)]
    pub bridge_slave: BridgeSlave,
    /// Membership in a VRF.
    #[field(18, "vrfSlave", omitempty)]
    pub vrf_slave: VrfSlave,
    /// VLAN settings.
    #[field(10, "vlan", omitempty)]
    pub vlan: Vlan,
    /// Bond settings.
    #[field(11, "bondMaster", omitempty)]
    pub bond_master: BondMaster,
    /// Bridge settings.
    #[field(12, "bridgeMaster", omitempty)]
    pub bridge_master: BridgeMaster,
    /// VRF settings.
    #[field(17, "vrfMaster", omitempty)]
    pub vrf_master: Option<VrfMaster>,
    /// WireGuard settings.
    #[field(13, "wireguard", omitempty)]
    pub wireguard: Wireguard,
    /// Settings of a virtual cable.
    #[field(19, "veth", omitempty)]
    pub veth: Veth,
    /// Where it comes from.
    #[field(14, "layer")]
    pub layer: Layer,
    /// Multicast; nothing leaves it alone.
    #[field(16, "multicast", omitempty)]
    pub multicast: Option<bool>,
}

impl LinkSpec {
    /// A link that is only set up.
    #[must_use]
    pub fn up(layer: Layer, name: &str) -> Self {
        Self { name: name.to_owned(), up: true, layer, ..Self::default() }
    }
}

/// A link; the id is its name in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "LinkStatuses.net.talos.dev",
    namespace = "network",
    aliases("link", "links"),
    columns(
        "Alias" => "{.alias}",
        "Type" => "{.type}",
        "Kind" => "{.kind}",
        "Hw Addr" => "{.hardwareAddr}",
        "Operational State" => "{.operationalState}",
        "Link State" => "{.linkState}"
    )
)]
pub struct LinkStatus {
    /// Alias.
    #[field(31, "alias", omitempty)]
    pub alias: String,
    /// Alternative names.
    #[field(32, "altNames", omitempty)]
    pub alt_names: Vec<String>,
    /// Index.
    #[field(1, "index")]
    pub index: u32,
    /// Hardware type.
    #[field(2, "type")]
    pub link_type: LinkType,
    /// Index of the link below or of the other end.
    #[field(3, "linkIndex")]
    pub link_index: u32,
    /// Flags.
    #[field(4, "flags")]
    pub flags: LinkFlags,
    /// Hardware address.
    #[field(5, "hardwareAddr")]
    pub hardware_addr: HardwareAddr,
    /// Hardware address that the maker gave it.
    #[field(30, "permanentAddr")]
    pub permanent_addr: HardwareAddr,
    /// Broadcast address of the hardware.
    #[field(6, "broadcastAddr")]
    pub broadcast_addr: HardwareAddr,
    /// Largest packet.
    #[field(7, "mtu")]
    pub mtu: u32,
    /// Queue discipline.
    #[field(8, "queueDisc")]
    pub queue_disc: String,
    /// Index of the bond or bridge it belongs to.
    #[field(9, "masterIndex", omitempty)]
    pub master_index: u32,
    /// What it can do now.
    #[field(10, "operationalState")]
    pub operational_state: OperationalState,
    /// `vlan`, `bridge`, `veth` …; empty for physical links.
    #[field(11, "kind")]
    pub kind: String,
    /// Kind of the master.
    #[field(12, "slaveKind")]
    pub slave_kind: String,
    /// Path on its bus.
    #[field(13, "busPath", omitempty)]
    pub bus_path: String,
    /// PCI id.
    #[field(14, "pciID", omitempty)]
    pub pci_id: String,
    /// Driver.
    #[field(15, "driver", omitempty)]
    pub driver: String,
    /// Version of the driver.
    #[field(16, "driverVersion", omitempty)]
    pub driver_version: String,
    /// Version of the firmware.
    #[field(17, "firmwareVersion", omitempty)]
    pub firmware_version: String,
    /// PCI product id.
    #[field(18, "productID", omitempty)]
    pub product_id: String,
    /// PCI vendor id.
    #[field(19, "vendorID", omitempty)]
    pub vendor_id: String,
    /// Product.
    #[field(20, "product", omitempty)]
    pub product: String,
    /// Vendor.
    #[field(21, "vendor", omitempty)]
    pub vendor: String,
    /// Has a carrier.
    #[field(22, "linkState")]
    pub link_state: bool,
    /// Speed, Mbit/s.
    #[field(23, "speedMbit", omitempty)]
    pub speed_mbit: i64,
    /// Connector.
    #[field(24, "port")]
    pub port: Port,
    /// Duplex mode.
    #[field(25, "duplex")]
    pub duplex: Duplex,
    /// VLAN settings.
    #[field(26, "vlan", omitempty)]
    pub vlan: Vlan,
    /// Bridge settings.
    #[field(27, "bridgeMaster", omitempty)]
    pub bridge_master: BridgeMaster,
    /// Bond settings.
    #[field(28, "bondMaster", omitempty)]
    pub bond_master: BondMaster,
    /// VRF settings.
    #[field(33, "vrfMaster", omitempty)]
    pub vrf_master: Option<VrfMaster>,
    /// WireGuard settings.
    #[field(29, "wireguard", omitempty)]
    pub wireguard: WireguardStatus,
    /// Settings of a virtual cable.
    #[field(34, "veth", omitempty)]
    pub veth: Veth,
}

impl LinkStatus {
    /// A device, not made in software.
    #[must_use]
    pub fn is_physical(&self) -> bool {
        self.link_type == LinkType::ETHER && self.kind.is_empty()
    }

    /// Set up and able to carry packets; many virtual drivers say `unknown` while they work.
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.flags.contains(LinkFlags::UP)
            && matches!(self.operational_state, OperationalState::Up | OperationalState::Unknown)
    }
}

/// A hardware address of this machine; `first` is that of its first physical link.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "HardwareAddresses.net.talos.dev",
    namespace = "network",
    columns("Name" => "{.name}", "HW Address" => "{.hardwareAddr}")
)]
pub struct HardwareAddress {
    /// The link.
    #[field(1, "name")]
    pub name: String,
    /// Its address.
    #[field(2, "hardwareAddr")]
    pub hardware_addr: HardwareAddr,
}

impl HardwareAddress {
    /// Id of the first one.
    pub const FIRST: &'static str = "first";
}

/// An entry of `machine.network.interfaces`, for one link that it means; the id is `link/position`.
///
/// Written from the configuration. It is shown as it was written, and has no message of protobuf.
#[derive(Clone, Default, PartialEq, Resource)]
#[resource(kind = "DeviceConfigSpecs.net.talos.dev", namespace = "network", sensitive)]
pub struct DeviceConfigSpec {
    /// The entry, with the name of the link.
    #[field(0, "device", inline)]
    pub device: Object,
}

/// An entry may hold keys.
impl std::fmt::Debug for DeviceConfigSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceConfigSpec")
            .field("interface", &self.device.get("interface"))
            .finish_non_exhaustive()
    }
}
