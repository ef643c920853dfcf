//! Names of what a factory makes of a schematic (fleet.md 11.2), and the key under which a medium is stored.
//!
//! ```text
//! kernel-<arch>   initramfs-<arch>.xz   cmdline-<target>   <target>.iso   <target>-uki.efi
//! <target>.<raw|qcow2|vhd|ova>[.tar.gz|.gz|.xz|.zst]       [<platform>-]installer-<arch>[-secureboot].tar
//!
//! target: <platform>-<arch>[-secureboot]                   container image: [<platform>-]installer[-secureboot]
//! ```

use std::fmt;
use std::str::FromStr;

use corten_base::Arch;
use sha2::{Digest as _, Sha256};

/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest name of a platform, bytes.
const PLATFORM_BYTES_MAX: usize = 32;
/// How a name says that it is for Secure Boot.
const SECUREBOOT: &str = "-secureboot";
/// What installers are called.
const INSTALLER: &str = "installer";

/// A text that is no name of what a factory makes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not known; expected {expected}")]
pub struct AssetError {
    /// The text, or its beginning.
    pub name: String,
    /// What would be right.
    pub expected: &'static str,
}

impl AssetError {
    fn new(name: &str, expected: &'static str) -> Self {
        Self { name: name.chars().take(NAME_BYTES_MAX).collect(), expected }
    }
}

/// A platform that an image is made for, such as `metal`, `aws` or `digital-ocean`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform(String);

impl Platform {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn read(text: &str) -> Option<Self> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_name = (1..=PLATFORM_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_known);
        (is_name && !text.starts_with('-') && !text.ends_with('-')).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Platform {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, AssetError> {
        let expected = "the name of a platform, letters, digits and dashes, such as metal";
        Self::read(text).ok_or_else(|| AssetError::new(text, expected))
    }
}

/// What kind of machine an image is for; also the name of its iPXE script.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Platform.
    pub platform: Platform,
    /// Processor.
    pub arch: Arch,
    /// It is signed and boots with Secure Boot.
    pub secureboot: bool,
}

impl Target {
    fn read(text: &str) -> Option<Self> {
        let (text, secureboot) = without_secureboot(text);
        let (platform, arch) = text.rsplit_once('-')?;
        Some(Self { platform: Platform::read(platform)?, arch: read_arch(arch)?, secureboot })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}{}", self.platform, self.arch, secureboot(self.secureboot))
    }
}

impl FromStr for Target {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, AssetError> {
        let expected = "platform, processor and perhaps -secureboot, such as metal-amd64";
        Self::read(text).ok_or_else(|| AssetError::new(text, expected))
    }
}

/// Format of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskFormat {
    /// The bytes of the disk.
    Raw,
    /// QEMU.
    Qcow2,
    /// Hyper-V and Azure.
    Vhd,
    /// VMware.
    Ova,
}

impl DiskFormat {
    const ALL: [Self; 4] = [Self::Raw, Self::Qcow2, Self::Vhd, Self::Ova];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Raw => ".raw",
            Self::Qcow2 => ".qcow2",
            Self::Vhd => ".vhd",
            Self::Ova => ".ova",
        }
    }
}

/// How a disk image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A tar archive with gzip, as GCP wants it.
    TarGz,
    /// gzip.
    Gz,
    /// xz.
    Xz,
    /// Zstandard.
    Zst,
    /// Not at all.
    None,
}

impl Compression {
    /// All of them; one whose suffix ends with that of another comes before it.
    const ALL: [Self; 5] = [Self::TarGz, Self::Gz, Self::Xz, Self::Zst, Self::None];

    const fn suffix(self) -> &'static str {
        match self {
            Self::TarGz => ".tar.gz",
            Self::Gz => ".gz",
            Self::Xz => ".xz",
            Self::Zst => ".zst",
            Self::None => "",
        }
    }
}

