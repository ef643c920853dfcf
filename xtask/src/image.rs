//! `cargo xtask image FLAVOUR`: builds everything of a flavour into `target/image/FLAVOUR`.
//!
//! ```text
//! rootfs/            the root as a folder (container machines)
//! images/            OCI layout with all images, also as images.oci.tar; images.spdx.json
//! root.sqsh          the root as one file                       cloud and metal from here on
//! vmlinuz, initramfs.cpio, cmdline       for PXE and for QEMU's -kernel
//! corten.efi         unified kernel image
//! disk.raw           disk with EFI, META and, unless refused, IMAGECACHE
//! media.json         what the manager makes installation media from, with hashes; systemd-boot.efi beside it
//! sbom.spdx.json     bill of materials
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use corten_base::{Arch, version};
use corten_image_builder::disk::{self, Partition};
use corten_image_builder::images::{self, Programs};
use corten_image_builder::root::Root;
use corten_image_builder::sbom::{self, Row};
use corten_image_builder::squashfs::{self, Effort};
use corten_image_builder::{Flavour, Parts, Profile, archive, audit, esp, initramfs, media, oci, root, uki};
use corten_image_kit::{Made, Manifest};
use sha2::{Digest, Sha256};

use crate::{kit, programs};

/// Components whose programs are in a root.
const ROOT: &[&str] = &["containerd", "runc", "cni", "debian/base", "debian/build-tools"];
/// Components whose programs are in OCI images.
const IMAGES: &[&str] = &["kubernetes", "etcd", "coredns", "flannel", "pause", "hello", "debian/node-tools"];

/// Build a root, OCI images, UKI and disk of one flavour into target/image/FLAVOUR.
#[derive(Debug, Parser)]
pub struct Image {
    /// What the image is for: container (namespaces of a host), cloud (virtual machines) or metal.
    #[arg(value_parser = flavour)]
    flavour: Flavour,
    /// Folder with our programs (init, machined, dataplane), instead of building them.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Platform that the kernel's command line names.
    #[arg(long)]
    platform: Option<String>,
    /// One more argument for the kernel; can be repeated.
    #[arg(long)]
    argument: Vec<String>,
    /// One more version of Kubernetes for the image cache; can be repeated.
    #[arg(long, value_name = "VERSION")]
    kubernetes: Vec<String>,
    /// Leave the volume with the image cache away.
    #[arg(long)]
    no_image_cache: bool,
    /// Build only a part; `boot` takes the images that are there.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Compress less, for one who waits.
    #[arg(long)]
    quick: bool,
}

/// A part of what is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The root as a folder.
    Rootfs,
    /// The OCI images.
    Images,
    /// Root, UKI and disk.
    Boot,
}

fn flavour(name: &str) -> Result<Flavour, String> {
    Flavour::from_name(name).ok_or_else(|| "there are container, cloud and metal".to_owned())
}

impl Image {
    /// What is built of a flavour unless one asks for something else.
    pub fn usual(flavour: Flavour, more_kubernetes: Vec<String>) -> Self {
        Self {
            flavour,
            programs: None,
            platform: None,
            argument: Vec::new(),
            kubernetes: more_kubernetes,
            no_image_cache: false,
            only: None,
            quick: false,
        }
    }

    fn profile(&self) -> Profile {
        let mut profile = Profile::new(self.flavour, Arch::current());
        if let Some(platform) = &self.platform {
            profile.platform.clone_from(platform);
        }
        profile.extra_arguments.extend(self.argument.iter().cloned());
        profile
    }

    fn wants(&self, parts: &[Part]) -> bool {
        self.only.is_none_or(|only| parts.contains(&only))
    }

    const fn effort(&self) -> Effort {
        if self.quick { Effort::Quick } else { Effort::Small }
    }
}

/// File beside an image that tells which inputs it was made from.
pub const STAMP: &str = "built";

/// The components, by name.
type Components = std::collections::BTreeMap<String, Made>;

