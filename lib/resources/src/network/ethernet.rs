//! Ethernet devices as ethtool sees them.

use std::collections::BTreeMap;

use corten_resource::{Enumeration, Record, Resource};

use super::{Duplex, Port};

/// What wakes a machine (`WAKE_*`, by the number of its bit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum WakeOnLan {
    /// Activity of the line.
    #[default]
    #[variant(1, "phy")]
    Phy,
    /// A frame for it.
    #[variant(2, "unicast")]
    Unicast,
    /// A multicast frame.
    #[variant(4, "multicast")]
    Multicast,
    /// A broadcast frame.
    #[variant(8, "broadcast")]
    Broadcast,
    /// An ARP request.
    #[variant(16, "arp")]
    Arp,
    /// A magic packet.
    #[variant(32, "magic")]
    Magic,
    /// A magic packet with a password.
    #[variant(64, "magicsecure")]
    MagicSecure,
    /// What a filter takes.
    #[variant(128, "filter")]
    Filter,
}

/// Sizes of rings to set; nothing leaves one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct EthernetRings {
    /// For receiving.
    #[field(1, "rx", omitempty)]
    pub rx: Option<u32>,
    /// For sending.
    #[field(4, "tx", omitempty)]
    pub tx: Option<u32>,
    /// For small frames.
    #[field(2, "rx-mini", omitempty)]
    pub rx_mini: Option<u32>,
    /// For large frames.
    #[field(3, "rx-jumbo", omitempty)]
    pub rx_jumbo: Option<u32>,
    /// Length of a buffer, bytes.
    #[field(5, "rx-buf-len", omitempty)]
    pub rx_buf_len: Option<u32>,
    /// Size of a completion, bytes.
    #[field(6, "cqe-size", omitempty)]
    pub cqe_size: Option<u32>,
    /// Descriptors are pushed for sending.
    #[field(7, "tx-push", omitempty)]
    pub tx_push: Option<bool>,
    /// Descriptors are pushed for receiving.
    #[field(8, "rx-push", omitempty)]
    pub rx_push: Option<bool>,
    /// Length of a pushed buffer, bytes.
    #[field(9, "tx-push-buf-len", omitempty)]
    pub tx_push_buf_len: Option<u32>,
    /// Headers are split from data.
    #[field(10, "tcp-data-split", omitempty)]
    pub tcp_data_split: Option<bool>,
}

/// Numbers of channels to set; nothing leaves one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct EthernetChannels {
    /// For receiving.
    #[field(1, "rx", omitempty)]
    pub rx: Option<u32>,
    /// For sending.
    #[field(2, "tx", omitempty)]
    pub tx: Option<u32>,
    /// For other things.
    #[field(3, "other", omitempty)]
    pub other: Option<u32>,
    /// For both directions.
    #[field(4, "combined", omitempty)]
    pub combined: Option<u32>,
}

/// Settings wanted for a device; the id is the name of its link.
///
/// Written from the configuration; read by the controller that sets devices.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EthernetSpecs.net.talos.dev", namespace = "network")]
pub struct EthernetSpec {
    /// Sizes of rings.
    #[field(1, "rings", omitempty)]
    pub rings: EthernetRings,
    /// Features that are switched.
    #[field(2, "features", omitempty)]
    pub features: BTreeMap<String, bool>,
    /// Numbers of channels.
    #[field(3, "channels", omitempty)]
    pub channels: EthernetChannels,
    /// What wakes the machine; nothing leaves it alone when it is empty.
    #[field(4, "wakeOnLan", omitempty)]
    pub wake_on_lan: Vec<WakeOnLan>,
}

