//! Links of the configuration on a real kernel. Kinds that the kernel of a test machine has not are said to be missing.

use corten_resource::ControllerStatus;
use corten_sys::netlink::{Flags, Message, Socket};

use super::*;

/// Kinds of links that a configuration makes.
const KINDS: [&str; 7] = ["bond", "bridge", "dummy", "vlan", "vrf", "veth", "wireguard"];

const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const PUBLIC_KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

/// The configuration with these documents, each given as kind and fields.
fn documents(all: &[(&str, &str)]) -> String {
    let text = |(kind, fields): &(&str, &str)| format!("{{apiVersion: v1alpha1, kind: {kind}, {fields}}}\n");
    all.iter().map(text).collect::<Vec<_>>().join("---\n")
}

/// Whether the kernel knows links of a kind; it says so before it looks at their settings.
fn kernel_has(kind: &str) -> bool {
    const RTM_NEWLINK: u16 = 16;
    const HEADER_BYTES: usize = 16;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    let work = || {
        unshare(Namespaces::NET).expect("root may unshare");
        let mut message = Message::new(RTM_NEWLINK, Flags::CREATE);
        message.bytes(&[0; HEADER_BYTES]);
        message.text(IFLA_IFNAME, "probe0");
        message.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, kind));
        let made = Socket::route().and_then(|mut socket| socket.exchange(message));
        let unknown = rustix::io::Errno::OPNOTSUPP.raw_os_error();
        made.err().and_then(|error| error.raw_os_error()) != Some(unknown)
    };
    std::thread::scope(|scope| scope.spawn(work).join()).expect("the kernel answers")
}

fn is_up(link: &LinkStatus) -> bool {
    link.flags.contains(LinkFlags::UP)
}

#[test]
fn a_bridge_a_cable_and_their_settings_follow_the_configuration() {
    in_namespaces(async |folder| {
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        configure(
            &state,
            &documents(&[
                (
                    "VethConfig",
                    "name: a, mtu: 1400, addresses: [{address: 10.7.0.1/24}], peer: {name: b, multicast: false}",
                ),
                (
                    "BridgeConfig",
                    "name: br0, links: [b], stp: {enabled: true}, hardwareAddr: '2e:00:00:00:00:01'",
                ),
            ]),
        );
        let bridge = wait::<LinkStatus>(&state, "br0", |row| {
            row.is_some_and(|link| {
                is_up(link)
                    && link.bridge_master.stp.enabled
                    && link.hardware_addr.to_string() == "2e:00:00:00:00:01"
            })
        })
        .await;
        let index = bridge.spec.index;
        let member = |link: &LinkStatus| {
            link.master_index == index
                && link.slave_kind == "bridge"
                && is_up(link)
                && !link.flags.contains(LinkFlags::MULTICAST)
        };
        wait::<LinkStatus>(&state, "b", |row| row.is_some_and(member)).await;
        let near = wait::<LinkStatus>(&state, "a", |row| row.is_some_and(|link| link.mtu == 1400)).await;
        assert_eq!((near.spec.kind.as_str(), near.spec.veth.peer_name.as_str()), ("veth", "b"));
        wait::<AddressStatus>(&state, "a/10.7.0.1/24", |row| row.is_some()).await;

        configure(
            &state,
            &documents(&[
                ("VethConfig", "name: a, peer: {name: b}"),
                ("BridgeConfig", "name: br0, links: [], stp: {enabled: false}"),
            ]),
        );
        wait::<LinkStatus>(&state, "b", |row| row.is_some_and(|link| link.master_index == 0)).await;
        wait::<LinkStatus>(&state, "br0", |row| row.is_some_and(|link| !link.bridge_master.stp.enabled))
            .await;
        assert!(
            state.get::<LinkStatus>("a").is_some_and(|link| link.spec.mtu == 1400),
            "nobody says otherwise"
        );

        configure(&state, "");
        for name in ["a", "b", "br0"] {
            gone::<LinkStatus>(&state, name).await;
            gone::<LinkSpec>(&state, name).await;
        }
        runtime.stop().await;
    });
}