/// Runs the command.
///
/// # Errors
/// When a part is missing or an image breaks a rule.
pub fn run(wanted: &Image) -> Result<()> {
    let profile = wanted.profile();
    let out = kit::repository().join("target/image").join(wanted.flavour.name());
    fs::create_dir_all(&out)?;
    // What others know about the image that was here holds no more.
    if out.join(STAMP).exists() {
        fs::remove_file(out.join(STAMP))?;
    }
    let components = kit::open()?.make(&needed(wanted)?)?;
    if wanted.wants(&[Part::Images]) {
        say("writing the OCI images");
        write_images(wanted, &components, &out)?;
    }
    if wanted.wants(&[Part::Rootfs, Part::Boot]) {
        if wanted.programs.is_none() {
            programs::build()?;
        }
        say("writing the root");
        let scratch = fresh(&out.join("scratch"))?;
        let mut planned = root::plan(&profile, &parts(wanted, &components)?, &scratch)?;
        let bill = root_bill(wanted, &components, &planned.taken)?;
        planned.tree.file("usr/share/spdx/corten.spdx.json", 0o444, bill.clone());
        fs::write(out.join("sbom.spdx.json"), bill)?;
        check(&planned)?;
        planned.tree.write_folder(&fresh(&out.join("rootfs"))?)?;
        if wanted.wants(&[Part::Boot]) && wanted.flavour != Flavour::Container {
            boot_images(wanted, &components, &planned, &out)?;
        }
        fs::remove_dir_all(scratch)?;
    }
    sizes(&out)
}

/// Names of the components to make.
fn needed(wanted: &Image) -> Result<Vec<&'static str>> {
    let mut names: BTreeSet<&str> = ROOT.iter().chain(IMAGES).copied().collect();
    names.extend(boot_components(wanted.flavour));
    for version in &wanted.kubernetes {
        names.insert(kubernetes(version)?);
    }
    Ok(names.into_iter().collect())
}

/// Components that a machine with its own kernel boots from.
const fn boot_components(flavour: Flavour) -> &'static [&'static str] {
    match flavour {
        Flavour::Container => &[],
        Flavour::Cloud => &["debian/kernel-cloud", "debian/boot"],
        Flavour::Metal => &["debian/kernel-metal", "debian/boot"],
    }
}

/// The component with this version of Kubernetes, which is not the default one.
fn kubernetes(version: &str) -> Result<&'static str> {
    let component = corten_image_kit::all()
        .iter()
        .find(|one| one.name.starts_with("kubernetes-") && one.version == version);
    Ok(component.with_context(|| format!("the kit has no Kubernetes {version}"))?.name)
}

fn parts(wanted: &Image, components: &Components) -> Result<Parts> {
    let kernel = match wanted.flavour {
        Flavour::Container => None,
        Flavour::Cloud => Some(get(components, "debian/kernel-cloud")?.tree()),
        Flavour::Metal => Some(get(components, "debian/kernel-metal")?.tree()),
    };
    let bin = |name: &str| -> Result<PathBuf> { Ok(get(components, name)?.folder.join("bin")) };
    Ok(Parts {
        init: own(wanted, "init")?,
        machined: own(wanted, "machined")?,
        dataplane: own(wanted, "dataplane")?,
        containerd: bin("containerd")?,
        runc: bin("runc")?,
        cni: bin("cni")?,
        base: get(components, "debian/base")?.tree(),
        kernel,
        tools: get(components, "debian/build-tools")?.tree(),
    })
}

/// A program of ours: from the folder that was named, else the one that this command builds.
fn own(wanted: &Image, name: &str) -> Result<PathBuf> {
    let path = wanted.programs.as_ref().map_or_else(|| programs::built(name), |folder| folder.join(name));
    path.canonicalize().with_context(|| format!("`{}` is not there", path.display()))
}

fn get<'a>(components: &'a Components, name: &str) -> Result<&'a Made> {
    components.get(name).with_context(|| format!("`{name}` was not made"))
}

fn write_images(wanted: &Image, components: &Components, out: &Path) -> Result<()> {
    let versioned = |name: &str, program: &str| -> Result<(String, PathBuf)> {
        let made = get(components, name)?;
        Ok((made.manifest.version.clone(), made.program(program)))
    };
    let more = wanted.kubernetes.iter().map(|version| versioned(kubernetes(version)?, "kubernetes"));
    let programs = Programs {
        kubernetes: versioned("kubernetes", "kubernetes")?,
        more_kubernetes: more.collect::<Result<_>>()?,
        etcd: versioned("etcd", "etcd")?,
        coredns: versioned("coredns", "coredns")?,
        flannel: versioned("flannel", "flanneld")?,
        pause: get(components, "pause")?.program("pause"),
        hello: get(components, "hello")?.program("hello"),
        tools: get(components, "debian/node-tools")?.tree(),
    };
    let layout = fresh(&out.join("images"))?;
    let taken = images::write(&layout, Arch::current(), &programs)?;
    let tar = fs::File::create(out.join("images.oci.tar"))?;
    archive::tar(&oci::tree(&layout)?, std::io::BufWriter::with_capacity(1 << 20, tar))?;
    let more = wanted.kubernetes.iter().map(|version| kubernetes(version)).collect::<Result<Vec<_>>>()?;
    let bill = sbom::document("corten-images", rows_of(components, &[IMAGES, &more].concat(), &taken)?)?;
    Ok(fs::write(out.join("images.spdx.json"), bill)?)
}

