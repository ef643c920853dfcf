//! The secrets in a machine's configuration: what is not there any more when it is redacted.

use corten_base::Secret;
use corten_config::{Config, REDACTED, yaml};
use serde_json::Value;

/// Every secret text of a configuration; none of one that cannot be read.
#[must_use]
pub fn secrets(configuration: &[u8]) -> Vec<Secret<Vec<u8>>> {
    let Ok(config) = Config::parse(configuration) else { return Vec::new() };
    let documents = |text: &str| yaml::parse(text).unwrap_or_default();
    let mut found = Vec::new();
    for (open, redacted) in documents(config.text()).iter().zip(documents(&config.redacted()).iter()) {
        compare(open, redacted, &mut found);
    }
    found
}

fn compare(open: &Value, redacted: &Value, found: &mut Vec<Secret<Vec<u8>>>) {
    match (open, redacted) {
        (Value::Object(open), Value::Object(redacted)) => {
            for (key, value) in open {
                compare(value, redacted.get(key).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(open), Value::Array(redacted)) => {
            open.iter().zip(redacted).for_each(|(open, redacted)| compare(open, redacted, found));
        }
        (Value::String(open), Value::String(redacted)) if open != redacted && redacted.contains(REDACTED) => {
            found.push(Secret::new(open.clone().into_bytes()));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_redacted_is_a_secret() {
        let text = "version: v1alpha1\nmachine:\n    type: worker\n    token: hunter2-hunter2\n    ca: {crt: YQ==, key: aHVudGVyMg==}\ncluster: {}\n";
        let found: Vec<_> = secrets(text.as_bytes()).iter().map(|secret| secret.reveal().clone()).collect();
        assert_eq!(found, [b"hunter2-hunter2".to_vec(), b"aHVudGVyMg==".to_vec()]);
        assert!(secrets(b"no: configuration").is_empty());
    }
}
