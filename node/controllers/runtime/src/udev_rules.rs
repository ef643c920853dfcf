//! Has udevd take new device rules, and apply them to the devices that are there.
//!
//!     EtcFileStatus of the rules ──▶ udevd reads them ──▶ every device tells of a change
//!
//! Rules of the configuration come after the devices were announced for the first time, and may change at any time.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use corten_base::fs::{Durability, write_atomic};
use corten_base::{blocking, paths};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::files::EtcFileStatus;
use corten_supervisor::Client;
use corten_sys::signal::number;

use crate::etc_config::UDEV_RULES;

/// Time that udevd has to read its rules again before devices tell of a change.
const READING: Duration = Duration::from_secs(1);
/// Writing to every device takes this long at most.
const DEADLINE: Duration = Duration::from_secs(60);
/// Folders below each other in sysfs.
const DEPTH_MAX: usize = 32;

/// What may be done to udevd and devices.
pub trait Udev: Send + Sync + 'static {
    /// Has udevd read its rules again.
    fn reload(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + '_>>;
    /// Has every device tell of a change.
    fn announce(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + '_>>;
}

/// udevd as a process of init, and the kernel's devices.
#[derive(Debug)]
pub struct MachineUdev(pub Client);

impl Udev for MachineUdev {
    fn reload(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + '_>> {
        Box::pin(async {
            self.0.signal("udevd", number::HANGUP).await.context("udevd was not told of new rules")
        })
    }

    fn announce(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + '_>> {
        Box::pin(async { Ok(blocking(DEADLINE, || announce(Path::new("/sys/devices"), DEPTH_MAX)).await?) })
    }
}

/// Writes to the `uevent` of every device below a folder. Devices come and go while this runs.
fn announce(folder: &Path, depth: usize) {
    // Opened without creating: a folder that is no device has no such file.
    let event = fs::OpenOptions::new().write(true).open(folder.join("uevent"));
    // A device that refuses is passed over.
    let _ = event.and_then(|mut event| event.write_all(b"change"));
    let Some(depth) = depth.checked_sub(1) else { return };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        announce(&entry.path(), depth);
    }
}

/// Follows the rules.
pub struct UdevRules {
    udev: Box<dyn Udev>,
    marker: PathBuf,
}

controller!(UdevRules, "runtime.UdevRules", inputs: [weak EtcFileStatus], outputs: []);

impl UdevRules {
    /// Over this udevd; what it was told is kept in a file, for a machined that comes later in the same boot.
    pub fn new(udev: impl Udev) -> Self {
        Self { udev: Box::new(udev), marker: Path::new(paths::RUN).join("machined/udev-rules") }
    }
}

/// How far udevd has come with a version of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing but the rules of the image.
    Nothing,
    /// It was told to read them.
    Reload {
        /// Version of the file; empty when it was taken away.
        version: String,
        /// When.
        at: SystemTime,
    },
    /// The devices have told of a change since.
    Announced {
        /// Version of the file; empty when it was taken away.
        version: String,
    },
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Tell udevd of this version.
    Reload(String),
    /// Have the devices tell of a change.
    Announce(String),
}

impl Driver for UdevRules {
    type Observed = Told;
    type Op = Step;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Told> {
        let Ok(text) = fs::read_to_string(&self.marker) else { return Ok(Told::Nothing) };
        let at = self.marker.metadata()?.modified()?;
        Ok(match text.split_once(' ') {
            Some(("announced", version)) => Told::Announced { version: version.to_owned() },
            Some((_, version)) => Told::Reload { version: version.to_owned(), at },
            None => Told::Nothing,
        })
    }

