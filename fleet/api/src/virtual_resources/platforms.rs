//! What the operating system runs on: clouds, bare metal and boards, and the media that follow from it.
//!
//! ```text
//! CLOUDS, BARE_METAL ─▶ CloudPlatformConfig, MetalPlatformConfig ─┐
//! BOARDS ─▶ SbcConfig ────────────────────────────────────────────┴▶ InstallationMedia (fleet.md 3.10), for old clients
//! ```
//!
//! The tables say what there are images for; whether an image factory makes one, it says itself when it is asked. Names,
//! processors, suffixes and versions are those of Talos. The id of a medium is the name of its file, such as
//! `metal-amd64.iso`; that of a board's medium begins with the board.

use corten_fleet_resources::system::InstallationMedia;
use corten_fleet_resources::views::{
    Architecture, BootMethod, CloudPlatformConfig, MetalPlatformConfig, SbcConfig,
};

use Architecture::{Amd64, Arm64};
use BootMethod::{DiskImage, Iso, Pxe};

/// Id of bare metal.
pub const METAL: &str = "metal";
/// End of the files of ISO images.
const ISO: &str = "iso";
/// End of the files of images for boards.
const BOARD_SUFFIX: &str = "raw.xz";

const BOTH: &[Architecture] = &[Amd64, Arm64];
const INTEL: &[Architecture] = &[Amd64];
const DISK: &[BootMethod] = &[DiskImage];
const DISK_OR_ISO: &[BootMethod] = &[DiskImage, Iso];
const EVERY_WAY: &[BootMethod] = &[Iso, DiskImage, Pxe];

/// A kind of machine.
struct Platform {
    id: &'static str,
    label: &'static str,
    description: &'static str,
    architectures: &'static [Architecture],
    /// End of its disk images; empty if there are none.
    suffix: &'static str,
    boots: &'static [BootMethod],
    /// Oldest version; empty for every one that the manager works with.
    since: &'static str,
    has_secure_boot: bool,
}

/// A platform that boots from disk images alone, which all versions support.
const fn cloud_of(
    id: &'static str,
    label: &'static str,
    architectures: &'static [Architecture],
    suffix: &'static str,
) -> Platform {
    Platform {
        id,
        label,
        description: "Virtual machines, from an image of their disk",
        architectures,
        suffix,
        boots: DISK,
        since: "",
        has_secure_boot: false,
    }
}

static BARE_METAL: Platform = Platform {
    description: "Computers and virtual machines without a cloud",
    boots: EVERY_WAY,
    has_secure_boot: true,
    ..cloud_of(METAL, "Bare metal", BOTH, "raw.zst")
};

/// Sorted by id.
static CLOUDS: [Platform; 17] = [
    Platform { since: "1.7.0", ..cloud_of("akamai", "Akamai", INTEL, "raw.gz") },
    cloud_of("aws", "Amazon Web Services (AWS)", BOTH, "raw.xz"),
    cloud_of("azure", "Microsoft Azure", BOTH, "vhd.xz"),
    Platform {
        since: "1.8.0",
        has_secure_boot: true,
        ..cloud_of("cloudstack", "Apache CloudStack", BOTH, "raw.gz")
    },
    cloud_of("digital-ocean", "DigitalOcean", INTEL, "raw.gz"),
    Platform {
        description: "Rented computers, booted over the network",
        boots: &[Pxe],
        ..cloud_of("equinixMetal", "Equinix Metal", BOTH, "")
    },
    Platform { since: "1.3.0", ..cloud_of("exoscale", "Exoscale", BOTH, "qcow2") },
    cloud_of("gcp", "Google Cloud (GCP)", BOTH, "raw.tar.gz"),
    cloud_of("hcloud", "Hetzner Cloud", INTEL, "raw.xz"),
    Platform {
        description: "Virtual machines with cloud-init's NoCloud data, as Proxmox makes them",
        boots: EVERY_WAY,
        has_secure_boot: true,
        ..cloud_of("nocloud", "NoCloud", BOTH, "raw.xz")
    },
    Platform { since: "1.7.0", boots: DISK_OR_ISO, ..cloud_of("opennebula", "OpenNebula", BOTH, "raw.zst") },
    Platform { boots: EVERY_WAY, ..cloud_of("openstack", "OpenStack", BOTH, "raw.xz") },
    cloud_of("oracle", "Oracle Cloud", BOTH, "qcow2"),
    Platform { boots: DISK_OR_ISO, ..cloud_of("scaleway", "Scaleway", BOTH, "raw.zst") },
    cloud_of("upcloud", "UpCloud", INTEL, "raw.xz"),
    Platform { boots: DISK_OR_ISO, ..cloud_of("vmware", "VMware", BOTH, "ova") },
    Platform {
        description: "Virtual machines, from an ISO image or over the network",
        boots: &[Iso, Pxe],
        ..cloud_of("vultr", "Vultr", INTEL, "")
    },
];

