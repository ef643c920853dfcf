//! Versions of the operating system and of Kubernetes that are offered, from tables and not from the internet.
//!
//! ```text
//! versions.yaml (in the program) ─▶ Versions ◀─ files of the administrator
//!                                      └─▶ TalosVersion (what runs on it, what it may become), KubernetesVersion
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use corten_config::yaml;
use corten_fleet_resources::upgrade::{KubernetesVersion, TalosVersion};
use corten_resource::{Spec, State, StateError};
use futures::future::try_join_all;
use semver::Version;
use serde::Deserialize;

use crate::keep::keep;

/// Owner of the versions; the name that the controller has in the field.
const OWNER: &str = "VersionsController";
/// The table that comes with the program.
const BUILT_IN: &str = include_str!("versions.yaml");
/// How messages call it.
const BUILT_IN_NAME: &str = "the table of this program";
/// Between the ends of a range.
const TO: &str = " to ";
/// Minor versions that a machine may go forward at once.
const MINORS_FORWARD: u64 = 1;
/// Minor versions that a machine may go back.
const MINORS_BACK: u64 = 1;

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VersionsError {
    /// The file cannot be read.
    #[error("cannot read the versions in {path}; name a file that is there with --versions")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no table of versions.
    #[error("{name} is no table of versions: {why}")]
    Form {
        /// Name of the table.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Something in it is no version.
    #[error("{name}: {text:?} is {wanted}")]
    Version {
        /// Name of the table.
        name: String,
        /// What stands there.
        text: String,
        /// What it should be.
        wanted: &'static str,
    },
}

/// A table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    talos: Vec<TalosRow>,
    #[serde(default)]
    kubernetes: Vec<String>,
}

/// A row of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TalosRow {
    version: String,
    /// Oldest and newest minor version of Kubernetes.
    kubernetes: String,
    #[serde(default)]
    deprecated: bool,
}

/// What is known of a version of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Talos {
    /// Minor versions of Kubernetes that run on it, both included.
    kubernetes: (Minor, Minor),
    is_deprecated: bool,
}

/// Major and minor number.
type Minor = (u64, u64);

/// All versions that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    talos: BTreeMap<Version, Talos>,
    kubernetes: BTreeSet<Version>,
}

impl Versions {
    /// The versions that the program knows, and those of these files.
    ///
    /// # Errors
    /// When a file cannot be read or is no table.
    pub fn load(files: &[PathBuf]) -> Result<Self, VersionsError> {
        let mut versions = Self::default();
        versions.add(BUILT_IN_NAME, BUILT_IN)?;
        for path in files {
            let text = read(path)?;
            versions.add(&path.display().to_string(), &text)?;
        }
        Ok(versions)
    }

    /// Takes in the rows of a table; they count over those that are there.
    fn add(&mut self, name: &str, text: &str) -> Result<(), VersionsError> {
        let form = |why: String| VersionsError::Form { name: name.to_owned(), why };
        for document in yaml::parse(text).map_err(|problem| form(problem.text()))? {
            let table = serde_json::from_value::<Table>(document).map_err(|error| form(error.to_string()))?;
            for row in table.talos {
                let kubernetes = range(name, &row.kubernetes)?;
                let talos = Talos { kubernetes, is_deprecated: row.deprecated };
                self.talos.insert(version(name, &row.version)?, talos);
            }
            for text in &table.kubernetes {
                self.kubernetes.insert(version(name, text)?);
            }
        }
        Ok(())
    }

