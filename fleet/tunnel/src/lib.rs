//! The manager's end of the tunnel to its machines.
//!
//! ```text
//!           UDP ─┐                    ┌─ TUN device ─ kernel TCP ─┐
//!                ├─ WireGuard engine ─┤   in a namespace of a     ├─ sockets, passed out by descriptor
//! gRPC carriers ─┘                    └─  child without privilege ┘
//! ```
//!
//! Invariants:
//! - The manager needs no privilege: the network namespace belongs to a user namespace of a child of its own.
//! - Machines reach what listens on the tunnel's own address, and nothing else, not even each other.
//! - A carrier that does not read loses datagrams, as a bad line does; nobody waits for it.

mod carrier;
mod device;
mod tunnel;
mod waiting;

pub use carrier::{Carrier, CarrierError};
pub use device::{CHILD, Device, DeviceError, child};
pub use tunnel::{Peer, Tunnel, TunnelOptions};
