//! What is made of a schematic under a name, or why it is not.
//!
//! ```text
//! Asset, Schematic ─▶ Order: medium, packed or not, for which machines, with what ─▶ image_builder::media::plan
//! ```

use std::collections::BTreeMap;

use corten_base::Arch;
use corten_fleet_schematic::{
    Asset, Bootloader, Compression, Customization, DiskFormat, Overlay, Schematic, SecureBoot, Target,
};
use corten_image_builder::media::{Additions, Medium};

use crate::trouble::Cause;

/// What is made here.
const NAMES: &str = "kernel-ARCH, initramfs-ARCH.xz, cmdline-PLATFORM-ARCH, PLATFORM-ARCH-uki.efi, \
                     PLATFORM-ARCH.iso, PLATFORM-ARCH.raw and PLATFORM-ARCH.raw.xz";
/// Bytes of a sector of our disks.
const SECTOR: u32 = 512;

/// A medium to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// What it is.
    pub medium: Medium,
    /// It is packed with xz.
    pub is_packed: bool,
    /// Processor.
    pub arch: Arch,
    /// Platform; none where it makes no difference.
    pub platform: Option<String>,
    /// What the schematic adds.
    pub additions: Additions,
}

/// The order for a file of a schematic.
///
/// # Errors
/// When no such file is made here, or the schematic wants what images here do not have.
pub(crate) fn order(asset: &Asset, schematic: &Schematic) -> Result<Order, Cause> {
    able(schematic)?;
    let (medium, is_packed) = match asset {
        Asset::Kernel(_) => (Medium::Kernel, false),
        Asset::Initramfs(_) => (Medium::Initramfs, true),
        Asset::Cmdline(_) => (Medium::CommandLine, false),
        Asset::Iso(_) => (Medium::Iso, false),
        Asset::Uki(_) => (Medium::Uki, false),
        Asset::Disk(_, DiskFormat::Raw, Compression::None) => (Medium::Disk, false),
        Asset::Disk(_, DiskFormat::Raw, Compression::Xz) => (Medium::Disk, true),
        Asset::Disk(..) | Asset::Installer(..) => {
            return Err(Cause::Name(format!("{asset} is not made here; there are {NAMES}")));
        }
    };
    let (arch, platform) = match asset {
        Asset::Kernel(arch) | Asset::Initramfs(arch) | Asset::Installer(_, arch) => (*arch, None),
        Asset::Cmdline(target) | Asset::Iso(target) | Asset::Uki(target) | Asset::Disk(target, ..) => {
            (target.arch, Some(platform(target)?))
        }
    };
    let custom = &schematic.customization;
    let meta = custom.meta.iter().map(|value| (value.key, value.value.clone().into_bytes()));
    let additions =
        Additions { arguments: custom.extra_kernel_args.clone(), meta: meta.collect::<BTreeMap<_, _>>() };
    Ok(Order { medium, is_packed, arch, platform, additions })
}

/// The order for what a machine needs that boots from the network: its command line.
///
/// # Errors
/// As of [`order`].
pub(crate) fn network_boot(target: &Target, schematic: &Schematic) -> Result<Order, Cause> {
    order(&Asset::Cmdline(target.clone()), schematic)
}

fn platform(target: &Target) -> Result<String, Cause> {
    if target.secureboot {
        let text = "images here are not signed, so there is nothing for Secure Boot; leave -secureboot out";
        return Err(Cause::Unable(text.to_owned()));
    }
    Ok(target.platform.to_string())
}

/// Whether images here can have what a schematic wants.
///
/// # Errors
/// With everything that they cannot have.
pub(crate) fn able(schematic: &Schematic) -> Result<(), Cause> {
    let Schematic { owner, overlay, customization } = schematic;
    let Customization { official_extensions, bootloader, secure_boot, sector_size, .. } = customization;
    let wishes = [
        (!official_extensions.is_empty(), format!("system extensions ({})", official_extensions.join(", "))),
        (*overlay != Overlay::default(), format!("overlays for boards ({})", overlay.name)),
        (matches!(bootloader, Bootloader::Grub | Bootloader::DualBoot), "GRUB".to_owned()),
        (*secure_boot != SecureBoot::default(), "settings of Secure Boot".to_owned()),
        (![0, SECTOR].contains(sector_size), format!("sectors of {sector_size} bytes")),
        (!owner.is_empty(), "owners".to_owned()),
        (
            !customization.embedded_machine_configuration.is_empty(),
            "an embedded machine configuration".to_owned(),
        ),
    ];
    let wished = wishes.into_iter().filter(|(is_wished, _)| *is_wished).map(|(_, what)| what);
    let missing = wished.collect::<Vec<String>>().join(", ");
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!("images that this manager makes have no {missing}; leave it out of the schematic");
    Err(Cause::Unable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schematic(text: &str) -> Schematic {
        Schematic::parse(text).expect("a schematic")
    }

    fn ordered(name: &str, text: &str) -> Result<Order, String> {
        let asset: Asset = name.parse().expect("a name");
        order(&asset, &schematic(text)).map_err(|cause| cause.to_string())
    }

    #[test]
    fn names_lead_to_media() {
        let text = "customization: {extraKernelArgs: [a=b], meta: [{key: 12, value: x}]}";
        for (name, medium, is_packed, platform) in [
            ("kernel-amd64", Medium::Kernel, false, None),
            ("initramfs-arm64.xz", Medium::Initramfs, true, None),
            ("cmdline-metal-amd64", Medium::CommandLine, false, Some("metal")),
            ("metal-amd64-uki.efi", Medium::Uki, false, Some("metal")),
            ("metal-amd64.iso", Medium::Iso, false, Some("metal")),
            ("nocloud-amd64.raw", Medium::Disk, false, Some("nocloud")),
            ("metal-amd64.raw.xz", Medium::Disk, true, Some("metal")),
        ] {
            let order = ordered(name, text).expect(name);
            assert_eq!((order.medium, order.is_packed), (medium, is_packed), "{name}");
            assert_eq!(order.platform.as_deref(), platform, "{name}");
            assert_eq!(order.additions.arguments, ["a=b"]);
            assert_eq!(order.additions.meta[&12], b"x");
        }
    }

    #[test]
    fn what_is_not_made_here_is_refused_by_name() {
        let plain = "customization: {}";
        for (name, text, message) in [
            ("metal-amd64.qcow2", plain, "metal-amd64.qcow2 is not made here; there are kernel-ARCH"),
            ("installer-amd64.tar", plain, "installer-amd64.tar is not made here"),
            ("metal-amd64-secureboot.iso", plain, "leave -secureboot out"),
            (
                "metal-amd64.iso",
                "customization: {bootloader: grub, systemExtensions: {officialExtensions: [a/b]}}",
                "have no system extensions (a/b), GRUB; leave it out",
            ),
            ("kernel-amd64", "overlay: {name: rpi, image: x}", "overlays for boards (rpi)"),
            ("kernel-amd64", "customization: {diskImage: {sectorSize: 4096}}", "sectors of 4096 bytes"),
            ("kernel-amd64", "customization: {embeddedMachineConfiguration: a}", "an embedded machine"),
        ] {
            let error = ordered(name, text).expect_err(name);
            assert!(error.contains(message), "{error}");
        }
        let usual = "customization: {bootloader: sd-boot, diskImage: {sectorSize: 512}}";
        assert!(ordered("kernel-amd64", usual).is_ok());
    }
}
