//! Puts files, command line and defaults together.

use std::collections::BTreeSet;

use clap::ArgMatches;

use crate::check::check;
use crate::file::{self, File};
use crate::flags;
use crate::kind::Value;
use crate::settings::Settings;
use crate::table::{self, Setting, Support};
use crate::values::{Origin, Values};

/// The configuration, and what should be known of it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What was accepted and changes nothing, or has a new name, each with its place.
    pub warnings: Vec<String>,
    /// Paths of the settings that have another value than the default.
    pub changed: BTreeSet<&'static str>,
}

/// A configuration that is wrong: every cause, each with its place and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong; nothing was started\n  cause: {}", .0.join("\n  cause: "))]
pub struct Wrong(pub Vec<String>);

/// Reads the configuration: a flag wins over the files, a later file over an earlier one, and all over the defaults.
///
/// # Errors
/// Everything that is wrong, in the files, on the command line, and with values that do not go together.
pub fn load(files: &[File], matches: &ArgMatches) -> Result<Loaded, Wrong> {
    let (mut causes, mut warnings) = (Vec::new(), Vec::new());
    let mut values = Values::initial();
    for File { name, text } in files {
        let reading = file::walk(text);
        causes.extend(reading.problems.sorted().in_file(name));
        warnings.extend(reading.warnings.sorted().in_file(name));
        for found in reading.found {
            let origin = Origin::File { file: name.clone(), name: found.name, at: found.at };
            values.set(found.path, found.value, origin);
        }
    }
    let reading = flags::read(matches);
    causes.extend(reading.causes);
    warnings.extend(reading.warnings);
    for (path, value, flag) in reading.found {
        values.set(path, value, Origin::Flag(flag));
    }
    causes.extend(check(&values));
    if !causes.is_empty() {
        return Err(Wrong(causes));
    }
    Ok(Loaded { settings: Settings::read(&values), warnings, changed: values.changed() })
}

/// What comes of a setting that is given.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The setting that takes effect, and its value.
    pub(crate) value: Option<(&'static str, Value)>,
    /// What whoever gave it should know.
    pub(crate) warning: Option<String>,
}

/// Takes a setting as its row says, or says why not.
pub(crate) fn take(
    setting: &'static Setting,
    read: impl Fn(&Setting) -> Result<Value, String>,
) -> Result<Taken, String> {
    match setting.support {
        Support::Effective => Ok(Taken { value: Some((setting.path, read(setting)?)), warning: None }),
        Support::Renamed(to) => {
            let value = table::setting(to).map(|target| Ok::<_, String>((target.path, read(target)?)));
            Ok(Taken { value: value.transpose()?, warning: Some(format!("is the old name of {to}")) })
        }
        Support::Ignored => {
            Ok(Taken { value: None, warning: Some(format!("has no effect: {}", setting.about)) })
        }
        Support::Later => {
            let is_off = read(setting).is_ok_and(|value| value.is_off() || value == setting.initial());
            let refusal = || format!("is not supported yet: {}", setting.about);
            if is_off { Ok(Taken { value: None, warning: None }) } else { Err(refusal()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn loaded(files: &[&str], line: &[&str]) -> Result<Loaded, Wrong> {
        let command = Command::new("corten-fleet").no_binary_name(true).args(flags::arguments());
        let matches = command.try_get_matches_from(line).unwrap();
        let files = files.iter().zip(["one.yaml", "two.yaml"]);
        let files: Vec<File> =
            files.map(|(text, name)| File { name: name.to_owned(), text: (*text).to_owned() }).collect();
        load(&files, &matches)
    }

    #[test]
    fn a_flag_wins_over_a_later_file_over_an_earlier_one_over_the_default() {
        let first = "account: {name: first}\nservices: {loadBalancer: {minPort: 1, maxPort: 9}}\n";
        let second = "services: {loadBalancer: {minPort: 2, maxPort: 8}}\n";
        let settings = loaded(&[first, second], &["--lb-max-port=7"]).unwrap().settings;
        let load_balancer = &settings.services.load_balancer;
        assert_eq!((load_balancer.min_port, load_balancer.max_port), (2, 7));
        assert_eq!(settings.account.name, "first");
        assert_eq!(settings.services.siderolink.event_sink_port, 8090);
    }

    #[test]
    fn what_differs_from_its_default_is_known_by_its_path() {
        let text = "services: {loadBalancer: {minPort: 10000, maxPort: 8}}\netcdBackup: {localPath: \"\"}\n";
        let changed = loaded(&[text], &["--lb-min-port=7", "--log-level=info"]).unwrap().changed;
        let changed: Vec<&str> = changed.into_iter().collect();
        assert_eq!(changed, ["services.loadBalancer.maxPort", "services.loadBalancer.minPort"]);
    }

    #[test]
    fn everything_wrong_in_all_places_is_told_at_once() {
        let files = ["a: 1", "logs: {level: loud}"];
        let error = loaded(&files, &["--lb-min-port=40000"]).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 4, "{error}");
        assert_eq!(lines.first(), Some(&"the configuration is wrong; nothing was started"));
        assert!(error.contains("  cause: a: unknown key") && error.contains("(one.yaml:1:1)"), "{error}");
        assert!(
            error.contains("cause: logs.level: \"loud\"") && error.contains("(two.yaml:1:15)"),
            "{error}"
        );
        assert!(error.contains("  cause: --lb-min-port: 40000 is above"), "{error}");
    }

    #[test]
    fn what_has_no_effect_is_a_warning() {
        let loaded = loaded(&["eulaAccept: {email: a@b}"], &["--eula-accept-name=A"]).unwrap();
        assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
        assert_eq!(loaded.settings, Settings::default());
    }
}
