//! The rules of access in order, a row or more for each.

use corten_fleet_resources::auth::{AccessPolicy, ClusterGroup, ClusterMatch, PolicyRule};
use corten_fleet_resources::provider::{InfraProviderStatus, MachineRequest};
use corten_resource::Resource;

use super::*;
use crate::identity::Email;

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Allow,
    Own,
    Unsigned,
    Kind,
    Verb,
    Role(&'static str),
    Unregistered,
    Provider,
    Finalizers,
}

impl From<Decision> for Out {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Allow,
            Decision::Own(id) => {
                assert_eq!(id, "metal");
                Self::Own
            }
            Decision::Deny(denial) => match denial {
                Denial::Unsigned { .. } => Self::Unsigned,
                Denial::Kind { .. } => Self::Kind,
                Denial::Verb { .. } => Self::Verb,
                Denial::Role { least, .. } => Self::Role(least),
                Denial::Unregistered { .. } => Self::Unregistered,
                Denial::Provider { .. } => Self::Provider,
                Denial::Finalizers { .. } => Self::Finalizers,
            },
        }
    }
}

/// Kim operates the cluster prod, and the auditor of all reads everywhere; neither has a role of their own.
fn policy() -> AccessPolicy {
    let rule = |user: &str, cluster: &str, role: &str| PolicyRule {
        users: vec![user.to_owned()],
        clusters: vec![cluster.to_owned()],
        role: role.to_owned(),
        ..PolicyRule::default()
    };
    let all = ClusterMatch { pattern: "*".to_owned(), ..ClusterMatch::default() };
    AccessPolicy {
        cluster_groups: [("all".to_owned(), ClusterGroup { clusters: vec![all] })].into(),
        rules: vec![
            rule("kim@example.com", "prod", "Operator"),
            rule("all@example.com", "group/all", "Reader"),
        ],
        ..AccessPolicy::default()
    }
}

/// What comes out for somebody: `internal`, `unsigned`, `kim`, `all`, `metal` (a provider), `rogue` (one that is not
/// registered), `fake` (a person with the role of one), or a person with the role of this name.
fn outcome(name: &str, operation: &Operation<'_>) -> Out {
    let (email, role) = match name {
        "internal" => return decide(Who::Internal, operation).into(),
        "unsigned" => return decide(Who::Unsigned, operation).into(),
        "kim" | "all" => (format!("{name}@example.com"), Role::None),
        "metal" | "rogue" => {
            (format!("{name}@infra-provider.serviceaccount.omni.sidero.dev"), Role::InfraProvider)
        }
        "fake" => ("fake@example.com".to_owned(), Role::InfraProvider),
        role => ("lee@example.com".to_owned(), role.parse().expect("a role")),
    };
    let (email, policy) = (Email::parse(&email).expect("an address"), policy());
    let caller = Caller {
        email: &email,
        labels: &Labels::new(),
        role,
        policy: Some(&policy),
        is_suspended: false,
        is_registered: name != "rogue",
    };
    decide(Who::Signed(&caller), operation).into()
}

fn labels_of(entries: &[(&str, &str)]) -> Labels {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn in_cluster(cluster: &str) -> Labels {
    labels_of(&[(labels::CLUSTER, cluster)])
}

/// An operation on a type in the namespace where it is at home.
fn on<'a>(kind: &'a str, id: &'a str, verb: Verb<'a>) -> Operation<'a> {
    Operation { verb, namespace: HOMES.get(kind).copied().unwrap_or("default"), kind, id }
}

#[track_caller]
fn check(operation: &Operation<'_>, rows: &[(&str, Out)]) {
    for (who, expected) in rows {
        assert_eq!(outcome(who, operation), *expected, "{who}: {operation:?}");
    }
}

const PATCHES: &str = "ConfigPatches.omni.sidero.dev";
const CLUSTERS: &str = "Clusters.omni.sidero.dev";
const STATUSES: &str = "InfraProviderStatuses.omni.sidero.dev";
const REQUESTS: &str = "MachineRequests.omni.sidero.dev";

#[test]
fn rule_1_the_manager_itself_passes_everywhere() {
    check(&on("ClusterSecrets.omni.sidero.dev", "prod", Verb::Get(None)), &[("internal", Out::Allow)]);
    let unknown = Operation { namespace: "infra-provider:metal", ..on("Any", "", Verb::List(&[])) };
    check(&unknown, &[("internal", Out::Allow)]);
}

