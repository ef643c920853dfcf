//! Addresses on links.

use std::net::IpAddr;

use corten_resource::Resource;
use ipnet::IpNet;

use super::{AddressFlags, Family, Layer, Scope};

/// An address wanted on a link; the plain id is `link/cidr`.
///
/// Written by the layers and merged; read by the controller that assigns addresses.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AddressSpecs.net.talos.dev", namespace = "network")]
pub struct AddressSpec {
    /// Address with its prefix length.
    #[field(1, "address")]
    pub address: IpNet,
    /// Link that carries it.
    #[field(2, "linkName")]
    pub link_name: String,
    /// Its family.
    #[field(3, "family")]
    pub family: Family,
    /// How far it reaches.
    #[field(4, "scope")]
    pub scope: Scope,
    /// Flags.
    #[field(5, "flags")]
    pub flags: AddressFlags,
    /// Tell the neighbours when it is assigned.
    #[field(6, "announceWithARP", omitempty)]
    pub announce_with_arp: bool,
    /// Metric of the prefix route.
    #[field(8, "priority", omitempty)]
    pub priority: u32,
    /// Where it comes from.
    #[field(7, "layer")]
    pub layer: Layer,
}

impl AddressSpec {
    /// A permanent address of `layer`.
    #[must_use]
    pub fn new(layer: Layer, link_name: &str, address: IpNet, scope: Scope) -> Self {
        Self {
            address,
            link_name: link_name.to_owned(),
            family: Family::of(address.addr()),
            scope,
            flags: AddressFlags::PERMANENT,
            layer,
            ..Self::default()
        }
    }

    /// Its plain id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.link_name, self.address)
    }
}

/// An address on a link; the id is `link/cidr`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "AddressStatuses.net.talos.dev",
    namespace = "network",
    aliases("address", "addresses"),
    columns("Address" => "{.address}", "Link" => "{.linkName}")
)]
pub struct AddressStatus {
    /// Address with its prefix length.
    #[field(1, "address")]
    pub address: IpNet,
    /// Own end of a point-to-point link.
    #[field(2, "local", omitempty)]
    pub local: Option<IpAddr>,
    /// Broadcast address.
    #[field(3, "broadcast", omitempty)]
    pub broadcast: Option<IpAddr>,
    /// Anycast address.
    #[field(4, "anycast", omitempty)]
    pub anycast: Option<IpAddr>,
    /// Multicast address.
    #[field(5, "multicast", omitempty)]
    pub multicast: Option<IpAddr>,
    /// Index of the link.
    #[field(6, "linkIndex")]
    pub link_index: u32,
    /// Name of the link.
    #[field(7, "linkName")]
    pub link_name: String,
    /// Its family.
    #[field(8, "family")]
    pub family: Family,
    /// How far it reaches.
    #[field(9, "scope")]
    pub scope: Scope,
    /// Flags.
    #[field(10, "flags")]
    pub flags: AddressFlags,
    /// Metric of the prefix route.
    #[field(11, "priority")]
    pub priority: u32,
}

impl AddressStatus {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.link_name, self.address)
    }
}
