//! One emulated machine: what all its tasks share, and how what it does becomes visible.
//!
//! ```text
//! calls of the API (calls.rs), control ─▶ Inner: life, META, configuration ─▶ publish ─▶ resources, events, kernel log
//!           driver (drive.rs): time ────────────▲        │
//!           cluster (membership.rs) ◀────────────────────┘
//! ```
//!
//! Invariant: whatever changes the inside publishes before it lets others look, so that callers who were answered find
//! what they were told.

mod calls;
mod drive;
mod membership;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corten_api::machine::MachineStatusEvent;
use corten_resource::{HardwareAddr, State};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::applied::Applied;
use crate::events::{EventMessage, Events};
use crate::faults::Faults;
use crate::kernel_args::{JoinUrl, destination};
use crate::kernel_log::KernelLog;
use crate::life::{Life, Stage};
use crate::link::place::Place;
use crate::meta::{self, Meta};
use crate::profile::Profile;
use crate::resources::{self, Facts};
use crate::schema::machine_state;
use crate::spec::{Spec, System};
use crate::world::World;

pub use drive::run;

/// What changes with a machine.
#[derive(Debug)]
struct Inner {
    life: Life,
    meta: Meta,
    /// The configuration in effect, whole or not.
    applied: Option<Arc<Applied>>,
    /// The configuration that takes effect with the next boot.
    staged: Option<Arc<Applied>>,
    /// What runs.
    booted: System,
    /// What is on the disk.
    disk: Option<System>,
    /// What an upgrade brings.
    pending: Option<System>,
    boot_id: String,
    booted_at: Instant,
    /// Its member of etcd, as the data on EPHEMERAL say.
    member: Option<u64>,
    /// It has left etcd in this boot, and does not join again before the next one.
    departed: bool,
    /// Who asked for what it is doing.
    actor: String,
    /// What was told last.
    told: Option<MachineStatusEvent>,
}

/// One emulated machine.
#[derive(Debug)]
pub struct Machine {
    spec: Spec,
    world: Arc<World>,
    state: State,
    events: Events,
    log: KernelLog,
    inner: Mutex<Inner>,
    faults: watch::Sender<Faults>,
    place: watch::Sender<Option<Arc<Place>>>,
    /// Counts reasons to call the manager again.
    rejoin: watch::Sender<u64>,
    /// Counts changes of the configuration, and of whether there is one.
    configuration: watch::Sender<u64>,
    /// The driver looks again.
    wake: Notify,
}

impl Machine {
    /// A machine that was just switched on; nothing happens until it is [`run`].
    #[must_use]
    pub fn new(spec: Spec, world: Arc<World>) -> Arc<Self> {
        let model = &spec.model;
        let inner = Inner {
            life: Life::new(model.installed),
            meta: Meta::default(),
            applied: None,
            staged: None,
            booted: model.system.clone(),
            disk: model.installed.then(|| model.system.clone()),
            pending: None,
            boot_id: world.options.rng.uuid(),
            booted_at: Instant::now(),
            member: None,
            departed: false,
            actor: String::new(),
            told: None,
        };
        Arc::new(Self {
            state: machine_state(&world.options.clock, &world.options.rng),
            events: Events::default(),
            log: KernelLog::default(),
            inner: Mutex::new(inner),
            faults: watch::Sender::default(),
            place: watch::Sender::default(),
            rejoin: watch::Sender::default(),
            configuration: watch::Sender::default(),
            wake: Notify::new(),
            spec,
            world,
        })
    }

    /// What it is made of.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it shares with others.
    #[must_use]
    pub const fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Its resources.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Its events.
    #[must_use]
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// Its kernel log.
    #[must_use]
    pub const fn log(&self) -> &KernelLog {
        &self.log
    }

    /// What goes wrong with it, and each change of that.
    #[must_use]
    pub fn faults(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }

    /// Its place in the manager's network, and each change of that.
    #[must_use]
    pub fn places(&self) -> watch::Receiver<Option<Arc<Place>>> {
        self.place.subscribe()
    }

    /// Tells of each reason to call the manager again.
    #[must_use]
    pub fn rejoins(&self) -> watch::Receiver<u64> {
        self.rejoin.subscribe()
    }

    /// Tells of each change of the configuration.
    #[must_use]
    pub fn configurations(&self) -> watch::Receiver<u64> {
        self.configuration.subscribe()
    }

