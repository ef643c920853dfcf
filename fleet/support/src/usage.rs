//! How full the Kubernetes of clusters are: what all pods claim, and what all nodes have.
//!
//! ```text
//! Reach ─▶ nodes, pods that run or will ─▶ usage (pure) ─▶ KubernetesUsage
//! ```

use std::sync::Arc;
use std::time::Duration;

use corten_base::chain;
use corten_fleet_api::virtual_resources::KubernetesUsages;
use corten_fleet_resources::views::{KubernetesUsage, PodUsage, ResourceUsage};
use corten_kubernetes::{ApiResource, Error, ListOptions, Object};
use corten_resource::{Answer, StateError};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::reach::Reach;

/// Clusters that are asked at a time: the pods of a large one are many megabytes.
const PLACES: usize = 4;
/// How long all of it may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Only pods that run, or will.
const ALIVE: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// Units of quantities (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>). One that
/// ends with another comes before it.
const UNITS: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Measures clusters when somebody asks.
pub struct Usages {
    reach: Arc<dyn Reach>,
    places: Semaphore,
}

impl std::fmt::Debug for Usages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Usages").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Usages {
    /// Over ways to clusters.
    #[must_use]
    pub fn new(reach: Arc<dyn Reach>) -> Self {
        Self { reach, places: Semaphore::new(PLACES) }
    }

    async fn measure(&self, cluster: &str) -> Result<KubernetesUsage, StateError> {
        let away = |why: String| StateError::Unavailable(format!("the Kubernetes of {cluster}: {why}"));
        let Some(client) = self.reach.kubernetes(cluster) else {
            return Err(away("the manager does not see it; it is not bootstrapped, or away".to_owned()));
        };
        let ask = async {
            let _place = self.places.acquire().await;
            let alive = ListOptions { fields: ALIVE.to_owned(), ..ListOptions::default() };
            let nodes = client.api(&ApiResource::nodes(), None).list(&ListOptions::default()).await?;
            let pods = client.api(&ApiResource::pods(), None).list(&alive).await?;
            Ok::<_, Error>(usage(&nodes.items, &pods.items))
        };
        match timeout(ANSWER_MAX, ask).await {
            Ok(measured) => measured.map_err(|error| away(chain(&error))),
            Err(_) => Err(away(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
        }
    }
}

impl KubernetesUsages for Usages {
    fn usage<'a>(&'a self, cluster: &'a str) -> Answer<'a, KubernetesUsage> {
        Box::pin(self.measure(cluster))
    }
}

/// What these pods claim of what these nodes have.
fn usage(nodes: &[Object], pods: &[Object]) -> KubernetesUsage {
    let capacity = |name: &str| nodes.iter().map(|node| amount(node, "/status/capacity", name)).sum::<f64>();
    let claimed = |which: &str, name: &str| {
        let own = pods.iter().map(|pod| {
            let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
            containers.map(|container| amount(container, which, name)).sum::<f64>()
        });
        own.sum::<f64>()
    };
    let of = |name: &str| {
        Some(ResourceUsage {
            requests: claimed("/resources/requests", name),
            limits: claimed("/resources/limits", name),
            capacity: capacity(name),
        })
    };
    let count = |number: f64| format!("{number:.0}").parse().unwrap_or(i32::MAX);
    let pods_count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    KubernetesUsage {
        cpu: of("cpu"),
        mem: of("memory"),
        storage: of("ephemeral-storage"),
        pods: Some(PodUsage { count: pods_count, capacity: count(capacity("pods")) }),
    }
}

/// The quantity with this name in a map of an object; nothing is zero.
fn amount(object: &Object, map: &str, name: &str) -> f64 {
    let text = object.pointer(map).and_then(|map| map.get(name)).and_then(Value::as_str);
    text.and_then(quantity).unwrap_or_default()
}

/// A quantity such as `100m`, `1.5Gi` or `2e3`.
fn quantity(text: &str) -> Option<f64> {
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = unit.unwrap_or((text, &1.0));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let value = is_number.then(|| number.parse::<f64>().ok())?? * factor;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("2", Some(2.0)),
            ("100m", Some(0.1)),
            ("1.5Gi", Some(1_610_612_736.0)),
            ("16412Ki", Some(16_805_888.0)),
            ("2e3", Some(2000.0)),
            ("1E", Some(1e18)),
            ("", None),
            ("inf", None),
            ("Gi", None),
        ] {
            let found = quantity(text);
            let is_same = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(is_same, "{text}: {found:?}");
        }
        bolero::check!().for_each(|bytes: &[u8]| {
            let value = quantity(&String::from_utf8_lossy(bytes));
            assert!(value.is_none_or(f64::is_finite));
        });
    }

    #[test]
    fn a_cluster_is_as_full_as_its_pods_claim() {
        let node = json!({ "status": { "capacity": { "cpu": "4", "memory": "8Gi", "pods": "110" } } });
        let container = json!({ "resources": {
            "requests": { "cpu": "250m", "memory": "1Gi" },
            "limits": { "cpu": "1" },
        } });
        let pod = json!({ "spec": { "containers": [container, container, {}] } });
        let found = usage(&[node.clone(), node], &[pod]);
        let cpu = found.cpu.expect("processors");
        assert!((cpu.requests - 0.5).abs() < 1e-9 && (cpu.limits - 2.0).abs() < 1e-9);
        assert!((cpu.capacity - 8.0).abs() < 1e-9);
        let memory = found.mem.expect("memory");
        assert!((memory.requests - 2_147_483_648.0).abs() < 1e-3);
        assert_eq!(found.pods, Some(PodUsage { count: 1, capacity: 220 }));
    }
}
