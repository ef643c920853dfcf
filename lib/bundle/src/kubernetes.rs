//! What the Kubernetes of a cluster has: its version, nodes, pods and events.
//!
//! Values of environment variables are left out, since people keep passwords in them, and so is what kubectl and the
//! server keep for themselves, which repeats all of it.

use corten_base::chain;
use corten_config::yaml;
use corten_kubernetes::{ApiResource, Client, ListOptions, Object};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::document::Documents;
use crate::machine::Sink;

/// Why there is nothing more.
const OVER: &str = "the time for the bundle is over";

/// What is listed, and into which file.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// Kind of the core API.
    pub kind: &'static str,
    /// One namespace instead of all.
    pub namespace: Option<&'static str>,
    /// The file.
    pub file: &'static str,
}

/// Annotation in which kubectl keeps what was applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Asks Kubernetes for its version, into `version`, and for what is listed; each is a step.
pub async fn collect<S: Sink>(
    client: &Client,
    (version, listings): (&str, &[Listing]),
    bytes_max: usize,
    until: Instant,
    sink: &S,
) {
    match timeout_at(until, client.version()).await {
        Ok(Ok(found)) => {
            let text = yaml::render(&json!({ "version": found }));
            sink.part(version.to_owned(), text.into_bytes()).await;
        }
        Ok(Err(error)) => sink.problem("version", chain(&error)).await,
        Err(_) => sink.problem("version", OVER.to_owned()).await,
    }
    sink.step("version").await;
    for Listing { kind, namespace, file } in listings {
        let Some(resource) = ApiResource::known("v1", kind) else { continue };
        let api = client.api(&resource, *namespace);
        match timeout_at(until, api.list(&ListOptions::default())).await {
            Ok(Ok(list)) => {
                if let Some(bytes) = documents(list.items, bytes_max) {
                    sink.part((*file).to_owned(), bytes).await;
                }
            }
            Ok(Err(error)) => sink.problem(file, chain(&error)).await,
            Err(_) => sink.problem(file, OVER.to_owned()).await,
        }
        sink.step(file).await;
    }
}

fn documents(objects: Vec<Object>, bytes_max: usize) -> Option<Vec<u8>> {
    let mut documents = Documents::new(bytes_max);
    for mut object in objects {
        clean(&mut object);
        documents.push(&yaml::render(&object));
    }
    documents.finish()
}

/// Takes out what may be secret, and what only repeats.
fn clean(object: &mut Object) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(LAST_APPLIED);
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = object.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let variables = container.get_mut("env").and_then(Value::as_array_mut);
            for value in variables.into_iter().flatten().filter_map(|variable| variable.get_mut("value")) {
                *value = Value::from(corten_config::REDACTED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_what_it_is_and_loses_what_it_is_told() {
        let mut pod = json!({
            "metadata": {
                "name": "a",
                "managedFields": [{ "manager": "kubectl" }],
                "annotations": { LAST_APPLIED: "{\"env\":\"hunter2\"}", "b": "c" },
            },
            "spec": { "containers": [{
                "image": "x",
                "env": [{ "name": "PASSWORD", "value": "hunter2" }, { "name": "NODE", "valueFrom": {} }],
            }] },
        });
        clean(&mut pod);
        let text = pod.to_string();
        assert!(!text.contains("hunter2") && !text.contains("managedFields"), "{text}");
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["value"], "REDACTED");
        assert_eq!(pod["metadata"]["annotations"], json!({ "b": "c" }));
        clean(&mut Value::Null);
    }
}
