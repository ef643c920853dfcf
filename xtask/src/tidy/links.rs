//! Links in documents lead somewhere, and every page of the handbook is in its table of contents.

use std::path::{Path, PathBuf};

use super::House;

/// The handbook's pages, and the page that lists them.
const PAGES: &str = "docs/src/";
const CONTENTS: &str = "docs/src/SUMMARY.md";

/// Links of a document that lead to no file, or to no heading of it.
pub(super) fn check(name: &str, root: &Path, text: &str) -> Vec<String> {
    let folder = root.join(name).parent().unwrap_or(root).to_owned();
    targets(text)
        .filter_map(|target| dead(&folder, text, target))
        .map(|why| format!("{name}: {why}"))
        .collect()
}

/// Pages of the handbook that its table of contents leaves out.
pub(super) fn contents(house: &House) -> Vec<String> {
    let pages = house.files.iter().filter_map(|(name, _)| name.strip_prefix(PAGES));
    let summary = house.files.iter().find(|(name, _)| name == CONTENTS).map(|(_, text)| text.as_str());
    let listed: Vec<&str> = targets(summary.unwrap_or_default()).collect();
    pages
        .filter(|page| *page != "SUMMARY.md" && !listed.contains(page))
        .map(|page| format!("{PAGES}{page}: not in the table of contents ({CONTENTS})"))
        .collect()
}

/// Where the links of a document lead, other sites apart; code is no link.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines()
        .filter(move |line| {
            is_code ^= line.trim_start().starts_with("```");
            !is_code
        })
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

fn dead(folder: &Path, text: &str, target: &str) -> Option<String> {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path: PathBuf = folder.join(file);
    if !file.is_empty() && !path.exists() {
        return Some(format!("the link `{target}` leads nowhere"));
    }
    if heading.is_empty() {
        return None;
    }
    let other = if file.is_empty() { text.to_owned() } else { std::fs::read_to_string(path).ok()? };
    let has = other.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == heading);
    (!has).then(|| format!("the link `{target}` leads to no heading"))
}

/// A heading as links name it.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "# A heading: two\n[a](Cargo.toml) [b](no-such.md) [c](https://example.org) [d](#a-heading-two)\n\
                    [e](#three)\n```\n[f](code.md)\n```\n";
        assert_eq!(
            check("x.md", root, text),
            ["x.md: the link `no-such.md` leads nowhere", "x.md: the link `#three` leads to no heading"]
        );
    }

    #[test]
    fn a_page_that_nobody_finds_is_named() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let files =
            vec![file(CONTENTS, "- [a](a.md)\n"), file("docs/src/a.md", ""), file("docs/src/b/c.md", "")];
        let house = House { root: PathBuf::new(), metadata: serde_json::Value::Null, files };
        assert_eq!(contents(&house), ["docs/src/b/c.md: not in the table of contents (docs/src/SUMMARY.md)"]);
    }
}
