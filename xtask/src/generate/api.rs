//! The page of the machine API: every method, who may call it, and whether this version implements it.
//!
//! Methods and roles are those of the rules that machines enforce. That a method is not implemented is said in the
//! code by one call, `not_yet("service/method")`; the sources are read for it, so that nobody keeps a second list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use corten_api::roles::Roles;
use corten_api::rules::{self, Kind, Maintenance, Rule};

use super::{code, table};
use crate::kit;

/// Sources of the program that answers.
const MACHINED: &str = "node/machined/src";
/// How a method says that it is not implemented.
const NOT_YET: &str = "not_yet(\"";

const HEAD: &str = "# Machine API

All methods of the API on port 50000. A caller may call a method when its certificate has any of the roles named
(`os:` left out). In maintenance, before a machine has a configuration, everybody who reaches it counts as a reader;
what else is different then stands in its column: *open* methods may be called by everybody, *closed* ones answer
`FailedPrecondition`. Methods that are not implemented answer `Unimplemented` and name themselves.
";

/// The page.
pub(super) fn page() -> Result<String> {
    let missing = missing()?;
    let mut text = HEAD.to_owned();
    let mut services: Vec<&str> = Vec::new();
    for rule in rules::RULES {
        let (service, _) = split(rule)?;
        if !services.contains(&service) {
            services.push(service);
        }
    }
    let count = rules::RULES.len();
    text += &format!("\n{count} methods, {} of them implemented.\n", count - missing.len());
    for service in services {
        let mut rows = Vec::new();
        for rule in rules::RULES.iter().filter(|rule| split(rule).is_ok_and(|(name, _)| name == service)) {
            rows.push(row(rule, &missing)?);
        }
        text += &format!("\n## {service}\n\n");
        text += &table(["method", "messages", "roles", "in maintenance", "implemented"], rows);
    }
    Ok(text)
}

fn row(rule: &Rule, missing: &BTreeSet<String>) -> Result<[String; 5]> {
    let (_, method) = split(rule)?;
    let kind = rules::kind(rule.method).with_context(|| format!("{} is not described", rule.method))?;
    let is_missing = missing.contains(rule.method.trim_start_matches('/'));
    Ok([
        code(method),
        messages(kind).to_owned(),
        roles(rule.roles),
        maintenance(rule.maintenance).to_owned(),
        if is_missing { "no" } else { "yes" }.to_owned(),
    ])
}

/// Methods that are not implemented.
pub(super) fn missing() -> Result<BTreeSet<String>> {
    not_implemented(&kit::repository().join(MACHINED))
}

/// Service and method of a path such as `/machine.MachineService/Version`.
pub(super) fn split(rule: &Rule) -> Result<(&'static str, &'static str)> {
    rule.method.trim_start_matches('/').split_once('/').with_context(|| format!("{} is no path", rule.method))
}

const fn messages(kind: Kind) -> &'static str {
    match kind {
        Kind::Unary => "one, one",
        Kind::ServerStream => "one, stream",
        Kind::ClientStream => "stream, one",
        Kind::Bidirectional => "stream, stream",
    }
}

const fn maintenance(maintenance: Maintenance) -> &'static str {
    match maintenance {
        Maintenance::Usual => "",
        Maintenance::Opened => "open",
        Maintenance::Closed => "closed",
    }
}

fn roles(roles: Roles) -> String {
    roles.to_string().split(',').map(|role| role.trim_start_matches("os:")).collect::<Vec<_>>().join(", ")
}

/// Methods that say of themselves that they are not implemented.
fn not_implemented(sources: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for path in rust_files(sources)? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        found.extend(named(&text).map(str::to_owned));
    }
    // What is said of a part of a method, such as one of its options, has a space in it.
    found.retain(|name| !name.contains(' '));
    for name in &found {
        ensure!(
            rules::rule(&format!("/{name}")).is_some(),
            "`{name}` is said to be missing and is no method"
        );
    }
    Ok(found)
}

fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split(NOT_YET).skip(1).filter_map(|rest| rest.split('"').next())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_are_missing_are_read_from_the_code() {
        let text = "Err(not_yet(\"a.B/C\"))\n  return Err(not_yet(\"a.B/D with e\"));";
        assert_eq!(named(text).collect::<Vec<_>>(), ["a.B/C", "a.B/D with e"]);
        let missing = not_implemented(&kit::repository().join(MACHINED)).unwrap();
        assert!(missing.contains("machine.MachineService/Upgrade"));
        assert!(!missing.contains("machine.MachineService/Version"));
    }

    #[test]
    fn every_method_has_its_row() {
        let page = page().unwrap();
        assert!(page.contains("| `Version` | one, one | admin, operator, reader |  | yes |"), "{page}");
        assert!(page.contains("| `ApplyConfiguration` | one, one | admin | open | yes |"), "{page}");
    }
}
