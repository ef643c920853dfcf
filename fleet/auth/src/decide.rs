//! May this caller do this with this resource? One pure function over the table of access.
//!
//! ```text
//! the manager itself ──────────────────────────────────────────────────────▶ Allow
//! namespace of infrastructure providers ─▶ provider: label, ids, finalizers ▶ Allow | Own | Deny
//! any other ─▶ row of the type ─▶ gate of the verb ─┬─ role beyond clusters ▶ Allow
//!                                                   └─ role on each cluster ▶ Allow | Deny
//! ```
//!
//! The cluster of a resource is its id or its label, as the row says. For an update the stored and the new label both
//! count, so that nobody moves a resource between clusters without rights on both. A list counts by its label queries,
//! each of which must name one cluster or be allowed over all of them.
//!
//! A refusal says nothing of the resource, not even whether it exists. Of an absent one no cluster is known, so the
//! role beyond clusters counts, and who would not get it is refused before anybody is told that it is not there.

mod provider;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use corten_api::fleet::Role;
use corten_fleet_resources::access::{self, Gate, Rule, Scope};
use corten_fleet_resources::labels;
use corten_resource::{AnyResource, LabelOp, LabelTerm, Query};

use crate::Labels;
use crate::caller::{Caller, Who};

/// Namespace of each type.
static HOMES: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    let registry = corten_fleet_resources::registry();
    let definitions = registry.types().map(|registered| registered.definition);
    definitions.map(|definition| (definition.kind, definition.namespace)).collect()
});

/// What is to be done, with the labels that decide.
#[derive(Clone, Copy, Debug)]
pub enum Verb<'a> {
    /// Read one resource, whose labels are these; `None` when it is absent.
    Get(Option<&'a Labels>),
    /// Watch one resource. Its labels may change meanwhile, so they do not count.
    WatchOne,
    /// List or watch a type by label queries: sets of terms, of which one must hold in full. None means everything.
    List(&'a [Vec<LabelTerm>]),
    /// Create a resource with these labels.
    Create(&'a Labels),
    /// Update a resource.
    Update {
        /// Labels that it has; `None` when it is absent.
        stored: Option<&'a Labels>,
        /// Labels that it is to have.
        new: &'a Labels,
        /// What is changed.
        edit: Edit,
    },
    /// Tear down or destroy a resource, whose labels are these; `None` when it is absent.
    Destroy(Option<&'a Labels>),
}

/// What an update changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Finalizers and nothing else.
    Finalizers,
    /// Anything.
    Anything,
}

impl Edit {
    /// What changes between a resource as it is stored and as it is to be.
    #[must_use]
    pub fn between(stored: &AnyResource, new: &AnyResource) -> Self {
        let (old, now) = (stored.metadata(), new.metadata());
        let is_same = old.pointer() == now.pointer()
            && old.phase == now.phase
            && old.labels == now.labels
            && old.annotations == now.annotations
            && stored.same_spec(new);
        if is_same { Self::Finalizers } else { Self::Anything }
    }
}

/// A call that reads or changes resources.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// What is to be done.
    pub verb: Verb<'a>,
    /// Namespace.
    pub namespace: &'a str,
    /// Type.
    pub kind: &'a str,
    /// Id; empty for [`Verb::List`].
    pub id: &'a str,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allow,
    /// It may be done within what is the infrastructure provider's with this id: a resource that does not carry its
    /// label counts as absent (see [`is_own`] and [`own_only`]), and one that is created or updated gets the label.
    Own(String),
    /// It may not.
    Deny(Denial),
}

/// Why it may not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// It needs a caller who is known.
    #[error("to {verb} {kind} needs a signed call: log in, or use the key of a service account")]
    Unsigned {
        /// What was to be done.
        verb: &'static str,
        /// The type.
        kind: String,
    },
    /// The type is not known, or not there in this namespace.
    #[error("there is no type {kind:?} in namespace {namespace:?}")]
    Kind {
        /// The type.
        kind: String,
        /// The namespace.
        namespace: String,
    },
    /// The manager does that itself, or there is another way.
    #[error("nobody may {verb} {kind} over this API")]
    Verb {
        /// What was to be done.
        verb: &'static str,
        /// The type.
        kind: String,
    },
    /// The role is too low.
    #[error("to {verb} {kind} needs the role {least}, and {email} has {role}; an Admin can change that")]
    Role {
        /// What was to be done.
        verb: &'static str,
        /// The type.
        kind: String,
        /// The role that it needs.
        least: &'static str,
        /// Who calls.
        email: String,
        /// The role of the caller beyond single clusters.
        role: Role,
    },
    /// Who calls has the role of an infrastructure provider and is none.
    #[error("{email} is no registered infrastructure provider; an Admin can create its InfraProvider")]
    Unregistered {
        /// Who calls.
        email: String,
    },
    /// It is another infrastructure provider's, or no infrastructure provider's at all.
    #[error("infrastructure provider {provider:?} may not {verb} {kind} {id:?} in namespace {namespace:?}")]
    Provider {
        /// Who calls.
        provider: String,
        /// What was to be done.
        verb: &'static str,
        /// The type.
        kind: String,
        /// The id; empty for a list.
        id: String,
        /// The namespace.
        namespace: String,
    },
    /// An infrastructure provider only holds and releases it.
    #[error("infrastructure provider {provider:?} may only change the finalizers of {kind}")]
    Finalizers {
        /// Who calls.
        provider: String,
        /// The type.
        kind: String,
    },
}

