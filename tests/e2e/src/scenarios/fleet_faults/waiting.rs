//! Waiting for a manager; a miss tells what its controllers wait for, beside its last lines.

use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::fleet::Manager;

/// Type of what controllers tell about themselves and about the items that are not done.
const KIND: &str = "Controllers.corten.dev";
/// What one says that has nothing to do.
const RUNNING: &str = "running";

/// Waits until the answer is good.
pub fn until<T>(
    manager: &Manager,
    what: &str,
    deadline: Duration,
    ask: impl FnMut() -> Result<T>,
) -> Result<T> {
    let waited = manager.until(what, deadline, ask);
    waited.map(|(found, _)| found).map_err(|error| anyhow!("{error:#}\nWhat waits:\n{}", told(manager)))
}

/// A line for each item that waits or failed.
fn told(manager: &Manager) -> String {
    match manager.list(KIND) {
        Ok(all) => all.iter().filter_map(line).collect(),
        Err(error) => format!("the manager does not tell: {error:#}\n"),
    }
}

/// Which item of which controller, since when, and why; nothing for one that is done.
fn line(status: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (metadata, spec) = (&status["metadata"], &status["spec"]);
    let state = text(&spec["state"]);
    if state == RUNNING {
        return None;
    }
    let (id, since, reason) = (text(&metadata["id"]), text(&metadata["created"]), text(&spec["reason"]));
    Some(format!("{id}: {state} since {since}: {reason}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_that_waits_has_a_line_and_one_that_is_done_has_none() {
        let status = |state: &str| {
            json!({
                "metadata": { "id": "ClusterController/e2e", "created": "2026-09-21T14:13:20Z" },
                "spec": { "state": state, "reason": "a machine" },
            })
        };
        let told = line(&status("waiting")).expect("a line");
        assert_eq!(told, "ClusterController/e2e: waiting since 2026-09-21T14:13:20Z: a machine\n");
        assert_eq!(line(&status("running")), None);
    }
}
