//! A thin client of containerd 2: images, containers, tasks, events and the few questions asked through CRI.
//!
//! ```text
//! Client (one unix socket) ──▶ Namespace ("system", "k8s.io") ──▶ images, containers, tasks, events
//!        │                                                         (headers carry the namespace)
//!        └──▶ Cri (pods and their log files, as the kubelet sees them)
//! ```
//!
//! - Nothing is kept here: containerd's own records are the truth, so a restarted program adopts what runs.
//! - A lost stream says nothing about a container. [`Namespace::watch_exit`] answers only with what the
//!   daemon says after it is back.
//! - Images move through the transfer service: containerd downloads, writes and unpacks, under a lease of ours;
//!   this crate only hands over archives and credentials.
//! - Messages are described in `proto/`, as far as they are needed; unknown fields are skipped.

mod adopt;
mod archive;
mod client;
pub mod config;
mod containers;
pub mod cri;
mod error;
mod events;
mod image_config;
mod images;
mod lease;
mod metrics;
mod pods;
pub mod reference;
pub mod registry;
mod signatures;
pub mod spec;
mod spec_builder;
mod stream;
mod tasks;
mod transfer;
mod unpacked;
mod wire;

pub use archive::{archive_file, layout_directory};
pub use client::{Client, Namespace, Version};
pub use containers::{Container, NewContainer, Rootfs, RuntimeOptions};
pub use error::{Error, Kind};
pub use events::{Event, EventKind};
pub use image_config::ImageConfig;
pub use images::{IMAGE_MANAGED, IMAGE_PINNED, Image};
pub use metrics::Usage;
pub use pods::{Pod, PodContainer, PodRole, of_ready_pods};
pub use signatures::Signature;
pub use spec_builder::SpecBuilder;
pub use tasks::{Exit, Output, Pipes, Task, TaskState};
pub use transfer::{Credentials, ImportOptions, Progress, PullOptions};
pub use unpacked::UnpackedImage;

/// Namespace of the machine's own containers.
pub const SYSTEM: &str = "system";
/// Namespace of the pods.
pub const KUBERNETES: &str = "k8s.io";
/// The snapshotter that all images are unpacked for.
pub const SNAPSHOTTER: &str = "overlayfs";
