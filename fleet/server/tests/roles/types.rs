//! Every type of resource with every verb, as everybody over every transport, against the table of access.
//!
//! | caller | may |
//! |---|---|
//! | nobody | nothing: the service is for those who sign |
//! | a role | what the row of the type gives the verb |
//! | the role of providers, in their namespaces | read what is shared; write what is theirs (fleet.md 5.2) |
//! | the role of providers, in the namespace of its own provider | everything; an Admin reads along |
//!
//! A type without a row is red, and so is one that is asked for where it is not.

use bytes::Bytes;
use corten_api::cosi::resource::{
    CreateRequest, DestroyRequest, GetRequest, ListRequest, TeardownAndDestroyRequest, TeardownRequest,
    UpdateRequest, WatchRequest,
};
use corten_api::fleet::Role;
use corten_fleet_api::audit::SIGNS_OF_LIFE;
use corten_fleet_resources::access::{self, Rule};
use corten_fleet_resources::namespace::{INFRA_PROVIDER, INFRA_PROVIDER_EPHEMERAL};
use futures::future::join_all;
use prost::Message as _;
use tonic::Code;

use crate::client::{Answer, Transport};
use crate::methods::{Walked, judge};
use crate::world::{Caller, PROVIDER, World, resource};

/// Types that providers share with the manager and write.
const OF_PROVIDERS: [&str; 5] = [
    "ConfigPatchRequests.omni.sidero.dev",
    "InfraMachineStatuses.omni.sidero.dev",
    "InfraProviderHealthStatuses.omni.sidero.dev",
    "InfraProviderStatuses.omni.sidero.dev",
    "MachineRequestStatuses.omni.sidero.dev",
];
/// Types of which each provider has one, with its own id.
const BY_PROVIDER: [&str; 3] = [
    "InfraProviderHealthStatuses.omni.sidero.dev",
    "InfraProviderStatuses.omni.sidero.dev",
    "InfraProviders.omni.sidero.dev",
];

/// What is done with a type. What makes a resource comes before what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Create,
    Get,
    List,
    Watch,
    WatchOne,
    Update,
    Teardown,
    Destroy,
    TeardownAndDestroy,
}

impl Verb {
    const ALL: [Self; 9] = [
        Self::Create,
        Self::Get,
        Self::List,
        Self::Watch,
        Self::WatchOne,
        Self::Update,
        Self::Teardown,
        Self::Destroy,
        Self::TeardownAndDestroy,
    ];

