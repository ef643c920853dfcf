//! The JSON schema (draft 2020-12) of a machine configuration: any one document of it. Editors check files against it,
//! and complete keys.

use anyhow::{Context, Result};
use corten_config::schema::{
    DOCUMENTS, DocumentKind, Field, LATER_DOCUMENTS, ROOT_KIND, Record, Support, Type,
};
use serde_json::{Map, Value, json};

/// The version of the language of schemas.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Said of what is refused.
const LATER: &str = "This version refuses it by its name.";
/// A duration as Go writes it.
const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$";
/// Bytes, plain or with a unit, or a part in percent.
const SIZE: &str = r"^[0-9]+(\.[0-9]+)? ?([kKMGTPE]i?)?B?$|^[0-9]+%$";

/// The schema as text.
pub(super) fn page() -> Result<String> {
    let all = DOCUMENTS.iter().map(|it| (it, false)).chain(LATER_DOCUMENTS.iter().map(|it| (it, true)));
    let mut definitions = Map::new();
    let mut any = Vec::new();
    for (kind, is_later) in all {
        definitions.insert(kind.kind.to_owned(), document(kind, is_later));
        any.push(json!({ "$ref": format!("#/$defs/{}", kind.kind) }));
    }
    let schema = json!({
        "$schema": DRAFT,
        "$comment": "Written by `cargo xtask gen` from the code; change the code instead.",
        "title": "A document of a machine configuration",
        "anyOf": any,
        "$defs": definitions,
    });
    serde_json::to_string_pretty(&schema).context("the schema cannot be written")
}

fn document(kind: &DocumentKind, is_later: bool) -> Value {
    let mut schema = record(kind.record);
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return schema };
    let mut required = Vec::new();
    if kind.kind == ROOT_KIND {
        // The document that has no kind must not have one.
        properties.insert("kind".to_owned(), Value::Bool(false));
        required.push("version");
    } else {
        properties.insert("apiVersion".to_owned(), json!({ "const": "v1alpha1" }));
        properties.insert("kind".to_owned(), json!({ "const": kind.kind }));
        required.extend(["apiVersion", "kind"]);
        if kind.named {
            required.push("name");
            properties
                .entry("name")
                .or_insert_with(|| json!({ "type": "string", "description": "Its name." }));
        }
    }
    for field in kind.record.fields.iter().filter(|field| field.required) {
        if !required.contains(&field.key) {
            required.push(field.key);
        }
    }
    if is_later {
        schema["deprecated"] = true.into();
        schema["description"] = format!("{} {LATER}", kind.record.doc).into();
    }
    schema["required"] = json!(required);
    schema
}

fn record(record: &Record) -> Value {
    let properties: Map<String, Value> =
        record.fields.iter().map(|field| (field.key.to_owned(), described(field))).collect();
    json!({
        "type": "object",
        "description": record.doc,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn described(field: &Field) -> Value {
    let mut schema = value(&field.kind);
    let note = match field.support {
        Support::Effective => String::new(),
        Support::Inert => " It changes nothing yet.".to_owned(),
        Support::Refused => format!(" {LATER}"),
    };
    schema["description"] = format!("{}{note}", field.doc).into();
    if field.support == Support::Refused {
        schema["deprecated"] = true.into();
    }
    if field.secret {
        schema["writeOnly"] = true.into();
    }
    schema
}

fn value(kind: &Type) -> Value {
    match kind {
        // Any scalar is taken as its text.
        Type::Text => json!({ "type": ["string", "number", "boolean", "null"] }),
        Type::Bool => json!({ "type": ["boolean", "null"] }),
        Type::Integer(least, most) => {
            let mut schema = json!({ "type": ["integer", "null"] });
            if *least != i64::MIN {
                schema["minimum"] = (*least).into();
            }
            if *most != i64::MAX {
                schema["maximum"] = (*most).into();
            }
            schema
        }
        Type::Duration => json!({ "type": ["string", "integer", "null"], "pattern": DURATION }),
        Type::Size => json!({ "type": ["string", "integer", "null"], "pattern": SIZE }),
        Type::Mode => json!({ "type": ["string", "integer", "null"] }),
        Type::Ip | Type::Cidr | Type::Address | Type::Pem => json!({ "type": ["string", "null"] }),
        Type::Ports => json!({ "type": ["string", "integer", "null"] }),
        Type::Url => json!({ "type": ["string", "null"], "format": "uri" }),
        Type::OneOf(words) => {
            let words: Vec<Value> = words.iter().map(|word| (*word).into()).chain([Value::Null]).collect();
            json!({ "enum": words })
        }
        Type::Argument => json!({
            "type": ["string", "number", "boolean", "null", "array"],
            "items": { "type": ["string", "number", "boolean"] },
        }),
        Type::Any => json!({}),
        Type::Object => json!({ "type": ["object", "null"] }),
        Type::List(element) => json!({ "type": ["array", "null"], "items": value(element) }),
        Type::Map(element) => json!({ "type": ["object", "null"], "additionalProperties": value(element) }),
        Type::Record(inner) => {
            let mut schema = record(inner);
            schema["type"] = json!(["object", "null"]);
            schema
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        serde_json::from_str(&page().unwrap()).unwrap()
    }

    #[test]
    fn every_kind_of_document_is_in_the_schema() {
        let schema = schema();
        for kind in DOCUMENTS.iter().chain(LATER_DOCUMENTS) {
            let own = &schema["$defs"][kind.kind];
            assert_eq!(own["type"], "object", "{}", kind.kind);
            assert_eq!(own["additionalProperties"], false, "{}", kind.kind);
        }
        assert_eq!(schema["anyOf"].as_array().unwrap().len(), DOCUMENTS.len() + LATER_DOCUMENTS.len());
    }

    #[test]
    fn documents_are_told_apart_by_their_kind() {
        let schema = schema();
        let hostname = &schema["$defs"]["HostnameConfig"];
        assert_eq!(hostname["properties"]["kind"]["const"], "HostnameConfig");
        assert_eq!(hostname["required"], json!(["apiVersion", "kind"]));
        assert_eq!(schema["$defs"][ROOT_KIND]["properties"]["kind"], false);
        assert!(schema["$defs"]["LinkConfig"]["required"].as_array().unwrap().contains(&"name".into()));
    }

    #[test]
    fn secrets_and_ranges_are_marked() {
        let schema = schema();
        let machine = &schema["$defs"][ROOT_KIND]["properties"]["machine"]["properties"];
        assert_eq!(machine["token"]["writeOnly"], true);
        let words = machine["type"]["enum"].as_array().unwrap();
        assert!(words.contains(&"worker".into()));
    }
}
