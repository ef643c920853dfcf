//! The command line: one argument for each setting that has a flag, made from the table.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches};

use crate::kind::{Kind, Value};
use crate::load::{Taken, take};
use crate::table::{self, Setting, Support};

/// Flag that names configuration files.
const FILES: &str = "config-path";

/// The arguments of the manager, for the command of whoever starts it; it needs no other for its settings.
///
/// Flags of settings that are refused or changed their names are taken, and not in the help.
pub fn arguments() -> Vec<Arg> {
    let files = Arg::new(FILES)
        .long(FILES)
        .value_name("FILE")
        .action(ArgAction::Append)
        .help("Configuration file; of several, later ones win, and flags win over all");
    std::iter::once(files).chain(table::all_settings().filter_map(argument)).collect()
}

/// The configuration files that the command line names, in order.
#[must_use]
pub fn paths(matches: &ArgMatches) -> Vec<PathBuf> {
    texts(matches, FILES).unwrap_or_default().into_iter().map(PathBuf::from).collect()
}

fn argument(setting: &'static Setting) -> Option<Arg> {
    let flag = setting.flag?;
    let argument = Arg::new(flag)
        .long(flag)
        .value_name(setting.kind.placeholder())
        .help(help(setting))
        .help_heading(setting.section())
        .hide(setting.support != Support::Effective);
    Some(match setting.kind {
        Kind::Bool => {
            let argument = argument.action(ArgAction::Set).num_args(0..=1);
            argument.require_equals(true).default_missing_value("true").overrides_with(flag)
        }
        Kind::List(_) => argument.action(ArgAction::Append),
        _ => argument.action(ArgAction::Set).overrides_with(flag),
    })
}

fn help(setting: &Setting) -> String {
    let about = setting.about.trim_end_matches('.');
    match setting.default {
        "" => about.to_owned(),
        default => format!("{about} [default: {default}]"),
    }
}

/// What the command line has.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Values: setting, value, and the flag that gave it.
    pub(crate) found: Vec<(&'static str, Value, &'static str)>,
    /// What is wrong.
    pub(crate) causes: Vec<String>,
    /// What is accepted and should be known.
    pub(crate) warnings: Vec<String>,
}

/// Reads the flags.
pub(crate) fn read(matches: &ArgMatches) -> Reading {
    let mut reading = Reading::default();
    for setting in table::all_settings() {
        if let Some(flag) = setting.flag
            && let Some(texts) = texts(matches, flag)
        {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            reading.take(setting, flag, &texts);
        }
    }
    reading
}

impl Reading {
    fn take(&mut self, setting: &'static Setting, flag: &'static str, texts: &[&str]) {
        // An empty text is off whatever the setting takes.
        if setting.support == Support::Later && texts.iter().all(|text| text.is_empty()) {
            return;
        }
        let Taken { value, warning } = match take(setting, |setting| setting.read_texts(texts)) {
            Ok(taken) => taken,
            Err(message) => return self.causes.push(format!("--{flag}: {message}")),
        };
        self.warnings.extend(warning.map(|message| format!("--{flag}: {message}")));
        if let Some((path, value)) = value {
            if let Some((_, _, other)) = self.found.iter().find(|(known, ..)| *known == path) {
                self.causes.push(format!("--{flag}: is the same setting as --{other}; remove one"));
            }
            self.found.push((path, value, flag));
        }
    }
}

/// Texts that a flag was given; nothing when it was not.
fn texts(matches: &ArgMatches, flag: &str) -> Option<Vec<String>> {
    let texts = matches.try_get_many::<String>(flag).ok().flatten()?;
    Some(texts.cloned().collect())
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn command() -> Command {
        Command::new("corten-fleet").no_binary_name(true).args(arguments())
    }

    fn given(line: &[&str]) -> Reading {
        read(&command().try_get_matches_from(line).unwrap())
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_arguments() {
        command().debug_assert();
    }

    #[test]
    fn flags_are_read_like_the_file() {
        let line = ["--suspended", "--lb-min-port=1", "--lb-min-port", "2", "--initial-users", "a@b,c@d"];
        let users = Value::List(vec!["a@b".to_owned(), "c@d".to_owned()]);
        assert_eq!(
            given(&line).found,
            [
                ("services.loadBalancer.minPort", Value::Integer(2), "lb-min-port"),
                ("auth.initialUsers", users, "initial-users"),
                ("auth.suspended", Value::Bool(true), "suspended"),
            ]
        );
        assert!(given(&["--audit-log-enabled=false"]).found[0].1 == Value::Bool(false));
        assert!(given(&[]).found.is_empty());
    }

    #[test]
    fn what_is_wrong_names_its_flag() {
        let line = ["--lb-min-port=x", "--auth-saml-enabled", "--etcd-backup-s3=false", "--log-format=json"];
        assert_eq!(
            given(&line).causes,
            [
                "--lb-min-port: \"x\" is not a whole number",
                "--auth-saml-enabled: is not supported yet: logging in through SAML",
                "--log-format: is not supported yet: log lines as JSON",
            ]
        );
        let reading = given(&["--image-factory-address=https://f", "--eula-accept-name=A"]);
        assert_eq!(reading.found[0].0, "registries.factories.primary.url");
        assert_eq!(reading.warnings.len(), 2, "{:?}", reading.warnings);
    }

    #[test]
    fn the_help_has_what_works_and_its_defaults() {
        let help = command().term_width(0).render_help().to_string();
        assert!(help.contains("--lb-min-port <NUMBER>") && help.contains("[default: 10000]"), "{help}");
        assert!(!help.contains("saml") && !help.contains("image-factory-address"), "{help}");
    }

    #[test]
    fn files_are_named_in_order() {
        let matches = command().try_get_matches_from(["--config-path", "a", "--config-path=b"]).unwrap();
        assert_eq!(paths(&matches), [PathBuf::from("a"), PathBuf::from("b")]);
    }
}
