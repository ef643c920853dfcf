//! The watchdog: hardware that restarts a machine which stops telling that it is alive.
//!
//!     MachineConfig ─▶ WatchdogTimerConfig ─▶ armed, fed three times in its timeout ─▶ WatchdogTimerStatus
//!
//! machined that ends does not disarm it: the next one goes on, and without a next one the machine restarts. What is open
//! is armed, so that it is fed even when the hardware refuses the timeout that is wanted; otherwise such a document would
//! restart the machine for ever.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use corten_resource::{Driver, Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::hardware::{WatchdogTimerConfig, WatchdogTimerStatus};
use corten_sys::Kernel;
use corten_sys::watchdog::Watchdog;
use tokio::time::Instant;

use crate::configuration::view_of;

/// Times that it is fed in its timeout.
const MEALS: u32 = 3;

/// Which watchdog the configuration wants.
pub struct WatchdogFromConfig;

controller!(WatchdogFromConfig, "runtime.WatchdogFromConfig",
    inputs: [weak MachineConfig],
    outputs: [exclusive WatchdogTimerConfig]);

impl Transform for WatchdogFromConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = match view_of(view.get::<MachineConfig>(MachineConfig::ACTIVE)) {
            Ok(config) => config,
            Err(error) => return plan.failed(error),
        };
        if let Some(watchdog) = &config.hardware.watchdog {
            let (device, timeout) = (watchdog.device.clone(), watchdog.timeout);
            plan.put(WatchdogTimerConfig::ID, WatchdogTimerConfig { device, timeout });
        }
        plan
    }
}

/// A watchdog that is armed.
pub trait Timer: Send {
    /// Sets after how long a silent machine restarts.
    fn set_timeout(&self, timeout: Duration) -> anyhow::Result<()>;
    /// After how long a silent machine restarts.
    fn timeout(&self) -> anyhow::Result<Duration>;
    /// Tells that the machine is alive.
    fn feed(&self) -> anyhow::Result<()>;
    /// Disarms it.
    fn disarm(self: Box<Self>) -> anyhow::Result<()>;
}

/// What has watchdogs.
pub trait Timers: Send + Sync + 'static {
    /// Opens the watchdog with this device, which arms it.
    fn open(&self, device: &str) -> anyhow::Result<Box<dyn Timer>>;
    /// Whether it cannot be disarmed until the machine restarts.
    fn is_for_good(&self, device: &str) -> bool;
}

impl Timer for Watchdog {
    fn set_timeout(&self, timeout: Duration) -> anyhow::Result<()> {
        Ok(Self::set_timeout(self, timeout)?)
    }
    fn timeout(&self) -> anyhow::Result<Duration> {
        Ok(Self::timeout(self)?)
    }
    fn feed(&self) -> anyhow::Result<()> {
        Ok(Self::feed(self)?)
    }
    fn disarm(self: Box<Self>) -> anyhow::Result<()> {
        Ok(Self::disarm(*self)?)
    }
}

impl Timers for Kernel {
    fn open(&self, device: &str) -> anyhow::Result<Box<dyn Timer>> {
        Ok(Box::new(Watchdog::open(Path::new(device))?))
    }

    fn is_for_good(&self, device: &str) -> bool {
        let real = fs::canonicalize(device).unwrap_or_default();
        // The first one has an older name as well.
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        let name = if name == "watchdog" { "watchdog0" } else { name.as_ref() };
        let path = Path::new("/sys/class/watchdog").join(name).join("nowayout");
        fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
    }
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Arm a watchdog.
    Arm {
        /// `/dev/…`.
        device: String,
        /// After how long a silent machine restarts.
        timeout: Duration,
    },
    /// Set another timeout.
    SetTimeout(Duration),
    /// Tell that the machine is alive.
    Feed,
    /// Disarm what is armed.
    Disarm,
}

/// What is armed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// `/dev/…`.
    pub device: String,
    /// The timeout that was asked for.
    pub asked: Duration,
    /// The timeout that it has.
    pub timeout: Duration,
    /// It has not been fed for its interval.
    pub is_hungry: bool,
    /// It cannot be disarmed.
    pub is_for_good: bool,
}

struct Open {
    device: String,
    asked: Duration,
    timer: Box<dyn Timer>,
    fed: Option<Instant>,
}

/// Arms and feeds the watchdog.
pub struct WatchdogTimer<T> {
    timers: T,
    open: Option<Open>,
}

controller!(impl<T: Timers> WatchdogTimer<T>, "runtime.WatchdogTimer",
    inputs: [weak WatchdogTimerConfig],
    outputs: [exclusive WatchdogTimerStatus]);

