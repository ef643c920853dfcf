//! The machine as a running system.
//!
//!     MachineConfig ─▶ MachineType
//!                   ─▶ kernel parameters ─▶ /proc/sys, /sys ─▶ KernelParamStatus
//!                   ─▶ kernel modules ─▶ kernel
//!                   ─▶ registries ─▶ files below /etc/cri
//!                   ─▶ how apid listens, with SiderolinkConfig
//!     capabilities  ─▶ ServiceSpecs of apid, trustd, dataplane, cri, udevd
//!     everything    ─▶ MachineStatus
//!
//! What runs inside Kubernetes is the kubernetes domain's business, links are the network domain's.

mod api_service;
mod cri_files;
mod facts;
mod image_cache;
mod kernel_modules;
mod kernel_modules_load;
mod kernel_params;
mod kernel_params_apply;
mod machine_status;
mod machine_type;
mod services;
mod smbios;
mod system_information;

use corten_base::{Capabilities, Platform};
use corten_resource::Runtime;

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
pub fn register(runtime: &mut Runtime, machine: Machine, arguments: Option<String>) {
    runtime.register_transform(machine_type::MachineTypeFromConfig);
    runtime.register_transform(machine_status::MachineReadiness);
    runtime.register_transform(api_service::ApiServiceMode);
    runtime.register_transform(SystemServices::new(machine));
    runtime.register_transform(kernel_params::KernelParams::new(machine.capabilities));
    runtime.register(kernel_params_apply::KernelParamsApply::new(corten_sys::Kernel));
    runtime.register(cri_files::CriFiles::new(machine.restrict_oom_score));
    runtime.register(facts::SystemFacts::new(machine.platform, arguments));
    runtime.register(system_information::SmbiosTables { own_firmware: machine.capabilities.power });
    runtime.register(image_cache::ImageCacheVolume::new(machine.capabilities.disks));
    if machine.capabilities.modules {
        runtime.register_transform(kernel_modules::KernelModulesFromConfig);
        runtime.register(kernel_modules_load::KernelModulesLoad::new());
    }
}
