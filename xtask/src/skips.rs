//! Runs all tests of the workspace and counts what they leave out.
//!
//! A test that cannot run on this host prints `skipped: WHAT: WHY`. Each such line is named, counted and compared with
//! the list of those that may be left out: a new one is a failure, so that nothing stops running without notice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::build::cargo_command;
use crate::kit;

/// The list: one line of a test in each line, `#` begins a remark.
const ALLOWED: &str = "xtask/skips.txt";
/// How such a line begins, in either case.
const MARK: &str = "skipped:";

/// What was read from the output of tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Each line about a skip, and how often it was printed.
    skips: BTreeMap<String, u64>,
}

/// Runs the tests with these variables, and gives how many there were.
///
/// # Errors
/// When a test fails, or one is left out that may not be.
pub fn run_tests(variables: &[(&str, PathBuf)]) -> Result<Map<String, Value>> {
    let mut child = cargo_command(&["test", "--workspace", "--no-fail-fast", "--", "--show-output"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut reader = Reader::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        reader.line(String::from_utf8_lossy(&line).trim_end(), &mut |line| eprintln!("{line}"));
    }
    let status = child.wait().context("cannot wait for cargo")?;
    let outcome = reader.outcome;
    let list = kit::repository().join(ALLOWED);
    let allowed =
        std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    for (skip, times) in &outcome.skips {
        eprintln!("  {MARK} {skip} ({times} times)");
    }
    let skipped: u64 = outcome.skips.values().sum();
    let Outcome { passed, failed, ignored, .. } = outcome;
    eprintln!("  tests: {passed} passed, {failed} failed, {ignored} ignored, {skipped} skipped");
    ensure!(status.success(), "tests failed: cargo test ended with {status}");
    let unlisted = unlisted(&outcome.skips, &allowed);
    ensure!(unlisted.is_empty(), "left out, and not in {ALLOWED}:\n  {}", unlisted.join("\n  "));
    let counts = [("passed", passed), ("failed", failed), ("ignored", ignored), ("skipped", skipped)];
    Ok(counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect())
}

/// Skips that the list does not have.
fn unlisted(skips: &BTreeMap<String, u64>, allowed: &str) -> Vec<String> {
    let allowed: Vec<&str> =
        allowed.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    skips.keys().filter(|skip| !allowed.contains(&skip.as_str())).cloned().collect()
}

/// Where in the output of a test program a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Results,
    /// What tests that passed have printed.
    Successes,
    /// What tests that failed have printed.
    Failures,
}

#[derive(Debug, Default)]
struct Reader {
    part: Part,
    outcome: Outcome,
}

impl Reader {
    /// Takes a line; what a person wants to see is handed on.
    fn line(&mut self, line: &str, show: &mut dyn FnMut(&str)) {
        match line {
            "successes:" => self.part = Part::Successes,
            "failures:" => self.part = Part::Failures,
            _ => {}
        }
        if let Some(skip) = skip(line) {
            *self.outcome.skips.entry(skip.to_owned()).or_default() += 1;
        }
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.part = Part::Results;
            self.count(counts);
        }
        let is_failure = line.ends_with("... FAILED") || line.starts_with("test result: FAILED");
        if self.part == Part::Failures || is_failure {
            show(line);
        }
    }

    /// Adds what a program's last line says: `ok. 3 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, counts: &str) {
        let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.outcome.passed += number,
                "failed" => self.outcome.failed += number,
                "ignored" => self.outcome.ignored += number,
                _ => {}
            }
        }
    }
}

/// What a line says was left out, if it does.
fn skip(line: &str) -> Option<&str> {
    let head = line.get(..MARK.len())?;
    head.eq_ignore_ascii_case(MARK).then(|| line[MARK.len()..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "running 3 tests
test a ... ok
test b ... FAILED
test c ... ok

successes:

---- a stdout ----
chatter
skipped: a: no talosctl
---- c stdout ----
SKIPPED: no root

successes:
    a

failures:

---- b stdout ----
assertion failed

failures:
    b

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
running 1 test
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn skips_are_counted_and_failures_are_shown() {
        let (mut reader, mut shown) = (Reader::default(), Vec::new());
        for line in OUTPUT.lines() {
            reader.line(line, &mut |line| shown.push(line.to_owned()));
        }
        let skips = BTreeMap::from([("a: no talosctl".to_owned(), 1), ("no root".to_owned(), 1)]);
        assert_eq!(reader.outcome, Outcome { passed: 3, failed: 1, ignored: 1, skips });
        assert!(shown.contains(&"assertion failed".to_owned()) && !shown.contains(&"chatter".to_owned()));
        assert!(shown.contains(&"test b ... FAILED".to_owned()));
    }

    #[test]
    fn a_skip_must_be_in_the_list() {
        let skips = BTreeMap::from([("a: x".to_owned(), 1), ("b: y".to_owned(), 2)]);
        assert_eq!(unlisted(&skips, "# why\na: x\n"), ["b: y"]);
        assert!(unlisted(&skips, "a: x\nb: y\n").is_empty());
    }
}
