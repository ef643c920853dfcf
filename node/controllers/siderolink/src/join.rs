//! Joins the machine to its manager and keeps it connected.
//!
//! ```text
//! SiderolinkConfig, UniqueMachineToken, META, SystemInformation ──▶ Provision call ──▶ answer
//!                                                                                        │
//!     WireGuard link ◀── key, peer, endpoint ◀───────────────────────────────────────────┤
//!     LinkSpec, AddressSpec@network-config, SiderolinkTunnel ◀───────────────────────────┘
//! ```
//! The private key is new at each boot and is never on a disk; the kernel's link keeps it when this program is
//! restarted, so that the manager need not learn another one. Until the first answer of this program, what an earlier
//! one published stays.

use std::net::SocketAddr;

use anyhow::Context as _;
use corten_base::{Rng, Secret};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::hardware::SystemInformation;
use corten_resources::network::{AddressSpec, Layer, LinkSpec, NetworkStatus, Scope, layered_id};
use corten_resources::runtime::MetaKey;
use corten_resources::siderolink::{SiderolinkConfig, SiderolinkTunnel, UniqueMachineToken};
use corten_wireguard::PrivateKey;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::address::HostPort;
use crate::answer::{Answer, Request};
use crate::api::JoinApi;
use crate::link::{Links, MTU};
use crate::session::{self, CHECK, Seen, Session, Step};
use crate::url::ApiAddress;

/// Id of the only system information.
const SYSTEM: &str = "systeminformation";

/// Joins the machine.
pub struct Join<A, L> {
    api: A,
    links: L,
    rng: Rng,
    key: Option<PrivateKey>,
    session: Option<Session>,
    connected_at: Option<Instant>,
    had_manager: bool,
}

controller!(impl<A: JoinApi, L: Links> Join<A, L>, "siderolink.Join",
inputs: [
    weak SiderolinkConfig,
    weak UniqueMachineToken,
    weak MetaKey,
    weak SystemInformation,
    weak NetworkStatus,
],
outputs: [
    shared LinkSpec in "network-config",
    shared AddressSpec in "network-config",
    exclusive SiderolinkTunnel,
]);

impl<A, L> Join<A, L> {
    /// A machine that has not joined yet.
    #[must_use]
    pub const fn new(api: A, links: L, rng: Rng) -> Self {
        Self { api, links, rng, key: None, session: None, connected_at: None, had_manager: false }
    }
}

/// UUID of the machine: what META puts in the place of the firmware's, or that.
fn uuid<A: JoinApi, L: Links>(view: &View<Join<A, L>>) -> Option<String> {
    let replaced = view.get::<MetaKey>(UniqueMachineToken::UUID_META_KEY).map(|key| key.spec.value.clone());
    let firmware = view.get::<SystemInformation>(SYSTEM).map(|system| system.spec.uuid.clone());
    replaced.into_iter().chain(firmware).find(|uuid| !uuid.is_empty())
}

/// Who the machine is towards the manager of `config`, or what it waits for.
fn request<A: JoinApi, L: Links>(
    view: &View<Join<A, L>>,
    config: &SiderolinkConfig,
) -> Result<Request, &'static str> {
    let token = view.get::<UniqueMachineToken>(UniqueMachineToken::ID).ok_or("META to be read")?;
    let uuid = uuid(view).ok_or("a UUID of the machine; its firmware names none and META has no key 0x0f")?;
    let host = HostPort::parse(&config.host, None).ok_or("a join URL with host and port")?;
    Ok(Request {
        api: ApiAddress { host, is_tls: !config.insecure },
        token: Secret::new(config.join_token.clone()),
        tunnel: config.tunnel,
        uuid,
        unique_token: Secret::new(token.spec.token.clone()),
    })
}

/// What the network domain is to do with the link, and what people want to see.
fn put_session<A: JoinApi, L: Links>(plan: &mut Plan<Join<A, L>, Step>, session: &Session, seen: &Seen) {
    let settings = session.settings(seen.public_key);
    let name = settings.name();
    let id = |id: &str| layered_id(Layer::Operator, &format!("siderolink/{id}"));
    plan.put::<LinkSpec>(id(name), LinkSpec { mtu: MTU, ..LinkSpec::up(Layer::Operator, name) });
    let address = AddressSpec::new(Layer::Operator, name, IpNet::V6(settings.address), Scope::GLOBAL);
    plan.put::<AddressSpec>(id(&address.id()), address);
    if session.answer.virtual_address.is_some() {
        let tunnel = SiderolinkTunnel {
            api_endpoint: session.request.api.host.to_string(),
            link_name: name.to_owned(),
            mtu: MTU,
            node_address: session.answer.virtual_address,
        };
        plan.put::<SiderolinkTunnel>(SiderolinkTunnel::ID, tunnel);
    }
}

