//! Against a real kube-apiserver: verbs, watch over a restart, manifests, tokens.
//!
//! `CORTEN_KUBERNETES` names a folder with `etcd` and the multi-call `kubernetes`; both run on loopback only.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives real daemons and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "this test starts the servers itself")]

#[path = "server/fixture.rs"]
mod fixture;

use corten_base::Secret;
use corten_kubernetes::{
    ApiResource, ApplyOptions, Auth, Client, Error, Kubeconfig, ListOptions, Outcome, PatchKind, WatchEvent,
    object,
};
use fixture::Cluster;
use futures::StreamExt;
use serde_json::{Value, json};

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

fn config_maps() -> ApiResource {
    ApiResource::known("v1", "ConfigMap").unwrap()
}

/// One server for all stories: it takes seconds to start.
#[tokio::test]
async fn speaks_to_a_real_api_server() {
    let Some(mut cluster) = Cluster::start().await else { return };
    assert!(cluster.client.version().await.unwrap().starts_with('v'));
    verbs(&cluster.client).await;
    manifests(&cluster.client).await;
    credentials(&cluster).await;
    nodes(&cluster.client).await;
    follows_over_a_restart(&mut cluster).await;
}

async fn verbs(client: &Client) {
    let api = client.api(&config_maps(), Some("default"));
    let made = api.create(&config_map("a", "1")).await.unwrap();
    assert!(!object::resource_version(&made).is_empty());
    assert!(api.create(&config_map("a", "1")).await.unwrap_err().is_conflict());
    assert!(api.get("absent").await.unwrap_err().is_not_found());
    assert!(api.find("absent").await.unwrap().is_none());

    let patched = api.patch("a", PatchKind::Merge, &json!({"data": {"other": "2"}})).await.unwrap();
    assert_eq!(patched["data"], json!({"key": "1", "other": "2"}));
    let patched = api.patch("a", PatchKind::Strategic, &json!({"data": {"other": null}})).await.unwrap();
    assert_eq!(patched["data"], json!({"key": "1"}));
    let patch = json!([{"op": "replace", "path": "/data/key", "value": "5"}]);
    assert_eq!(api.patch("a", PatchKind::Json, &patch).await.unwrap()["data"]["key"], "5");
    assert!(api.replace("a", &made).await.unwrap_err().is_conflict(), "an old version");

    let mut labelled = config_map("b", "1");
    labelled["metadata"]["labels"] = json!({"team": "x"});
    api.apply(&labelled, "corten", false, false).await.unwrap();
    let list = api.list(&ListOptions::labels("team=x")).await.unwrap();
    assert_eq!(list.items.iter().map(object::describe).collect::<Vec<_>>(), ["ConfigMap default/b"]);
    let other = api.apply(&config_map("b", "2"), "somebody", false, false).await.unwrap_err();
    assert!(other.is_conflict(), "another manager owns the field");
    api.delete("a").await.unwrap();
    api.delete("a").await.unwrap();
}

async fn manifests(client: &Client) {
    let text = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
{apiVersion: example.org/v1, kind: Widget, metadata: {name: w}, size: 3}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {a: '1'}}
";
    let mut objects = corten_config::yaml::parse(text).unwrap();
    let mut options =
        ApplyOptions { manager: "corten".into(), force: true, only_missing: false, dry_run: false };
    let first = client.apply_manifests(&objects, &options).await;
    assert!(matches!(first[0].result, Ok(Outcome::Created)), "{first:?}");
    assert!(matches!(first[1].result, Ok(Outcome::Created) | Err(Error::UnknownKind { .. })), "{first:?}");
    assert!(matches!(first[2].result, Ok(Outcome::Created)), "{first:?}");
    fixture::eventually("the new kind", async || {
        let results = client.apply_manifests(&objects[1..2], &options).await;
        matches!(results[0].result, Ok(Outcome::Created | Outcome::Unchanged))
    })
    .await;
    objects[2]["data"]["a"] = json!("2");
    let outcome =
        |results: Vec<corten_kubernetes::Applied>| results.into_iter().next().unwrap().result.unwrap();
    options.only_missing = true;
    assert_eq!(outcome(client.apply_manifests(&objects[2..], &options).await), Outcome::Skipped);
    options.only_missing = false;
    options.dry_run = true;
    assert_eq!(outcome(client.apply_manifests(&objects[2..], &options).await), Outcome::Updated);
    options.dry_run = false;
    assert_eq!(outcome(client.apply_manifests(&objects[2..], &options).await), Outcome::Updated);
    assert_eq!(outcome(client.apply_manifests(&objects[2..], &options).await), Outcome::Unchanged);
}