impl Denial {
    /// Whether a signature could help: gRPC tells `UNAUTHENTICATED` then, and else `PERMISSION_DENIED`.
    #[must_use]
    pub const fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Unsigned { .. })
    }
}

/// Whether this caller may do this.
#[must_use]
pub fn decide(who: Who<'_>, operation: &Operation<'_>) -> Decision {
    let caller = match who {
        Who::Internal => return Decision::Allow,
        Who::Unsigned => None,
        Who::Signed(caller) => Some(caller),
    };
    let decided = if provider::is_namespace(operation.namespace) {
        provider::decide(caller, operation)
    } else {
        ordinary(caller, operation).map(|()| Decision::Allow)
    };
    decided.unwrap_or_else(Decision::Deny)
}

/// Whether a resource with these labels is the infrastructure provider's with this id.
#[must_use]
pub fn is_own(resource: &Labels, provider: &str) -> bool {
    resource.get(labels::INFRA_PROVIDER_ID).is_some_and(|id| id == provider)
}

/// The query narrowed to what is the infrastructure provider's with this id.
#[must_use]
pub fn own_only(mut query: Query, provider: &str) -> Query {
    if query.labels.is_empty() {
        query.labels.push(Vec::new());
    }
    for terms in &mut query.labels {
        terms.push(LabelTerm::equal(labels::INFRA_PROVIDER_ID, provider));
    }
    query
}

impl Verb<'_> {
    /// The word for it.
    const fn word(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::WatchOne => "watch",
            Self::List(_) => "list",
            Self::Create(_) => "create",
            Self::Update { .. } => "update",
            Self::Destroy(_) => "destroy",
        }
    }

    /// Whether nothing changes.
    const fn is_read(&self) -> bool {
        matches!(self, Self::Get(_) | Self::WatchOne | Self::List(_))
    }

    /// Who gets through.
    const fn gate(&self, rule: &Rule) -> Gate {
        match self {
            Self::Get(_) | Self::WatchOne | Self::List(_) => rule.read,
            Self::Create(_) => rule.create,
            Self::Update { .. } => rule.update,
            Self::Destroy(_) => rule.destroy,
        }
    }
}