#[test]
fn a_link_of_another_kind_gives_way() {
    in_namespaces(async |folder| {
        Links::open().and_then(|mut links| links.add_bridge("a")).expect("a bridge");
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        configure(&state, &documents(&[("VethConfig", "name: a, peer: {name: b}")]));
        wait::<LinkStatus>(&state, "a", |row| row.is_some_and(|link| link.kind == "veth")).await;
        runtime.stop().await;
    });
}

#[test]
fn every_kind_is_made_or_said_to_be_missing() {
    for kind in KINDS {
        in_namespaces(async move |folder| {
            Links::open().and_then(|mut links| links.add_bridge("below")).expect("a bridge");
            let state = state(registry());
            let runtime = domain(&state, capabilities(true), folder);
            let fields = match kind {
                "bond" => ("BondConfig", "name: x, links: [], bondMode: balance-rr".to_owned()),
                "bridge" => ("BridgeConfig", "name: x, links: []".to_owned()),
                "dummy" => ("DummyLinkConfig", "name: x".to_owned()),
                "vlan" => ("VLANConfig", "name: x, vlanID: 5, parent: below".to_owned()),
                "vrf" => ("VRFConfig", "name: x, links: [], table: 7".to_owned()),
                "veth" => ("VethConfig", "name: x, peer: {name: y}".to_owned()),
                _ => ("WireguardConfig", format!("name: x, privateKey: {KEY}")),
            };
            configure(&state, &documents(&[(fields.0, &fields.1)]));
            if kernel_has(kind) {
                wait::<LinkStatus>(&state, "x", |row| {
                    row.is_some_and(|link| link.kind == kind && is_up(link))
                })
                .await;
            } else {
                let tells = |row: Option<&ControllerStatus>| {
                    row.is_some_and(|status| status.reason.contains("failed to make link x"))
                };
                wait::<ControllerStatus>(&state, "network.LinkApply", tells).await;
                assert!(state.get::<LinkStatus>("x").is_none());
            }
            runtime.stop().await;
        });
    }
}

/// A bond is set, takes its links, gives them back and changes its mode, on kernels that have bonds.
#[test]
fn a_bond_takes_links_and_changes_its_mode() {
    if !kernel_has("bond") {
        return;
    }
    in_namespaces(async |folder| {
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        let cable = ("VethConfig", "name: a, peer: {name: b}");
        let bond = |fields: &str| format!("name: bond9, links: [a], miimon: 100, {fields}");
        let backup = bond("bondMode: active-backup, primary: a, failOverMac: active");
        configure(&state, &documents(&[cable, ("BondConfig", &backup)]));
        let set = |link: &LinkStatus| {
            let bond = &link.bond_master;
            is_up(link)
                && bond.mode == BondMode::ActiveBackup
                && bond.primary == "a"
                && bond.fail_over_mac == FailOverMac::Active
        };
        wait::<LinkStatus>(&state, "bond9", |row| row.is_some_and(set)).await;
        wait::<LinkStatus>(&state, "a", |row| {
            row.is_some_and(|link| link.slave_kind == "bond" && is_up(link))
        })
        .await;
        let lacp = bond("bondMode: 802.3ad, lacpRate: fast");
        configure(&state, &documents(&[cable, ("BondConfig", &lacp)]));
        let set = |link: &LinkStatus| {
            let bond = &link.bond_master;
            is_up(link) && bond.mode == BondMode::Lacp && bond.lacp_rate == LacpRate::Fast
        };
        wait::<LinkStatus>(&state, "bond9", |row| row.is_some_and(set)).await;
        wait::<LinkStatus>(&state, "a", |row| row.is_some_and(|link| link.slave_kind == "bond")).await;
        configure(&state, &documents(&[cable]));
        gone::<LinkStatus>(&state, "bond9").await;
        wait::<LinkStatus>(&state, "a", |row| row.is_some_and(|link| link.master_index == 0 && is_up(link)))
            .await;
        runtime.stop().await;
    });
}