fn keep_all<A: JoinApi, L: Links>(plan: &mut Plan<Join<A, L>, Step>) {
    plan.keep::<LinkSpec>();
    plan.keep::<AddressSpec>();
    plan.keep::<SiderolinkTunnel>();
}

impl<A: JoinApi, L: Links> Driver for Join<A, L> {
    type Observed = Seen;
    type Op = Step;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        self.had_manager |= view.get::<SiderolinkConfig>(SiderolinkConfig::ID).is_some();
        let link = self.links.state().await?;
        let (rng, kept) = (&self.rng, link.key.clone());
        let key = self.key.get_or_insert_with(|| kept.unwrap_or_else(|| PrivateKey::generate(rng)));
        Ok(Seen {
            session: self.session.clone(),
            public_key: key.public(),
            link,
            connected_for: self.connected_at.map(|at| at.elapsed()),
            had_manager: self.had_manager,
        })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Step> {
        let mut plan = Plan::new();
        let Some(config) = view.get::<SiderolinkConfig>(SiderolinkConfig::ID) else {
            if let Some(step) = session::leave(seen) {
                plan.op(step);
            }
            return plan;
        };
        match &seen.session {
            Some(session) => put_session(&mut plan, session, seen),
            None => keep_all(&mut plan),
        }
        let request = match request(view, &config.spec) {
            Ok(request) => request,
            Err(missing) => return plan.waiting(missing),
        };
        let network = view.get::<NetworkStatus>(NetworkStatus::ID);
        let has_address = network.is_some_and(|network| network.spec.address_ready);
        match session::join(&request, seen) {
            Some(Step::Provision(_)) if !has_address => return plan.waiting("an address of the machine"),
            Some(step) => {
                plan.op(step);
            }
            None => {}
        }
        plan.again_in(CHECK)
    }

    async fn apply(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Provision(request) => self.provision(*request).await,
            Step::Connect(number) => self.connect(number).await,
            Step::Remove => {
                self.links.remove().await?;
                (self.session, self.connected_at, self.had_manager) = (None, None, false);
                Ok(())
            }
        }
    }
}

impl<A: JoinApi, L: Links> Join<A, L> {
    /// Asks the manager; its answer takes the place of the one before.
    async fn provision(&mut self, request: Request) -> anyhow::Result<()> {
        let key = self.key.as_ref().context("the machine has no key yet")?;
        let response = self.api.provision(&request.api, request.message(&key.public())).await?;
        let answer = Answer::read(response)?;
        let (manager, address) = (&request.api.host, answer.address);
        tracing::info!(%manager, %address, "the manager has a place for this machine");
        self.session = Some(Session::new(request, answer));
        self.connected_at = None;
        Ok(())
    }

