//! Replaces every secret by the word that all tools know.

use crate::document::Document;
use crate::node::{Node, Value};
use crate::schema::Type;

/// What stands in place of a secret.
pub const REDACTED: &str = "REDACTED";

/// The trees of all documents without their secrets.
#[must_use]
pub fn documents(documents: &[Document]) -> Vec<Node> {
    documents.iter().map(|document| node(&document.node, Type::Record(document.kind.record))).collect()
}

fn node(source: &Node, kind: Type) -> Node {
    let mut out = source.clone();
    match (kind, &mut out.value) {
        (Type::Record(record), Value::Map(map)) => {
            for entry in map.iter_mut() {
                if let Some(field) = record.field(&entry.key) {
                    entry.value =
                        if field.secret { hide(&entry.value) } else { node(&entry.value, field.kind) };
                }
            }
        }
        (Type::List(inner), Value::List(items)) => {
            items.iter_mut().for_each(|item| *item = node(item, *inner))
        }
        (Type::Map(inner), Value::Map(map)) => {
            map.iter_mut().for_each(|entry| entry.value = node(&entry.value, *inner));
        }
        (Type::Url | Type::Text, Value::Scalar(scalar)) => {
            scalar.text = without_join_token(&without_credentials(&scalar.text));
        }
        _ => {}
    }
    out
}

/// Hides every text of a value; an empty one shows that nothing is set.
fn hide(source: &Node) -> Node {
    if source.is_zero() {
        return source.clone();
    }
    match &source.value {
        Value::Map(map) => Node::map(map.iter().map(|entry| (entry.key.as_str(), hide(&entry.value)))),
        Value::List(items) => Node::list(items.iter().map(hide)),
        Value::Scalar(_) => Node::string(REDACTED),
    }
}

fn without_credentials(url: &str) -> String {
    let hidden = url.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (_, host) = rest[..end].rsplit_once('@')?;
        Some(format!("{scheme}://{REDACTED}@{host}{}", &rest[end..]))
    });
    hidden.unwrap_or_else(|| url.to_owned())
}

/// Hides the token in the query of a join URL; its other parameters stay.
fn without_join_token(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let hide = |pair: &str| match pair.split_once('=') {
        Some(("jointoken", _)) => format!("jointoken={REDACTED}"),
        _ => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(hide).collect();
    format!("{before}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn join_urls_keep_all_but_their_token() {
        let text = "apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: https://h:1?jointoken=hunter2&grpc_tunnel=true\nuniqueToken: hunter2\n";
        let redacted = Config::parse(text.as_bytes()).unwrap().redacted();
        assert!(!redacted.contains("hunter2"), "{redacted}");
        assert!(redacted.contains("https://h:1?jointoken=REDACTED&grpc_tunnel=true"), "{redacted}");
    }

    #[test]
    fn secrets_and_passwords_in_urls_are_hidden_and_the_rest_stays() {
        let text = "version: v1alpha1\nmachine:\n    type: worker\n    token: hunter2\n    nodeAnnotations: {proxy: 'http://u:hunter2@proxy:80', mail: a@b}\n    ca: {crt: YQ==, key: aHVudGVyMg==}\n    registries:\n        mirrors:\n            '*': {endpoints: ['https://u:hunter2@mirror/x']}\ncluster:\n    token: ''\n    extraManifestHeaders: {Authorization: hunter2}\n";
        let config = Config::parse(text.as_bytes()).unwrap();
        let redacted = config.redacted();
        assert!(!redacted.contains("hunter2") && !redacted.contains("aHVudGVyMg"), "{redacted}");
        assert!(redacted.contains("token: REDACTED\n"));
        assert!(redacted.contains("crt: YQ=="));
        assert!(redacted.contains("https://REDACTED@mirror/x"));
        assert!(redacted.contains("http://REDACTED@proxy:80") && redacted.contains("mail: a@b"));
        assert!(redacted.contains("token: \"\"\n"));
        assert!(redacted.contains("Authorization: REDACTED"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
