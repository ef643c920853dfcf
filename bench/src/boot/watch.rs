//! What is seen of a machine from outside while it boots: one connection to its API server, the same for both sides.
//!
//! Until the API server answers it is asked at a fixed pace; from then on a watch tells every change of the node as it
//! happens, which costs an emulated machine nothing.

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

/// Follows the only node until it is Ready.
pub async fn node(client: &Client, pause: Duration) -> Vec<Sighting> {
    let nodes = client.api(&ApiResource::nodes(), None);
    let list = ask(pause, async || nodes.list(&ListOptions::default()).await).await;
    let mut sightings = vec![(Phase::ApiServer, SystemTime::now())];
    let mut events = nodes.watch(&ListOptions::default());
    let mut seen = list.items;
    loop {
        note(&seen, &mut sightings);
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
fn note(nodes: &[Value], sightings: &mut Vec<Sighting>) {
    let now = SystemTime::now();
    let shown = [(Phase::Registered, !nodes.is_empty()), (Phase::Ready, nodes.iter().any(is_ready))];
    for (phase, is_shown) in shown {
        if is_shown && !sightings.iter().any(|(known, _)| *known == phase) {
            sightings.push((phase, now));
        }
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_registered_before_it_is_ready() {
        let node =
            |status: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
        let mut sightings = Vec::new();
        let phases = |sightings: &[Sighting]| sightings.iter().map(|(phase, _)| *phase).collect::<Vec<_>>();
        note(&[], &mut sightings);
        assert!(sightings.is_empty());
        note(&[node("False")], &mut sightings);
        assert_eq!(phases(&sightings), [Phase::Registered]);
        note(&[node("True")], &mut sightings);
        assert_eq!(phases(&sightings), [Phase::Registered, Phase::Ready]);
    }
}
