//! What a decision changes in the store, as a list. Pure.
//!
//! ```text
//! LinkPlan    + Whereabouts + Seen ─▶ NodeUniqueToken, JoinTokenUsage, then Link
//! PendingPlan + Whereabouts + Seen ─▶ PendingMachine
//! ```
//!
//! Each write is based on the version that was seen, so that it fails when somebody was faster. The link comes last:
//! whoever sees it finds the rest. If the manager stops in between, the machine calls again and the rest follows.

use std::collections::BTreeMap;
use std::net::SocketAddrV6;

use corten_fleet_link::{Action, LinkPlan, PendingPlan};
use corten_fleet_resources::labels::MACHINE_UUID;
use corten_fleet_resources::labels::annotation::{
    CREATED_WITH_UNIQUE_TOKEN, FORCE_VALID_NODE_UNIQUE_TOKEN, UUID_CONFLICT,
};
use corten_fleet_resources::link::{JoinTokenUsage, Link, NodeUniqueToken, PendingMachine};
use corten_resource::{AnyResource, Metadata, Pointer, Resource, Spec, UpdateOptions};
use ipnet::Ipv6Net;

use super::known::Seen;
use crate::OWNER;

/// Where a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whereabouts {
    /// Its address in the tunnel, with the prefix length of the network.
    pub address: Ipv6Net,
    /// What stands for it when it tunnels through gRPC.
    pub virtual_peer: Option<SocketAddrV6>,
    /// Where its call came from, without a port; empty when that is not known.
    pub remote: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// It was not there.
    Create(AnyResource),
    /// It has the version that was seen.
    Update(AnyResource),
    /// It is not to be there.
    Remove(Pointer),
}

/// How what is there is changed.
pub(super) fn running() -> UpdateOptions {
    UpdateOptions::running(OWNER)
}

/// What makes a machine a link. What stays as it is, is not written.
pub(super) fn link(plan: &LinkPlan, at: &Whereabouts, seen: &Seen) -> Vec<Write> {
    let token = plan.unique_token.as_ref().map(|token| token.encode().reveal().clone());
    let kept_token = match (&token, &seen.token) {
        (Some(token), current) => {
            changed(current.as_ref(), &plan.uuid, NodeUniqueToken { token: token.clone() }, |_| ())
        }
        // That of an earlier machine with this UUID: this one has none.
        (None, Some(stale)) => Some(Write::Remove(stale.metadata.pointer())),
        (None, None) => None,
    };
    let usage = plan.usage.as_ref().and_then(|usage| {
        let usage = JoinTokenUsage { token_id: usage.reveal().clone() };
        changed(seen.usage.as_ref(), &plan.uuid, usage, |_| ())
    });
    let is_new = plan.action == Action::Create;
    let had_token = token.is_some();
    let mut before = seen.link.as_ref().map(|link| link.spec.clone()).unwrap_or_default();
    if before.node_public_key != plan.public_key {
        // It has booted since, and was heard nowhere yet.
        before.last_endpoint.clear();
    }
    let spec = Link {
        node_subnet: at.address.to_string(),
        node_public_key: plan.public_key.clone(),
        virtual_addr_port: at.virtual_peer.map(|peer| peer.to_string()).unwrap_or_default(),
        remote_addr: at.remote.clone(),
        node_unique_token: token.unwrap_or_default(),
        ..before
    };
    let link = changed(seen.link.as_ref(), &plan.uuid, spec, |metadata| {
        metadata.labels.extend(plan.labels.clone());
        mark(&mut metadata.annotations, FORCE_VALID_NODE_UNIQUE_TOKEN, plan.force_valid);
        if is_new && had_token {
            mark(&mut metadata.annotations, CREATED_WITH_UNIQUE_TOKEN, true);
        }
    });
    [kept_token, usage, link].into_iter().flatten().collect()
}

/// What makes a machine reachable. One that is there is written also when it stays as it is: whoever collects it then
/// finds another version.
pub(super) fn pending(plan: &PendingPlan, at: &Whereabouts, seen: &Seen) -> Write {
    let before = seen.pending.as_ref().map(|pending| pending.spec.clone()).unwrap_or_default();
    let token = plan.unique_token.as_ref().map(|token| token.encode().reveal().clone());
    let spec = PendingMachine {
        node_subnet: at.address.to_string(),
        node_public_key: plan.public_key.clone(),
        virtual_addr_port: at.virtual_peer.map(|peer| peer.to_string()).unwrap_or_default(),
        remote_addr: at.remote.clone(),
        node_unique_token: token.unwrap_or_default(),
        ..before
    };
    let tags = |metadata: &mut Metadata| {
        metadata.labels.insert(MACHINE_UUID.to_owned(), plan.machine_uuid.clone());
        mark(&mut metadata.annotations, UUID_CONFLICT, plan.uuid_conflict);
    };
    next(seen.pending.as_ref(), &plan.public_key, spec, tags).0
}

/// An annotation that says all by being there.
fn mark(annotations: &mut BTreeMap<String, String>, key: &str, is_set: bool) {
    if is_set {
        annotations.entry(key.to_owned()).or_default();
    } else {
        annotations.remove(key);
    }
}

/// The write that leads to what is wanted; none when it is there already.
fn changed<S: Spec>(
    current: Option<&Resource<S>>,
    id: &str,
    spec: S,
    tags: impl FnOnce(&mut Metadata),
) -> Option<Write> {
    let (write, is_changed) = next(current, id, spec, tags);
    is_changed.then_some(write)
}

