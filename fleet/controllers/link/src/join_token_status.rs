//! What a join token is worth now, and how many machines came with it.
//!
//! ```text
//! JoinToken, DefaultJoinToken (names it), JoinTokenUsage (one for each machine) ──▶ JoinTokenStatus
//! ```
//!
//! Items are tokens.

use std::time::{Duration, SystemTime};

use corten_fleet_resources::link::{
    DefaultJoinToken, JoinToken, JoinTokenState, JoinTokenStatus, JoinTokenUsage,
};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Resource, View, controller};

/// How old the number of the machines that came with a token may be.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);

/// Says of each join token what it is worth.
#[derive(Debug)]
pub struct JoinTokenStatusController;

controller!(JoinTokenStatusController, "JoinTokenStatusController",
    inputs: [weak JoinToken, weak DefaultJoinToken, weak JoinTokenUsage],
    outputs: [exclusive JoinTokenStatus]);

impl ItemTransform for JoinTokenStatusController {
    const HAS_SECRET_IDS: bool = true;
    fn concern(resource: &AnyResource) -> Concern {
        let used = resource.spec::<JoinTokenUsage>().map(|usage| &usage.token_id);
        let default = resource.spec::<DefaultJoinToken>().map(|default| &default.token_id);
        used.or(default).map_or_else(|| Concern::by_id(resource), |token| Concern::Item(token.clone()))
    }

    fn patience(resource: &AnyResource) -> Duration {
        // Each machine that joins changes the number of all that came with its token.
        if resource.spec::<JoinTokenUsage>().is_some() { COUNTED_WITHIN } else { Duration::ZERO }
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(token) = view.get::<JoinToken>(item) else { return plan };
        let state = state(token, view.now());
        let status = JoinTokenStatus {
            state,
            is_default: !view.list::<DefaultJoinToken>().is_empty(),
            use_count: u64::try_from(view.list::<JoinTokenUsage>().len()).unwrap_or(u64::MAX),
            expiration_time: token.expiration_time,
            name: token.name.clone(),
            warnings: Vec::new(),
        };
        plan.put(item, status);
        let left = token.expiration_time.and_then(|end| end.duration_since(view.now()).ok());
        match left {
            Some(left) if state == JoinTokenState::Active => plan.again_in(left),
            _ => plan,
        }
    }
}

fn state(token: &Resource<JoinToken>, now: SystemTime) -> JoinTokenState {
    if token.revoked {
        JoinTokenState::Revoked
    } else if token.expiration_time.is_some_and(|end| end <= now) {
        JoinTokenState::Expired
    } else {
        JoinTokenState::Active
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    /// When the clocks of tests stand still.
    const NOW: u64 = 1_700_000_000;

    fn token(revoked: bool, end: Option<u64>) -> JoinToken {
        let end = end.map(|end| UNIX_EPOCH + Duration::from_secs(end));
        JoinToken { expiration_time: end, revoked, name: "rack 1".to_owned() }
    }

    fn started() -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(JoinTokenStatusController);
        })
    }

    fn found(runtime: &TestRuntime, id: &str) -> JoinTokenStatus {
        runtime.state().get::<JoinTokenStatus>(id).expect("a status").spec
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_active_until_it_is_withdrawn_or_its_time_is_over() {
        let runtime = started();
        runtime.put(resource("t", token(false, Some(NOW + 60))));
        runtime.put(resource("r", token(true, None)));
        runtime.quiet().await;
        assert_eq!(found(&runtime, "t").state, JoinTokenState::Active);
        assert_eq!(found(&runtime, "r").state, JoinTokenState::Revoked);
        runtime.advance(Duration::from_secs(61)).await;
        assert_eq!(found(&runtime, "t").state, JoinTokenState::Expired);
    }

    #[tokio::test(start_paused = true)]
    async fn machines_that_came_with_it_are_counted_and_the_default_is_marked() {
        let runtime = started();
        runtime.put(resource("t", token(false, None)));
        runtime.quiet().await;
        runtime.put(resource("default", DefaultJoinToken { token_id: "t".to_owned() }));
        for machine in ["m1", "m2"] {
            runtime.put(resource(machine, JoinTokenUsage { token_id: "t".to_owned() }));
        }
        runtime.put(resource("m3", JoinTokenUsage { token_id: "other".to_owned() }));
        runtime.advance(COUNTED_WITHIN).await;
        let status = found(&runtime, "t");
        assert_eq!((status.use_count, status.is_default), (2, true));
        runtime.put(resource("m4", JoinTokenUsage { token_id: "t".to_owned() }));
        runtime.quiet().await;
        assert_eq!(found(&runtime, "t").use_count, 2, "machines are counted together");
        runtime.state().remove::<JoinToken>("", "t").expect("removed");
        runtime.quiet().await;
        assert!(runtime.state().get::<JoinTokenStatus>("t").is_none());
    }
}
