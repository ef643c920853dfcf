//! Every resource type of the manager, one file per part of its business.
//!
//! A definition here is the whole truth about a type: its identity, its fields with their protobuf numbers and YAML keys.
//! The numbers are those of the resource protocol that existing clients speak (backend API version 2); YAML keys are what
//! Go makes of a protobuf message, lower case and without separators. Who may do what with a type is a row of the table in
//! [`access`]; behaviour lives in the controllers.

pub mod access;
pub mod auth;
pub mod backup;
pub mod cluster;
pub mod config;
#[cfg(test)]
mod contract;
pub mod kubernetes;
pub mod labels;
pub mod link;
pub mod machine;
pub mod namespace;
pub mod provider;
mod registry;
pub mod secrets;
pub mod system;
pub mod upgrade;
pub mod views;

pub use registry::registry;