/// Sizes of rings as they are; nothing where the device has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct EthernetRingsStatus {
    /// Most for receiving.
    #[field(1, "rx-max", omitempty)]
    pub rx_max: Option<u32>,
    /// Most for small frames.
    #[field(2, "rx-mini-max", omitempty)]
    pub rx_mini_max: Option<u32>,
    /// Most for large frames.
    #[field(3, "rx-jumbo-max", omitempty)]
    pub rx_jumbo_max: Option<u32>,
    /// Most for sending.
    #[field(4, "tx-max", omitempty)]
    pub tx_max: Option<u32>,
    /// Longest pushed buffer, bytes.
    #[field(5, "tx-push-buf-len-max", omitempty)]
    pub tx_push_buf_len_max: Option<u32>,
    /// For receiving.
    #[field(6, "rx", omitempty)]
    pub rx: Option<u32>,
    /// For small frames.
    #[field(7, "rx-mini", omitempty)]
    pub rx_mini: Option<u32>,
    /// For large frames.
    #[field(8, "rx-jumbo", omitempty)]
    pub rx_jumbo: Option<u32>,
    /// For sending.
    #[field(9, "tx", omitempty)]
    pub tx: Option<u32>,
    /// Length of a buffer, bytes.
    #[field(10, "rx-buf-len", omitempty)]
    pub rx_buf_len: Option<u32>,
    /// Size of a completion, bytes.
    #[field(11, "cqe-size", omitempty)]
    pub cqe_size: Option<u32>,
    /// Descriptors are pushed for sending.
    #[field(12, "tx-push", omitempty)]
    pub tx_push: Option<bool>,
    /// Descriptors are pushed for receiving.
    #[field(13, "rx-push", omitempty)]
    pub rx_push: Option<bool>,
    /// Length of a pushed buffer, bytes.
    #[field(14, "tx-push-buf-len", omitempty)]
    pub tx_push_buf_len: Option<u32>,
    /// Headers are split from data.
    #[field(15, "tcp-data-split", omitempty)]
    pub tcp_data_split: Option<bool>,
}

/// Numbers of channels as they are; nothing where the device has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct EthernetChannelsStatus {
    /// Most for receiving.
    #[field(1, "rx-max", omitempty)]
    pub rx_max: Option<u32>,
    /// Most for sending.
    #[field(2, "tx-max", omitempty)]
    pub tx_max: Option<u32>,
    /// Most for other things.
    #[field(3, "other-max", omitempty)]
    pub other_max: Option<u32>,
    /// Most for both directions.
    #[field(4, "combined-max", omitempty)]
    pub combined_max: Option<u32>,
    /// For receiving.
    #[field(5, "rx", omitempty)]
    pub rx: Option<u32>,
    /// For sending.
    #[field(6, "tx", omitempty)]
    pub tx: Option<u32>,
    /// For other things.
    #[field(7, "other", omitempty)]
    pub other: Option<u32>,
    /// For both directions.
    #[field(8, "combined", omitempty)]
    pub combined: Option<u32>,
}

/// A feature of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct EthernetFeature {
    /// Name, as the kernel has it.
    #[field(1, "name")]
    pub name: String,
    /// `on` or `off`; ` [fixed]` when nobody can switch it, ` [requested …]` when it is not as it was asked for.
    #[field(2, "status")]
    pub status: String,
}

/// A physical link as its driver tells; the id is its name in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "EthernetStatuses.net.talos.dev",
    namespace = "network",
    aliases("ethtool"),
    columns("Link" => "{.linkState}", "Speed" => "{.speedMbit}")
)]
pub struct EthernetStatus {
    /// Has a link partner; nothing when the driver does not say.
    #[field(1, "linkState", omitempty)]
    pub link_state: Option<bool>,
    /// Speed, Mbit/s; 0 when it is not known.
    #[field(2, "speedMbit", omitempty)]
    pub speed_mbit: i64,
    /// Connector.
    #[field(3, "port")]
    pub port: Port,
    /// Duplex mode.
    #[field(4, "duplex")]
    pub duplex: Duplex,
    /// Modes that it offers.
    #[field(5, "ourModes", omitempty)]
    pub our_modes: Vec<String>,
    /// Modes that the other end offers.
    #[field(6, "peerModes", omitempty)]
    pub peer_modes: Vec<String>,
    /// Rings; nothing when the device has none to set.
    #[field(7, "rings", omitempty)]
    pub rings: Option<EthernetRingsStatus>,
    /// Features.
    #[field(8, "features", omitempty, pairs)]
    pub features: Vec<EthernetFeature>,
    /// Channels; nothing when the device has none to set.
    #[field(9, "channels", omitempty)]
    pub channels: Option<EthernetChannelsStatus>,
    /// What wakes the machine.
    #[field(10, "wakeOnLAN", omitempty)]
    pub wake_on_lan: Vec<WakeOnLan>,
}
