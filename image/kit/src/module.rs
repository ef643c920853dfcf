//! Files that a Go module carries beside its code, taken as they are.
//!
//! The module is fetched as a dependency of a consumer module, so that its sum is checked against the committed `go.sum`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::file_hash;
use crate::manifest::Manifest;
use crate::process::run;
use crate::recipe::{Component, ModuleFiles};

/// What pins a consumer module.
const PINS: [&str; 2] = ["go.mod", "go.sum"];

/// What decides the bytes of the files.
pub(crate) fn inputs(recipes: &Path, wanted: &ModuleFiles) -> Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = vec![("files".to_owned(), format!("{} {:?}", wanted.module, wanted.files).into_bytes())];
    for name in PINS {
        let path = recipes.join("go").join(wanted.pins).join(name);
        inputs.push((
            name.to_owned(),
            std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?,
        ));
    }
    Ok(inputs)
}

/// Fetches the module and copies the files into `share/`.
pub(crate) fn make(
    recipes: &Path,
    work: &Path,
    component: &Component,
    wanted: &ModuleFiles,
) -> Result<Manifest> {
    let (pins, share) = (work.join("module"), work.join("out/share"));
    std::fs::create_dir_all(&pins)?;
    std::fs::create_dir_all(&share)?;
    for name in PINS {
        std::fs::copy(recipes.join("go").join(wanted.pins).join(name), pins.join(name))?;
    }
    let go = |arguments: &[&str]| {
        run(Command::new("go").current_dir(&pins).env("GOTOOLCHAIN", "local").args(arguments))
    };
    go(&["mod", "download", wanted.module])?;
    let folder = go(&["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", wanted.module])?;
    let mut manifest = Manifest::of(component);
    for path in wanted.files {
        let source = Path::new(folder.trim()).join(path);
        let name = source.file_name().and_then(|name| name.to_str()).context("a file has a plain name")?;
        std::fs::write(share.join(name), std::fs::read(&source)?)
            .with_context(|| format!("taking `{}`", source.display()))?;
        manifest.files.insert(format!("share/{name}"), file_hash(&share.join(name))?);
    }
    Ok(manifest)
}
