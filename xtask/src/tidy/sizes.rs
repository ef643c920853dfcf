//! The ratchet of sizes: files and functions that are larger than we like are listed with what they have, may shrink,
//! and may not grow; no new one may appear.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::House;
use super::source::{functions, is_test_file, logic_lines};

/// The list.
const RATCHET: &str = "xtask/ratchet.txt";
/// Lines of a file, tests apart, that need no entry.
const FILE_LINES: usize = 500;
/// Lines of a function that need no entry.
const FUNCTION_LINES: usize = 70;

/// Lines by what has them: a file, or a file and a function.
type Sizes = BTreeMap<String, usize>;

/// What has grown, and what is new and too large.
pub(super) fn check(house: &House) -> Result<Vec<String>> {
    Ok(compare(&read(house)?, &measure(house)))
}

/// Lowers every entry to what is there now.
pub(super) fn tighten(house: &House) -> Result<()> {
    let now = measure(house);
    let tightened = read(house)?.into_iter().filter_map(|(name, most)| {
        let lines = now.get(&name).copied()?;
        Some(format!("{} {name}\n", lines.min(most)))
    });
    let path = house.root.join(RATCHET);
    fs::write(&path, tightened.collect::<String>())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn compare(ratchet: &Sizes, now: &Sizes) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, lines) in now {
        match ratchet.get(name) {
            Some(most) if lines > most => {
                findings.push(format!(
                    "{name}: {lines} lines, and it had {most}; it may only shrink ({RATCHET})"
                ));
            }
            None => {
                let (what, most) =
                    if name.contains("::") { ("function", FUNCTION_LINES) } else { ("file", FILE_LINES) };
                findings.push(format!("{name}: {lines} lines, a new {what} has at most {most}"));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Everything that is too large to go without an entry.
fn measure(house: &House) -> Sizes {
    let mut sizes = Sizes::new();
    for (name, text) in house.files.iter().filter(|(name, _)| name.ends_with(".rs") && !is_test_file(name)) {
        let lines = logic_lines(text);
        if lines > FILE_LINES {
            sizes.insert(name.clone(), lines);
        }
        for function in functions(name, text).filter(|function| function.lines > FUNCTION_LINES) {
            let most = sizes.entry(format!("{name}::{}", function.name)).or_default();
            *most = function.lines.max(*most);
        }
    }
    sizes
}

fn read(house: &House) -> Result<Sizes> {
    let path = house.root.join(RATCHET);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let entry = |line: &str| {
        let (lines, name) = line.split_once(' ').context("an entry is lines and a name")?;
        Ok((name.to_owned(), lines.parse().with_context(|| format!("`{line}` has no number"))?))
    };
    text.lines().map(entry).collect::<Result<Sizes>>().with_context(|| format!("cannot understand {RATCHET}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(entries: &[(&str, usize)]) -> Sizes {
        entries.iter().map(|(name, lines)| ((*name).to_owned(), *lines)).collect()
    }

    #[test]
    fn what_is_large_may_shrink_and_not_grow_and_nothing_new_comes() {
        let ratchet = sizes(&[("a.rs", 600), ("b.rs", 600), ("b.rs::f", 80)]);
        assert!(compare(&ratchet, &sizes(&[("a.rs", 590), ("b.rs::f", 80)])).is_empty());
        let findings = compare(&ratchet, &sizes(&[("a.rs", 601), ("c.rs", 501), ("c.rs::g", 71)]));
        assert_eq!(
            findings,
            [
                "a.rs: 601 lines, and it had 600; it may only shrink (xtask/ratchet.txt)",
                "c.rs: 501 lines, a new file has at most 500",
                "c.rs::g: 71 lines, a new function has at most 70"
            ]
        );
    }
}
