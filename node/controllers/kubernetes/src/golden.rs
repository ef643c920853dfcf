//! Golden files of tests: `UPDATE_GOLDEN=1` writes them anew.

/// Compares a text with the golden file of this name.
pub fn check(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a golden file");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{name} differs from its golden file; see the difference with UPDATE_GOLDEN=1 and git diff\n{text}"
    );
}
