//! The controller over resources of the test's making.

use std::sync::OnceLock;

use corten_base::{Clock, Rng};
use corten_fleet_cluster::disk::selection_hash;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, ROLE_WORKER};
use corten_fleet_resources::link::JoinConfig;
use corten_fleet_resources::machine::InstallImage;
use corten_resource::Outcome;
use corten_resource::testing::{TestRuntime, resource};

use super::*;
use crate::member_scope::types;

const CONTROLLER: &str = "ClusterMachineConfigController/m1";

/// Secrets of a cluster. Making them takes a moment, so all tests share them.
fn secrets() -> &'static [u8] {
    static DATA: OnceLock<Vec<u8>> = OnceLock::new();
    DATA.get_or_init(|| {
        let now = Clock::fixed(1_800_000_000).now();
        corten_fleet_cluster::secrets::generate(now, &Rng::seeded(1)).expect("secrets").data
    })
}

fn member() -> AnyResource {
    let member = resource("m1", ClusterMachine { kubernetes_version: "1.35.4".to_owned() });
    member.edit(|metadata| {
        let labels = [(CLUSTER, "prod"), (MACHINE_SET, "prod-workers"), (ROLE_WORKER, "")];
        for (key, value) in labels {
            metadata.labels.insert(key.to_owned(), value.to_owned());
        }
    })
}

fn patches(texts: &[&str]) -> AnyResource {
    let patches = texts.iter().map(|text| (*text).to_owned()).collect();
    let spec = ClusterMachineConfigPatches { patches, ..ClusterMachineConfigPatches::default() };
    resource("m1", spec)
}

fn disk(selection_hash: String) -> AnyResource {
    let disk = "/dev/vda".to_owned();
    resource("m1", MachineInstallDiskStatus { disk, selection_hash, ..MachineInstallDiskStatus::default() })
}

fn scope(endpoint: &str) -> AnyResource {
    let (initial_version, endpoint) = ("1.12.0".to_owned(), endpoint.to_owned());
    resource("m1", MemberScope { initial_version, endpoint, ..MemberScope::default() })
}

fn started() -> TestRuntime {
    let mut registry = corten_fleet_resources::registry();
    types(&mut registry);
    let runtime = TestRuntime::new(registry, |runtime| {
        let installer = "ghcr.io/siderolabs/installer".to_owned();
        runtime.register_items(ClusterMachineConfigController::new(installer));
    });
    runtime.put(member());
    let image = InstallImage {
        talos_version: "1.12.4".to_owned(),
        schematic_initialized: true,
        schematic_invalid: true,
        ..InstallImage::default()
    };
    runtime.put(resource("m1", MachineConfigGenOptions { install_image: Some(image) }));
    let talos_version = "v1.12.4".to_owned();
    runtime.put(resource("m1", MachineStatus { talos_version, ..MachineStatus::default() }));
    let data = secrets().to_vec();
    runtime.put(resource("m1", ClusterMachineSecrets { data, rotation: None }));
    let documents = "apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: grpc://[::1]:8090?jointoken=abc\n";
    let config = JoinConfig { kernel_args: Vec::new(), config: documents.to_owned() };
    runtime.put(resource("m1", MachineJoinConfig { config: Some(config) }));
    runtime.put(patches(&["machine: {sysctls: {a: '1'}}\n"]));
    runtime
}

fn found(runtime: &TestRuntime) -> Option<ClusterMachineConfig> {
    runtime.state().get::<ClusterMachineConfig>("m1").map(|config| config.spec)
}

fn text(runtime: &TestRuntime) -> String {
    String::from_utf8(found(runtime).expect("a configuration").data).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_configuration_is_made_when_nothing_is_missing_and_says_what_is() {
    let runtime = started();
    runtime.put(scope(""));
    runtime.quiet().await;
    assert_eq!(found(&runtime), None);
    let reason = runtime.status(CONTROLLER).expect("it waits").reason;
    assert!(reason.contains("LoadBalancerConfig") && reason.contains("install disk"), "{reason}");
    runtime.put(scope("https://[fdae::1]:10000"));
    runtime.put(disk(selection_hash(None)));
    runtime.quiet().await;
    let text = text(&runtime);
    for part in ["type: worker", "https://[fdae::1]:10000", "SideroLinkConfig", "/dev/vda"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(runtime.status(CONTROLLER).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_cannot_be_applied_leaves_the_former_configuration() {
    let runtime = started();
    runtime.put(scope("https://[fdae::1]:10000"));
    runtime.put(disk(selection_hash(None)));
    runtime.quiet().await;
    let before = text(&runtime);
    runtime.put(patches(&["machine: {token: x}\n"]));
    runtime.quiet().await;
    let failed = found(&runtime).expect("the former one");
    assert!(failed.generation_error.contains("machine.token"), "{}", failed.generation_error);
    assert_eq!(text(&runtime), before);
    runtime.put(patches(&["machine: {sysctls: {a: '1'}}\n"]));
    runtime.quiet().await;
    assert_eq!((found(&runtime).expect("one").generation_error.as_str(), text(&runtime)), ("", before));
}

#[tokio::test(start_paused = true)]
async fn a_choice_of_a_disk_that_answers_an_older_wish_is_waited_for() {
    let runtime = started();
    runtime.put(scope("https://[fdae::1]:10000"));
    runtime.put(disk("an older wish".to_owned()));
    runtime.quiet().await;
    assert_eq!(found(&runtime), None);
    assert!(runtime.status(CONTROLLER).expect("it waits").reason.contains("out of date"));
}

#[test]
fn a_plan_makes_nothing_and_chooses_among_what_was_made() {
    let controller = ClusterMachineConfigController::new(String::new());
    let former = ClusterMachineConfig { install_disk: "/dev/vda".to_owned(), ..Default::default() };
    let view = View::of([member(), resource("m1", former.clone())], Clock::fixed(0).now());
    let planned = |seen: &Seen| {
        let plan = controller.plan("m1", &view, seen);
        (plan.output::<ClusterMachineConfig>("m1").cloned(), plan.outcome())
    };
    assert_eq!(planned(&Seen::Same("hash".to_owned())), (Some(former.clone()), Outcome::Done));
    let other = ClusterMachineConfig { install_disk: "/dev/vdb".to_owned(), ..Default::default() };
    let made = Seen::Other("hash".to_owned(), Made::Whole(Box::new(other.clone())));
    assert_eq!(planned(&made), (Some(other), Outcome::Done));
    let (kept, outcome) = planned(&Seen::Other("hash".to_owned(), Made::Failed("a reason".to_owned())));
    assert_eq!(kept.map(|it| it.generation_error), Some("a reason".to_owned()));
    assert!(matches!(outcome, Outcome::Waiting(why) if why.contains("a reason")));
    let (nothing, outcome) = planned(&Seen::Missing(vec!["its patches"]));
    assert!(nothing.is_none() && outcome == Outcome::Waiting("its patches".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_anew_from_the_same_parts() {
    let runtime = started();
    runtime.put(scope("https://[fdae::1]:10000"));
    runtime.put(disk(selection_hash(None)));
    runtime.quiet().await;
    let version = || runtime.state().get::<ClusterMachineConfig>("m1").expect("one").metadata.version;
    let before = version();
    let wider = MemberScope { updates_max: 7, ..scope_spec() };
    runtime.put(resource("m1", wider));
    runtime.quiet().await;
    assert_eq!(version(), before);
}

fn scope_spec() -> MemberScope {
    scope("https://[fdae::1]:10000").spec::<MemberScope>().cloned().expect("a scope")
}
