//! What lets machines join: tokens, what a machine must be given, and how one is let in that lost its own token.
//!
//! ```text
//! SiderolinkAPIConfig, join token ─▶ JoinOptions ─▶ kernel arguments | documents  (fleet.md 1.1)
//! ```

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use corten_api::management::{
    CreateJoinTokenRequest, CreateJoinTokenResponse, GetMachineJoinConfigRequest,
    GetMachineJoinConfigResponse, ResetNodeUniqueTokenResponse,
};
use corten_base::Secret;
use corten_config::yaml;
use corten_fleet_link::AddressPlan;
use corten_fleet_link::address::INSTALLATION;
use corten_fleet_resources::labels::annotation::FORCE_VALID_NODE_UNIQUE_TOKEN;
use corten_fleet_resources::link::{
    DefaultJoinToken, JoinToken, Link, NodeUniqueToken, SiderolinkApiConfig, SiderolinkConfig,
};
use corten_resource::{Resource, StateError};
use serde_json::json;
use tonic::{Response, Status};

use super::{Answered, Management, refusal};
use crate::caller::Caller;
use crate::validate::check_join_token_name;

/// Id of the only [`DefaultJoinToken`].
pub(crate) const DEFAULT: &str = "default";
/// Name of the document that sends the kernel log; clients know it.
const KERNEL_LOG: &str = "omni-kmsg";

/// How a machine is told to call.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// URL of the machine API as machines reach it.
    pub url: String,
    /// The token that lets it in.
    pub token: Secret<String>,
    /// It is to tunnel through gRPC.
    pub tunnels: bool,
    /// Address of the manager in the tunnel.
    pub server: Ipv6Addr,
    /// Port of the event sink in the tunnel.
    pub events_port: u16,
    /// Port of the log receiver in the tunnel.
    pub logs_port: u16,
}

/// The same in both forms: kernel arguments, and documents of the machine configuration in YAML.
#[must_use]
pub fn join_config(options: &JoinOptions) -> (Vec<String>, String) {
    let JoinOptions { server, events_port, logs_port, .. } = options;
    let api = api_url(options);
    let events = format!("[{server}]:{events_port}");
    let logs = format!("tcp://[{server}]:{logs_port}");
    let kernel_args = vec![
        format!("siderolink.api={api}"),
        format!("talos.events.sink={events}"),
        format!("talos.logging.kernel={logs}"),
    ];
    let documents = [
        json!({ "apiVersion": "v1alpha1", "kind": "SideroLinkConfig", "apiUrl": api }),
        json!({ "apiVersion": "v1alpha1", "kind": "EventSinkConfig", "endpoint": events }),
        json!({ "apiVersion": "v1alpha1", "kind": "KmsgLogConfig", "name": KERNEL_LOG, "url": logs }),
    ];
    (kernel_args, documents.iter().map(yaml::render).collect::<Vec<_>>().join("---\n"))
}

/// How a machine is told to call with a token, as the manager says; `tunnels` if it is to tunnel in any case.
pub(crate) fn join_options(
    config: &SiderolinkApiConfig,
    token: Secret<String>,
    tunnels: bool,
) -> JoinOptions {
    let port = |port: i32| u16::try_from(port).unwrap_or_default();
    JoinOptions {
        url: config.machine_api_advertised_url.clone(),
        token,
        tunnels: tunnels || config.enforce_grpc_tunnel,
        server: AddressPlan::of(INSTALLATION).server(),
        events_port: port(config.events_port),
        logs_port: port(config.logs_port),
    }
}

/// The URL with the token. Machines take `grpc` for gRPC in clear, and every other scheme for TLS.
fn api_url(options: &JoinOptions) -> String {
    let url = options.url.trim_end_matches('/');
    let url = match url.strip_prefix("http://") {
        Some(rest) => format!("grpc://{rest}"),
        None => url.to_owned(),
    };
    let tunnel = if options.tunnels { "&grpc_tunnel=true" } else { "" };
    format!("{url}?jointoken={}{tunnel}", escaped(options.token.reveal()))
}

