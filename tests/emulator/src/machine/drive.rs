//! Time passes for a machine: its stages end, it boots, and what runs in a boot runs.
//!
//! ```text
//! due ─▶ settle with the cluster ─▶ Life::elapse ─▶ effects ─▶ publish
//! up, another boot ─▶ tasks of the boot: link, API, Kubernetes API, events, log; down: they end, and their keys too
//! ```

use std::sync::Arc;
use std::time::Duration;

use corten_api::machine::sequence_event::Action;
use corten_base::{Task, spawn};
use corten_resources::config::MachineConfig;
use tokio::time::{Instant, sleep_until};

use super::{Inner, Machine};
use crate::life::{Call, Effect, Stage, Wipe};
use crate::resources::OWNER;
use crate::{api, event_sink, kube, link, log_sender};

/// What runs in one boot.
struct Awake {
    boot: u64,
    _tasks: Vec<Task>,
}

impl Awake {
    fn new(machine: &Arc<Machine>, boot: u64) -> Self {
        let tasks = vec![
            spawn("link", link::run(Arc::clone(machine))),
            spawn("api", api::run(Arc::clone(machine))),
            spawn("kubernetes", kube::run(Arc::clone(machine))),
            spawn("events", event_sink::run(Arc::clone(machine))),
            spawn("log", log_sender::run(Arc::clone(machine))),
        ];
        Self { boot, _tasks: tasks }
    }
}

/// Lets a machine live, for ever.
pub async fn run(machine: Arc<Machine>) {
    let mut awake: Option<Awake> = None;
    let mut armed: Option<(Stage, u64, Option<Instant>)> = None;
    loop {
        let (stage, boot, due) = machine.look();
        if !stage.is_up() {
            if awake.take().is_some() {
                machine.set_place(None);
            }
        } else if awake.as_ref().is_none_or(|awake| awake.boot != boot) {
            awake = Some(Awake::new(&machine, boot));
        }
        let is_armed = armed.is_some_and(|(for_stage, for_boot, _)| (for_stage, for_boot) == (stage, boot));
        if !is_armed {
            armed = Some((stage, boot, due.map(|due| Instant::now() + due)));
        }
        let deadline = armed.and_then(|(_, _, deadline)| deadline);
        tokio::select! {
            () = until(deadline) => {
                armed = None;
                machine.elapse();
            }
            () = machine.wake.notified() => {}
        }
        machine.loop_if_asked();
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Machine {
    /// What it is doing, in which boot, and for how long.
    fn look(&self) -> (Stage, u64, Option<Duration>) {
        let inner = self.inner.lock();
        (inner.life.stage(), inner.life.boots(), inner.life.due(&self.world.options.timing))
    }

    /// The stage ends.
    pub(crate) fn elapse(&self) {
        let ready = self.settle();
        let (before, after) = {
            let mut inner = self.inner.lock();
            let before = inner.life.stage();
            for effect in inner.life.elapse(ready) {
                self.carry_out(&mut inner, effect);
            }
            (before, inner.life.stage())
        };
        if before != after {
            self.tell_stage(before, after);
            self.changed();
        } else {
            self.publish();
        }
    }

    fn carry_out(&self, inner: &mut Inner, effect: Effect) {
        match effect {
            Effect::Boot => self.begin_boot(inner),
            Effect::Installed => {
                let image = inner.applied.as_ref().map(|applied| applied.image.clone()).unwrap_or_default();
                inner.disk = Some(inner.booted.of_image(&image).unwrap_or_else(|| inner.booted.clone()));
            }
            Effect::Upgraded => inner.disk = inner.pending.take().or_else(|| inner.disk.take()),
            Effect::Leave => {
                if let (Some(cluster), Some(id)) = (self.cluster(inner), inner.member) {
                    let left = cluster.change(|members| members.etcd.remove(id));
                    tracing::debug!(machine = self.spec.number, ?left, "etcd is left before the reset");
                }
            }
            Effect::Wiped(wipe) => self.wipe(inner, wipe),
        }
    }

    fn wipe(&self, inner: &mut Inner, wipe: Wipe) {
        if wipe.takes_meta() {
            inner.meta.clear();
        }
        if wipe.takes_etcd() {
            inner.member = None;
        }
        if wipe.system_disk {
            inner.disk = None;
        }
    }

    /// Only what is on the disk is left.
    fn begin_boot(&self, inner: &mut Inner) {
        inner.boot_id = self.world.options.rng.uuid();
        inner.booted_at = Instant::now();
        inner.booted = inner.disk.clone().unwrap_or_else(|| self.spec.model.system.clone());
        (inner.told, inner.pending, inner.departed) = (None, None, false);
        inner.actor.clear();
        self.events.clear();
        self.log.clear();
        let staged = inner.staged.take();
        if inner.life.is_configured() {
            if let Some(staged) = staged {
                inner.applied = Some(staged);
                self.activate();
            }
        } else {
            inner.applied = None;
            self.forget_configuration();
        }
    }

    /// The configuration for the next boot is the one in effect now.
    fn activate(&self) {
        if let Some(staged) = self.state.get::<MachineConfig>(MachineConfig::PERSISTENT) {
            let put = self.state.put(OWNER, MachineConfig::ACTIVE, staged.spec);
            let removed = self.state.remove::<MachineConfig>(OWNER, MachineConfig::PERSISTENT);
            if let Err(error) = put.map(drop).and(removed) {
                tracing::warn!(error = %error, "the configuration is not shown");
            }
        }
    }

    fn forget_configuration(&self) {
        for id in [MachineConfig::ACTIVE, MachineConfig::PERSISTENT] {
            if let Err(error) = self.state.remove::<MachineConfig>(OWNER, id) {
                tracing::warn!(error = %error, "the configuration is still shown");
            }
        }
    }

    /// Tells what a change of the stage means in sequences, and writes it to the log.
    fn tell_stage(&self, before: Stage, after: Stage) {
        match (before, after) {
            (Stage::Down, Stage::Booting) => {
                self.note(format!("Talos {} boots, boot id {}", self.booted().tag(), self.boot_id()));
                self.tell_sequence("initialize", Action::Start);
                self.tell_sequence("initialize", Action::Stop);
                self.tell_sequence("boot", Action::Start);
            }
            (Stage::Booting, Stage::Running) => self.tell_sequence("boot", Action::Stop),
            (Stage::Installing, _) => self.tell_sequence("install", Action::Stop),
            _ => {}
        }
        self.note(format!("{before:?} ends, {after:?} begins"));
    }

    /// A machine that reboots whenever it has come up does so now.
    fn loop_if_asked(&self) {
        let is_up = matches!(self.stage(), Stage::Running | Stage::Maintenance);
        if is_up && self.faults.borrow().reboot_loop {
            // What it is doing does not hinder it.
            let _ = self.begin(Call::Reboot, "reboot");
        }
    }
}
