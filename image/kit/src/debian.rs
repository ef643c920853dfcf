//! Packages of Debian's stable suite, resolved by apt in a root of its own and unpacked.
//!
//! The host's package state is never read or changed: lists, archives and status are the cache's,
//! signatures are checked against Debian's keyring, and every archive's hash is in the manifest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use corten_base::Arch;

use crate::cache::{Cache, file_hash};
use crate::manifest::{Manifest, Package};
use crate::process::run;
use crate::recipe::{Component, DebianSet};
use crate::text;

const SUITE: &str = "trixie";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What decides which packages are in the set; their exact versions are the suite's on the day.
pub(crate) fn inputs(set: &DebianSet) -> Vec<(String, Vec<u8>)> {
    vec![
        ("suite".to_owned(), SUITE.as_bytes().to_vec()),
        ("roots".to_owned(), set.roots.join(" ").into_bytes()),
        ("keep".to_owned(), set.keep.join(" ").into_bytes()),
    ]
}

/// Downloads and unpacks the set into `out/tree`.
pub(crate) fn make(
    cache: &Cache,
    work: &Path,
    component: &Component,
    set: &DebianSet,
    arch: Arch,
) -> Result<Manifest> {
    let apt = Apt::open(cache, arch)?;
    let wanted: Vec<Wanted> =
        apt.resolve(set.roots)?.into_iter().filter(|one| kept(set, &one.name)).collect();
    let archives = work.join("archives");
    std::fs::create_dir_all(&archives)?;
    apt.download(&archives, &wanted)?;
    let tree = work.join("out/tree");
    std::fs::create_dir_all(&tree)?;
    let mut packages = Vec::new();
    for one in &wanted {
        packages.push(unpack(&archives, &tree, one)?);
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let first =
        packages.iter().find(|package| set.roots.contains(&package.name.as_str()) || !set.keep.is_empty());
    Ok(Manifest {
        name: component.name.to_owned(),
        version: first.map(|package| package.version.clone()).unwrap_or_default(),
        licence: component.licence.to_owned(),
        source: format!("{}?distro={SUITE}", component.source),
        packages,
        ..Manifest::default()
    })
}

fn kept(set: &DebianSet, name: &str) -> bool {
    set.keep.is_empty()
        || set.keep.iter().any(|prefix| name.starts_with(prefix))
        || (set.keep.contains(&"lib") && set.roots.contains(&name))
}

/// A package that apt chose.
struct Wanted {
    name: String,
    version: String,
    file: String,
}

/// apt with a root of its own.
struct Apt {
    config: PathBuf,
    _lock: std::fs::File,
}

impl Apt {
    /// Prepares the root and fetches the lists; one user at a time.
    fn open(cache: &Cache, arch: Arch) -> Result<Self> {
        let root = cache.path("apt");
        for folder in ["etc/parts", "lists/partial", "archives/partial"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        let lock = cache.lock("apt")?;
        std::fs::write(root.join("status"), "")?;
        std::fs::write(root.join("etc/sources.list"), sources()?)?;
        let config = root.join("apt.conf");
        std::fs::write(&config, configuration(text(&root)?, arch))?;
        let apt = Self { config, _lock: lock };
        run(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }

    /// The roots and all they depend on.
    fn resolve(&self, roots: &[&str]) -> Result<Vec<Wanted>> {
        let said = run(self.command("apt-get").args(["install", "--yes", "--print-uris"]).args(roots))?;
        let wanted: Vec<Wanted> = said.lines().filter_map(wanted).collect();
        for root in roots {
            if !wanted.iter().any(|one| one.name == *root) {
                bail!("apt does not resolve `{root}`");
            }
        }
        Ok(wanted)
    }

    /// Fetches the archives; apt checks them against the signed lists.
    fn download(&self, folder: &Path, wanted: &[Wanted]) -> Result<()> {
        let names = wanted.iter().map(|one| format!("{}={}", one.name, one.version));
        run(self.command("apt-get").current_dir(folder).arg("download").args(names))?;
        Ok(())
    }
}

/// One line of `--print-uris`: `'URI' name_version_arch.deb size hash`.
fn wanted(line: &str) -> Option<Wanted> {
    let file = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ').next()?;
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version) = (parts.next()?, parts.next()?);
    Some(Wanted { name: name.to_owned(), version: version.replace("%3a", ":"), file: file.to_owned() })
}

/// Unpacks one archive and tells what it put where.
fn unpack(archives: &Path, tree: &Path, one: &Wanted) -> Result<Package> {
    let archive = archives.join(&one.file);
    run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(tree))?;
    let arch = one.file.rsplit('_').next().unwrap_or_default().trim_end_matches(".deb");
    Ok(Package {
        name: one.name.clone(),
        version: one.version.clone(),
        source: format!("pkg:deb/debian/{}@{}?arch={arch}&distro={SUITE}", one.name, one.version),
        licence: licence(&tree.join("usr/share/doc").join(&one.name).join("copyright")),
        hash: file_hash(&archive)?,
        files: listed(&archive)?,
    })
}

/// Paths of the files in an archive.
fn listed(archive: &Path) -> Result<Vec<String>> {
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("stdout was asked for")?;
    let mut files = Vec::new();
    for entry in tar::Archive::new(stdout).entries()? {
        let entry = entry?;
        if !entry.header().entry_type().is_dir() {
            let path = entry.path()?;
            files.push(text(&path)?.trim_start_matches("./").to_owned());
        }
    }
    if !child.wait()?.success() {
        bail!("`{}` cannot be listed", archive.display());
    }
    Ok(files)
}

/// Licence names that a machine-readable copyright file states; free-form files state nothing.
fn licence(copyright: &Path) -> String {
    let contents = std::fs::read_to_string(copyright).unwrap_or_default();
    if !contents.starts_with("Format:") {
        return "NOASSERTION".to_owned();
    }
    let mut names: Vec<&str> = contents
        .lines()
        .filter_map(|line| line.strip_prefix("License:"))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Sources for our suite, at the archives that this host fetches Debian from.
fn sources() -> Result<String> {
    let archives = archives()?;
    let mut sources = String::new();
    for (archive, suite) in [
        ("debian", SUITE.to_owned()),
        ("debian", format!("{SUITE}-updates")),
        ("debian-security", format!("{SUITE}-security")),
    ] {
        let end = format!("/{archive}/");
        let Some(address) = archives.iter().find(|address| address.ends_with(&end)) else {
            bail!(
                "this host fetches no packages from an archive `{archive}`: add Debian's to its apt sources and run `apt-get update`"
            );
        };
        sources.push_str(&format!("deb [signed-by={KEYRING}] {address} {suite} main\n"));
    }
    Ok(sources)
}

/// Addresses of the Debian archives that this host's apt knows.
fn archives() -> Result<Vec<String>> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)", "Origin: Debian"])
        .output()
        .context("apt-get does not run: the kit takes parts from Debian's archive")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn configuration(root: &str, arch: Arch) -> String {
    format!(
        "Dir \"{root}\";\nDir::Etc \"{root}/etc\";\nDir::Etc::main \"none\";\nDir::Etc::parts \"parts\";\nDir::Etc::sourceparts \"parts\";\n\
         Dir::Etc::preferencesparts \"parts\";\nDir::Etc::trustedparts \"parts\";\nDir::State \"{root}\";\nDir::State::lists \"lists\";\n\
         Dir::State::status \"{root}/status\";\nDir::Cache \"{root}\";\nDir::Cache::archives \"archives\";\n\
         APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\nAPT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_would_fetch() {
        let line =
            "'http://deb.example/pool/z/zlib1g_1.3_amd64.deb' zlib1g_1%3a1.3+b1_amd64.deb 93256 SHA256:00";
        let one = wanted(line).expect("a package");
        assert_eq!((one.name.as_str(), one.version.as_str()), ("zlib1g", "1:1.3+b1"));
        assert!(wanted("Reading package lists...").is_none());
    }

    #[test]
    fn a_set_of_libraries_keeps_its_roots() {
        let set = DebianSet { roots: &["udev"], keep: &["lib", "zlib1g"] };
        assert!(kept(&set, "udev") && kept(&set, "libc6") && !kept(&set, "debconf"));
        let kernel = DebianSet { roots: &["linux-image-cloud-amd64"], keep: &["linux-image-6"] };
        assert!(kept(&kernel, "linux-image-6.12-cloud-amd64") && !kept(&kernel, "linux-image-cloud-amd64"));
    }
}
