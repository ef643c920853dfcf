//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! Arrows between crates point down the tiers only; files and functions stay small; nothing is left for later; links
//! in documents lead somewhere. Every finding names the place and the rule, all at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::kit;

/// Lines of a file; uniform tables are what comes near.
const FILE_LINES_MAX: usize = 1000;
/// Lines of a function, tests apart.
const FUNCTION_LINES_MAX: usize = 100;
/// Words of unfinished work.
const UNFINISHED: [&str; 4] = ["TODO", "FIXME", "XXX:", "HACK"];

/// Runs the command.
///
/// # Errors
/// When a rule is broken.
pub fn run(_: &[String]) -> Result<()> {
    let root = kit::repository();
    let mut findings = tiers()?;
    for path in files(&root)? {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => findings.extend(source(&name, &text)),
            Some("md") => findings.extend(links(&name, &path, &text)),
            _ => {}
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("the house is untidy:\n  {}", findings.join("\n  "))
}

/// Files that are in the repository.
#[expect(clippy::disallowed_methods, reason = "runs on the developer's host, not on a machine")]
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root).output()?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| root.join(line)).collect())
}

/// Dependencies that point up.
#[expect(clippy::disallowed_methods, reason = "runs on the developer's host, not on a machine")]
fn tiers() -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(kit::repository())
        .output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let name = |package: &serde_json::Value| package["name"].as_str().unwrap_or_default().to_owned();
    let tier_of = |package: &serde_json::Value| package["metadata"]["corten"]["tier"].as_u64();
    let tiers: BTreeMap<String, Option<u64>> =
        packages.iter().map(|package| (name(package), tier_of(package))).collect();
    let mut findings = Vec::new();
    for package in &packages {
        let Some(tier) = tier_of(package) else {
            findings.push(format!("{}: Cargo.toml names no tier (package.metadata.corten)", name(package)));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let is_test = dependency["kind"] == "dev";
            let below = tiers.get(dependency["name"].as_str().unwrap_or_default()).copied().flatten();
            if let Some(below) = below.filter(|below| *below > tier && !is_test) {
                findings.push(format!(
                    "{} (tier {tier}) depends on {} (tier {below})",
                    name(package),
                    dependency["name"]
                ));
            }
        }
    }
    Ok(findings)
}

/// Findings in a Rust file.
fn source(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        findings.push(format!("{name}: {} lines, the limit is {FILE_LINES_MAX}", lines.len()));
    }
    if !text.starts_with("//!") && !name.ends_with("build.rs") && !name.ends_with("tests.rs") {
        findings.push(format!("{name}: does not say what it is (module documentation)"));
    }
    let tests_from = lines.iter().position(|line| *line == "#[cfg(test)]").unwrap_or(lines.len());
    for (index, line) in lines.iter().enumerate() {
        if !name.ends_with("tidy.rs") && UNFINISHED.iter().any(|word| line.contains(word)) {
            findings.push(format!("{name}:{}: unfinished work; finish it or file an issue", index + 1));
        }
        let is_test = index >= tests_from || name.contains("/tests/") || name.ends_with("tests.rs");
        if !is_test && let Some(length) = function_length(&lines[index..]) {
            if length > FUNCTION_LINES_MAX {
                findings.push(format!(
                    "{name}:{}: function of {length} lines, the limit is {FUNCTION_LINES_MAX}",
                    index + 1
                ));
            }
        }
    }
    findings
}

/// Lines of the function that begins at the first line, if one does. Formatted code closes it at its own indentation.
fn function_length(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let indentation = first.len() - first.trim_start().len();
    let words = first.split_whitespace().take_while(|word| !word.contains('('));
    let is_function = words.clone().any(|word| word == "fn") || first.trim_start().starts_with("fn ");
    if !is_function || first.trim_start().starts_with("//") || first.trim_end().ends_with([';', '}']) {
        return None;
    }
    let end = format!("{}}}", " ".repeat(indentation));
    let until = lines.iter().position(|line| {
        *line == end
            || (line.trim_end().ends_with(';') && line.len() - line.trim_start().len() == indentation)
    })?;
    Some(until + 1)
}

/// Links of a document that lead to no file.
fn links(name: &str, path: &Path, text: &str) -> Vec<String> {
    let folder = path.parent().unwrap_or(path);
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with('#'))
        .filter(|target| !folder.join(target).exists())
        .map(|target| format!("{name}: the link `{target}` leads nowhere"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_ends_at_its_own_indentation() {
        let text = "    pub async fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(function_length(&lines), Some(5));
        assert_eq!(function_length(&["    fn declared(&self);"]), None);
        assert_eq!(function_length(&["let x = 1;"]), None);
    }

    #[test]
    fn unfinished_work_and_missing_documentation_are_found() {
        let findings = source("a.rs", "fn a() {} // TODO later\n");
        assert_eq!(findings.len(), 2, "{findings:?}");
    }

    #[test]
    fn dead_links_are_found() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("x.md");
        let findings = links("x.md", &here, "[a](Cargo.toml) [b](no-such.md) [c](https://example.org)");
        assert_eq!(findings, ["x.md: the link `no-such.md` leads nowhere"]);
    }
}
