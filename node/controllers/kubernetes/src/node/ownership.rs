//! Keys of the Node that this machine owns: what it set it may change and remove, nothing else.
//!
//! Ownership stands on the Node itself, as JSON lists in annotations, so that it survives this machine's reinstallation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Annotation with the owned labels.
pub const LABELS: &str = "talos.dev/owned-labels";
/// Annotation with the owned annotations.
pub const ANNOTATIONS: &str = "talos.dev/owned-annotations";
/// Annotation with the owned taints.
pub const TAINTS: &str = "talos.dev/owned-taints";
/// Annotation of a node that this machine cordoned.
pub const CORDONED: &str = "talos.dev/cordoned";

/// A taint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Effect.
    pub effect: String,
}

/// What this machine wants to own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// No pods should come.
    pub cordoned: bool,
}

/// The merge patch that makes the Node as wished; nothing when it is so already.
///
/// It carries the Node's resource version when it replaces the list of taints, because that list has other authors.
#[must_use]
pub fn patch(node: &Value, wish: &Wish) -> Option<Value> {
    let (labels, annotations) = (text_map(node, "/metadata/labels"), text_map(node, "/metadata/annotations"));
    let labels = Owning::plan(&labels, &wish.labels, &owned(&annotations, LABELS));
    let mut own_annotations =
        Owning::plan(&annotations, &wish.annotations, &owned(&annotations, ANNOTATIONS));
    let (taints, owned_taints) = taints(node, wish, &owned(&annotations, TAINTS));
    for (key, names) in
        [(LABELS, &labels.owned), (ANNOTATIONS, &own_annotations.owned), (TAINTS, &owned_taints)]
    {
        let wanted = (!names.is_empty()).then(|| json!(names).to_string());
        if annotations.get(key) != wanted.as_ref() {
            own_annotations.changes.insert(key.into(), json!(wanted));
        }
    }
    let mut spec = Map::new();
    cordon(node, wish.cordoned, annotations.contains_key(CORDONED), &mut spec, &mut own_annotations.changes);
    let mut metadata = Map::new();
    if let Some(taints) = taints {
        spec.insert("taints".into(), taints);
        metadata.insert(
            "resourceVersion".into(),
            node.pointer("/metadata/resourceVersion").cloned().unwrap_or_default(),
        );
    }
    let parts = [("labels", labels.changes), ("annotations", own_annotations.changes)];
    metadata.extend(filled(parts));
    let patch: Map<String, Value> = filled([("metadata", metadata), ("spec", spec)]).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn filled<const N: usize>(parts: [(&str, Map<String, Value>); N]) -> impl Iterator<Item = (String, Value)> {
    parts
        .map(|(name, part)| (name.to_owned(), part))
        .into_iter()
        .filter(|(_, part)| !part.is_empty())
        .map(|(name, part)| (name, Value::Object(part)))
}

/// Changes of a map, and the keys that are ours afterwards.
struct Owning {
    changes: Map<String, Value>,
    owned: BTreeSet<String>,
}

impl Owning {
    fn plan(
        current: &BTreeMap<String, String>,
        wish: &BTreeMap<String, String>,
        owned: &BTreeSet<String>,
    ) -> Self {
        let mut plan = Self { changes: Map::new(), owned: BTreeSet::new() };
        for (key, value) in wish {
            let is_ours = owned.contains(key) || !current.contains_key(key);
            if is_ours {
                plan.owned.insert(key.clone());
                if current.get(key) != Some(value) {
                    plan.changes.insert(key.clone(), json!(value));
                }
            }
        }
        for key in owned.iter().filter(|key| !wish.contains_key(*key) && current.contains_key(*key)) {
            plan.changes.insert(key.clone(), Value::Null);
        }
        plan
    }
}

fn text_map(node: &Value, pointer: &str) -> BTreeMap<String, String> {
    let entries = node.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn owned(annotations: &BTreeMap<String, String>, key: &str) -> BTreeSet<String> {
    annotations.get(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The whole new list if it differs, and the keys that are ours afterwards.
///
/// A taint that is exactly as wished is ours even if the kubelet set it when it registered: it was told to by the same configuration.
fn taints(node: &Value, wish: &Wish, owned: &BTreeSet<String>) -> (Option<Value>, BTreeSet<String>) {
    let current: Vec<Value> =
        node.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
    let key = |taint: &Value| taint.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_wished = |taint: &Value| {
        wish.taints.iter().find(|wished| wished.key == key(taint)).is_some_and(|wished| wished.is(taint))
    };
    let foreign: BTreeSet<String> =
        current.iter().filter(|taint| !owned.contains(&key(taint)) && !is_wished(taint)).map(key).collect();
    let mine: Vec<&Taint> = wish.taints.iter().filter(|taint| !foreign.contains(&taint.key)).collect();
    let mut wanted: Vec<Value> =
        current.iter().filter(|taint| foreign.contains(&key(taint)) || is_wished(taint)).cloned().collect();
    for taint in &mine {
        if !wanted.iter().any(|there| taint.is(there)) {
            wanted.push(taint.object());
        }
    }
    let names = mine.iter().map(|taint| taint.key.clone()).collect();
    ((wanted != current).then(|| json!(wanted)), names)
}

impl Taint {
    fn is(&self, object: &Value) -> bool {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        text("key") == self.key && text("value") == self.value && text("effect") == self.effect
    }

    fn object(&self) -> Value {
        let mut object = json!({ "key": self.key, "effect": self.effect });
        if !self.value.is_empty() {
            object["value"] = json!(self.value);
        }
        object
    }
}

fn cordon(
    node: &Value,
    wished: bool,
    ours: bool,
    spec: &mut Map<String, Value>,
    annotations: &mut Map<String, Value>,
) {
    let is_cordoned = node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or_default();
    if wished && !is_cordoned {
        spec.insert("unschedulable".into(), json!(true));
        annotations.insert(CORDONED.into(), json!("true"));
    } else if !wished && ours {
        if is_cordoned {
            spec.insert("unschedulable".into(), Value::Null);
        }
        annotations.insert(CORDONED.into(), Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A merge patch as the API server applies it (RFC 7396).
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in patch {
            let object = target.as_object_mut().expect("an object");
            if value.is_null() {
                object.remove(key);
            } else {
                apply(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }

    fn wish(labels: &BTreeMap<String, String>, cordoned: bool) -> Wish {
        let taints = vec![Taint { key: "own".into(), value: String::new(), effect: "NoSchedule".into() }];
        Wish { labels: labels.clone(), annotations: BTreeMap::new(), taints, cordoned }
    }

    #[test]
    fn what_others_set_stays() {
        let mut node = json!({
            "metadata": { "resourceVersion": "7", "labels": { "theirs": "1", "both": "theirs" } },
            "spec": { "taints": [{ "key": "theirs", "effect": "NoExecute" }] },
        });
        let labels =
            BTreeMap::from([("mine".to_owned(), "1".to_owned()), ("both".to_owned(), "mine".to_owned())]);
        let change = patch(&node, &wish(&labels, false)).expect("a change");
        apply(&mut node, &change);
        assert_eq!(node["metadata"]["labels"], json!({ "theirs": "1", "both": "theirs", "mine": "1" }));
        assert_eq!(node["metadata"]["annotations"][LABELS], r#"["mine"]"#);
        assert_eq!(
            node["spec"]["taints"],
            json!([{ "key": "theirs", "effect": "NoExecute" }, { "key": "own", "effect": "NoSchedule" }])
        );
        let removal = patch(&node, &Wish::default()).expect("a change");
        apply(&mut node, &removal);
        assert_eq!(node["metadata"]["labels"], json!({ "theirs": "1", "both": "theirs" }));
        assert_eq!(node["spec"]["taints"], json!([{ "key": "theirs", "effect": "NoExecute" }]));
        assert_eq!(node["metadata"]["annotations"], json!({}));
    }

    #[test]
    fn only_an_own_cordon_is_lifted() {
        let mut node = json!({ "metadata": {}, "spec": { "unschedulable": true } });
        assert_eq!(patch(&node, &Wish::default()), None);
        node["spec"] = json!({});
        let cordoned = Wish { cordoned: true, ..Wish::default() };
        let change = patch(&node, &cordoned).expect("a change");
        apply(&mut node, &change);
        assert_eq!(node["spec"]["unschedulable"], true);
        let change = patch(&node, &Wish::default()).expect("a change");
        apply(&mut node, &change);
        assert!(node["spec"].get("unschedulable").is_none());
    }

    proptest! {
        #[test]
        fn after_a_patch_there_is_nothing_to_patch(
            present in prop::collection::btree_map("[a-d]", "[x-z]", 0..4),
            wished in prop::collection::btree_map("[a-d]", "[x-z]", 0..4),
            next in prop::collection::btree_map("[a-d]", "[x-z]", 0..4),
            cordoned in any::<bool>(),
        ) {
            let mut node = json!({ "metadata": { "labels": present } });
            for step in [wish(&wished, cordoned), wish(&next, !cordoned)] {
                if let Some(change) = patch(&node, &step) {
                    apply(&mut node, &change);
                }
                prop_assert_eq!(patch(&node, &step), None);
            }
        }
    }
}
