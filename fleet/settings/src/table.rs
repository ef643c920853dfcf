//! The table of all settings: each name of the file, its flag, what it takes, its default and what it does.
//!
//! Arguments, defaults, the keys that the file may have, the page of the handbook: all walk this table. What a value
//! means to the manager is in `settings`.

mod access;
mod operation;
mod services;
mod storage;

use std::time::Duration;

use corten_config::node::{Node, Scalar, Value as Tree};
use corten_config::scalar;

use crate::kind::{Kind, Value};

/// Shortest duration of something that is done again and again.
const TICK: Duration = Duration::from_secs(1);
const ANY_DURATION: Kind = Kind::Duration(Duration::ZERO);
const INTERVAL: Kind = Kind::Duration(TICK);
const PORT: Kind = Kind::Integer(1, 65_535);
const COUNT: Kind = Kind::Integer(0, u32::MAX as u64);
const BYTES: Kind = Kind::Integer(0, u64::MAX);
const WEB: Kind = Kind::Url(&["http", "https"]);
const TEXTS: Kind = Kind::List(&Kind::Text);
const LEVELS: Kind = Kind::OneOf(crate::settings::Level::WORDS);

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its keys in the file, joined by points.
    pub path: &'static str,
    /// Its flag without dashes, if it has one.
    pub flag: Option<&'static str>,
    /// What it takes.
    pub kind: Kind,
    /// Its value when nobody sets it, as in the file; empty for none. Elements of a list are separated by commas.
    pub default: &'static str,
    /// What happens when it is set.
    pub support: Support,
    /// What it does, in one sentence; for [`Support::Later`] and [`Support::Ignored`] what is missing, or why.
    pub about: &'static str,
}

/// What happens to a setting that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It takes effect.
    Effective,
    /// It is known and refused, unless it is set to its default or switched off: ignoring it would mislead.
    Later,
    /// It is accepted and changes nothing; whoever sets it is told why.
    Ignored,
    /// The old name of another setting: it takes effect as that one, and whoever sets it is told.
    Renamed(&'static str),
}

/// Every setting, in the order of the handbook.
pub fn all_settings() -> impl Iterator<Item = &'static Setting> {
    let groups = [
        access::ACCOUNT,
        services::SERVICES,
        access::AUTH,
        operation::LOGS,
        storage::STORAGE,
        storage::BACKUP,
        operation::REGISTRIES,
        operation::MEDIA,
        operation::DEBUG,
        operation::FEATURES,
        access::EULA,
    ];
    groups.into_iter().flatten()
}

/// The setting of a path.
pub(crate) fn setting(path: &str) -> Option<&'static Setting> {
    all_settings().find(|setting| setting.path == path)
}

/// The keys below a section, each once; none if it is no section. The root is the section with the empty path.
pub(crate) fn keys(section: &str) -> Vec<&'static str> {
    let mut keys: Vec<&'static str> = Vec::new();
    for setting in all_settings() {
        let below = match section {
            "" => Some(setting.path),
            section => setting.path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')),
        };
        let key = below.and_then(|below| below.split('.').next());
        if let Some(key) = key.filter(|key| !keys.contains(key)) {
            keys.push(key);
        }
    }
    keys
}

