//! Faults of the manager and of those who talk to it, on emulated machines. What is random follows from `--seed`.
//!
//! ```text
//! stores   locked, damaged, wrong key, key for all to read        a manager of its own
//! calls    replayed, forged, of another time                      ┐
//! crowd    watchers that do not read, a flood of logs, liars       ├ one manager, a process of emulated machines
//! kills    create, scale, replace, destroy, killed at any moment   ┘
//! ```
//!
//! `--rounds` is the number of kills, 50 without. Not here: three managers on one etcd; this manager has no store there.

mod calls;
mod crowd;
mod kills;
mod stores;

use std::time::Duration;

use anyhow::Result;
use corten_harness::Emulator;

use crate::cx::Cx;
use crate::fleet::{Manager, Security};

/// Machines of the process: three control planes, two workers, and those that take their place.
const MACHINES: u32 = 8;
/// How long emulated machines may take until the manager knows what they are made of.
const JOIN_MAX: Duration = Duration::from_secs(120);

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    stores::prove(cx)?;
    let client = cx.fleet_client()?;
    let mut manager = Manager::start(cx.manager(None)?, &client, Security::Plain)?;
    let mut spec = cx.emulator("machines", &manager.kernel_arguments()?)?;
    (spec.machines, spec.installed, spec.seed) = (MACHINES, true, cx.options().seed);
    spec.talos_version = Some(corten_base::version::TAG.trim_start_matches('v').to_owned());
    let emulator = Emulator::start(&spec)?;
    let uuids = (0..MACHINES).map(|number| emulator.uuid(number)).collect::<Result<Vec<_>>>()?;
    manager.until("all machines to join", JOIN_MAX, || {
        uuids.iter().try_for_each(|uuid| manager.known(uuid).map(drop))
    })?;
    calls::run(cx, &manager);
    crowd::run(cx, &manager, &emulator, &uuids);
    kills::run(cx, &mut manager, &emulator, &uuids)
}
