//! Sequences, phases and tasks as data (names as clients and their `--wait` logic know them).
//!
//! Phases run one after another, the tasks of a phase at once. What a machine cannot do because of its
//! capabilities is left out here, so that no task asks where it runs.

use corten_base::Capabilities;

/// A course of action of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// From the start of machined to a loaded configuration.
    Initialize,
    /// From a configuration to all services.
    Boot,
    /// Down and up again.
    Reboot,
    /// Down.
    Shutdown,
    /// Down, with volumes wiped, and up again.
    Reset,
    /// Down, with volumes wiped.
    ResetAndShutdown,
}

impl Sequence {
    const ALL: [Self; 6] =
        [Self::Initialize, Self::Boot, Self::Reboot, Self::Shutdown, Self::Reset, Self::ResetAndShutdown];

    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Boot => "boot",
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
            Self::Reset | Self::ResetAndShutdown => "reset",
        }
    }

    /// Key in the journal, by which each is told from all others.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ResetAndShutdown => "resetAndShutdown",
            other => other.name(),
        }
    }

    /// The sequence with this key.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sequence| sequence.key() == key)
    }

    /// Whether `next` may take over while this one runs.
    #[must_use]
    pub const fn gives_way_to(self, next: Self) -> bool {
        match self {
            // A machine in maintenance is initializing.
            Self::Initialize | Self::Boot => {
                matches!(next, Self::Reboot | Self::Reset | Self::ResetAndShutdown)
            }
            Self::Reboot | Self::Reset | Self::ResetAndShutdown => matches!(next, Self::Reboot),
            Self::Shutdown => false,
        }
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The kernel was started with the hardening arguments.
    EnforceKsppRequirements,
    /// The machine API answers on its socket.
    StartMachined,
    /// Devices are handled.
    StartUdevd,
    /// The machine API answers on the network.
    StartApid,
    /// META is read.
    ReloadMeta,
    /// A configuration is found, or applied over the API.
    LoadConfig,
    /// Enough memory.
    MemorySizeCheck,
    /// Enough disk.
    DiskSizeCheck,
    /// EPHEMERAL is mounted.
    MountEphemeralPartition,
    /// Volumes of workloads are mounted, or cannot be had.
    MountUserDisks,
    /// Files of the configuration are written.
    WriteUserFiles,
    /// Every service of the configuration is up.
    StartAllServices,
    /// Pods are stopped.
    StopAllPods,
    /// The machine is no member of etcd any more.
    LeaveEtcd,
    /// Whoever speaks of the machine to others learns that it goes.
    SendResetSignal,
    /// No service may start any more.
    DenyNewServices,
    /// Services that use EPHEMERAL are stopped.
    StopServicesForUpgrade,
    /// Mounts that kubelet made are gone.
    UnmountPodMounts,
    /// EPHEMERAL and STATE are unmounted.
    UnmountSystem,
    /// Everything is stopped.
    StopAllServices,
    /// Volumes hold nothing any more.
    WipeVolumes,
    /// init restarts the machine.
    Reboot,
    /// init switches the machine off.
    Shutdown,
}

impl Task {
    /// Name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EnforceKsppRequirements => "enforceKSPPRequirements",
            Self::StartMachined => "startMachined",
            Self::StartUdevd => "startUdevd",
            Self::StartApid => "startApid",
            Self::ReloadMeta => "reloadMeta",
            Self::LoadConfig => "loadConfig",
            Self::MemorySizeCheck => "memorySizeCheck",
            Self::DiskSizeCheck => "diskSizeCheck",
            Self::MountEphemeralPartition => "mountEphemeralPartition",
            Self::MountUserDisks => "mountUserDisks",
            Self::WriteUserFiles => "writeUserFiles",
            Self::StartAllServices => "startAllServices",
            Self::StopAllPods => "stopAllPods",
            Self::LeaveEtcd => "leaveEtcd",
            Self::SendResetSignal => "sendResetSignal",
            Self::DenyNewServices => "denyNewServices",
            Self::StopServicesForUpgrade => "stopServicesForUpgrade",
            Self::UnmountPodMounts => "unmountPodMounts",
            Self::UnmountSystem => "unmountSystem",
            Self::StopAllServices => "stopAllServices",
            Self::WipeVolumes => "resetSystemDiskPartitions",
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Tasks that run at once, under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Name in events.
    pub name: &'static str,
    /// What it does.
    pub tasks: Vec<Task>,
}

/// How a sequence was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Haste {
    /// With everything in order.
    #[default]
    Orderly,
    /// A reboot at once; a shutdown stays orderly, for there is no drain yet that it could leave out.
    Forced,
}

/// The phases of a sequence on a machine with these capabilities.
#[must_use]
pub fn phases(sequence: Sequence, haste: Haste, machine: Capabilities) -> Vec<Phase> {
    match sequence {
        Sequence::Initialize => initialize(machine),
        Sequence::Boot => boot(machine),
        Sequence::Reboot if haste == Haste::Forced => vec![phase("reboot", &[Task::Reboot])],
        Sequence::Reboot => going_down([], [phase("reboot", &[Task::Reboot])]),
        Sequence::Shutdown => going_down([], [phase("shutdown", &[Task::Shutdown])]),
        Sequence::Reset => resetting(phase("reboot", &[Task::Reboot])),
        Sequence::ResetAndShutdown => resetting(phase("shutdown", &[Task::Shutdown])),
    }
}

