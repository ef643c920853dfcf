//! The page of the command line: every command of `corten` as its help prints it.

use anyhow::Result;
use clap::Command;

use super::{code, table};

const HEAD: &str = "# Command line

`corten` with all its commands. Names and flags are those of `talosctl` where it has them; `corten COMMAND --help` says
more about each, with examples. Results go to standard output, everything else to standard error.
";

const ABSENT: &str = "
## Commands of talosctl that are not here

";

/// The page.
pub(super) fn page() -> Result<String> {
    let mut root = corten::command();
    root.build();
    let mut text = HEAD.to_owned();
    text += &format!("\n## Options of every command\n\n{}", options(&root, true));
    for command in commands(&root) {
        describe("corten", command, &mut text);
    }
    let absent = corten::ABSENT.iter().map(|(name, instead)| [code(name), (*instead).to_owned()]);
    text += &format!("{ABSENT}{}", table(["command", "instead"], absent));
    Ok(text)
}

/// Commands that belong to people; `help` is clap's own.
fn commands(parent: &Command) -> impl Iterator<Item = &Command> {
    parent.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set())
}

fn describe(parent: &str, command: &Command, text: &mut String) {
    let path = format!("{parent} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    *text += &format!("\n## {path}\n\n{about}.\n");
    let aliases: Vec<String> = command.get_visible_aliases().map(code).collect();
    if !aliases.is_empty() {
        *text += &format!("\nAlso called {}.\n", aliases.join(", "));
    }
    let options = options(command, false);
    if !options.is_empty() {
        *text += &format!("\n{options}");
    }
    for inner in commands(command) {
        describe(&path, inner, text);
    }
}

/// Arguments of a command, the ones that all commands share or its own; nothing when there are none.
fn options(command: &Command, global: bool) -> String {
    let own = command.get_arguments().filter(|argument| {
        let is_common = ["help", "version"].contains(&argument.get_id().as_str());
        !argument.is_hide_set() && !is_common && argument.is_global_set() == global
    });
    let rows: Vec<[String; 3]> = own.map(row).collect();
    if rows.is_empty() { String::new() } else { table(["argument", "default", "meaning"], rows) }
}

fn row(argument: &clap::Arg) -> [String; 3] {
    let values = argument.get_value_names().unwrap_or_default();
    let takes_value = argument.get_action().takes_values();
    let value = values.first().filter(|_| takes_value).map(|name| format!("<{name}>"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let name = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let name = [name, value.unwrap_or_default()].join(" ").trim().to_owned();
    let defaults = argument.get_default_values().iter().filter_map(|value| value.to_str()).map(code);
    let default = if takes_value { defaults.collect::<Vec<_>>().join(", ") } else { String::new() };
    [code(&name), default, argument.get_help().map(ToString::to_string).unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_with_their_flags() {
        let page = page().unwrap();
        assert!(page.contains("\n## corten gen config\n"), "{page}");
        let apply = page.split("\n## corten apply-config\n").nth(1).unwrap();
        assert!(apply.split("\n## ").next().unwrap().contains("`-i, --insecure`"), "{apply}");
    }
}
