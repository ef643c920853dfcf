//! What a machine says about itself.

use std::time::UNIX_EPOCH;

use corten_api::machine::{
    FeaturesInfo, MemInfo, Memory, PlatformInfo, ServiceEvents, ServiceHealth, ServiceInfo, ServiceList,
    SystemStat, Version, VersionInfo,
};
use corten_base::Arch;

use crate::machine::Machine;
use crate::resources::services::services as services_of;

/// Version, platform and features.
pub fn version(machine: &Machine) -> Version {
    let info = VersionInfo {
        tag: machine.booted().tag(),
        sha: "emulated".to_owned(),
        os: "linux".to_owned(),
        arch: Arch::current().to_string(),
        ..VersionInfo::default()
    };
    let platform = PlatformInfo { name: "metal".to_owned(), mode: "metal".to_owned() };
    Version {
        metadata: None,
        version: Some(info),
        platform: Some(platform),
        features: Some(FeaturesInfo { rbac: !machine.is_maintenance() }),
    }
}

/// Memory, half of it in use.
pub fn memory(machine: &Machine) -> Memory {
    let total = u64::from(machine.spec().model.memory_mib) * 1024;
    let meminfo =
        MemInfo { memtotal: total, memfree: total / 2, memavailable: total / 2, ..MemInfo::default() };
    Memory { metadata: None, meminfo: Some(meminfo) }
}

/// When the machine was booted, by its own clock.
pub fn system_stat(machine: &Machine) -> SystemStat {
    let booted = machine.now().checked_sub(machine.uptime());
    let boot_time = booted.and_then(|booted| booted.duration_since(UNIX_EPOCH).ok());
    SystemStat { boot_time: boot_time.unwrap_or_default().as_secs(), ..SystemStat::default() }
}

/// Services with their state.
pub fn services(machine: &Machine) -> ServiceList {
    let all = machine.with_facts(services_of);
    let services = all.into_iter().map(|service| {
        let is_running = service.is_running();
        let message = service.waits_for.map(|what| format!("waits for {what}")).unwrap_or_default();
        ServiceInfo {
            id: service.id.to_owned(),
            state: service.state().to_owned(),
            events: Some(ServiceEvents::default()),
            health: Some(ServiceHealth {
                unknown: !is_running,
                healthy: is_running,
                last_message: message,
                last_change: None,
            }),
        }
    });
    ServiceList { metadata: None, services: services.collect() }
}