/// A file that a factory makes of a schematic and a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asset {
    /// The kernel.
    Kernel(Arch),
    /// The initramfs.
    Initramfs(Arch),
    /// The kernel's command line, as text.
    Cmdline(Target),
    /// An ISO.
    Iso(Target),
    /// A kernel, its initramfs and command line in one EFI program.
    Uki(Target),
    /// A disk image.
    Disk(Target, DiskFormat, Compression),
    /// The container image that installs, as a tar archive.
    Installer(InstallerImage, Arch),
}

impl Asset {
    fn read(text: &str) -> Option<Self> {
        if text.len() > NAME_BYTES_MAX {
            return None;
        }
        let kernel = || text.strip_prefix("kernel-").and_then(read_arch).map(Self::Kernel);
        let initramfs = || {
            let arch = text.strip_prefix("initramfs-")?.strip_suffix(".xz")?;
            read_arch(arch).map(Self::Initramfs)
        };
        let cmdline = || text.strip_prefix("cmdline-").and_then(Target::read).map(Self::Cmdline);
        let iso = || text.strip_suffix(".iso").and_then(Target::read).map(Self::Iso);
        let uki = || text.strip_suffix("-uki.efi").and_then(Target::read).map(Self::Uki);
        let installer = || {
            let (text, secureboot) = without_secureboot(text.strip_suffix(".tar")?);
            let (name, arch) = text.rsplit_once('-')?;
            let platform = read_installer(name)?;
            Some(Self::Installer(InstallerImage { platform, secureboot }, read_arch(arch)?))
        };
        let known = kernel().or_else(initramfs).or_else(cmdline).or_else(iso).or_else(uki).or_else(installer);
        known.or_else(|| Self::read_disk(text))
    }

    fn read_disk(text: &str) -> Option<Self> {
        let strip = |compression: Compression| Some((text.strip_suffix(compression.suffix())?, compression));
        let (text, compression) = Compression::ALL.into_iter().find_map(strip)?;
        let strip = |format: DiskFormat| Some((text.strip_suffix(format.suffix())?, format));
        let (text, format) = DiskFormat::ALL.into_iter().find_map(strip)?;
        Some(Self::Disk(Target::read(text)?, format, compression))
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(arch) => write!(f, "kernel-{arch}"),
            Self::Initramfs(arch) => write!(f, "initramfs-{arch}.xz"),
            Self::Cmdline(target) => write!(f, "cmdline-{target}"),
            Self::Iso(target) => write!(f, "{target}.iso"),
            Self::Uki(target) => write!(f, "{target}-uki.efi"),
            Self::Disk(target, format, compression) => {
                write!(f, "{target}{}{}", format.suffix(), compression.suffix())
            }
            Self::Installer(image, arch) => {
                image.write_name(f)?;
                write!(f, "-{arch}{}.tar", secureboot(image.secureboot))
            }
        }
    }
}

impl FromStr for Asset {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, AssetError> {
        let expected = "a file of an image, such as metal-amd64.iso, metal-arm64.raw.zst or kernel-amd64";
        Self::read(text).ok_or_else(|| AssetError::new(text, expected))
    }
}

/// Name of the container image that installs: the repository between host and schematic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstallerImage {
    /// Platform; versions before 1.10 have one for all.
    pub platform: Option<Platform>,
    /// It is signed and boots with Secure Boot.
    pub secureboot: bool,
}

impl InstallerImage {
    fn write_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(platform) = &self.platform {
            write!(f, "{platform}-")?;
        }
        f.write_str(INSTALLER)
    }
}

impl fmt::Display for InstallerImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_name(f)?;
        f.write_str(secureboot(self.secureboot))
    }
}

impl FromStr for InstallerImage {
    type Err = AssetError;

    fn from_str(text: &str) -> Result<Self, AssetError> {
        let (name, secureboot) = without_secureboot(text);
        let expected = "an installer, such as metal-installer or installer-secureboot";
        let platform = read_installer(name).ok_or_else(|| AssetError::new(text, expected))?;
        Ok(Self { platform, secureboot })
    }
}

/// The platform in `[<platform>-]installer`.
fn read_installer(name: &str) -> Option<Option<Platform>> {
    match name.strip_suffix(INSTALLER)? {
        "" => Some(None),
        prefix => Platform::read(prefix.strip_suffix('-')?).map(Some),
    }
}

