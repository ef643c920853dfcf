//! Waiting for a condition of a machine: with a deadline, with the last reason kept, and not longer than it lives.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::machine::Machine;

/// How often a cheap condition is looked at.
pub const POLL: Duration = Duration::from_millis(20);
/// How often a client program is started to ask.
const ASK: Duration = Duration::from_millis(250);
/// The same where the client and the emulator that it asks compete for the same processors.
const ASK_EMULATED: Duration = Duration::from_secs(3);

/// Asks until the answer is good and gives how long it took, without a machine to look at. A miss tells the last reason
/// and what `evidence` finds.
pub fn patiently<T>(
    what: &str,
    deadline: Duration,
    evidence: impl FnOnce() -> String,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        let reason = match ask() {
            Ok(value) => return Ok((value, start.elapsed())),
            Err(error) => error,
        };
        if start.elapsed() >= deadline {
            let waited = start.elapsed().as_secs();
            return Err(anyhow!("waited {waited} s in vain for {what}: {reason:#}\n{}", evidence()));
        }
        std::thread::sleep(ASK);
    }
}

/// Asks until the answer is good and gives how long it took. A miss tells the last reason and what the machine's logs
/// say.
pub fn until<T>(
    machine: &Machine,
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let pause = match machine {
        Machine::Container(_) => ASK,
        Machine::Qemu(_) => ASK_EMULATED,
    };
    let start = Instant::now();
    loop {
        let error = match ask() {
            Ok(value) => return Ok((value, start.elapsed())),
            Err(error) => error,
        };
        let ended = machine.check().err();
        if ended.is_some() || start.elapsed() >= deadline {
            let waited = start.elapsed().as_secs();
            let reason = ended.unwrap_or(error);
            return Err(anyhow!("waited {waited} s in vain for {what}: {reason:#}\n{}", machine.evidence()));
        }
        std::thread::sleep(pause);
    }
}
