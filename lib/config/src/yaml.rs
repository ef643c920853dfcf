//! YAML as JSON values, for documents that are not machine configuration: Kubernetes manifests, kubeconfigs.

use serde_json::Value;

use crate::problem::Problem;

/// Every document of a stream, with the same bounds as machine configuration; empty documents are left out.
///
/// # Errors
/// When the text is not YAML or crosses a bound; the problem says where.
pub fn parse(text: &str) -> Result<Vec<Value>, Problem> {
    Ok(crate::read::documents(text)?.iter().map(crate::json::to_json).collect())
}

/// One document as YAML text.
#[must_use]
pub fn render(value: &Value) -> String {
    crate::write::document(&crate::json::from_json(value))
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_what_it_writes() {
        let value = serde_json::json!({"kind": "Config", "clusters": [{"name": "c", "n": 1}], "text": "1"});
        assert_eq!(super::parse(&super::render(&value)).unwrap(), [value]);
        assert!(super::parse("a: [").is_err());
    }
}
