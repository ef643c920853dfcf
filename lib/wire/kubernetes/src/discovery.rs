//! Asking the server which resource serves a kind.

use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::resource::{ApiResource, group_path};

impl Client {
    /// The resource of a kind that is not known beforehand.
    ///
    /// # Errors
    /// [`Error::UnknownKind`] when the server does not serve it (yet), or the server does not answer.
    pub async fn discover(&self, api_version: &str, kind: &str) -> Result<ApiResource, Error> {
        let unknown = || Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
        if !api_version.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'/')) {
            return Err(unknown());
        }
        let answer = match self.call(Method::GET, &group_path(api_version), None).await {
            Err(error) if error.is_not_found() => return Err(unknown()),
            other => other?,
        };
        find(&answer, api_version, kind).ok_or_else(unknown)
    }
}

/// Sub-resources have a slash in their name and serve other kinds.
fn find(answer: &Value, api_version: &str, kind: &str) -> Option<ApiResource> {
    let resources = answer.get("resources")?.as_array()?;
    let row = resources.iter().find(|it| {
        it.get("kind").and_then(Value::as_str) == Some(kind)
            && it.get("name").and_then(Value::as_str).is_some_and(|name| !name.contains('/'))
    })?;
    let namespaced = row.get("namespaced").and_then(Value::as_bool).unwrap_or_default();
    Some(ApiResource::new(api_version, kind, row.get("name")?.as_str()?, namespaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_resource_and_not_its_parts() {
        let answer = serde_json::json!({"resources": [
            {"name": "widgets/status", "kind": "Widget", "namespaced": true},
            {"name": "widgets", "kind": "Widget", "namespaced": true},
        ]});
        let found = find(&answer, "example.org/v1", "Widget").unwrap();
        assert_eq!(
            (found.plural.as_str(), found.namespaced, found.group.as_str()),
            ("widgets", true, "example.org")
        );
        assert_eq!(find(&answer, "example.org/v1", "Gadget"), None);
    }
}