    /// What it is doing.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.inner.lock().life.stage()
    }

    /// Whether it waits for its configuration: everybody who reaches it may read.
    #[must_use]
    pub fn is_maintenance(&self) -> bool {
        !self.inner.lock().life.is_configured()
    }

    /// What runs.
    #[must_use]
    pub fn booted(&self) -> System {
        self.inner.lock().booted.clone()
    }

    /// How what runs behaves.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.inner.lock().booted.profile()
    }

    /// The configuration in effect, whole or not.
    #[must_use]
    pub fn applied(&self) -> Option<Arc<Applied>> {
        self.inner.lock().applied.clone()
    }

    /// This boot.
    #[must_use]
    pub fn boot_id(&self) -> String {
        self.inner.lock().boot_id.clone()
    }

    /// Since this boot.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.inner.lock().booted_at.elapsed()
    }

    /// The UUID that it shows: a lie, the one in META, or that of its firmware.
    #[must_use]
    pub fn uuid(&self) -> String {
        uuid(&self.inner.lock(), &self.faults.borrow(), &self.spec)
    }

    /// Its host name.
    #[must_use]
    pub fn hostname(&self) -> String {
        hostname(&self.inner.lock(), &self.spec)
    }

    /// What the manager gave it to be known by; empty when nothing.
    #[must_use]
    pub fn unique_token(&self) -> String {
        unique_token(&self.inner.lock())
    }

    /// Where it joins: as the configuration says, else as the kernel was told. One that cannot be read does not count.
    #[must_use]
    pub fn join_url(&self) -> JoinUrl {
        let applied = self.applied();
        let configured = applied.as_ref().map(|applied| applied.management.join_url.reveal().as_str());
        let configured = configured.filter(|url| !url.is_empty()).and_then(|url| JoinUrl::parse(url).ok());
        configured.unwrap_or_else(|| self.spec.model.kernel_args.join.clone())
    }

    /// Where its events go.
    #[must_use]
    pub fn event_sink(&self) -> Option<std::net::SocketAddrV6> {
        let configured = self.applied().and_then(|applied| destination(&applied.management.event_sink));
        configured.or(self.spec.model.kernel_args.event_sink)
    }

    /// Where its kernel log goes; the first destination of several.
    #[must_use]
    pub fn log_destination(&self) -> Option<std::net::SocketAddrV6> {
        let told = self.spec.model.kernel_args.kernel_log;
        told.or_else(|| self.applied()?.management.kernel_logs.iter().find_map(|url| destination(url)))
    }

    /// The time on its clock, which may be wrong.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        let now = self.world.options.clock.now();
        let skew = self.faults.borrow().clock_skew_s;
        let by = Duration::from_secs(skew.unsigned_abs());
        let skewed = if skew < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        skewed.unwrap_or(now)
    }

    /// Writes a line to its kernel log.
    pub fn note(&self, text: impl Into<String>) {
        self.log.write(self.now(), self.uptime(), text);
    }

    /// Tells an event that belongs to what somebody asked for.
    pub fn tell<M: EventMessage>(&self, message: &M) {
        let actor = self.inner.lock().actor.clone();
        self.events.publish(&actor, message);
    }

    /// Notes its place in the manager's network.
    pub fn set_place(&self, place: Option<Arc<Place>>) {
        self.place.send_replace(place);
        self.publish();
    }

    /// Sets what goes wrong with it.
    pub fn set_faults(&self, faults: Faults) {
        let before = self.faults.send_replace(faults);
        let is_other = before.uuid != self.faults.borrow().uuid;
        self.publish();
        if is_other {
            self.rejoin.send_modify(|count| *count += 1);
        }
        self.wake.notify_one();
    }

    /// META is gone, as if the disk had lost it.
    pub fn lose_meta(&self) {
        self.inner.lock().meta.clear();
        self.note("META is empty");
        self.publish();
        self.rejoin.send_modify(|count| *count += 1);
    }

    /// Makes visible what is so now.
    pub fn publish(&self) {
        let mut inner = self.inner.lock();
        let facts = self.facts(&inner);
        resources::publish(&self.state, &facts);
        let event = resources::event(&resources::status(&facts));
        if facts.stage.is_up() && inner.told.as_ref() != Some(&event) {
            self.events.publish(&inner.actor, &event);
            inner.told = Some(event);
        }
    }

    /// What is so now.
    fn facts(&self, inner: &Inner) -> Facts<'_> {
        let faults = self.faults.borrow().clone();
        let hostname = hostname(inner, &self.spec);
        let cluster = self.cluster(inner);
        let lie = faults.mac.as_ref().and_then(|text| text.parse::<HardwareAddr>().ok());
        let member = inner.member.filter(|id| {
            cluster.as_ref().is_some_and(|cluster| cluster.read(|members| members.etcd.contains(*id)))
        });
        let node = cluster.as_ref().and_then(|cluster| {
            cluster.read(|members| members.nodes.get(&hostname).map(|(_, node)| node.clone()))
        });
        Facts {
            spec: &self.spec,
            uuid: uuid(inner, &faults, &self.spec),
            mac: lie.unwrap_or_else(|| self.spec.mac.clone()),
            hostname,
            stage: inner.life.stage(),
            configured: inner.life.is_configured(),
            installed: inner.life.disk().installed,
            booted: inner.booted.clone(),
            meta: inner.meta.clone(),
            unique_token: unique_token(inner),
            boot_id: inner.boot_id.clone(),
            place: self.place.borrow().clone(),
            applied: inner.applied.clone(),
            member,
            kubernetes: cluster.is_some_and(|cluster| cluster.is_available()),
            node,
        }
    }

    /// Lets `look` see what is so now.
    pub fn with_facts<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let facts = self.facts(&self.inner.lock());
        look(&facts)
    }
}

fn uuid(inner: &Inner, faults: &Faults, spec: &Spec) -> String {
    let written = inner.meta.get(meta::UUID_OVERRIDE).filter(|uuid| !uuid.is_empty());
    faults.uuid.as_deref().or(written).unwrap_or(&spec.uuid).to_owned()
}

fn hostname(inner: &Inner, spec: &Spec) -> String {
    let given = inner.applied.as_ref().map(|applied| applied.hostname.clone());
    given.filter(|name| !name.is_empty()).unwrap_or_else(|| spec.hostname())
}

fn unique_token(inner: &Inner) -> String {
    let given = inner.applied.as_ref().map(|applied| applied.management.unique_token.reveal().as_str());
    let given = given.filter(|token| !token.is_empty());
    given.or_else(|| inner.meta.get(meta::UNIQUE_TOKEN)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