    /// Takes a way of the answer. One that fails is not tried again before the others were.
    async fn connect(&mut self, number: usize) -> anyhow::Result<()> {
        let (Some(session), Some(key)) = (&mut self.session, &self.key) else { return Ok(()) };
        session.next = number + 1;
        self.connected_at = None;
        let settings = session.settings(key.public());
        let endpoint = match session.answer.endpoints.get(number) {
            Some(endpoint) if session.answer.virtual_address.is_none() => {
                Some(SocketAddr::new(self.api.resolve(&endpoint.host).await?, endpoint.port))
            }
            _ => None,
        };
        self.links.set(key, &settings, endpoint).await?;
        self.connected_at = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_resource::testing::{TestRuntime, resource};
    use corten_resource::{AnyResource, ControllerState};

    use super::*;
    use crate::answer::tests::response;
    use crate::fake::{FakeApi, FakeLinks};

    const NAME: &str = "siderolink.Join";

    fn config(host: &str, token: &str) -> AnyResource {
        let config = SiderolinkConfig {
            api_endpoint: format!("grpc://{host}?jointoken={token}"),
            host: host.to_owned(),
            join_token: token.to_owned(),
            insecure: true,
            tunnel: false,
        };
        resource(SiderolinkConfig::ID, config)
    }

    fn unique_token(token: &str) -> AnyResource {
        resource(UniqueMachineToken::ID, UniqueMachineToken { token: token.to_owned() })
    }

    fn start(api: &FakeApi, links: &FakeLinks) -> TestRuntime {
        let runtime = TestRuntime::new(corten_resources::registry(), |runtime| {
            runtime.register(Join::new(api.clone(), links.clone(), Rng::seeded(4)));
        });
        let system = SystemInformation { uuid: "firmware".into(), ..SystemInformation::default() };
        runtime.put(resource(SYSTEM, system));
        let network = NetworkStatus { address_ready: true, ..NetworkStatus::default() };
        runtime.put(resource(NetworkStatus::ID, network));
        runtime
    }

    fn address(runtime: &TestRuntime) -> Option<String> {
        let all = runtime.state().list_any("network-config", "AddressSpecs.net.talos.dev");
        all.first().map(|address| address.id().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_joins_and_publishes_its_place() {
        let (api, links) = (FakeApi::answering(response(&["b:1", "a:1"])), FakeLinks::default());
        let runtime = start(&api, &links);
        runtime.put(config("manager:8090", "t"));
        runtime.quiet().await;
        let status = runtime.status(NAME).expect("a status");
        assert_eq!((status.state, status.reason.as_str()), (ControllerState::Waiting, "META to be read"));
        runtime.put(unique_token(""));
        runtime.quiet().await;
        let asked = api.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].node_uuid.as_str(), asked[0].join_token.as_deref()), ("firmware", Some("t")));
        assert_eq!(links.endpoints(), [Some(FakeApi::address("a", 1))], "the swap of the wire is undone");
        let expected = "operator/siderolink/siderolink/fdae:41e4:649b:9303::2/64";
        assert_eq!(address(&runtime).as_deref(), Some(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_falls_silent_is_tried_everywhere_and_then_asked_again() {
        let (api, links) = (FakeApi::answering(response(&["b:1", "a:1"])), FakeLinks::default());
        let runtime = start(&api, &links);
        runtime.put(config("manager:8090", "t"));
        runtime.put(unique_token(""));
        runtime.quiet().await;
        links.hear(Some(Duration::from_secs(10)));
        runtime.advance(Duration::from_secs(590)).await;
        assert_eq!((links.endpoints().len(), api.asked().len()), (1, 1), "all is well");
        links.hear(Some(Duration::from_secs(275)));
        runtime.advance(Duration::from_secs(31)).await;
        assert_eq!(links.endpoints()[1..], [Some(FakeApi::address("b", 1))]);
        runtime.advance(Duration::from_secs(31)).await;
        assert_eq!((links.endpoints().len(), api.asked().len()), (3, 2), "asked again and begun anew");
        let keys: Vec<_> = api.asked().iter().map(|asked| asked.node_public_key.clone()).collect();
        assert_eq!(keys[0], keys[1], "one key for each boot");
    }

    #[tokio::test(start_paused = true)]
    async fn another_identity_is_told_at_once_and_a_refusal_leaves_the_link() {
        let (api, links) = (FakeApi::answering(response(&["a:1"])), FakeLinks::default());
        let runtime = start(&api, &links);
        runtime.put(config("manager:8090", "t"));
        runtime.put(unique_token(""));
        runtime.quiet().await;
        links.hear(Some(Duration::from_secs(1)));
        runtime.put(unique_token("given by the manager"));
        runtime.quiet().await;
        assert_eq!(api.asked()[1].node_unique_token.as_deref(), Some("given by the manager"));
        runtime.put(resource(UniqueMachineToken::UUID_META_KEY, MetaKey { value: "replaced".into() }));
        runtime.quiet().await;
        assert_eq!(api.asked()[2].node_uuid, "replaced");
        api.refuse();
        runtime.put(unique_token("of another manager"));
        runtime.quiet().await;
        assert_eq!(runtime.status(NAME).map(|status| status.state), Some(ControllerState::Failed));
        assert!(address(&runtime).is_some() && links.exists(), "the connection is better than none");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_manager_the_link_goes_with_all_that_was_published() {
        let (api, links) = (FakeApi::answering(response(&["a:1"])), FakeLinks::default());
        let runtime = start(&api, &links);
        runtime.put(config("manager:8090", "t"));
        runtime.put(unique_token(""));
        runtime.quiet().await;
        assert!(links.exists());
        let gone = runtime.state().remove::<SiderolinkConfig>("", SiderolinkConfig::ID);
        gone.expect("nobody holds it");
        runtime.quiet().await;
        assert!(!links.exists() && address(&runtime).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_of_an_earlier_program_keeps_its_key() {
        let (api, links) = (FakeApi::answering(response(&["a:1"])), FakeLinks::default());
        let key = PrivateKey::generate(&Rng::seeded(9));
        links.adopt(key.clone());
        let runtime = start(&api, &links);
        runtime.quiet().await;
        assert!(links.exists(), "it is not known yet whether somebody wants it");
        runtime.put(config("manager:8090", "t"));
        runtime.put(unique_token(""));
        runtime.quiet().await;
        assert_eq!(api.asked()[0].node_public_key, key.public().to_string());
    }
}