    /// Versions of the operating system that are offered.
    fn offered<'a>(&'a self, offer: &'a Offer<'_>) -> impl Iterator<Item = (&'a Version, &'a Talos)> {
        self.talos.iter().filter(move |(version, _)| offer.has(version))
    }

    /// The versions of the operating system by their ids, as clients see them.
    fn talos(&self, offer: &Offer<'_>) -> Vec<(String, TalosVersion)> {
        let resource = |(version, talos): (&Version, &Talos)| {
            let (from, to) = talos.kubernetes;
            let runs = |version: &&Version| offer.has(version) && (from..=to).contains(&minor(version));
            let follows = |other: &&Version| *other != version && may_become(version, other);
            let spec = TalosVersion {
                version: version.to_string(),
                compatible_kubernetes_versions: texts(self.kubernetes.iter().filter(runs)),
                deprecated: talos.is_deprecated,
                upgradable_talos_versions: texts(self.offered(offer).map(|(other, _)| other).filter(follows)),
                image_factory_url: offer.factory.to_owned(),
                ..TalosVersion::default()
            };
            (version.to_string(), spec)
        };
        self.offered(offer).map(resource).collect()
    }

    /// The versions of Kubernetes by their ids.
    fn kubernetes(&self, offer: &Offer<'_>) -> Vec<(String, KubernetesVersion)> {
        let offered = self.kubernetes.iter().filter(|version| offer.has(version)).map(Version::to_string);
        offered.map(|version| (version.clone(), KubernetesVersion { version })).collect()
    }

    /// Writes them, and removes those that are no longer offered.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn publish(&self, state: &State, offer: &Offer<'_>) -> Result<(), StateError> {
        publish(state, &self.talos(offer)).await?;
        publish(state, &self.kubernetes(offer)).await
    }
}

/// What the configuration says of versions.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Versions are offered that are not released.
    pub has_pre_releases: bool,
    /// URL of the image factory that has them.
    pub factory: &'a str,
}

impl Offer<'_> {
    fn has(&self, version: &Version) -> bool {
        self.has_pre_releases || version.pre.is_empty()
    }
}

