//! The codec: wire bytes that other implementations read, round trips, arbitrary input.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_resource::{
    AnyResource, Enumeration, HardwareAddr, Metadata, Nanos, Object, Record, Resource, Spec, proto, yaml,
};
use ipnet::IpNet;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
enum Phase {
    #[default]
    #[variant(0, "waiting")]
    Waiting,
    #[variant(1, "failed")]
    Failed,
    #[variant(7, "ready")]
    Ready,
}

#[derive(Clone, Debug, Default, PartialEq, Record)]
struct NextHop {
    #[field(1, "gateway")]
    gateway: Option<IpAddr>,
    #[field(2, "outLinkName", omitempty)]
    out_link_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Record)]
struct Selector {
    #[field(1, "match", omitempty, expression)]
    expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Record)]
struct Slave {
    #[field(1, "masterName", omitempty)]
    master_name: String,
    #[field(2, "slaveIndex", omitempty)]
    slave_index: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Specimens.net.talos.dev", namespace = "network", aliases("speci", "men"),
           columns("Name" => "{.name}", "Phase" => "{.phase}"), sensitive)]
struct Specimen {
    #[field(1, "name")]
    name: String,
    #[field(2, "enabled")]
    enabled: bool,
    #[field(3, "count")]
    count: i64,
    #[field(4, "size", omitempty)]
    size: u64,
    #[field(5, "ratio")]
    ratio: f64,
    #[field(6, "data", base64)]
    data: Vec<u8>,
    #[field(7, "phase")]
    phase: Phase,
    #[field(8, "nextHops", omitempty)]
    next_hops: Vec<NextHop>,
    #[field(9, "slave", inline)]
    slave: Slave,
    #[field(10, "options")]
    options: BTreeMap<String, String>,
    #[field(11, "addresses")]
    addresses: Vec<IpAddr>,
    #[field(12, "subnet")]
    subnet: Option<IpNet>,
    #[field(13, "endpoint", omitempty)]
    endpoint: Option<SocketAddr>,
    #[field(14, "interval")]
    interval: Duration,
    #[field(15, "offset")]
    offset: Nanos,
    #[field(16, "since")]
    since: Option<SystemTime>,
    #[field(17, "status", omitempty)]
    status: Object,
    #[field(18, "hardwareAddr")]
    hardware_addr: HardwareAddr,
    #[field(19, "url", url)]
    url: Option<String>,
    #[field(20, "numbers")]
    numbers: Vec<u32>,
    #[field(21, "phases")]
    phases: Vec<Phase>,
    #[field(22, "named")]
    named: BTreeMap<String, NextHop>,
    #[field(23, "maybe", omitempty)]
    maybe: Option<bool>,
    #[field(24, "next")]
    next: Option<NextHop>,
    #[field(25, "raw", omitempty)]
    raw: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Kinds.net.talos.dev", namespace = "network", scalar)]
struct Scalar {
    #[field(1, "phase")]
    phase: Phase,
}

#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Documents.net.talos.dev", namespace = "network", yaml_string)]
struct Document {
    #[field(1, "yaml_marshalled")]
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Empties.net.talos.dev", namespace = "network")]
struct Empty {}

fn from_yaml<S: Spec>(text: &str) -> S {
    let metadata = Metadata::new("network", S::DEFINITION.kind, "x");
    let resource = AnyResource::from_yaml::<S>(metadata, text).expect("valid YAML");
    resource.spec::<S>().expect("of the type").clone()
}

fn specimen() -> Specimen {
    Specimen {
        name: "eth0".to_owned(),
        enabled: true,
        count: -1,
        ratio: 0.5,
        data: b"pem".to_vec(),
        phase: Phase::Ready,
        next_hops: vec![NextHop { gateway: "10.0.0.1".parse().ok(), out_link_name: "eth0".to_owned() }],
        slave: Slave { master_name: "bond0".to_owned(), slave_index: 0 },
        options: BTreeMap::from([("a".to_owned(), "true".to_owned())]),
        addresses: vec!["::1".parse().expect("an address")],
        subnet: "10.0.0.5/24".parse().ok(),
        interval: Duration::from_millis(90_500),
        offset: Nanos(-1_500),
        since: UNIX_EPOCH.checked_add(Duration::from_secs(1_700_000_000)),
        hardware_addr: "52:54:00:12:34:56".parse().expect("an address"),
        url: Some("https://a:1".to_owned()),
        numbers: vec![1, 300],
        ..Specimen::default()
    }
}

#[test]
fn yaml_reads_like_the_clients_expect() {
    let expected = r#"name: eth0
enabled: true
count: -1
ratio: 0.5
data: cGVt
phase: ready
nextHops:
    - gateway: "10.0.0.1"
      outLinkName: eth0
masterName: bond0
options:
    a: "true"
addresses:
    - "::1"
subnet: 10.0.0.5/24
interval: 1m30.5s
offset: -1.5µs
since: 2023-11-14T22:13:20Z
hardwareAddr: "52:54:00:12:34:56"
url:
    scheme: https
    opaque: ""
    user: null
    host: a:1
    path: ""
    fragment: ""
    rawquery: ""
    rawpath: ""
    rawfragment: ""
    forcequery: false
    omithost: false
numbers:
    - 1
    - 300
phases: []
named: {}
next: null
"#;
    assert_eq!(yaml::write(&specimen(), yaml::Style::Mapping), expected);
    assert_eq!(from_yaml::<Specimen>(expected), specimen());
}

#[test]
fn absent_values_read_like_zero_values_of_go() {
    let text = yaml::write(&Specimen::default(), yaml::Style::Mapping);
    for line in
        ["subnet: \"\"", "since: 0001-01-01T00:00:00Z", "next: null", "hardwareAddr: \"\"", "addresses: []"]
    {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    for absent in ["size", "endpoint", "status", "masterName", "maybe"] {
        assert!(!text.contains(absent), "{absent} in\n{text}");
    }
    assert_eq!(from_yaml::<Specimen>(&text), Specimen::default());
}

#[test]
fn protobuf_bytes_are_those_of_the_wire_contract() {
    let hop = NextHop { gateway: "10.0.0.1".parse().ok(), out_link_name: "e".to_owned() };
    assert_eq!(proto::encode(&hop, yaml::Style::Mapping), [10, 6, 10, 4, 10, 0, 0, 1, 18, 1, b'e']);
    assert_eq!(
        proto::encode(&NextHop::default(), yaml::Style::Mapping),
        [18, 0],
        "zero values are written, absent ones are not"
    );
    assert_eq!(
        proto::encode(&Slave { master_name: String::new(), slave_index: -1 }, yaml::Style::Mapping)[2..]
            .len(),
        11
    );
    let field = |number: u32, bytes: &[u8]| {
        let whole = proto::encode(&specimen(), yaml::Style::Mapping);
        let tag = if number < 16 {
            vec![(number << 3 | 2) as u8]
        } else {
            vec![(number << 3 & 0x7f | 2) as u8 | 0x80, (number >> 4) as u8]
        };
        let wanted = [&tag[..], &[bytes.len() as u8], bytes].concat();
        assert!(whole.windows(wanted.len()).any(|window| window == wanted), "field {number} in {whole:?}");
    };
    field(12, &[10, 4, 10, 0, 0, 5, 16, 24]);
    field(14, &[8, 90, 16, 0x80, 0xca, 0xb5, 0xee, 1]);
    field(16, &[8, 0x80, 0xe2, 0xcf, 0xaa, 6]);
    field(19, b"\x0a\x0bhttps://a:1");
    field(20, &[1, 0xac, 2]);
    field(10, &[10, 1, b'a', 18, 4, b't', b'r', b'u', b'e']);
}

#[test]
fn an_expression_is_a_tree_on_the_wire_and_one_text_in_yaml() {
    let selector = Selector { expression: "!  system_disk".to_owned() };
    assert_eq!(yaml::write(&selector, yaml::Style::Mapping), "match: \"!system_disk\"\n");
    let bytes = proto::encode(&selector, yaml::Style::Mapping);
    // CheckedExpr{4: Expr{2: 1, 6: Call{2: "!_", 3: Expr{2: 2, 4: Ident{1: "system_disk"}}}}}
    let ident = b"\x10\x02\x22\x0d\x0a\x0bsystem_disk";
    let tree = [&b"\x0a\x1d\x22\x1b\x10\x01\x32\x17\x12\x02!_\x1a\x11"[..], ident].concat();
    assert_eq!(bytes, tree);
    let mut back = Selector::default();
    assert_eq!(proto::decode(&bytes, &mut back).expect("decodes"), b"");
    assert_eq!(back.expression, "!system_disk");
    let none = proto::encode(&Selector::default(), yaml::Style::Mapping);
    assert_eq!(none, b"\x0a\x00");
}

#[test]
fn scalar_string_and_empty_forms() {
    assert_eq!(yaml::write(&Scalar { phase: Phase::Failed }, yaml::Style::Scalar), "failed\n");
    assert_eq!(from_yaml::<Scalar>("failed").phase, Phase::Failed);
    let document = Document { bytes: b"version: v1alpha1\n# comment\n---\nkind: \"X\"\n".to_vec() };
    let resource: AnyResource = Resource::new("v1alpha1", document.clone()).into();
    assert_eq!(resource.to_yaml(), "\"version: v1alpha1\\n# comment\\n---\\nkind: \\\"X\\\"\\n\"\n");
    assert_eq!(resource.metadata().annotations.get("talos.dev/yaml-spec").map(String::as_str), Some("1"));
    assert_eq!(from_yaml::<Document>(&resource.to_yaml()), document);
    assert_eq!(yaml::write(&Empty {}, yaml::Style::Mapping), "{}\n");
    assert_eq!(proto::encode(&Empty {}, yaml::Style::Mapping), b"");
}

#[test]
fn unknown_fields_travel_in_the_envelope() {
    let mut bytes = proto::encode(&NextHop::default(), yaml::Style::Mapping);
    bytes.extend_from_slice(&[0x82, 0x7d, 2, b'h', b'i', 0x80, 0x7d, 5]);
    let mut hop = NextHop::default();
    let unknown = proto::decode(&bytes, &mut hop).expect("decodes");
    assert_eq!(unknown, [0x82, 0x7d, 2, b'h', b'i', 0x80, 0x7d, 5]);
    let mut bytes = proto::encode(&Scalar::default(), yaml::Style::Mapping);
    bytes.extend_from_slice(&unknown);
    let metadata = Metadata::new("network", Scalar::DEFINITION.kind, "x");
    let resource = AnyResource::from_proto::<Scalar>(metadata, &bytes).expect("decodes");
    assert_eq!(resource.to_proto(), bytes);
}

#[test]
fn the_definition_is_what_the_attribute_says_and_secrets_stay_out_of_debug() {
    let definition = Specimen::DEFINITION;
    assert_eq!((definition.kind, definition.namespace), ("Specimens.net.talos.dev", "network"));
    assert_eq!(definition.aliases, ["speci", "men"]);
    assert_eq!(definition.columns, [("Name", "{.name}"), ("Phase", "{.phase}")]);
    assert!(definition.sensitive && !definition.scalar && !definition.internal && !definition.yaml_string);
    let resource = Resource::new("x", specimen());
    assert!(!format!("{resource:?} {:?}", AnyResource::from(resource.clone())).contains("eth0"));
}

#[test]
fn enumerations_have_texts() {
    assert_eq!("ready".parse(), Ok(Phase::Ready));
    assert!("gone".parse::<Phase>().is_err());
    assert_eq!(Phase::Ready.to_string(), "ready");
    assert_eq!((Phase::from_number(7), Phase::from_number(3)), (Some(Phase::Ready), None));
}

prop_compose! {
    fn hop()(gateway in any::<Option<IpAddr>>(), out_link_name in "\\PC{0,8}") -> NextHop {
        NextHop { gateway, out_link_name }
    }
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just(Phase::Waiting), Just(Phase::Failed), Just(Phase::Ready)]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-1_000_000_i64..1_000_000).prop_map(Into::into),
        ".{0,6}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-z~ :]{1,5}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn scalars()(
        name in any::<String>(), enabled in any::<bool>(), count in any::<i64>(), size in any::<u64>(),
        ratio in -1e9_f64..1e9, data in any::<Vec<u8>>(), phase in phase(), seconds in 0_u64..4_000_000_000,
        nanos in 0_u32..1_000_000_000, offset in any::<i64>(), mac in any::<[u8; 6]>(), text in "\\PC{0,20}",
    ) -> Specimen {
        Specimen {
            name, enabled, count, size, ratio, data, phase,
            interval: Duration::new(seconds, nanos),
            offset: Nanos(offset),
            since: UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)),
            hardware_addr: HardwareAddr(mac.to_vec()),
            url: Some(text),
            ..Specimen::default()
        }
    }
}