impl<T> WatchdogTimer<T> {
    /// Nothing is armed.
    pub const fn new(timers: T) -> Self {
        Self { timers, open: None }
    }
}

fn refused(device: &str, timeout: Duration) -> String {
    format!("the watchdog {device} does not take a timeout of {timeout:?} and keeps its own")
}

fn interval(timeout: Duration) -> Duration {
    (timeout / MEALS).max(Duration::from_secs(1))
}

impl<T: Timers> Driver for WatchdogTimer<T> {
    type Observed = Option<Armed>;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<Armed>> {
        let Some(open) = &self.open else { return Ok(None) };
        // Hardware that does not tell is taken to have what was asked for.
        let timeout = open.timer.timeout().unwrap_or(open.asked);
        Ok(Some(Armed {
            device: open.device.clone(),
            asked: open.asked,
            timeout,
            is_hungry: open.fed.is_none_or(|fed| fed.elapsed() >= interval(timeout)),
            is_for_good: self.timers.is_for_good(&open.device),
        }))
    }

    fn plan(&self, view: &View<Self>, armed: &Option<Armed>) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let wanted = view.get::<WatchdogTimerConfig>(WatchdogTimerConfig::ID).map(|config| &config.spec);
        let Some(armed) = armed else {
            if let Some(WatchdogTimerConfig { device, timeout }) = wanted.cloned() {
                plan.op(Op::Arm { device, timeout });
            }
            return plan;
        };
        let is_wanted = wanted.is_some_and(|wanted| wanted.device == armed.device);
        if !is_wanted && !armed.is_for_good {
            plan.op(Op::Disarm);
            return plan;
        }
        if let Some(wanted) = wanted.filter(|wanted| is_wanted && wanted.timeout != armed.asked) {
            plan.op(Op::SetTimeout(wanted.timeout));
        }
        if armed.is_hungry {
            plan.op(Op::Feed);
        }
        let feed_interval = interval(armed.timeout);
        let (device, timeout) = (armed.device.clone(), armed.timeout);
        plan.put(WatchdogTimerConfig::ID, WatchdogTimerStatus { device, timeout, feed_interval });
        if !is_wanted {
            // Not a problem, after which nobody would look again in time to feed it.
            plan.missing(format!("a restart of the machine: {} cannot be disarmed before", armed.device));
        }
        plan.again_in(feed_interval)
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Arm { device, timeout } => {
                let timer = self.timers.open(&device);
                let timer = timer.with_context(|| format!("cannot arm the watchdog {device}"))?;
                let open = self.open.insert(Open { device, asked: timeout, timer, fed: None });
                open.timer.set_timeout(timeout).with_context(|| refused(&open.device, timeout))?;
            }
            Op::SetTimeout(timeout) => {
                if let Some(open) = &mut self.open {
                    open.asked = timeout;
                    open.timer.set_timeout(timeout).with_context(|| refused(&open.device, timeout))?;
                }
            }
            Op::Feed => {
                if let Some(open) = &mut self.open {
                    open.timer.feed().with_context(|| format!("cannot feed {}", open.device))?;
                    open.fed = Some(Instant::now());
                }
            }
            Op::Disarm => {
                if let Some(open) = self.open.take() {
                    open.timer.disarm().with_context(|| format!("cannot disarm {}", open.device))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    /// Longest timeout of the hardware.
    const LONGEST: Duration = Duration::from_secs(120);

    /// Watchdogs that write down what is done to them, and round timeouts up to ten seconds.
    #[derive(Clone, Default)]
    struct Fake {
        done: Arc<Mutex<Vec<String>>>,
        timeout: Arc<Mutex<Duration>>,
        is_for_good: bool,
    }

    impl Fake {
        fn note(&self, what: impl Into<String>) {
            self.done.lock().expect("notes").push(what.into());
        }

        fn notes(&self) -> Vec<String> {
            std::mem::take(&mut *self.done.lock().expect("notes"))
        }
    }

    impl Timer for Fake {
        fn set_timeout(&self, timeout: Duration) -> anyhow::Result<()> {
            anyhow::ensure!(timeout <= LONGEST, "too long");
            *self.timeout.lock().expect("a timeout") =
                Duration::from_secs(timeout.as_secs().next_multiple_of(10));
            self.note("set");
            Ok(())
        }
        fn timeout(&self) -> anyhow::Result<Duration> {
            Ok(*self.timeout.lock().expect("a timeout"))
        }
        fn feed(&self) -> anyhow::Result<()> {
            self.note("feed");
            Ok(())
        }
        fn disarm(self: Box<Self>) -> anyhow::Result<()> {
            self.note("disarm");
            Ok(())
        }
    }

    impl Timers for Fake {
        fn open(&self, device: &str) -> anyhow::Result<Box<dyn Timer>> {
            anyhow::ensure!(device != "/dev/broken", "it is broken");
            self.note(format!("open {device}"));
            Ok(Box::new(self.clone()))
        }
        fn is_for_good(&self, _: &str) -> bool {
            self.is_for_good
        }
    }

    fn runtime(fake: &Fake) -> TestRuntime {
        let fake = fake.clone();
        TestRuntime::new(corten_resources::registry(), move |runtime| {
            runtime.register(WatchdogTimer::new(fake));
        })
    }

    fn config(device: &str, seconds: u64) -> corten_resource::AnyResource {
        let timeout = Duration::from_secs(seconds);
        resource(WatchdogTimerConfig::ID, WatchdogTimerConfig { device: device.to_owned(), timeout })
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_armed_fed_and_disarmed() {
        let fake = Fake::default();
        let runtime = runtime(&fake);
        runtime.put(config("/dev/watchdog0", 25));
        runtime.quiet().await;
        assert_eq!(fake.notes(), ["open /dev/watchdog0", "set", "feed"]);
        let status = runtime.state().get::<WatchdogTimerStatus>(WatchdogTimerConfig::ID).expect("a status");
        assert_eq!(status.spec.timeout, Duration::from_secs(30), "as the hardware rounds it");
        assert_eq!(status.spec.feed_interval, Duration::from_secs(10));
        runtime.advance(Duration::from_secs(11)).await;
        assert_eq!(fake.notes(), ["feed"]);
        runtime.put(config("/dev/watchdog0", 60));
        runtime.quiet().await;
        assert_eq!(fake.notes(), ["set"]);
        runtime.put(config("/dev/watchdog1", 60));
        runtime.quiet().await;
        assert_eq!(fake.notes(), ["disarm", "open /dev/watchdog1", "set", "feed"]);
        runtime.state().remove::<WatchdogTimerConfig>("", WatchdogTimerConfig::ID).expect("removed");
        runtime.quiet().await;
        assert_eq!(fake.notes(), ["disarm"]);
        assert!(runtime.state().get::<WatchdogTimerStatus>(WatchdogTimerConfig::ID).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_disarmed_is_fed_on() {
        let fake = Fake { is_for_good: true, ..Fake::default() };
        let runtime = runtime(&fake);
        runtime.put(config("/dev/watchdog0", 30));
        runtime.quiet().await;
        runtime.state().remove::<WatchdogTimerConfig>("", WatchdogTimerConfig::ID).expect("removed");
        fake.notes();
        runtime.advance(Duration::from_secs(205)).await;
        assert_eq!(fake.notes(), ["feed"; 20], "in every ten seconds");
        let status = runtime.status("runtime.WatchdogTimer").expect("a status");
        assert!(status.reason.contains("cannot be disarmed"), "{}", status.reason);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_its_timeout_is_fed_at_its_own() {
        let own = Duration::from_secs(30);
        let fake = Fake { timeout: Arc::new(Mutex::new(own)), ..Fake::default() };
        let runtime = runtime(&fake);
        runtime.put(config("/dev/watchdog0", 600));
        runtime.advance(Duration::from_secs(25)).await;
        assert_eq!(fake.notes(), ["open /dev/watchdog0", "feed", "feed", "feed"]);
        let status = runtime.state().get::<WatchdogTimerStatus>(WatchdogTimerConfig::ID).expect("a status");
        assert_eq!(status.spec.timeout, own);
        runtime.put(config("/dev/watchdog0", 60));
        runtime.quiet().await;
        assert_eq!(fake.notes(), ["set"]);
        runtime.put(config("/dev/watchdog0", 900));
        runtime.advance(Duration::from_secs(41)).await;
        assert_eq!(fake.notes(), ["feed", "feed"], "the timeout before is kept");
    }

    #[tokio::test]
    async fn one_that_does_not_work_is_told() {
        let fake = Fake::default();
        let runtime = runtime(&fake);
        runtime.put(config("/dev/broken", 30));
        runtime.quiet().await;
        let status = runtime.status("runtime.WatchdogTimer").expect("a status");
        assert!(status.reason.contains("cannot arm the watchdog /dev/broken"), "{}", status.reason);
    }
}
