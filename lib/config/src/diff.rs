//! What a new configuration would change, as a unified diff without secrets.

use similar::TextDiff;

use crate::Config;

/// Unified diff of two configurations in canonical form, secrets hidden; nothing when they mean the same.
///
/// A secret that changes shows as a note, since both sides read `REDACTED`.
#[must_use]
pub fn configs(old: Option<&Config>, new: &Config) -> Option<String> {
    let before = old.map(Config::redacted).unwrap_or_default();
    let after = new.redacted();
    if before == after {
        let same = old.is_some_and(|old| canonical(old) == canonical(new));
        return (!same).then(|| "  (only secrets change)\n".to_owned());
    }
    Some(texts(&before, &after))
}

/// Unified diff of two texts with three lines of context.
#[must_use]
pub fn texts(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header("a", "b").to_string()
}

fn canonical(config: &Config) -> String {
    let nodes: Vec<_> = config.documents().iter().map(|document| document.node.clone()).collect();
    crate::write::documents(&nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hostname: &str, token: &str) -> Config {
        let text = format!(
            "version: v1alpha1\nmachine: {{type: worker, token: {token}, network: {{hostname: {hostname}}}}}\n"
        );
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_diff_shows_changes_and_hides_secrets() {
        let diff = configs(Some(&config("a", "old-secret")), &config("b", "new-secret")).unwrap();
        assert!(diff.contains("-        hostname: a\n+        hostname: b\n"), "{diff}");
        assert!(!diff.contains("-secret"), "{diff}");
        assert_eq!(configs(Some(&config("a", "x")), &config("a", "x")), None);
        assert_eq!(configs(Some(&config("a", "x")), &config("a", "y")).unwrap(), "  (only secrets change)\n");
        assert!(configs(None, &config("a", "x")).unwrap().contains("+version: v1alpha1"));
    }
}
