//! What a lease means; and a client that gets one from a server of ours over a cable between two namespaces, through a
//! firewall that blocks.

use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use corten_resources::network::ClientIdentifierSpec;
use corten_sys::network::Links;

use super::*;
use crate::dhcp::Protocol;
use crate::neighbour::Neighbour;
use crate::nftables_apply::tests::{BLOCK, program};

fn lease() -> Lease {
    Lease {
        address: Some("fd00::77".parse().expect("ip")),
        name_servers: vec!["fd00::53".parse().expect("ip")],
        time_servers: vec!["fd00::123".into(), "time.example.org".into(), "not a name".into()],
        search_domains: vec!["example.org".into(), "-bad-".into()],
        hostname: Some("node-1.example.org".into()),
    }
}

#[test]
fn a_lease_is_an_address_of_its_own_with_servers_and_a_name() {
    let settings = Dhcp6Operator { route_metric: 512, ..Dhcp6Operator::default() };
    let told = outcome("eth0", &settings, &lease());
    let address = told.address.expect("an address");
    assert_eq!((address.address.to_string().as_str(), address.priority), ("fd00::77/128", 512));
    assert!(told.routes.is_empty());
    let resolvers = told.resolvers.expect("resolvers");
    assert_eq!((resolvers.dns_servers.len(), resolvers.search_domains), (1, vec!["example.org".to_owned()]));
    let servers = told.time_servers.expect("servers").time_servers;
    assert_eq!(servers, ["fd00::123", "time.example.org"]);
    assert_eq!(told.hostname.expect("a name").domainname, "example.org");
    let quiet = Dhcp6Operator { skip_hostname_request: true, ..settings };
    assert_eq!(outcome("eth0", &quiet, &lease()).hostname, None);
    assert_eq!(outcome("eth0", &quiet, &Lease::default()), Outcome::default());
}

#[test]
fn names_are_labels_after_their_lengths() {
    assert_eq!(client_name(b"\x01\x04node\x02de\x00").as_deref(), Some("node.de"));
    assert_eq!(client_name(b"\x01\x04node").as_deref(), Some("node"));
    assert_eq!(client_name(b"\x01\x09node"), None);
    assert_eq!(client_name(b""), None);
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = client_name(bytes);
        let _ = duid(bytes);
    });
}

#[test]
fn identifiers_are_understood_by_their_types() {
    let bytes = |text: &str| hex::decode(text).expect("hexadecimal");
    let time = duid(&bytes("00010001307a70b8720726d999d9"));
    let DhcpV6Duid::LinkLayerAddressPlusTime(time) = time else { panic!("{time:?}") };
    assert_eq!((time.hardware_type, time.time, time.link_layer_address.len()), (1, 0x307a_70b8, 6));
    assert!(matches!(duid(&bytes("0002000000091234")), DhcpV6Duid::EnterpriseNumber(_)));
    assert!(matches!(duid(&bytes("00030001525400123456")), DhcpV6Duid::LinkLayerAddress(_)));
    assert!(matches!(duid(&bytes("0004000102030405060708090a0b0c0d0e0f")), DhcpV6Duid::UUID(_)));
    assert!(matches!(duid(&bytes("00040001")), DhcpV6Duid::Raw(_)));
    assert!(matches!(duid(&bytes("00ff0001")), DhcpV6Duid::Raw(_)));
}

/// Long for a lease over a cable.
const DEADLINE: Duration = Duration::from_secs(30);
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const REPLY: u8 = 7;
const CLIENT_ID: u16 = 1;

fn option(code: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short");
    [&code.to_be_bytes()[..], &length.to_be_bytes(), content].concat()
}

/// The content of the client's option with this code.
fn find(message: &[u8], code: u16) -> Option<Vec<u8>> {
    let mut rest = message.get(4..)?;
    loop {
        let (found, after) = rest.split_first_chunk::<2>()?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let (content, next) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        if u16::from_be_bytes(*found) == code {
            return Some(content.to_vec());
        }
        rest = next;
    }
}

