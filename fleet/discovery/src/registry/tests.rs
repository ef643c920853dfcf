//! Rules of the registry one by one, and the registry against a model of it.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// An update of affiliate `m` in cluster `c`; no data when it is empty.
fn told(data: &str, endpoints: &[&str], ttl_seconds: u64) -> Update {
    Update {
        cluster: "c".to_owned(),
        affiliate: "m".to_owned(),
        data: (!data.is_empty()).then(|| data.as_bytes().to_vec()),
        endpoints: endpoints.iter().map(|endpoint| endpoint.as_bytes().to_vec()).collect(),
        ttl: Duration::from_secs(ttl_seconds),
    }
}

fn seen(data: &str, endpoints: &[&str]) -> Affiliate {
    let endpoints = endpoints.iter().map(|endpoint| endpoint.as_bytes().to_vec()).collect();
    Affiliate { id: "m".to_owned(), data: data.as_bytes().to_vec(), endpoints }
}

fn updated(data: &str, endpoints: &[&str]) -> Notice {
    Notice { cluster: "c".to_owned(), change: Change::Updated(vec![seen(data, endpoints)]) }
}

const NOTHING: [Notice; 0] = [];

fn deleted() -> Notice {
    Notice { cluster: "c".to_owned(), change: Change::Deleted(vec!["m".to_owned()]) }
}

#[test]
fn updates_add_and_only_news_is_told() {
    let mut registry = Registry::default();
    let cases = [
        ("first data", told("one", &["x"], 60), Some(updated("one", &["x"]))),
        ("the same again", told("one", &["x"], 60), None),
        ("data absent keeps what is there and adds", told("", &["y"], 60), Some(updated("one", &["x", "y"]))),
        ("equal endpoints are one", told("", &["y", "x", "y"], 60), None),
        ("new data keeps the endpoints", told("two", &[], 60), Some(updated("two", &["x", "y"]))),
        ("nothing told changes nothing", told("", &[], 60), None),
    ];
    for (rule, update, expected) in cases {
        assert_eq!(registry.update(update, at(0)), Ok(expected), "{rule}");
    }
    assert_eq!(registry.list("c"), Ok(vec![seen("two", &["x", "y"])]));
    assert_eq!(registry.list("other"), Ok(Vec::new()));
}

#[test]
fn empty_data_counts_as_absent_and_creates_nothing() {
    let mut registry = Registry::default();
    let update = Update { data: Some(Vec::new()), ..told("", &[], 60) };
    assert_eq!(registry.update(update, at(0)), Ok(None));
    assert_eq!(registry, Registry::default());
}

#[test]
fn what_breaks_a_limit_is_refused_and_changes_nothing() {
    let long = |bytes| "x".repeat(bytes);
    let many: Vec<String> = (0..=AFFILIATE_ENDPOINTS_MAX).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let fits = Update {
        cluster: long(ID_BYTES_MAX),
        affiliate: long(ID_BYTES_MAX),
        ..told(&long(DATA_BYTES_MAX), &[&long(ENDPOINT_BYTES_MAX)], TTL_MAX.as_secs())
    };
    Registry::default().update(fits, at(0)).expect("everything is at its limit");
    let cases = [
        (Update { cluster: String::new(), ..told("a", &[], 1) }, Code::InvalidArgument),
        (Update { cluster: long(ID_BYTES_MAX + 1), ..told("a", &[], 1) }, Code::InvalidArgument),
        (Update { affiliate: String::new(), ..told("a", &[], 1) }, Code::InvalidArgument),
        (Update { affiliate: long(ID_BYTES_MAX + 1), ..told("a", &[], 1) }, Code::InvalidArgument),
        (told(&long(DATA_BYTES_MAX + 1), &[], 1), Code::InvalidArgument),
        (told("a", &[&long(ENDPOINT_BYTES_MAX + 1)], 1), Code::InvalidArgument),
        (told("a", &[""], 1), Code::InvalidArgument),
        (told("a", &[], TTL_MAX.as_secs() + 1), Code::InvalidArgument),
        (told("a", &many, 1), Code::ResourceExhausted),
        (told("a", &many[..AFFILIATE_ENDPOINTS_MAX], 1), Code::ResourceExhausted),
    ];
    let mut registry = Registry::default();
    registry.update(told("before", &["x"], 60), at(0)).unwrap();
    let before = registry.clone();
    for (update, code) in cases {
        let refused = registry.update(update, at(1)).expect_err("a limit is broken");
        assert_eq!(refused.code(), code, "{refused}");
        assert_eq!(registry, before, "{refused}");
    }
}

#[test]
fn endpoints_that_have_ended_make_room_for_new_ones() {
    let mut registry = Registry::default();
    let names: Vec<String> = (0..AFFILIATE_ENDPOINTS_MAX).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    registry.update(told("a", &[], 60), at(0)).unwrap();
    registry.update(told("", &names, 5), at(0)).unwrap();
    assert_eq!(registry.update(told("", &["new"], 60), at(5)), Ok(Some(updated("a", &["new"]))));
}

