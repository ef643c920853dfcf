//! Links that are made in software, and what belongs to links: aliases, settings of devices, rules and routes to nowhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use corten_base::Secret;
use ipnet::IpNet;

use super::{DeviceSelector, Documents};
use crate::reader::Reader;

/// What a link is made as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkKind {
    /// It is there without us.
    #[default]
    Existing,
    /// A dummy.
    Dummy,
    /// Several links that act as one.
    Bond(Box<Bond>),
    /// A bridge.
    Bridge(Bridge),
    /// A VLAN.
    Vlan(VlanLink),
    /// A routing domain of its own.
    Vrf(Vrf),
    /// One end of a virtual cable; the name is that of the other.
    Veth(String),
    /// WireGuard.
    Wireguard(Box<WireguardLink>),
}

/// How a document is read that makes a link.
type Read = fn(Reader<'_>) -> LinkKind;

/// The documents that make links, virtual cables apart, which have two ends.
pub(super) const MAKERS: [(&str, Read); 6] = [
    ("BondConfig", |link| LinkKind::Bond(Box::new(Bond::read(link)))),
    ("BridgeConfig", |link| LinkKind::Bridge(Bridge::read(link))),
    ("DummyLinkConfig", |_| LinkKind::Dummy),
    ("VLANConfig", |link| LinkKind::Vlan(VlanLink::read(link))),
    ("VRFConfig", |link| LinkKind::Vrf(Vrf::read(link))),
    ("WireguardConfig", |link| LinkKind::Wireguard(Box::new(WireguardLink::read(link)))),
];

impl LinkKind {
    /// What an entry of `machine.network.interfaces` is made as.
    pub(super) fn read_legacy(link: Reader<'_>) -> Self {
        let set = |key: &str| Some(link.get(key)).filter(|value| value.exists());
        if let Some(bond) = set("bond") {
            Self::Bond(Box::new(Bond::read(bond)))
        } else if let Some(bridge) = set("bridge") {
            Self::Bridge(Bridge::read(bridge))
        } else if let Some(wireguard) = set("wireguard") {
            Self::Wireguard(Box::new(WireguardLink::read(wireguard)))
        } else if link.get("dummy").is() {
            Self::Dummy
        } else {
            Self::Existing
        }
    }
}

/// The value under the first of two keys that is there.
fn either<'a>(reader: Reader<'a>, key: &str, other: &str) -> Reader<'a> {
    let first = reader.get(key);
    if first.exists() { first } else { reader.get(other) }
}

/// Several links that act as one. What is not given is empty or nothing, and the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bond {
    /// Its links.
    pub links: Vec<String>,
    /// Properties of more links.
    pub selectors: Vec<DeviceSelector>,
    /// How it uses its links.
    pub mode: String,
    /// What of a packet chooses the link for sending.
    pub xmit_hash_policy: String,
    /// How often LACP partners talk.
    pub lacp_rate: String,
    /// Whether LACP begins by itself.
    pub ad_lacp_active: String,
    /// Which probes are checked.
    pub arp_validate: String,
    /// Whether all targets must answer.
    pub arp_all_targets: String,
    /// Preferred link.
    pub primary: String,
    /// When to return to it.
    pub primary_reselect: String,
    /// Which hardware address follows.
    pub fail_over_mac: String,
    /// Choice of aggregate.
    pub ad_select: String,
    /// Interval of link checks, milliseconds.
    pub miimon: Option<u32>,
    /// Delay before a link is used, milliseconds.
    pub up_delay: Option<u32>,
    /// Delay before a link is no longer used, milliseconds.
    pub down_delay: Option<u32>,
    /// Interval of probes, milliseconds.
    pub arp_interval: Option<u32>,
    /// Addresses to probe.
    pub arp_ip_targets: Vec<IpAddr>,
    /// IPv6 addresses to probe.
    pub ns_ip6_targets: Vec<IpAddr>,
    /// IGMP reports after a change of links.
    pub resend_igmp: Option<u32>,
    /// Links that must work.
    pub min_links: Option<u32>,
    /// Interval of learning packets, seconds.
    pub lp_interval: Option<u32>,
    /// Packets before the next link.
    pub packets_per_slave: Option<u32>,
    /// Notifications after a change of links.
    pub num_peer_notif: Option<u32>,
    /// Balancing follows the load.
    pub tlb_logical_lb: Option<u32>,
    /// All links receive.
    pub all_slaves_active: Option<u32>,
    /// The carrier is trusted.
    pub use_carrier: Option<bool>,
    /// System priority of LACP.
    pub ad_actor_sys_prio: Option<u32>,
    /// Port key of LACP.
    pub ad_user_port_key: Option<u32>,
    /// Delay between notifications, milliseconds.
    pub peer_notify_delay: Option<u32>,
    /// Probes that may stay without answer.
    pub missed_max: Option<u32>,
}

