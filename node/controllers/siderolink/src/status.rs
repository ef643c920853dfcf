//! Whether the machine and its manager see each other.
//!
//! ```text
//! SiderolinkConfig, WireGuard link ──▶ SiderolinkStatus
//! ```

use std::time::Duration;

use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::siderolink::{SiderolinkConfig, SiderolinkStatus};

use crate::link::{Carrier, LinkState, Links};

/// Between two looks at the link: no event tells of handshakes.
const LOOK: Duration = Duration::from_secs(10);

/// Publishes the status.
pub struct Status<L> {
    links: L,
}

controller!(impl<L: Links> Status<L>, "siderolink.Status",
    inputs: [weak SiderolinkConfig],
    outputs: [exclusive SiderolinkStatus]);

impl<L> Status<L> {
    /// The status of these links.
    #[must_use]
    pub const fn new(links: L) -> Self {
        Self { links }
    }
}

impl<L: Links> Driver for Status<L> {
    type Observed = LinkState;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<LinkState> {
        // Asking the kernel may make it look for a module, which nobody needs without a manager.
        match view.get::<SiderolinkConfig>(SiderolinkConfig::ID) {
            Some(_) => self.links.state().await,
            None => Ok(LinkState::default()),
        }
    }

    fn plan(&self, view: &View<Self>, link: &LinkState) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = view.get::<SiderolinkConfig>(SiderolinkConfig::ID) else { return plan };
        let settings = link.settings.as_ref();
        let status = SiderolinkStatus {
            host: config.spec.host.clone(),
            connected: link.is_connected(),
            link_name: settings.map(|settings| settings.name().to_owned()).unwrap_or_default(),
            grpc_tunnel: settings.is_some_and(|settings| settings.carrier != Carrier::Udp),
        };
        plan.put::<SiderolinkStatus>(SiderolinkStatus::ID, status);
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("siderolink-status", LOOK)]
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_base::Rng;
    use corten_resource::AnyResource;
    use corten_resource::testing::resource;
    use corten_wireguard::PrivateKey;

    use super::*;
    use crate::answer::Answer;
    use crate::answer::tests::{request, response};
    use crate::fake::FakeLinks;

    fn status(rows: Vec<AnyResource>, age: Option<u64>, virtual_address: &str) -> Option<SiderolinkStatus> {
        let mut answered = response(&["a:1"]);
        answered.grpc_peer_addr_port = virtual_address.to_owned();
        let answer = Answer::read(answered).expect("an answer");
        let key = PrivateKey::generate(&Rng::seeded(1)).public();
        let link = LinkState {
            exists: true,
            settings: Some(answer.settings(&request().api, key)),
            key: None,
            handshake_age: age.map(Duration::from_secs),
        };
        let plan = Status::new(FakeLinks::default()).plan(&View::of(rows, UNIX_EPOCH), &link);
        plan.output::<SiderolinkStatus>(SiderolinkStatus::ID).cloned()
    }

    #[test]
    fn a_manager_that_was_heard_within_275_seconds_is_connected() {
        let config = || {
            let config = SiderolinkConfig { host: "manager:8090".into(), ..SiderolinkConfig::default() };
            vec![resource(SiderolinkConfig::ID, config)]
        };
        let connected = status(config(), Some(274), "").expect("a status");
        let expected = SiderolinkStatus {
            host: "manager:8090".into(),
            connected: true,
            link_name: "siderolink".into(),
            grpc_tunnel: false,
        };
        assert_eq!(connected, expected);
        let silent = status(config(), Some(275), "[fdae::5]:1").expect("a status");
        assert_eq!((silent.connected, silent.link_name.as_str()), (false, "siderolinktun"));
        assert!(silent.grpc_tunnel && !status(config(), None, "").expect("a status").connected);
        assert_eq!(status(Vec::new(), Some(1), ""), None, "without a manager there is no status");
    }
}