/// A text as a value in a query (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl Management {
    pub(super) async fn new_join_token(
        &self,
        caller: &Caller,
        request: CreateJoinTokenRequest,
    ) -> Answered<CreateJoinTokenResponse> {
        check_join_token_name(&request.name).map_err(Status::invalid_argument)?;
        let end = request.expiration_time.map(std::time::SystemTime::try_from).transpose();
        let end = end.map_err(|_| Status::invalid_argument("the expiration time is no time"))?;
        if end.is_some_and(|end| end <= self.clock.now()) {
            return Err(Status::invalid_argument("the expiration time is over already"));
        }
        let token = corten_fleet_link::JoinToken::generate(&self.rng).encode();
        let spec = JoinToken { expiration_time: end, revoked: false, name: request.name };
        let created = self.writer(caller).create(Resource::new(token.reveal(), spec)).await;
        created.map_err(|error| refusal(&error))?;
        Ok(Response::new(CreateJoinTokenResponse { id: token.reveal().clone() }))
    }

    pub(super) fn machine_join_config(
        &self,
        request: &GetMachineJoinConfigRequest,
    ) -> Answered<GetMachineJoinConfigResponse> {
        let config = self.state.get::<SiderolinkApiConfig>(SiderolinkConfig::ID);
        let config = config.ok_or_else(|| Status::unavailable("the manager does not take machines yet"))?;
        let token = self.join_token(&request.join_token)?;
        let (kernel_args, documents) = join_config(&join_options(&config, token, request.use_grpc_tunnel));
        Ok(Response::new(GetMachineJoinConfigResponse { kernel_args, config: documents }))
    }

    /// Forgets by which token a machine is known: what is on its disk does not count any more.
    pub(super) async fn forget_machine(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Answered<ResetNodeUniqueTokenResponse> {
        let writer = self.writer(caller);
        let forgotten = writer.remove::<NodeUniqueToken>(id).await.map_err(|error| refusal(&error))?;
        let forget = |link: &mut Resource<Link>| {
            link.spec.node_unique_token.clear();
            link.metadata.annotations.remove(FORCE_VALID_NODE_UNIQUE_TOKEN);
        };
        match writer.change::<Link>(id, forget).await {
            Ok(()) => {}
            Err(StateError::NotFound(_)) if forgotten => {}
            Err(StateError::NotFound(_)) => {
                return Err(Status::not_found(format!("there is no machine {id:?} with a token of its own")));
            }
            Err(error) => return Err(refusal(&error)),
        }
        Ok(Response::new(ResetNodeUniqueTokenResponse {}))
    }

    /// The join token that is named, or the default one.
    fn join_token(&self, named: &str) -> Result<Secret<String>, Status> {
        let default = || self.state.get::<DefaultJoinToken>(DEFAULT).map(|default| default.token_id.clone());
        let id = if named.is_empty() { default() } else { Some(named.to_owned()) };
        let id = id.ok_or_else(|| Status::failed_precondition("there is no default join token; make one"))?;
        let token = self
            .state
            .get::<JoinToken>(&id)
            .ok_or_else(|| Status::not_found("there is no such join token"))?;
        let is_over = token.expiration_time.is_some_and(|end| end <= self.clock.now());
        if token.revoked || is_over {
            let name = &token.name;
            let text = format!("join token {name:?} lets no machines in any more; name another one");
            return Err(Status::failed_precondition(text));
        }
        Ok(Secret::new(id))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_api::management::ResetNodeUniqueTokenRequest;
    use corten_api::management::management_service_server::ManagementService as _;
    use tonic::Code;

    use super::*;
    use crate::management::ManagementOptions;
    use crate::management::testing::{from, management};
    use crate::testing::Fleet;

    fn options(url: &str, token: &str, tunnels: bool) -> JoinOptions {
        JoinOptions {
            url: url.to_owned(),
            token: Secret::new(token.to_owned()),
            tunnels,
            server: AddressPlan::of(INSTALLATION).server(),
            events_port: 8090,
            logs_port: 8092,
        }
    }

    #[test]
    fn a_machine_is_told_the_same_in_both_forms() {
        let (args, documents) = join_config(&options("http://10.0.0.1:8090/", "abc", false));
        let expected = [
            "siderolink.api=grpc://10.0.0.1:8090?jointoken=abc",
            "talos.events.sink=[fdae:41e4:649b:9303::1]:8090",
            "talos.logging.kernel=tcp://[fdae:41e4:649b:9303::1]:8092",
        ];
        assert_eq!(args, expected);
        let documents = yaml::parse(&documents).expect("YAML");
        assert_eq!(documents.len(), 3);
        assert_eq!(documents[0]["apiUrl"], "grpc://10.0.0.1:8090?jointoken=abc");
        assert_eq!(documents[1]["endpoint"], "[fdae:41e4:649b:9303::1]:8090");
        assert_eq!(documents[2]["name"], "omni-kmsg");
    }

    #[test]
    fn a_url_keeps_https_and_escapes_its_token() {
        let (args, _) = join_config(&options("https://fleet.example", "v2:a+b=", true));
        assert_eq!(args[0], "siderolink.api=https://fleet.example?jointoken=v2%3Aa%2Bb%3D&grpc_tunnel=true");
    }

    #[tokio::test]
    async fn a_token_is_made_and_a_machine_told_of_it() {
        let fleet = Fleet::new();
        let service = management(&fleet, ManagementOptions::default());
        let admin = Arc::new(Caller::default());
        let ask = |token: &str| {
            from(&admin, GetMachineJoinConfigRequest { use_grpc_tunnel: false, join_token: token.to_owned() })
        };
        let config = SiderolinkApiConfig {
            machine_api_advertised_url: "grpc://m".to_owned(),
            events_port: 8090,
            logs_port: 8092,
            ..SiderolinkApiConfig::default()
        };
        fleet.put(SiderolinkConfig::ID, config);
        let code = service.get_machine_join_config(ask("")).await.expect_err("no default").code();
        assert_eq!(code, Code::FailedPrecondition);
        let create = CreateJoinTokenRequest { name: "rack 1".to_owned(), expiration_time: None };
        let id = service.create_join_token(from(&admin, create)).await.expect("made").into_inner().id;
        fleet.put(DEFAULT, DefaultJoinToken { token_id: id.clone() });
        for asked in ["", id.as_str()] {
            let told = service.get_machine_join_config(ask(asked)).await.expect("told").into_inner();
            assert_eq!(told.kernel_args[0], format!("siderolink.api=grpc://m?jointoken={id}"));
        }
        fleet.put(&id, JoinToken { revoked: true, name: "rack 1".to_owned(), ..JoinToken::default() });
        let code = service.get_machine_join_config(ask(&id)).await.expect_err("revoked").code();
        assert_eq!(code, Code::FailedPrecondition);
        assert_eq!(service.get_machine_join_config(ask("x")).await.expect_err("none").code(), Code::NotFound);
    }

    #[tokio::test]
    async fn a_token_has_a_short_name_and_an_end_that_comes() {
        let fleet = Fleet::new();
        let service = management(&fleet, ManagementOptions::default());
        let admin = Arc::new(Caller::default());
        let now = prost_types::Timestamp::from(fleet.clock.now());
        for (name, expiration_time) in [("", None), ("seventeen letters", None), ("rack", Some(now))] {
            let create = CreateJoinTokenRequest { name: name.to_owned(), expiration_time };
            let status = service.create_join_token(from(&admin, create)).await.expect_err(name);
            assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
        }
    }

    #[tokio::test]
    async fn a_machine_is_forgotten_in_all_places() {
        let fleet = Fleet::new();
        let service = management(&fleet, ManagementOptions::default());
        let admin = Arc::new(Caller::default());
        let link = Link { node_unique_token: "{}".to_owned(), ..Link::default() };
        let force = format!("@{FORCE_VALID_NODE_UNIQUE_TOKEN}");
        fleet.put_with("m-1", link, &[(force.as_str(), "")]);
        fleet.put("m-1", NodeUniqueToken { token: "{}".to_owned() });
        let reset = || from(&admin, ResetNodeUniqueTokenRequest { id: "m-1".to_owned() });
        service.reset_node_unique_token(reset()).await.expect("forgotten");
        let link = fleet.state.get::<Link>("m-1").expect("stays");
        assert!(link.node_unique_token.is_empty() && link.metadata.annotations.is_empty());
        assert!(fleet.state.get::<NodeUniqueToken>("m-1").is_none());
        fleet.state.remove::<Link>("", "m-1").expect("removed");
        assert_eq!(service.reset_node_unique_token(reset()).await.expect_err("gone").code(), Code::NotFound);
    }
}
