//! The client configuration file: contexts with endpoints, nodes and credentials.
//!
//! Read as Talos's clients read it (unknown keys are skipped) and written so that they can read it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::fs::{Durability, write_atomic};
use corten_resource::{Record, yaml};

/// Largest file that is read.
const BYTES_MAX: u64 = 4 << 20;
/// Only its owner may read the file: it holds keys.
const MODE: u32 = 0o600;
/// Where pods find the configuration of their service account.
const IN_CLUSTER: &str = "/var/run/secrets/talos.dev/config";

/// A client configuration.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct TalosConfig {
    /// Name of the context that is used when none is named.
    #[field(1, "context")]
    pub context: String,
    /// Contexts by name.
    #[field(2, "contexts")]
    pub contexts: BTreeMap<String, Context>,
}

/// One cluster as one user sees it.
#[derive(Clone, Default, PartialEq, Record)]
pub struct Context {
    /// Addresses that calls go to.
    #[field(1, "endpoints")]
    pub endpoints: Vec<String>,
    /// Machines that calls are for when none is named.
    #[field(2, "nodes", omitempty)]
    pub nodes: Vec<String>,
    /// CA of the machines, base64 of PEM.
    #[field(3, "ca", omitempty)]
    pub ca: String,
    /// Client certificate, base64 of PEM.
    #[field(4, "crt", omitempty)]
    pub crt: String,
    /// Its key, base64 of PEM.
    #[field(5, "key", omitempty)]
    pub key: String,
    /// Other ways to log in.
    #[field(6, "auth", omitempty)]
    pub auth: Option<Auth>,
    /// Name of the cluster at a manager of several.
    #[field(7, "cluster", omitempty)]
    pub cluster: String,
    /// HTTP proxy in front of the endpoints.
    #[field(8, "proxy-url", omitempty)]
    pub proxy_url: String,
}

/// Ways to log in without a client certificate.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Auth {
    /// User name and password.
    #[field(1, "basic", omitempty)]
    pub basic: Option<Basic>,
    /// Signed requests.
    #[field(2, "siderov1", omitempty)]
    pub siderov1: Option<SideroV1>,
}

/// User name and password.
#[derive(Clone, Default, PartialEq, Record)]
pub struct Basic {
    /// Who.
    #[field(1, "username")]
    pub username: String,
    /// The password.
    #[field(2, "password")]
    pub password: String,
}

/// Requests signed with a key of the named person.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SideroV1 {
    /// Mail address.
    #[field(1, "identity")]
    pub identity: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Context");
        shown.field("endpoints", &self.endpoints).field("nodes", &self.nodes).field("cluster", &self.cluster);
        shown.finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Basic").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A client configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or written.
    #[error("failed to {action} `{}`", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The text is not a client configuration.
    #[error("failed to read the client configuration")]
    Syntax(#[source] yaml::YamlError),
    /// There is no such context.
    #[error("context {name:?} is not defined; there are: {known}")]
    NoContext {
        /// The one that was asked for.
        name: String,
        /// Names of all others.
        known: String,
    },
    /// A credential is not base64.
    #[error("the {0} of the context is not base64")]
    Base64(&'static str),
    /// There is no file at any of the usual places.
    #[error("no client configuration found; looked at {0}")]
    Nowhere(String),
}

impl TalosConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When the text is not YAML or a value has the wrong type.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if !text.trim().is_empty() {
            yaml::read(text, &mut config, yaml::Style::Mapping).map_err(ConfigError::Syntax)?;
        }
        Ok(config)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is not a configuration.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let fail = |source| ConfigError::File { action: "read", path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(fail)?.len() > BYTES_MAX {
            return Err(fail(io::Error::other(format!("larger than {BYTES_MAX} bytes"))));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(fail)?)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::write(self, yaml::Style::Mapping)
    }

    /// Replaces a file, readable by its owner only.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        write_atomic(path, self.to_yaml().as_bytes(), MODE, Durability::Durable)
            .map_err(|source| ConfigError::File { action: "write", path: path.to_owned(), source })
    }

    /// The context with this name, or the current one.
    ///
    /// # Errors
    /// When there is none.
    pub fn context(&self, name: Option<&str>) -> Result<&Context, ConfigError> {
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&self.context);
        self.contexts.get(name).ok_or_else(|| ConfigError::NoContext {
            name: name.to_owned(),
            known: self.contexts.keys().cloned().collect::<Vec<_>>().join(", "),
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
        if fits(name) {
            return name.to_owned();
        }
        (1..)
            .map(|number| format!("{name}-{number}"))
            .find(|name| fits(name))
            .unwrap_or_else(|| name.to_owned())
    }
}

impl Context {
    /// CA, certificate and key as PEM; empty where the context has none.
    ///
    /// # Errors
    /// When one of them is not base64.
    pub fn pem(&self) -> Result<[Vec<u8>; 3], ConfigError> {
        let decode = |what, text: &str| STANDARD.decode(text.trim()).map_err(|_| ConfigError::Base64(what));
        Ok([decode("ca", &self.ca)?, decode("crt", &self.crt)?, decode("key", &self.key)?])
    }

