//! The value of every setting that takes effect, and where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use corten_base::Secret;
use corten_config::Problem;
use corten_config::node::Position;

use crate::kind::Value;
use crate::table::{self, Support};

/// Where a value came from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A file.
    File {
        /// Its name.
        file: String,
        /// The keys as written.
        name: &'static str,
        /// Where the value stands.
        at: Position,
    },
    /// A flag, without its dashes.
    Flag(&'static str),
}

impl Origin {
    /// A message about the value, with its place.
    pub(crate) fn tell(&self, message: &str) -> String {
        match self {
            Self::File { file, name, at } => {
                let problem = Problem {
                    document: String::new(),
                    path: (*name).to_owned(),
                    message: message.to_owned(),
                    at: *at,
                };
                problem.in_file(file)
            }
            Self::Flag(flag) => format!("--{flag}: {message}"),
        }
    }
}

/// All values by their paths.
#[derive(Debug)]
pub(crate) struct Values(BTreeMap<&'static str, (Value, Option<Origin>)>);

impl Values {
    /// The defaults.
    pub(crate) fn initial() -> Self {
        let effective = table::all_settings().filter(|setting| setting.support == Support::Effective);
        Self(effective.map(|setting| (setting.path, (setting.initial(), None))).collect())
    }

    /// Puts a value in the place of the one that there was.
    pub(crate) fn set(&mut self, path: &'static str, value: Value, origin: Origin) {
        self.0.insert(path, (value, Some(origin)));
    }

    /// A message about a value, with its place if somebody gave it.
    pub(crate) fn tell(&self, path: &str, message: &str) -> String {
        match self.0.get(path) {
            Some((_, Some(origin))) => origin.tell(message),
            _ => format!("{path}: {message}"),
        }
    }

    /// Settings that somebody gave another value than the default.
    pub(crate) fn changed(&self) -> BTreeSet<&'static str> {
        let is_other = |path: &str, value: &Value| {
            table::setting(path).is_some_and(|setting| setting.initial() != *value)
        };
        self.0.iter().filter(|(path, (value, _))| is_other(path, value)).map(|(path, _)| *path).collect()
    }

    /// Whether somebody gave the value.
    pub(crate) fn is_given(&self, path: &str) -> bool {
        self.0.get(path).is_some_and(|(_, origin)| origin.is_some())
    }

    /// Whether there is a value.
    pub(crate) fn has(&self, path: &str) -> bool {
        !matches!(self.value(path), None | Some(Value::Nothing))
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        match self.value(path) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// A text that has a default.
    pub(crate) fn string(&self, path: &str) -> String {
        self.text(path).unwrap_or_default()
    }

    /// A URL without slashes at its end.
    pub(crate) fn url(&self, path: &str) -> Option<String> {
        self.text(path).map(|url| url.trim_end_matches('/').to_owned())
    }

    pub(crate) fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).map(PathBuf::from)
    }

    pub(crate) fn secret(&self, path: &str) -> Option<Secret<String>> {
        match self.value(path) {
            Some(Value::Secret(secret)) => Some(secret.clone()),
            _ => None,
        }
    }

    pub(crate) fn is(&self, path: &str) -> bool {
        matches!(self.value(path), Some(Value::Bool(true)))
    }

    pub(crate) fn number<T: TryFrom<u64> + Default>(&self, path: &str) -> T {
        match self.value(path) {
            Some(Value::Integer(number)) => T::try_from(*number).unwrap_or_default(),
            _ => T::default(),
        }
    }

    /// A number where zero means that there is no limit.
    pub(crate) fn limit<T: TryFrom<u64> + Default + PartialEq>(&self, path: &str) -> Option<T> {
        Some(self.number(path)).filter(|number| *number != T::default())
    }

    pub(crate) fn duration(&self, path: &str) -> Duration {
        match self.value(path) {
            Some(Value::Duration(duration)) => *duration,
            _ => Duration::ZERO,
        }
    }

    pub(crate) fn endpoint(&self, path: &str) -> SocketAddr {
        match self.value(path) {
            Some(Value::Endpoint(endpoint)) => *endpoint,
            _ => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }

    pub(crate) fn addresses(&self, path: &str) -> Vec<SocketAddr> {
        match self.value(path) {
            Some(Value::Addresses(addresses)) => addresses.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    /// What a word means.
    pub(crate) fn word<T: Default>(&self, path: &str, of: fn(&str) -> Option<T>) -> T {
        self.text(path).and_then(|word| of(&word)).unwrap_or_default()
    }

    fn value(&self, path: &str) -> Option<&Value> {
        self.0.get(path).map(|(value, _)| value)
    }
}
