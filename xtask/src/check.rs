//! `cargo xtask check`, the fast loop: format and tidy of everything, clippy and tests of the crates that were touched.
//!
//! Touched is what differs from the last commit that the others have (`origin/main`, else the commit before this one),
//! committed or not. Crates that are named are checked instead.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::build::{cargo, cargo_command};
use crate::progress::Steps;
use crate::{kit, tidy};

/// Files of the root that every crate depends on.
const COMMON: [&str; 4] = ["Cargo.toml", "Cargo.lock", "clippy.toml", "rust-toolchain.toml"];

/// The fast loop: format, tidy, and clippy and tests of the crates that were touched.
#[derive(Debug, Parser)]
pub struct Check {
    /// Crates to check instead of those that were touched.
    crates: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When anything is not as it should be.
pub fn run(check: &Check) -> Result<()> {
    let mut steps = Steps::default();
    steps.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    steps.run("tidy", || tidy::run(&tidy::Tidy::default()))?;
    let packages = packages()?;
    let (names, why) = match check.crates.as_slice() {
        [] => touched(&packages)?,
        named => (named.to_vec(), "as named".to_owned()),
    };
    if names.is_empty() {
        eprintln!("  no crate was touched ({why})");
        return Ok(());
    }
    eprintln!("  crates ({why}): {}", names.join(", "));
    let chosen: Vec<&str> = names.iter().flat_map(|name| ["--package", name.as_str()]).collect();
    steps.run("clippy", || {
        let clippy = ["clippy", "--quiet", "--all-targets"];
        cargo(&[&clippy[..], &chosen, &["--", "--deny", "warnings"]].concat())
    })?;
    steps.run("tests", || {
        let status = cargo_command(&[&["test", "--quiet"], chosen.as_slice()].concat())
            .env(crate::fuzz::TIME, crate::fuzz::SHORT_MS)
            .status()
            .context("cannot start cargo")?;
        ensure!(status.success(), "cargo test ended with {status}");
        Ok(())
    })
}

/// Names of the packages with touched files, and since when.
fn touched(packages: &[Package]) -> Result<(Vec<String>, String)> {
    let head = git(&["rev-parse", "HEAD"])?;
    let common = git(&["merge-base", "HEAD", "origin/main"]).ok().filter(|base| *base != head);
    let (base, why) = match common {
        Some(base) => (Some(base), "touched since origin/main"),
        None => (git(&["rev-parse", "HEAD~1"]).ok(), "touched since the commit before this one"),
    };
    let changed = match &base {
        Some(base) => git(&["diff", "--name-only", base])?,
        None => git(&["ls-files"])?,
    };
    let untracked = git(&["ls-files", "--others", "--exclude-standard"])?;
    let files: Vec<&str> = changed.lines().chain(untracked.lines()).collect();
    for file in files.iter().filter(|file| COMMON.contains(file)) {
        eprintln!("  {file} was touched too: `cargo xtask test` checks all crates with it");
    }
    Ok((owners(packages, &files), why.to_owned()))
}

/// A package: its name, and its folder from the root of the repository.
struct Package {
    name: String,
    folder: String,
}

fn packages() -> Result<Vec<Package>> {
    let output = cargo_command(&["metadata", "--no-deps", "--format-version", "1", "--offline"]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let root = kit::repository();
    let package = |package: &serde_json::Value| {
        let folder = Path::new(package["manifest_path"].as_str()?).parent()?.strip_prefix(&root).ok()?;
        Some(Package { name: package["name"].as_str()?.to_owned(), folder: folder.to_str()?.to_owned() })
    };
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    Ok(packages.iter().filter_map(package).collect())
}

/// Packages to which the files belong, each once.
fn owners(packages: &[Package], files: &[&str]) -> Vec<String> {
    let owner = |file: &str| {
        let holders = packages.iter().filter(|package| Path::new(file).starts_with(&package.folder));
        holders.max_by_key(|package| package.folder.len()).map(|package| package.name.clone())
    };
    let names: BTreeSet<String> = files.iter().filter_map(|file| owner(file)).collect();
    names.into_iter().collect()
}

fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).current_dir(kit::repository()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", args.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_innermost_package() {
        let package = |name: &str, folder: &str| Package { name: name.to_owned(), folder: folder.to_owned() };
        let packages = [package("api", "api"), package("resource", "lib/resource"), package("cli", "cli")];
        let files =
            ["lib/resource/src/a.rs", "lib/resource/Cargo.toml", "cli/src/b.rs", "README.md", "lib/x"];
        assert_eq!(owners(&packages, &files), ["cli", "resource"]);
    }

    #[test]
    fn every_package_of_this_repository_has_a_folder() {
        let packages = packages().unwrap();
        assert!(packages.iter().any(|package| package.name == "xtask" && package.folder == "xtask"));
        assert!(packages.iter().all(|package| !package.folder.is_empty()));
    }
}