const ALLWINNER: &str = "siderolabs/sbc-allwinner";
const JETSON: &str = "siderolabs/sbc-jetson";
const RASPBERRY: &str = "siderolabs/sbc-raspberrypi";
const ROCKCHIP: &str = "siderolabs/sbc-rockchip";

/// Id, name, overlay, image of the overlay, and the oldest version; sorted by id.
static BOARDS: [(&str, &str, &str, &str, &str); 29] = [
    ("bananapi_m64", "Banana Pi M64", "bananapi_m64", ALLWINNER, ""),
    ("friendlyelec-cm3588-nas", "FriendlyELEC CM3588 NAS", "friendlyelec-cm3588-nas", ROCKCHIP, "1.13.0"),
    ("helios64", "Kobol Helios64", "helios64", ROCKCHIP, "1.8.0"),
    ("jetson_nano", "Jetson Nano", "jetson_nano", JETSON, ""),
    ("libretech_all_h3_cc_h5", "Libre Computer ALL-H3-CC", "libretech_all_h3_cc_h5", ALLWINNER, ""),
    ("nanopi_r4s", "FriendlyELEC NanoPi R4S", "nanopi-r4s", ROCKCHIP, "1.3.0"),
    ("nanopi_r5s", "FriendlyELEC NanoPi R5S", "nanopi-r5s", ROCKCHIP, "1.8.0"),
    ("odroid-m1", "ODROID-M1", "odroid-m1", ROCKCHIP, "1.12.0"),
    ("orangepi-5", "Orange Pi 5", "orangepi-5", ROCKCHIP, "1.9.2"),
    ("orangepi-5-max", "Orange Pi 5 Max", "orangepi-5-max", ROCKCHIP, "1.12.0"),
    ("orangepi-5-plus", "Orange Pi 5 Plus", "orangepi-5-plus", ROCKCHIP, "1.10.0"),
    ("orangepi_r1_plus_lts", "Orange Pi R1 Plus LTS", "orangepi-r1-plus-lts", ROCKCHIP, "1.7.0"),
    ("pine64", "Pine64", "pine64", ALLWINNER, ""),
    ("radxa-zero-3e", "Radxa ZERO 3E", "radxa-zero-3e", ROCKCHIP, "1.12.0"),
    ("revpi_generic", "Revolution Pi", "revpi_generic", RASPBERRY, "1.10.0"),
    ("rock3b", "Radxa ROCK 3B", "rock3b", ROCKCHIP, "1.12.0"),
    ("rock4cplus", "Radxa ROCK 4C+", "rock4cplus", ROCKCHIP, "1.7.0"),
    ("rock4se", "Radxa ROCK 4SE", "rock4se", ROCKCHIP, "1.8.0"),
    ("rock5a", "Radxa ROCK 5A", "rock5a", ROCKCHIP, "1.10.0"),
    ("rock5b", "Radxa ROCK 5B", "rock5b", ROCKCHIP, "1.9.2"),
    ("rock5b-plus", "Radxa ROCK 5B+", "rock5b-plus", ROCKCHIP, "1.13.0"),
    ("rock5t", "Radxa ROCK 5T", "rock5t", ROCKCHIP, "1.12.0"),
    ("rock64", "Pine64 Rock64", "rock64", ROCKCHIP, ""),
    ("rockpi_4", "Radxa ROCK Pi 4", "rockpi4", ROCKCHIP, ""),
    ("rockpi_4c", "Radxa ROCK Pi 4C", "rockpi4c", ROCKCHIP, ""),
    ("rockpro64", "Pine64 RockPro64", "rockpro64", ROCKCHIP, "1.10.0"),
    ("rpi_5", "Raspberry Pi 5", "rpi_5", RASPBERRY, "1.12.3"),
    ("rpi_generic", "Raspberry Pi", "rpi_generic", RASPBERRY, ""),
    ("turingrk1", "Turing RK1", "turingrk1", ROCKCHIP, "1.9.0"),
];