    const fn method(self) -> &'static str {
        match self {
            Self::Create => "/cosi.resource.State/Create",
            Self::Get => "/cosi.resource.State/Get",
            Self::List => "/cosi.resource.State/List",
            Self::Watch | Self::WatchOne => "/cosi.resource.State/Watch",
            Self::Update => "/cosi.resource.State/Update",
            Self::Teardown => "/cosi.resource.State/Teardown",
            Self::Destroy => "/cosi.resource.State/Destroy",
            Self::TeardownAndDestroy => "/cosi.resource.State/TeardownAndDestroy",
        }
    }

    const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch | Self::WatchOne)
    }

    /// What the audit log calls it; nothing for what changes nothing.
    const fn event(self) -> Option<&'static str> {
        match self {
            Self::Create => Some("create"),
            Self::Update => Some("update"),
            Self::Teardown => Some("teardown"),
            Self::Destroy | Self::TeardownAndDestroy => Some("destroy"),
            Self::Get | Self::List | Self::Watch | Self::WatchOne => None,
        }
    }

    /// Whether a row lets this role through.
    fn is_given(self, rule: &Rule, role: Role) -> bool {
        let gate = match self {
            Self::Get | Self::List | Self::Watch | Self::WatchOne => rule.read,
            Self::Create => rule.create,
            Self::Update => rule.update,
            Self::Teardown | Self::Destroy | Self::TeardownAndDestroy => rule.destroy,
        };
        gate.admits(Some(role))
    }

    /// The message that asks for it.
    fn message(self, target: &Target, id: &str) -> Vec<u8> {
        let (namespace, r#type, id) = (target.namespace.clone(), target.kind.clone(), id.to_owned());
        let made = |labels: &[(&str, &str)]| {
            Some(resource(&target.namespace, &target.kind, &id, labels, Bytes::new()))
        };
        match self {
            Self::Create => CreateRequest { resource: made(&[]), options: None }.encode_to_vec(),
            Self::Update => {
                UpdateRequest { new_resource: made(&[("walk", "yes")]), options: None }.encode_to_vec()
            }
            Self::Get => GetRequest { namespace, r#type, id, options: None }.encode_to_vec(),
            Self::List => ListRequest { namespace, r#type, options: None }.encode_to_vec(),
            Self::Watch => {
                WatchRequest { namespace, r#type, api_version: 1, ..WatchRequest::default() }.encode_to_vec()
            }
            Self::WatchOne => {
                let id = Some(id);
                WatchRequest { namespace, r#type, id, api_version: 1, options: None }.encode_to_vec()
            }
            Self::Teardown => TeardownRequest { namespace, r#type, id, options: None }.encode_to_vec(),
            Self::Destroy => DestroyRequest { namespace, r#type, id, options: None }.encode_to_vec(),
            // Of something that there never was, where ids are free: what is held would be waited for.
            Self::TeardownAndDestroy => {
                let id = if id == PROVIDER { id } else { format!("{id}-nothing") };
                TeardownAndDestroyRequest { namespace, r#type, id, options: None }.encode_to_vec()
            }
        }
    }
}

/// What decides about a type.
#[derive(Clone, Copy)]
enum Law {
    /// Its row.
    Row(&'static Rule),
    /// It is in a namespace of providers: the row, and for providers what they share.
    Shared(&'static Rule),
    /// It is what the provider that calls keeps for itself.
    Kept,
    /// It is what another one keeps.
    KeptByAnother,
    /// There is no such type, or not there.
    Nobody,
}

/// A type in a namespace.
struct Target {
    kind: String,
    namespace: String,
    law: Law,
}

impl Target {
    fn new(namespace: &str, kind: &str, law: Law) -> Self {
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), law }
    }

    fn is_allowed(&self, role: Option<Role>, verb: Verb) -> bool {
        let Some(role) = role else { return false };
        match self.law {
            Law::Row(rule) => verb.is_given(rule, role),
            Law::Shared(rule) => match role {
                Role::None => false,
                // Of its own, a provider may do everything; of others it only sees those that are for it.
                Role::InfraProvider => verb.is_read() || OF_PROVIDERS.contains(&self.kind.as_str()),
                _ => verb.is_given(rule, role),
            },
            Law::Kept => role == Role::InfraProvider || (role == Role::Admin && verb.is_read()),
            Law::KeptByAnother => role == Role::Admin && verb.is_read(),
            Law::Nobody => false,
        }
    }

    /// Id of what somebody makes.
    fn id(&self, caller: &Caller, transport: Transport) -> String {
        let is_of_provider = caller.role == Some(Role::InfraProvider);
        if is_of_provider && BY_PROVIDER.contains(&self.kind.as_str()) {
            return PROVIDER.to_owned();
        }
        caller.tag(transport)
    }
}

/// Every type, and some that are none.
fn targets() -> Vec<Target> {
    let registry = corten_fleet_resources::registry();
    let mut targets: Vec<Target> = Vec::new();
    for definition in registry.types().map(|registered| registered.definition) {
        let (namespace, kind) = (definition.namespace, definition.kind);
        let rule = access::rule(kind).unwrap_or_else(|| panic!("{kind} has no row"));
        let is_shared = [INFRA_PROVIDER, INFRA_PROVIDER_EPHEMERAL].contains(&namespace);
        let law = if is_shared { Law::Shared(rule) } else { Law::Row(rule) };
        targets.push(Target::new(namespace, kind, law));
    }
    let private = |provider: &str| (format!("infra-provider:{provider}"), kept_by(provider));
    let ((own, kind), (foreign, other)) = (private(PROVIDER), private("another"));
    targets.extend([
        Target::new(&own, &kind, Law::Kept),
        Target::new(&foreign, &other, Law::KeptByAnother),
        Target::new("default", "Cats.omni.sidero.dev", Law::Nobody),
        Target::new("ephemeral", "Clusters.omni.sidero.dev", Law::Nobody),
        Target::new(INFRA_PROVIDER, "Clusters.omni.sidero.dev", Law::Nobody),
    ]);
    targets
}

/// A type that a provider keeps for itself.
fn kept_by(provider: &str) -> String {
    format!("Notes.{provider}.infraprovider.sidero.dev")
}

/// Does everything with every type as everybody.
pub async fn walk(world: &World) -> Walked {
    let targets = targets();
    let walks = world.callers.iter().map(|caller| walk_as(world, caller, &targets));
    Walked::all(targets.len(), join_all(walks).await)
}

async fn walk_as(world: &World, caller: &Caller, targets: &[Target]) -> Walked {
    let mut walked = Walked::default();
    for transport in Transport::ALL {
        for target in targets {
            let id = target.id(caller, transport);
            for verb in Verb::ALL {
                let message = verb.message(target, &id);
                let answer = world.call(caller, transport, verb.method(), &[], &message).await;
                let is_allowed = target.is_allowed(caller.role, verb);
                let wrong = judge(transport, caller.role, is_allowed, &answer);
                let of = format!("{verb:?} {} in {:?} as {id}", target.kind, target.namespace);
                walked.check(wrong.map(|wrong| format!("{of}: {wrong}")));
                if let (Answer::Status(Code::Ok, _), Some(event)) = (&answer, verb.event())
                    && !SIGNS_OF_LIFE.contains(&target.kind.as_str())
                {
                    world.book.note(&caller.email, event, &target.kind);
                }
            }
        }
    }
    walked
}
