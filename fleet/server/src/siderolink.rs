//! The manager's end of the tunnel: its key, which is made once, and what the store and the services know of it.
//!
//! ```text
//! Config (store) ─▶ Identity: key, first join token ─▶ tunnel ─▶ Config, SiderolinkAPIConfig
//!   none yet ─▶ new ones                                 └──────▶ settings of the services for machines
//! ```

use std::net::SocketAddr;

use corten_base::{Rng, Secret};
use corten_fleet_link::{AddressPlan, JoinMode, JoinToken, Policy, Server};
use corten_fleet_resources::link::{SiderolinkApiConfig, SiderolinkConfig};
use corten_fleet_settings::{JoinTokensMode, Settings};
use corten_fleet_siderolink::{KmsBinding, Ports, Rate};
use corten_resource::{State, StateError};
use corten_wireguard::{InvalidKey, PrivateKey};

use crate::keep::keep;

/// Owner of what machines must know to call; the name that the controller has in the field.
const API_CONFIG_OWNER: &str = "SiderolinkAPIConfigController";

/// What makes this manager the one that its machines know.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Key of its end of the tunnel.
    pub key: PrivateKey,
    /// The join token that was made with the key; the default one of the first start.
    pub initial_join_token: Secret<String>,
}

impl Identity {
    /// That of the store, or a new one for a store without.
    ///
    /// # Errors
    /// When the key in the store is none.
    pub fn of(state: &State, rng: &Rng) -> Result<Self, InvalidKey> {
        let stored = state.get::<SiderolinkConfig>(SiderolinkConfig::ID).map(|config| config.spec);
        let stored = stored.unwrap_or_default();
        let key = match stored.private_key.as_str() {
            "" => PrivateKey::generate(rng),
            text => text.parse()?,
        };
        let initial_join_token = match stored.initial_join_token {
            token if token.is_empty() => JoinToken::generate(rng).encode(),
            token => Secret::new(token),
        };
        Ok(Self { key, initial_join_token })
    }
}

/// Where the manager is reached from machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where WireGuard listens.
    pub wireguard: SocketAddr,
    /// Where machines reach it, host and port each.
    pub advertised: Vec<String>,
    /// URL of the machine API.
    pub machine_api: String,
}

/// Writes who the manager is and how machines call it.
///
/// # Errors
/// When the store refuses.
pub async fn publish(
    state: &State,
    settings: &Settings,
    identity: &Identity,
    reach: &Reach,
) -> Result<(), StateError> {
    let config = config(identity, reach);
    keep(state, "", SiderolinkConfig::ID, config).await?;
    let api = api_config(settings, reach);
    keep(state, API_CONFIG_OWNER, SiderolinkConfig::ID, api).await
}

fn config(identity: &Identity, reach: &Reach) -> SiderolinkConfig {
    let plan = AddressPlan::default();
    SiderolinkConfig {
        private_key: identity.key.reveal(),
        public_key: identity.key.public().to_string(),
        wireguard_endpoint: reach.wireguard.to_string(),
        subnet: plan.machines().to_string(),
        server_address: plan.server().to_string(),
        initial_join_token: identity.initial_join_token.reveal().clone(),
        advertised_endpoint: reach.advertised.join(","),
    }
}

fn api_config(settings: &Settings, reach: &Reach) -> SiderolinkApiConfig {
    let siderolink = &settings.services.siderolink;
    SiderolinkApiConfig {
        machine_api_advertised_url: reach.machine_api.clone(),
        wireguard_advertised_endpoint: reach.advertised.join(","),
        enforce_grpc_tunnel: siderolink.use_grpc_tunnel,
        events_port: siderolink.event_sink_port.into(),
        logs_port: siderolink.log_server_port.into(),
    }
}

