//! What documents about links may say.

use crate::{Config, Target};

const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

/// What is wrong with documents, each given as its kind and its fields.
fn problems(documents: &[(&str, &str)]) -> Vec<String> {
    let text = |(kind, fields): &(&str, &str)| format!("{{apiVersion: v1alpha1, kind: {kind}, {fields}}}\n");
    let texts: Vec<_> = documents.iter().map(text).collect();
    let mut found: Vec<_> = match Config::check(texts.join("---\n").as_bytes(), Target::Container) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(crate::problem::Problem::text).collect(),
    };
    found.sort();
    found
}

fn check(documents: &[(&str, &str)], expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(problems(documents), expected, "{documents:?}");
}

#[test]
fn whole_documents_of_every_kind_are_taken() {
    let wireguard = format!(
        "name: wg0, privateKey: {KEY}, listenPort: 51820, peers: [{{publicKey: {KEY}, endpoint: '192.0.2.1:51820', \
         persistentKeepaliveInterval: 25s, allowedIPs: [10.1.0.0/16]}}]"
    );
    check(
        &[
            (
                "LinkConfig",
                "name: eth9, routes: [{gateway: 10.0.0.1, table: 100}], addresses: [{address: 10.0.0.2/24}]",
            ),
            (
                "BondConfig",
                "name: bond0, links: [eth0, eth1], bondMode: 802.3ad, lacpRate: fast, miimon: 100, updelay: 200",
            ),
            ("BridgeConfig", "name: br0, links: [eth2], stp: {enabled: true}, vlan: {filtering: true}"),
            ("DummyLinkConfig", "name: dummy0, hardwareAddr: '2e:3c:4d:5e:6f:70', multicast: true"),
            ("VLANConfig", "name: bond0.5, vlanID: 5, parent: bond0, vlanMode: 802.1ad"),
            ("VRFConfig", "name: vrf-blue, links: [eth3], table: 200"),
            ("VethConfig", "name: veth-a, peer: {name: veth-b, up: false}"),
            ("WireguardConfig", &wireguard),
            ("BlackholeRouteConfig", "name: 10.0.0.0/8, metric: 5"),
            (
                "RoutingRuleConfig",
                "name: '1000', src: 10.0.0.0/8, table: main, action: blackhole, fwMark: 1, fwMask: 1",
            ),
            ("LinkAliasConfig", "name: net%d, selector: {match: link.driver == 'e1000'}"),
            (
                "EthernetConfig",
                "name: eth0, features: {tx-checksum-ipv4: true}, rings: {rx: 256}, wakeOnLan: [magic]",
            ),
        ],
        &[],
    );
}

#[test]
fn names_addresses_and_tables_are_those_of_the_kernel() {
    check(
        &[
            ("DummyLinkConfig", "name: a-name-that-is-too-long, hardwareAddr: '52:54:00'"),
            ("DummyLinkConfig", "name: a/b, routes: [{gateway: 10.0.0.1, table: blue}]"),
            ("VRFConfig", "name: vrf0, links: [], table: 0"),
            ("VLANConfig", "name: a.5, vlanID: 5, parent: a.5"),
            ("VethConfig", "name: v, peer: {name: v}"),
        ],
        &[
            "document DummyLinkConfig/a-name-that-is-too-long: hardwareAddr: \"52:54:00\" is not a hardware address such as 52:54:00:00:00:01",
            "document DummyLinkConfig/a-name-that-is-too-long: name: \"a-name-that-is-too-long\" is not a name of a link (at most 15 bytes, without blanks, / and :)",
            "document DummyLinkConfig/a/b: name: \"a/b\" is not a name of a link (at most 15 bytes, without blanks, / and :)",
            "document DummyLinkConfig/a/b: routes[0].table: \"blue\" is not a number, nor one of default, main, local, unspec",
            "document VRFConfig/vrf0: table: \"0\" is not a number, nor one of default, main, local, unspec",
            "document VLANConfig/a.5: parent: a.5 cannot be below itself",
            "document VethConfig/v: peer.name: the two ends need two names",
        ],
    );
}

#[test]
fn a_link_is_described_once_and_belongs_to_one_other() {
    check(
        &[
            ("BondConfig", "name: bond0, links: [eth0, eth0, bond0], bondMode: active-backup, primary: eth7"),
            ("BridgeConfig", "name: br0, links: [eth0]"),
            ("DummyLinkConfig", "name: bond0"),
            ("VethConfig", "name: v, peer: {name: br0}"),
        ],
        &[
            "document BondConfig/bond0: links[1]: eth0 is already named in line 1",
            "document BondConfig/bond0: links[2]: bond0 cannot belong to itself",
            "document BondConfig/bond0: primary: eth7 is not a link of this bond",
            "document BridgeConfig/br0: links: eth0 belongs to BondConfig/bond0 in line 1 already",
            "document DummyLinkConfig/bond0: name: BondConfig/bond0 in line 1 is about bond0 too",
            "document VethConfig/v: peer.name: BridgeConfig/br0 in line 3 is about br0 too",
        ],
    );
}

