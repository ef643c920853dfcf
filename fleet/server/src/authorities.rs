//! Authorities that this host trusts, for the few servers elsewhere that the manager calls.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Names a file with authorities, as in the programs of others.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Where operating systems keep them; the first file that is there counts.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities of this host, PEM; empty when it has none, which is told.
pub fn of_host() -> Vec<u8> {
    let found = find(std::env::var_os(VARIABLE), &BUNDLES.map(Path::new));
    let Some(path) = found else {
        tracing::info!("this host trusts no authorities; servers elsewhere cannot be called, machines can");
        return Vec::new();
    };
    std::fs::read(&path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the authorities of this host cannot be read");
        Vec::new()
    })
}

/// The file that is named, or else the first one that is there.
fn find(named: Option<OsString>, usual: &[&Path]) -> Option<PathBuf> {
    let named = named.filter(|name| !name.is_empty()).map(PathBuf::from);
    named.or_else(|| usual.iter().find(|path| path.exists()).map(|path| path.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_named_counts_over_the_usual_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().join("there.crt");
        std::fs::write(&there, "x").expect("written");
        let usual = [Path::new("/nowhere"), &there];
        assert_eq!(find(Some("/mine".into()), &usual), Some(PathBuf::from("/mine")));
        assert_eq!(find(Some(OsString::new()), &usual), Some(there.clone()));
        assert_eq!(find(None, &[Path::new("/nowhere")]), None);
    }
}
