//! Benchmarks: what we publish, side by side with something that it can be compared with, measured in the same run.
//!
//! ```text
//! xtask bench NAME ─▶ a benchmark ─▶ rounds of (the other side, ours) ─▶ table, JSON, held or not
//! ```
//!
//! Invariants:
//! - Both sides are measured by the same probe, alternately, on the same host, in the same run.
//! - What is not the same on both sides is written in the documentation of the benchmark.
//! - A benchmark leaves nothing on the host but its folder below `target/bench`, which a failure needs.

#![allow(
    clippy::disallowed_methods,
    reason = "benchmarks run on a developer's host, in real time, with real processes"
)]

pub mod boot;

use anyhow::{Context, Result};
use serde_json::Value;

/// A benchmark: its name and what it compares.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Name on the command line.
    pub name: &'static str,
    /// What it compares.
    pub about: &'static str,
}

/// All benchmarks.
pub const BENCHES: &[Bench] =
    &[Bench { name: "boot", about: "our image against the least that makes a node Ready" }];

/// The benchmark of that name.
pub fn find(name: &str) -> Result<&'static Bench> {
    BENCHES.iter().find(|bench| bench.name == name).with_context(|| {
        let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        format!("there is no benchmark `{name}`; there are: {}", names.join(", "))
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_told_with_those_that_there_are() {
        assert_eq!(find("boot").expect("it is there").name, "boot");
        let told = find("root").expect_err("it is not there").to_string();
        assert!(told.contains("`root`") && told.contains("boot"), "{told}");
    }
}
