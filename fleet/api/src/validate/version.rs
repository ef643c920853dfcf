//! Versions of the operating system and of Kubernetes, as resources write them: without `v`.

use semver::Version;

/// The version that a text means, with or without `v`.
pub(super) fn parse(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

/// The version of a field, which has no `v`.
pub(super) fn written(field: &str, text: &str) -> Result<Version, String> {
    let version = Version::parse(text);
    version.map_err(|_| format!("{field}: {text:?} is no version; write it like 1.13.8, without v"))
}

/// Major and minor, which is what compatibility goes by.
pub(super) const fn minor(version: &Version) -> (u64, u64) {
    (version.major, version.minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_without_v_and_read_with_it() {
        assert_eq!(parse("v1.13.8"), parse("1.13.8"));
        assert_eq!(parse("v1.13.8").as_ref().map(minor), Some((1, 13)));
        assert!(written("talosversion", "1.14.0-rc.1").is_ok());
        for text in ["v1.13.8", "1.13", "", "latest"] {
            let error = written("talosversion", text).expect_err(text);
            assert!(error.starts_with("talosversion: "), "{error}");
        }
    }
}
