//! Two programs that do the same, one after the other on a processor of its own, and a client that drives either.
//!
//! ```text
//! processor 0: the side that is measured      processor 1: client, what is behind, this program
//!        └─ /proc: processor time, memory            └─ a command, a line of JSON
//! ```
//!
//! What counts is the work that is done for a second of the measured side's processor, and its memory; how long it takes
//! is the client's affair.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use corten_sys::procfs;
use serde_json::{Map, Value, json};

use crate::Report;
use crate::boot::timeline::median;
use crate::fleet_join::meter;

/// Processor of the side that is measured.
pub const MEASURED: usize = 0;
/// Processor of everything else.
pub const OTHERS: usize = 1;
/// Between two looks at memory.
const LOOK: Duration = Duration::from_millis(20);
/// Less processor time than this cannot be told, seconds: the kernel counts in hundredths.
const SECONDS_MIN: f64 = 0.05;

/// A program that serves until this value is dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
}

/// A program on one processor. It has one thread of Go's at a time, if it is of Go.
fn command(program: &Path, arguments: &[&str], processor: usize, log: &Path) -> Result<Command> {
    let log = File::options().create(true).append(true).open(log);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &processor.to_string()]).arg(program).args(arguments);
    command.env("GOMAXPROCS", "1").stdout(Stdio::piped()).stderr(log.context("cannot make a log")?);
    Ok(command)
}

