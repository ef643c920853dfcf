//! Keeps the memory of the machine's programs small: what only the start needed is given back.

use std::time::Duration;

use corten_sys::memory;

/// Between two times. Much is needed once, when a machine boots and when somebody asks for a lot; little in between.
const PERIOD: Duration = Duration::from_secs(15);

/// Starts giving back what this program does not need. To be called before it has threads.
pub fn keep_small() {
    memory::keep_small(PERIOD, || drop(memory::give_back()));
}
