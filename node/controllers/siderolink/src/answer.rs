//! What the machine asks for when it joins, and what the manager answers.
//!
//! ```text
//! Request + public key ──▶ ProvisionRequest ──manager──▶ ProvisionResponse ──▶ Answer ──▶ LinkSettings
//! ```

use std::net::{Ipv6Addr, SocketAddr};

use corten_api::sidero::link::{ProvisionRequest, ProvisionResponse};
use corten_base::{Secret, version};
use corten_wireguard::PublicKey;
use ipnet::Ipv6Net;

use crate::address::HostPort;
use crate::link::{Carrier, LinkSettings};
use crate::url::ApiAddress;

/// Endpoints of an answer that are tried.
const ENDPOINTS_MAX: usize = 32;

/// Who the machine is towards its manager. When any of it changes the machine asks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The join API.
    pub api: ApiAddress,
    /// What lets a new machine in; may be empty.
    pub token: Secret<String>,
    /// Whether the machine asks for WireGuard inside gRPC.
    pub tunnel: bool,
    /// UUID of the machine.
    pub uuid: String,
    /// What the manager gave the machine to be known by; may be empty.
    pub unique_token: Secret<String>,
}

impl Request {
    /// The request on the wire (fleet.md 1.2): an empty join token is left out, an empty unique token is not.
    #[must_use]
    pub fn message(&self, key: &PublicKey) -> ProvisionRequest {
        ProvisionRequest {
            node_uuid: self.uuid.clone(),
            node_public_key: key.to_string(),
            join_token: Some(self.token.reveal().clone()).filter(|token| !token.is_empty()),
            node_unique_token: Some(self.unique_token.reveal().clone()),
            talos_version: Some(version::TAG.to_owned()),
            wireguard_over_grpc: self.tunnel.then_some(true),
        }
    }
}

/// The machine's place in the manager's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where the manager's WireGuard is, in the order to try.
    pub endpoints: Vec<HostPort>,
    /// The manager's key.
    pub peer: PublicKey,
    /// Address of the machine with the length of the network.
    pub address: Ipv6Net,
    /// Address of the manager, all that the machine lets through.
    pub server: Ipv6Addr,
    /// What stands for the machine when WireGuard has to be carried inside gRPC.
    pub virtual_address: Option<SocketAddr>,
}

/// An answer that the machine cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// No endpoint has a host and a port.
    #[error("the manager names no WireGuard endpoint with host and port; check its advertised endpoint")]
    NoEndpoint,
    /// A field has another form.
    #[error("the manager's answer has {value:?} as {field}, which is none")]
    Field {
        /// Which field, in words.
        field: &'static str,
        /// Its content.
        value: String,
    },
}

impl Answer {
    /// Reads the answer. Its first and last endpoint are swapped on the wire (fleet.md 1.2).
    ///
    /// # Errors
    /// When a field has another form, or when there is no way to the manager.
    pub fn read(response: ProvisionResponse) -> Result<Self, InvalidAnswer> {
        let mut endpoints = response.server_endpoint;
        if let [first, .., last] = endpoints.as_mut_slice() {
            std::mem::swap(first, last);
        }
        let endpoints = endpoints.iter().filter_map(|endpoint| HostPort::parse(endpoint, None));
        let endpoints: Vec<HostPort> = endpoints.take(ENDPOINTS_MAX).collect();
        let virtual_address: Option<SocketAddr> = match response.grpc_peer_addr_port.as_str() {
            "" => None,
            text => Some(field("address of the tunnel", text)?),
        };
        if endpoints.is_empty() && virtual_address.is_none() {
            return Err(InvalidAnswer::NoEndpoint);
        }
        Ok(Self {
            endpoints,
            peer: field("WireGuard key", &response.server_public_key)?,
            address: field("address with prefix length", &response.node_address_prefix)?,
            server: field("address of the manager", &response.server_address)?,
            virtual_address,
        })
    }

    /// How many ways to the manager there are: one through gRPC, or each endpoint.
    #[must_use]
    pub const fn ways(&self) -> usize {
        if self.virtual_address.is_some() { 1 } else { self.endpoints.len() }
    }

