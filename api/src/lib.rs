//! Wire contracts of the node: the messages and services of `proto/` as Rust types, one module per protobuf package, and
//! who may call what.
//!
//! A method exists in three places that must agree: the descriptor set compiled from `proto/`, the table in [`rules`],
//! and the servers. A test compares the first two; servers that implement a service trait cannot miss a method.

pub mod envelope;
pub mod roles;
pub mod rules;

pub use envelope::Envelope;

/// The encoded `FileDescriptorSet` of everything in `proto/`, for code that derives behaviour from it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Largest gRPC message that clients, apid and machined accept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

macro_rules! packages {
    ($($(#[$doc:meta])* $name:ident = $package:literal;)*) => {$(
        $(#[$doc])*
        #[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated code; documented in the .proto files")]
        pub mod $name {
            tonic::include_proto!($package);
        }
    )*};
}

packages! {
    /// Health of the whole cluster (`cluster`).
    cluster = "cluster";
    /// Shared types (`common`).
    common = "common";
    /// Controller graph (`inspect`).
    inspect = "inspect";
    /// One machine (`machine`).
    machine = "machine";
    /// Certificates from trustd (`securityapi`).
    securityapi = "securityapi";
    /// Disks (`storage`).
    storage = "storage";
    /// Clock (`time`).
    time = "time";
}

/// Resource state (`cosi.resource`).
pub mod cosi {
    packages! {
        /// Resources and the service that serves them.
        resource = "cosi.resource";
    }
}

/// Google's shared types.
pub mod google {
    packages! {
        /// The error model of gRPC (`google.rpc`).
        rpc = "google.rpc";
    }
}
