//! Effects on the kernel, one narrow module per subsystem, and the only crate of the product with `unsafe` code.
//!
//! Callers that need to be tested without a machine take the subsystem's trait ([`mount::Mounts`],
//! [`modules::Modules`], [`sysctl::Sysctls`], [`sysctl::Sysfs`], [`clock::SystemClock`], [`power::Power`]) and get
//! [`Kernel`], which implements them all. The rest are plain functions over descriptors and parsers of what the kernel prints.
//!
//! Invariants:
//! - Every `unsafe` block says why it is sound, and is only there because no safe wrapper of the call exists.
//! - Nothing here decides anything: no policy, no retries, no logging. An error names the action and its object.
//! - Calls that may block for long (module loading, mounting, device ioctls) are synchronous; whoever runs an
//!   asynchronous runtime calls them on its bounded blocking pool.

#![expect(unsafe_code, reason = "this crate exists to keep all unsafe code in one place")]
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod acpi;
pub mod arp;
pub mod block;
pub mod cgroup;
pub mod clock;
pub mod ethtool;
pub mod filesystem;
pub mod kmsg;
pub mod loopdev;
pub mod memory;
pub mod modules;
pub mod mount;
pub mod mountinfo;
pub mod namespace;
pub mod netlink;
pub mod network;
pub mod nftables;
pub mod packet;
pub mod power;
pub mod process;
pub mod procfs;
pub mod random;
pub mod schedule;
pub mod signal;
pub mod sockets;
pub mod swap;
pub mod sysctl;
pub mod tun;
pub mod watchdog;
pub mod wireguard;

mod error;
mod ffi;

pub use error::{Error, Result};

/// The real kernel: implements every subsystem trait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;
