use corten_api::machine::apply_configuration_request::Mode;
use corten_api::machine::{ApplyConfigurationRequest, ResetPartitionSpec, ResetRequest};
use corten_config::Contract;
use corten_resources::cluster::Identity;
use corten_resources::config::MachineConfig;
use corten_resources::etcd::EtcdMember;
use corten_resources::kubernetes::NodeStatus;
use corten_resources::runtime::{MachineStage, MachineStatus, MetaKey};
use semver::Version;
use tonic::Code;

use super::*;
use crate::life::Call;
use crate::testing::{apply, control_plane, machine, machine_that_joins, of_contract, settle, worker, world};

fn status(machine: &Machine) -> MachineStatus {
    machine.state().get::<MachineStatus>("machine").expect("a status").spec
}

/// A control plane whose etcd runs, and a worker of the same cluster.
fn cluster() -> (Arc<Machine>, Arc<Machine>) {
    let world = world();
    let (first, second) = (machine(&world, 0), machine(&world, 1));
    for (machine, text) in [(&first, control_plane()), (&second, worker())] {
        settle(machine);
        apply(machine, &text).expect("applied");
        settle(machine);
    }
    first.bootstrap().expect("bootstrapped");
    settle(&first);
    settle(&second);
    (first, second)
}

#[test]
fn a_control_plane_boots_until_it_is_bootstrapped_and_its_workers_follow() {
    let world = world();
    let (first, second) = (machine(&world, 0), machine(&world, 1));
    settle(&first);
    settle(&second);
    assert_eq!(status(&first).stage, MachineStage::Maintenance);
    let boot_id = first.boot_id();
    apply(&first, &control_plane()).expect("applied");
    apply(&second, &worker()).expect("applied");
    settle(&first);
    settle(&second);
    assert_ne!(first.boot_id(), boot_id, "the installation reboots");
    assert_eq!((first.stage(), second.stage()), (Stage::Booting, Stage::Booting));
    let unmet = status(&first).status.unmet_conditions;
    let unmet: Vec<String> = unmet.into_iter().map(|unmet| unmet.name).collect();
    assert_eq!(unmet, ["services", "nodeReady"]);
    assert_eq!(second.bootstrap().expect_err("a worker").code(), Code::Unimplemented);
    first.bootstrap().expect("bootstrapped");
    assert_eq!(first.bootstrap().expect_err("once").code(), Code::AlreadyExists);
    settle(&first);
    settle(&second);
    for machine in [&first, &second] {
        assert_eq!(machine.stage(), Stage::Running);
        assert!(status(machine).status.ready, "{:?}", status(machine));
        let node = machine.state().get::<NodeStatus>(&machine.hostname()).expect("a node");
        assert!(node.node_ready);
    }
    assert!(first.state().get::<EtcdMember>(EtcdMember::ID).is_some());
    assert!(second.state().get::<EtcdMember>(EtcdMember::ID).is_none());
}

#[test]
fn machines_of_every_version_become_a_cluster_with_the_configurations_of_theirs() {
    for minor in [12, 13, 14] {
        let world = world();
        let version = Version::new(1, minor, 0);
        let texts = of_contract(Contract::new(1, minor), &version.to_string());
        let join = |number| machine_that_joins(&world, number, version.clone(), "grpc://127.0.0.1:1");
        let (first, second) = (join(0), join(1));
        for (machine, text) in [(&first, &texts.controlplane), (&second, &texts.worker)] {
            settle(machine);
            assert_eq!(machine.stage(), Stage::Maintenance, "1.{minor}");
            let reply = apply(machine, text.reveal());
            let reply = reply.unwrap_or_else(|refusal| panic!("1.{minor}: {refusal}"));
            let expected = if minor < 14 { Mode::Reboot } else { Mode::NoReboot };
            assert_eq!(reply.mode(), expected, "1.{minor}");
            settle(machine);
        }
        first.bootstrap().expect("bootstrapped");
        settle(&first);
        settle(&second);
        for machine in [&first, &second] {
            assert_eq!(machine.stage(), Stage::Running, "1.{minor}");
            assert!(status(machine).status.ready, "1.{minor}: {:?}", status(machine));
            assert_eq!(machine.booted().version, version);
        }
        let cluster = first.own_cluster().expect("a cluster");
        assert_eq!(cluster.read(|members| members.nodes.iter().count()), 2, "1.{minor}");
    }
}

