//! The access policy: which roles people have on clusters beyond their own, and who they are in Kubernetes there.
//!
//! ```text
//! rules ─▶ whose users the identity is one of ─┬▶ whose clusters this is one of ─▶ role, groups of Kubernetes
//!                                              └▶ that are for all clusters     ─▶ role over all clusters
//! ```
//!
//! A rule names users and clusters, or groups of them as `group/NAME`. A group that is not there is empty. Rules add
//! up: the highest role counts, and all groups of Kubernetes. Only a cluster group with the pattern `*` is for all
//! clusters.

use corten_api::fleet::Role;
use corten_fleet_resources::auth::{
    AccessPolicy, ClusterMatch, KubernetesAccess, PolicyRule, PolicyTest, UserMatch,
};
use corten_resource::Selector;

use crate::Labels;
use crate::glob::Glob;

/// Begin of the name of a group in a rule.
const GROUP_PREFIX: &str = "group/";
/// Pattern of all clusters.
const ALL_CLUSTERS: &str = "*";
/// Group of those who may do everything in Kubernetes.
const MASTERS: &str = "system:masters";

/// What the rules give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The highest of their roles; `None` without any.
    pub role: Role,
    /// Groups of Kubernetes, sorted, each once.
    pub groups: Vec<String>,
}

/// A policy that is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access policy is not valid: {}", .0.join("; "))]
pub struct InvalidPolicy(pub Vec<String>);

/// What the rules give to an identity with these labels on a cluster.
#[must_use]
pub fn access(policy: &AccessPolicy, email: &str, labels: &Labels, cluster: &str) -> Access {
    let rules = policy.rules.iter().filter(|rule| is_for_user(policy, rule, email, labels));
    sum(rules.filter(|rule| is_for_cluster(policy, rule, cluster)))
}

/// What the rules give to an identity with these labels on all clusters, those that are to come included.
#[must_use]
pub fn access_everywhere(policy: &AccessPolicy, email: &str, labels: &Labels) -> Access {
    let rules = policy.rules.iter().filter(|rule| is_for_user(policy, rule, email, labels));
    sum(rules.filter(|rule| is_for_all_clusters(policy, rule)))
}

/// Groups of Kubernetes of somebody who has this role on a cluster: those of the rules; without any, Operators and
/// Admins may do everything and others nothing.
#[must_use]
pub fn kubernetes_groups(access: &Access, role: Role) -> Vec<String> {
    if access.groups.is_empty() && role >= Role::Operator {
        vec![MASTERS.to_owned()]
    } else {
        access.groups.clone()
    }
}

/// Whether a policy may be written: it has the only id, its patterns and roles can be read, and its tests hold.
///
/// # Errors
/// With everything that is wrong.
pub fn validate(id: &str, policy: &AccessPolicy) -> Result<(), InvalidPolicy> {
    let mut problems = Vec::new();
    if id != AccessPolicy::ID {
        problems.push(format!("its id must be {:?} and not {id:?}", AccessPolicy::ID));
    }
    for (name, group) in &policy.user_groups {
        let found = group.users.iter().filter_map(|user| problem_of_user(user).err());
        problems.extend(found.map(|problem| format!("user group {name:?}: {problem}")));
    }
    for (name, group) in &policy.cluster_groups {
        let found = group.clusters.iter().filter_map(|cluster| problem_of_cluster(cluster).err());
        problems.extend(found.map(|problem| format!("cluster group {name:?}: {problem}")));
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        if let Err(problem) = read_role(&rule.role) {
            problems.push(format!("rule {}: {problem}", index + 1));
        }
    }
    for (index, test) in policy.tests.iter().enumerate() {
        let name = if test.name.is_empty() { (index + 1).to_string() } else { format!("{:?}", test.name) };
        problems.extend(problems_of_test(policy, test).map(|problem| format!("test {name}: {problem}")));
    }
    if problems.is_empty() { Ok(()) } else { Err(InvalidPolicy(problems)) }
}

