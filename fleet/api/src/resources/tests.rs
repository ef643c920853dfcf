//! The store as callers of each kind may use it.

use std::time::Duration;

use corten_api::fleet::Role;
use corten_fleet_resources::cluster::{Cluster, ClusterStatus};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::CLUSTER;
use corten_fleet_resources::link::{DefaultJoinToken, Link};
use corten_fleet_resources::machine::KernelArgs;
use corten_fleet_resources::provider::{MachineRequest, MachineRequestStatus};
use corten_fleet_resources::upgrade::TalosVersion;
use corten_resource::{Change, ErrorKind, LabelTerm, Metadata, Spec};

use super::*;
use crate::audit::testing::Remembered;
use crate::testing::{Fleet, HOUR, PROD, any};

fn at<S: Spec>(id: &str) -> Pointer {
    Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id)
}

fn patch(id: &str, cluster: &str) -> AnyResource {
    any(id, ConfigPatch { data: "machine: {}\n".to_owned(), ..ConfigPatch::default() }, &[(CLUSTER, cluster)])
}

/// What is stored, changed.
fn edited<S: Spec>(access: &Access, id: &str, change: impl FnOnce(&mut Metadata)) -> AnyResource {
    access.shared.state.get_any(&at::<S>(id)).expect("stored").edit(change)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, StateError>, kind: ErrorKind) -> String {
    let error = outcome.expect_err("refused");
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

#[tokio::test]
async fn each_role_reads_and_writes_what_the_table_says() {
    let fleet = Fleet::new();
    fleet.put("prod", Cluster::default());
    fleet.put("prod", ClusterStatus::default());
    fleet.put("1.13.8", TalosVersion::default());
    for role in Role::ALL {
        let access = fleet.access(fleet.with_role(role));
        let reads = role >= Role::Reader;
        assert_eq!(access.get(&at::<Cluster>("prod")).await.is_ok(), reads, "{role}");
        assert_eq!(access.list(&at::<ClusterStatus>(""), &Query::default()).await.is_ok(), reads, "{role}");
        assert!(access.get(&at::<TalosVersion>("1.13.8")).await.is_ok(), "{role}");
        let id = format!("m-{role}");
        let created = access.create(any(&id, KernelArgs::default(), &[]), "").await;
        assert_eq!(created.is_ok(), role >= Role::Operator, "{role}");
        let status = access.create(any("lab", ClusterStatus::default(), &[]), "").await;
        refused(status, ErrorKind::PermissionDenied);
    }
    let nobody = fleet.access(Arc::default());
    refused(nobody.get(&at::<TalosVersion>("1.13.8")).await, ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn what_is_absent_is_told_only_to_those_who_may_read_it() {
    let fleet = Fleet::new();
    let reader = fleet.access(fleet.with_role(Role::Reader));
    refused(reader.get(&at::<Cluster>("none")).await, ErrorKind::NotFound);
    let stranger = fleet.access(fleet.with_role(Role::None));
    refused(stranger.get(&at::<Cluster>("none")).await, ErrorKind::PermissionDenied);
    refused(stranger.destroy(&at::<Cluster>("none"), "").await, ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_role_on_a_cluster_reaches_as_far_as_the_cluster() {
    let fleet = Fleet::new();
    let access = fleet.access(fleet.caller(&fleet.operator_of_prod()));
    access.create(patch("400-a", PROD), "").await.expect("created");
    refused(access.create(patch("400-b", "lab"), "").await, ErrorKind::PermissionDenied);
    let moved = edited::<ConfigPatch>(&access, "400-a", |metadata| {
        metadata.labels.insert(CLUSTER.to_owned(), "lab".to_owned());
    });
    let options = UpdateOptions::running("");
    refused(access.update(moved, &options).await, ErrorKind::PermissionDenied);
    let all = at::<ConfigPatch>("");
    let of_prod = Query::labels(vec![LabelTerm::equal(CLUSTER, PROD)]);
    assert_eq!(access.list(&all, &of_prod).await.expect("listed").len(), 1);
    refused(access.list(&all, &Query::default()).await, ErrorKind::PermissionDenied);
    access.teardown(&at::<ConfigPatch>("400-a"), "").await.expect("torn down");
}

#[tokio::test]
async fn people_write_without_owner_and_not_over_what_controllers_own() {
    let fleet = Fleet::new();
    let access = fleet.access(fleet.with_role(Role::Admin));
    let text = refused(access.create(patch("1", PROD), "Mine").await, ErrorKind::PermissionDenied);
    assert!(text.starts_with("\"Mine\" is the name of a controller"), "{text}");
    fleet.state.put_any("Other", patch("2", PROD)).expect("stored");
    let edit = edited::<ConfigPatch>(&access, "2", |metadata| {
        metadata.annotations.insert("name".to_owned(), "x".to_owned());
    });
    refused(access.update(edit.clone(), &UpdateOptions::running("")).await, ErrorKind::PermissionDenied);
    refused(access.update(edit, &UpdateOptions::running("Other")).await, ErrorKind::PermissionDenied);
    refused(access.destroy(&at::<ConfigPatch>("2"), "").await, ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn conflicts_are_those_of_the_store() {
    let fleet = Fleet::new();
    let access = fleet.access(fleet.with_role(Role::Operator));
    access.create(patch("1", PROD), "").await.expect("created");
    refused(access.create(patch("1", PROD), "").await, ErrorKind::AlreadyExists);
    let stale = edited::<ConfigPatch>(&access, "1", |metadata| metadata.version = 7);
    refused(access.update(stale, &UpdateOptions::running("")).await, ErrorKind::FailedPrecondition);
    let fresh = edited::<ConfigPatch>(&access, "1", |_| ());
    let options = UpdateOptions { owner: String::new(), expected_phase: Some(Phase::TearingDown) };
    refused(access.update(fresh, &options).await, ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn an_invalid_resource_is_refused_and_a_valid_one_is_stored_in_its_normal_form() {
    let fleet = Fleet::new();
    let access = fleet.access(fleet.with_role(Role::Operator));
    let invalid = any("m", KernelArgs { args: vec![String::new()] }, &[]);
    refused(access.create(invalid, "").await, ErrorKind::InvalidArgument);
    let key = "k".repeat(1025);
    let long = any("m", KernelArgs::default(), &[(key.as_str(), "")]);
    refused(access.create(long, "").await, ErrorKind::InvalidArgument);
    let compressed_data = zstd::bulk::compress(b"machine: {}\n", 3).expect("compressed");
    let packed = ConfigPatch { compressed_data, ..ConfigPatch::default() };
    let stored = access.create(any("1", packed, &[]), "").await.expect("created");
    let spec = stored.spec::<ConfigPatch>().expect("a patch");
    assert_eq!((spec.data.as_str(), spec.compressed_data.len()), ("machine: {}\n", 0));
}

#[tokio::test]
async fn a_teardown_by_update_needs_what_a_destroy_needs_and_there_is_no_way_back() {
    let fleet = Fleet::new();
    let access = fleet.access(fleet.with_role(Role::Admin));
    fleet.put("default", DefaultJoinToken { token_id: "t".to_owned() });
    let down = |metadata: &mut Metadata| metadata.phase = Phase::TearingDown;
    let token = edited::<DefaultJoinToken>(&access, "default", down);
    refused(access.update(token, &UpdateOptions::any_phase("")).await, ErrorKind::PermissionDenied);
    fleet.state.put_any("", patch("1", PROD)).expect("stored");
    let torn = edited::<ConfigPatch>(&access, "1", down);
    access.update(torn, &UpdateOptions::running("")).await.expect("torn down");
    let back = edited::<ConfigPatch>(&access, "1", |metadata| metadata.phase = Phase::Running);
    refused(access.update(back, &UpdateOptions::any_phase("")).await, ErrorKind::InvalidArgument);
    access.destroy(&at::<ConfigPatch>("1"), "").await.expect("destroyed");
    fleet.put("m-1", Link::default());
    access.teardown_and_destroy(&at::<Link>("m-1"), "").await.expect("a machine is removed");
}

#[tokio::test]
async fn a_provider_sees_and_writes_its_own_and_holds_what_it_reads() {
    let fleet = Fleet::new();
    let access = fleet.access(fleet.caller(&fleet.provider("metal")));
    let own: &[_] = &[(INFRA_PROVIDER_ID, "metal")];
    fleet.state.put_any("Requests", any("r-1", MachineRequest::default(), own)).expect("stored");
    let others: &[_] = &[(INFRA_PROVIDER_ID, "other")];
    fleet.state.put_any("Requests", any("r-2", MachineRequest::default(), others)).expect("stored");
    let seen = access.list(&at::<MachineRequest>(""), &Query::default()).await.expect("listed");
    assert_eq!(seen.iter().map(AnyResource::id).collect::<Vec<_>>(), ["r-1"]);
    refused(access.get(&at::<MachineRequest>("r-2")).await, ErrorKind::NotFound);

    let hold = |metadata: &mut Metadata| {
        metadata.add_finalizer("metal.Provision");
    };
    let held = edited::<MachineRequest>(&access, "r-1", hold);
    access.update(held, &UpdateOptions::running("Requests")).await.expect("held");
    let edit = edited::<MachineRequest>(&access, "r-1", |metadata| metadata.labels.clear());
    refused(access.update(edit, &UpdateOptions::running("Requests")).await, ErrorKind::PermissionDenied);

    let status = any("r-1", MachineRequestStatus::default(), &[]);
    let stored = access.create(status, "metal.Provision").await.expect("created");
    assert_eq!(stored.metadata().labels.get(INFRA_PROVIDER_ID).map(String::as_str), Some("metal"));
    assert_eq!(stored.metadata().owner, "metal.Provision");
    let private = Metadata::new("infra-provider:metal", "Machines.metal.infraprovider.sidero.dev", "1");
    let private = AnyResource::opaque(private, vec![8, 1], "a: 1\n".to_owned());
    access.create(private, "metal.Provision").await.expect("kept as it came");
}

#[tokio::test]
async fn a_watch_follows_the_callers_part_and_ends_with_its_rights() {
    let fleet = Fleet::new();
    let provider = fleet.provider("metal");
    let access = fleet.access(fleet.caller(&provider));
    let one = at::<MachineRequest>("r-2");
    let others: &[_] = &[(INFRA_PROVIDER_ID, "other")];
    fleet.state.put_any("", any("r-2", MachineRequest::default(), others)).expect("stored");
    let mut single = access.watch(&one, Start::Contents).await.expect("watched");
    let first = single.next().await.expect("an event").change;
    assert!(matches!(first, Change::Destroyed(gone) if gone.is_tombstone()), "another's is absent");
    let mut all = access.watch_all(&one, WatchOptions::contents()).await.expect("watched");
    assert_eq!(all.next().await.expect("an event").change, Change::Bootstrapped);
    let own: &[_] = &[(INFRA_PROVIDER_ID, "metal")];
    fleet.state.put_any("", any("r-1", MachineRequest::default(), own)).expect("stored");
    assert!(matches!(all.next().await.expect("an event").change, Change::Created(_)));
    fleet.clock.advance(HOUR + Duration::from_secs(1));
    fleet.state.put_any("", any("r-3", MachineRequest::default(), own)).expect("stored");
    assert!(matches!(all.next().await.expect("an event").change, Change::Errored(_)));
    assert!(all.next().await.is_none());
}

#[tokio::test]
async fn changes_are_written_down_and_finalizers_are_not() {
    let fleet = Fleet::new();
    let log = Arc::new(Remembered::default());
    let caller = fleet.with_role(Role::Operator);
    let mut resources = Arc::into_inner(fleet.resources()).expect("the only one");
    resources.audit = Arc::clone(&log) as Arc<dyn Audit>;
    let access = Arc::new(resources).open(caller);
    access.create(patch("1", PROD), "").await.expect("created");
    let held = edited::<ConfigPatch>(&access, "1", |metadata| {
        metadata.add_finalizer("x");
    });
    access.update(held, &UpdateOptions::running("")).await.expect("held");
    let free = edited::<ConfigPatch>(&access, "1", |metadata| {
        metadata.remove_finalizer("x");
    });
    access.update(free, &UpdateOptions::running("")).await.expect("released");
    access.destroy(&at::<ConfigPatch>("1"), "").await.expect("destroyed");
    let end = "ConfigPatches.omni.sidero.dev(default/1) [prod] by operator@serviceaccount.omni.sidero.dev";
    assert_eq!(*log.0.lock(), [format!("create {end}"), format!("destroy {end}")]);
}
