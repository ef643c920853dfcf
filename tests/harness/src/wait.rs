//! Waiting for conditions.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const POLL: Duration = Duration::from_millis(25);

/// Asks `condition` until it gives a value, at most for `deadline`. A miss is an error that says what was waited for,
/// with whatever `evidence` finds.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    evidence: impl FnOnce() -> String,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if start.elapsed() >= deadline {
            let evidence = evidence();
            return Err(anyhow!("waited {} s in vain for {what}\n{evidence}", deadline.as_secs()));
        }
        std::thread::sleep(POLL);
    }
}

/// The last lines of a file, under its name; for evidence.
pub fn tail(path: &std::path::Path, lines: usize) -> String {
    const BYTES_MAX: usize = 64 * 1024;
    let Ok(bytes) = std::fs::read(path) else { return String::new() };
    let from = bytes.len().saturating_sub(BYTES_MAX);
    let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default());
    let all: Vec<&str> = text.lines().collect();
    let shown = all.get(all.len().saturating_sub(lines)..).unwrap_or_default();
    format!("--- {}\n{}\n", path.display(), shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_value_or_the_evidence() {
        let mut count = 0;
        let value = wait_for("three", Duration::from_secs(5), String::new, || {
            count += 1;
            (count == 3).then_some("three")
        });
        assert_eq!(value.unwrap(), "three");
        let missed = wait_for("never", Duration::ZERO, || "the log".into(), || None::<()>);
        let text = missed.unwrap_err().to_string();
        assert!(text.contains("never") && text.contains("the log"), "{text}");
    }
}