fn initialize(machine: Capabilities) -> Vec<Phase> {
    let mut phases = Vec::new();
    if machine.global_sysctls {
        phases.push(phase("systemRequirements", &[Task::EnforceKsppRequirements]));
    }
    if machine.udev {
        phases.push(phase("earlyServices", &[Task::StartMachined, Task::StartUdevd, Task::StartApid]));
    } else {
        phases.push(phase("machined", &[Task::StartMachined, Task::StartApid]));
    }
    phases.push(phase("meta", &[Task::ReloadMeta]));
    phases.push(phase("config", &[Task::LoadConfig]));
    phases
}

fn boot(machine: Capabilities) -> Vec<Phase> {
    let mut phases = vec![phase("memorySizeCheck", &[Task::MemorySizeCheck])];
    if machine.disks {
        phases.push(phase("diskSizeCheck", &[Task::DiskSizeCheck]));
    }
    phases.push(phase("ephemeral", &[Task::MountEphemeralPartition]));
    if machine.disks {
        phases.push(phase("userDisks", &[Task::MountUserDisks]));
    }
    phases.push(phase("userSetup", &[Task::WriteUserFiles]));
    phases.push(phase("startEverything", &[Task::StartAllServices]));
    phases
}

/// Everything in order, with what comes once the pods are gone, and what comes at the end.
fn going_down<const N: usize, const M: usize>(without_pods: [Phase; N], last: [Phase; M]) -> Vec<Phase> {
    let stop = [
        phase("denyNewServices", &[Task::DenyNewServices]),
        phase("stopServices", &[Task::StopServicesForUpgrade]),
        phase("umount", &[Task::UnmountPodMounts]),
        phase("unmountSystem", &[Task::UnmountSystem]),
        phase("stopEverything", &[Task::StopAllServices]),
    ];
    let cleanup = [phase("cleanup", &[Task::StopAllPods])];
    cleanup.into_iter().chain(without_pods).chain(stop).chain(last).collect()
}

fn resetting(last: Phase) -> Vec<Phase> {
    let without_pods = [phase("leave", &[Task::LeaveEtcd]), phase("preReset", &[Task::SendResetSignal])];
    going_down(without_pods, [phase("resetSpec", &[Task::WipeVolumes]), last])
}

fn phase(name: &'static str, tasks: &[Task]) -> Phase {
    Phase { name, tasks: tasks.to_vec() }
}

#[cfg(test)]
mod tests {
    use corten_base::Platform;

    use super::*;

    fn names(sequence: Sequence, haste: Haste, platform: Platform) -> Vec<&'static str> {
        phases(sequence, haste, platform.capabilities()).into_iter().map(|phase| phase.name).collect()
    }

    #[test]
    fn a_container_machine_leaves_out_what_belongs_to_its_host() {
        assert_eq!(
            names(Sequence::Initialize, Haste::Orderly, Platform::Container),
            ["machined", "meta", "config"]
        );
        assert_eq!(
            names(Sequence::Initialize, Haste::Orderly, Platform::Metal),
            ["systemRequirements", "earlyServices", "meta", "config"]
        );
    }

    #[test]
    fn volumes_of_workloads_are_mounted_before_anything_uses_them() {
        let boot = names(Sequence::Boot, Haste::Orderly, Platform::Metal);
        assert!(boot.ends_with(&["ephemeral", "userDisks", "userSetup", "startEverything"]), "{boot:?}");
        assert!(!names(Sequence::Boot, Haste::Orderly, Platform::Container).contains(&"userDisks"));
    }

    #[test]
    fn a_forced_reboot_only_reboots_and_a_forced_shutdown_stays_orderly() {
        assert_eq!(names(Sequence::Reboot, Haste::Forced, Platform::Metal), ["reboot"]);
        let shutdown = names(Sequence::Shutdown, Haste::Forced, Platform::Metal);
        assert_eq!(shutdown.last(), Some(&"shutdown"));
    }

    #[test]
    fn clients_find_the_task_they_wait_for() {
        for sequence in [Sequence::Reboot, Sequence::Shutdown, Sequence::Reset] {
            let phases = phases(sequence, Haste::Orderly, Platform::Metal.capabilities());
            assert!(phases.iter().any(|phase| phase.tasks.contains(&Task::StopAllServices)));
        }
    }

    #[test]
    fn a_shutdown_takes_over_from_nothing_and_gives_way_to_nothing() {
        assert!(Sequence::Boot.gives_way_to(Sequence::Reboot));
        assert!(!Sequence::Boot.gives_way_to(Sequence::Shutdown));
        assert!(!Sequence::Shutdown.gives_way_to(Sequence::Reboot));
    }

    #[test]
    fn a_reset_takes_over_from_a_machine_that_comes_up_and_gives_way_to_a_reboot_only() {
        for reset in [Sequence::Reset, Sequence::ResetAndShutdown] {
            assert!(Sequence::Initialize.gives_way_to(reset) && Sequence::Boot.gives_way_to(reset));
            assert!(!Sequence::Reboot.gives_way_to(reset) && !reset.gives_way_to(reset));
            assert!(reset.gives_way_to(Sequence::Reboot));
        }
    }

    #[test]
    fn a_reset_wipes_when_everything_is_stopped_and_unmounted_and_then_goes_down() {
        for (sequence, last) in [(Sequence::Reset, "reboot"), (Sequence::ResetAndShutdown, "shutdown")] {
            let names = names(sequence, Haste::Orderly, Platform::Container);
            assert_eq!(names[..3], ["cleanup", "leave", "preReset"]);
            assert_eq!(names[names.len() - 4..], ["unmountSystem", "stopEverything", "resetSpec", last]);
        }
    }

    #[test]
    fn every_sequence_is_found_again_by_its_key() {
        for sequence in Sequence::ALL {
            assert_eq!(Sequence::from_key(sequence.key()), Some(sequence));
        }
    }
}
