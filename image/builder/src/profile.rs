//! What image is wanted.

use corten_base::{Arch, version};

/// Which kernel and drivers an image carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// No kernel: a root folder for machines in namespaces of a host.
    Container,
    /// Drivers of virtual machines.
    Cloud,
    /// Drivers of hardware too.
    Metal,
}

impl Flavour {
    /// The flavour with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Container, Self::Cloud, Self::Metal].into_iter().find(|flavour| flavour.name() == name)
    }

    /// Name in paths and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Cloud => "cloud",
            Self::Metal => "metal",
        }
    }

    /// Which kernel modules the root carries.
    #[must_use]
    pub const fn modules(self) -> &'static str {
        match self {
            Self::Container => "",
            Self::Cloud => include_str!("../data/modules-cloud"),
            Self::Metal => include_str!("../data/modules-metal"),
        }
    }

    /// Largest UKI that is published, in bytes.
    #[must_use]
    pub const fn uki_max(self) -> u64 {
        match self {
            Self::Container => 0,
            Self::Cloud => 90 << 20,
            Self::Metal => 125 << 20,
        }
    }

    /// Largest root image that is published, in bytes.
    #[must_use]
    pub const fn root_max(self) -> u64 {
        match self {
            Self::Container => 0,
            Self::Cloud => 75 << 20,
            Self::Metal => 110 << 20,
        }
    }

    /// Seconds that the boot menu waits; virtual machines have nobody who looks.
    #[must_use]
    pub const fn menu_seconds(self) -> u32 {
        match self {
            Self::Container | Self::Cloud => 0,
            Self::Metal => 10,
        }
    }
}

/// Everything that decides an image besides its parts.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Processor architecture.
    pub arch: Arch,
    /// Kernel and drivers.
    pub flavour: Flavour,
    /// `talos.platform=`.
    pub platform: String,
    /// Kernel arguments after ours.
    pub extra_arguments: Vec<String>,
    /// Size of the EFI system partition in MiB; three kernels of the flavour's budget must fit.
    pub esp_mib: u64,
}

impl Profile {
    /// The profile of a flavour on its usual platform.
    #[must_use]
    pub fn new(flavour: Flavour, arch: Arch) -> Self {
        let (platform, esp_mib) = match flavour {
            Flavour::Container => ("container", 0),
            Flavour::Cloud => ("metal", 512),
            Flavour::Metal => ("metal", 2101),
        };
        Self { arch, flavour, platform: platform.to_owned(), extra_arguments: Vec::new(), esp_mib }
    }

    /// The kernel command line.
    #[must_use]
    pub fn cmdline(&self) -> String {
        let mut arguments = vec![format!("talos.platform={}", self.platform)];
        arguments.extend(CONSOLES.iter().chain(HARDENING).chain(COMMON).map(|&argument| argument.to_owned()));
        arguments.extend(self.extra_arguments.iter().cloned());
        arguments.join(" ")
    }

    /// File name of the kernel on the EFI system partition.
    #[must_use]
    pub fn uki_name(&self) -> String {
        format!("Corten-{}.efi", version::CORTEN)
    }

    /// `/etc/os-release`.
    #[must_use]
    pub fn os_release(&self) -> String {
        let (name, tag, corten) = (version::NAME, version::TAG, version::CORTEN);
        format!(
            "NAME=\"{name}\"\nID=corten\nVERSION_ID={tag}\nPRETTY_NAME=\"{name} ({tag})\"\n\
             IMAGE_ID=corten\nIMAGE_VERSION={corten}\nVARIANT_ID={}\n",
            self.flavour.name()
        )
    }
}

/// The last one is where messages of init go.
const CONSOLES: &[&str] = &["console=tty0", "console=ttyS0"];

/// What the kernel self-protection project asks for on the command line.
const HARDENING: &[&str] =
    &["slab_nomerge=", "pti=on", "module.sig_enforce=1", "proc_mem.force_override=never", LSM];

/// Security modules in use. Those of Debian's list that want a policy are left out while we ship none.
const LSM: &str = "lsm=landlock,lockdown,yama,safesetid,integrity,bpf";

const COMMON: &[&str] = &["consoleblank=0", "printk.devkmsg=on", "quiet", "panic=10"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_platform_and_serial_console_and_ends_with_the_extras() {
        let mut profile = Profile::new(Flavour::Cloud, Arch::Amd64);
        profile.extra_arguments.push("siderolink.api=grpc://fleet".to_owned());
        let cmdline = profile.cmdline();
        assert!(cmdline.starts_with("talos.platform=metal "));
        assert!(cmdline.contains(" console=ttyS0 "));
        assert!(cmdline.ends_with(" siderolink.api=grpc://fleet"));
    }

    #[test]
    fn three_kernels_fit_on_the_system_partition() {
        for flavour in [Flavour::Cloud, Flavour::Metal] {
            assert!(Profile::new(flavour, Arch::Amd64).esp_mib << 20 > 3 * flavour.uki_max());
        }
    }
}