#[test]
fn a_full_cluster_takes_updates_of_its_members_and_no_newcomer() {
    let mut registry = Registry::default();
    let member = |number: usize| Update { affiliate: number.to_string(), ..told("a", &[], 60) };
    for number in 0..CLUSTER_AFFILIATES_MAX {
        registry.update(member(number), at(0)).unwrap();
    }
    let refused = registry.update(member(CLUSTER_AFFILIATES_MAX), at(0)).expect_err("one too many");
    assert_eq!(refused, RegistryError::TooManyAffiliates { cluster: "c".to_owned() });
    assert_eq!(refused.code(), Code::ResourceExhausted);
    registry.update(member(0), at(0)).expect("it is a member");
    registry.delete("c", "1").unwrap();
    registry.update(member(CLUSTER_AFFILIATES_MAX), at(0)).expect("there is room again");
}

#[test]
fn clusters_and_all_affiliates_together_are_bounded() {
    let mut registry = Registry::default();
    let cluster = |number: usize| Update { cluster: number.to_string(), ..told("a", &[], 60) };
    for number in 0..CLUSTERS_MAX {
        registry.update(cluster(number), at(0)).unwrap();
    }
    assert_eq!(registry.update(cluster(CLUSTERS_MAX), at(0)), Err(RegistryError::TooManyClusters));
    let mut registry = Registry::default();
    for number in 0..AFFILIATES_MAX {
        let (cluster, affiliate) = (number / CLUSTER_AFFILIATES_MAX, number % CLUSTER_AFFILIATES_MAX);
        registry.put(&cluster.to_string(), &affiliate.to_string(), Record::default()).unwrap();
    }
    assert_eq!(registry.update(told("a", &[], 60), at(0)), Err(RegistryError::Full));
}

#[test]
fn a_deletion_is_told_once() {
    let mut registry = Registry::default();
    registry.update(told("a", &["x"], 60), at(0)).unwrap();
    assert_eq!(registry.delete("c", "m"), Ok(Some(deleted())));
    assert_eq!(registry.delete("c", "m"), Ok(None));
    assert_eq!(registry, Registry::default());
    assert_eq!(registry.delete("", "m"), Err(RegistryError::EmptyId { what: "cluster" }));
    assert_eq!(registry.delete("c", ""), Err(RegistryError::EmptyId { what: "affiliate" }));
}

#[test]
fn an_affiliate_ends_with_its_data_and_without_data_with_its_last_endpoint() {
    let mut registry = Registry::default();
    registry.update(told("", &["x"], 10), at(0)).unwrap();
    registry.update(told("", &["y"], 30), at(0)).unwrap();
    assert_eq!(registry.collect(at(9)), NOTHING);
    assert_eq!(registry.collect(at(10)), [updated("", &["y"])]);
    registry.update(told("a", &[], 15), at(10)).unwrap();
    assert_eq!(registry.collect(at(24)), NOTHING);
    assert_eq!(registry.collect(at(25)), [deleted()], "its endpoint would have lived until 30");
    registry.update(told("", &["z"], 0), at(25)).unwrap();
    assert_eq!(registry.list("c"), Ok(vec![seen("", &["z"])]), "it is there until it is collected");
    assert_eq!(registry.collect(at(25)), [deleted()]);
    assert_eq!(registry, Registry::default());
}

#[test]
fn an_endpoint_that_several_tell_lives_as_long_as_the_latest_says() {
    let mut registry = Registry::default();
    registry.update(told("a", &["x"], 100), at(0)).unwrap();
    registry.update(told("", &["x"], 10), at(0)).unwrap();
    assert_eq!(registry.collect(at(99)), NOTHING);
}

#[test]
fn a_collection_tells_a_cluster_at_most_one_deletion_and_one_update() {
    let mut registry = Registry::default();
    for number in 0..50 {
        let ends = if number % 2 == 0 { 10 } else { 60 };
        let data = Update { affiliate: number.to_string(), ..told("a", &[], ends) };
        let endpoint = Update { affiliate: number.to_string(), ..told("", &["x"], 10) };
        registry.update(data, at(0)).unwrap();
        registry.update(endpoint, at(0)).unwrap();
    }
    let notices = registry.collect(at(10));
    let counts: Vec<_> = notices
        .iter()
        .map(|notice| match &notice.change {
            Change::Deleted(ids) => ("deleted", ids.len()),
            Change::Updated(affiliates) => ("updated", affiliates.len()),
        })
        .collect();
    assert_eq!(counts, [("deleted", 25), ("updated", 25)]);
}