#[test]
fn rule_2_namespaces_of_providers_need_a_registered_one_or_more() {
    let get = on("MachineRequestStatuses.omni.sidero.dev", "r-1", Verb::Get(None));
    let rows = [
        ("unsigned", Out::Unsigned),
        ("None", Out::Role("InfraProvider")),
        ("metal", Out::Own),
        ("rogue", Out::Unregistered),
        ("fake", Out::Unregistered),
        ("Reader", Out::Allow),
    ];
    check(&get, &rows);
    check(&on("MachineRequestStatuses.omni.sidero.dev", "", Verb::List(&[])), &rows);
}

#[test]
fn rule_2_providers_write_their_types_and_hold_the_others() {
    let none = Labels::new();
    let update = |edit| Verb::Update { stored: Some(&none), new: &none, edit };
    check(&on("MachineRequestStatuses.omni.sidero.dev", "r-1", Verb::Create(&none)), &[("metal", Out::Own)]);
    check(&on(REQUESTS, "r-1", Verb::Get(Some(&none))), &[("metal", Out::Own)]);
    check(&on(REQUESTS, "r-1", update(Edit::Finalizers)), &[("metal", Out::Own)]);
    check(&on(REQUESTS, "r-1", update(Edit::Anything)), &[("metal", Out::Finalizers)]);
    for verb in [Verb::Create(&none), Verb::Destroy(Some(&none))] {
        check(&on(REQUESTS, "r-1", verb), &[("metal", Out::Provider)]);
    }
}

#[test]
fn rule_2_a_provider_speaks_for_its_own_id() {
    let none = Labels::new();
    for id in ["metal", "other"] {
        let (own, seen) = if id == "metal" { (Out::Own, Out::Allow) } else { (Out::Provider, Out::Provider) };
        check(&on(STATUSES, id, Verb::Create(&none)), &[("metal", own)]);
        check(&on(STATUSES, id, Verb::Destroy(None)), &[("metal", own)]);
        check(&on("InfraProviderHealthStatuses.omni.sidero.dev", id, Verb::WatchOne), &[("metal", own)]);
        check(&on("InfraProviders.omni.sidero.dev", id, Verb::Get(None)), &[("metal", seen)]);
    }
    check(&on("InfraProviders.omni.sidero.dev", "metal", Verb::Create(&none)), &[("metal", Out::Provider)]);
}

#[test]
fn rule_2_a_private_namespace_is_its_providers_and_read_by_admins() {
    let private = |kind, verb| Operation { verb, namespace: "infra-provider:metal", kind, id: "x" };
    let none = Labels::new();
    let kind = "Machines.metal.infraprovider.sidero.dev";
    let reading = [("metal", Out::Allow), ("Operator", Out::Role("Admin")), ("Admin", Out::Allow)];
    check(&private(kind, Verb::List(&[])), &reading);
    check(&private(kind, Verb::Create(&none)), &[("metal", Out::Allow), ("Admin", Out::Verb)]);
    check(&private("Machines.other.infraprovider.sidero.dev", Verb::Get(None)), &[("metal", Out::Provider)]);
    let other = Operation { namespace: "infra-provider:other", ..private(kind, Verb::Get(None)) };
    check(&other, &[("metal", Out::Provider), ("rogue", Out::Unregistered)]);
}

#[test]
fn rule_2_people_only_read_there_but_for_providers_and_requests() {
    let none = Labels::new();
    check(&on(STATUSES, "metal", Verb::Create(&none)), &[("Admin", Out::Verb)]);
    let bmc = on("BMCConfigs.omni.sidero.dev", "m", Verb::Get(None));
    check(&bmc, &[("metal", Out::Own), ("Operator", Out::Role("Admin")), ("Admin", Out::Allow)]);
    let requests = [("Reader", Out::Role("Operator")), ("Operator", Out::Allow)];
    check(&on(REQUESTS, "r-1", Verb::Create(&none)), &requests);
    let providers = [("Operator", Out::Role("Admin")), ("Admin", Out::Allow)];
    check(&on("InfraProviders.omni.sidero.dev", "new", Verb::Create(&none)), &providers);
}

#[test]
fn rule_2_a_type_is_not_in_the_namespace_of_another() {
    let clusters = Operation { namespace: "infra-provider", ..on(CLUSTERS, "prod", Verb::Get(None)) };
    check(&clusters, &[("Admin", Out::Kind), ("metal", Out::Provider)]);
    let requests = Operation { namespace: "default", ..on(REQUESTS, "r-1", Verb::Get(None)) };
    check(&requests, &[("Admin", Out::Kind), ("metal", Out::Kind)]);
}

