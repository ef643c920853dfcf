//! What sources tell while they are asked, and what the manifest of a bundle says of it.
//!
//! ```text
//! source ─▶ Reporter ─▶ Event ─┬▶ Part ─▶ archive
//!                              ├▶ Step, Problem ─▶ progress for the client
//!                              └▶ Part, Problem ─▶ Manifest ─▶ archive
//! ```

use std::sync::atomic::{AtomicI32, Ordering};

use corten_api::management::get_support_bundle_response::Progress;
use corten_config::yaml;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Problems that a manifest lists.
const PROBLEMS_MAX: usize = 2000;
/// Longest text of a problem.
const TEXT_LETTERS_MAX: usize = 500;

/// Something that a source tells.
#[derive(Debug)]
pub(crate) struct Event {
    /// Name of the source, for people.
    pub(crate) source: String,
    pub(crate) told: Told,
}

/// What it tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// A file for the bundle.
    Part { name: String, bytes: Vec<u8> },
    /// Something that is not in the bundle, and why.
    Problem { what: String, why: String },
    /// One of so many steps is done.
    Step { what: String, done: i32, total: i32 },
}

/// Where a source tells what it finds.
#[derive(Debug)]
pub(crate) struct Reporter {
    source: String,
    total: i32,
    done: AtomicI32,
    events: mpsc::Sender<Event>,
}

impl Reporter {
    /// For a source with so many steps.
    pub(crate) fn new(source: &str, steps: usize, events: mpsc::Sender<Event>) -> Self {
        let total = i32::try_from(steps).unwrap_or(i32::MAX);
        Self { source: source.to_owned(), total, done: AtomicI32::new(0), events }
    }

    async fn tell(&self, told: Told) {
        // Nobody listens any more when the client is gone, and then this ends soon.
        let _ = self.events.send(Event { source: self.source.clone(), told }).await;
    }

    pub(crate) async fn part(&self, name: String, bytes: Vec<u8>) {
        self.tell(Told::Part { name, bytes }).await;
    }

    pub(crate) async fn problem(&self, what: &str, why: impl Into<String> + Send) {
        let why: String = why.into();
        self.tell(Told::Problem { what: what.to_owned(), why: short(&why) }).await;
    }

    pub(crate) async fn step(&self, what: &str) {
        let done = self.done.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.tell(Told::Step { what: what.to_owned(), done, total: self.total }).await;
    }
}

/// A text of a length that a line in a table can have.
fn short(text: &str) -> String {
    let mut letters = text.chars();
    let mut kept: String = letters.by_ref().take(TEXT_LETTERS_MAX).collect();
    if letters.next().is_some() {
        kept.push('…');
    }
    kept
}

/// A step as clients show it: a bar of `total` steps.
pub(crate) fn step(source: String, state: String, value: i32, total: i32) -> Progress {
    Progress { source, error: String::new(), state, total, value }
}

/// A problem as clients show it, which is no step of a bar: those have a total.
pub(crate) fn problem(source: String, state: String, error: String) -> Progress {
    Progress { source, error, state, total: 0, value: 0 }
}

/// How much is in a bundle, and what is not.
#[derive(Debug)]
pub(crate) struct Manifest {
    cluster: String,
    collected: String,
    files: usize,
    bytes: usize,
    problems: Vec<Value>,
    /// Problems that are too many to be listed.
    more: usize,
}

impl Manifest {
    /// Of a bundle about this cluster, collected at this time, RFC 3339.
    pub(crate) fn new(cluster: &str, collected: String) -> Self {
        let cluster = cluster.to_owned();
        Self { cluster, collected, files: 0, bytes: 0, problems: Vec::new(), more: 0 }
    }

    /// Counts a file.
    pub(crate) const fn part(&mut self, bytes: usize) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn problem(&mut self, source: &str, what: &str, why: &str) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(json!({ "source": source, "what": what, "why": why }));
        } else {
            self.more += 1;
        }
    }

    /// YAML.
    pub(crate) fn text(self) -> String {
        let Self { cluster, collected, files, bytes, problems, more } = self;
        yaml::render(&json!({
            "cluster": cluster,
            "collected": collected,
            "version": corten_base::version::TAG,
            "files": files,
            "bytes": bytes,
            "missing": problems,
            "missingAndNotListed": more,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_are_counted_and_problems_are_no_steps() {
        let (events, mut told) = mpsc::channel(8);
        let reporter = Reporter::new("m-1", 2, events);
        reporter.step("version").await;
        reporter.problem("dmesg", "x".repeat(TEXT_LETTERS_MAX + 1)).await;
        reporter.step("dmesg").await;
        drop(reporter);
        let mut seen = Vec::new();
        while let Some(event) = told.recv().await {
            seen.push(match event.told {
                Told::Step { what, done, total } => format!("{}: {what} {done}/{total}", event.source),
                Told::Problem { what, why } => format!("{what} {}", why.chars().count()),
                Told::Part { name, .. } => name,
            });
        }
        assert_eq!(seen, ["m-1: version 1/2", "dmesg 501", "m-1: dmesg 2/2"]);
        assert_eq!(problem(String::new(), String::new(), "no".to_owned()).total, 0);
    }

    #[test]
    fn a_manifest_says_what_is_missing_and_why() {
        let mut manifest = Manifest::new("prod", "2026-11-28T18:00:00Z".to_owned());
        manifest.part(7);
        for _ in 0..=PROBLEMS_MAX {
            manifest.problem("m-2", "all", "it is away");
        }
        let found = yaml::parse(&manifest.text()).expect("YAML").remove(0);
        assert_eq!((&found["files"], &found["bytes"]), (&json!(1), &json!(7)));
        assert_eq!(found["missing"][0]["why"], "it is away");
        assert_eq!(found["missingAndNotListed"], 1);
    }
}
