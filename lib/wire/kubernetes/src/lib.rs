//! A thin client of the Kubernetes API: objects are JSON, the verbs are the API's own.
//!
//! ```text
//! Kubeconfig ──▶ Config ──▶ Client ──▶ Api (one resource, one namespace) ──▶ get list create apply patch delete
//!                             │                                        └──▶ watch: lists, follows, resumes
//!                             └──▶ discovery: kind → resource;  apply_manifests: many objects in order
//! ```
//!
//! - Every answer has a bound in bytes and in time.
//! - A watch never ends by itself: it resumes where it was, and lists again when the server has forgotten.
//! - Names are resolved by a function that the caller gives; alone, only addresses are reached. Connections are those of
//!   the host, or of the caller's making.

mod api;
mod client;
mod connect;
mod discovery;
mod error;
mod frames;
pub mod kubeconfig;
mod manifests;
pub mod object;
mod resource;
mod tls;
mod watch;

pub use api::{Api, List, ListOptions, PatchKind};
pub use client::{Auth, Client, Config};
pub use connect::{Dialer, Line, Resolver};
pub use error::{Error, ServerStatus};
pub use kubeconfig::Kubeconfig;
pub use manifests::{Applied, ApplyOptions, Outcome};
pub use resource::ApiResource;
pub use watch::WatchEvent;

/// A Kubernetes object.
pub type Object = serde_json::Value;
