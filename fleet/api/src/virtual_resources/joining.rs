//! How machines join, as older infrastructure providers read it (fleet.md 3.2).

use corten_base::Secret;
use corten_fleet_resources::link::{
    ConnectionParams, DefaultJoinToken, SiderolinkApiConfig, SiderolinkConfig,
};
use corten_resource::State;

use crate::management::{DEFAULT_JOIN_TOKEN, join_config, join_options};

/// With the default join token; none before machines can join.
pub(super) fn params(state: &State) -> Option<ConnectionParams> {
    let config = state.get::<SiderolinkApiConfig>(SiderolinkConfig::ID)?;
    let token = state.get::<DefaultJoinToken>(DEFAULT_JOIN_TOKEN)?.token_id.clone();
    let options = join_options(&config, Secret::new(token.clone()), false);
    let (arguments, _) = join_config(&options);
    Some(ConnectionParams {
        args: arguments.join(" "),
        api_endpoint: config.machine_api_advertised_url.clone(),
        wireguard_endpoint: config.wireguard_advertised_endpoint.clone(),
        join_token: token,
        use_grpc_tunnel: options.tunnels,
        events_port: config.events_port,
        logs_port: config.logs_port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fleet;

    #[test]
    fn a_provider_is_told_of_the_default_token_in_the_words_of_machines() {
        let fleet = Fleet::new();
        let config = SiderolinkApiConfig {
            machine_api_advertised_url: "grpc://m".to_owned(),
            events_port: 8090,
            logs_port: 8092,
            ..SiderolinkApiConfig::default()
        };
        fleet.put(SiderolinkConfig::ID, config);
        assert_eq!(params(&fleet.state), None, "there is no token yet");
        fleet.put(DEFAULT_JOIN_TOKEN, DefaultJoinToken { token_id: "abc".to_owned() });
        let found = params(&fleet.state).expect("params");
        assert!(found.args.starts_with("siderolink.api=grpc://m?jointoken=abc talos.events.sink="));
        assert_eq!((found.join_token.as_str(), found.logs_port), ("abc", 8092));
    }
}