/// What a server answers; nothing to messages that are none of these.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let kind = match *message.first()? {
        SOLICIT => ADVERTISE,
        REQUEST => REPLY,
        _ => return None,
    };
    let client = find(message, CLIENT_ID)?;
    let own: Ipv6Addr = "fd00::77".parse().ok()?;
    let life = |seconds: u32| seconds.to_be_bytes();
    let address = option(5, &[&own.octets()[..], &life(600), &life(900)].concat());
    let association = find(message, 3)?;
    let iaid = association.first_chunk::<4>()?;
    let server: Ipv6Addr = "fd00::53".parse().ok()?;
    Some(
        [
            vec![kind],
            message.get(1..4)?.to_vec(),
            option(CLIENT_ID, &client),
            option(2, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 2]),
            option(3, &[&iaid[..], &life(300), &life(450), &address].concat()),
            option(23, &server.octets()),
            option(24, b"\x07example\x03org\x00"),
            option(CLIENT_NAME, b"\x00\x06node-1\x07example\x03org\x00"),
        ]
        .concat(),
    )
}

/// The address of a link that its neighbours know, once nobody else was found to have it.
fn link_local(link: &str) -> Ipv6Addr {
    let read = || {
        let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6").expect("addresses");
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = lines.find(|row| row.len() == 6 && row[5] == link && row[3] == "20")?;
        let is_tentative = u32::from_str_radix(row[4], 16).expect("flags") & 0x40 != 0;
        (!is_tentative).then(|| Ipv6Addr::from(u128::from_str_radix(row[0], 16).expect("an address")))
    };
    for _ in 0..500 {
        if let Some(address) = read() {
            return address;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{link} has no address");
}

/// Answers at the other end until the client has its lease.
fn serve(index: u32) -> Vec<u8> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 547))).expect("bind");
    let everybody: Ipv6Addr = "ff02::1:2".parse().expect("ip");
    socket.join_multicast_v6(&everybody, index).expect("join");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let mut seen = Vec::new();
    while !seen.contains(&REQUEST) {
        let mut buffer = [0; 1500];
        let (length, from) = socket.recv_from(&mut buffer).expect("a message");
        let SocketAddr::V6(from) = from else { panic!("{from}") };
        if let Some(answer) = answer(&buffer[..length]) {
            seen.push(buffer[0]);
            let to = SocketAddrV6::new(*from.ip(), from.port(), 0, index);
            socket.send_to(&answer, to).expect("answered");
        }
    }
    seen
}

#[test]
fn a_client_asks_over_its_link_and_gets_a_lease_through_its_firewall() {
    let work = || {
        let neighbour = Neighbour::of_this_thread("dhcp6");
        let mut links = Links::open().expect("links");
        links.set_up("eth0").expect("up");
        let their_index = neighbour.run(|| {
            let mut links = Links::open()?;
            links.set_up("eth0")?;
            links.index("eth0")
        });
        let their_index = their_index.expect("an index").expect("a link");
        let index = links.index("eth0").expect("an index").expect("a link");
        let from = link_local("eth0");
        neighbour.run(|| link_local("eth0"));
        let duid_raw_hex = "00030001020000000009".to_owned();
        let settings = Dhcp6Operator {
            client_identifier: ClientIdentifierSpec { kind: ClientIdentifier::Duid, duid_raw_hex },
            ..Dhcp6Operator::default()
        };
        let protocol = Protocol::V6(settings.clone(), from);
        let job = Job { link: "eth0".into(), index, hardware_addr: vec![2, 0, 0, 0, 0, 9], protocol };
        let lease = std::thread::scope(|scope| {
            let served = scope.spawn(|| neighbour.run(|| serve(their_index)));
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            let lease = runtime.block_on(async {
                program(BLOCK).await;
                let config = config(&job, &settings, from).expect("a configuration");
                let mut client = DhcpV6Client::init(config, None).await.expect("a client");
                let ask = async {
                    loop {
                        if let DhcpV6State::Done(lease) = client.run().await.expect("an answer") {
                            return Lease::from(lease.as_ref());
                        }
                    }
                };
                tokio::time::timeout(DEADLINE, ask).await.expect("a lease in time")
            });
            assert_eq!(served.join().expect("served").first(), Some(&SOLICIT));
            lease
        });
        assert_eq!(lease.address, Some("fd00::77".parse().expect("ip")));
        assert_eq!(lease.name_servers, ["fd00::53".parse::<Ipv6Addr>().expect("ip")]);
        assert_eq!(lease.hostname.as_deref(), Some("node-1.example.org"));
        assert_eq!(lease.search_domains.first().map(|it| it.trim_end_matches('.')), Some("example.org"));
    };
    std::thread::scope(|scope| scope.spawn(work).join()).expect("no panic");
}
