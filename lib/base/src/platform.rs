//! What kind of machine this is, decided once at start and passed on as capabilities.
//!
//! Controllers ask for a capability, never for the platform's name.

/// Where a machine runs and gets its platform data from (`talos.platform=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Namespaces of a host kernel.
    Container,
    /// Hardware, or a virtual machine without platform data.
    Metal,
    /// A virtual machine with a `cidata` volume (cloud-init's NoCloud).
    NoCloud,
}

impl Platform {
    /// The platform with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "container" => Some(Self::Container),
            "metal" => Some(Self::Metal),
            "nocloud" => Some(Self::NoCloud),
            _ => None,
        }
    }

    /// Name in `Version.platform.name`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Metal => "metal",
            Self::NoCloud => "nocloud",
        }
    }

    /// `Version.platform.mode`: one of container, metal, cloud.
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Metal => "metal",
            Self::NoCloud => "cloud",
        }
    }

    /// What software may do to the machine on this platform.
    #[must_use]
    pub const fn capabilities(self) -> Capabilities {
        let own_kernel = !matches!(self, Self::Container);
        Capabilities {
            disks: own_kernel,
            modules: own_kernel,
            clock: own_kernel,
            global_sysctls: own_kernel,
            udev: own_kernel,
            links: own_kernel,
            power: own_kernel,
        }
    }
}

/// What this machine lets us do; a container machine shares its kernel and may do little to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Volumes are partitions of disks that we manage; otherwise the host bound folders in place.
    pub disks: bool,
    /// Kernel modules may be loaded.
    pub modules: bool,
    /// The clock may be set.
    pub clock: bool,
    /// Sysctls that are not of a namespace may be set.
    pub global_sysctls: bool,
    /// Devices come and go: udevd runs.
    pub udev: bool,
    /// Links are ours to configure; otherwise the launcher addressed them and we adopt that.
    pub links: bool,
    /// Reboot and power-off are the kernel's; otherwise init exits and the launcher acts.
    pub power: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_platforms_correspond() {
        for platform in [Platform::Container, Platform::Metal, Platform::NoCloud] {
            assert_eq!(Platform::from_name(platform.name()), Some(platform));
        }
        assert_eq!(Platform::from_name("vax"), None);
        assert!(!Platform::Container.capabilities().modules);
        assert!(Platform::Metal.capabilities().disks);
    }
}