/// VLANs, routing domains and dummies, on kernels that have them.
#[test]
fn vlans_routing_domains_and_dummies_follow_the_configuration() {
    for kind in ["vlan", "vrf", "dummy"] {
        if !kernel_has(kind) {
            continue;
        }
        in_namespaces(async move |folder| {
            let state = state(registry());
            let runtime = domain(&state, capabilities(true), folder);
            let cable = ("VethConfig", "name: a, peer: {name: b}");
            let link = |number: u32| match kind {
                "vlan" => ("VLANConfig", format!("name: x, parent: a, vlanID: {number}, vlanMode: 802.1ad")),
                "vrf" => ("VRFConfig", format!("name: x, links: [a], table: {number}")),
                _ => ("DummyLinkConfig", format!("name: x, mtu: {}", 1280 + number)),
            };
            for number in [7, 8] {
                let (document, fields) = link(number);
                configure(&state, &documents(&[cable, (document, &fields)]));
                let is_so = |link: &LinkStatus| match kind {
                    "vlan" => link.vlan == Vlan { id: number, protocol: VlanProtocol::Dot1Ad },
                    "vrf" => link.vrf_master == Some(VrfMaster { table: RouteTable(number) }),
                    _ => link.mtu == 1280 + number,
                };
                wait::<LinkStatus>(&state, "x", |row| row.is_some_and(|link| is_up(link) && is_so(link)))
                    .await;
            }
            if kind == "vrf" {
                wait::<LinkStatus>(&state, "a", |row| row.is_some_and(|link| link.slave_kind == "vrf")).await;
            }
            runtime.stop().await;
        });
    }
}

/// Keys and peers, on kernels that have WireGuard.
#[test]
fn wireguard_gets_its_keys_and_peers() {
    if !kernel_has("wireguard") {
        return;
    }
    in_namespaces(async |folder| {
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        let peers = format!(
            "[{{publicKey: {KEY}, endpoint: '192.0.2.1:51820', persistentKeepaliveInterval: 25s, \
             allowedIPs: [10.1.0.0/16]}}]"
        );
        let fields = format!("name: wg0, privateKey: {KEY}, listenPort: 51821, peers: {peers}");
        configure(&state, &documents(&[("WireguardConfig", &fields)]));
        let link = wait::<LinkStatus>(&state, "wg0", |row| {
            row.is_some_and(|link| is_up(link) && link.wireguard.peers.len() == 1)
        })
        .await;
        let wireguard = &link.spec.wireguard;
        assert_eq!((wireguard.public_key.as_str(), wireguard.listen_port), (PUBLIC_KEY, 51_821));
        assert_eq!(wireguard.peers[0].endpoint, "192.0.2.1:51820");
        configure(&state, &documents(&[("WireguardConfig", &format!("name: wg0, privateKey: {KEY}"))]));
        wait::<LinkStatus>(&state, "wg0", |row| row.is_some_and(|link| link.wireguard.peers.is_empty()))
            .await;
        runtime.stop().await;
    });
}

#[test]
fn a_link_gets_another_name_and_loses_it() {
    in_namespaces(async |folder| {
        cable();
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        state.put("", "eth0", LinkAliasSpec { alias: "lan".into() }).expect("put");
        wait::<LinkStatus>(&state, "eth0", |row| row.is_some_and(|link| link.alias == "lan")).await;
        configure(&state, &documents(&[("LinkConfig", "name: lan, addresses: [{address: 10.6.0.1/24}]")]));
        wait::<AddressStatus>(&state, "eth0/10.6.0.1/24", |row| row.is_some()).await;
        let pointer = Pointer::new("network", LinkAliasSpec::DEFINITION.kind, "eth0");
        state.remove_any("", &pointer).expect("removed");
        wait::<LinkStatus>(&state, "eth0", |row| row.is_some_and(|link| link.alias.is_empty())).await;
        runtime.stop().await;
    });
}

#[test]
fn features_of_a_device_are_switched() {
    in_namespaces(async |folder| {
        cable();
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        let features = "name: eth0, features: {tx-nocache-copy: true}";
        configure(&state, &documents(&[("EthernetConfig", features)]));
        wait::<LinkRefresh>(&state, LinkRefresh::ETHERNET, |row| row.is_some()).await;
        let mut generic = corten_sys::netlink::Generic::open().expect("netlink");
        let device = corten_sys::ethtool::device(&mut generic, "eth0").expect("a device");
        let feature = device.features.iter().find(|feature| feature.name == "tx-nocache-copy");
        assert!(feature.is_some_and(|feature| feature.is_active));
        runtime.stop().await;
    });
}