fn sum<'a>(rules: impl Iterator<Item = &'a PolicyRule>) -> Access {
    let mut access = Access::default();
    for rule in rules {
        access.role = access.role.max(read_role(&rule.role).unwrap_or_default());
        access.groups.extend_from_slice(groups(rule.kubernetes.as_ref()));
    }
    access.groups.sort();
    access.groups.dedup();
    access
}

/// The role of a rule; one without only gives groups of Kubernetes.
fn read_role(text: &str) -> Result<Role, String> {
    if text.is_empty() { Ok(Role::None) } else { text.parse::<Role>().map_err(|error| error.to_string()) }
}

fn groups(kubernetes: Option<&KubernetesAccess>) -> &[String] {
    let impersonate = kubernetes.and_then(|kubernetes| kubernetes.impersonate.as_ref());
    impersonate.map(|impersonate| impersonate.groups.as_slice()).unwrap_or_default()
}

fn is_for_user(policy: &AccessPolicy, rule: &PolicyRule, email: &str, labels: &Labels) -> bool {
    rule.users.iter().any(|user| match user.strip_prefix(GROUP_PREFIX) {
        None => user == email,
        Some(name) => {
            let users = policy.user_groups.get(name).map(|group| group.users.as_slice()).unwrap_or_default();
            users.iter().any(|user| is_user(user, email, labels))
        }
    })
}

/// Whether somebody is meant. A pattern that cannot be read means nobody.
fn is_user(user: &UserMatch, email: &str, labels: &Labels) -> bool {
    let is_named = !user.name.is_empty() && user.name == email;
    is_named || is_like(&user.pattern, email) || has_labels(&user.label_selectors, labels)
}

fn is_for_cluster(policy: &AccessPolicy, rule: &PolicyRule, cluster: &str) -> bool {
    rule.clusters.iter().any(|name| match name.strip_prefix(GROUP_PREFIX) {
        None => name == cluster,
        Some(group) => clusters_of(policy, group).iter().any(|found| is_cluster(found, cluster)),
    })
}

fn is_cluster(found: &ClusterMatch, cluster: &str) -> bool {
    (!found.name.is_empty() && found.name == cluster) || is_like(&found.pattern, cluster)
}

fn is_for_all_clusters(policy: &AccessPolicy, rule: &PolicyRule) -> bool {
    let groups = rule.clusters.iter().filter_map(|name| name.strip_prefix(GROUP_PREFIX));
    groups.flat_map(|group| clusters_of(policy, group)).any(|found| found.pattern == ALL_CLUSTERS)
}

fn clusters_of<'a>(policy: &'a AccessPolicy, group: &str) -> &'a [ClusterMatch] {
    policy.cluster_groups.get(group).map(|group| group.clusters.as_slice()).unwrap_or_default()
}

fn is_like(pattern: &str, name: &str) -> bool {
    !pattern.is_empty() && Glob::parse(pattern).is_ok_and(|glob| glob.matches(name))
}

/// Whether all of these selectors hold; none at all holds for nobody.
fn has_labels(selectors: &[String], labels: &Labels) -> bool {
    let holds = |text: &String| Selector::parse(text).is_ok_and(|selector| selector.matches(labels));
    !selectors.is_empty() && selectors.iter().all(holds)
}

