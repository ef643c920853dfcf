//! What is written is used: every source file is compiled by a target, and every scenario can be told.
//!
//! A test file that no target reaches is green for ever, so it is found here: from the root of each target along its
//! `mod` declarations.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::House;

const SCENARIOS: &str = "tests/e2e/src/scenarios/";
const SCENARIO_ROWS: &str = "tests/e2e/src/lib.rs";

/// Files that no target compiles, and scenarios without a row.
pub(super) fn check(house: &House) -> Result<Vec<String>> {
    let mut reached = BTreeSet::new();
    for root in roots(house)? {
        reach(house, &root, &mut reached, true);
    }
    let sources = house.files.iter().map(|(name, _)| name).filter(|name| name.ends_with(".rs"));
    let mut findings: Vec<String> = sources
        .filter(|name| !reached.contains(*name))
        .map(|name| format!("{name}: no target compiles it; declare it with `mod`, or remove it"))
        .collect();
    findings.extend(scenarios(house));
    Ok(findings)
}

/// Root files of all targets, from the repository's root.
fn roots(house: &House) -> Result<Vec<String>> {
    let packages = house.metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let targets = packages.iter().flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let paths = targets.filter_map(|target| target["src_path"].as_str());
    Ok(paths
        .filter_map(|path| Some(Path::new(path).strip_prefix(&house.root).ok()?.to_str()?.to_owned()))
        .collect())
}

/// Marks a file and those that it declares. `is_root`: its modules are beside it and not in a folder of its name.
fn reach(house: &House, name: &str, reached: &mut BTreeSet<String>, is_root: bool) {
    let Some((_, text)) = house.files.iter().find(|(known, _)| known == name) else { return };
    if !reached.insert(name.to_owned()) {
        return;
    }
    let path = Path::new(name);
    let beside = path.parent().unwrap_or(Path::new(""));
    let folder =
        if is_root || path.ends_with("mod.rs") { beside.to_owned() } else { path.with_extension("") };
    for (module, given) in declared(text) {
        let candidates: Vec<PathBuf> = match given {
            Some(given) => vec![beside.join(given)],
            None => vec![folder.join(format!("{module}.rs")), folder.join(module).join("mod.rs")],
        };
        for candidate in candidates.iter().filter_map(|candidate| candidate.to_str()) {
            reach(house, candidate, reached, false);
        }
    }
}

/// Modules in files of their own, with the path that is given for them, if one is.
fn declared(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut given = None;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.split('"').next()) {
            given = Some(path);
            return None;
        }
        let name = line.strip_suffix(';')?.rsplit_once("mod ").filter(|(before, _)| is_visibility(before));
        name.map(|(_, name)| (name, given.take()))
    })
}

fn is_visibility(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text == "pub" || (text.starts_with("pub(") && text.ends_with(')'))
}

/// Scenarios that nobody can tell, because they have no row in the table.
fn scenarios(house: &House) -> Vec<String> {
    let rows = house.files.iter().find(|(name, _)| name == SCENARIO_ROWS);
    let rows = rows.map(|(_, text)| text.as_str()).unwrap_or_default();
    let written = house.files.iter().filter(|(_, text)| text.contains("\npub fn run(cx: &mut Cx)"));
    written
        .filter_map(|(name, _)| Some((name, name.strip_prefix(SCENARIOS)?.strip_suffix(".rs")?)))
        .filter(|(_, stem)| !rows.contains(&format!("scenarios::{stem}::run")))
        .map(|(name, _)| format!("{name}: a scenario without a row in SCENARIOS ({SCENARIO_ROWS})"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn house(files: &[(&str, &str)]) -> House {
        let targets = json!([{ "src_path": "/r/a/src/lib.rs" }, { "src_path": "/r/a/tests/whole.rs" }]);
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        House { root: PathBuf::from("/r"), metadata: json!({ "packages": [{ "targets": targets }] }), files }
    }

    #[test]
    fn files_that_no_target_reaches_are_found() {
        let house = house(&[
            ("a/src/lib.rs", "pub mod one;\n#[path = \"other/two.rs\"]\nmod two;\n"),
            ("a/src/one.rs", "#[cfg(test)]\nmod tests;\n"),
            ("a/src/one/tests.rs", ""),
            ("a/src/one/lost.rs", ""),
            ("a/src/other/two.rs", ""),
            ("a/tests/whole.rs", "mod fixture {\n}\npub(crate) mod parts;\n"),
            ("a/tests/parts.rs", ""),
            ("a/tests/forgotten/case.rs", ""),
        ]);
        let findings = check(&house).unwrap();
        let lost: Vec<&str> = findings.iter().filter_map(|finding| finding.split(':').next()).collect();
        assert_eq!(lost, ["a/src/one/lost.rs", "a/tests/forgotten/case.rs"]);
    }

    #[test]
    fn a_scenario_without_a_row_is_found() {
        let scenario = "//! One.\npub fn run(cx: &mut Cx) -> Result<()> {\n";
        let house = house(&[
            (SCENARIO_ROWS, "run: scenarios::told::run,"),
            ("tests/e2e/src/scenarios/told.rs", scenario),
            ("tests/e2e/src/scenarios/untold.rs", scenario),
        ]);
        let findings = scenarios(&house);
        assert!(findings.len() == 1 && findings[0].contains("untold.rs"), "{findings:?}");
    }
}
