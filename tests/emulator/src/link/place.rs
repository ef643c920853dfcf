//! A machine's place in the manager's network, as the manager answers it (fleet.md 1.2).

use std::net::Ipv6Addr;

use corten_api::sidero::link::ProvisionResponse;
use corten_wireguard::PublicKey;
use ipnet::Ipv6Net;

/// Where a machine is, and whom it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The machine's address with the length of the network.
    pub node: Ipv6Net,
    /// The manager's address.
    pub server: Ipv6Addr,
    /// The manager's key.
    pub key: PublicKey,
    /// Where to reach the manager by UDP, the preferred one first.
    pub endpoints: Vec<String>,
    /// What stands for the machine when it has to tunnel through gRPC.
    pub virtual_peer: Option<String>,
}

/// An answer that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manager's answer has no usable {0}")]
pub struct InvalidPlace(&'static str);

impl Place {
    /// Reads an answer; the first and the last endpoint change places again.
    ///
    /// # Errors
    /// When an address or the key cannot be read, or there is no endpoint where one is needed.
    pub fn read(response: ProvisionResponse) -> Result<Self, InvalidPlace> {
        let mut endpoints = response.server_endpoint;
        if let [first, .., last] = endpoints.as_mut_slice() {
            std::mem::swap(first, last);
        }
        let virtual_peer = Some(response.grpc_peer_addr_port).filter(|peer| !peer.is_empty());
        if endpoints.is_empty() && virtual_peer.is_none() {
            return Err(InvalidPlace("server_endpoint"));
        }
        Ok(Self {
            node: response.node_address_prefix.parse().map_err(|_| InvalidPlace("node_address_prefix"))?,
            server: response.server_address.parse().map_err(|_| InvalidPlace("server_address"))?,
            key: response.server_public_key.parse().map_err(|_| InvalidPlace("server_public_key"))?,
            endpoints,
            virtual_peer,
        })
    }

    /// The machine's address.
    #[must_use]
    pub const fn address(&self) -> Ipv6Addr {
        self.node.addr()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a manager answers.
    pub(crate) fn response() -> ProvisionResponse {
        ProvisionResponse {
            server_endpoint: ["c:3", "b:2", "a:1"].map(str::to_owned).to_vec(),
            server_public_key: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=".to_owned(),
            node_address_prefix: "fdae:41e4:649b:9303::2a/64".to_owned(),
            server_address: "fdae:41e4:649b:9303::1".to_owned(),
            grpc_peer_addr_port: String::new(),
        }
    }

    #[test]
    fn the_ends_of_the_endpoints_change_places_again() {
        let place = Place::read(response()).expect("a place");
        assert_eq!(place.endpoints, ["a:1", "b:2", "c:3"]);
        assert_eq!(place.address().to_string(), "fdae:41e4:649b:9303::2a");
        assert_eq!(place.virtual_peer, None);
    }

    #[test]
    fn a_virtual_peer_needs_no_endpoint() {
        let peer = "[fdae:41e4:649b:9304::5]:50889".to_owned();
        let tunnelled = ProvisionResponse { grpc_peer_addr_port: peer.clone(), ..response() };
        assert_eq!(Place::read(tunnelled.clone()).map(|place| place.virtual_peer), Ok(Some(peer)));
        let without = ProvisionResponse { server_endpoint: Vec::new(), ..tunnelled };
        assert!(Place::read(without.clone()).is_ok());
        let neither = ProvisionResponse { grpc_peer_addr_port: String::new(), ..without };
        assert_eq!(Place::read(neither), Err(InvalidPlace("server_endpoint")));
    }

    #[test]
    fn what_is_no_address_or_key_is_named() {
        let wrong = ProvisionResponse { server_public_key: "short".to_owned(), ..response() };
        assert_eq!(Place::read(wrong), Err(InvalidPlace("server_public_key")));
        let wrong = ProvisionResponse { node_address_prefix: "fdae::1".to_owned(), ..response() };
        assert_eq!(Place::read(wrong), Err(InvalidPlace("node_address_prefix")));
    }
}