    /// The link that the answer asks for, with the join API as the carrier if one is needed.
    #[must_use]
    pub fn settings(&self, api: &ApiAddress, public_key: PublicKey) -> LinkSettings {
        let carrier = match self.virtual_address {
            Some(virtual_address) => Carrier::Grpc { api: api.clone(), virtual_address },
            None => Carrier::Udp,
        };
        LinkSettings { carrier, public_key, address: self.address, peer: self.peer, server: self.server }
    }
}

fn field<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, InvalidAnswer> {
    text.parse().map_err(|_| InvalidAnswer::Field { field, value: text.to_owned() })
}

#[cfg(test)]
pub mod tests {
    use corten_base::Rng;
    use corten_wireguard::PrivateKey;

    use super::*;

    /// A request to a manager without TLS.
    pub fn request() -> Request {
        Request {
            api: ApiAddress { host: HostPort { host: "manager".into(), port: 8090 }, is_tls: false },
            token: Secret::new("join".to_owned()),
            tunnel: false,
            uuid: "4c4c4544-0000-0000-0000-000000000001".to_owned(),
            unique_token: Secret::new(String::new()),
        }
    }

    /// An answer with these endpoints, in the order of the wire.
    pub fn response(endpoints: &[&str]) -> ProvisionResponse {
        ProvisionResponse {
            server_endpoint: endpoints.iter().map(ToString::to_string).collect(),
            server_public_key: PrivateKey::generate(&Rng::seeded(5)).public().to_string(),
            node_address_prefix: "fdae:41e4:649b:9303::2/64".to_owned(),
            server_address: "fdae:41e4:649b:9303::1".to_owned(),
            grpc_peer_addr_port: String::new(),
        }
    }

    #[test]
    fn empty_tokens_are_told_as_the_manager_expects_them() {
        let key = PrivateKey::generate(&Rng::seeded(1)).public();
        let message = request().message(&key);
        assert_eq!(message.join_token.as_deref(), Some("join"));
        assert_eq!(message.node_unique_token.as_deref(), Some(""));
        assert_eq!(message.talos_version.as_deref(), Some(version::TAG));
        assert_eq!((message.node_public_key, message.wireguard_over_grpc), (key.to_string(), None));
        let other = Request { token: Secret::default(), tunnel: true, ..request() }.message(&key);
        assert_eq!((other.join_token, other.wireguard_over_grpc), (None, Some(true)));
    }

    #[test]
    fn the_first_and_the_last_endpoint_change_places() {
        let hosts = |endpoints: &[&str]| {
            let answer = Answer::read(response(endpoints)).expect("an answer");
            answer.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(hosts(&["a:1"]), ["a:1"]);
        assert_eq!(hosts(&["a:1", "b:1"]), ["b:1", "a:1"]);
        assert_eq!(hosts(&["c:1", "[fd00::1]:1", "a:1"]), ["a:1", "[fd00::1]:1", "c:1"]);
        assert_eq!(hosts(&["b:1", "no port"]), ["b:1"], "what is no endpoint is left out");
    }

    #[test]
    fn an_answer_without_a_way_or_with_another_form_is_refused_by_name() {
        assert_eq!(Answer::read(response(&[])), Err(InvalidAnswer::NoEndpoint));
        let tunnel = "[fdae:41e4:649b:9304::5]:50889".to_owned();
        let answer = Answer::read(ProvisionResponse { grpc_peer_addr_port: tunnel, ..response(&[]) });
        assert_eq!(answer.expect("a way through gRPC").ways(), 1);
        let wrong = ProvisionResponse { node_address_prefix: "fdae::2".into(), ..response(&["a:1"]) };
        let error = Answer::read(wrong).expect_err("no prefix length").to_string();
        assert!(error.contains("\"fdae::2\" as address with prefix length"), "{error}");
    }

    #[test]
    fn fuzz_any_answer_is_read_or_refused() {
        bolero::check!().with_type::<(Vec<String>, String, String, String, String)>().for_each(|parts| {
            let (server_endpoint, key, prefix, server, tunnel) = parts.clone();
            let response = ProvisionResponse {
                server_endpoint,
                server_public_key: key,
                node_address_prefix: prefix,
                server_address: server,
                grpc_peer_addr_port: tunnel,
            };
            if let Ok(answer) = Answer::read(response) {
                assert!(answer.ways() > 0);
            }
        });
    }
}
