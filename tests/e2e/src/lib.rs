//! Scenarios: stories of machines told from outside, by the clients that users have.
//!
//! ```text
//! xtask e2e NAME ─▶ registry ─▶ Cx (image, clients, figures) ─▶ a scenario ─▶ steps (cluster) ─▶ talosctl, kubectl
//!                                        └──────────▶ machine (harness: container or QEMU)
//! ```
//!
//! Invariants:
//! - What is claimed is asked by unmodified programs; own code only starts machines and compares answers.
//! - Waiting is for conditions with a deadline, and a missed deadline shows the machine's logs.
//! - A scenario leaves nothing on the host but its folder below `target/e2e`, which a failure needs.

#![allow(
    clippy::disallowed_methods,
    reason = "scenarios run on a developer's host, in real time, with real processes"
)]

pub mod cluster;
pub mod machine;
pub mod tool;
pub mod wait;
pub mod workload;
