//! The container runtime.

use corten_base::Secret;
use serde_json::{Map as JsonMap, Value as Json};

use super::Documents;
use crate::reader::Reader;

/// The file of `machine.files` that is a part of containerd's configuration.
pub const CUSTOMIZATION_FILE: &str = "/etc/cri/conf.d/20-customization.part";

/// The container runtime of the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cri {
    /// Changes to the specification that pods start from.
    pub runtime_overrides: JsonMap<String, Json>,
    /// Parts of containerd's configuration, in order of their names.
    pub customizations: Vec<Customization>,
    /// Seccomp profiles for pods.
    pub seccomp_profiles: Vec<SeccompProfile>,
    /// Whether the image cache is not used although there is one.
    pub image_cache_off: bool,
}

/// A part of containerd's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Customization {
    /// Name.
    pub name: String,
    /// TOML; it may hold credentials.
    pub content: Secret<String>,
}

/// A seccomp profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeccompProfile {
    /// Name of the file.
    pub name: String,
    /// The profile.
    pub value: JsonMap<String, Json>,
}

impl Cri {
    pub(super) fn read(machine: Reader<'_>, documents: &Documents<'_>) -> Self {
        let overrides = documents.one("CRIBaseRuntimeSpecConfig").get("overrides");
        let cache = documents.one("ImageCacheConfig").path(&["local", "enabled"]);
        let cache = cache.or(machine.path(&["features", "imageCache", "localEnabled"]));
        Self {
            runtime_overrides: overrides.or(machine.get("baseRuntimeSpecOverrides")).object(),
            customizations: customizations(machine.get("files"), documents),
            seccomp_profiles: machine.get("seccompProfiles").list(|profile| {
                Some(SeccompProfile {
                    name: profile.get("name").string(),
                    value: profile.get("value").object(),
                })
            }),
            image_cache_off: cache.bool() == Some(false),
        }
    }
}

fn customizations(files: Reader<'_>, documents: &Documents<'_>) -> Vec<Customization> {
    let part =
        |name: &str, content: Reader<'_>| Customization { name: name.to_owned(), content: content.secret() };
    let mut all: Vec<Customization> = documents
        .all("CRICustomizationConfig")
        .map(|(name, document)| part(name, document.get("content")))
        .collect();
    let own = files.items().filter(|file| file.get("path").text() == Some(CUSTOMIZATION_FILE));
    all.extend(own.map(|file| part("20-customization", file.get("content"))));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}