impl Operation<'_> {
    fn unknown(&self) -> Denial {
        Denial::Kind { kind: self.kind.to_owned(), namespace: self.namespace.to_owned() }
    }

    fn unsigned(&self) -> Denial {
        Denial::Unsigned { verb: self.verb.word(), kind: self.kind.to_owned() }
    }

    fn needs(&self, least: &'static str, caller: &Caller<'_>) -> Denial {
        Denial::Role {
            verb: self.verb.word(),
            kind: self.kind.to_owned(),
            least,
            email: caller.email.to_string(),
            role: caller.role(),
        }
    }

    /// Roles that all must suffice: one for each cluster that is touched. Empty when none is.
    fn roles(&self, scope: Scope, caller: &Caller<'_>) -> Vec<Role> {
        if let Verb::List(queries) = self.verb {
            return if scope == Scope::Global { Vec::new() } else { roles_of_queries(queries, caller) };
        }
        match scope {
            Scope::Global => Vec::new(),
            Scope::ClusterId => vec![caller.role_on(self.id)],
            Scope::ClusterLabel => {
                let of = |labels: Option<&Labels>| role_by_labels(labels, caller);
                match self.verb {
                    Verb::Get(stored) | Verb::Destroy(stored) => vec![of(stored)],
                    Verb::Create(new) => vec![of(Some(new))],
                    Verb::Update { stored, new, .. } => vec![of(stored), of(Some(new))],
                    Verb::WatchOne | Verb::List(_) => Vec::new(),
                }
            }
        }
    }
}

/// The decision outside of the namespaces of infrastructure providers.
fn ordinary(caller: Option<&Caller<'_>>, operation: &Operation<'_>) -> Result<(), Denial> {
    let is_home = HOMES.get(operation.kind).is_some_and(|home| *home == operation.namespace);
    let rule = access::rule(operation.kind).filter(|_| is_home);
    through(caller, operation, rule.ok_or_else(|| operation.unknown())?)
}

/// Whether the caller gets through the gate of a row.
fn through(caller: Option<&Caller<'_>>, operation: &Operation<'_>, rule: &Rule) -> Result<(), Denial> {
    let gate = operation.verb.gate(rule);
    let admits = |role: Role| gate.admits(Some(role));
    let Some(caller) = caller else {
        return if gate.admits(None) { Ok(()) } else { Err(operation.unsigned()) };
    };
    let roles = operation.roles(rule.scope, caller);
    let is_allowed = admits(caller.role()) || (!roles.is_empty() && roles.into_iter().all(admits));
    match gate {
        _ if is_allowed => Ok(()),
        Gate::Role(least) => Err(operation.needs(least.as_str(), caller)),
        _ => Err(Denial::Verb { verb: operation.verb.word(), kind: operation.kind.to_owned() }),
    }
}

/// Roles for the label queries of a list, each on its own; without any the list is over all clusters.
fn roles_of_queries(queries: &[Vec<LabelTerm>], caller: &Caller<'_>) -> Vec<Role> {
    if queries.is_empty() {
        return vec![caller.role_everywhere()];
    }
    let role = |terms: &Vec<LabelTerm>| match terms.iter().find_map(cluster_of_term) {
        Some(cluster) => caller.role_on(cluster),
        None => caller.role_everywhere(),
    };
    queries.iter().map(role).collect()
}

/// The cluster to which a term narrows a query.
fn cluster_of_term(term: &LabelTerm) -> Option<&str> {
    let is_narrow = term.key == labels::CLUSTER && term.op == LabelOp::Equal && !term.invert;
    term.values.first().filter(|_| is_narrow).map(String::as_str)
}

fn role_by_labels(resource: Option<&Labels>, caller: &Caller<'_>) -> Role {
    match resource.and_then(|resource| resource.get(labels::CLUSTER)) {
        Some(cluster) => caller.role_on(cluster),
        None => caller.role(),
    }
}

#[cfg(test)]
mod tests;