/// Everything that boots: kernel, initramfs, unified image, disk.
fn boot_images(wanted: &Image, components: &Components, planned: &Root, out: &Path) -> Result<()> {
    let profile = &wanted.profile();
    let kernel = planned.kernel.as_ref().context("a root that boots has a kernel")?;
    let tools = get(components, "debian/build-tools")?.tree();
    let image = out.join("root.sqsh");
    say("compressing the root");
    squashfs::write(&planned.tree, &tools, wanted.effort(), &image)?;
    let early = initramfs::plan(&own(wanted, "init")?, &image, kernel, &planned.tree)?;
    let mut archived = Vec::new();
    archive::cpio(&early, &mut archived)?;
    fs::write(out.join("initramfs.cpio"), &archived)?;
    fs::copy(&kernel.image, out.join("vmlinuz"))?;
    fs::write(out.join("cmdline"), profile.cmdline())?;
    let efi = get(components, "debian/boot")?.tree().join("usr/lib/systemd/boot/efi");
    let (stub, boot) = match profile.arch {
        Arch::Amd64 => ("linuxx64.efi.stub", "systemd-bootx64.efi"),
        Arch::Arm64 => ("linuxaa64.efi.stub", "systemd-bootaa64.efi"),
    };
    let unified = uki::assemble(uki::Parts {
        stub: fs::read(efi.join(stub))?,
        linux: fs::read(&kernel.image)?,
        initrd: archived,
        cmdline: profile.cmdline(),
        os_release: profile.os_release(),
        uname: kernel.release.clone(),
    })?;
    fs::write(out.join("corten.efi"), &unified)?;
    budget("root.sqsh", fs::metadata(&image)?.len(), profile.flavour.root_max(), wanted.effort())?;
    budget("corten.efi", unified.len() as u64, profile.flavour.uki_max(), wanted.effort())?;
    write_disk(wanted, &tools, &fs::read(efi.join(boot))?, &unified, out)
}

/// Published sizes hold for published images; quick ones are for the desk.
fn budget(name: &str, size: u64, max: u64, effort: Effort) -> Result<()> {
    ensure!(size <= max || effort == Effort::Quick, "{name} has {size} bytes, and its budget is {max}");
    Ok(())
}

fn write_disk(wanted: &Image, tools: &Path, boot: &[u8], unified: &[u8], out: &Path) -> Result<()> {
    say("writing the disk");
    let profile = &wanted.profile();
    let hash = Sha256::digest(unified);
    let volume_id = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
    let system = out.join("esp.img");
    let loader = esp::loader(profile);
    esp::write(&system, profile.esp_mib << 20, volume_id, &esp::plan(profile, boot, unified, &loader))?;
    let mut partitions = vec![
        Partition {
            label: "EFI",
            kind: disk::EFI_SYSTEM,
            size: profile.esp_mib << 20,
            contents: Some(system.clone()),
        },
        Partition { label: "META", kind: disk::LINUX_DATA, size: disk::META_SIZE, contents: None },
    ];
    if !wanted.no_image_cache {
        let cache = out.join("imagecache.sqsh");
        squashfs::write(&oci::cache(&out.join("images"))?, tools, Effort::Quick, &cache)?;
        let size = fs::metadata(&cache)?.len();
        partitions.push(Partition {
            label: "IMAGECACHE",
            kind: disk::LINUX_DATA,
            size,
            contents: Some(cache),
        });
    }
    disk::write(&out.join("disk.raw"), &hex::encode(hash), &partitions)?;
    fs::remove_file(system)?;
    media::describe(out, profile, boot, &partitions)
}

/// Refuses a root that breaks a rule.
fn check(planned: &Root) -> Result<()> {
    let found = audit::audit(&planned.tree);
    ensure!(found.is_empty(), "the root breaks rules:\n{}", found.join("\n"));
    Ok(())
}

/// The bill of materials of a root: our programs, what they are linked from, and its components.
fn root_bill(wanted: &Image, components: &Components, taken: &BTreeSet<String>) -> Result<Vec<u8>> {
    let mut rows = vec![Row {
        name: "corten".to_owned(),
        version: version::CORTEN.to_owned(),
        licence: "Apache-2.0".to_owned(),
        source: format!("pkg:generic/corten@{}", version::CORTEN),
        sha256: None,
    }];
    rows.extend(crates()?);
    rows.extend(rows_of(components, ROOT, taken)?);
    for name in boot_components(wanted.flavour) {
        rows.extend(debian_rows(&get(components, name)?.manifest, None));
    }
    sbom::document(&format!("corten-{}-{}", wanted.flavour.name(), Arch::current()), rows)
}

