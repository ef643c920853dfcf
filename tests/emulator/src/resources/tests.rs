use corten_resource::Pointer;
use corten_resources::network::LinkStatus;
use corten_resources::runtime::{MachineStatus, Version};

use crate::faults::Faults;
use crate::machine::Machine;
use crate::profile::Profile;
use crate::schema::Schemas;
use crate::testing::{apply, control_plane, machine, settle, world};

/// Versions of every resource of a machine.
fn versions(machine: &Machine) -> Vec<(Pointer, u64)> {
    let schemas = Schemas::new();
    let schema = schemas.get(Profile::V14).expect("a schema");
    let mut all = Vec::new();
    for kind in schema.registry().types() {
        let definition = kind.definition;
        for resource in machine.state().list_any(definition.namespace, definition.kind) {
            all.push((resource.pointer(), resource.metadata().version));
        }
    }
    all
}

#[test]
fn the_same_facts_again_change_nothing() {
    let machine = machine(&world(), 0);
    settle(&machine);
    apply(&machine, &control_plane()).expect("applied");
    settle(&machine);
    let before = versions(&machine);
    machine.publish();
    assert_eq!(versions(&machine), before);
    assert!(before.len() > 30, "{}", before.len());
}

#[test]
fn what_a_manager_watches_is_there_in_maintenance() {
    let machine = machine(&world(), 0);
    settle(&machine);
    let there = |namespace: &str, kind: &str| !machine.state().list_any(namespace, kind).is_empty();
    for (namespace, kind) in [
        ("network", "HostnameStatuses.net.talos.dev"),
        ("network", "NodeAddresses.net.talos.dev"),
        ("network", "RouteStatuses.net.talos.dev"),
        ("network", "LinkStatuses.net.talos.dev"),
        ("hardware", "Processors.hardware.talos.dev"),
        ("hardware", "MemoryModules.hardware.talos.dev"),
        ("hardware", "SystemInformations.hardware.talos.dev"),
        ("runtime", "PlatformMetadatas.talos.dev"),
        ("runtime", "ExtensionStatuses.runtime.talos.dev"),
        ("runtime", "MachineStatuses.runtime.talos.dev"),
        ("runtime", "Versions.runtime.talos.dev"),
        ("runtime", "SecurityStates.talos.dev"),
        ("runtime", "Disks.block.talos.dev"),
        ("runtime", "KernelCmdlines.runtime.talos.dev"),
    ] {
        assert!(there(namespace, kind), "{kind}");
    }
    assert!(!there("runtime", "SystemDisks.block.talos.dev"), "nothing is installed");
    let version = machine.state().get::<Version>("version").expect("a version");
    assert_eq!(version.version, "v1.14.0");
}

#[test]
fn a_lie_about_the_network_card_is_in_its_link() {
    let machine = machine(&world(), 0);
    machine.set_faults(Faults { mac: Some("52:00:00:00:00:07".to_owned()), ..Faults::default() });
    let link = machine.state().get::<LinkStatus>("eth0").expect("a card");
    assert_eq!(link.permanent_addr.to_string(), "52:00:00:00:00:07");
}

#[test]
fn a_machine_that_waits_for_a_configuration_is_ready() {
    let machine = machine(&world(), 0);
    settle(&machine);
    let status = machine.state().get::<MachineStatus>("machine").expect("a status");
    assert!(status.status.ready && status.status.unmet_conditions.is_empty());
}
