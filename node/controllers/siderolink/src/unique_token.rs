//! What the manager gave the machine to be known by.
//!
//! ```text
//! MachineConfig (uniqueToken), else MetaKey 0x10 once META was read ──▶ UniqueMachineToken
//! ```
//! It is empty on a machine that has none yet, and on one that has no place to keep it: the manager must know the
//! difference between that and a machine that has not looked yet.

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::block::{VolumePhase, VolumeStatus};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::{MetaKey, MetaLoaded};
use corten_resources::siderolink::UniqueMachineToken;

use crate::told;

/// Publishes the token.
#[derive(Clone, Copy, Debug)]
pub struct UniqueToken;

controller!(UniqueToken, "siderolink.UniqueToken",
    inputs: [weak MachineConfig, weak MetaLoaded, weak MetaKey, weak VolumeStatus],
    outputs: [exclusive UniqueMachineToken]);

impl Transform for UniqueToken {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let management = told::management(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let configured = management.unique_token.reveal();
        let meta = view.get::<VolumeStatus>(VolumeStatus::META);
        let has_no_meta = meta.is_some_and(|volume| volume.spec.phase == VolumePhase::Missing);
        let token = if !configured.is_empty() {
            configured.clone()
        } else if has_no_meta || view.list::<MetaLoaded>().iter().any(|loaded| loaded.spec.done) {
            let key = view.get::<MetaKey>(UniqueMachineToken::META_KEY);
            key.map(|key| key.spec.value.clone()).unwrap_or_default()
        } else {
            return plan.waiting("META to be read");
        };
        plan.put::<UniqueMachineToken>(UniqueMachineToken::ID, UniqueMachineToken { token });
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::AnyResource;
    use corten_resource::testing::resource;

    use super::*;

    fn token(resources: impl IntoIterator<Item = AnyResource>) -> Option<String> {
        let plan = UniqueToken.plan(&View::of(resources, UNIX_EPOCH));
        plan.output::<UniqueMachineToken>(UniqueMachineToken::ID).map(|token| token.token.clone())
    }

    fn key() -> AnyResource {
        resource(UniqueMachineToken::META_KEY, MetaKey { value: "of META".into() })
    }

    #[test]
    fn nothing_is_said_before_meta_was_read_or_is_known_to_be_missing() {
        let loaded = || resource("meta-loaded", MetaLoaded { done: true });
        let volume = |phase| resource(VolumeStatus::META, VolumeStatus { phase, ..VolumeStatus::default() });
        assert_eq!(token([]), None);
        assert_eq!(token([volume(VolumePhase::Waiting)]), None);
        assert_eq!(token([volume(VolumePhase::Missing)]).as_deref(), Some(""));
        assert_eq!(token([loaded()]).as_deref(), Some(""));
        assert_eq!(token([loaded(), key()]).as_deref(), Some("of META"));
    }

    #[test]
    fn the_configuration_comes_first() {
        let yaml =
            "{apiVersion: v1alpha1, kind: SideroLinkConfig, apiUrl: 'h:1', uniqueToken: of the document}";
        let config = resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() });
        assert_eq!(token([config, key()]).as_deref(), Some("of the document"));
    }
}
