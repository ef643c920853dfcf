//! `cargo xtask tidy`: the rules of the house that no compiler knows.
//!
//! Arrows between crates point down the tiers only; files and functions stay small, and the large ones that there are
//! only shrink; every source file is compiled, every scenario and fuzz test runs; what comes from code is as the code
//! has it; nothing is left for later; links in documents lead somewhere; dependencies are as `deny.toml` wants them.
//! Every finding names the place and the rule, all at once. `--tighten` lowers the ratchet to what is there.

mod deny;
mod links;
mod sizes;
mod source;
mod tiers;
mod wiring;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};
use clap::Parser;

use crate::build::cargo_command;
use crate::{generate, kit};

/// What the rules are about: every Rust file and document of the repository, and cargo's picture of it.
struct House {
    root: PathBuf,
    metadata: serde_json::Value,
    /// Path from the root, and contents.
    files: Vec<(String, String)>,
}

/// Hold the rules of the house that no compiler knows.
#[derive(Debug, Default, Parser)]
pub struct Tidy {
    /// Lower the ratchet of sizes to what is there, instead of checking.
    #[arg(long)]
    tighten: bool,
}

/// Runs the command.
///
/// # Errors
/// When a rule is broken.
pub fn run(tidy: &Tidy) -> Result<()> {
    let house = House::open()?;
    if tidy.tighten {
        return sizes::tighten(&house);
    }
    let mut findings = tiers::check(&house.metadata);
    for (name, text) in &house.files {
        if name.ends_with(".rs") {
            findings.extend(source::check(name, text));
        } else {
            findings.extend(links::check(name, &house.root, text));
        }
    }
    findings.extend(links::contents(&house));
    findings.extend(sizes::check(&house)?);
    findings.extend(wiring::check(&house)?);
    findings.extend(generate::stale()?);
    findings.extend(deny::check()?);
    if findings.is_empty() {
        return Ok(());
    }
    bail!("the house is untidy:\n  {}", findings.join("\n  "))
}

impl House {
    fn open() -> Result<Self> {
        let root = kit::repository();
        let output =
            cargo_command(&["metadata", "--no-deps", "--format-version", "1", "--offline"]).output()?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let metadata = serde_json::from_slice(&output.stdout)?;
        let mut files = Vec::new();
        for name in tracked(&root)? {
            if !name.ends_with(".rs") && !name.ends_with(".md") {
                continue;
            }
            // A file that was removed and not yet committed is still in the list.
            if let Ok(text) = fs::read_to_string(root.join(&name)) {
                files.push((name, text));
            }
        }
        Ok(Self { root, metadata, files })
    }
}

/// Files of the repository, also those that are not committed yet.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let output =
        Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root).output()?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}