fn problem_of_user(user: &UserMatch) -> Result<(), String> {
    let given = [!user.name.is_empty(), !user.pattern.is_empty(), !user.label_selectors.is_empty()];
    if given.into_iter().filter(|is_given| *is_given).count() != 1 {
        return Err("each user has exactly one of name, match and label selectors".to_owned());
    }
    problem_of_pattern(&user.pattern)?;
    for text in &user.label_selectors {
        Selector::parse(text).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn problem_of_cluster(cluster: &ClusterMatch) -> Result<(), String> {
    if cluster.name.is_empty() == cluster.pattern.is_empty() {
        return Err("each cluster has exactly one of name and match".to_owned());
    }
    problem_of_pattern(&cluster.pattern)
}

fn problem_of_pattern(pattern: &str) -> Result<(), String> {
    Glob::parse(pattern).map(drop).map_err(|error| format!("pattern {pattern:?}: {error}"))
}

/// What is wrong with a test, or comes out otherwise. A test without a role looks at the groups of Kubernetes only.
fn problems_of_test(policy: &AccessPolicy, test: &PolicyTest) -> impl Iterator<Item = String> {
    let (user, cluster) = (test.user.clone().unwrap_or_default(), test.cluster.clone().unwrap_or_default());
    let expected = test.expected.clone().unwrap_or_default();
    let mut expected_groups = groups(expected.kubernetes.as_ref()).to_vec();
    expected_groups.sort();
    expected_groups.dedup();
    let found = access(policy, &user.name, &user.labels, &cluster.name);
    let role = found.role.as_str();
    let problems = [
        test.name.is_empty().then(|| "it has no name".to_owned()),
        user.name.is_empty().then(|| "it names no user".to_owned()),
        cluster.name.is_empty().then(|| "it names no cluster".to_owned()),
        (!expected.role.is_empty() && expected.role != role)
            .then(|| format!("the role is {role:?}, and {:?} was expected", expected.role)),
        (expected_groups != found.groups).then(|| {
            format!("the groups of Kubernetes are {:?}, and {expected_groups:?} were expected", found.groups)
        }),
    ];
    problems.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::auth::{
        ClusterGroup, ExpectedAccess, Impersonate, TestCluster, TestUser, UserGroup,
    };

    use super::*;

    const KIM: &str = "kim@example.com";

    fn kubernetes(groups: &[&str]) -> Option<KubernetesAccess> {
        let groups = groups.iter().map(ToString::to_string).collect();
        Some(KubernetesAccess { impersonate: Some(Impersonate { groups }) })
    }

    fn rule(users: &[&str], clusters: &[&str], role: &str, groups: &[&str]) -> PolicyRule {
        PolicyRule {
            users: users.iter().map(ToString::to_string).collect(),
            clusters: clusters.iter().map(ToString::to_string).collect(),
            kubernetes: kubernetes(groups),
            role: role.to_owned(),
        }
    }

    fn user(name: &str, pattern: &str, selectors: &[&str]) -> UserMatch {
        UserMatch {
            name: name.to_owned(),
            pattern: pattern.to_owned(),
            label_selectors: selectors.iter().map(ToString::to_string).collect(),
        }
    }

    fn cluster(name: &str, pattern: &str) -> ClusterMatch {
        ClusterMatch { name: name.to_owned(), pattern: pattern.to_owned() }
    }

    fn test(name: &str, email: &str, on: &str, role: &str, groups: &[&str]) -> PolicyTest {
        PolicyTest {
            name: name.to_owned(),
            user: Some(TestUser { name: email.to_owned(), labels: Labels::new() }),
            cluster: Some(TestCluster { name: on.to_owned() }),
            expected: Some(ExpectedAccess { kubernetes: kubernetes(groups), role: role.to_owned() }),
        }
    }

    fn policy() -> AccessPolicy {
        let group = |users: Vec<UserMatch>| UserGroup { users };
        let clusters = |clusters: Vec<ClusterMatch>| ClusterGroup { clusters };
        AccessPolicy {
            user_groups: [
                ("ops".to_owned(), group(vec![user("", "*@ops.example.com", &[])])),
                ("blue".to_owned(), group(vec![user("", "", &["team=blue", "!guest"])])),
                ("kim".to_owned(), group(vec![user("kim@example.com", "", &[])])),
            ]
            .into(),
            cluster_groups: [
                ("all".to_owned(), clusters(vec![cluster("", "*")])),
                ("staging".to_owned(), clusters(vec![cluster("", "staging-*"), cluster("lab", "")])),
            ]
            .into(),
            rules: vec![
                rule(&["group/ops"], &["group/all"], "Reader", &["viewers"]),
                rule(&["group/ops", KIM], &["group/staging"], "Operator", &["editors", "viewers"]),
                rule(&["group/blue"], &["prod"], "Admin", &[]),
                rule(&["group/kim"], &["prod"], "", &["auditors"]),
                rule(&["group/missing"], &["group/missing"], "Admin", &[]),
            ],
            tests: Vec::new(),
        }
    }

    fn labels(entries: &[(&str, &str)]) -> Labels {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_highest_role_and_all_groups_of_fitting_rules_count() {
        let none = Labels::new();
        for (email, on, role, groups) in [
            ("a@ops.example.com", "prod", Role::Reader, "viewers"),
            ("a@ops.example.com", "staging-1", Role::Operator, "editors viewers"),
            ("a@ops.example.com", "lab", Role::Operator, "editors viewers"),
            ("kim@example.com", "lab", Role::Operator, "editors viewers"),
            ("kim@example.com", "prod", Role::None, "auditors"),
            ("kim@example.com", "other", Role::None, ""),
            ("lee@example.com", "prod", Role::None, ""),
        ] {
            let found = access(&policy(), email, &none, on);
            assert_eq!((found.role, found.groups.join(" ")), (role, groups.to_owned()), "{email} {on}");
        }
    }

    #[test]
    fn all_selectors_of_a_user_must_hold() {
        let role = |entries| access(&policy(), "lee@example.com", &labels(entries), "prod").role;
        assert_eq!(role(&[("team", "blue")]), Role::Admin);
        assert_eq!(role(&[("team", "blue"), ("guest", "")]), Role::None);
    }

    #[test]
    fn only_the_pattern_of_all_clusters_gives_a_role_everywhere() {
        let role = |email| access_everywhere(&policy(), email, &Labels::new()).role;
        assert_eq!(role("a@ops.example.com"), Role::Reader);
        assert_eq!(role("kim@example.com"), Role::None);
    }

    #[test]
    fn operators_without_groups_are_masters() {
        let mut access = Access::default();
        assert_eq!(kubernetes_groups(&access, Role::Operator), [MASTERS]);
        assert!(kubernetes_groups(&access, Role::Auditor).is_empty());
        access.groups.push("viewers".to_owned());
        assert_eq!(kubernetes_groups(&access, Role::Admin), ["viewers"]);
    }

    #[test]
    fn a_policy_whose_tests_hold_is_written() {
        let tests = vec![
            test("ops", "a@ops.example.com", "lab", "Operator", &["viewers", "editors"]),
            test("strangers", "lee@example.com", "lab", "None", &[]),
            test("groups only", "kim@example.com", "prod", "", &["auditors"]),
        ];
        assert_eq!(validate(AccessPolicy::ID, &AccessPolicy { tests, ..policy() }), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_tests_that_fail() {
        let tests = vec![
            test("ops rule", "a@ops.example.com", "lab", "Admin", &["viewers", "editors"]),
            test("kim", "kim@example.com", "prod", "", &[]),
        ];
        let error = validate(AccessPolicy::ID, &AccessPolicy { tests, ..policy() }).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "the access policy is not valid: test \"ops rule\": the role is \"Operator\", and \"Admin\" was \
             expected; test \"kim\": the groups of Kubernetes are [\"auditors\"], and [] were expected"
        );
    }

    #[test]
    fn everything_that_cannot_be_read_is_told_at_once() {
        let mut policy = policy();
        let users = vec![user("", "", &[]), user("a", "b", &[]), user("", "[", &[]), user("", "", &["a b"])];
        policy.user_groups.insert("bad".to_owned(), UserGroup { users });
        let clusters = vec![cluster("", ""), cluster("a", "b"), cluster("", "[")];
        policy.cluster_groups.insert("bad".to_owned(), ClusterGroup { clusters });
        policy.rules.push(rule(&[], &[], "admin", &[]));
        policy.tests.push(test("", "", "", "", &[]));
        let InvalidPolicy(problems) = validate("other", &policy).expect_err("refused");
        assert_eq!(problems.len(), 1 + 4 + 3 + 1 + 3, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.starts_with("rule 6: unknown role `admin`")));
        assert!(problems.iter().any(|problem| problem == "test 1: it has no name"));
        assert!(problems.iter().any(|problem| problem.starts_with("user group \"bad\": pattern \"[\":")));
    }
}
