//! Bonds: several links that act as one.

use std::net::IpAddr;

use corten_resource::{Enumeration, Record};

/// How a bond uses its links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum BondMode {
    /// In turn.
    #[default]
    #[variant(0, "balance-rr")]
    RoundRobin,
    /// One at a time.
    #[variant(1, "active-backup")]
    ActiveBackup,
    /// By a hash of the packet.
    #[variant(2, "balance-xor")]
    Xor,
    /// All of them.
    #[variant(3, "broadcast")]
    Broadcast,
    /// As agreed with the switch by LACP.
    #[variant(4, "802.3ad")]
    Lacp,
    /// By load when sending.
    #[variant(5, "balance-tlb")]
    Tlb,
    /// By load in both directions.
    #[variant(6, "balance-alb")]
    Alb,
}

/// What of a packet chooses the link for sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum XmitHashPolicy {
    /// Hardware addresses.
    #[default]
    #[variant(0, "layer2")]
    Layer2,
    /// Addresses and ports.
    #[variant(1, "layer3+4")]
    Layer34,
    /// Hardware addresses and addresses.
    #[variant(2, "layer2+3")]
    Layer23,
    /// Like `layer2+3`, inside tunnels.
    #[variant(3, "encap2+3")]
    Encap23,
    /// Like `layer3+4`, inside tunnels.
    #[variant(4, "encap3+4")]
    Encap34,
}

/// How often LACP partners talk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum LacpRate {
    /// Every 30 seconds.
    #[default]
    #[variant(0, "slow")]
    Slow,
    /// Every second.
    #[variant(1, "fast")]
    Fast,
}

/// Which ARP probes are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ArpValidate {
    /// None.
    #[default]
    #[variant(0, "none")]
    None,
    /// Those on the active link.
    #[variant(1, "active")]
    Active,
    /// Those on the other links.
    #[variant(2, "backup")]
    Backup,
    /// All.
    #[variant(3, "all")]
    All,
    /// Other traffic is ignored.
    #[variant(4, "filter")]
    Filter,
    /// Other traffic is ignored, those on the active link are checked.
    #[variant(5, "filter-active")]
    FilterActive,
    /// Other traffic is ignored, those on the other links are checked.
    #[variant(6, "filter-backup")]
    FilterBackup,
}

/// How many probed targets must answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum ArpAllTargets {
    /// One.
    #[default]
    #[variant(0, "any")]
    Any,
    /// All.
    #[variant(1, "all")]
    All,
}

/// When a bond returns to its preferred link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum PrimaryReselect {
    /// As soon as it works.
    #[default]
    #[variant(0, "always")]
    Always,
    /// When it is better than the one in use.
    #[variant(1, "better")]
    Better,
    /// When the one in use fails.
    #[variant(2, "failure")]
    Failure,
}

/// Which hardware address a bond has after a change of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum FailOverMac {
    /// That of the bond, on all links.
    #[default]
    #[variant(0, "none")]
    None,
    /// That of the active link.
    #[variant(1, "active")]
    Active,
    /// That of the bond, on the active link.
    #[variant(2, "follow")]
    Follow,
}

/// How one of several LACP aggregates is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum AdSelect {
    /// The first one, while it works.
    #[default]
    #[variant(0, "stable")]
    Stable,
    /// The fastest one.
    #[variant(1, "bandwidth")]
    Bandwidth,
    /// That with the most links.
    #[variant(2, "count")]
    Count,
}

/// Who begins to talk LACP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum AdLacpActive {
    /// The partner.
    #[default]
    #[variant(0, "off")]
    Off,
    /// This machine.
    #[variant(1, "on")]
    On,
}

