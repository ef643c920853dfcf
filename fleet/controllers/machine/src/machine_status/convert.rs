//! From the words of a machine to those of the manager, one resource at a time.

use corten_fleet_resources::machine::{
    BlockDevice, Diagnostic, MachineReadiness, MachineStage, MachineStatusEvent, MemoryModule, NetworkLink,
    PlatformMetadata, Processor, UnmetCondition,
};
use corten_resources::{block, hardware, network, runtime};

/// What Linux says of the speed of a link that it does not know.
const SPEED_UNKNOWN: u32 = u32::MAX;

/// A network interface; `None` when it is made in software.
#[must_use]
pub fn link(name: &str, link: &network::LinkStatus) -> Option<NetworkLink> {
    let speed = u32::try_from(link.speed_mbit).ok().filter(|speed| *speed != SPEED_UNKNOWN);
    link.is_physical().then(|| NetworkLink {
        linux_name: name.to_owned(),
        hardware_address: link.hardware_addr.to_string(),
        speed_mbps: speed.unwrap_or_default(),
        link_up: link.link_state,
        description: words(&link.vendor, &link.product),
    })
}

/// A processor; `None` for an empty socket.
#[must_use]
pub fn processor(processor: &hardware::Processor) -> Option<Processor> {
    (processor.core_count > 0).then(|| Processor {
        core_count: processor.core_count,
        thread_count: processor.thread_count,
        frequency: processor.max_speed_mhz,
        description: words(&processor.manufacturer, &processor.product_name),
        manufacturer: processor.manufacturer.clone(),
    })
}

/// A memory module; `None` for an empty slot.
#[must_use]
pub fn memory(module: &hardware::MemoryModule) -> Option<MemoryModule> {
    (module.size_mib > 0).then(|| MemoryModule {
        size_mb: module.size_mib,
        description: words(&module.manufacturer, &module.product_name),
    })
}

/// A disk; `None` for a file that looks like one. Whether it is the system's disk is not known here.
#[must_use]
pub fn disk(name: &str, disk: &block::Disk) -> Option<BlockDevice> {
    (!name.starts_with("loop")).then(|| BlockDevice {
        size: disk.size,
        model: disk.model.clone(),
        linux_name: disk.dev_path.clone(),
        name: String::new(),
        serial: disk.serial.clone(),
        uuid: disk.uuid.clone(),
        wwid: disk.wwid.clone(),
        kind: disk_kind(disk).to_owned(),
        bus_path: disk.bus_path.clone(),
        system_disk: false,
        readonly: disk.readonly,
        transport: disk.transport.clone(),
        dev_path: disk.dev_path.clone(),
        io_size: disk.io_size,
        sector_size: disk.sector_size,
        modalias: disk.modalias.clone(),
        sub_system: disk.sub_system.clone(),
        rotational: disk.rotational,
        cdrom: disk.cdrom,
        pretty_size: disk.pretty_size.clone(),
        secondary_disks: disk.secondary_disks.clone(),
        symlinks: disk.symlinks.clone(),
        firmware_version: disk.firmware_version.clone(),
    })
}

fn disk_kind(disk: &block::Disk) -> &'static str {
    match disk.transport.as_str() {
        "nvme" => "nvme",
        "mmc" => "sd",
        _ if disk.rotational => "hdd",
        _ => "ssd",
    }
}

/// What the platform says.
#[must_use]
pub fn platform(platform: &runtime::PlatformMetadata) -> PlatformMetadata {
    PlatformMetadata {
        platform: platform.platform.clone(),
        hostname: platform.hostname.clone(),
        region: platform.region.clone(),
        zone: platform.zone.clone(),
        instance_type: platform.instance_type.clone(),
        instance_id: platform.instance_id.clone(),
        provider_id: platform.provider_id.clone(),
        spot: platform.spot,
        tags: platform.tags.clone(),
    }
}

