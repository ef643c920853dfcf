//! Images that media are made from, by version, platform and processor.
//!
//! ```text
//! folders of images ─▶ Base each ─┬▶ Bases
//! file with what was used before ─┘    a base that is another one than before is not used
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use corten_base::Arch;
use corten_base::fs::{Durability, write_atomic};
use corten_image_builder::media::{Base, MediaError};

use crate::trouble::Cause;

/// Mode of the file with what was used.
const MODE: u32 = 0o600;

/// Images that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BasesError {
    /// A folder is none of an image.
    #[error("cannot make media from an image that media.images names")]
    Base(#[from] MediaError),
    /// Two folders have the same.
    #[error("media.images names two images of {0}; leave one out")]
    Twice(String),
    /// What was used before is not known.
    #[error("failed to use {path}, which says what media were made from")]
    Pins {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// All images.
#[derive(Debug)]
pub(crate) struct Bases(Vec<Known>);

/// An image, and why it is not used, if it is not.
#[derive(Debug)]
struct Known {
    base: Base,
    refusal: Option<String>,
}

impl Bases {
    /// Opens the images in these folders. `pins` is the file that says what was used before; it is written.
    ///
    /// # Errors
    /// When a folder holds no image, or two hold the same one.
    pub fn open(folders: &[PathBuf], pins: &Path) -> Result<Self, BasesError> {
        let failed = |source| BasesError::Pins { path: pins.to_owned(), source };
        let mut used = read(pins).map_err(failed)?;
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        for folder in folders {
            let base = Base::open(folder)?;
            let name = name_of(&base);
            if !seen.insert(name.clone()) {
                return Err(BasesError::Twice(name));
            }
            let before = used.entry(name).or_insert_with(|| base.fingerprint().to_owned());
            let is_same = before.as_str() == base.fingerprint();
            let refusal = (!is_same).then(|| {
                format!(
                    "the image in {} is not the one that media were made of before, and media must not \
                     change; give it another version, or remove {} to begin anew",
                    folder.display(),
                    pins.display()
                )
            });
            if let Some(text) = &refusal {
                tracing::warn!("{text}");
            }
            all.push(Known { base, refusal });
        }
        let text = serde_json::to_vec_pretty(&used).map_err(|error| failed(error.into()))?;
        write_atomic(pins, &text, MODE, Durability::Durable).map_err(failed)?;
        Ok(Self(all))
    }

    /// The image for a kind of machine; that of any platform for files that are the same on all. The version has no
    /// `v`.
    ///
    /// # Errors
    /// When there is none, with a list of what there is, or when it is not used.
    pub fn find(&self, version: &str, arch: Arch, platform: Option<&str>) -> Result<&Base, Cause> {
        let is_wanted = |known: &&Known| {
            let manifest = known.base.manifest();
            let is_platform = platform.is_none_or(|platform| platform == manifest.platform);
            manifest.version == version && manifest.arch() == arch && is_platform
        };
        match self.0.iter().find(is_wanted) {
            Some(Known { base, refusal: None }) => Ok(base),
            Some(Known { refusal: Some(text), .. }) => Err(Cause::Unable(text.clone())),
            None => {
                let wanted = match platform {
                    Some(platform) => format!("version {version:?} for {platform}-{arch}"),
                    None => format!("version {version:?} for {arch}"),
                };
                Err(Cause::NoBase { wanted, there: self.there() })
            }
        }
    }

    /// All versions, without `v`.
    pub fn versions(&self) -> BTreeSet<&str> {
        self.0.iter().map(|known| known.base.manifest().version.as_str()).collect()
    }

    /// Refuses a version of which there is no image; the empty one is any.
    ///
    /// # Errors
    /// With a list of what there is.
    pub fn check(&self, version: &str) -> Result<(), Cause> {
        if version.is_empty() || self.versions().contains(version) {
            return Ok(());
        }
        Err(Cause::NoBase { wanted: format!("version {version:?}"), there: self.there() })
    }

    /// What there is, in words.
    fn there(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|known| name_of(&known.base)).collect();
        match names.as_slice() {
            [] => "are none at all; name folders of images in media.images".to_owned(),
            [name] => format!("is {name}"),
            names => format!("are {}", names.join(", ")),
        }
    }
}

fn name_of(base: &Base) -> String {
    let manifest = base.manifest();
    format!("{} for {}-{}", manifest.version, manifest.platform, manifest.arch())
}

/// What was used before, by name.
fn read(pins: &Path) -> io::Result<BTreeMap<String, String>> {
    match std::fs::read(pins) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
        Ok(text) => Ok(serde_json::from_slice(&text)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::testing::image;

    #[test]
    fn a_version_that_is_not_there_is_refused_with_what_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let version = image(&folder.path().join("a"), "x");
        let bases = Bases::open(&[folder.path().join("a")], &folder.path().join("pins")).expect("opened");
        assert!(bases.find(&version, Arch::Amd64, Some("metal")).is_ok());
        assert!(bases.find(&version, Arch::Amd64, None).is_ok() && bases.check("").is_ok());
        for (version, arch, platform) in
            [("1.2.3", Arch::Amd64, None), (version.as_str(), Arch::Arm64, Some("metal"))]
        {
            let error = bases.find(version, arch, platform).expect_err("none").to_string();
            assert!(error.contains("there is no image of version"), "{error}");
            assert!(error.ends_with("for metal-amd64"), "{error}");
        }
        assert!(bases.check("1.2.3").is_err());
    }

    #[test]
    fn an_image_that_is_another_one_than_before_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, pins) = (folder.path().join("a"), folder.path().join("pins"));
        let version = image(&one, "x");
        Bases::open(std::slice::from_ref(&one), &pins).expect("opened");
        image(&one, "y");
        let bases = Bases::open(std::slice::from_ref(&one), &pins).expect("opened");
        let error = bases.find(&version, Arch::Amd64, None).expect_err("another").to_string();
        assert!(error.contains("must not change"), "{error}");
        std::fs::remove_file(&pins).expect("removed");
        let bases = Bases::open(std::slice::from_ref(&one), &pins).expect("opened");
        assert!(bases.find(&version, Arch::Amd64, None).is_ok());
        assert!(matches!(Bases::open(&[one.clone(), one], &pins), Err(BasesError::Twice(_))));
    }
}
