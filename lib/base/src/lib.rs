//! What every Corten program stands on: clock, randomness, tasks, rates, secrets, paths and versions.
//!
//! Nothing here knows resources, wires or the kernel. Ambient time, randomness and spawning are
//! banned elsewhere by lint, so that controllers run on virtual time in tests.

pub mod arch;
pub mod backoff;
pub mod blocking;
pub mod clock;
pub mod error;
pub mod fs;
pub mod log;
pub mod paths;
pub mod piece;
pub mod platform;
pub mod rate;
pub mod redact;
pub mod rng;
pub mod secret;
pub mod task;
pub mod version;

pub use arch::Arch;
pub use backoff::Backoff;
pub use blocking::{Lane, blocking};
pub use clock::Clock;
pub use error::chain;
pub use piece::poll_piece;
pub use platform::{Capabilities, Platform};
pub use rate::{Bucket, Buckets, Rate};
pub use redact::redact;
pub use rng::Rng;
pub use secret::Secret;
pub use task::{Task, Tasks, spawn};
