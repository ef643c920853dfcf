//! Waiting for a condition of a machine: with a deadline, with the last reason kept, and not longer than it lives.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::machine::Machine;

/// How often a cheap condition is looked at.
pub const POLL: Duration = Duration::from_millis(20);
/// How often a client program is started to ask.
const ASK: Duration = Duration::from_millis(250);

/// Asks until the answer is good and gives how long it took. A miss tells the last reason and what the machine's logs
/// say.
pub fn until<T>(
    machine: &Machine,
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<(T, Duration)> {
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
        std::thread::sleep(ASK);
    }
}
