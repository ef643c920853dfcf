//! What this machine is, as far as Kubernetes must know.

use corten_base::Capabilities;

/// Facts that decide how the kubelet and its friends are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel, its sysctls and the disk belong to a host.
    pub shares_kernel: bool,
    /// The unified cgroup hierarchy is in use.
    pub cgroup_v2: bool,
}

impl Machine {
    /// Looks at the machine we run on.
    #[must_use]
    pub fn detect(capabilities: Capabilities) -> Self {
        let cgroup_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        Self { shares_kernel: !capabilities.global_sysctls, cgroup_v2 }
    }
}
