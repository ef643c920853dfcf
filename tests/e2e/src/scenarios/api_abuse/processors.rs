//! Who works on which processor. Attackers and their networks are elsewhere in the world; here they have a processor of
//! their own, so that only what they send delays others, and not the work of sending it.

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of the host, in two parts.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    /// The machine's, and the polite client's.
    pub machine: CpuSet,
    /// The attackers'.
    pub attackers: CpuSet,
}

impl Processors {
    /// The last one is the attackers'.
    pub fn split() -> Result<Self> {
        let mut machine = sched_getaffinity(None).context("cannot see the processors")?;
        ensure!(machine.count() > 1, "attackers need a processor of their own, and this host has one in all");
        let last = (0..CpuSet::MAX_CPU).rev().find(|number| machine.is_set(*number));
        let last = last.context("there is no processor")?;
        let mut attackers = CpuSet::new();
        attackers.set(last);
        machine.unset(last);
        Ok(Self { machine, attackers })
    }
}

/// The calling thread, and what it starts from now on, works on these.
pub fn stay_on(processors: &CpuSet) -> Result<()> {
    sched_setaffinity(None, processors).context("cannot choose a processor")
}
