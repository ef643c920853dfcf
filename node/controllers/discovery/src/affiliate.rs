//! A member of the cluster, as it tells about itself.
//!
//! ```text
//! Affiliate ─▶ message ─▶ (seal) ─▶ service ─▶ (open) ─▶ message ─▶ rules ─▶ Affiliate of another member
//! ```

use std::net::{IpAddr, SocketAddr};

use corten_api::sidero::discovery::{client, server};
use corten_resource::Enumeration as _;
use corten_resources::cluster::{Affiliate, ControlPlane, KubeSpanAffiliate};
use corten_resources::config::Role;
use ipnet::IpNet;
use prost::Message as _;

use crate::seal::Key;

/// Longest node id, bytes. Ours have 43; services take up to 256.
const ID_BYTES_MAX: usize = 128;
/// Longest name, bytes: that of a host (RFC 1123).
const NAME_BYTES_MAX: usize = 253;
/// Longest name of an operating system, bytes.
const SYSTEM_BYTES_MAX: usize = 256;
/// Addresses and networks that are taken of a member, each.
const ADDRESSES_MAX: usize = 64;

/// Why what a service holds is no member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Somebody else wrote it, or it holds endpoints alone.
    #[error("it is not sealed with the secret of this cluster")]
    Sealed,
    /// It is something else.
    #[error("it is no description of a member")]
    Message,
    /// It was moved to another id.
    #[error("it describes another member")]
    Foreign,
    /// Its names could not be those of resources.
    #[error("it has a name that no member can have")]
    Name,
}

/// What a member tells the others, in the clear.
pub fn describe(affiliate: &Affiliate) -> Vec<u8> {
    let plane = |plane: &ControlPlane| client::ControlPlane {
        api_server_port: u32::try_from(plane.port).unwrap_or_default(),
    };
    let message = client::Affiliate {
        node_id: affiliate.node_id.clone(),
        addresses: affiliate.addresses.iter().map(octets).collect(),
        hostname: affiliate.hostname.clone(),
        nodename: affiliate.nodename.clone(),
        machine_type: affiliate.machine_type.text().to_owned(),
        operating_system: affiliate.operating_system.clone(),
        kubespan: None,
        control_plane: affiliate.control_plane.as_ref().map(plane),
    };
    message.encode_to_vec()
}

/// The member that a service holds.
///
/// # Errors
/// When it is none of this cluster.
pub fn read(key: &Key, held: &server::Affiliate) -> Result<Affiliate, Unreadable> {
    if !is_id(&held.id) {
        return Err(Unreadable::Name);
    }
    let plain = key.open(&held.data).ok_or(Unreadable::Sealed)?;
    let message = client::Affiliate::decode(plain.as_slice()).map_err(|_| Unreadable::Message)?;
    if message.node_id != held.id {
        return Err(Unreadable::Foreign);
    }
    let is_named = is_name(&message.hostname) && is_name(&message.nodename);
    if !is_named || message.operating_system.len() > SYSTEM_BYTES_MAX {
        return Err(Unreadable::Name);
    }
    let kubespan = message.kubespan.map(|kubespan| read_kubespan(key, kubespan, &held.endpoints));
    let addresses = message.addresses.iter().filter_map(|octets| address(octets));
    Ok(Affiliate {
        node_id: message.node_id,
        addresses: addresses.take(ADDRESSES_MAX).collect(),
        hostname: message.hostname,
        nodename: message.nodename,
        operating_system: message.operating_system,
        machine_type: Role::parse(&message.machine_type).map_err(|_| Unreadable::Message)?,
        kubespan: kubespan.unwrap_or_default(),
        control_plane: message.control_plane.map(|plane| ControlPlane { port: plane.api_server_port.into() }),
    })
}

fn read_kubespan(key: &Key, message: client::KubeSpan, endpoints: &[Vec<u8>]) -> KubeSpanAffiliate {
    let endpoint = |sealed: &Vec<u8>| {
        let endpoint = client::Endpoint::decode(key.open_endpoint(sealed)?.as_slice()).ok()?;
        Some(SocketAddr::new(address(&endpoint.ip)?, u16::try_from(endpoint.port).ok()?))
    };
    let networks = message.additional_addresses.iter().filter_map(|prefix| {
        let length = u8::try_from(prefix.bits).ok()?;
        IpNet::new(address(&prefix.ip)?, length).ok()
    });
    KubeSpanAffiliate {
        address: address(&message.address),
        additional_addresses: networks.take(ADDRESSES_MAX).collect(),
        endpoints: endpoints.iter().filter_map(endpoint).take(ADDRESSES_MAX).collect(),
        public_key: message.public_key,
        exclude_advertised_networks: Vec::new(),
    }
}

fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from).ok();
    four.or_else(|| <[u8; 16]>::try_from(octets).map(IpAddr::from).ok())
}

/// Whether a text is a node id: base62, though others may be longer than ours.
fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a text is the name of a host, or none: a node name becomes the id of a resource.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    text.len() <= NAME_BYTES_MAX && text.bytes().all(is_plain)
}

#[cfg(test)]
pub mod tests {
    use corten_base::Rng;

    use super::*;
    use crate::seal::tests::{key, seal_endpoint};

    /// A control plane of this name, whose node id is the name too.
    pub fn member(name: &str) -> Affiliate {
        Affiliate {
            node_id: name.to_owned(),
            addresses: vec![IpAddr::from([10, 5, 0, 2]), "fd00::2".parse().expect("an address")],
            hostname: name.to_owned(),
            nodename: name.to_owned(),
            operating_system: "Corten (v1.14.1)".to_owned(),
            machine_type: Role::ControlPlane,
            control_plane: Some(ControlPlane { port: 6443 }),
            ..Affiliate::default()
        }
    }

    /// A member as a service holds it.
    pub fn held(affiliate: &Affiliate) -> server::Affiliate {
        let data = key(1).seal(describe(affiliate), &Rng::seeded(1)).expect("sealed");
        server::Affiliate { id: affiliate.node_id.clone(), data, endpoints: Vec::new() }
    }

    #[test]
    fn what_a_member_tells_is_what_the_others_read() {
        assert_eq!(read(&key(1), &held(&member("a"))), Ok(member("a")));
        let worker = Affiliate { machine_type: Role::Worker, control_plane: None, ..member("b") };
        assert_eq!(read(&key(1), &held(&worker)), Ok(worker));
    }

    #[test]
    fn the_mesh_of_others_is_read_with_its_endpoints() {
        let prefix = client::IpPrefix { ip: vec![10, 244, 0, 0], bits: 24 };
        let kubespan = client::KubeSpan {
            public_key: "key".to_owned(),
            address: vec![0xfd; 16],
            additional_addresses: vec![prefix, client::IpPrefix { ip: vec![10, 0, 0, 0], bits: 77 }],
        };
        let mut message = client::Affiliate::decode(describe(&member("a")).as_slice()).expect("a message");
        message.kubespan = Some(kubespan);
        let endpoint = client::Endpoint { ip: vec![192, 0, 2, 1], port: 51_820 }.encode_to_vec();
        let held = server::Affiliate {
            data: key(1).seal(message.encode_to_vec(), &Rng::seeded(1)).expect("sealed"),
            endpoints: vec![seal_endpoint(&key(1), &endpoint), vec![1, 2, 3]],
            ..held(&member("a"))
        };
        let kubespan = read(&key(1), &held).expect("a member").kubespan;
        assert_eq!(kubespan.endpoints, [SocketAddr::from(([192, 0, 2, 1], 51_820))]);
        assert_eq!(kubespan.additional_addresses, ["10.244.0.0/24".parse::<IpNet>().expect("a network")]);
        assert_eq!(kubespan.address, Some(IpAddr::from([0xfd; 16])));
    }

    #[test]
    fn whoever_has_no_secret_or_pretends_is_no_member() {
        let sealed = held(&member("a"));
        assert_eq!(read(&key(2), &sealed), Err(Unreadable::Sealed));
        let moved = server::Affiliate { id: "b".to_owned(), ..sealed.clone() };
        assert_eq!(read(&key(1), &moved), Err(Unreadable::Foreign));
        let bad = Affiliate { nodename: "../x".to_owned(), ..member("a") };
        assert_eq!(read(&key(1), &held(&bad)), Err(Unreadable::Name));
        for id in ["", "a/b", "a b"] {
            let odd = server::Affiliate { id: id.to_owned(), ..sealed.clone() };
            assert_eq!(read(&key(1), &odd), Err(Unreadable::Name), "{id}");
        }
        let empty = server::Affiliate { data: Vec::new(), ..sealed };
        assert_eq!(read(&key(1), &empty), Err(Unreadable::Sealed), "endpoints alone");
    }

    #[test]
    fn no_message_of_a_member_makes_reading_panic() {
        let key = key(1);
        bolero::check!().for_each(|input: &[u8]| {
            let Some(data) = key.seal(input.to_vec(), &Rng::seeded(1)) else { return };
            let held = server::Affiliate { id: "a".to_owned(), data, endpoints: vec![input.to_vec()] };
            if let Ok(member) = read(&key, &held) {
                assert!(member.addresses.len() <= ADDRESSES_MAX && is_name(&member.nodename));
            }
        });
    }
}
