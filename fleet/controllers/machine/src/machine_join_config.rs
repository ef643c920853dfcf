//! How a machine is told to call the manager: by kernel arguments and by documents (fleet.md 1.1).
//!
//! ```text
//! SiderolinkAPIConfig (address, ports) ─┐
//! JoinTokenUsage (token) ───────────────┼─join_config─▶ MachineJoinConfig
//! GRPCTunnelConfig, Machine (tunnel) ───┘
//! ```

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use corten_base::Secret;
use corten_config::yaml;
use corten_fleet_link::AddressPlan;
use corten_fleet_link::address::INSTALLATION;
use corten_fleet_resources::link::{
    GrpcTunnelConfig, JoinConfig, JoinTokenUsage, MachineJoinConfig, SiderolinkApiConfig, SiderolinkConfig,
};
use corten_fleet_resources::machine::Machine;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Spec, View, controller};
use serde_json::{Value, json};

/// Kinds of the documents by which a machine finds its manager.
pub const DOCUMENT_KINDS: [&str; 3] = ["SideroLinkConfig", "EventSinkConfig", "KmsgLogConfig"];
/// Name of the manager's destination of kernel logs.
pub const KERNEL_LOG_NAME: &str = "omni-kmsg";

/// Whether WireGuard goes through gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// It goes through UDP.
    Udp,
    /// It does.
    Grpc,
}

/// What machines with this token are told.
#[must_use]
pub fn join_config(api: &SiderolinkApiConfig, token: &Secret<String>, tunnel: Tunnel) -> JoinConfig {
    let server = AddressPlan::of(INSTALLATION).server();
    let url = join_url(&api.machine_api_advertised_url, token, tunnel);
    let (events, logs) = (endpoint(server, api.events_port), endpoint(server, api.logs_port));
    let documents = [
        json!({ "apiVersion": "v1alpha1", "kind": "SideroLinkConfig", "apiUrl": url }),
        json!({ "apiVersion": "v1alpha1", "kind": "EventSinkConfig", "endpoint": events }),
        json!({
            "apiVersion": "v1alpha1",
            "kind": "KmsgLogConfig",
            "name": KERNEL_LOG_NAME,
            "url": format!("tcp://{logs}"),
        }),
    ];
    JoinConfig {
        kernel_args: vec![
            format!("siderolink.api={url}"),
            format!("talos.events.sink={events}"),
            format!("talos.logging.kernel=tcp://{logs}"),
        ],
        config: stream(&documents),
    }
}

/// Documents as one YAML stream.
#[must_use]
pub fn stream(documents: &[Value]) -> String {
    let texts: Vec<String> = documents.iter().map(yaml::render).collect();
    texts.join("---\n")
}

fn endpoint(server: Ipv6Addr, port: i32) -> String {
    format!("[{server}]:{port}")
}

/// The join URL. Without TLS its scheme is `grpc`; machines take everything else for TLS.
fn join_url(advertised: &str, token: &Secret<String>, tunnel: Tunnel) -> String {
    let address = advertised.trim_end_matches('/');
    let mut url = match address.strip_prefix("http://") {
        Some(rest) => format!("grpc://{rest}"),
        None => address.to_owned(),
    };
    url.push_str("?jointoken=");
    escape(&mut url, token.reveal());
    if tunnel == Tunnel::Grpc {
        url.push_str("&grpc_tunnel=true");
    }
    url
}

