//! Programs compiled here: Go consumer modules, and single C files.
//!
//! The module is copied into the work folder and built there, so that the repository stays clean
//! and no path of this host ends in a program. Sums are checked against the committed `go.sum`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use corten_base::Arch;

use crate::cache::file_hash;
use crate::manifest::{Manifest, Package};
use crate::process::run;
use crate::recipe::{Component, Go};
use crate::{only, text};

/// What decides the bytes of the programs.
pub(crate) fn inputs(recipes: &Path, go: &Go) -> Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = vec![
        (
            "toolchain".to_owned(),
            run(Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"))?.into_bytes(),
        ),
        ("flags".to_owned(), format!("{} {} {}", go.tags, go.linker, go.cgo).into_bytes()),
        ("programs".to_owned(), format!("{:?}", go.programs).into_bytes()),
    ];
    for (name, path) in files(recipes, go)? {
        inputs.push((name, std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?));
    }
    Ok(inputs)
}

/// What decides the bytes of a C program.
pub(crate) fn c_inputs(recipes: &Path, source: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let path = recipes.join(source);
    let compiler = run(Command::new("cc").arg("-dumpfullversion"))?;
    let code = std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
    Ok(vec![("toolchain".to_owned(), compiler.into_bytes()), (source.to_owned(), code)])
}

/// Compiles one C file into a static program named like the component.
pub(crate) fn make_c(recipes: &Path, work: &Path, component: &Component, source: &str) -> Result<Manifest> {
    let bin = work.join("out/bin");
    std::fs::create_dir_all(&bin)?;
    let program = bin.join(component.name);
    run(Command::new("cc")
        .args(["-Os", "-static", "-s", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(recipes.join(source)))?;
    manifest(work, component, &[component.name], Vec::new())
}

/// Builds the programs of a consumer module.
pub(crate) fn make(
    recipes: &Path,
    work: &Path,
    component: &Component,
    go: &Go,
    arch: Arch,
) -> Result<Manifest> {
    if go.cgo {
        only(arch, Arch::current(), "a program with C inside")?;
    }
    let module = work.join("module");
    for (name, path) in files(recipes, go)? {
        let target = module.join(&name);
        let folder = target.parent().context("a file has a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::copy(&path, &target).with_context(|| format!("copying `{}`", path.display()))?;
    }
    let mut packages = Vec::new();
    for (name, package) in go.programs {
        let program = work.join("out/bin").join(name);
        run(Command::new("go")
            .current_dir(&module)
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .env("GOARCH", arch.as_str())
            .env("GOOS", "linux")
            .env("CGO_ENABLED", if go.cgo { "1" } else { "0" })
            .args([
                "build",
                "-trimpath",
                "-tags",
                go.tags,
                "-ldflags",
                go.linker,
                "-o",
                text(&program)?,
                package,
            ]))?;
        packages.extend(modules(&program)?);
    }
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    packages.dedup();
    let names: Vec<&str> = go.programs.iter().map(|(name, _)| *name).collect();
    manifest(work, component, &names, packages)
}

/// Go modules that are linked into a program, as the program itself records them.
fn modules(program: &Path) -> Result<Vec<Package>> {
    let said = run(Command::new("go").args(["version", "-m", text(program)?]).env("GOTOOLCHAIN", "local"))?;
    let mut found = Vec::new();
    for line in said.lines() {
        let fields: Vec<&str> = line.split('\t').skip(1).collect();
        match fields.as_slice() {
            ["dep", name, version, hash, ..] => found.push(package(name, version, hash)),
            ["dep", name, version] => found.push(package(name, version, "")),
            ["=>", name, version, hash, ..] => {
                found.pop();
                found.push(package(name, version, hash));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn package(name: &str, version: &str, hash: &str) -> Package {
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        source: format!("pkg:golang/{name}@{version}"),
        licence: "NOASSERTION".to_owned(),
        hash: hash.to_owned(),
        files: Vec::new(),
    }
}

fn manifest(
    work: &Path,
    component: &Component,
    programs: &[&str],
    packages: Vec<Package>,
) -> Result<Manifest> {
    let mut manifest = Manifest { packages, ..Manifest::of(component) };
    for name in programs {
        manifest.files.insert(format!("bin/{name}"), file_hash(&work.join("out/bin").join(name))?);
    }
    Ok(manifest)
}

/// Files of the module by their path inside it, in a fixed order.
fn files(recipes: &Path, go: &Go) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let pins = recipes.join("go").join(go.pins);
    for name in ["go.mod", "go.sum"] {
        found.push((name.to_owned(), pins.join(name)));
    }
    collect(&recipes.join("go").join(go.sources), "", &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("listing `{}`", folder.display()))? {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).context("a source file has a plain name")?;
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), found)?;
        } else if Path::new(name).extension().is_some_and(|extension| extension == "go") {
            found.push((format!("{prefix}{name}"), path.clone()));
        }
    }
    Ok(())
}
