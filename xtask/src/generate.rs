//! `cargo xtask gen [--check]`: writes the pages of the handbook that say what the code says.
//!
//! A page is a row in [`PAGES`] and a pure function from the code's own tables to text; none is ever edited by hand.
//! `--check` writes nothing and names the pages that are not as the code has them.

mod api;
mod cli;
mod compatibility;
mod configuration;
mod diagnoses;
mod resources;
mod scenarios;
mod schema;
mod status;

use std::fs;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::kit;

/// A page that comes from code.
struct Page {
    /// Path from the root of the repository.
    path: &'static str,
    text: fn() -> Result<String>,
}

const PAGES: &[Page] = &[
    Page { path: "docs/src/reference/api.md", text: api::page },
    Page { path: "docs/src/reference/cli.md", text: cli::page },
    Page { path: "docs/src/reference/compatibility.md", text: compatibility::page },
    Page { path: "docs/src/reference/configuration.md", text: configuration::page },
    Page { path: "docs/src/reference/configuration.schema.json", text: schema::page },
    Page { path: "docs/src/reference/diagnoses.md", text: diagnoses::page },
    Page { path: "docs/src/reference/resources.md", text: resources::page },
    Page { path: "docs/src/reference/scenarios.md", text: scenarios::page },
    Page { path: "docs/src/reference/status.md", text: status::page },
];

/// Stands above every page in Markdown.
const NOTICE: &str = "<!-- Written by `cargo xtask gen` from the code; change the code instead. -->\n\n";

/// Write the pages of the handbook that come from code.
#[derive(Debug, Parser)]
pub struct Gen {
    /// Write nothing, and name the pages that are not as the code has them.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
///
/// # Errors
/// When a page cannot be made, or with `--check` when one is not as the code has it.
pub fn run(wanted: &Gen) -> Result<()> {
    if wanted.check {
        let stale = stale()?;
        ensure!(stale.is_empty(), "{}", stale.join("\n"));
        return Ok(());
    }
    for page in PAGES {
        let path = kit::repository().join(page.path);
        let folder = path.parent().context("a page is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, text(page)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Pages that are not as the code has them, one sentence each.
///
/// # Errors
/// When a page cannot be made.
pub fn stale() -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for page in PAGES {
        let written = fs::read_to_string(kit::repository().join(page.path)).unwrap_or_default();
        if written != text(page)? {
            stale.push(format!("{}: not as the code has it; run `cargo xtask gen`", page.path));
        }
    }
    Ok(stale)
}

fn text(page: &Page) -> Result<String> {
    let text = (page.text)().with_context(|| format!("cannot make {}", page.path))?;
    // JSON has no comments; what is written as JSON says it in a key.
    let notice = if page.path.ends_with(".md") { NOTICE } else { "" };
    Ok(format!("{notice}{}\n", text.trim_end()))
}

/// A table in Markdown.
fn table<const N: usize>(titles: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: [String; N]| format!("| {} |\n", cells.map(|cell| escape(&cell)).join(" | "));
    let mut text = line(titles.map(str::to_owned));
    text += &format!("|{}\n", "---|".repeat(N));
    text.extend(rows.into_iter().map(line));
    text
}

/// A cell holds one line and no bar.
fn escape(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

/// Text as code, nothing for nothing.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_its_columns_whatever_is_in_it() {
        let text = table(["a", "b"], [["x|y".to_owned(), "two\nlines".to_owned()]]);
        assert_eq!(text, "| a | b |\n|---|---|\n| x\\|y | two lines |\n");
    }

    #[test]
    fn every_page_can_be_made_and_says_something() {
        for page in PAGES {
            let text = text(page).unwrap();
            assert!(text.lines().count() > 10, "{}", page.path);
        }
    }
}
