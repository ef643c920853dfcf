//! Wire contracts of the node and of the manager: the messages and services of `proto/` as Rust types, one module per
//! protobuf package, and who may call what.
//!
//! A method exists in three places that must agree: the descriptor set compiled from `proto/`, the table in [`rules`]
//! (for the manager the one in [`fleet`]), and the servers. A test compares the first two; servers that implement a
//! service trait cannot miss a method.

pub mod envelope;
pub mod fleet;
pub mod roles;
pub mod rules;

pub use envelope::Envelope;

/// The encoded `FileDescriptorSet` of the machine's API, for code that derives behaviour from it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The encoded `FileDescriptorSet` of what only the manager serves, to machines and to people, with all that it
/// imports.
pub const FLEET_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fleet-descriptors.bin"));

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
    /// Keys that sign calls to the manager (`auth`).
    auth = "auth";
    /// Health of the whole cluster (`cluster`).
    cluster = "cluster";
    /// Shared types (`common`).
    common = "common";
    /// Events from machines to the manager (`events`).
    events = "events";
    /// Controller graph (`inspect`).
    inspect = "inspect";
    /// One machine (`machine`).
    machine = "machine";
    /// Actions and secrets of the manager (`management`).
    management = "management";
    /// Login to Kubernetes through the manager (`oidc`).
    oidc = "oidc";
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

/// The manager's own view of resources.
pub mod omni {
    packages! {
        /// Resources for user interfaces (`omni.resources`).
        resources = "omni.resources";
    }
}

/// What machines speak with the manager.
pub mod sidero {
    packages! {
        /// Keys of encrypted disks (`sidero.kms`).
        kms = "sidero.kms";
        /// Joining the manager's WireGuard network (`sidero.link`).
        link = "sidero.link";
    }

    /// How members of a cluster find each other.
    pub mod discovery {
        packages! {
            /// What members tell each other (`sidero.discovery.client`).
            client = "sidero.discovery.client";
            /// The service that they leave it with (`sidero.discovery.server`).
            server = "sidero.discovery.server";
        }
    }
}
