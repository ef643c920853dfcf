//! What the manager counts about its API, and the page on which Prometheus reads it.
//!
//! ```text
//! listener, caller layer, Access ─▶ Metrics ─┐
//! State (resources by type) ────────────────┼─▶ text (exposition format 0.0.4)
//! gauges of other crates ───────────────────┘
//! ```

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use corten_resource::State;

/// Begin of all names.
const PREFIX: &str = "corten_fleet";

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such method here.
    Method,
    /// It needs a signature and has none.
    Unsigned,
    /// Its signature does not hold.
    Signature,
    /// It was made before.
    Replay,
    /// The role is too low for the method.
    Role,
    /// Its caller calls too often.
    Rate,
    /// The caller may not do that with the resource.
    Access,
}

impl Refusal {
    /// All of them, in the order of the counters.
    const ALL: [Self; 7] =
        [Self::Method, Self::Unsigned, Self::Signature, Self::Replay, Self::Role, Self::Rate, Self::Access];

    /// The word for it on the page.
    const fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::Replay => "replay",
            Self::Role => "role",
            Self::Rate => "rate",
            Self::Access => "access",
        }
    }
}

/// A value that another crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Its name, without the begin of all names.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// The values with their labels, as the page has them: empty, or in braces.
    pub values: [Option<(&'static str, u64)>; 2],
}

/// Knows gauges.
pub trait Gauges: std::fmt::Debug + Send + Sync {
    /// What they are now. It must not wait.
    fn gauges(&self) -> Vec<Gauge>;
}

/// Gauges as the page has them.
pub(crate) fn gauges(gauges: &[Gauge]) -> String {
    let mut page = Page::default();
    for gauge in gauges {
        page.head(gauge.name, "gauge", gauge.help);
        for (labels, value) in gauge.values.iter().flatten() {
            page.line(gauge.name, labels, *value);
        }
    }
    page.0
}

/// The counters. They begin at zero with the program.
#[derive(Debug, Default)]
pub struct Metrics {
    calls: AtomicU64,
    refusals: [AtomicU64; Refusal::ALL.len()],
    connections: AtomicU64,
    open: AtomicU64,
}

impl Metrics {
    /// A call came.
    pub fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call was refused.
    pub fn refused(&self, why: Refusal) {
        if let Some((_, counter)) = self.counters().find(|(refusal, _)| *refusal == why) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many calls were refused for this reason.
    #[must_use]
    pub fn refusals(&self, why: Refusal) -> u64 {
        let found = self.counters().find(|(refusal, _)| *refusal == why);
        found.map_or(0, |(_, counter)| counter.load(Ordering::Relaxed))
    }

    /// A connection was taken.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that was taken has ended.
    pub fn disconnected(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// The page: all counters, and how many resources of each type there are.
    #[must_use]
    pub fn page(&self, state: &State) -> String {
        let mut page = Page::default();
        page.head("calls_total", "counter", "Calls of gRPC methods that came.");
        page.line("calls_total", "", self.calls.load(Ordering::Relaxed));
        page.head("refusals_total", "counter", "Calls that were refused, by the reason.");
        for (refusal, counter) in self.counters() {
            let label = format!("{{reason=\"{}\"}}", refusal.word());
            page.line("refusals_total", &label, counter.load(Ordering::Relaxed));
        }
        page.head("connections_total", "counter", "Connections that were taken.");
        page.line("connections_total", "", self.connections.load(Ordering::Relaxed));
        page.head("connections", "gauge", "Connections that are open.");
        page.line("connections", "", self.open.load(Ordering::Relaxed));
        page.head("resources", "gauge", "Resources in the namespace of their type, by the type.");
        for (kind, count) in sizes(state) {
            page.line("resources", &format!("{{type=\"{kind}\"}}"), count);
        }
        page.0
    }

    fn counters(&self) -> impl Iterator<Item = (Refusal, &AtomicU64)> {
        Refusal::ALL.into_iter().zip(&self.refusals)
    }
}

/// How many resources of each type there are; types without any are left out.
fn sizes(state: &State) -> Vec<(&'static str, u64)> {
    let definitions = state.registry().types().map(|registered| registered.definition);
    let counts = definitions.map(|definition| {
        let count = state.list_any(definition.namespace, definition.kind).len();
        (definition.kind, u64::try_from(count).unwrap_or(u64::MAX))
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

/// The page as it grows.
#[derive(Default)]
struct Page(String);

impl Page {
    // Writing into a string cannot fail.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {PREFIX}_{name} {help}\n# TYPE {PREFIX}_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "{PREFIX}_{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::Cluster;
    use corten_resource::testing;

    use super::*;

    #[test]
    fn the_page_has_every_counter_and_the_sizes_of_the_store() {
        let state = testing::state(corten_fleet_resources::registry());
        state.put("", "prod", Cluster::default()).expect("stored");
        let metrics = Metrics::default();
        metrics.called();
        metrics.refused(Refusal::Replay);
        metrics.connected();
        metrics.connected();
        metrics.disconnected();
        let page = metrics.page(&state);
        for line in [
            "# TYPE corten_fleet_calls_total counter",
            "corten_fleet_calls_total 1",
            "corten_fleet_refusals_total{reason=\"replay\"} 1",
            "corten_fleet_refusals_total{reason=\"role\"} 0",
            "corten_fleet_connections_total 2",
            "corten_fleet_connections 1",
            "corten_fleet_resources{type=\"Clusters.omni.sidero.dev\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("MachineSets"), "nothing is told of empty types");
    }

    #[test]
    fn gauges_of_others_are_told_with_their_labels() {
        let sockets = Gauge {
            name: "sockets",
            help: "Sockets.",
            values: [Some(("{process=\"manager\"}", 7)), Some(("{process=\"keeper\"}", 8))],
        };
        let keepers = Gauge { name: "keepers", help: "Keepers.", values: [Some(("", 1)), None] };
        assert_eq!(
            gauges(&[sockets, keepers]),
            "# HELP corten_fleet_sockets Sockets.\n# TYPE corten_fleet_sockets gauge\n\
             corten_fleet_sockets{process=\"manager\"} 7\ncorten_fleet_sockets{process=\"keeper\"} 8\n\
             # HELP corten_fleet_keepers Keepers.\n# TYPE corten_fleet_keepers gauge\ncorten_fleet_keepers 1\n"
        );
    }
}
