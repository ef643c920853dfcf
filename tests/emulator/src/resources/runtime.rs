//! The machine as a running system: stage, version, META, extensions, services, and how it reaches its manager.

use std::net::SocketAddr;

use corten_api::machine::MachineStatusEvent;
use corten_api::machine::machine_status_event::machine_status::UnmetCondition as WireCondition;
use corten_api::machine::machine_status_event::{MachineStage as WireStage, MachineStatus as WireStatus};
use corten_resources::config::MachineType;
use corten_resources::runtime::{
    BootId, KernelCmdline, MachineStage, MachineStatus, MachineStatusStatus, MetaKey, MetaLoaded,
    PlatformMetadata, SecurityState, SelinuxState, UnmetCondition, Version,
};
use corten_resources::service::Service;
use corten_resources::siderolink::{SiderolinkStatus, SiderolinkTunnel, UniqueMachineToken};
use corten_resources::time::TimeStatus;

use super::services::services;
use super::{Compatibility, ExtensionMetadata, ExtensionStatus, Facts, Out, TalosConstraint};
use crate::life::Stage;

/// Id of the machine's status.
const STATUS: &str = "machine";
/// Id of the extension that says what the image was made of.
const SCHEMATIC: &str = "0";
/// Largest packet of the tunnel, bytes.
const TUNNEL_MTU: u32 = 1280;

pub fn put(out: &Out<'_>, facts: &Facts<'_>) {
    let model = &facts.spec.model;
    out.put(STATUS, status(facts));
    out.put("version", Version { version: facts.booted.tag(), name: "Talos".to_owned() });
    out.put("boot-id", BootId { boot_id: facts.boot_id.clone() });
    out.put("cmdline", KernelCmdline { cmdline: model.kernel_args.line.clone() });
    out.put("platformmetadata", platform(facts));
    out.put("securitystate", security(facts));
    out.put(SCHEMATIC, schematic(facts));
    out.put(TimeStatus::ID, TimeStatus { synced: true, ..TimeStatus::default() });
    let role = facts.complete().map(|applied| MachineType { role: applied.role });
    out.when(MachineType::ID, role);
    out.put("meta-loaded", MetaLoaded { done: true });
    let keys = facts.meta.iter().map(|(key, value)| {
        let value = value.to_owned();
        (format!("{key:#04x}"), MetaKey { value })
    });
    out.only(keys.collect());
    out.put(UniqueMachineToken::ID, UniqueMachineToken { token: facts.unique_token.clone() });
    siderolink(out, facts);
    let all = services(facts).into_iter().map(|service| {
        let running = service.is_running();
        (service.id.to_owned(), Service { running, healthy: running, unknown: !running })
    });
    out.only(all.collect());
}

fn platform(facts: &Facts<'_>) -> PlatformMetadata {
    PlatformMetadata {
        platform: "metal".to_owned(),
        hostname: facts.hostname.clone(),
        ..PlatformMetadata::default()
    }
}

fn security(facts: &Facts<'_>) -> SecurityState {
    SecurityState {
        secure_boot: facts.spec.model.secure_boot,
        selinux_state: SelinuxState::Permissive,
        booted_with_uki: true,
        module_signature_enforced: true,
        ..SecurityState::default()
    }
}

/// The extension that only says what the image was made of (fleet.md 4.2).
fn schematic(facts: &Facts<'_>) -> ExtensionStatus {
    let schematic = &facts.booted.schematic;
    ExtensionStatus {
        image: "0.sqsh".to_owned(),
        metadata: ExtensionMetadata {
            name: "schematic".to_owned(),
            version: schematic.id.clone(),
            author: "Image Factory".to_owned(),
            description: "Virtual extension which specifies the schematic of the image.".to_owned(),
            compatibility: Compatibility { talos: TalosConstraint { version: ">= 1.0.0".to_owned() } },
            extra_info: schematic.yaml.to_string(),
        },
    }
}