/// Settings of a bond.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BondMaster {
    /// How it uses its links.
    #[field(1, "mode")]
    pub mode: BondMode,
    /// What chooses the link for sending.
    #[field(2, "xmitHashPolicy")]
    pub xmit_hash_policy: XmitHashPolicy,
    /// Rate of LACP.
    #[field(3, "lacpRate")]
    pub lacp_rate: LacpRate,
    /// Which probes are checked.
    #[field(4, "arpValidate")]
    pub arp_validate: ArpValidate,
    /// How many targets must answer.
    #[field(5, "arpAllTargets")]
    pub arp_all_targets: ArpAllTargets,
    /// Index of the preferred link.
    #[field(6, "primaryIndex", omitempty)]
    pub primary_index: Option<u32>,
    /// When to return to it.
    #[field(7, "primaryReselect")]
    pub primary_reselect: PrimaryReselect,
    /// Which hardware address follows.
    #[field(8, "failOverMac")]
    pub fail_over_mac: FailOverMac,
    /// Choice of aggregate.
    #[field(9, "adSelect", omitempty)]
    pub ad_select: AdSelect,
    /// Interval of link checks, milliseconds.
    #[field(10, "miimon", omitempty)]
    pub miimon: u32,
    /// Delay before a link is used, milliseconds.
    #[field(11, "updelay", omitempty)]
    pub up_delay: u32,
    /// Delay before a link is no longer used, milliseconds.
    #[field(12, "downdelay", omitempty)]
    pub down_delay: u32,
    /// Interval of probes, milliseconds.
    #[field(13, "arpInterval", omitempty)]
    pub arp_interval: u32,
    /// IGMP reports after a change of links.
    #[field(14, "resendIgmp", omitempty)]
    pub resend_igmp: u32,
    /// Links that must work.
    #[field(15, "minLinks", omitempty)]
    pub min_links: u32,
    /// Interval of learning packets, seconds.
    #[field(16, "lpInterval", omitempty)]
    pub lp_interval: u32,
    /// Packets before the next link.
    #[field(17, "packetsPerSlave", omitempty)]
    pub packets_per_slave: u32,
    /// Notifications after a change of links.
    #[field(18, "numPeerNotif", omitempty)]
    pub num_peer_notif: u32,
    /// Balancing follows the load.
    #[field(19, "tlbLogicalLb", omitempty)]
    pub tlb_logical_lb: u32,
    /// All links receive.
    #[field(20, "allSlavesActive", omitempty)]
    pub all_slaves_active: u32,
    /// The carrier is trusted.
    #[field(21, "useCarrier", omitempty)]
    pub use_carrier: bool,
    /// System priority of LACP.
    #[field(22, "adActorSysPrio", omitempty)]
    pub ad_actor_sys_prio: u32,
    /// Port key of LACP.
    #[field(23, "adUserPortKey", omitempty)]
    pub ad_user_port_key: u32,
    /// Delay between notifications, milliseconds.
    #[field(24, "peerNotifyDelay", omitempty)]
    pub peer_notify_delay: u32,
    /// Addresses to probe.
    #[field(25, "arpIpTargets", omitempty)]
    pub arp_ip_targets: Vec<IpAddr>,
    /// IPv6 addresses to probe.
    #[field(26, "nsIp6Targets", omitempty)]
    pub ns_ip6_targets: Vec<IpAddr>,
    /// Who begins to talk LACP; unset leaves it to the kernel.
    #[field(27, "adLacpActive", omitempty)]
    pub ad_lacp_active: Option<AdLacpActive>,
    /// Probes that may stay without answer.
    #[field(28, "missedMax", omitempty)]
    pub missed_max: u32,
    /// Preferred link.
    #[field(29, "primary", omitempty)]
    pub primary: String,
}

/// Interval of link checks that the kernel gives modes which cannot do without, milliseconds.
const MIIMON: u32 = 100;

impl BondMaster {
    /// A bond of this mode with what the kernel gives it.
    #[must_use]
    pub fn of_mode(mode: BondMode) -> Self {
        let is_lacp = mode == BondMode::Lacp;
        let is_watched = is_lacp || matches!(mode, BondMode::Tlb | BondMode::Alb);
        Self {
            mode,
            miimon: if is_watched { MIIMON } else { 0 },
            resend_igmp: 1,
            lp_interval: 1,
            packets_per_slave: 1,
            num_peer_notif: 1,
            tlb_logical_lb: 1,
            use_carrier: true,
            ad_actor_sys_prio: if is_lacp { u16::MAX.into() } else { 0 },
            ad_lacp_active: Some(AdLacpActive::On),
            missed_max: 2,
            ..Self::default()
        }
    }
}