#[test]
fn a_bond_has_what_its_mode_has() {
    check(
        &[(
            "BondConfig",
            "name: b, links: [a], bondMode: balance-rr, lacpRate: fast, primary: a, miimon: 100, updelay: 150, \
             arpInterval: 5, arpIpTargets: ['fd00::1'], tlbLogicalLb: 1, packetsPerSlave: 2",
        )],
        &[
            "document BondConfig/b: arpInterval: a bond with miimon does not probe; keep only one",
            "document BondConfig/b: arpIpTargets[0]: expected an address of IPv4",
            "document BondConfig/b: lacpRate: bonds have it in the mode 802.3ad only, this one is balance-rr",
            "document BondConfig/b: primary: bonds have it in the mode active-backup or balance-tlb or balance-alb only, this one is balance-rr",
            "document BondConfig/b: updelay: must be a multiple of miimon, which is 100",
        ],
    );
    check(
        &[(
            "BondConfig",
            "name: b, links: [a], bondMode: 802.3ad, adActorSysPrio: 0, adUserPortKey: 1024, resendIGMP: 256, \
             lpInterval: 1, peerNotifDelay: 300000",
        )],
        &[
            "document BondConfig/b: adActorSysPrio: must be from 1 to 65535",
            "document BondConfig/b: adUserPortKey: must be from 0 to 1023",
            "document BondConfig/b: resendIGMP: must be from 0 to 255",
        ],
    );
}

#[test]
fn keys_are_keys_and_never_shown() {
    check(
        &[(
            "WireguardConfig",
            "name: wg0, privateKey: aHVudGVyMg==, peers: [{publicKey: x, endpoint: 'host:51820'}, {publicKey: x}]",
        )],
        &[
            "document WireguardConfig/wg0: privateKey: not a WireGuard key, which is the base64 of 32 bytes",
            "document WireguardConfig/wg0: peers[0].publicKey: not a WireGuard key, which is the base64 of 32 bytes",
            "document WireguardConfig/wg0: peers[0].endpoint: \"host:51820\" is not an address with a port such as 192.0.2.1:51820",
            "document WireguardConfig/wg0: peers[1].publicKey: not a WireGuard key, which is the base64 of 32 bytes",
            "document WireguardConfig/wg0: peers[1].publicKey: this peer is already given in line 1",
        ],
    );
}

#[test]
fn rules_and_aliases_say_what_they_mean() {
    check(
        &[
            ("RoutingRuleConfig", "name: '32500', table: '1', src: 10.0.0.0/8, dst: 'fd00::/8', fwMask: 1"),
            ("LinkAliasConfig", "name: net%d%d, selector: {}"),
        ],
        &[
            "document RoutingRuleConfig/32500: dst: fd00::/8 and 10.0.0.0/8 are of different families",
            "document RoutingRuleConfig/32500: fwMask: needs fwMark",
            "document RoutingRuleConfig/32500: name: \"32500\" is not a priority: a number from 1 to 32765, except 32500 and 32501",
            "document LinkAliasConfig/net%d%d: name: \"net%d%d\" is not a name of a link, in which one %d may stand for a number",
            "document LinkAliasConfig/net%d%d: selector.match: missing; expected an expression such as link.driver == 'e1000'",
        ],
    );
}

#[test]
fn links_of_the_older_form_are_checked_alike() {
    let text = "version: v1alpha1
machine:
  type: worker
  network:
    interfaces:
      - {interface: bond0, bond: {interfaces: [eth0, eth0], mode: 802.3ad, arpInterval: 5}, dummy: true}
      - {deviceSelector: {driver: x}, bridge: {interfaces: [eth1]}}
      - {interface: wg0, wireguard: {listenPort: 1, peers: [{endpoint: x}]}}
cluster: {}
";
    let problems = Config::check(text.as_bytes(), Target::Container).unwrap_err().to_string();
    for problem in [
        "interfaces[0].dummy: bond and dummy exclude each other",
        "interfaces[0].bond.interfaces[1]: eth0 is already named in line 6",
        "interfaces[0].bond.arpInterval: bonds have it in the mode balance-rr or active-backup",
        "interfaces[1].deviceSelector: a bridge is made, and needs a name",
        "interfaces[2].wireguard.privateKey: missing",
        "interfaces[2].wireguard.peers[0].publicKey: missing",
    ] {
        assert!(problems.contains(problem), "{problem}\n{problems}");
    }
}
