//! What is the same for all machines of a process.

use std::path::PathBuf;
use std::time::Duration;

use corten_base::{Clock, Rng};
use corten_client::Server;

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From power to the end of the boot sequence, unless that waits for the cluster.
    pub boot: Duration,
    /// To write a system to a disk, or to wipe one.
    pub write: Duration,
    /// From the call to the moment at which nothing answers any more.
    pub goodbye: Duration,
    /// Between two boots.
    pub down: Duration,
    /// What a call to the manager may take (fleet.md 1.2).
    pub provision: Duration,
    /// Between two looks at the peer (fleet.md 1.2).
    pub peer_check: Duration,
    /// Since the last handshake, until the next endpoint is tried (fleet.md 1.2).
    pub peer_down: Duration,
    /// Between two tries to reach what is out of reach: the carrier of the tunnel, event sink, log, trustd.
    pub retry: Duration,
    /// Between two lines of the kernel log when nothing happens.
    pub heartbeat: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(3),
            write: Duration::from_secs(4),
            goodbye: Duration::from_secs(1),
            down: Duration::from_secs(2),
            provision: Duration::from_secs(30),
            peer_check: Duration::from_secs(30),
            peer_down: Duration::from_secs(275),
            retry: Duration::from_secs(5),
            heartbeat: Duration::from_secs(60),
        }
    }
}

impl Timing {
    /// Everything that only passes time takes almost none, for tests.
    #[must_use]
    pub fn fast() -> Self {
        let soon = Duration::from_millis(20);
        Self { boot: soon, write: soon, goodbye: soon, down: soon, retry: soon, ..Self::default() }
    }
}

/// What is the same for all machines of a process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time.
    pub clock: Clock,
    /// Randomness of keys, boot ids and certificates.
    pub rng: Rng,
    /// Hardware follows from this number and that of the machine, so that a run can be repeated.
    pub seed: u64,
    /// The program of the child that holds the machines' namespace, which is `corten-emulator` itself. Without one,
    /// machines join and shake hands, and nobody can connect to them or hears of their events.
    pub program: Option<PathBuf>,
    /// How the manager proves who it is to machines that join with TLS.
    pub manager: Server,
    /// How long things take.
    pub timing: Timing,
}

impl Options {
    /// Options of a process on this host's clock that believes every manager.
    #[must_use]
    pub fn new(program: Option<PathBuf>) -> Self {
        Self {
            clock: Clock::system(),
            rng: Rng::kernel(),
            seed: 0,
            program,
            manager: Server::Anyone,
            timing: Timing::default(),
        }
    }
}