async fn publish<S: Spec>(state: &State, wanted: &[(String, S)]) -> Result<(), StateError> {
    try_join_all(wanted.iter().map(|(id, spec)| keep(state, OWNER, id, spec.clone()))).await?;
    for stored in state.list::<S>() {
        let is_offered = wanted.iter().any(|(id, _)| id == stored.id());
        if !is_offered && stored.metadata.owner == OWNER {
            state.remove::<S>(OWNER, stored.id())?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, VersionsError> {
    std::fs::read_to_string(path).map_err(|source| VersionsError::Read { path: path.to_owned(), source })
}

/// A version with or without its `v`.
fn version(name: &str, text: &str) -> Result<Version, VersionsError> {
    let plain = text.strip_prefix('v').unwrap_or(text);
    let wrong = |_| wrong(name, text, "no version; expected one such as 1.14.1");
    Version::parse(plain).map_err(wrong)
}

/// The ends of a range such as `1.32 to 1.37`.
fn range(name: &str, text: &str) -> Result<(Minor, Minor), VersionsError> {
    let minor = |text: &str| -> Option<Minor> {
        let (major, minor) = text.trim().split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let ends = text.split_once(TO).and_then(|(from, to)| Some((minor(from)?, minor(to)?)));
    let ends = ends.filter(|(from, to)| from <= to);
    ends.ok_or_else(|| wrong(name, text, "no range of minor versions; expected one such as 1.32 to 1.37"))
}

fn wrong(name: &str, text: &str, wanted: &'static str) -> VersionsError {
    VersionsError::Version { name: name.to_owned(), text: text.to_owned(), wanted }
}

const fn minor(version: &Version) -> Minor {
    (version.major, version.minor)
}

/// Whether a machine may go from one version to another, which is another one.
const fn may_become(from: &Version, to: &Version) -> bool {
    from.major == to.major
        && to.minor <= from.minor.saturating_add(MINORS_FORWARD)
        && to.minor.saturating_add(MINORS_BACK) >= from.minor
}

fn texts<'a>(versions: impl Iterator<Item = &'a Version>) -> Vec<String> {
    versions.map(Version::to_string).collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing;

    use super::*;

    const RELEASED: Offer<'_> = Offer { has_pre_releases: false, factory: "https://factory.talos.dev" };

    fn talos<'a>(all: &'a [(String, TalosVersion)], id: &str) -> &'a TalosVersion {
        &all.iter().find(|(known, _)| known == id).expect("offered").1
    }

    #[test]
    fn the_program_offers_its_own_defaults_and_each_version_has_a_kubernetes() {
        let versions = Versions::load(&[]).expect("a table");
        let all = versions.talos(&RELEASED);
        let own = talos(&all, corten_base::version::TAG.trim_start_matches('v'));
        let usual = corten_config::defaults::KUBERNETES_VERSION.to_owned();
        assert!(own.compatible_kubernetes_versions.contains(&usual), "{own:?}");
        assert!(all.iter().all(|(_, spec)| !spec.compatible_kubernetes_versions.is_empty()));
        assert_eq!(own.image_factory_url, "https://factory.talos.dev");
        assert!(!own.deprecated && talos(&all, "1.9.5").deprecated);
    }

    #[test]
    fn machines_go_one_minor_version_at_a_time_and_one_back() {
        let versions = Versions::load(&[]).expect("a table");
        let all = versions.talos(&RELEASED);
        let next = &talos(&all, "1.12.7").upgradable_talos_versions;
        assert_eq!(*next, ["1.11.5", "1.13.2", "1.13.8", "1.13.9"]);
    }

    #[test]
    fn what_is_not_released_is_offered_on_demand() {
        let versions = Versions::load(&[]).expect("a table");
        let ids = |offer: &Offer<'_>| -> Vec<String> {
            versions.talos(offer).into_iter().map(|(id, _)| id).collect()
        };
        let early = "1.14.0-rc.1".to_owned();
        assert!(!ids(&RELEASED).contains(&early));
        assert!(ids(&Offer { has_pre_releases: true, ..RELEASED }).contains(&early));
    }

    #[tokio::test]
    async fn an_administrator_adds_and_replaces_rows_and_what_is_gone_is_removed() {
        let state = testing::state(corten_fleet_resources::registry());
        let mut versions = Versions::load(&[]).expect("a table");
        let more = "talos: [{version: v9.9.9, kubernetes: 1.37 to 1.38}]\nkubernetes: [1.38.0]\n";
        versions.add("more.yaml", more).expect("a table");
        let old = "talos: [{version: 1.13.8, kubernetes: 1.36 to 1.36, deprecated: true}]\n";
        versions.add("old.yaml", old).expect("a table");
        versions.publish(&state, &RELEASED).await.expect("written");
        let new = state.get::<TalosVersion>("9.9.9").expect("offered");
        assert_eq!(new.compatible_kubernetes_versions, ["1.37.2", "1.38.0"]);
        assert!(state.get::<TalosVersion>("1.13.8").expect("offered").deprecated);
        assert!(state.get::<KubernetesVersion>("1.38.0").is_some());
        Versions::load(&[]).expect("a table").publish(&state, &RELEASED).await.expect("written");
        assert!(state.get::<TalosVersion>("9.9.9").is_none());
        assert!(state.get::<KubernetesVersion>("1.38.0").is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("talos: [{version: x, kubernetes: 1.32 to 1.37}]", "\"x\" is no version"),
            ("talos: [{version: 1.14.1, kubernetes: 1.37 to 1.32}]", "\"1.37 to 1.32\" is no range"),
            ("talos: [{version: 1.14.1, kubernetes: latest}]", "\"latest\" is no range"),
            ("talos: [{version: 1.14.1}]", "missing field `kubernetes`"),
            ("k8s: []", "unknown field `k8s`"),
            ("talos: [", "is no table of versions"),
        ] {
            let error = Versions::default().add("my.yaml", text).expect_err(text).to_string();
            assert!(error.starts_with("my.yaml") && error.contains(part), "{error}");
        }
        let error = Versions::load(&[PathBuf::from("/nowhere/versions.yaml")]).expect_err("no file");
        assert!(error.to_string().contains("/nowhere/versions.yaml"), "{error}");
    }

    #[test]
    fn any_text_is_a_table_or_refused() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = Versions::default().add("any", text);
        });
    }
}