#[test]
fn rule_3_public_types_need_no_signature() {
    check(&on("AuthConfigs.omni.sidero.dev", "auth-config", Verb::Get(None)), &[("unsigned", Out::Allow)]);
    let (eula, none) = ("EulaAcceptances.omni.sidero.dev", Labels::new());
    check(&on(eula, "eula", Verb::Create(&none)), &[("unsigned", Out::Allow)]);
    check(&on(eula, "eula", Verb::Destroy(None)), &[("unsigned", Out::Unsigned)]);
}

#[test]
fn rule_4_the_role_is_that_of_the_type() {
    let version = on("SysVersions.system.sidero.dev", "current", Verb::Get(None));
    check(&version, &[("unsigned", Out::Unsigned), ("None", Out::Allow)]);
    let classes = on("MachineClasses.omni.sidero.dev", "big", Verb::Get(None));
    check(&classes, &[("metal", Out::Role("Reader")), ("Reader", Out::Allow), ("Auditor", Out::Allow)]);
    let users = on("Users.omni.sidero.dev", "", Verb::List(&[]));
    check(&users, &[("Operator", Out::Role("Admin")), ("Admin", Out::Allow)]);
    let joining = on("SiderolinkAPIConfigs.omni.sidero.dev", "x", Verb::Get(None));
    check(&joining, &[("None", Out::Role("InfraProvider")), ("metal", Out::Allow)]);
    check(&on("Unheard.omni.sidero.dev", "", Verb::List(&[])), &[("Admin", Out::Kind)]);
}

#[test]
fn rule_5_the_policy_raises_the_role_on_the_cluster_of_an_id() {
    let none = Labels::new();
    let update = Verb::Update { stored: Some(&none), new: &none, edit: Edit::Anything };
    for verb in [Verb::Get(Some(&none)), Verb::WatchOne, Verb::Create(&none), update, Verb::Destroy(None)] {
        let least = if verb.is_read() { "Reader" } else { "Operator" };
        check(&on(CLUSTERS, "prod", verb), &[("kim", Out::Allow), ("None", Out::Role(least))]);
        check(&on(CLUSTERS, "lab", verb), &[("kim", Out::Role(least)), ("Operator", Out::Allow)]);
    }
    check(&on(CLUSTERS, "lab", Verb::Get(None)), &[("all", Out::Allow)]);
    check(&on(CLUSTERS, "lab", Verb::Destroy(None)), &[("all", Out::Role("Operator"))]);
}

#[test]
fn rule_5_the_policy_raises_the_role_on_the_cluster_of_a_label() {
    let (prod, lab, free) = (in_cluster("prod"), in_cluster("lab"), Labels::new());
    let update = |stored, new| Verb::Update { stored: Some(stored), new, edit: Edit::Anything };
    let edit = update(&prod, &prod);
    for verb in [Verb::Get(Some(&prod)), Verb::Create(&prod), edit, Verb::Destroy(Some(&prod))] {
        check(&on(PATCHES, "p", verb), &[("kim", Out::Allow)]);
    }
    let refused = [("kim", Out::Role("Operator")), ("Operator", Out::Allow)];
    for verb in [update(&prod, &lab), update(&lab, &prod), update(&free, &prod), Verb::Create(&free)] {
        check(&on(PATCHES, "p", verb), &refused);
    }
    check(&on(PATCHES, "p", Verb::WatchOne), &[("kim", Out::Role("Reader")), ("Reader", Out::Allow)]);
}

#[test]
fn rule_5_a_list_counts_by_each_of_its_label_queries() {
    let prod = vec![LabelTerm::equal(labels::CLUSTER, "prod"), LabelTerm::exists("x")];
    let lab = vec![LabelTerm::equal(labels::CLUSTER, "lab")];
    let not_prod = vec![LabelTerm { invert: true, ..LabelTerm::equal(labels::CLUSTER, "prod") }];
    let exists = vec![LabelTerm::exists(labels::CLUSTER)];
    for kind in [PATCHES, CLUSTERS] {
        check(
            &on(kind, "", Verb::List(std::slice::from_ref(&prod))),
            &[("kim", Out::Allow), ("all", Out::Allow)],
        );
        for queries in [
            vec![],
            vec![vec![]],
            vec![lab.clone()],
            vec![prod.clone(), lab.clone()],
            vec![prod.clone(), vec![]],
            vec![not_prod.clone()],
            vec![exists.clone()],
        ] {
            let rows = [("kim", Out::Role("Reader")), ("all", Out::Allow), ("Reader", Out::Allow)];
            check(&on(kind, "", Verb::List(&queries)), &rows);
        }
    }
    check(&on("Links.omni.sidero.dev", "", Verb::List(&[prod])), &[("all", Out::Role("Reader"))]);
}