/// Rows of components; of Debian sets, the packages of which something was taken.
fn rows_of(components: &Components, names: &[&str], taken: &BTreeSet<String>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for name in names {
        let manifest = &get(components, name)?.manifest;
        if *name == "debian/build-tools" {
            continue;
        }
        match name.starts_with("debian/") {
            true => rows.extend(debian_rows(manifest, Some(taken))),
            false => rows.extend(component_rows(manifest)),
        }
    }
    Ok(rows)
}

fn component_rows(manifest: &Manifest) -> Vec<Row> {
    let own = Row {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        licence: manifest.licence.clone(),
        source: manifest.source.clone(),
        sha256: manifest.files.values().next().cloned(),
    };
    let modules = manifest.packages.iter().map(|package| Row {
        name: package.name.clone(),
        version: package.version.clone(),
        licence: package.licence.clone(),
        source: package.source.clone(),
        sha256: None,
    });
    std::iter::once(own).chain(modules).collect()
}

/// The packages of which something was taken; all without a list.
fn debian_rows(manifest: &Manifest, taken: Option<&BTreeSet<String>>) -> Vec<Row> {
    let used = |files: &[String]| taken.is_none_or(|taken| files.iter().any(|file| taken.contains(file)));
    let row = |package: &corten_image_kit::Package| Row {
        name: package.name.clone(),
        version: package.version.clone(),
        licence: "NOASSERTION".to_owned(),
        source: package.source.clone(),
        sha256: Some(package.hash.clone()),
    };
    manifest.packages.iter().filter(|package| used(&package.files)).map(row).collect()
}

/// Our own dependencies, from the lock file.
fn crates() -> Result<Vec<Row>> {
    let path = kit::repository().join("Cargo.lock");
    let lock = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
    Ok(lock.split("[[package]]").skip(1).filter_map(crate_row).collect())
}

fn crate_row(entry: &str) -> Option<Row> {
    let field = |name: &str| {
        entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'))
    };
    let (name, version, checksum) = (field("name")?, field("version")?, field("checksum")?);
    Some(Row {
        name: name.to_owned(),
        version: version.to_owned(),
        licence: "NOASSERTION".to_owned(),
        source: format!("pkg:cargo/{name}@{version}"),
        sha256: Some(checksum.to_owned()),
    })
}

/// An empty folder at this path.
fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("emptying `{}`", path.display()))?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_owned())
}

/// Tells the person who waits what is being done.
fn say(text: &str) {
    eprintln!("  image: {text}");
}

/// Tells what was made and how large it is.
#[expect(clippy::print_stdout, reason = "the result of a developer's command is data, and data is stdout")]
fn sizes(out: &Path) -> Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(out)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    for path in names {
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() {
            println!("{}/", path.display());
        } else {
            println!("{:>12} {}", metadata.len(), path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<Image, clap::Error> {
        Image::try_parse_from(std::iter::once("image").chain(args.split_whitespace()))
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let wanted = parsed("cloud --only boot --argument a=b --platform nocloud --no-image-cache")
            .expect("arguments");
        let profile = wanted.profile();
        assert_eq!((profile.flavour, wanted.no_image_cache), (Flavour::Cloud, true));
        assert!(!wanted.wants(&[Part::Images]) && wanted.wants(&[Part::Rootfs, Part::Boot]));
        assert!(profile.cmdline().starts_with("talos.platform=nocloud "));
        assert!(profile.cmdline().ends_with(" a=b"));
        for wrong in
            ["", "vax", "cloud --only half", "cloud --frobnicate", "cloud --programs", "cloud --kubernetes"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_crates_of_a_registry_are_in_the_bill() {
        let entry = "\nname = \"serde\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"ab\"\n";
        assert_eq!(crate_row(entry).map(|row| row.source), Some("pkg:cargo/serde@1.0.0".to_owned()));
        assert_eq!(crate_row("\nname = \"corten-base\"\nversion = \"0.1.0\"\n"), None);
    }

    #[test]
    fn every_other_kubernetes_of_the_kit_can_be_asked_for() {
        assert_eq!(kubernetes("1.35.4").ok(), Some("kubernetes-1.35"));
        assert!(kubernetes("1.36.3").is_err(), "the default is in every image cache already");
    }
}