    fn plan(&self, view: &View<Self>, told: &Told) -> Plan<Self, Step> {
        let file = view.get::<EtcFileStatus>(UDEV_RULES);
        let wanted = file.map(|file| file.spec.spec_version.clone()).unwrap_or_default();
        let mut plan = Plan::new();
        match told {
            Told::Nothing if wanted.is_empty() => {}
            Told::Announced { version } if *version == wanted => {}
            Told::Reload { version, at } if *version == wanted => {
                // A clock that was set back meanwhile counts as time enough.
                let waited = view.now().duration_since(*at).unwrap_or(READING);
                if waited < READING {
                    return plan.waiting("udevd to read its rules").again_in(READING - waited);
                }
                plan.op(Step::Announce(wanted));
            }
            _ => {
                plan.op(Step::Reload(wanted));
            }
        }
        plan
    }

    async fn apply(&mut self, op: Step) -> anyhow::Result<()> {
        let text = match op {
            Step::Reload(version) => {
                self.udev.reload().await?;
                format!("reload {version}")
            }
            Step::Announce(version) => {
                self.udev.announce().await?;
                format!("announced {version}")
            }
        };
        write_atomic(&self.marker, text.as_bytes(), 0o600, Durability::Volatile)
            .with_context(|| format!("cannot write {}", self.marker.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_resource::testing::resource;
    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Recording(Arc<Mutex<Vec<&'static str>>>);

    impl Udev for Recording {
        fn reload(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + '_>> {
            self.0.lock().push("reload");
            Box::pin(std::future::ready(Ok(())))
        }
        fn announce(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + '_>> {
            self.0.lock().push("announce");
            Box::pin(std::future::ready(Ok(())))
        }
    }

    /// Observes, plans and applies until there is nothing to do; a wait is waited for by moving the time on.
    async fn settle(rules: &mut UdevRules, version: Option<&str>) {
        let status =
            version.map(|version| resource(UDEV_RULES, EtcFileStatus { spec_version: version.to_owned() }));
        for _ in 0..6 {
            let now = corten_base::Clock::system().now() + READING;
            let view = View::of(status.clone(), now);
            let told = rules.observe(&view).await.expect("a marker");
            let plan = rules.plan(&view, &told);
            let Some(op) = plan.ops().first().cloned() else { return };
            rules.apply(op).await.expect("applied");
        }
        panic!("it does not settle");
    }

    #[tokio::test]
    async fn new_rules_are_read_and_then_applied_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let udev = Recording::default();
        let mut rules = UdevRules { udev: Box::new(udev.clone()), marker: folder.path().join("udev-rules") };
        settle(&mut rules, None).await;
        assert!(udev.0.lock().is_empty(), "a machine without rules leaves udevd alone");
        settle(&mut rules, Some("1")).await;
        settle(&mut rules, Some("1")).await;
        assert_eq!(*udev.0.lock(), ["reload", "announce"]);
        settle(&mut rules, Some("2")).await;
        settle(&mut rules, None).await;
        assert_eq!(udev.0.lock().len(), 6, "changed, and taken away");
    }

    #[test]
    fn devices_wait_until_the_rules_can_have_been_read() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let status = resource(UDEV_RULES, EtcFileStatus { spec_version: "1".into() });
        let rules = UdevRules { udev: Box::new(Recording::default()), marker: PathBuf::new() };
        let told = Told::Reload { version: "1".into(), at };
        let early = rules.plan(&View::of([status.clone()], at + READING / 2), &told);
        assert!(early.ops().is_empty());
        let late = rules.plan(&View::of([status], at + READING), &told);
        assert_eq!(late.ops(), [Step::Announce("1".into())]);
    }

    #[test]
    fn every_device_is_told_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("pci0/usb1");
        fs::create_dir_all(&deep).expect("folders");
        for place in [folder.path(), &deep] {
            fs::write(place.join("uevent"), "").expect("a device");
        }
        announce(folder.path(), DEPTH_MAX);
        for place in [folder.path(), &deep] {
            assert_eq!(fs::read_to_string(place.join("uevent")).expect("told"), "change");
        }
        assert!(!folder.path().join("pci0/uevent").exists(), "a folder that is no device");
    }
}