/// The write that leads to what is wanted, and whether it changes anything.
fn next<S: Spec>(
    current: Option<&Resource<S>>,
    id: &str,
    spec: S,
    tags: impl FnOnce(&mut Metadata),
) -> (Write, bool) {
    let Some(current) = current else {
        let mut new = Resource::new(id, spec);
        tags(&mut new.metadata);
        return (Write::Create(new.into()), true);
    };
    let mut next = Resource { metadata: current.metadata.clone(), spec };
    tags(&mut next.metadata);
    let is_changed = next != *current;
    (Write::Update(next.into()), is_changed)
}

#[cfg(test)]
mod tests {
    use corten_base::Secret;
    use corten_fleet_link::{Choice, UniqueToken};

    use super::*;

    const UUID: &str = "0b1f2a3c-0000-4000-8000-000000000001";

    fn plan() -> LinkPlan {
        let token = UniqueToken::new("0a".to_owned(), Secret::new("own".to_owned())).unwrap();
        LinkPlan {
            action: Action::Create,
            uuid: UUID.to_owned(),
            public_key: "key".to_owned(),
            address: Choice::Fresh,
            virtual_peer: None,
            unique_token: Some(token),
            force_valid: true,
            labels: BTreeMap::from([("of-token".to_owned(), "1".to_owned())]),
            usage: Some(Secret::new("join".to_owned())),
            ends_pending: false,
        }
    }

    fn at() -> Whereabouts {
        let address = "fdae:41e4:649b:9303::7/64".parse().unwrap();
        Whereabouts { address, virtual_peer: None, remote: "192.0.2.1".to_owned() }
    }

    fn stored<S: Spec>(write: &Write) -> Resource<S> {
        let (Write::Create(resource) | Write::Update(resource)) = write else { panic!("{write:?}") };
        resource.resource().cloned().expect("of this type")
    }

    /// Everything as it is after the writes.
    fn seen(writes: &[Write]) -> Seen {
        let [token, usage, link] = writes else { panic!("{writes:?}") };
        let (token, usage) = (Some(stored(token)), Some(stored(usage)));
        Seen { link: Some(stored(link)), pending: None, token, usage }
    }

    #[test]
    fn a_new_machine_gets_a_token_a_usage_and_last_its_link() {
        let writes = link(&plan(), &at(), &Seen::default());
        let seen = seen(&writes);
        assert!(seen.token.unwrap().token.contains("own"));
        assert_eq!(seen.usage.unwrap().token_id, "join");
        let link = seen.link.unwrap();
        assert_eq!(link.node_subnet, "fdae:41e4:649b:9303::7/64");
        assert_eq!(link.remote_addr, "192.0.2.1");
        assert_eq!(link.metadata.labels.get("of-token").map(String::as_str), Some("1"));
        let annotations: Vec<_> = link.metadata.annotations.keys().map(String::as_str).collect();
        assert_eq!(annotations, [CREATED_WITH_UNIQUE_TOKEN, FORCE_VALID_NODE_UNIQUE_TOKEN]);
    }

    #[test]
    fn what_is_there_is_kept_and_written_only_when_it_changes() {
        let first = link(&plan(), &at(), &Seen::default());
        let mut seen = seen(&first);
        let again = LinkPlan { action: Action::Refresh, ..plan() };
        assert_eq!(link(&again, &at(), &seen), []);
        if let Some(link) = &mut seen.link {
            link.metadata.version = 4;
            link.spec.connected = true;
            link.spec.last_endpoint = "192.0.2.1:7".to_owned();
            link.metadata.labels.insert("by-hand".to_owned(), String::new());
        }
        let rebooted = LinkPlan { public_key: "next".to_owned(), force_valid: false, usage: None, ..again };
        let writes = link(&rebooted, &at(), &seen);
        let [Write::Update(updated)] = writes.as_slice() else { panic!("{writes:?}") };
        assert_eq!(updated.metadata().version, 4);
        assert!(updated.metadata().labels.contains_key("by-hand"));
        assert!(!updated.metadata().annotations.contains_key(FORCE_VALID_NODE_UNIQUE_TOKEN));
        let spec = updated.spec::<Link>().unwrap();
        assert_eq!((spec.node_public_key.as_str(), spec.connected), ("next", true));
        assert_eq!(spec.last_endpoint, "", "it may be elsewhere since its boot");
    }

    #[test]
    fn a_token_that_an_earlier_machine_left_goes() {
        let first = link(&plan(), &at(), &Seen::default());
        let stale = Seen { token: seen(&first).token, ..Seen::default() };
        let legacy = LinkPlan { unique_token: None, force_valid: false, ..plan() };
        let writes = link(&legacy, &at(), &stale);
        let [Write::Remove(gone), Write::Create(_), Write::Create(_)] = writes.as_slice() else {
            panic!("{writes:?}")
        };
        assert_eq!(gone.id, UUID);
    }

    #[test]
    fn a_pending_machine_is_written_at_each_call() {
        let plan = PendingPlan {
            action: Action::Create,
            public_key: "key".to_owned(),
            machine_uuid: UUID.to_owned(),
            uuid_conflict: true,
            address: Choice::Fresh,
            virtual_peer: None,
            unique_token: None,
        };
        let created = pending(&plan, &at(), &Seen::default());
        let there = stored::<PendingMachine>(&created);
        assert_eq!(there.metadata.labels.get(MACHINE_UUID).map(String::as_str), Some(UUID));
        assert!(there.metadata.annotations.contains_key(UUID_CONFLICT));
        let seen = Seen { pending: Some(there.clone()), ..Seen::default() };
        assert_eq!(pending(&plan, &at(), &seen), Write::Update(there.into()));
    }
}