#[test]
fn a_reset_forgets_the_configuration_and_keeps_meta() {
    let (first, second) = cluster();
    second.meta_write(u32::from(meta::UNIQUE_TOKEN), b"{}").expect("written");
    let labels = ["STATE", "EPHEMERAL"];
    let partitions = labels.map(|label| ResetPartitionSpec { label: label.to_owned(), wipe: true });
    let request = ResetRequest {
        graceful: true,
        reboot: true,
        system_partitions_to_wipe: partitions.to_vec(),
        ..ResetRequest::default()
    };
    second.reset(&request).expect("resets");
    settle(&second);
    assert_eq!((second.stage(), second.unique_token().as_str()), (Stage::Maintenance, "{}"));
    assert!(second.state().get::<MachineConfig>(MachineConfig::ACTIVE).is_none());
    assert!(second.state().get::<Identity>(Identity::ID).is_none());
    let cluster = first.own_cluster().expect("a cluster");
    let name = second.spec().hostname();
    let is_ready = cluster.read(|members| members.nodes.get(&name).map(|(_, node)| node.is_ready));
    assert_eq!(is_ready, Some(false), "the node is there until somebody removes it");
}

#[test]
fn a_graceful_reset_leaves_etcd_and_a_whole_wipe_loses_meta() {
    let (first, _) = cluster();
    first.meta_write(u32::from(meta::UNIQUE_TOKEN), b"{}").expect("written");
    first.reset(&ResetRequest { graceful: true, reboot: true, ..ResetRequest::default() }).expect("resets");
    let cluster = first.own_cluster().expect("still configured");
    settle(&first);
    assert!(!cluster.read(|members| members.etcd.is_founded()));
    assert_eq!((first.stage(), first.unique_token().as_str()), (Stage::Maintenance, ""));
}

#[test]
fn leaving_etcd_lasts_until_the_next_boot() {
    let (first, _) = cluster();
    first.leave_etcd().expect("left");
    first.set_faults(Faults::default());
    settle(&first);
    assert!(first.etcd("etcd status").is_err());
    assert!(first.state().get::<EtcdMember>(EtcdMember::ID).is_none());
}

#[test]
fn a_staged_configuration_waits_for_the_reboot() {
    let (_, second) = cluster();
    let renamed = worker().replace("auto: stable", "hostname: other");
    let request = ApplyConfigurationRequest {
        data: renamed.into_bytes().into(),
        mode: Mode::Staged.into(),
        ..ApplyConfigurationRequest::default()
    };
    second.apply(&request).expect("staged");
    assert!(second.state().get::<MachineConfig>(MachineConfig::PERSISTENT).is_some());
    assert_ne!(second.hostname(), "other");
    second.begin(Call::Reboot, "reboot").expect("reboots");
    settle(&second);
    assert_eq!(second.hostname(), "other");
    assert!(second.state().get::<MachineConfig>(MachineConfig::PERSISTENT).is_none());
}

#[test]
fn a_lie_is_shown_and_asks_the_manager_again() {
    let machine = machine(&world(), 0);
    settle(&machine);
    let mut rejoins = machine.rejoins();
    rejoins.borrow_and_update();
    machine.set_faults(Faults { uuid: Some("lie".to_owned()), ..Faults::default() });
    assert_eq!(machine.uuid(), "lie");
    assert!(rejoins.has_changed().expect("the machine is there"));
    machine.set_faults(Faults::default());
    machine.meta_write(u32::from(meta::UUID_OVERRIDE), b"override").expect("written");
    assert_eq!(machine.uuid(), "override");
    assert!(machine.state().get::<MetaKey>("0x0f").is_some());
    machine.lose_meta();
    assert_eq!(machine.uuid(), machine.spec().uuid);
    assert!(machine.state().get::<MetaKey>("0x0f").is_none());
}

#[test]
fn the_clock_may_be_wrong() {
    let machine = machine(&world(), 0);
    let right = machine.now();
    machine.set_faults(Faults { clock_skew_s: -3600, ..Faults::default() });
    assert_eq!(right.duration_since(machine.now()).expect("earlier"), Duration::from_secs(3600));
}
