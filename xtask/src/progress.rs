//! Steps of a command: what takes long is told while it runs, and how long everything took is kept.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Result;

/// A step that takes no longer is not worth a word.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two signs of life.
const REMINDER: Duration = Duration::from_secs(30);

/// The steps of one command, with their seconds.
#[derive(Debug, Default)]
pub struct Steps(Vec<(String, f64)>);

impl Steps {
    /// Runs a step.
    ///
    /// # Errors
    /// Those of the work.
    pub fn run<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let result = watched(what, work);
        let seconds = began.elapsed().as_secs_f64();
        self.0.push((what.to_owned(), seconds));
        if began.elapsed() >= PATIENCE {
            let end = if result.is_ok() { "done" } else { "failed" };
            eprintln!("  {what}: {end} after {seconds:.0} s");
        }
        result
    }

    /// Every step with its seconds, as an object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let rounded = |seconds: f64| (seconds * 100.0).round() / 100.0;
        let pairs = self.0.iter().map(|(what, seconds)| (what.clone(), rounded(*seconds).into()));
        serde_json::Value::Object(pairs.collect())
    }
}

/// Runs work, and tells from time to time that it still runs.
fn watched<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (done, wait) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let began = Instant::now();
            let mut next = PATIENCE;
            while wait.recv_timeout(next) == Err(RecvTimeoutError::Timeout) {
                let seconds = began.elapsed().as_secs();
                let since = if next == PATIENCE { String::new() } else { format!(" ({seconds} s so far)") };
                eprintln!("  {what} …{since}");
                next = REMINDER;
            }
        });
        let result = work();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_kept_with_its_seconds_also_a_failed_one() {
        let mut steps = Steps::default();
        assert_eq!(steps.run("one", || Ok(1)).unwrap(), 1);
        assert!(steps.run("two", || Err::<(), _>(anyhow::anyhow!("no"))).is_err());
        let json = steps.json();
        assert!(json["one"].as_f64().unwrap() < 1.0 && json["two"].as_f64().unwrap() < 1.0);
    }
}
