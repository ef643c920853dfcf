//! The client configuration of managers: contexts with an address and an identity.
//!
//! Read as `omnictl` reads it (unknown keys are skipped) and written so that it can read it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corten_base::fs::{Durability, write_atomic};
use corten_resource::{Record, yaml};

use super::address::Address;
use crate::failure::Cause;

/// Largest file that is read.
const BYTES_MAX: u64 = 4 << 20;
/// Only its owner reads the file.
const MODE: u32 = 0o600;
/// What documents show where the address of a manager belongs.
const PLACEHOLDER: &str = "<placeholder_url>";
/// The address of a manager when none is given.
pub const DEFAULT_URL: &str = "grpc://127.0.0.1:8080";

/// A client configuration.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct OmniConfig {
    /// Contexts by name.
    #[field(1, "contexts")]
    pub contexts: BTreeMap<String, Context>,
    /// Name of the context that is used when none is named.
    #[field(2, "context")]
    pub context: String,
}

/// A manager as one person sees it.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Context {
    /// Address of its API, a URL.
    #[field(1, "url")]
    pub url: String,
    /// Who calls.
    #[field(2, "auth", omitempty)]
    pub auth: Option<Auth>,
}

/// Ways to show who calls.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Auth {
    /// Signed calls.
    #[field(1, "siderov1", omitempty)]
    pub siderov1: Option<SideroV1>,
}

/// Calls signed with a key of the named person.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SideroV1 {
    /// E-mail address.
    #[field(1, "identity")]
    pub identity: String,
}

impl Context {
    /// A context with an address and perhaps an identity.
    pub fn new(url: &str, identity: Option<&str>) -> Self {
        let mut context = Self { url: url.to_owned(), auth: None };
        if let Some(identity) = identity {
            context.set_identity(identity);
        }
        context
    }

    /// Who calls; empty when nobody is named.
    pub fn identity(&self) -> &str {
        let siderov1 = self.auth.as_ref().and_then(|auth| auth.siderov1.as_ref());
        siderov1.map(|siderov1| siderov1.identity.as_str()).unwrap_or_default()
    }

    /// Names who calls.
    pub fn set_identity(&mut self, identity: &str) {
        let siderov1 = SideroV1 { identity: identity.to_owned() };
        self.auth = Some(Auth { siderov1: Some(siderov1) });
    }

    /// Where the manager is.
    pub fn address(&self) -> Result<Address, Cause> {
        match self.url.trim() {
            "" => Err(Cause::new("the context names no address")
                .way_out("name one with `corten fleet config url URL`")),
            PLACEHOLDER => Err(Cause::new(format!("the context still has {PLACEHOLDER} for an address"))
                .way_out("name the address of your manager with `corten fleet config url URL`")),
            url => url.parse::<Address>().map_err(Cause::new),
        }
    }
}

impl OmniConfig {
    /// Reads a configuration; an empty text is an empty one.
    pub fn parse(text: &str) -> Result<Self, Cause> {
        let mut config = Self::default();
        if !text.trim().is_empty() {
            let read = yaml::read(text, &mut config, yaml::Style::Mapping);
            read.map_err(|error| Cause::new(corten_base::chain(&error)))?;
        }
        Ok(config)
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, Cause> {
        if std::fs::metadata(path)?.len() > BYTES_MAX {
            return Err(Cause::new(format!("it is larger than {BYTES_MAX} bytes")));
        }
        Self::parse(&std::fs::read_to_string(path)?)
    }

    /// The text of the file.
    pub fn to_yaml(&self) -> String {
        yaml::write(self, yaml::Style::Mapping)
    }

    /// Replaces a file, readable by its owner only.
    pub fn save(&self, path: &Path) -> Result<(), Cause> {
        let whole = std::path::absolute(path)?;
        Ok(write_atomic(&whole, self.to_yaml().as_bytes(), MODE, Durability::Durable)?)
    }

    /// Name and content of the context with this name, or of the current one.
    pub fn context(&self, name: Option<&str>) -> Result<(&str, &Context), Cause> {
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&self.context);
        let found = self.contexts.get_key_value(name);
        found.map(|(name, context)| (name.as_str(), context)).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            Cause::new(format!("context {name:?} is not defined; there are: {}", known.join(", ")))
        })
    }

    /// Adds the contexts of another configuration and makes its current one current. A name that is taken by a
    /// different context gets a number: `name-1`. Returns what was renamed, old name first.
    pub fn merge(&mut self, other: Self) -> Vec<(String, String)> {
        let mut renamed = Vec::new();
        let mut current = other.context;
        for (name, context) in other.contexts {
            let free = self.free_name(&name, &context);
            if free != name {
                if current == name {
                    current.clone_from(&free);
                }
                renamed.push((name, free.clone()));
            }
            self.contexts.insert(free, context);
        }
        if !current.is_empty() {
            self.context = current;
        }
        renamed
    }

    fn free_name(&self, name: &str, context: &Context) -> String {
        let fits = |name: &str| self.contexts.get(name).is_none_or(|taken| taken == context);
        let numbered = (1u32..).map(|number| format!("{name}-{number}"));
        std::iter::once(name.to_owned()).chain(numbered).find(|name| fits(name)).unwrap_or_default()
    }
}

