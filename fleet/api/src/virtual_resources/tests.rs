//! What is computed, seen through the door.

use corten_api::fleet::Role;
use corten_fleet_resources::machine::{Machine, MachineStatus};
use corten_resource::{Change, Start, Store as _};

use super::*;
use crate::testing::{Fleet, PROD};

fn at<S: Spec>(id: &str) -> Pointer {
    Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id)
}

async fn get<S: Spec>(fleet: &Fleet, role: Role, id: &str) -> Result<S, StateError> {
    let found = fleet.access(fleet.with_role(role)).get(&at::<S>(id)).await?;
    Ok(found.spec::<S>().expect("of its type").clone())
}

async fn ids<S: Spec>(fleet: &Fleet) -> Vec<String> {
    let access = fleet.access(fleet.with_role(Role::Reader));
    let all = access.list(&at::<S>(""), &Query::default()).await.expect("listed");
    all.iter().map(|resource| resource.id().to_owned()).collect()
}

#[tokio::test]
async fn everybody_sees_who_they_are() {
    let fleet = Fleet::new();
    let user = get::<CurrentUser>(&fleet, Role::Reader, "current").await.expect("a user");
    assert_eq!(user.identity, "reader@serviceaccount.omni.sidero.dev");
    assert_eq!((user.role.as_str(), user.user_id.as_str()), ("Reader", "user-reader"));
    let other = get::<CurrentUser>(&fleet, Role::Reader, "other").await;
    assert!(matches!(other, Err(StateError::NotFound(_))));
    let endpoints = get::<AdvertisedEndpoints>(&fleet, Role::None, "current").await.expect("endpoints");
    assert_eq!(endpoints.grpc_api_url, "https://fleet.example.org");
}

#[tokio::test]
async fn labels_are_those_of_types_that_the_caller_may_list() {
    let fleet = Fleet::new();
    for (id, rack) in [("m-1", "a"), ("m-2", "b"), ("m-3", "a")] {
        fleet.put_with(id, MachineStatus::default(), &[("rack", rack)]);
    }
    for kind in ["MachineStatuses.omni.sidero.dev", "MachineStatusLabels.omni.sidero.dev"] {
        let found = get::<LabelsCompletion>(&fleet, Role::Reader, kind).await.expect(kind);
        assert_eq!(found.items["rack"].items, ["a", "b"]);
    }
    let denied = get::<LabelsCompletion>(&fleet, Role::Reader, "Users.omni.sidero.dev").await;
    assert!(matches!(denied, Err(StateError::Denied(_))));
    let unknown = get::<LabelsCompletion>(&fleet, Role::Reader, "Cats.omni.sidero.dev").await;
    assert!(matches!(unknown, Err(StateError::Invalid(_))));
}

#[tokio::test]
async fn what_follows_from_tables_and_from_the_store_is_got_and_listed() {
    let fleet = Fleet::new();
    fleet.put("1.13.8", TalosVersion { version: "1.13.8".to_owned(), ..TalosVersion::default() });
    fleet.put("m-1", Machine::default());
    assert_eq!(ids::<Quirks>(&fleet).await, ["1.13.8"]);
    assert_eq!(ids::<MetalPlatformConfig>(&fleet).await, ["metal"]);
    assert!(ids::<CloudPlatformConfig>(&fleet).await.contains(&"aws".to_owned()));
    assert!(ids::<InstallationMedia>(&fleet).await.contains(&"metal-amd64.iso".to_owned()));
    assert!(ids::<ConnectionParams>(&fleet).await.is_empty(), "machines cannot join yet");
    let metrics = get::<MachineStatusMetrics>(&fleet, Role::Reader, "metrics").await.expect("metrics");
    assert_eq!(metrics.registered_machines_count, 1);
    let board = get::<SbcConfig>(&fleet, Role::Reader, "vax").await;
    assert!(matches!(board, Err(StateError::NotFound(_))));
}

#[tokio::test]
async fn what_nobody_computes_says_so_by_its_name() {
    let fleet = Fleet::new();
    let none = get::<KubernetesUsage>(&fleet, Role::Reader, PROD).await;
    assert!(matches!(none, Err(StateError::NotFound(_))), "there is no such cluster");
    fleet.put(PROD, Cluster::default());
    let usage = get::<KubernetesUsage>(&fleet, Role::Reader, PROD).await;
    let text = usage.expect_err("not computed").to_string();
    assert!(text.contains("does not compute KubernetesUsages.omni.sidero.dev"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_when_rights_change() {
    let fleet = Fleet::new();
    let access = fleet.access(fleet.with_role(Role::Reader));
    let user = at::<CurrentUser>(CurrentUser::ID);
    let mut watch = access.watch(&user, Start::Contents).await.expect("watched");
    let role = |change: &Change| {
        change.resource().and_then(|it| it.spec::<CurrentUser>()).map(|user| user.role.clone())
    };
    let first = watch.next().await.expect("the first").change;
    assert_eq!(role(&first).as_deref(), Some("Reader"));
    fleet.set_role("reader", Role::Operator);
    let next = watch.next().await.expect("the next").change;
    assert!(matches!(next, Change::Updated { .. }));
    assert_eq!(role(&next).as_deref(), Some("Operator"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_type_tells_what_is_there_and_what_comes_and_ends_with_the_rights() {
    let fleet = Fleet::new();
    fleet.put(PROD, Cluster::default());
    let access = fleet.access(fleet.with_role(Role::Reader));
    let kind = at::<MachineStatusMetrics>("");
    let mut watch = access.watch_all(&kind, WatchOptions::contents()).await.expect("watched");
    let change = watch.next().await.expect("contents").change;
    assert!(matches!(change, Change::Created(_)));
    assert_eq!(watch.next().await.expect("their end").change, Change::Bootstrapped);
    fleet.put("m-1", Machine::default());
    let change = watch.next().await.expect("the next").change;
    assert!(matches!(change, Change::Updated { .. }), "{change:?}");
    let clouds = at::<CloudPlatformConfig>("");
    let mut watch = access.watch_all(&clouds, WatchOptions::default()).await.expect("watched");
    fleet.set_role("reader", Role::None);
    assert!(matches!(watch.next().await.expect("the end").change, Change::Errored(_)));
    assert!(watch.next().await.is_none());
    let old = WatchOptions { start: Start::Tail(3), ..WatchOptions::default() };
    assert!(matches!(access.watch_all(&kind, old).await, Err(StateError::Unsupported(_))));
}
