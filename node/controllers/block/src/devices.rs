//! Devices that were there before anyone listened.
//!
//!     udevd listens ─▶ every device announces itself again ─▶ udevd loads drivers and makes links ─▶ DevicesStatus
//!
//! The kernel told about the devices of the machine before udevd ran. Asking it to tell again is what loads the
//! drivers of disks and network cards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::{blocking, paths};
use corten_resource::{Driver, Plan, Transform, View, controller};
use corten_resources::runtime::DevicesStatus;
use tokio::time::Instant;

/// Id of the only status.
pub const STATUS: &str = "devices";
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// Time for the first event to reach udevd.
const FIRST_EVENT: Duration = Duration::from_millis(400);
/// A driver that hangs must not keep the others from being used.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Folders below each other in sysfs.
const DEPTH_MAX: usize = 32;

/// On a machine of a host: the devices are the host's, and ready.
pub struct HostDevices;

controller!(HostDevices, "runtime.HostDevices", inputs: [], outputs: [exclusive DevicesStatus]);

impl Transform for HostDevices {
    fn plan(&self, _: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        plan.put(STATUS, DevicesStatus { ready: true });
        plan
    }
}

/// Where udevd and the kernel are; only tests have them elsewhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// The kernel's devices.
    pub devices: PathBuf,
    /// udevd's folder.
    pub udev: PathBuf,
    /// Exists once the devices of this boot were announced.
    pub marker: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            devices: "/sys/devices".into(),
            udev: "/run/udev".into(),
            marker: Path::new(paths::RUN).join("machined/devices-announced"),
        }
    }
}

/// Has the devices announced once in a boot.
pub struct Devices {
    places: Places,
    announced: Option<Instant>,
}

controller!(Devices, "runtime.Devices", inputs: [], outputs: [exclusive DevicesStatus]);

impl Devices {
    /// Nothing announced yet.
    pub const fn new(places: Places) -> Self {
        Self { places, announced: None }
    }
}

/// How far udevd is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It does not run.
    NoDaemon,
    /// It runs; the devices were not announced in this boot.
    Listening,
    /// It works on events.
    Busy,
    /// It has nothing to do, or takes longer than anyone waits.
    Settled,
}

/// Announce every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce;

impl Driver for Devices {
    type Observed = Progress;
    type Op = Announce;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Progress> {
        if !self.places.marker.exists() {
            let listens = self.places.udev.join("control").exists();
            return Ok(if listens { Progress::Listening } else { Progress::NoDaemon });
        }
        let waited = self.announced.map_or(SETTLE_MAX, |since| since.elapsed());
        let has_events = self.places.udev.join("queue").exists() || waited < FIRST_EVENT;
        Ok(if has_events && waited < SETTLE_MAX { Progress::Busy } else { Progress::Settled })
    }

    fn plan(&self, _: &View<Self>, progress: &Progress) -> Plan<Self, Announce> {
        let mut plan = Plan::new();
        match progress {
            Progress::NoDaemon => plan.waiting("udevd").again_in(POLL),
            Progress::Busy => plan.waiting("udevd to settle").again_in(POLL),
            Progress::Listening => {
                plan.op(Announce);
                plan
            }
            Progress::Settled => {
                plan.put(STATUS, DevicesStatus { ready: true });
                plan
            }
        }
    }

    async fn apply(&mut self, Announce: Announce) -> anyhow::Result<()> {
        let places = self.places.clone();
        let announce = move || {
            announce_below(&places.devices, DEPTH_MAX);
            places.marker.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&places.marker, "")
        };
        blocking(DEADLINE, announce).await?.context("cannot remember that devices were announced")?;
        self.announced = Some(Instant::now());
        Ok(())
    }
}

/// Parents first, since drivers of children need those of their parents. A device that vanished meanwhile, or
/// refuses, is passed over.
fn announce_below(folder: &Path, depth: usize) {
    let event = folder.join("uevent");
    if event.exists() {
        // Opened without creating: sysfs has the file or the device is gone.
        let _ = fs::OpenOptions::new()
            .write(true)
            .open(&event)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"add"));
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            announce_below(&entry.path(), depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::TestRuntime;

    use super::*;

    #[tokio::test]
    async fn devices_are_announced_once_and_ready_when_udevd_is_idle() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places {
            devices: folder.path().join("devices"),
            udev: folder.path().join("udev"),
            marker: folder.path().join("marker"),
        };
        let event = places.devices.join("pci/virtio0/uevent");
        fs::create_dir_all(event.parent().expect("a folder")).expect("folders");
        fs::create_dir_all(&places.udev).expect("folders");
        fs::write(&event, "").expect("a file");
        let of = places.clone();
        let runtime = TestRuntime::new(corten_resources::registry(), move |runtime| {
            runtime.register(Devices::new(of));
        });
        runtime.quiet().await;
        assert_eq!(runtime.status("runtime.Devices").expect("a status").reason, "udevd");
        fs::write(places.udev.join("queue"), "").expect("a file");
        fs::write(places.udev.join("control"), "").expect("a file");
        while runtime.status("runtime.Devices").expect("a status").reason != "udevd to settle" {
            runtime.advance(POLL).await;
        }
        assert_eq!(fs::read(&event).expect("the event"), b"add");
        assert!(runtime.state().get::<DevicesStatus>(STATUS).is_none());
        fs::remove_file(places.udev.join("queue")).expect("idle");
        while runtime.state().get::<DevicesStatus>(STATUS).is_none() {
            runtime.advance(POLL).await;
        }
    }
}