/// Appends a text as it stands in a query (RFC 3986, 2.3): signed tokens have characters that mean something there.
fn escape(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

/// Publishes how machines are told to call.
#[derive(Debug)]
pub struct MachineJoinConfigController;

controller!(MachineJoinConfigController, "MachineJoinConfigController",
    inputs: [strong Machine, weak JoinTokenUsage, weak GrpcTunnelConfig, weak SiderolinkApiConfig],
    outputs: [exclusive MachineJoinConfig]);

impl ItemTransform for MachineJoinConfigController {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == SiderolinkApiConfig::DEFINITION.kind {
            true => Concern::Everybody,
            false => Concern::by_id(resource),
        }
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(machine) = view.get::<Machine>(item) else { return plan };
        let Some(api) = view.get::<SiderolinkApiConfig>(SiderolinkConfig::ID) else {
            return plan.waiting("the address of the manager");
        };
        let token = view.get::<JoinTokenUsage>(item).map(|usage| Secret::new(usage.token_id.clone()));
        let Some(token) = token.filter(|token| !token.reveal().is_empty()) else {
            return plan.waiting("the join token that the machine came with");
        };
        // The documents weigh more than the machine's own arguments: what it does now is right unless a person says
        // otherwise.
        let person = view.get::<GrpcTunnelConfig>(item).map(|config| config.enabled);
        let is_tunneled = api.enforce_grpc_tunnel || person.unwrap_or(machine.use_grpc_tunnel);
        let tunnel = if is_tunneled { Tunnel::Grpc } else { Tunnel::Udp };
        plan.put(item, MachineJoinConfig { config: Some(join_config(&api.spec, &token, tunnel)) });
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_config::Config;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn api() -> SiderolinkApiConfig {
        SiderolinkApiConfig {
            machine_api_advertised_url: "http://omni.example:8090/".to_owned(),
            events_port: 8090,
            logs_port: 8092,
            ..SiderolinkApiConfig::default()
        }
    }

    fn token(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn arguments_and_documents_say_the_same() {
        let config = join_config(&api(), &token("abc"), Tunnel::Grpc);
        assert_eq!(
            config.kernel_args,
            [
                "siderolink.api=grpc://omni.example:8090?jointoken=abc&grpc_tunnel=true",
                "talos.events.sink=[fdae:41e4:649b:9303::1]:8090",
                "talos.logging.kernel=tcp://[fdae:41e4:649b:9303::1]:8092",
            ]
        );
        let documents = Config::parse(config.config.as_bytes()).expect("a machine reads them");
        let management = documents.view().management.clone();
        let url = "grpc://omni.example:8090?jointoken=abc&grpc_tunnel=true";
        assert_eq!(management.join_url.reveal(), url);
        assert_eq!(management.event_sink, "[fdae:41e4:649b:9303::1]:8090");
        assert_eq!(management.kernel_logs, ["tcp://[fdae:41e4:649b:9303::1]:8092"]);
    }

    #[test]
    fn a_signed_token_is_escaped_and_tls_keeps_its_scheme() {
        let url = join_url("https://omni.example", &token("v2:a+b/c="), Tunnel::Udp);
        assert_eq!(url, "https://omni.example?jointoken=v2%3Aa%2Bb%2Fc%3D");
    }

    fn started() -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachineJoinConfigController);
        })
    }

    fn url(runtime: &TestRuntime) -> Option<String> {
        let config = runtime.state().get::<MachineJoinConfig>("m1")?.spec.config?;
        config.kernel_args.into_iter().next()
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_keeps_the_tunnel_that_it_has_unless_a_person_says_otherwise() {
        let runtime = started();
        runtime.put(resource("m1", Machine { use_grpc_tunnel: true, ..Machine::default() }));
        runtime.put(resource(SiderolinkConfig::ID, api()));
        runtime.quiet().await;
        assert_eq!(url(&runtime), None, "its token is not known");
        runtime.put(resource("m1", JoinTokenUsage { token_id: "abc".to_owned() }));
        runtime.quiet().await;
        assert!(url(&runtime).is_some_and(|url| url.ends_with("&grpc_tunnel=true")));
        runtime.put(resource("m1", GrpcTunnelConfig { enabled: false }));
        runtime.quiet().await;
        assert!(url(&runtime).is_some_and(|url| url.ends_with("?jointoken=abc")));
        let enforced = SiderolinkApiConfig { enforce_grpc_tunnel: true, ..api() };
        runtime.put(resource(SiderolinkConfig::ID, enforced));
        runtime.quiet().await;
        assert!(url(&runtime).is_some_and(|url| url.ends_with("&grpc_tunnel=true")), "all machines do");
    }
}