impl Bond {
    /// Reads a document, or the older form, of which some keys have other names.
    fn read(bond: Reader<'_>) -> Self {
        let text = |key: &str| bond.get(key).string();
        let number = |key: &str| bond.get(key).integer();
        Self {
            links: either(bond, "links", "interfaces").texts(),
            selectors: bond.get("deviceSelectors").list(DeviceSelector::read),
            mode: either(bond, "bondMode", "mode").string(),
            xmit_hash_policy: text("xmitHashPolicy"),
            lacp_rate: text("lacpRate"),
            ad_lacp_active: text("adLACPActive"),
            arp_validate: text("arpValidate"),
            arp_all_targets: text("arpAllTargets"),
            primary: text("primary"),
            primary_reselect: text("primaryReselect"),
            fail_over_mac: text("failOverMac"),
            ad_select: text("adSelect"),
            miimon: number("miimon"),
            up_delay: number("updelay"),
            down_delay: number("downdelay"),
            arp_interval: number("arpInterval"),
            arp_ip_targets: either(bond, "arpIpTargets", "arpIPTarget").list(Reader::ip),
            ns_ip6_targets: bond.get("nsIp6Targets").list(Reader::ip),
            resend_igmp: either(bond, "resendIGMP", "resendIgmp").integer(),
            min_links: number("minLinks"),
            lp_interval: number("lpInterval"),
            packets_per_slave: number("packetsPerSlave"),
            num_peer_notif: number("numPeerNotif"),
            tlb_logical_lb: either(bond, "tlbLogicalLb", "tlbDynamicLb").integer(),
            all_slaves_active: number("allSlavesActive"),
            use_carrier: bond.get("useCarrier").bool(),
            ad_actor_sys_prio: number("adActorSysPrio"),
            ad_user_port_key: number("adUserPortKey"),
            peer_notify_delay: either(bond, "peerNotifDelay", "peerNotifyDelay").integer(),
            missed_max: number("missedMax"),
        }
    }
}

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Its links.
    pub links: Vec<String>,
    /// Whether the spanning tree runs.
    pub stp: bool,
    /// Whether tags are looked at.
    pub vlan_filtering: bool,
}

impl Bridge {
    fn read(bridge: Reader<'_>) -> Self {
        Self {
            links: either(bridge, "links", "interfaces").texts(),
            stp: bridge.path(&["stp", "enabled"]).is(),
            vlan_filtering: either(bridge.get("vlan"), "filtering", "vlanFiltering").is(),
        }
    }
}

/// A VLAN that has a document of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VlanLink {
    /// Link below.
    pub parent: String,
    /// Number.
    pub id: u16,
    /// `802.1q` or `802.1ad`; empty means the first.
    pub mode: String,
}

impl VlanLink {
    fn read(vlan: Reader<'_>) -> Self {
        Self {
            parent: vlan.get("parent").string(),
            id: vlan.get("vlanID").integer().unwrap_or_default(),
            mode: vlan.get("vlanMode").string(),
        }
    }
}

/// A routing domain of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vrf {
    /// Links in it.
    pub links: Vec<String>,
    /// Its routing table, by name or number.
    pub table: String,
}

impl Vrf {
    fn read(vrf: Reader<'_>) -> Self {
        Self { links: vrf.get("links").texts(), table: vrf.get("table").string() }
    }
}

/// WireGuard on a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireguardLink {
    /// Private key.
    pub private_key: Secret<String>,
    /// UDP port; nothing for any.
    pub listen_port: Option<u16>,
    /// Mark of its own packets.
    pub firewall_mark: Option<u32>,
    /// Peers.
    pub peers: Vec<WireguardPeer>,
}

impl WireguardLink {
    fn read(link: Reader<'_>) -> Self {
        Self {
            private_key: link.get("privateKey").secret(),
            listen_port: link.get("listenPort").positive(),
            firewall_mark: link.get("firewallMark").positive(),
            peers: link.get("peers").items().map(WireguardPeer::read).collect(),
        }
    }
}

