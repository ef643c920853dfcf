//! When a machine reached what, and what several boots say together. Everything here is pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// What a machine reaches on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The first program that is not the kernel has the root.
    Userspace,
    /// containerd answers.
    Containerd,
    /// etcd answers.
    Etcd,
    /// The API server answers an administrator.
    ApiServer,
    /// The node is known to the API server.
    Registered,
    /// The node is Ready.
    Ready,
}

impl Phase {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 6] =
        [Self::Userspace, Self::Containerd, Self::Etcd, Self::ApiServer, Self::Registered, Self::Ready];

    /// Name in tables, in JSON and in what the floor says.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Userspace => "userspace",
            Self::Containerd => "containerd",
            Self::Etcd => "etcd",
            Self::ApiServer => "apiserver",
            Self::Registered => "registered",
            Self::Ready => "ready",
        }
    }

    /// The phase of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// One boot, in seconds since the kernel's first line (in a container: since process 1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    at: BTreeMap<Phase, f64>,
    /// Seconds for which the machine had nothing to wait for but a client.
    pub client: f64,
}

impl Timeline {
    /// Notes that a phase was reached; the first time counts.
    pub fn reach(&mut self, phase: Phase, seconds: f64) {
        self.at.entry(phase).or_insert(seconds);
    }

    /// When the phase was reached.
    #[must_use]
    pub fn at(&self, phase: Phase) -> Option<f64> {
        self.at.get(&phase).copied()
    }

    /// Seconds to Ready, without the wait for a client.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        Some(self.at(Phase::Ready)? - self.client)
    }
}

impl std::fmt::Display for Timeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (phase, at) in &self.at {
            write!(f, "{} {at:.2}, ", phase.name())?;
        }
        write!(f, "of these {:.2} for a client", self.client)
    }
}

/// The value in the middle, of an even number the mean of the two there; nothing of nothing.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// A boot of the floor and one of ours right after or before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    /// The floor.
    pub floor: Timeline,
    /// Our machine.
    pub ours: Timeline,
}

/// Pairs under the same conditions, against a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was booted, for people.
    pub title: String,
    /// The largest ratio of ours to the floor that is allowed.
    pub budget: f64,
    /// What was measured.
    pub pairs: Vec<Pair>,
}

impl Comparison {
    /// Median of the pairs' ratios.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        median(self.pairs.iter().filter_map(|pair| Some(pair.ours.score()? / pair.floor.score()?)))
    }

    /// Whether the budget is held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.ratio().is_some_and(|ratio| ratio <= self.budget)
    }

    fn median(&self, side: fn(&Pair) -> &Timeline, of: impl Fn(&Timeline) -> Option<f64>) -> Option<f64> {
        median(self.pairs.iter().filter_map(|pair| of(side(pair))))
    }

    fn medians(&self, of: impl Fn(&Timeline) -> Option<f64> + Copy) -> [Option<f64>; 2] {
        [self.median(|pair| &pair.floor, of), self.median(|pair| &pair.ours, of)]
    }

    /// A table with a row for each phase.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("{}, median of {} pairs, seconds:\n", self.title, self.pairs.len());
        let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let mut row = |name: &str, [floor, ours]: [Option<f64>; 2]| {
            let more =
                floor.zip(ours).map(|(floor, ours)| format!("{:+.2}", ours - floor)).unwrap_or_default();
            // Writing into a string cannot fail.
            let _ = writeln!(text, "  {name:<22}{:>9}{:>9}{more:>9}", cell(floor), cell(ours));
        };
        for phase in Phase::ALL {
            row(phase.name(), self.medians(|timeline| timeline.at(phase)));
        }
        row("waited for a client", self.medians(|timeline| Some(timeline.client)));
        row("ready without that", self.medians(Timeline::score));
        let verdict = if self.holds() { "held" } else { "OVER BUDGET" };
        let ratio = cell(self.ratio());
        let _ = writeln!(text, "  ratio {ratio}, at most {:.2}: {verdict}", self.budget);
        text
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let side = |index: usize| {
            let mut object = Map::new();
            for phase in Phase::ALL {
                object.insert(phase.name().to_owned(), rounded(self.medians(|line| line.at(phase))[index]));
            }
            object.insert("client_wait".to_owned(), rounded(self.medians(|line| Some(line.client))[index]));
            Value::Object(object)
        };
        let pairs =
            self.pairs.iter().map(|pair| json!([rounded(pair.floor.score()), rounded(pair.ours.score())]));
        json!({
            "ok": self.holds(),
            "ratio": rounded(self.ratio()),
            "budget": self.budget,
            "floor": side(0),
            "ours": side(1),
            "pairs": pairs.collect::<Vec<_>>(),
        })
    }
}

/// Hundredths are all that a noisy host can tell.
fn rounded(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!((value * 100.0).round() / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(ready: f64, client: f64) -> Timeline {
        let mut timeline = Timeline { client, ..Timeline::default() };
        timeline.reach(Phase::Ready, ready);
        timeline.reach(Phase::Ready, ready + 1.0);
        timeline
    }

    fn comparison(pairs: &[(f64, f64, f64)]) -> Comparison {
        let pair = |&(floor, ours, client): &(f64, f64, f64)| Pair {
            floor: timeline(floor, 0.0),
            ours: timeline(ours, client),
        };
        Comparison { title: "test".into(), budget: 1.5, pairs: pairs.iter().map(pair).collect() }
    }

    #[test]
    fn the_middle_counts() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_phase_is_reached_once() {
        assert_eq!(timeline(2.0, 0.5).at(Phase::Ready), Some(2.0));
        assert_eq!(timeline(2.0, 0.5).score(), Some(1.5));
        assert_eq!(timeline(2.0, 0.5).to_string(), "ready 2.00, of these 0.50 for a client");
        assert_eq!(Timeline::default().score(), None);
        assert!(Phase::ALL.into_iter().all(|phase| Phase::from_name(phase.name()) == Some(phase)));
    }

    #[test]
    fn the_ratio_is_that_of_the_pair_in_the_middle_and_leaves_out_the_client() {
        let three = comparison(&[(2.0, 3.0, 0.0), (2.0, 9.0, 0.0), (4.0, 5.0, 1.0)]);
        assert_eq!(three.ratio(), Some(1.5));
        assert!(three.holds());
        assert!(!comparison(&[(2.0, 3.2, 0.0)]).holds());
        assert!(!comparison(&[]).holds(), "nothing measured holds nothing");
    }

    #[test]
    fn tables_and_json_tell_the_same() {
        let one = comparison(&[(2.0, 3.5, 0.25)]);
        let table = one.table();
        assert!(table.contains("ready                      2.00     3.50    +1.50"), "{table}");
        assert!(table.contains("ratio 1.62, at most 1.50: OVER BUDGET"), "{table}");
        let json = one.json();
        assert_eq!(json["ok"], false);
        assert_eq!(json["ours"]["client_wait"], 0.25);
        assert_eq!(json["pairs"], serde_json::json!([[2.0, 3.25]]));
        assert_eq!(json["floor"]["etcd"], Value::Null);
    }
}