/// Where a configuration may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// `--omniconfig`.
    pub flag: Option<PathBuf>,
    /// `$OMNICONFIG`.
    pub variable: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`, where older clients keep it.
    pub xdg: Option<PathBuf>,
}

impl Places {
    /// The places of this process, with the flag's value.
    pub fn of_process(flag: Option<PathBuf>) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME");
        let in_home = home.as_ref().map(|home| home.join(".config"));
        let xdg = variable("XDG_CONFIG_HOME").or(in_home);
        Self { flag, variable: variable("OMNICONFIG"), home, xdg }
    }

    /// The file that is written.
    pub fn own(&self) -> Option<PathBuf> {
        let in_home = || self.home.as_ref().map(|home| home.join(".talos/omni/config"));
        self.flag.clone().or_else(|| self.variable.clone()).or_else(in_home)
    }

    /// The file that is read: the own one, or that of older clients as long as only that is there.
    pub fn existing(&self) -> Option<PathBuf> {
        let is_named = self.flag.is_some() || self.variable.is_some();
        let old = self.xdg.as_ref().map(|xdg| xdg.join("omni/config")).filter(|_| !is_named);
        self.own().into_iter().chain(old).find(|path| path.exists())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "contexts:\n    default:\n        url: grpcs://fleet.example.org\n        auth:\n            basic: dXNlcg==\n            siderov1:\n                identity: a@example.org\n    new:\n        url: <placeholder_url>\ncontext: default\n";

    #[test]
    fn reads_what_other_clients_wrote_and_passes_basic_over() {
        let config = OmniConfig::parse(TEXT).expect("valid");
        let (name, context) = config.context(None).expect("current");
        assert_eq!((name, context.identity()), ("default", "a@example.org"));
        assert_eq!(context.address().expect("an address").to_string(), "grpcs://fleet.example.org:443");
        let missing = config.context(Some("x")).expect_err("missing");
        assert_eq!(missing.lines, ["context \"x\" is not defined; there are: default, new"]);
        assert!(OmniConfig::parse("contexts: [").is_err());
    }

    #[test]
    fn a_placeholder_is_no_address() {
        let config = OmniConfig::parse(TEXT).expect("valid");
        let refused = config.context(Some("new")).expect("there").1.address().expect_err("refused");
        assert!(refused.way_out.expect("a way out").contains("config url"), "the way out is named");
        assert!(Context::default().address().is_err());
    }

    #[test]
    fn what_is_written_is_what_clients_expect() {
        let contexts = [("home".to_owned(), Context::new(DEFAULT_URL, Some("a@example.org")))].into();
        let config = OmniConfig { contexts, context: "home".to_owned() };
        let expected = "contexts:\n    home:\n        url: grpc://127.0.0.1:8080\n        auth:\n            siderov1:\n                identity: a@example.org\ncontext: home\n";
        assert_eq!(config.to_yaml(), expected);
    }

    #[test]
    fn merging_renames_what_differs() {
        let mut config = OmniConfig::parse(TEXT).expect("valid");
        assert!(config.merge(config.clone()).is_empty(), "the same again changes nothing");
        let mut other = config.clone();
        other.contexts.entry("default".to_owned()).or_default().url = "grpc://other".to_owned();
        assert_eq!(config.merge(other), [("default".to_owned(), "default-1".to_owned())]);
        assert_eq!((config.context.as_str(), config.contexts.len()), ("default-1", 3));
    }

    #[test]
    fn files_are_looked_for_in_order_and_written_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| Some(folder.path().join(name));
        let mut places = Places { home: at("home"), xdg: at("xdg"), ..Places::default() };
        assert_eq!(places.existing(), None);
        let old = folder.path().join("xdg/omni/config");
        OmniConfig::parse(TEXT).expect("valid").save(&old).expect("saved");
        assert_eq!(places.existing(), Some(old), "only that of older clients is there");
        let own = places.own().expect("a place");
        assert_eq!(Some(&own), at("home/.talos/omni/config").as_ref());
        OmniConfig::default().save(&own).expect("saved");
        assert_eq!(own.metadata().expect("there").permissions().mode() & 0o777, MODE);
        assert_eq!(places.existing(), Some(own));
        places.variable = at("named");
        assert_eq!(places.existing(), None, "a named file is not replaced by another");
        places.flag = at("flag");
        assert_eq!(places.own(), at("flag"));
    }

    proptest! {
        #[test]
        fn any_configuration_survives_its_text(
            name in "[a-zA-Z0-9@./:_ -]{1,30}", url in "[a-z0-9.:/-]{1,30}", identity in "[a-z0-9@.]{1,20}",
        ) {
            let context = Context::new(&url, Some(&identity));
            let config = OmniConfig { context: name.clone(), contexts: [(name, context)].into() };
            prop_assert_eq!(OmniConfig::parse(&config.to_yaml()).expect("valid"), config);
        }
    }

    #[test]
    fn never_panics_on_any_text() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = OmniConfig::parse(&String::from_utf8_lossy(input));
        });
    }
}
