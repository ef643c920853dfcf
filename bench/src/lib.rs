//! Benchmarks: what we publish, side by side with something that it can be compared with, measured in the same run.
//!
//! ```text
//! xtask bench NAME ─▶ a benchmark ─▶ rounds of (the other side, ours) ─▶ table, JSON, held or not
//! ```
//!
//! Invariants:
//! - Both sides are measured by the same probe, alternately, on the same host, in the same run. What has no other side is
//!   measured against a budget, with its load on processors of its own.
//! - What is not the same on both sides is written in the documentation of the benchmark.
//! - A benchmark leaves nothing on the host but its folder below `target/bench`, which a failure needs.

#![allow(
    clippy::disallowed_methods,
    reason = "benchmarks run on a developer's host, in real time, with real processes"
)]

pub mod apid;
pub mod boot;
pub mod fleet_join;
pub mod peers;
pub mod state;

use serde_json::Value;

/// What came out.
#[derive(Clone, Debug)]
pub struct Report {
    /// Whether every budget was held.
    pub ok: bool,
    /// For people.
    pub text: String,
    /// One object with everything.
    pub json: Value,
}

/// Tells the person who waits.
#[expect(clippy::print_stderr, reason = "progress of a developer's tool is talk, and talk is stderr")]
fn say(text: &str) {
    eprintln!("bench: {text}");
}