/// A cloud.
pub(super) fn cloud(id: &str) -> Option<CloudPlatformConfig> {
    let platform = CLOUDS.iter().find(|platform| platform.id == id)?;
    Some(CloudPlatformConfig {
        label: platform.label.to_owned(),
        description: platform.description.to_owned(),
        architectures: platform.architectures.to_vec(),
        documentation: String::new(),
        disk_image_suffix: platform.suffix.to_owned(),
        boot_methods: platform.boots.to_vec(),
        min_version: platform.since.to_owned(),
        secure_boot_supported: platform.has_secure_boot,
    })
}

/// Ids of the clouds.
pub(super) fn clouds() -> Vec<String> {
    CLOUDS.iter().map(|platform| platform.id.to_owned()).collect()
}

/// Bare metal.
pub(super) fn metal() -> MetalPlatformConfig {
    MetalPlatformConfig {
        label: BARE_METAL.label.to_owned(),
        description: BARE_METAL.description.to_owned(),
        architectures: BARE_METAL.architectures.to_vec(),
        documentation: String::new(),
        disk_image_suffix: BARE_METAL.suffix.to_owned(),
        boot_methods: BARE_METAL.boots.to_vec(),
        min_version: BARE_METAL.since.to_owned(),
        secure_boot_supported: BARE_METAL.has_secure_boot,
    }
}

/// A board by its id.
#[must_use]
pub fn board(id: &str) -> Option<SbcConfig> {
    let (_, label, overlay, image, since) = BOARDS.iter().find(|(known, ..)| *known == id)?;
    Some(SbcConfig {
        label: (*label).to_owned(),
        overlay_name: (*overlay).to_owned(),
        overlay_image: (*image).to_owned(),
        documentation: String::new(),
        min_version: (*since).to_owned(),
    })
}

/// Ids of the boards.
pub(super) fn boards() -> Vec<String> {
    BOARDS.iter().map(|(id, ..)| (*id).to_owned()).collect()
}

/// A medium by its id.
pub(super) fn medium(id: &str) -> Option<InstallationMedia> {
    all_media().find(|(known, _)| known == id).map(|(_, medium)| medium)
}

/// Ids of the media.
pub(super) fn media() -> Vec<String> {
    all_media().map(|(id, _)| id).collect()
}

/// The board whose medium has this id; none if it is no board's.
#[must_use]
pub fn board_of_medium(id: &str) -> Option<SbcConfig> {
    let (id, _) = id.split_once("-arm64.")?;
    board(id)
}