fn without_secureboot(text: &str) -> (&str, bool) {
    text.strip_suffix(SECUREBOOT).map_or((text, false), |text| (text, true))
}

const fn secureboot(is_secure: bool) -> &'static str {
    if is_secure { SECUREBOOT } else { "" }
}

fn read_arch(text: &str) -> Option<Arch> {
    [Arch::Amd64, Arch::Arm64].into_iter().find(|arch| arch.as_str() == text)
}

/// Key under which whoever downloads a medium may store it: the same for the same bytes (fleet.md 11.3). `prefix` is
/// the kind of address in the factory, such as `image` or `pxe`.
#[must_use]
pub fn storage_key(base_url: &str, prefix: &str, id: &str, version: &str, file: &str) -> String {
    hex::encode(Sha256::digest([base_url, prefix, id, version, file].join("\0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_printed_the_same() {
        for name in [
            "kernel-amd64",
            "initramfs-arm64.xz",
            "cmdline-metal-amd64",
            "cmdline-digital-ocean-amd64-secureboot",
            "metal-amd64.iso",
            "metal-arm64-secureboot.iso",
            "metal-amd64-secureboot-uki.efi",
            "aws-amd64.raw.xz",
            "gcp-amd64.raw.tar.gz",
            "openstack-amd64.qcow2",
            "azure-amd64.vhd.xz",
            "vmware-amd64.ova",
            "installer-amd64.tar",
            "equinixMetal-installer-arm64-secureboot.tar",
        ] {
            assert_eq!(name.parse::<Asset>().map(|asset| asset.to_string()), Ok(name.to_owned()));
        }
        for name in ["installer", "metal-installer", "installer-secureboot", "aws-installer-secureboot"] {
            assert_eq!(name.parse::<InstallerImage>().map(|image| image.to_string()), Ok(name.to_owned()));
        }
        let target = "metal-amd64-secureboot".parse::<Target>().unwrap();
        assert!(target.secureboot && target.platform.as_str() == "metal" && target.arch == Arch::Amd64);
    }

    #[test]
    fn other_names_are_refused() {
        let long = format!("{}-amd64.iso", "a".repeat(33));
        for name in [
            "",
            "kernel-s390x",
            "metal-amd64",
            "metal-amd64.img",
            "amd64.iso",
            "-amd64.iso",
            "metal-amd64-Secureboot.iso",
            "metal-rpi_generic-arm64.raw.xz",
            "../metal-amd64.iso",
            "metal-amd64.iso.sha256",
            "metal-amd64.raw.",
            "metalinstaller-amd64.tar",
            "initramfs-amd64",
            &long,
        ] {
            assert!(name.parse::<Asset>().is_err(), "{name}");
        }
        let error = "x".repeat(1000).parse::<Asset>().unwrap_err();
        assert_eq!(error.name.len(), NAME_BYTES_MAX);
    }

    #[test]
    fn a_storage_key_has_all_five_parts_joined_by_nul() {
        let key = storage_key("https://factory.talos.dev", "image", "376567", "v1.13.8", "metal-amd64.iso");
        let joined = b"https://factory.talos.dev\0image\x00376567\0v1.13.8\0metal-amd64.iso";
        assert_eq!(key, hex::encode(Sha256::digest(joined)));
        assert_ne!(storage_key("a", "b", "c", "d", "e"), storage_key("ab", "", "c", "d", "e"));
    }

    #[test]
    fn a_name_that_is_read_is_printed_the_same() {
        bolero::check!().with_type::<(String, u8)>().for_each(|(text, which)| {
            let ends = ["", "-amd64.iso", "-arm64-secureboot.raw.tar.gz", "-installer-amd64.tar", "-uki.efi"];
            let end = ends.get(usize::from(*which) % ends.len()).copied().unwrap_or_default();
            let name = format!("{text}{end}");
            if let Ok(asset) = name.parse::<Asset>() {
                assert_eq!(asset.to_string(), name);
            }
            if let Ok(image) = name.parse::<InstallerImage>() {
                assert_eq!(image.to_string(), name);
            }
        });
    }
}