#[test]
fn rule_6_verbs_that_a_type_has_not_are_nobodys() {
    let none = Labels::new();
    let update = Verb::Update { stored: Some(&none), new: &none, edit: Edit::Finalizers };
    for verb in [Verb::Create(&none), update, Verb::Destroy(Some(&none))] {
        check(&on("ClusterStatuses.omni.sidero.dev", "prod", verb), &[("Admin", Out::Verb)]);
    }
    check(&on("JoinTokens.omni.sidero.dev", "t", Verb::Create(&none)), &[("Admin", Out::Verb)]);
    check(&on("Users.omni.sidero.dev", "u", Verb::Destroy(None)), &[("Admin", Out::Verb)]);
    check(&on("PublicKeys.omni.sidero.dev", "", Verb::List(&[])), &[("Admin", Out::Verb)]);
    let secrets = |verb| on("ImportedClusterSecrets.omni.sidero.dev", "prod", verb);
    check(&secrets(Verb::Create(&none)), &[("kim", Out::Allow)]);
    check(&secrets(Verb::Get(None)), &[("Admin", Out::Verb)]);
}

#[test]
fn a_refusal_is_the_same_whether_the_resource_exists_or_not() {
    let (email, own) = (Email::parse("lee@example.com").expect("an address"), Labels::new());
    let caller = Caller {
        email: &email,
        labels: &own,
        role: Role::None,
        policy: None,
        is_suspended: false,
        is_registered: false,
    };
    let lab = in_cluster("lab");
    let of = |verb| decide(Who::Signed(&caller), &on(PATCHES, "p", verb));
    assert_eq!(of(Verb::Get(Some(&lab))), of(Verb::Get(None)));
    assert_eq!(of(Verb::Destroy(Some(&lab))), of(Verb::Destroy(None)));
    let Decision::Deny(denial) = of(Verb::Get(None)) else { panic!("refused") };
    assert!(!denial.is_unauthenticated());
    let text = "to get ConfigPatches.omni.sidero.dev needs the role Reader, and lee@example.com has None; an \
                Admin can change that";
    assert_eq!(denial.to_string(), text);
}

#[test]
fn what_is_a_providers_carries_its_label() {
    let own = labels_of(&[(labels::INFRA_PROVIDER_ID, "metal")]);
    assert!(is_own(&own, "metal") && !is_own(&own, "other") && !is_own(&Labels::new(), "metal"));
    for query in [Query::default(), Query::any_of(vec![vec![LabelTerm::exists("x")], vec![]])] {
        let query = own_only(query, "metal");
        let mut request = Resource::new("r-1", MachineRequest::default());
        request.metadata.labels = labels_of(&[(labels::INFRA_PROVIDER_ID, "metal"), ("x", "")]);
        assert!(query.matches(&request.metadata));
        request.metadata.labels.insert(labels::INFRA_PROVIDER_ID.to_owned(), "other".to_owned());
        assert!(!query.matches(&request.metadata));
    }
}

#[test]
fn an_edit_of_finalizers_changes_nothing_else() {
    let stored = Resource::new("metal", InfraProviderStatus::default());
    let edit = |change: &dyn Fn(&mut Resource<InfraProviderStatus>)| {
        let mut new = stored.clone();
        change(&mut new);
        Edit::between(&stored.clone().into(), &new.into())
    };
    assert_eq!(edit(&|new| new.metadata.finalizers.push("metal".to_owned())), Edit::Finalizers);
    assert_eq!(edit(&|new| new.metadata.version = 7), Edit::Finalizers);
    let label = |new: &mut Resource<InfraProviderStatus>| {
        new.metadata.labels.insert("x".to_owned(), String::new());
    };
    assert_eq!(edit(&label), Edit::Anything);
    assert_eq!(edit(&|new| new.metadata.phase = corten_resource::Phase::TearingDown), Edit::Anything);
    assert_eq!(edit(&|new| new.spec.name = "x".to_owned()), Edit::Anything);
}
