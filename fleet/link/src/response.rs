//! What a machine is answered, and whether it is to tunnel through gRPC.
//!
//! ```text
//! Server, address of the machine, virtual peer ─▶ Response ─▶ ProvisionResponse
//! ```

use std::net::{Ipv6Addr, SocketAddrV6};

use ipnet::Ipv6Net;

/// The manager's end of the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where machines reach WireGuard, host and port each, the preferred one first; see [`endpoints`].
    pub endpoints: Vec<String>,
    /// WireGuard key, base64.
    pub public_key: String,
    /// Address in the tunnel.
    pub address: Ipv6Addr,
}

/// The fields of a `ProvisionResponse`, as they go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Field 1: where to reach WireGuard, with the first and the last entry swapped.
    pub server_endpoint: Vec<String>,
    /// Field 3: WireGuard key of the manager.
    pub server_public_key: String,
    /// Field 4: address of the machine, with the prefix length of the network.
    pub node_address_prefix: String,
    /// Field 5: address of the manager, without a prefix length.
    pub server_address: String,
    /// Field 6: address and port that stand for the machine. Not empty means that it must tunnel through gRPC, whether
    /// it asked for it or not.
    pub grpc_peer_addr_port: String,
}

impl Response {
    /// The answer to a machine with this address, which tunnels through gRPC if it has a virtual peer.
    #[must_use]
    pub fn new(server: &Server, node: Ipv6Net, virtual_peer: Option<SocketAddrV6>) -> Self {
        Self {
            server_endpoint: swap_ends(server.endpoints.clone()),
            server_public_key: server.public_key.clone(),
            node_address_prefix: node.to_string(),
            server_address: server.address.to_string(),
            grpc_peer_addr_port: virtual_peer.map(|peer| peer.to_string()).unwrap_or_default(),
        }
    }
}

/// Endpoints as they go on the wire: machines from before there were several read the last one only, so the first and
/// the last are swapped, and newer ones swap them back.
#[must_use]
pub fn swap_ends(mut endpoints: Vec<String>) -> Vec<String> {
    if let [first, .., last] = endpoints.as_mut_slice() {
        std::mem::swap(first, last);
    }
    endpoints
}

/// Endpoints of the setting `wireGuard.advertisedEndpoint`: hosts and ports, separated by commas.
#[must_use]
pub fn endpoints(advertised: &str) -> Vec<String> {
    let parts = advertised.split(',').map(str::trim);
    parts.filter(|endpoint| !endpoint.is_empty()).map(str::to_owned).collect()
}

/// Who wants a machine to tunnel through gRPC. One is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelWish {
    /// The machine: it was told so in its kernel arguments.
    pub machine: bool,
    /// The manager, for all machines.
    pub manager: bool,
    /// A person, for this machine.
    pub person: bool,
}

impl TunnelWish {
    /// Whether the machine is to tunnel.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.machine || self.manager || self.person
    }

    /// Whether a peer does otherwise. It is to be removed then, so that the machine calls again, after 275 s.
    #[must_use]
    pub const fn contradicts(self, virtual_peer: Option<SocketAddrV6>) -> bool {
        self.is_on() != virtual_peer.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddrV6 {
        "[fdae:41e4:649b:9304::5]:50889".parse().unwrap()
    }

    #[test]
    fn the_answer_has_the_forms_that_machines_read() {
        let server = Server {
            endpoints: endpoints("a.example:50180, 192.0.2.1:50180,[2001:db8::1]:50180"),
            public_key: "key".to_owned(),
            address: "fdae:41e4:649b:9303::1".parse().unwrap(),
        };
        let node = "fdae:41e4:649b:9303::2a/64".parse().unwrap();
        let direct = Response::new(&server, node, None);
        assert_eq!(direct.server_endpoint, ["[2001:db8::1]:50180", "192.0.2.1:50180", "a.example:50180"]);
        assert_eq!(direct.server_public_key, "key");
        assert_eq!(direct.node_address_prefix, "fdae:41e4:649b:9303::2a/64");
        assert_eq!(direct.server_address, "fdae:41e4:649b:9303::1");
        assert_eq!(direct.grpc_peer_addr_port, "");
        let tunnelled = Response::new(&server, node, Some(peer()));
        assert_eq!(tunnelled.grpc_peer_addr_port, "[fdae:41e4:649b:9304::5]:50889");
        assert_eq!(Response { grpc_peer_addr_port: String::new(), ..tunnelled }, direct);
    }

    #[test]
    fn the_ends_are_swapped_and_nothing_else() {
        for (given, sent) in [("", ""), ("a", "a"), ("a,b", "b,a"), ("a,b,c,d", "d,b,c,a")] {
            assert_eq!(swap_ends(endpoints(given)), endpoints(sent));
            assert_eq!(swap_ends(swap_ends(endpoints(given))), endpoints(given));
        }
        assert_eq!(endpoints(" a:1 ,, b:2,"), ["a:1", "b:2"]);
    }

    #[test]
    fn one_wish_is_enough_to_tunnel() {
        let none = TunnelWish::default();
        assert!(!none.is_on() && !none.contradicts(None) && none.contradicts(Some(peer())));
        for wish in [
            TunnelWish { machine: true, ..none },
            TunnelWish { manager: true, ..none },
            TunnelWish { person: true, ..none },
        ] {
            assert!(wish.is_on() && wish.contradicts(None) && !wish.contradicts(Some(peer())), "{wish:?}");
        }
    }
}
