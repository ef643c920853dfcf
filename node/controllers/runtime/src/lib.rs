//! The machine as a running system.
//!
//!     MachineConfig ─▶ MachineType
//!                   ─▶ kernel parameters ─▶ /proc/sys, /sys ─▶ KernelParamStatus
//!                   ─▶ kernel modules ─▶ kernel
//!                   ─▶ registries, parts and overrides ─▶ files below /etc/cri
//!                   ─▶ environment of services, files below /etc, device rules, authorities
//!                   ─▶ how apid listens, with SiderolinkConfig
//!     capabilities  ─▶ ServiceSpecs of apid, trustd, dataplane, cri, udevd
//!     everything    ─▶ MachineStatus, Diagnostics
//!     memory pressure ─▶ the end of what takes most
//!     hardware      ─▶ PciDevices, CpuCores; MachineConfig ─▶ drivers of devices, the watchdog
//!
//! What runs inside Kubernetes is the kubernetes domain's business, links are the network domain's.

mod api_service;
mod configuration;
mod cpu_cores;
mod cri_config;
mod cri_files;
mod diagnostics;
mod environment;
mod etc_config;
mod facts;
mod image_cache;
mod kernel_modules;
mod kernel_modules_load;
mod kernel_params;
mod kernel_params_apply;
mod machine_status;
mod machine_type;
mod oom;
mod pci;
mod pci_ids;
mod pci_rebind;
mod perf;
mod services;
mod smbios;
mod system_information;
mod trusted_roots;
mod udev_rules;
mod watchdog;

use corten_base::{Capabilities, Platform};
use corten_resource::Runtime;
use corten_supervisor::Client;

pub use cri_files::kubernetes as containerd_options;
pub use services::SystemServices;

/// What this domain needs to know about the machine it runs on.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// What kind of machine it is.
    pub platform: Platform,
    /// What it allows.
    pub capabilities: Capabilities,
    /// Root lacks `CAP_SYS_RESOURCE`: OOM scores cannot be lowered.
    pub restrict_oom_score: bool,
}

/// Registers the controllers of this domain. `arguments` are those that the launcher of a machine of a host gave it in
/// the place of a kernel's.
pub fn register(runtime: &mut Runtime, machine: Machine, arguments: Option<String>, init: &Client) {
    runtime.register_transform(machine_type::MachineTypeFromConfig);
    runtime.register_transform(environment::EnvironmentFromConfig);
    runtime.register_transform(etc_config::EtcFilesFromConfig);
    runtime.register(trusted_roots::TrustedRoots);
    runtime.register(oom::MemoryPressure::new(oom::MachineGroups::default()));
    runtime.register(perf::Counters);
    runtime.register_transform(machine_status::MachineReadiness);
    let measured = diagnostics::Measured(corten_sys::Kernel);
    runtime.register(diagnostics::SelfDiagnosis::new(measured));
    runtime.register_transform(api_service::ApiServiceMode);
    runtime.register_transform(SystemServices::new(machine));
    runtime.register_transform(kernel_params::KernelParams::new(machine.capabilities));
    runtime.register(kernel_params_apply::KernelParamsApply::new(corten_sys::Kernel));
    runtime.register_transform(cri_config::CriConfiguration);
    runtime.register(cri_files::CriFiles::new(machine.restrict_oom_score));
    runtime.register(facts::SystemFacts::new(machine.platform, arguments));
    runtime.register(cpu_cores::CpuCores);
    runtime.register(system_information::SmbiosTables { own_firmware: machine.capabilities.power });
    runtime.register(image_cache::ImageCacheVolume::new(machine.capabilities.disks));
    if machine.capabilities.udev {
        runtime.register(udev_rules::UdevRules::new(udev_rules::MachineUdev(init.clone())));
    }
    if machine.capabilities.power {
        let places = pci::Places::default();
        runtime.register_transform(pci_rebind::PciDriversFromConfig);
        runtime.register(pci_rebind::PciDriverRebind::new(places.bus.clone()));
        runtime.register(pci::PciDevices::new(places));
        runtime.register_transform(watchdog::WatchdogFromConfig);
        runtime.register(watchdog::WatchdogTimer::new(corten_sys::Kernel));
    }
    if machine.capabilities.modules {
        runtime.register_transform(kernel_modules::KernelModulesFromConfig);
        runtime.register(kernel_modules_load::KernelModulesLoad::new());
    }
}