/// What the services for machines work with; `advertised` is where machines reach WireGuard.
pub fn service_settings(
    settings: &Settings,
    identity: &Identity,
    advertised: &[String],
) -> corten_fleet_siderolink::Settings {
    let addresses = AddressPlan::default();
    let siderolink = &settings.services.siderolink;
    let usual = Ports::default();
    let discovery = settings.services.embedded_discovery_service.as_ref();
    corten_fleet_siderolink::Settings {
        server: Server {
            endpoints: advertised.to_vec(),
            public_key: identity.key.public().to_string(),
            address: addresses.server(),
        },
        addresses,
        policy: Policy {
            mode: mode(siderolink.join_tokens_mode),
            enforce_tunnel: siderolink.use_grpc_tunnel,
        },
        machines_max: settings.account.max_registered_machines,
        kms_binding: KmsBinding::default(),
        log_rate: log_rate(settings),
        ports: Ports {
            events: siderolink.event_sink_port,
            logs: siderolink.log_server_port,
            discovery: discovery.map_or(usual.discovery, |discovery| discovery.port),
            ..usual
        },
    }
}

const fn mode(mode: JoinTokensMode) -> JoinMode {
    match mode {
        JoinTokensMode::Strict => JoinMode::Strict,
        JoinTokensMode::LegacyAllowed => JoinMode::LegacyAllowed,
        JoinTokensMode::Legacy => JoinMode::Legacy,
    }
}

/// How many bytes of logs are read from a machine; above it the machine waits and loses nothing.
fn log_rate(settings: &Settings) -> Option<Rate> {
    let per_second = settings.logs.machine.rate_limit?;
    Some(Rate { per_second, burst: settings.logs.machine.rate_burst.unwrap_or(per_second) })
}

#[cfg(test)]
mod tests {
    use corten_resource::testing;

    use super::*;

    fn reach() -> Reach {
        Reach {
            wireguard: SocketAddr::from(([0, 0, 0, 0], 50_180)),
            advertised: vec!["192.0.2.1:50180".to_owned(), "[2001:db8::1]:50180".to_owned()],
            machine_api: "https://fleet.example:8090".to_owned(),
        }
    }

    #[tokio::test]
    async fn who_the_manager_is_is_made_once() {
        let state = testing::state(corten_fleet_resources::registry());
        let made = Identity::of(&state, &Rng::seeded(1)).expect("made");
        publish(&state, &Settings::default(), &made, &reach()).await.expect("written");
        let again = Identity::of(&state, &Rng::seeded(2)).expect("the same");
        assert_eq!(again.key.reveal(), made.key.reveal());
        assert_eq!(again.initial_join_token, made.initial_join_token);
        let config = state.get::<SiderolinkConfig>(SiderolinkConfig::ID).expect("a configuration");
        assert_eq!(config.public_key, made.key.public().to_string());
        assert_eq!(config.server_address, "fdae:41e4:649b:9303::1");
        assert_eq!(config.subnet, "fdae:41e4:649b:9303::/64");
        let api = state.get::<SiderolinkApiConfig>(SiderolinkConfig::ID).expect("a configuration");
        assert_eq!(api.wireguard_advertised_endpoint, "192.0.2.1:50180,[2001:db8::1]:50180");
        assert_eq!((api.events_port, api.logs_port), (8090, 8092));
    }

    #[test]
    fn a_key_that_is_none_is_refused_and_not_replaced() {
        let state = testing::state(corten_fleet_resources::registry());
        let config = SiderolinkConfig { private_key: "x".to_owned(), ..SiderolinkConfig::default() };
        state.put("", SiderolinkConfig::ID, config).expect("put");
        assert!(Identity::of(&state, &Rng::seeded(1)).is_err());
    }

    #[test]
    fn settings_reach_the_services() {
        let state = testing::state(corten_fleet_resources::registry());
        let identity = Identity::of(&state, &Rng::seeded(1)).expect("made");
        let mut settings = Settings::default();
        settings.account.max_registered_machines = Some(7);
        settings.services.siderolink.join_tokens_mode = JoinTokensMode::Strict;
        settings.services.siderolink.use_grpc_tunnel = true;
        settings.services.siderolink.event_sink_port = 1;
        settings.services.siderolink.log_server_port = 2;
        settings.logs.machine.rate_limit = Some(100);
        let found = service_settings(&settings, &identity, &reach().advertised);
        assert_eq!(found.policy, Policy { mode: JoinMode::Strict, enforce_tunnel: true });
        assert_eq!(found.machines_max, Some(7));
        assert_eq!(found.log_rate, Some(Rate { per_second: 100, burst: 100 }));
        assert_eq!((found.ports.events, found.ports.logs, found.ports.discovery), (1, 2, 8093));
        assert_eq!(found.server.endpoints, reach().advertised);
    }
}
