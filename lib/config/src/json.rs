//! Nodes as JSON, for JSON patches and for handing Kubernetes objects on.

use serde_json::{Map as JsonMap, Number, Value as Json};

use crate::node::{Kind, Node, Scalar, Value};

/// A node as JSON; numbers that JSON lacks become text.
#[must_use]
pub fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Map(map) => Json::Object(
            map.iter().map(|entry| (entry.key.clone(), to_json(&entry.value))).collect::<JsonMap<_, _>>(),
        ),
        Value::Scalar(scalar) => scalar_to_json(scalar),
    }
}

fn scalar_to_json(scalar: &Scalar) -> Json {
    match scalar.kind {
        Kind::Null => Json::Null,
        Kind::Bool(value) => Json::Bool(value),
        Kind::Integer(value) => match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Json::from(value),
            (_, Ok(value)) => Json::from(value),
            _ => Json::String(scalar.text.clone()),
        },
        Kind::Float(value) => {
            Number::from_f64(value).map_or_else(|| Json::String(scalar.text.clone()), Json::Number)
        }
        Kind::Text => Json::String(scalar.text.clone()),
    }
}

/// JSON as a node.
#[must_use]
pub fn from_json(json: &Json) -> Node {
    match json {
        Json::Null => Node::default(),
        Json::Bool(value) => Node::bool(*value),
        Json::Number(number) => {
            let text = number.to_string();
            let kind = crate::scalar::resolve(&text);
            Node::from(Value::Scalar(Scalar { text, kind }))
        }
        Json::String(text) => Node::string(text.as_str()),
        Json::Array(items) => Node::list(items.iter().map(from_json)),
        Json::Object(map) => Node::map(map.iter().map(|(key, value)| (key.as_str(), from_json(value)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_way_through_nodes() {
        let json = serde_json::json!({"a": [1, -2, 1.5, 18_446_744_073_709_551_615_u64], "b": {"c": null, "d": true}, "e": "1"});
        assert_eq!(to_json(&from_json(&json)), json);
    }
}
