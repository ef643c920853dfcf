//! What apid spends on whoever calls, written down in one place: its budget is 32 MiB (SPECIFICATION.md).
//!
//! | what | bytes at most | how many | together |
//! |---|---|---|---|
//! | a connection: TLS, HTTP/2, its buffers | 48 KiB | [`GUESTS`] and those who shake hands | 9 MiB |
//! | one that has said nothing yet, or not all of its greeting | 8 KiB | [`GUESTS`] | 2 MiB |
//! | a call that nobody reads: what waits on both sides of apid | 32 KiB | [`CALLS`] | 12 MiB |
//! | calls to several machines, all together | | | [`FAN_BYTES_MAX`] |
//!
//! Everybody who calls from one address has a share of each, and the last places are for those who have few, so that one
//! or two who take all they can leave the others what they need.

use std::time::Duration;

use corten_base::rate::Rate;
use corten_relay::{Bounds, Welcome};

/// Connections.
pub const GUESTS: Welcome = Welcome {
    guests: 160,
    guests_each: 64,
    silent: 256,
    shaking: 32,
    arrivals_each: 16,
    // A handshake is half a millisecond of a processor; a burst is what a script or a dashboard opens at once.
    rate: Rate { per_second: 20, burst: 100 },
};

/// Calls under way.
pub const CALLS: Bounds = Bounds { all: 384, each: 192, kept: 64, few: 16 };
/// Calls on one connection at a time; a client with more opens another.
pub const STREAMS_MAX: u32 = 128;
/// Calls of one connection that end before they are looked at: those of all whose calls another machine passes on may.
pub const RESETS_MAX: usize = 128;
/// Bytes of metadata of one request.
pub const HEADERS_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of a request that may be unread.
pub const REQUEST_WINDOW: u32 = 32 * 1024;
/// Bytes of an answer that wait for the client's reading.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a call that wait on the connection to machined, in each direction.
pub const LOCAL_WINDOW: u32 = 16 * 1024;
/// The same on a connection to another machine, which is farther away.
pub const REMOTE_WINDOW: u32 = 32 * 1024;
/// Bytes that TLS keeps of what it could not send yet.
pub const TLS_BYTES_MAX: usize = 16 * 1024;
/// Bytes that calls to several machines hold together.
pub const FAN_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Bytes of these that calls from one address hold.
pub const FAN_BYTES_EACH: usize = 4 * 1024 * 1024;

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two questions whether a client is still there.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to answer them.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// For what is under way when a connection is to end; applying the first configuration waits for a partition.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(60);
/// For telling a client without calls that its place is needed.
pub const EVICTION_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_what_callers_may_take_is_below_the_budget() {
        const KIB: usize = 1024;
        const BUDGET: usize = 32 * KIB * KIB;
        const AT_REST: usize = 3 * KIB * KIB;
        let connections =
            (GUESTS.guests + GUESTS.shaking) * (32 * KIB + TLS_BYTES_MAX) + GUESTS.silent * 8 * KIB;
        let unread = CALLS.all * (ANSWER_BYTES_MAX + LOCAL_WINDOW as usize);
        let sum = AT_REST + connections + unread + FAN_BYTES_MAX;
        assert!(sum <= BUDGET, "{sum} bytes");
    }
}
