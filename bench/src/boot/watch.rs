//! What is seen of a machine from outside while it boots: one connection to its API server, the same for both sides.
//!
//! Until the API server answers it is asked at a fixed pace; from then on a watch tells every change of the node as it
//! happens, which costs an emulated machine nothing. At a later boot the node of the boot before is still there, Ready:
//! only what the kubelet has reported since power-on counts.

use std::future::Future;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use corten_kubernetes::{ApiResource, Client, ListOptions, WatchEvent};
use futures::StreamExt;
use serde_json::Value;

use super::timeline::Phase;

/// An answer that takes longer comes from a machine that is not there yet.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// When something was first seen.
pub type Sighting = (Phase, SystemTime);

/// Asks until an answer comes, with a pause between the questions.
pub async fn ask<T, E>(pause: Duration, mut question: impl AsyncFnMut() -> Result<T, E>) -> T {
    loop {
        if let Some(answer) = bounded(question()).await {
            return answer;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn bounded<T, E>(question: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(ANSWER_MAX, question).await.ok()?.ok()
}

/// Follows the only node until its kubelet has said, since `power_on`, that it is Ready.
pub async fn node(client: &Client, pause: Duration, power_on: SystemTime) -> Vec<Sighting> {
    let nodes = client.api(&ApiResource::nodes(), None);
    let list = ask(pause, async || nodes.list(&ListOptions::default()).await).await;
    let mut sightings = vec![(Phase::ApiServer, SystemTime::now())];
    let mut events = nodes.watch(&ListOptions::default());
    let mut seen = list.items;
    loop {
        note(&seen, power_on, &mut sightings);
        if sightings.iter().any(|(phase, _)| *phase == Phase::Ready) {
            return sightings;
        }
        seen = match events.next().await {
            Some(Ok(WatchEvent::Listed(objects))) => objects,
            Some(Ok(WatchEvent::Applied(object))) => vec![object],
            // The stream goes on by itself; an error says only that there is nothing new.
            Some(Ok(WatchEvent::Deleted(_)) | Err(_)) | None => Vec::new(),
        };
    }
}

/// Notes what these nodes show for the first time.
fn note(nodes: &[Value], power_on: SystemTime, sightings: &mut Vec<Sighting>) {
    let now = SystemTime::now();
    let fresh: Vec<&Value> =
        nodes.iter().flat_map(conditions).filter(|one| is_since(one, power_on)).collect();
    let is_ready = fresh.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
    for (phase, is_shown) in [(Phase::Registered, !fresh.is_empty()), (Phase::Ready, is_ready)] {
        if is_shown && !sightings.iter().any(|(known, _)| *known == phase) {
            sightings.push((phase, now));
        }
    }
}

fn conditions(node: &Value) -> impl Iterator<Item = &Value> {
    node["status"]["conditions"].as_array().into_iter().flatten()
}

/// Heartbeats have whole seconds.
fn is_since(condition: &Value, power_on: SystemTime) -> bool {
    let beat = condition["lastHeartbeatTime"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    beat.is_some_and(|beat| SystemTime::from(beat) + Duration::from_secs(1) > power_on)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_registered_before_it_is_ready() {
        let node = |status: &str, beat: &str| {
            let ready = json!({ "type": "Ready", "status": status, "lastHeartbeatTime": beat });
            json!({ "status": { "conditions": [ready] } })
        };
        let power_on = SystemTime::UNIX_EPOCH + Duration::from_millis(60_500);
        let (before, after) = ("1970-01-01T00:00:40Z", "1970-01-01T00:01:00Z");
        let mut sightings = Vec::new();
        let phases = |sightings: &[Sighting]| sightings.iter().map(|(phase, _)| *phase).collect::<Vec<_>>();
        note(&[node("True", before)], power_on, &mut sightings);
        assert!(sightings.is_empty(), "that was the boot before");
        note(&[node("False", after)], power_on, &mut sightings);
        assert_eq!(phases(&sightings), [Phase::Registered]);
        note(&[node("True", after)], power_on, &mut sightings);
        assert_eq!(phases(&sightings), [Phase::Registered, Phase::Ready]);
    }
}
