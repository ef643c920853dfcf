//! The access policy: roles of certain people on certain clusters.
//!
//! ```text
//! identity ─▶ rules whose users it is one of ─┐
//! cluster ──▶ rules whose clusters it is one of ┴▶ the highest of their roles and the own one
//! ```

use std::collections::BTreeMap;

use corten_resource::{Record, Resource};

/// Roles of certain people on certain clusters; a rule raises a role, none lowers it. Singleton `access-policy`.
///
/// It is written only if all of its tests hold.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AccessPolicies.omni.sidero.dev", namespace = "default", message)]
pub struct AccessPolicy {
    /// People by the name of a group.
    #[field(1, "usergroups")]
    pub user_groups: BTreeMap<String, UserGroup>,
    /// Clusters by the name of a group.
    #[field(2, "clustergroups")]
    pub cluster_groups: BTreeMap<String, ClusterGroup>,
    /// The rules.
    #[field(3, "rules")]
    pub rules: Vec<PolicyRule>,
    /// What must come out of them.
    #[field(4, "tests")]
    pub tests: Vec<PolicyTest>,
}

impl AccessPolicy {
    /// Id of the only one.
    pub const ID: &'static str = "access-policy";
}

/// People who are meant together.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct UserGroup {
    /// Whoever fits one of these.
    #[field(1, "users")]
    pub users: Vec<UserMatch>,
}

/// People by exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct UserMatch {
    /// E-mail address.
    #[field(1, "name")]
    pub name: String,
    /// Glob of e-mail addresses.
    #[field(2, "match")]
    pub pattern: String,
    /// Label selectors of identities; all must fit.
    #[field(3, "labelselectors")]
    pub label_selectors: Vec<String>,
}

/// Clusters that are meant together.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ClusterGroup {
    /// Whatever fits one of these.
    #[field(1, "clusters")]
    pub clusters: Vec<ClusterMatch>,
}

/// Clusters by exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ClusterMatch {
    /// Name.
    #[field(1, "name")]
    pub name: String,
    /// Glob of names; `*` is also needed to list over all clusters.
    #[field(2, "match")]
    pub pattern: String,
}

/// Who has which role where.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PolicyRule {
    /// E-mail addresses, or `group/` and the name of a group.
    #[field(1, "users")]
    pub users: Vec<String>,
    /// Names of clusters, or `group/` and the name of a group.
    #[field(2, "clusters")]
    pub clusters: Vec<String>,
    /// Who they are in Kubernetes.
    #[field(3, "kubernetes")]
    pub kubernetes: Option<KubernetesAccess>,
    /// The role: `None`, `Reader`, `Operator` or `Admin`.
    #[field(4, "role")]
    pub role: String,
}

/// Who somebody is in the Kubernetes of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KubernetesAccess {
    /// As whom their calls are made.
    #[field(1, "impersonate")]
    pub impersonate: Option<Impersonate>,
}

/// As whom calls to Kubernetes are made.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Impersonate {
    /// Groups of Kubernetes; without any, Operators and Admins are `system:masters`.
    #[field(1, "groups")]
    pub groups: Vec<String>,
}

/// What must come out of the rules for one person and one cluster.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PolicyTest {
    /// What the refusal is to call it.
    #[field(1, "name")]
    pub name: String,
    /// The person.
    #[field(2, "user")]
    pub user: Option<TestUser>,
    /// The cluster.
    #[field(3, "cluster")]
    pub cluster: Option<TestCluster>,
    /// What must come out.
    #[field(4, "expected")]
    pub expected: Option<ExpectedAccess>,
}

/// A person whom a test supposes.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct TestUser {
    /// E-mail address.
    #[field(1, "name")]
    pub name: String,
    /// Labels of the identity.
    #[field(2, "labels")]
    pub labels: BTreeMap<String, String>,
}

/// A cluster that a test supposes.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct TestCluster {
    /// Name.
    #[field(1, "name")]
    pub name: String,
}

/// What must come out of the rules.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExpectedAccess {
    /// Who the person is in Kubernetes.
    #[field(1, "kubernetes")]
    pub kubernetes: Option<KubernetesAccess>,
    /// Role that the rules give.
    #[field(2, "role")]
    pub role: String,
}
