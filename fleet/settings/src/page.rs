//! The page of the handbook: every setting of the manager, from the table.

use crate::table::{self, Setting, Support};

const HEAD: &str = "# Settings of the manager

`corten-fleet` reads YAML files that are named with `--config-path`, and flags. A flag wins over the files, a later file
over an earlier one, and all over the defaults. Names are those of Omni 1.10 where it has them. Everything that is wrong
is told at once, with its place; keys that are not listed here are refused with the nearest known one. Durations are
written as `30s` or `1h0m0s`. On the command line, the elements of a list are separated by commas.
";

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for section in sections() {
        let rows = table::all_settings().filter(|setting| is_effective(setting) && group(setting) == section);
        let rows = table(["setting", "flag", "value", "default", "meaning"], rows.map(row));
        text += &format!("\n## {section}\n\n{rows}");
    }
    text += "\n## Old names\n\nThey take effect, with a warning.\n\n";
    let old = table::all_settings().filter_map(|setting| match setting.support {
        Support::Renamed(to) => Some([code(setting.path), flag(setting), code(to)]),
        _ => None,
    });
    text += &table(["setting", "flag", "new name"], old);
    text += "\n## Without effect\n\nThey are accepted, with a warning.\n\n";
    text += &table(["setting", "flag", "why"], reasons(Support::Ignored));
    text += "\n## Not supported yet\n\nThey are refused, unless they are off or have their default.\n\n";
    text += &table(["setting", "flag", "what is missing"], reasons(Support::Later));
    text
}

fn is_effective(setting: &Setting) -> bool {
    setting.support == Support::Effective
}

/// Heading that a setting stands under: its first key, of services the first two.
fn group(setting: &Setting) -> &'static str {
    let keys = if setting.path.starts_with("services.") { 2 } else { 1 };
    let end = setting.path.match_indices('.').nth(keys - 1).map_or(setting.path.len(), |(index, _)| index);
    setting.path.get(..end).unwrap_or(setting.path)
}

/// Headings in the order of the table.
fn sections() -> Vec<&'static str> {
    let effective = table::all_settings().filter(|setting| is_effective(setting));
    let mut sections: Vec<&str> = effective.map(group).collect();
    sections.dedup();
    sections
}

fn row(setting: &Setting) -> [String; 5] {
    [
        code(setting.path),
        flag(setting),
        setting.kind.expected(),
        code(setting.default),
        setting.about.to_owned(),
    ]
}

fn reasons(support: Support) -> impl Iterator<Item = [String; 3]> {
    let settings = table::all_settings().filter(move |setting| setting.support == support);
    settings.map(|setting| [code(setting.path), flag(setting), setting.about.to_owned()])
}

fn flag(setting: &Setting) -> String {
    setting.flag.map(|flag| code(&format!("--{flag}"))).unwrap_or_default()
}

/// Text as code, nothing for nothing.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// A table in Markdown; no cell has a bar or a line end.
fn table<const N: usize>(titles: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", titles.join(" | "), "---|".repeat(N));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_on_the_page_once() {
        let page = page();
        for setting in table::all_settings() {
            let row = format!("| {} |", code(setting.path));
            assert_eq!(page.matches(&row).count(), 1 + usize::from(is_target(setting)), "{row}");
        }
    }

    /// Whether an old name points to it, so that it stands in another column too.
    fn is_target(setting: &Setting) -> bool {
        table::all_settings().any(|other| other.support == Support::Renamed(setting.path))
    }

    #[test]
    fn rows_have_all_columns() {
        let page = page();
        let row = "| `services.loadBalancer.minPort` | `--lb-min-port` | a whole number from 1 to 65535 | \
                   `10000` | First port for the load balancers of the clusters. |";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("\n## services.api\n") && page.contains("\n## etcdBackup\n"), "{page}");
        assert!(page.contains("| `eulaAccept.name` | `--eula-accept-name` | Corten Fleet is"), "{page}");
    }
}