/// Something that happens to the registry; small numbers stand for names and bytes.
#[derive(Clone, Debug)]
enum Step {
    Tell { cluster: u8, affiliate: u8, data: Option<u8>, endpoints: Vec<u8>, ttl: u64 },
    Delete { cluster: u8, affiliate: u8 },
    Collect,
    Pass { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let names = || (0..2_u8, 0..3_u8);
    let what = (prop::option::of(0..3_u8), prop::collection::vec(0..5_u8, 0..4), 0..120_u64);
    prop_oneof![
        4 => (names(), what).prop_map(|((cluster, affiliate), (data, endpoints, ttl))| {
            Step::Tell { cluster, affiliate, data, endpoints, ttl }
        }),
        1 => names().prop_map(|(cluster, affiliate)| Step::Delete { cluster, affiliate }),
        2 => Just(Step::Collect),
        2 => (0..60_u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// The rules in the plainest form: everything with the second when it ends.
#[derive(Debug, Default)]
struct Model(BTreeMap<(u8, u8), Known>);

#[derive(Debug, Default)]
struct Known {
    data: Option<(u8, u64)>,
    endpoints: BTreeMap<u8, u64>,
}

/// An affiliate as a set, because the model knows no order.
type Set = (String, Vec<u8>, BTreeSet<Vec<u8>>);

impl Model {
    fn apply(&mut self, step: &Step, now: u64) {
        match step {
            Step::Tell { data: None, endpoints, .. } if endpoints.is_empty() => {}
            Step::Tell { cluster, affiliate, data, endpoints, ttl } => {
                let known = self.0.entry((*cluster, *affiliate)).or_default();
                known.endpoints.retain(|_, ends| *ends > now);
                known.data = data.map(|data| (data, now + ttl)).or(known.data);
                for endpoint in endpoints {
                    let ends = known.endpoints.entry(*endpoint).or_default();
                    *ends = (*ends).max(now + ttl);
                }
            }
            Step::Delete { cluster, affiliate } => {
                self.0.remove(&(*cluster, *affiliate));
            }
            Step::Collect => self.0.retain(|_, known| {
                known.endpoints.retain(|_, ends| *ends > now);
                known.data.map_or(!known.endpoints.is_empty(), |(_, ends)| ends > now)
            }),
            Step::Pass { .. } => {}
        }
    }

    fn list(&self, cluster: u8) -> Vec<Set> {
        let members = self.0.iter().filter(|((of, _), _)| *of == cluster);
        let set = |known: &Known| known.endpoints.keys().map(|endpoint| vec![*endpoint]).collect();
        let data = |known: &Known| known.data.map(|(data, _)| vec![data]).unwrap_or_default();
        members.map(|((_, id), known)| (id.to_string(), data(known), set(known))).collect()
    }
}

/// What a watcher of all clusters knows from the notices alone.
#[derive(Debug, Default)]
struct Mirror(BTreeMap<(String, String), Affiliate>);

impl Mirror {
    fn apply(&mut self, notice: Notice) {
        let key = |id: &str| (notice.cluster.clone(), id.to_owned());
        match &notice.change {
            Change::Updated(affiliates) => {
                self.0.extend(affiliates.iter().map(|affiliate| (key(&affiliate.id), affiliate.clone())));
            }
            Change::Deleted(ids) => self.0.retain(|known, _| !ids.iter().any(|id| *known == key(id))),
        }
    }

    fn list(&self, cluster: &str) -> Vec<Affiliate> {
        let members = self.0.iter().filter(|((of, _), _)| of == cluster);
        members.map(|(_, affiliate)| affiliate.clone()).collect()
    }
}

fn apply(registry: &mut Registry, step: Step, now: SystemTime) -> Vec<Notice> {
    match step {
        Step::Tell { cluster, affiliate, data, endpoints, ttl } => {
            let update = Update {
                cluster: cluster.to_string(),
                affiliate: affiliate.to_string(),
                data: data.map(|data| vec![data]),
                endpoints: endpoints.into_iter().map(|endpoint| vec![endpoint]).collect(),
                ttl: Duration::from_secs(ttl),
            };
            registry.update(update, now).unwrap().into_iter().collect()
        }
        Step::Delete { cluster, affiliate } => {
            registry.delete(&cluster.to_string(), &affiliate.to_string()).unwrap().into_iter().collect()
        }
        Step::Collect => registry.collect(now),
        Step::Pass { .. } => Vec::new(),
    }
}

proptest! {
    #[test]
    fn the_list_is_as_the_model_says_and_the_notices_tell(steps in prop::collection::vec(step(), 0..60)) {
        let (mut registry, mut model) = (Registry::default(), Model::default());
        let mut mirror = Mirror::default();
        let mut now = 0;
        for step in steps {
            if let Step::Pass { seconds } = step {
                now += seconds;
            }
            model.apply(&step, now);
            for notice in apply(&mut registry, step, at(now)) {
                mirror.apply(notice);
            }
            for cluster in 0..2_u8 {
                let list = registry.list(&cluster.to_string()).unwrap();
                prop_assert_eq!(&mirror.list(&cluster.to_string()), &list);
                let set = |seen: Affiliate| (seen.id, seen.data, seen.endpoints.into_iter().collect());
                let sets: Vec<Set> = list.into_iter().map(set).collect();
                prop_assert_eq!(model.list(cluster), sets);
            }
        }
    }
}
