//! The kit: third-party parts that the images are made of, pinned, built once and kept by content.
//!
//! A component is a row in [`recipe`]. Its key is the hash of everything that decides its bytes
//! (sources, pins, flags, toolchain), its place in the cache is that key, and a component that is
//! there is never made again. What is inside is told by its [`Manifest`]: version, licence,
//! source and the hash of every program; for Debian also each package.
//!
//! Invariants: nothing is installed on the host, nothing runs as another user, and a component
//! appears in the cache whole or not at all.

#![expect(
    clippy::disallowed_methods,
    reason = "compilers and package tools are run on the developer's host, not on a machine"
)]

mod cache;
mod debian;
mod golang;
mod manifest;
mod module;
mod process;
mod recipe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use corten_base::{Arch, Clock};

pub use cache::Cache;
pub use manifest::{Manifest, Package};
pub use recipe::{Component, Recipe, all, find};

/// Components that are made at the same time.
const PARALLEL: usize = 2;

/// The recipes of this repository together with the cache of this host.
#[derive(Debug)]
pub struct Kit {
    cache: Cache,
    recipes: PathBuf,
    arch: Arch,
    clock: Clock,
}

/// A component in the cache.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its folder: `bin/` for programs, `share/` for files of a module, `tree/` for unpacked packages.
    pub folder: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

impl Made {
    /// Path of a program of a component that was compiled.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Root of the unpacked packages.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }
}

impl Kit {
    /// The kit whose recipes are in `recipes` (the folder of this crate).
    ///
    /// # Errors
    /// When the cache has no place.
    pub fn open(recipes: &Path, arch: Arch) -> Result<Self> {
        let cache = Cache::open()?;
        Ok(Self { cache, recipes: recipes.to_owned(), arch, clock: Clock::system() })
    }

    /// Folder of the cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Makes what is missing of `names` and returns all of them.
    ///
    /// # Errors
    /// Unknown names, and the first component that could not be made.
    pub fn make(&self, names: &[&str]) -> Result<BTreeMap<String, Made>> {
        let queue = names.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
        let queue = Mutex::new(queue.into_iter());
        let next = || locked(&queue).next();
        let made = Mutex::new(BTreeMap::new());
        let failures = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    while let Some(component) = next() {
                        match self.make_one(component) {
                            Ok(one) => drop(locked(&made).insert(component.name.to_owned(), one)),
                            Err(error) => {
                                locked(&failures).push(error.context(format!("making `{}`", component.name)))
                            }
                        }
                    }
                });
            }
        });
        match locked(&failures).pop() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut *locked(&made))),
        }
    }

    /// A component that is in the cache already; nothing is made.
    ///
    /// # Errors
    /// Unknown names, and a cache that cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Made>> {
        let component = find(name)?;
        let key = self.key(component)?;
        let manifest = self.cache.find(component, &key)?;
        Ok(manifest.map(|manifest| Made { folder: self.cache.place(component, &key), manifest }))
    }

    fn make_one(&self, component: &Component) -> Result<Made> {
        if let Some(made) = self.find(component.name)? {
            return Ok(made);
        }
        let key = self.key(component)?;
        let _held = self.cache.lock(&key)?;
        if let Some(made) = self.find(component.name)? {
            return Ok(made);
        }
        report(&format!("{} {}: making", component.name, component.version));
        let begun = self.clock.now();
        let work = self.cache.work(&key)?;
        let manifest = match &component.recipe {
            Recipe::Go(go) => golang::make(&self.recipes, &work, component, go, self.arch)?,
            Recipe::C(source) => golang::make_c(&self.recipes, &work, component, source)?,
            Recipe::Module(wanted) => module::make(&self.recipes, &work, component, wanted)?,
            Recipe::Debian(set) => debian::make(&self.cache, &work, component, set, self.arch)?,
        };
        let folder = self.cache.keep(component, &key, &work, &manifest)?;
        let spent = self.clock.now().duration_since(begun).unwrap_or_default();
        report(&format!("{} {}: made in {} s", component.name, manifest.version, spent.as_secs()));
        Ok(Made { folder, manifest })
    }

    /// Hash of all that decides the component's bytes.
    fn key(&self, component: &Component) -> Result<String> {
        let mut inputs = vec![("arch".to_owned(), self.arch.to_string().into_bytes())];
        match &component.recipe {
            Recipe::Go(go) => inputs.extend(golang::inputs(&self.recipes, go)?),
            Recipe::C(source) => inputs.extend(golang::c_inputs(&self.recipes, source)?),
            Recipe::Module(wanted) => inputs.extend(module::inputs(&self.recipes, wanted)?),
            Recipe::Debian(set) => inputs.extend(debian::inputs(set)),
        }
        Ok(cache::key(&inputs))
    }
}

/// Folder of the recipes inside the repository at `root`.
#[must_use]
pub fn recipes(root: &Path) -> PathBuf {
    root.join("image/kit")
}

/// One line of progress for the person who waits.
#[expect(clippy::print_stderr, reason = "progress of a developer's tool is talk, and talk is stderr")]
fn report(line: &str) {
    eprintln!("kit: {line}");
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// `path` as text, which all paths of the kit are.
fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))
}

/// Refuses architectures that a recipe cannot serve.
fn only(arch: Arch, served: Arch, what: &str) -> Result<()> {
    if arch == served { Ok(()) } else { bail!("{what} is made for {served} only, not for {arch}") }
}
