//! Reading what every object has.

use serde_json::Value;

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    let mut value = Some(object);
    for key in path {
        value = value.and_then(|it| it.get(key));
    }
    value.and_then(Value::as_str).unwrap_or_default()
}

/// `apiVersion`; empty when absent.
#[must_use]
pub fn api_version(object: &Value) -> &str {
    text(object, &["apiVersion"])
}

/// `kind`; empty when absent.
#[must_use]
pub fn kind(object: &Value) -> &str {
    text(object, &["kind"])
}

/// `metadata.name`; empty when absent.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// `metadata.namespace`; empty when absent.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// `metadata.resourceVersion`; empty when absent.
#[must_use]
pub fn resource_version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}

/// A label's value.
#[must_use]
pub fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(name)?.as_str()
}

/// An annotation's value.
#[must_use]
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

/// Whether `status.conditions` holds a condition of this type with status `True`.
#[must_use]
pub fn has_condition(object: &Value, condition: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| {
        all.iter().any(|it| text(it, &["type"]) == condition && text(it, &["status"]) == "True")
    })
}

/// `kind namespace/name`, for people.
#[must_use]
pub fn describe(object: &Value) -> String {
    match namespace(object) {
        "" => format!("{} {}", kind(object), name(object)),
        namespace => format!("{} {namespace}/{}", kind(object), name(object)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_empty() {
        let node = serde_json::json!({"kind": "Node", "metadata": {"name": "a", "labels": {"x": "y"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!((kind(&node), name(&node), namespace(&node)), ("Node", "a", ""));
        assert_eq!((label(&node, "x"), annotation(&node, "x")), (Some("y"), None));
        assert!(has_condition(&node, "Ready") && !has_condition(&Value::Null, "Ready"));
        assert_eq!(describe(&node), "Node a");
    }
}
