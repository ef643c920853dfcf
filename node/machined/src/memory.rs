//! Keeps the memory of the machine's programs small: what only the start needed is given back.

use std::time::Duration;

use corten_sys::memory;

/// Between two times. Much is needed once, when a machine boots and when somebody asks for a lot; little in between.
const PERIOD: Duration = Duration::from_secs(15);
const STACK_BYTES: usize = 64 * 1024;

/// Starts giving back what this program does not need. To be called before it has threads.
pub fn keep_small() {
    // Where the allocator or the kernel refuses there is nothing lost but memory.
    let _ = memory::share_one_arena();
    let builder = std::thread::Builder::new().name("memory".to_owned()).stack_size(STACK_BYTES);
    let _ = builder.spawn(|| {
        loop {
            std::thread::sleep(PERIOD);
            let _ = memory::give_back();
        }
    });
}
