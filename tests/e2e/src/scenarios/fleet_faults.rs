//! Faults of the manager and of those who talk to it, on emulated machines. What is random follows from `--seed`.
//!
//! ```text
//! stores      locked, damaged, wrong key, key for all to read          a manager of its own
//! calls       replayed, forged, of another time, of a revoked key      ┐
//! resources   malformed, of an older version, of somebody else         │
//! crowd       watchers that do not read, a flood of logs, noise, liars ├ one manager, a process of emulated machines
//! races       teardowns that others get in the way of                  │
//! kills       create, scale, replace, destroy, killed at any moment    ┘
//! ```
//!
//! `--rounds` is the number of kills, 50 without. A miss of a deadline tells what the controllers wait for.

mod calls;
mod crowd;
mod kills;
mod races;
mod raw;
mod replicas;
mod resources;
mod stores;
mod waiting;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corten_harness::Emulator;

use crate::cx::Cx;
use crate::fleet::template::Template;
use crate::fleet::{Manager, Security};

/// Machines of the process: three control planes, two workers, and those that take their place.
const MACHINES: u32 = 8;
/// How long emulated machines may take until the manager knows what they are made of.
const JOIN_MAX: Duration = Duration::from_secs(120);
/// How long a change of a cluster may take.
const DONE_MAX: Duration = Duration::from_secs(300);

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    stores::prove(cx)?;
    replicas::prove(cx)?;
    let client = cx.fleet_client()?;
    let mut manager = Manager::start(cx.manager(None)?, &client, Security::Plain)?;
    let mut spec = cx.emulator("machines", &manager.kernel_arguments()?)?;
    (spec.machines, spec.installed, spec.seed) = (MACHINES, true, cx.options().seed);
    spec.talos_version = Some(corten_base::version::TAG.trim_start_matches('v').to_owned());
    let emulator = Emulator::start(&spec)?;
    let uuids = (0..MACHINES).map(|number| emulator.uuid(number)).collect::<Result<Vec<_>>>()?;
    waiting::until(&manager, "all machines to join", JOIN_MAX, || {
        uuids.iter().try_for_each(|uuid| manager.known(uuid).map(drop))
    })?;
    calls::run(cx, &manager);
    resources::run(cx, &manager, uuids.first().context("there is no machine")?);
    crowd::run(cx, &manager, &emulator, &uuids);
    races::run(cx, &manager, &uuids);
    kills::run(cx, &mut manager, &emulator, &uuids)
}

/// A cluster of these machines, which has no name yet.
fn cluster(control_planes: Vec<String>, workers: Vec<String>) -> Template {
    Template {
        talos_version: corten_base::version::TAG.to_owned(),
        kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
        control_planes,
        workers,
        ..Template::default()
    }
}

/// Fails unless all these machines wait for a configuration.
fn maintenance(manager: &Manager, uuids: &[String]) -> Result<()> {
    for uuid in uuids {
        let status = manager.connected(uuid)?;
        ensure!(status["spec"]["maintenance"] == true, "{uuid} is in no maintenance: {}", status["spec"]);
    }
    Ok(())
}
