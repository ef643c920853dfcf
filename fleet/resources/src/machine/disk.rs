//! The disk that the operating system is installed on.
//!
//! ```text
//! MachineInstallDiskConfig ─┐
//! MachineStatus (disks) ────┴▶ MachineInstallDiskStatus ─▶ configuration of the machine
//! ```

use corten_resource::{Record, Resource};

/// Which disk of a machine to install on, by its UUID. Exactly one field is set; without it the manager chooses.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineInstallDiskConfigs.omni.sidero.dev", namespace = "default", message)]
pub struct MachineInstallDiskConfig {
    /// CEL expression over `disk` that is true for the wanted one.
    #[field(1, "diskselector")]
    pub disk_selector: String,
    /// Path of the device, such as `/dev/sda`.
    #[field(2, "disk")]
    pub disk: String,
}

/// The disk that was chosen for a machine, by its UUID; the system disk once it is installed.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineInstallDiskStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineInstallDiskStatus {
    /// Path of the device; empty when none fits.
    #[field(1, "disk")]
    pub disk: String,
    /// Why none fits, or why the choice is held back.
    #[field(3, "message")]
    pub message: String,
    /// Hash of the wish that was answered; configuration waits while the wish has another one.
    #[field(4, "selectionhash")]
    pub selection_hash: String,
    /// Every disk of the machine, fit or not.
    #[field(2, "disks")]
    pub disks: Vec<InstallDiskCandidate>,
}

/// A disk, and whether an operating system can be installed on it.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct InstallDiskCandidate {
    /// Path of the device.
    #[field(1, "devpath")]
    pub dev_path: String,
    /// It can be chosen.
    #[field(2, "selectable")]
    pub selectable: bool,
    /// Why it cannot: too small, read-only, optical, part of another device.
    #[field(3, "skipreason")]
    pub skip_reason: String,
    /// Paths of the devices that it is composed of, for a multipath device, an array or the like.
    #[field(4, "members")]
    pub members: Vec<String>,
}
