//! The manager's end of the tunnel to its machines.
//!
//! ```text
//!           UDP ─┐                    ┌─ TUN device ─ kernel TCP ──────┐
//!                │                    │  in a namespace of a child     │
//!                ├─ WireGuard engine ─┤  without privilege             ├─ TunnelStream, TunnelListener
//!                │                    │                                │
//! gRPC carriers ─┘                    └─ user space: a stack for each ─┘
//!                                        machine that has connections
//! ```
//!
//! Who does TCP is decided once, when the tunnel is opened ([`StackChoice`]); callers do not see which it is.
//!
//! Invariants:
//! - The manager needs no privilege: the network namespace belongs to a user namespace of a child of its own, and where
//!   the host forbids that, TCP is done without the kernel.
//! - Machines reach what listens on the tunnel's own address, and nothing else, not even each other.
//! - A carrier that does not read loses datagrams, as a bad line does; nobody waits for it.
//! - A connection that nobody reads takes no more than its buffer and holds nobody back.

mod carrier;
mod device;
mod end;
mod line;
mod stream;
mod tunnel;
mod user;
mod waiting;

pub use carrier::{Carrier, CarrierError};
pub use device::{CHILD, Device, DeviceError, child};
pub use end::StackChoice;
pub use stream::{TunnelListener, TunnelStream};
pub use tunnel::{Peer, Tunnel, TunnelOptions};
