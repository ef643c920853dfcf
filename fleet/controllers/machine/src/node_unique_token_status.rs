//! How firmly a machine is known, and the way back for those that have no token (fleet.md 1.7, 4.1 step 9).
//!
//! ```text
//! NodeUniqueToken, MachineStatus (version, installed) ─▶ NodeUniqueTokenStatus
//!    none, and it is connected ─▶ PendingMachine of its link ─(it is given one and calls again)─▶ NodeUniqueToken
//! ```

use corten_fleet_resources::labels::MACHINE_UUID;
use corten_fleet_resources::link::{
    Link, NodeUniqueToken, NodeUniqueTokenState, NodeUniqueTokenStatus, PendingMachine,
};
use corten_fleet_resources::machine::{Machine, MachineStatus};
use corten_resource::{
    AnyResource, Concern, Declared, ItemTransform, Plan, Resource, Spec, View, controller,
};

use crate::machine_status::is_installed;
use crate::version::{is_at_least, minor};

/// First version that keeps a token.
const KEEPS_TOKENS: (u32, u32) = (1, 6);

/// Whether machines are given tokens: not where join tokens alone count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// They are.
    Given,
    /// They are not; the setting `joinTokensMode` is `legacy`.
    NotGiven,
}

/// Publishes how firmly machines are known, and has those without a token given one.
#[derive(Debug)]
pub struct NodeUniqueTokenStatusController {
    tokens: Tokens,
}

impl NodeUniqueTokenStatusController {
    /// A controller for machines that are given tokens, or not.
    #[must_use]
    pub const fn new(tokens: Tokens) -> Self {
        Self { tokens }
    }
}

controller!(NodeUniqueTokenStatusController, "NodeUniqueTokenStatusController",
    inputs: [strong Machine, weak Link, weak NodeUniqueToken, weak MachineStatus, weak PendingMachine],
    outputs: [exclusive NodeUniqueTokenStatus, shared PendingMachine]);

impl ItemTransform for NodeUniqueTokenStatusController {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == PendingMachine::DEFINITION.kind {
            true => Concern::by_label(resource, MACHINE_UUID),
            false => Concern::by_id(resource),
        }
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(machine) = view.get::<Machine>(item) else { return plan };
        let has_token = view.get::<NodeUniqueToken>(item).is_some_and(|token| !token.token.is_empty());
        let state = state(view.get::<MachineStatus>(item).map(|status| &status.spec), has_token);
        plan.put(item, NodeUniqueTokenStatus { state });
        let may_be_given = self.tokens == Tokens::Given && machine.connected;
        let is_wanted = state == NodeUniqueTokenState::None && may_be_given;
        if let Some(link) = view.get::<Link>(item).filter(|_| is_wanted)
            && !is_pending_already(link, view)
        {
            plan.put_with(link.node_public_key.as_str(), pending(link), |metadata| {
                metadata.labels.insert(MACHINE_UUID.to_owned(), item.to_owned());
            });
        }
        plan
    }
}

/// How firmly a machine is known.
fn state(status: Option<&MachineStatus>, has_token: bool) -> NodeUniqueTokenState {
    let Some(status) = status.filter(|status| minor(&status.talos_version).is_some()) else {
        return NodeUniqueTokenState::Unknown;
    };
    if !is_at_least(&status.talos_version, KEEPS_TOKENS) {
        NodeUniqueTokenState::Unsupported
    } else if !has_token {
        NodeUniqueTokenState::None
    } else if is_installed(status) {
        NodeUniqueTokenState::Persistent
    } else {
        NodeUniqueTokenState::Ephemeral
    }
}

/// Whether the machine is pending because it called by itself, in which case nothing is to be done.
fn is_pending_already(link: &Link, view: &View<NodeUniqueTokenStatusController>) -> bool {
    let own = NodeUniqueTokenStatusController::NAME;
    let pending = view.list::<PendingMachine>();
    pending.iter().any(|pending| pending.id() == link.node_public_key && pending.metadata.owner != own)
}

/// The pending machine that is the same peer as a link.
fn pending(link: &Resource<Link>) -> PendingMachine {
    PendingMachine {
        node_subnet: link.node_subnet.clone(),
        node_public_key: link.node_public_key.clone(),
        last_endpoint: link.last_endpoint.clone(),
        connected: link.connected,
        virtual_addr_port: link.virtual_addr_port.clone(),
        remote_addr: link.remote_addr.clone(),
        node_unique_token: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::{BlockDevice, Hardware};
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn status(version: &str, system_disk: bool) -> MachineStatus {
        let disk = BlockDevice { system_disk, ..BlockDevice::default() };
        MachineStatus {
            talos_version: version.to_owned(),
            hardware: Some(Hardware { blockdevices: vec![disk], ..Hardware::default() }),
            ..MachineStatus::default()
        }
    }

    #[test]
    fn a_token_lasts_when_it_is_on_a_disk() {
        use NodeUniqueTokenState::{Ephemeral, None as NoToken, Persistent, Unknown, Unsupported};
        for (version, is_installed, has_token, expected) in [
            ("v1.14.0", true, true, Persistent),
            ("v1.14.0", false, true, Ephemeral),
            ("v1.14.0", true, false, NoToken),
            ("v1.5.9", true, false, Unsupported),
            ("", true, true, Unknown),
        ] {
            let status = status(version, is_installed);
            assert_eq!(state(Some(&status), has_token), expected, "{version} {is_installed} {has_token}");
        }
        assert_eq!(state(None, true), Unknown);
    }

    fn started(tokens: Tokens) -> TestRuntime {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(NodeUniqueTokenStatusController::new(tokens));
        });
        runtime.put(resource("m1", Machine { connected: true, ..Machine::default() }));
        runtime.put(resource("m1", Link { node_public_key: "key".to_owned(), ..Link::default() }));
        runtime.put(resource("m1", status("v1.14.0", true)));
        runtime
    }

    fn pending_of(runtime: &TestRuntime) -> Option<Resource<PendingMachine>> {
        runtime.state().get::<PendingMachine>("key")
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_without_token_is_pending_until_it_has_one() {
        let runtime = started(Tokens::Given);
        runtime.quiet().await;
        let pending = pending_of(&runtime).expect("a pending machine");
        assert_eq!(pending.metadata.labels.get(MACHINE_UUID).map(String::as_str), Some("m1"));
        runtime.put(resource("m1", NodeUniqueToken { token: "t".to_owned() }));
        runtime.quiet().await;
        assert!(pending_of(&runtime).is_none());
        let status = runtime.state().get::<NodeUniqueTokenStatus>("m1").expect("a status");
        assert_eq!(status.state, NodeUniqueTokenState::Persistent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pending_machine_that_called_by_itself_is_left_alone() {
        let runtime = started(Tokens::NotGiven);
        runtime.quiet().await;
        assert!(pending_of(&runtime).is_none(), "nobody is given tokens");
        let runtime = started(Tokens::Given);
        let called = resource("key", PendingMachine::default()).edit(|metadata| {
            metadata.labels.insert(MACHINE_UUID.to_owned(), "m1".to_owned());
        });
        runtime.put(called);
        runtime.quiet().await;
        assert_eq!(pending_of(&runtime).expect("still there").metadata.owner, "");
        assert!(runtime.status("NodeUniqueTokenStatusController/m1").is_none(), "nothing is wrong");
    }
}