/// A setting that takes effect.
const fn effective(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Setting {
    Setting { path, flag: None, kind, default, support: Support::Effective, about }
}

/// A setting that is refused when it is set to anything but its default.
const fn later(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Setting {
    Setting { path, flag: None, kind, default, support: Support::Later, about }
}

/// A setting that changes nothing.
const fn ignored(path: &'static str, kind: Kind, about: &'static str) -> Setting {
    Setting { path, flag: None, kind, default: "", support: Support::Ignored, about }
}

/// The old name of a setting.
const fn renamed(path: &'static str, to: &'static str) -> Setting {
    let support = Support::Renamed(to);
    Setting { path, flag: None, kind: Kind::Text, default: "", support, about: "" }
}

impl Setting {
    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    /// The section that it is in; empty for none.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its value when nobody sets it.
    pub(crate) fn initial(&self) -> Value {
        if self.default.is_empty() {
            return Value::Nothing;
        }
        self.read_texts(&[self.default]).unwrap_or(Value::Nothing)
    }

    /// Reads what the file has.
    pub(crate) fn read_node(&self, node: &Node) -> Result<Value, String> {
        match (self.kind, &node.value) {
            (Kind::List(_), Tree::List(items)) => {
                let scalars = items.iter().map(|item| item.as_scalar().filter(|_| !item.is_null()));
                let scalars: Option<Vec<&Scalar>> = scalars.collect();
                let scalars = scalars.ok_or_else(|| "has an element that is no text".to_owned())?;
                self.read_items(scalars)
            }
            (Kind::List(_), _) | (_, Tree::List(_) | Tree::Map(_)) => {
                Err(format!("expected {}, found a {}", self.kind.expected(), node.describe()))
            }
            (kind, Tree::Scalar(scalar)) if !scalar.text.is_empty() => kind.read(scalar),
            _ => self.nothing(),
        }
    }

    /// Reads what the command line has: of several values the last one counts, unless it is a list.
    pub(crate) fn read_texts(&self, texts: &[&str]) -> Result<Value, String> {
        let read = |text: &str| Scalar { text: text.to_owned(), kind: scalar::resolve(text) };
        if let Kind::List(_) = self.kind {
            let parts = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
            let items: Vec<Scalar> = parts.filter(|text| !text.is_empty()).map(read).collect();
            return self.read_items(items.iter().collect());
        }
        match texts.last() {
            Some(&text) if !text.is_empty() => self.kind.read(&read(text)),
            _ => self.nothing(),
        }
    }

    fn read_items(&self, items: Vec<&Scalar>) -> Result<Value, String> {
        if items.is_empty() { self.nothing() } else { self.kind.items(items) }
    }

    /// An empty value switches off what has no default; everything else needs one.
    fn nothing(&self) -> Result<Value, String> {
        if self.default.is_empty() { Ok(Value::Nothing) } else { Err("must not be empty".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_flags_are_unique_and_no_setting_is_a_section_too() {
        let (mut paths, mut flags) = (HashSet::new(), HashSet::new());
        for setting in all_settings() {
            assert!(paths.insert(setting.path), "{}", setting.path);
            assert!(setting.flag.is_none_or(|flag| flags.insert(flag)), "{:?}", setting.flag);
            assert!(keys(setting.path).is_empty(), "{} is a section", setting.path);
        }
        assert!(paths.len() > 150, "{}", paths.len());
    }

    #[test]
    fn every_default_is_a_value_and_every_setting_is_described() {
        for setting in all_settings() {
            if !setting.default.is_empty() {
                assert!(setting.read_texts(&[setting.default]).is_ok(), "{}", setting.path);
            }
            match setting.support {
                Support::Effective => assert!(setting.about.ends_with('.'), "{}", setting.path),
                Support::Renamed(to) => {
                    assert!(super::setting(to).is_some_and(|to| to.support == Support::Effective), "{to}");
                }
                Support::Later | Support::Ignored => {
                    assert!(!setting.about.is_empty() && !setting.about.ends_with('.'), "{}", setting.path);
                }
            }
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_one() {
        let words = ["password", "token", "clientSecret", "apiKey"];
        for setting in all_settings().filter(|setting| matches!(setting.kind, Kind::Text)) {
            let is_old = matches!(setting.support, Support::Renamed(_));
            let looks = words.iter().any(|word| setting.path.to_lowercase().ends_with(&word.to_lowercase()));
            assert!(is_old || !looks, "{}", setting.path);
        }
    }

    #[test]
    fn keys_of_a_section_are_listed_once() {
        assert_eq!(keys("storage"), ["default", "vault", "sqlite", "rateLimits"]);
        assert_eq!(keys("account.userPilot"), ["appToken"]);
        assert!(keys("").contains(&"eulaAccept") && keys("nothing").is_empty() && keys("serv").is_empty());
    }
}