/// What the machine finds wrong with itself.
#[must_use]
pub fn diagnostic(id: &str, diagnostic: &runtime::Diagnostic) -> Diagnostic {
    Diagnostic { id: id.to_owned(), message: diagnostic.message.clone(), details: diagnostic.details.clone() }
}

/// Its stage.
#[must_use]
pub fn stage(status: &runtime::MachineStatus) -> MachineStatusEvent {
    let unmet = status.status.unmet_conditions.iter();
    let unmet = unmet.map(|unmet| UnmetCondition { name: unmet.name.clone(), reason: unmet.reason.clone() });
    MachineStatusEvent {
        stage: match status.stage {
            runtime::MachineStage::Unknown => MachineStage::Unknown,
            runtime::MachineStage::Booting => MachineStage::Booting,
            runtime::MachineStage::Installing => MachineStage::Installing,
            runtime::MachineStage::Maintenance => MachineStage::Maintenance,
            runtime::MachineStage::Running => MachineStage::Running,
            runtime::MachineStage::Rebooting => MachineStage::Rebooting,
            runtime::MachineStage::ShuttingDown => MachineStage::ShuttingDown,
            runtime::MachineStage::Resetting => MachineStage::Resetting,
            runtime::MachineStage::Upgrading => MachineStage::Upgrading,
        },
        status: Some(MachineReadiness { ready: status.status.ready, unmet_conditions: unmet.collect() }),
    }
}

/// The stage as the machine tells it in an event.
#[must_use]
pub fn event(event: &corten_api::machine::MachineStatusEvent) -> MachineStatusEvent {
    use corten_api::machine::machine_status_event::MachineStage as Wire;
    let readiness = event.status.as_ref().map(|status| MachineReadiness {
        ready: status.ready,
        unmet_conditions: status
            .unmet_conditions
            .iter()
            .map(|unmet| UnmetCondition { name: unmet.name.clone(), reason: unmet.reason.clone() })
            .collect(),
    });
    MachineStatusEvent {
        stage: match event.stage() {
            Wire::Unknown => MachineStage::Unknown,
            Wire::Booting => MachineStage::Booting,
            Wire::Installing => MachineStage::Installing,
            Wire::Maintenance => MachineStage::Maintenance,
            Wire::Running => MachineStage::Running,
            Wire::Rebooting => MachineStage::Rebooting,
            Wire::ShuttingDown => MachineStage::ShuttingDown,
            Wire::Resetting => MachineStage::Resetting,
            Wire::Upgrading => MachineStage::Upgrading,
        },
        status: readiness,
    }
}

/// Two words with a space between them, unless one is missing.
fn words(first: &str, second: &str) -> String {
    [first.trim(), second.trim()].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use corten_resources::network::{LinkStatus, LinkType};

    use super::*;

    #[test]
    fn links_made_in_software_and_empty_slots_are_no_hardware() {
        let ether = LinkStatus { link_type: LinkType::ETHER, speed_mbit: -1, ..LinkStatus::default() };
        assert_eq!(link("eth0", &ether).map(|link| link.speed_mbps), Some(0));
        let unknown = LinkStatus { speed_mbit: 4_294_967_295, ..ether.clone() };
        assert_eq!(link("eth0", &unknown).map(|link| link.speed_mbps), Some(0));
        assert_eq!(link("bond0", &LinkStatus { kind: "bond".into(), ..ether }), None);
        assert_eq!(processor(&hardware::Processor::default()), None);
        assert_eq!(memory(&hardware::MemoryModule::default()), None);
        assert_eq!(disk("loop0", &block::Disk::default()), None);
    }

    #[test]
    fn a_stage_means_the_same_in_an_event_and_in_a_resource() {
        for number in 0..=8 {
            let told = corten_api::machine::MachineStatusEvent { stage: number, status: None };
            let watched = runtime::MachineStatus {
                stage: corten_resource::Enumeration::from_number(i64::from(number)).expect("a stage"),
                ..runtime::MachineStatus::default()
            };
            assert_eq!(event(&told).stage, stage(&watched).stage, "{number}");
        }
    }
}
