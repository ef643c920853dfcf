//! Texts that people see, kept in `snapshots/`; `UPDATE_SNAPSHOTS=1` writes them anew.

use std::path::Path;

/// Compares a text with the kept one.
pub fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).expect("snapshots/ is writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let diff = || corten_config::diff::texts(&kept, text);
    assert!(kept == text, "{name} differs; if that is meant, run with UPDATE_SNAPSHOTS=1\n{}", diff());
}