/// Every medium with its id.
fn all_media() -> impl Iterator<Item = (String, InstallationMedia)> {
    let platforms = std::iter::once(&BARE_METAL).chain(&CLOUDS).flat_map(media_of);
    platforms.chain(BOARDS.iter().map(|(id, label, overlay, _, since)| {
        let medium = InstallationMedia {
            name: (*label).to_owned(),
            profile: (*id).to_owned(),
            overlay: (*overlay).to_owned(),
            no_secure_boot: true,
            min_talos_version: (*since).to_owned(),
            ..file(id, Arm64, BOARD_SUFFIX)
        };
        (format!("{id}-arm64.{BOARD_SUFFIX}"), medium)
    }))
}

/// The files of a platform. Old clients find an ISO image of bare metal by that word in its name.
fn media_of(platform: &'static Platform) -> Vec<(String, InstallationMedia)> {
    let (is_metal, has_iso) = (platform.id == METAL, platform.boots.contains(&Iso));
    let disk = Some(platform.suffix).filter(|suffix| !suffix.is_empty());
    // A cloud with images of disks is not booted from an ISO image by those who read this list.
    let iso = Some(ISO).filter(|_| has_iso && (is_metal || disk.is_none()));
    let mut all = Vec::new();
    for architecture in platform.architectures {
        for extension in iso.iter().chain(&disk) {
            let word = word(*architecture);
            let name = match (is_metal, *extension == ISO) {
                (true, true) => format!("ISO ({word})"),
                (true, false) => format!("Disk image ({word})"),
                (false, _) => format!("{} ({word})", platform.label),
            };
            let medium = InstallationMedia {
                name,
                profile: platform.id.to_owned(),
                no_secure_boot: !platform.has_secure_boot,
                min_talos_version: platform.since.to_owned(),
                ..file(platform.id, *architecture, extension)
            };
            all.push((format!("{}-{word}.{extension}", platform.id), medium));
        }
    }
    all
}

/// What media have in common.
fn file(prefix: &str, architecture: Architecture, extension: &str) -> InstallationMedia {
    let word = word(architecture);
    let content = if extension == ISO { "application/x-iso9660-image" } else { "application/octet-stream" };
    InstallationMedia {
        architecture: word.to_owned(),
        content_type: content.to_owned(),
        src_file_prefix: format!("{prefix}-{word}"),
        dest_file_prefix: format!("{prefix}-{word}"),
        extension: extension.to_owned(),
        ..InstallationMedia::default()
    }
}

const fn word(architecture: Architecture) -> &'static str {
    match architecture {
        Arm64 => "arm64",
        Amd64 | Architecture::Unknown => "amd64",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_sorted_and_each_row_can_be_booted() {
        assert!(clouds().is_sorted() && boards().is_sorted());
        for platform in &CLOUDS {
            let has_disk = platform.boots.contains(&DiskImage);
            assert_eq!(has_disk, !platform.suffix.is_empty(), "{}", platform.id);
            assert!(platform.since.is_empty() || semver::Version::parse(platform.since).is_ok());
        }
    }

    #[test]
    fn old_clients_find_one_iso_for_each_processor() {
        for architecture in ["amd64", "arm64"] {
            let isos = all_media().filter(|(_, medium)| {
                medium.architecture == architecture && medium.name.to_lowercase().contains(ISO)
            });
            let ids: Vec<String> = isos.map(|(id, _)| id).collect();
            assert_eq!(ids, [format!("metal-{architecture}.iso")]);
        }
    }

    #[test]
    fn media_have_ids_of_their_own_and_those_of_boards_lead_to_them() {
        let all: Vec<String> = media();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        let pi = medium("rpi_generic-arm64.raw.xz").expect("a medium");
        assert_eq!((pi.overlay.as_str(), pi.no_secure_boot), ("rpi_generic", true));
        let board = board_of_medium("nanopi_r4s-arm64.raw.xz").expect("a board");
        assert_eq!(board.overlay_name, "nanopi-r4s");
        assert_eq!(board_of_medium("aws-arm64.raw.xz"), None);
        assert_eq!(medium("aws-arm64.raw.xz").expect("a medium").profile, "aws");
    }
}