impl Peer {
    /// Starts a program and waits until it says that it is ready.
    pub fn start(program: &Path, arguments: &[&str], processor: usize, log: &Path) -> Result<Self> {
        let mut command = command(program, arguments, processor, log)?;
        let mut child = command.stdin(Stdio::null()).spawn().context("cannot start taskset")?;
        let said = child.stdout.take().context("it has no output")?;
        let peer = Self { child };
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).context("cannot read what it says")?;
        ensure!(line.trim() == "ready", "{} is not ready; see {}", program.display(), log.display());
        Ok(peer)
    }

    /// Its processor time so far, seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        meter::seconds(&[self.child.id()])
    }

    /// Its memory (PSS), bytes.
    pub fn bytes(&self) -> Result<u64> {
        procfs::pss_bytes(self.child.id()).context("cannot measure memory")
    }

    /// Watches how much it takes at most.
    #[must_use]
    pub fn watch(&self) -> Peak {
        let (pid, end, most) =
            (self.child.id(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (end, most) = (Arc::clone(&end), Arc::clone(&most));
            move || {
                while !end.load(Ordering::SeqCst) {
                    most.fetch_max(procfs::pss_bytes(pid).unwrap_or_default(), Ordering::SeqCst);
                    std::thread::sleep(LOOK);
                }
            }
        });
        Peak { end, most, thread }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks at the memory of a program until it is ended.
pub struct Peak {
    end: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Peak {
    /// The most that was seen, bytes.
    pub fn end(self) -> Result<u64> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the look at memory panicked"))?;
        Ok(self.most.load(Ordering::SeqCst))
    }
}

/// A client that does as it is told.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    tells: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts a client.
    pub fn start(program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let mut command = command(program, arguments, OTHERS, log)?;
        let mut child = command.stdin(Stdio::piped()).spawn().context("cannot start taskset")?;
        let tells = child.stdin.take().context("the client has no input")?;
        let says = BufReader::new(child.stdout.take().context("the client has no output")?);
        Ok(Self { child, tells, says })
    }

    /// Has it do something; how much of it was done.
    pub fn ask(&mut self, verb: &str, number: u64) -> Result<u64> {
        writeln!(self.tells, "{verb} {number}").context("the client is gone")?;
        let mut line = String::new();
        self.says.read_line(&mut line).context("the client is gone")?;
        let said: Value = serde_json::from_str(&line).with_context(|| format!("the client says `{line}`"))?;
        if let Some(error) = said["error"].as_str() {
            bail!("{verb} {number}: {error}");
        }
        said["done"].as_u64().with_context(|| format!("the client says `{line}`"))
    }

    /// The same, and how much of it is done for a second of a program's processor.
    pub fn measure(&mut self, peer: &Peer, verb: &str, number: u64) -> Result<f64> {
        let before = peer.seconds();
        let done = self.ask(verb, number)?;
        let seconds = peer.seconds() - before;
        ensure!(seconds >= SECONDS_MIN, "{verb} {number} takes {seconds} s, which is too short to measure");
        Ok(done as f64 / seconds)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is compared, with what was measured in each round.
#[derive(Clone, Debug)]
pub struct Row {
    /// For people and in JSON.
    pub name: &'static str,
    /// What the figures are.
    pub unit: &'static str,
    /// How ours is to be against the other.
    pub goal: Goal,
    /// Ours.
    pub ours: Vec<f64>,
    /// The other.
    pub theirs: Vec<f64>,
}

/// What is to come out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Ours is at least so many times the other.
    Times(f64),
    /// Ours is at most this part of the other.
    Part(f64),
    /// Ours is at most so much, whatever the other is.
    AtMost(f64),
}

impl Row {
    /// A row that nothing was measured for yet.
    #[must_use]
    pub const fn new(name: &'static str, unit: &'static str, goal: Goal) -> Self {
        Self { name, unit, goal, ours: Vec::new(), theirs: Vec::new() }
    }

    /// The medians of both.
    fn medians(&self) -> Option<(f64, f64)> {
        Some((median(self.ours.iter().copied())?, median(self.theirs.iter().copied())?))
    }

    /// Whether the goal is reached; a row without figures has not.
    fn is_held(&self) -> bool {
        self.medians().is_some_and(|(ours, theirs)| match self.goal {
            Goal::Times(times) => ours >= theirs * times,
            Goal::Part(part) => ours <= theirs * part,
            Goal::AtMost(most) => ours <= most,
        })
    }

    fn line(&self) -> String {
        let goal = match self.goal {
            Goal::Times(times) => format!("at least {times} times"),
            Goal::Part(part) => format!("at most {part} of it"),
            Goal::AtMost(most) => format!("at most {most:.0}"),
        };
        let Some((ours, theirs)) = self.medians() else {
            return format!("{:<24} was not measured\n", self.name);
        };
        let (name, unit, ratio) = (self.name, self.unit, ours / theirs.max(f64::MIN_POSITIVE));
        let verdict = if self.is_held() { "held" } else { "MISSED" };
        format!("{name:<24} {ours:>14.0} {theirs:>14.0} {unit:<28} {ratio:>8.2}  {goal:<20} {verdict}\n")
    }

    fn json(&self) -> Value {
        let (ours, theirs) = self.medians().unzip();
        json!({ "ours": ours, "theirs": theirs, "unit": self.unit, "held": self.is_held() })
    }
}

/// The table, and whether every goal was reached.
#[must_use]
pub fn report(rows: &[Row], failure: Option<String>) -> Report {
    let head = ["", "ours", "theirs", "", "ratio", "goal"];
    let [name, ours, theirs, unit, ratio, goal] = head;
    let mut text = format!("{name:<24} {ours:>14} {theirs:>14} {unit:<28} {ratio:>8}  {goal}\n");
    rows.iter().for_each(|row| text.push_str(&row.line()));
    let missed: Vec<&str> = rows.iter().filter(|row| !row.is_held()).map(|row| row.name).collect();
    // Writing to a string does not fail.
    let _ = match (&failure, missed.is_empty()) {
        (Some(failure), _) => writeln!(text, "it ended early: {failure}"),
        (None, true) => writeln!(text, "every goal is reached"),
        (None, false) => writeln!(text, "missed: {}", missed.join(", ")),
    };
    let figures: Map<String, Value> =
        rows.iter().map(|row| (row.name.replace([' ', ','], "_"), row.json())).collect();
    let ok = missed.is_empty() && failure.is_none();
    Report { ok, text, json: json!({ "ok": ok, "rows": figures, "missed": missed, "failure": failure }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Goal, ours: f64, theirs: f64) -> Row {
        Row { ours: vec![ours, 0.0, ours * 2.0], theirs: vec![theirs], ..Row::new("a row", "things", goal) }
    }

    #[test]
    fn goals_are_held_by_medians_and_what_was_not_measured_is_missed() {
        assert!(row(Goal::Times(2.0), 20.0, 10.0).is_held());
        assert!(!row(Goal::Times(2.0), 19.0, 10.0).is_held());
        assert!(row(Goal::Part(0.25), 5.0, 20.0).is_held());
        assert!(!row(Goal::Part(0.25), 6.0, 20.0).is_held());
        assert!(row(Goal::AtMost(8.0), 8.0, 100.0).is_held());
        assert!(!row(Goal::AtMost(8.0), 9.0, 100.0).is_held());
        assert!(!Row::new("empty", "", Goal::AtMost(1.0)).is_held());
    }

    #[test]
    fn the_report_names_what_was_missed() {
        let rows = [row(Goal::Times(2.0), 20.0, 10.0), Row::new("another", "", Goal::Part(0.5))];
        let report = report(&rows, None);
        assert!(!report.ok && report.text.contains("missed: another"), "{}", report.text);
        assert_eq!(report.json["rows"]["a_row"]["ours"], 20.0);
        assert!(!super::report(&rows[..1], Some("the client is gone".to_owned())).ok);
        assert!(super::report(&rows[..1], None).ok);
    }
}