/// A peer of a WireGuard link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireguardPeer {
    /// Public key.
    pub public_key: String,
    /// Key that both know; empty for none.
    pub preshared_key: Secret<String>,
    /// Address and port; empty when the peer calls.
    pub endpoint: String,
    /// Interval of keep-alives; nothing for none.
    pub keepalive: Option<Duration>,
    /// Networks behind it.
    pub allowed_ips: Vec<IpNet>,
}

impl WireguardPeer {
    fn read(peer: Reader<'_>) -> Self {
        Self {
            public_key: peer.get("publicKey").string(),
            preshared_key: peer.get("presharedKey").secret(),
            endpoint: peer.get("endpoint").string(),
            keepalive: peer.get("persistentKeepaliveInterval").duration(),
            allowed_ips: peer.get("allowedIPs").list(Reader::cidr),
        }
    }
}

/// Another name for a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkAlias {
    /// The name; `%d` in it stands for a number.
    pub name: String,
    /// The expression that is true for the link.
    pub selector: String,
}

impl LinkAlias {
    pub(super) fn read_all(documents: &Documents<'_>) -> Vec<Self> {
        let all = documents.all("LinkAliasConfig");
        all.map(|(name, alias)| Self {
            name: name.to_owned(),
            selector: alias.path(&["selector", "match"]).string(),
        })
        .collect()
    }
}

/// Settings of an Ethernet device; what is not given is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ethernet {
    /// Name of the link.
    pub name: String,
    /// Features that are switched.
    pub features: BTreeMap<String, bool>,
    /// Sizes of rings.
    pub rings: EthernetRings,
    /// Numbers of channels.
    pub channels: EthernetChannels,
    /// What wakes the machine; what does so now when it is empty.
    pub wake_on_lan: Vec<String>,
}

/// Sizes of rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EthernetRings {
    /// For receiving.
    pub rx: Option<u32>,
    /// For small frames.
    pub rx_mini: Option<u32>,
    /// For large frames.
    pub rx_jumbo: Option<u32>,
    /// For sending.
    pub tx: Option<u32>,
    /// Length of a buffer.
    pub rx_buf_len: Option<u32>,
    /// Size of a completion.
    pub cqe_size: Option<u32>,
    /// Whether descriptors are pushed for sending.
    pub tx_push: Option<bool>,
    /// Whether descriptors are pushed for receiving.
    pub rx_push: Option<bool>,
    /// Length of a pushed buffer.
    pub tx_push_buf_len: Option<u32>,
    /// Whether headers are split from data.
    pub tcp_data_split: Option<bool>,
}

/// Numbers of channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EthernetChannels {
    /// For receiving.
    pub rx: Option<u32>,
    /// For sending.
    pub tx: Option<u32>,
    /// For other things.
    pub other: Option<u32>,
    /// For both directions.
    pub combined: Option<u32>,
}

impl Ethernet {
    pub(super) fn read_all(documents: &Documents<'_>) -> Vec<Self> {
        documents.all("EthernetConfig").map(|(name, settings)| Self::read(name, settings)).collect()
    }

    fn read(name: &str, settings: Reader<'_>) -> Self {
        let features = settings.get("features").entries();
        let ring = |key: &str| settings.path(&["rings", key]);
        let channel = |key: &str| settings.path(&["channels", key]).integer();
        Self {
            name: name.to_owned(),
            features: features.filter_map(|(key, value)| Some((key.to_owned(), value.bool()?))).collect(),
            rings: EthernetRings {
                rx: ring("rx").integer(),
                rx_mini: ring("rx-mini").integer(),
                rx_jumbo: ring("rx-jumbo").integer(),
                tx: ring("tx").integer(),
                rx_buf_len: ring("rx-buf-len").integer(),
                cqe_size: ring("cqe-size").integer(),
                tx_push: ring("tx-push").bool(),
                rx_push: ring("rx-push").bool(),
                tx_push_buf_len: ring("tx-push-buf-len").integer(),
                tcp_data_split: ring("tcp-data-split").bool(),
            },
            channels: EthernetChannels {
                rx: channel("rx"),
                tx: channel("tx"),
                other: channel("other"),
                combined: channel("combined"),
            },
            wake_on_lan: settings.get("wakeOnLan").texts(),
        }
    }
}

/// A route that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlackholeRoute {
    /// Destination.
    pub destination: IpNet,
    /// Metric; nothing means the default.
    pub metric: Option<u32>,
}

