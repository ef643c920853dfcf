//! Resource state over gRPC: `cosi.resource.State`, as clients of Talos speak it.
//!
//! [`service`] serves any [`Store`]; [`Client`] is a store at the other end. What a caller may see and do is a
//! store as well: [`Restricted`] wraps the machine's store with the caller's roles. The pair passes the
//! conformance suite of every store.

mod access;
mod client;
mod convert;
mod server;
mod told;

pub use access::{Policy, Restricted};
pub use client::Client;
pub use server::{Service, service};

#[cfg(doc)]
use corten_resource::Store;