fn siderolink(out: &Out<'_>, facts: &Facts<'_>) {
    let host = facts.spec.model.kernel_args.join.authority();
    let place = facts.place.as_deref();
    let grpc_tunnel = place.is_some_and(|place| place.virtual_peer.is_some());
    let link_name = match (place, grpc_tunnel) {
        (None, _) => "",
        (Some(_), false) => "siderolink",
        (Some(_), true) => "siderolinktun",
    };
    out.put(
        SiderolinkStatus::ID,
        SiderolinkStatus {
            host: host.clone(),
            connected: place.is_some(),
            link_name: link_name.to_owned(),
            grpc_tunnel,
        },
    );
    let peer = place.and_then(|place| place.virtual_peer.as_ref());
    let tunnel = peer.map(|peer| SiderolinkTunnel {
        api_endpoint: host,
        link_name: link_name.to_owned(),
        mtu: TUNNEL_MTU,
        node_address: peer.parse::<SocketAddr>().ok(),
    });
    out.when(SiderolinkTunnel::ID, tunnel);
}

/// Stage and readiness.
#[must_use]
pub fn status(facts: &Facts<'_>) -> MachineStatus {
    let stage = match facts.stage {
        Stage::Off | Stage::Down => MachineStage::Unknown,
        Stage::Booting => MachineStage::Booting,
        Stage::Maintenance => MachineStage::Maintenance,
        Stage::Installing => MachineStage::Installing,
        Stage::Running => MachineStage::Running,
        Stage::Rebooting => MachineStage::Rebooting,
        Stage::ShuttingDown => MachineStage::ShuttingDown,
        Stage::Resetting => MachineStage::Resetting,
        Stage::Upgrading => MachineStage::Upgrading,
    };
    MachineStatus { stage, status: readiness(facts) }
}

/// Readiness is judged on the way up and when the machine is up (node.md 5.4).
fn readiness(facts: &Facts<'_>) -> MachineStatusStatus {
    if !matches!(facts.stage, Stage::Booting | Stage::Running) {
        return MachineStatusStatus { ready: true, unmet_conditions: Vec::new() };
    }
    let waiting: Vec<String> = services(facts)
        .iter()
        .filter_map(|service| service.waits_for.map(|what| format!("{} waits for {what}", service.id)))
        .collect();
    let mut unmet = Vec::new();
    let mut add = |name: &str, reason: String| unmet.push(UnmetCondition { name: name.to_owned(), reason });
    if !waiting.is_empty() {
        add("services", waiting.join(", "));
    }
    if facts.complete().is_some() && !facts.node.as_ref().is_some_and(|node| node.is_ready) {
        add("nodeReady", format!("node {:?} is not ready", facts.hostname));
    }
    MachineStatusStatus { ready: unmet.is_empty(), unmet_conditions: unmet }
}

/// The event that tells of a status.
#[must_use]
pub fn event(status: &MachineStatus) -> MachineStatusEvent {
    let stage = match status.stage {
        MachineStage::Unknown => WireStage::Unknown,
        MachineStage::Booting => WireStage::Booting,
        MachineStage::Installing => WireStage::Installing,
        MachineStage::Maintenance => WireStage::Maintenance,
        MachineStage::Running => WireStage::Running,
        MachineStage::Rebooting => WireStage::Rebooting,
        MachineStage::ShuttingDown => WireStage::ShuttingDown,
        MachineStage::Resetting => WireStage::Resetting,
        MachineStage::Upgrading => WireStage::Upgrading,
    };
    let unmet = status.status.unmet_conditions.iter();
    let unmet_conditions =
        unmet.map(|unmet| WireCondition { name: unmet.name.clone(), reason: unmet.reason.clone() }).collect();
    MachineStatusEvent {
        stage: stage.into(),
        status: Some(WireStatus { ready: status.status.ready, unmet_conditions }),
    }
}