impl BlackholeRoute {
    pub(super) fn read_all(documents: &Documents<'_>) -> Vec<Self> {
        let all = documents.all("BlackholeRouteConfig");
        all.filter_map(|(_, route)| {
            Some(Self { destination: route.get("name").cidr()?, metric: route.get("metric").positive() })
        })
        .collect()
    }
}

/// Which routing table is asked, and for which packets. What is empty or nothing is true for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingRule {
    /// Its priority; the lowest number comes first.
    pub priority: String,
    /// Network that packets come from.
    pub src: Option<IpNet>,
    /// Network that packets go to.
    pub dst: Option<IpNet>,
    /// The routing table, by name or number.
    pub table: String,
    /// What happens; empty means that the table is asked.
    pub action: String,
    /// Link that packets come in by.
    pub iif_name: String,
    /// Link that packets go out by.
    pub oif_name: String,
    /// Mark of packets.
    pub fw_mark: Option<u32>,
    /// Which bits of the mark count.
    pub fw_mask: Option<u32>,
}

impl RoutingRule {
    pub(super) fn read_all(documents: &Documents<'_>) -> Vec<Self> {
        documents.all("RoutingRuleConfig").map(|(name, rule)| Self::read(name, rule)).collect()
    }

    fn read(name: &str, rule: Reader<'_>) -> Self {
        Self {
            priority: name.to_owned(),
            src: rule.get("src").cidr(),
            dst: rule.get("dst").cidr(),
            table: rule.get("table").string(),
            action: rule.get("action").string(),
            iif_name: rule.get("iifName").string(),
            oif_name: rule.get("oifName").string(),
            fw_mark: rule.get("fwMark").positive(),
            fw_mask: rule.get("fwMask").positive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::view::Interface;

    fn links(text: &str) -> Vec<Interface> {
        Config::parse(text.as_bytes())
            .unwrap_or_else(|error| panic!("{error}"))
            .view()
            .machine
            .network
            .interfaces
            .clone()
    }

    const LEGACY: &str = "
version: v1alpha1
machine:
  type: worker
  network:
    interfaces:
      - interface: bond0
        bond: {interfaces: [a, b], mode: balance-tlb, arpIPTarget: [], resendIgmp: 3, tlbDynamicLb: 0, peerNotifyDelay: 5}
      - {interface: br0, bridge: {interfaces: [c], vlan: {vlanFiltering: true}}}
cluster: {}
";

    const DOCUMENTS: &str = "
{apiVersion: v1alpha1, kind: BondConfig, name: bond0, links: [a, b], bondMode: balance-tlb, resendIGMP: 3,
 tlbLogicalLb: 0, peerNotifDelay: 5}
---
{apiVersion: v1alpha1, kind: BridgeConfig, name: br0, links: [c], vlan: {filtering: true}}
";

    #[test]
    fn both_forms_say_the_same() {
        let (old, new) = (links(LEGACY), links(DOCUMENTS));
        assert_eq!(old, new);
        let LinkKind::Bond(bond) = &new[0].kind else { panic!("a bond") };
        assert_eq!((bond.links.len(), bond.resend_igmp, bond.tlb_logical_lb), (2, Some(3), Some(0)));
    }

    #[test]
    fn a_cable_has_two_ends_and_each_its_own_settings() {
        let cable =
            "{apiVersion: v1alpha1, kind: VethConfig, name: a, mtu: 1400, peer: {name: b, up: false}}\n";
        let [a, b] = links(cable).try_into().unwrap();
        assert_eq!((a.kind, a.mtu, a.up), (LinkKind::Veth("b".into()), Some(1400), None));
        assert_eq!(
            (b.name.as_str(), b.kind, b.mtu, b.up),
            ("b", LinkKind::Veth("a".into()), None, Some(false))
        );
    }

    #[test]
    fn keys_do_not_print() {
        let document = "{apiVersion: v1alpha1, kind: WireguardConfig, name: wg0, privateKey: hunter2, peers: [{publicKey: p, presharedKey: hunter2}]}\n";
        let entry = "version: v1alpha1\nmachine: {type: worker, network: {interfaces: [{interface: wg1, wireguard: {privateKey: hunter2}}]}}\n";
        let config = Config::parse(format!("{entry}---\n{document}").as_bytes()).unwrap();
        let printed = format!("{:?}", config.view());
        assert!(printed.contains("REDACTED") && !printed.contains("hunter2"), "{printed}");
    }
}