prop_compose! {
    fn specimens()(
        base in scalars(), next_hops in prop::collection::vec(hop(), 0..3), next in prop::option::of(hop()),
        options in prop::collection::btree_map(".{0,8}", any::<String>(), 0..3),
        addresses in any::<Vec<IpAddr>>(), v4 in any::<std::net::Ipv4Addr>(), length in 0_u8..=32,
        endpoint in any::<Option<(IpAddr, u16)>>(), numbers in any::<Vec<u32>>(), maybe in any::<Option<bool>>(),
        phases in prop::collection::vec(phase(), 0..3), raw in any::<Vec<u8>>(),
        named in prop::collection::btree_map("[a-z]{0,4}", hop(), 0..3),
        status in prop::collection::btree_map("[a-z]{1,4}", json(), 0..3),
    ) -> Specimen {
        Specimen {
            next_hops, next, options, addresses, numbers, phases, named, raw, maybe,
            subnet: IpNet::new(IpAddr::V4(v4), length).ok(),
            endpoint: endpoint.map(SocketAddr::from),
            status: status.into_iter().collect(),
            ..base
        }
    }
}

proptest! {
    #[test]
    fn protobuf_round_trips(spec in specimens()) {
        let mut back = Specimen::default();
        let unknown = proto::decode(&proto::encode(&spec, yaml::Style::Mapping), &mut back).expect("decodes");
        prop_assert!(unknown.is_empty());
        prop_assert_eq!(back, spec);
    }

    #[test]
    fn yaml_round_trips(spec in specimens()) {
        let text = yaml::write(&spec, yaml::Style::Mapping);
        let mut back = Specimen::default();
        yaml::read(&text, &mut back, yaml::Style::Mapping).unwrap_or_else(|error| panic!("{error} in\n{text}"));
        prop_assert_eq!(back, spec, "{}", text);
    }
}

#[test]
fn arbitrary_bytes_never_panic_and_what_decodes_encodes_to_the_same() {
    bolero::check!().with_iterations(20_000).for_each(|bytes: &[u8]| {
        let mut spec = Specimen::default();
        if let Ok(unknown) = proto::decode(bytes, &mut spec) {
            let mut again = proto::encode(&spec, yaml::Style::Mapping);
            again.extend_from_slice(&unknown);
            let mut back = Specimen::default();
            assert_eq!(proto::decode(&again, &mut back), Ok(unknown));
            // Not a number differs from itself.
            assert!(back == spec || spec.ratio.is_nan());
        }
    });
}

#[test]
fn arbitrary_text_never_panics() {
    bolero::check!().with_iterations(20_000).for_each(|bytes: &[u8]| {
        if let Ok(text) = str::from_utf8(bytes) {
            let _ = yaml::read(text, &mut Specimen::default(), yaml::Style::Mapping);
        }
    });
}
