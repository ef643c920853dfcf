//! Applies the manifests once the API server on this machine is ready.
//!
//!     Manifests, ApiServerStatus ──server-side apply──▶ API server ──▶ ManifestStatus
//!
//! Only what is missing is made: changing what exists is an upgrade, which its client does and watches. An inventory beside the objects says
//! what came from here.

use std::collections::BTreeMap;

use anyhow::Context as _;
use corten_kubernetes::{ApplyOptions, object};
use corten_resource::{Driver, Object, Plan, View, controller};
use corten_resources::kubernetes::{ApiServerStatus, Manifest, ManifestStatus};
use corten_resources::secrets::KubernetesSecrets;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::{Access, Identity};
use crate::files::Disk;

/// Field manager that clients expect.
const MANAGER: &str = "talos";
/// Name of the inventory.
const INVENTORY: &str = "talos-bootstrap-manifests-inventory";

/// See the module.
pub struct ManifestApplier {
    access: Access,
    applied: Option<[u8; 32]>,
}

impl ManifestApplier {
    /// A controller.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { access: Access::new(disk), applied: None }
    }
}

controller!(ManifestApplier, "k8s.ManifestApply",
    inputs: [strong Manifest, strong KubernetesSecrets, weak ApiServerStatus],
    outputs: [exclusive ManifestStatus]);

/// Apply these objects.
#[derive(Debug)]
pub struct Apply {
    kubeconfig: corten_base::Secret<String>,
    objects: Vec<Value>,
    hash: [u8; 32],
}

impl Driver for ManifestApplier {
    type Observed = Option<[u8; 32]>;
    type Op = Apply;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<[u8; 32]>> {
        Ok(self.applied)
    }

    fn plan(&self, view: &View<Self>, applied: &Option<[u8; 32]>) -> Plan<Self, Apply> {
        let mut plan = Plan::new();
        let manifests = view.list::<Manifest>();
        let Some(secrets) =
            view.get::<KubernetesSecrets>(KubernetesSecrets::ID).filter(|_| !manifests.is_empty())
        else {
            return plan;
        };
        let objects: Vec<Value> = manifests
            .iter()
            .flat_map(|manifest| &manifest.items)
            .map(|item| Value::Object(item.object.clone()))
            .collect();
        let hash = hash(&objects);
        if *applied == Some(hash) {
            let manifests_applied = manifests.iter().map(|manifest| manifest.id().to_owned()).collect();
            plan.put(ManifestStatus::ID, ManifestStatus { manifests_applied });
            return plan;
        }
        plan.keep::<ManifestStatus>();
        if !view.get::<ApiServerStatus>(ApiServerStatus::ID).is_some_and(|status| status.ready) {
            return plan.waiting("kube-apiserver to be ready");
        }
        let kubeconfig = corten_base::Secret::new(secrets.localhost_admin_kubeconfig.clone());
        plan.op(Apply { kubeconfig, objects, hash });
        plan
    }

    async fn apply(&mut self, op: Apply) -> anyhow::Result<()> {
        let identity = Identity::Kubeconfig(op.kubeconfig.reveal());
        let client = self.access.client(identity).await?.context("there is no kubeconfig")?;
        let options =
            ApplyOptions { manager: MANAGER.into(), force: true, only_missing: true, dry_run: false };
        let mut failures = Vec::new();
        for applied in client.apply_manifests(&op.objects, &options).await {
            if let Err(error) = applied.result {
                failures.push(format!("{}: {}", applied.id, corten_base::chain(&error)));
            }
        }
        let inventory = ApplyOptions { only_missing: false, ..options };
        for applied in client.apply_manifests(&[Value::Object(inventory_of(&op.objects))], &inventory).await {
            if let Err(error) = applied.result {
                failures.push(format!("{}: {}", applied.id, corten_base::chain(&error)));
            }
        }
        anyhow::ensure!(failures.is_empty(), "manifests were not applied: {}", failures.join("; "));
        self.applied = Some(op.hash);
        Ok(())
    }
}

fn hash(objects: &[Value]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for object in objects {
        hash.update(object.to_string().as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// One key for each object: namespace, name, group and kind.
fn inventory_of(objects: &[Value]) -> Object {
    let key = |item: &Value| {
        let group = object::api_version(item).split_once('/').map(|(group, _)| group).unwrap_or_default();
        let name = object::name(item).replace(':', "__");
        format!("{}_{name}_{group}_{}", object::namespace(item), object::kind(item))
    };
    let data: BTreeMap<String, String> = objects.iter().map(|item| (key(item), String::new())).collect();
    super::config_map(INVENTORY, &json!(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inventory_names_every_object_with_legal_keys() {
        let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "system:x" } });
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a", "namespace": "kube-system" } });
        let inventory = inventory_of(&[role, account]);
        let keys: Vec<&String> = inventory["data"].as_object().expect("data").keys().collect();
        assert_eq!(
            keys,
            ["_system__x_rbac.authorization.k8s.io_ClusterRole", "kube-system_a__ServiceAccount"]
        );
    }
}