    /// Sets CA, certificate and key from PEM.
    pub fn set_pem(&mut self, ca: &[u8], crt: &[u8], key: &[u8]) {
        self.ca = STANDARD.encode(ca);
        self.crt = STANDARD.encode(crt);
        self.key = STANDARD.encode(key);
    }
}

/// Where a configuration may be; filled by the program's start from flags and environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    /// `--talosconfig`.
    pub flag: Option<PathBuf>,
    /// `$TALOSCONFIG`.
    pub variable: Option<PathBuf>,
    /// `$TALOS_HOME`.
    pub talos_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl Locations {
    /// The places of this process, with the flag's value.
    #[must_use]
    pub fn of_process(flag: Option<PathBuf>) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            flag,
            variable: variable("TALOSCONFIG"),
            talos_home: variable("TALOS_HOME"),
            home: variable("HOME"),
        }
    }

    /// The file that is written, and read first.
    #[must_use]
    pub fn own(&self) -> Option<PathBuf> {
        let in_home = || self.home.as_ref().map(|home| home.join(".talos/config"));
        let named = self.flag.clone().or_else(|| self.variable.clone());
        named.or_else(|| self.talos_home.as_ref().map(|home| home.join("config"))).or_else(in_home)
    }

    /// Reads the first file that exists. A file that was named by flag or variable must exist.
    ///
    /// # Errors
    /// When there is no file, or it is not a configuration.
    pub fn load(&self) -> Result<(PathBuf, TalosConfig), ConfigError> {
        let own = self.own();
        let named = self.flag.is_some() || self.variable.is_some();
        let fallback = (!named).then(|| PathBuf::from(IN_CLUSTER));
        let places: Vec<PathBuf> = own.into_iter().chain(fallback).collect();
        match places.iter().find(|path| named || path.exists()) {
            Some(path) => Ok((path.clone(), TalosConfig::load(path)?)),
            None => {
                let looked: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
                Err(ConfigError::Nowhere(looked.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "context: home\ncontexts:\n    home:\n        endpoints:\n            - 10.5.0.2\n            - fd00::2\n        nodes:\n            - 10.5.0.3\n        ca: Y2E=\n        crt: Y3J0\n        key: a2V5\n        unheard-of: 1\n    omni:\n        endpoints: [https://omni.example]\n        auth:\n            siderov1:\n                identity: a@example.org\n        cluster: prod\n";

    #[test]
    fn reads_what_other_clients_wrote() {
        let config = TalosConfig::parse(TEXT).expect("valid");
        let home = config.context(None).expect("current");
        assert_eq!(home.endpoints, ["10.5.0.2", "fd00::2"]);
        assert_eq!(home.pem().expect("base64"), [b"ca".to_vec(), b"crt".to_vec(), b"key".to_vec()]);
        let omni = config.context(Some("omni")).expect("named");
        assert_eq!(omni.cluster, "prod");
        let identity = omni.auth.clone().and_then(|auth| auth.siderov1).expect("siderov1").identity;
        assert_eq!(identity, "a@example.org");
        let missing = config.context(Some("x")).expect_err("missing").to_string();
        assert_eq!(missing, "context \"x\" is not defined; there are: home, omni");
        assert!(!format!("{config:?}").contains("a2V5"), "keys are not printed");
    }

    #[test]
    fn merging_renames_what_differs() {
        let mut config = TalosConfig::parse(TEXT).expect("valid");
        assert!(config.merge(config.clone()).is_empty(), "the same again changes nothing");
        let mut other = config.clone();
        other.contexts.get_mut("home").expect("home").nodes.clear();
        assert_eq!(config.merge(other), [("home".to_owned(), "home-1".to_owned())]);
        assert_eq!((config.context.as_str(), config.contexts.len()), ("home-1", 3));
    }

    #[test]
    fn files_are_looked_for_in_order_and_written_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| Some(folder.path().join(name));
        let mut places = Locations { talos_home: at("talos"), home: at("home"), ..Locations::default() };
        let own = places.own().expect("a place");
        assert_eq!(Some(&own), at("talos/config").as_ref());
        TalosConfig::parse(TEXT).expect("valid").save(&own).expect("saved");
        assert_eq!(own.metadata().expect("there").permissions().mode() & 0o777, MODE);
        assert_eq!(places.load().expect("found").1, TalosConfig::parse(TEXT).expect("valid"));
        places.variable = at("named");
        assert!(places.load().is_err(), "a named file must exist");
        places.flag = Some(own.clone());
        assert_eq!(places.load().expect("found").0, own);
    }

    proptest! {
        #[test]
        fn any_configuration_survives_its_text(
            name in "[a-zA-Z0-9@./:_ -]{1,30}", endpoints in prop::collection::vec("[a-z0-9.:-]{1,20}", 0..3), key in "[A-Za-z0-9+/=]{0,40}",
        ) {
            let context = Context { endpoints, key, ..Context::default() };
            let config = TalosConfig { context: name.clone(), contexts: [(name, context)].into() };
            prop_assert_eq!(TalosConfig::parse(&config.to_yaml()).expect("valid"), config);
        }
    }

    #[test]
    fn never_panics_on_any_text() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = TalosConfig::parse(&String::from_utf8_lossy(input));
        });
    }
}
