//! Dependencies are as `deny.toml` wants them: one TLS and crypto stack, licences, sources, one registry.
//!
//! Which crates are compiled is asked of cargo itself (`Cargo.lock` also has those that no feature switches on);
//! licences and sources need cargo-deny, and where that is not installed, it is said by name.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::build::cargo_command;
use crate::kit;

/// What is not as it should be.
pub(super) fn check() -> Result<Vec<String>> {
    // Cargo fetches what nothing has needed so far: with empty caches some crates of the lock file are not here yet.
    let tree = ["tree", "--locked", "--workspace", "--prefix", "none", "--format", "{p}"];
    let output = cargo_command(&tree).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let mut findings = banned(&wishes()?, &String::from_utf8_lossy(&output.stdout));
    let is_installed = cargo_command(&["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_installed {
        eprintln!("  skipped: licences: cargo-deny is not installed (`cargo install cargo-deny --locked`)");
        return Ok(findings);
    }
    let output = cargo_command(&["deny", "check", "licenses", "bans", "sources"])
        .output()
        .context("cannot start cargo deny")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        findings.push(format!("cargo deny check: {}", said.trim().replace('\n', "\n    ")));
    }
    Ok(findings)
}

fn wishes() -> Result<String> {
    let path = kit::repository().join("deny.toml");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Crates that are banned and compiled all the same; the tree has a name and a version in each line.
fn banned(wishes: &str, tree: &str) -> Vec<String> {
    let bans = wishes.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix("{ name = \"")?;
        let (name, rest) = rest.split_once('"')?;
        Some((name, rest.split("reason = \"").nth(1)?.split('"').next()?))
    });
    bans.filter(|(name, _)| tree.lines().any(|line| line.split(' ').next() == Some(*name)))
        .map(|(name, reason)| format!("the crate {name} is banned, and something depends on it: {reason}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_crate_is_found_with_its_reason() {
        let wishes = "deny = [\n  { name = \"ring\", reason = \"one crypto library\" },\n]\n";
        assert!(banned(wishes, "ring-like v1.0.0\n").is_empty());
        assert_eq!(
            banned(wishes, "a v1.0.0\nring v0.17.1\n"),
            ["the crate ring is banned, and something depends on it: one crypto library"]
        );
    }

    #[test]
    fn the_list_of_this_repository_is_read() {
        assert_eq!(banned(&wishes().unwrap(), "openssl-sys v0.9.0\nfatfs v0.3.0 (*)\n").len(), 2);
    }
}