async fn credentials(cluster: &Cluster) {
    let accounts = ApiResource::known("v1", "ServiceAccount").unwrap();
    let api = cluster.client.api(&accounts, Some("default"));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}});
    api.create(&account).await.unwrap();
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = api.create_part("s", "token", &request).await.unwrap();
    let token = token["status"]["token"].as_str().unwrap().to_owned();

    let mut config = cluster.config();
    config.auth = Auth::Token(Secret::new(token));
    let weak = Client::new(&config).unwrap();
    let refused = weak.api(&ApiResource::nodes(), None).list(&ListOptions::default()).await.unwrap_err();
    assert_eq!(refused.code(), Some(403), "{}", corten_base::chain(&refused));
    config.auth = Auth::Token(Secret::new("nonsense".into()));
    let refused = Client::new(&config).unwrap().version().await.unwrap_err();
    assert!(refused.is_unauthorized(), "{}", corten_base::chain(&refused));
    config.ca = cluster.foreign_ca();
    assert!(
        Client::new(&config).unwrap().version().await.unwrap_err().is_transient(),
        "an unknown authority"
    );

    let loaded = Kubeconfig::load(&cluster.kubeconfig()).await.unwrap();
    assert!(Client::new(&loaded).unwrap().ready().await.unwrap());
}

async fn nodes(client: &Client) {
    let api = client.api(&ApiResource::nodes(), None);
    api.create(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})).await.unwrap();
    let taints = json!({"spec": {"unschedulable": true}, "metadata": {"labels": {"a/b": "c"}}});
    let node = api.patch("n", PatchKind::Strategic, &taints).await.unwrap();
    assert_eq!(object::label(&node, "a/b"), Some("c"));
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let node = api.patch_status("n", &status).await.unwrap();
    assert!(object::has_condition(&node, "Ready"));
    let pods = client.api(&ApiResource::pods(), Some("default"));
    assert!(pods.evict("absent", Some(1)).await.unwrap(), "gone is as good as evicted");
}

async fn follows_over_a_restart(cluster: &mut Cluster) {
    let api = cluster.client.api(&config_maps(), Some("kube-public"));
    let mut watch = api.watch(&ListOptions::default());
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Listed(_)))));
    api.create(&config_map("w", "1")).await.unwrap();
    applied(&mut watch, "w", "1").await;

    cluster.restart().await;
    api.patch("w", PatchKind::Merge, &json!({"data": {"key": "2"}})).await.unwrap();
    applied(&mut watch, "w", "2").await;
    api.delete("w").await.unwrap();
    loop {
        if let Ok(WatchEvent::Deleted(object)) = watch.next().await.unwrap()
            && object::name(&object) == "w"
        {
            return;
        }
    }
}

async fn applied<S>(watch: &mut S, name: &str, value: &str)
where
    S: futures::Stream<Item = Result<WatchEvent, Error>> + Unpin,
{
    let wanted = |object: &Value| object::name(object) == name && object["data"]["key"] == value;
    loop {
        // Errors while the server is away are expected, and so is a new list when it has forgotten the version.
        match watch.next().await.unwrap() {
            Ok(WatchEvent::Applied(object)) if wanted(&object) => return,
            Ok(WatchEvent::Listed(objects)) if objects.iter().any(wanted) => return,
            _ => {}
        }
    }
}
