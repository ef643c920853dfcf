//! Every resource type of a machine, one file per domain.
//!
//! A definition here is the whole truth about a type: its identity, its fields with their protobuf
//! numbers and YAML keys, how `get` prints it and who may read it. Behaviour lives in the controllers.

pub mod block;
pub mod cluster;
pub mod config;
pub mod containers;
#[cfg(test)]
mod contract;
pub mod cri;
pub mod empty;
pub mod etcd;
pub mod files;
pub mod hardware;
pub mod kubernetes;
pub mod kubespan;
pub mod network;
pub mod perf;
mod registry;
pub mod runtime;
pub mod secrets;
pub mod security;
pub mod service;
pub mod siderolink;
pub mod storage;
pub mod talos;
pub mod time;

pub use registry::registry;
