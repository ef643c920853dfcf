//! `cargo xtask test`, what CI runs: all layers of tests, or those that are named.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use clap::builder::PossibleValue;
use serde_json::{Map, Value, json};

use crate::build::cargo;
use crate::e2e::{self, E2e};
use crate::progress::Steps;
use crate::{figures, fuzz, host, kit, skips, tidy};

/// One layer of tests.
pub struct Layer {
    /// Name on the command line.
    pub name: &'static str,
    /// What it runs.
    pub about: &'static str,
    /// Gives its figures by their names, if it has some of its own.
    run: fn() -> Result<Map<String, Value>>,
}

/// Weakest that can fail first.
pub const LAYERS: &[Layer] = &[
    Layer { name: "tidy", about: "format and the rules of the house", run: house },
    Layer {
        name: "unit",
        about: "unit, property, conformance and namespace tests, and those against programs of the kit",
        run: unit,
    },
    Layer { name: "fuzz", about: "every parser of bytes that nobody vouches for, 60 s in all", run: fuzz },
    Layer { name: "container", about: "a container machine to Ready, by stock clients", run: container },
    Layer { name: "qemu", about: "the disk image in QEMU to Ready, by stock clients", run: qemu },
];

/// Parts of layers that may be run alone.
pub const PARTS: &[Layer] = &[
    Layer {
        name: "roles",
        about: "a part of unit: a machine's methods and types by every role and way in",
        run: roles,
    },
    Layer {
        name: "fleet-roles",
        about: "a part of unit: the manager's methods and types by every role and transport, and secrets",
        run: fleet_roles,
    },
    Layer {
        name: "resources",
        about: "all types of resources of an emulated machine: listed, in both encodings, decoded by Talos's own module",
        run: resources,
    },
];

/// Components of the kit that tests run, with the programs of each.
const TOOLS: [(&str, &[&str]); 6] = [
    ("clients/ctr", &["ctr"]),
    ("clients/talosctl", &["talosctl"]),
    ("containerd", &["containerd", "containerd-shim-runc-v2"]),
    ("etcd", &["etcd"]),
    ("kubernetes", &["kubernetes"]),
    ("runc", &["runc"]),
];

/// Components that tests of the builder look for in the kit's cache themselves (`image/kit/tests/tools.rs`).
const LOOKED_FOR: [&str; 2] = ["debian/boot", "debian/build-tools"];

/// The component with programs of a machine that judge what we write on disks.
const DEBIAN: &str = "debian/base";

/// What CI runs: all layers of tests, or those that are named.
#[derive(Debug, Parser)]
pub struct Test {
    /// Layers to run instead of all.
    #[arg(value_parser = names())]
    layers: Vec<String>,
    /// The last line of standard output is one JSON object.
    #[arg(long)]
    json: bool,
}

fn names() -> Vec<PossibleValue> {
    let all = LAYERS.iter().chain(PARTS);
    all.map(|layer| PossibleValue::new(layer.name).help(layer.about)).collect()
}

/// Runs the command.
///
/// # Errors
/// When a layer fails.
pub fn run(test: &Test) -> Result<()> {
    let began = Instant::now();
    host::ensure_packages(&[host::BUILD, host::TEST].concat())?;
    let (mut passed, mut failed, mut told) = (0, Vec::new(), Map::new());
    let named = &test.layers;
    let is_named = |layer: &&Layer| named.iter().any(|name| name == layer.name);
    let layers = LAYERS.iter().filter(|layer| named.is_empty() || is_named(layer));
    for layer in layers.chain(PARTS.iter().filter(is_named)) {
        eprintln!("== {}: {}", layer.name, layer.about);
        let began = Instant::now();
        let result = (layer.run)();
        let seconds = began.elapsed().as_secs();
        let mut row = json!({ "ok": result.is_ok(), "seconds": seconds });
        match result {
            Ok(figures) => {
                passed += 1;
                row["figures"] = Value::Object(figures);
            }
            Err(error) => {
                crate::report(&error);
                failed.push(layer.name);
            }
        }
        told.insert(layer.name.to_owned(), row);
        eprintln!("== {}: {seconds} s", layer.name);
    }
    let seconds = began.elapsed().as_secs();
    println!("layers: {passed} passed, {} failed, in {seconds} s", failed.len());
    if test.json {
        println!("{}", json!({ "ok": failed.is_empty(), "layers": told, "seconds": seconds }));
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn house() -> Result<Map<String, Value>> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run(&tidy::Tidy::default())?;
    Ok(Map::new())
}

fn fuzz() -> Result<Map<String, Value>> {
    fuzz::run()?;
    Ok(Map::new())
}

fn unit() -> Result<Map<String, Value>> {
    let programs = programs()?;
    let openssl = PathBuf::from("/usr/bin/openssl");
    let variables = [
        ("CORTEN_TALOSCTL", programs.join("talosctl")),
        ("CORTEN_CONTAINERD", programs.clone()),
        ("CORTEN_DEBIAN", programs.join("debian")),
        ("CORTEN_ETCD", programs.join("etcd")),
        ("CORTEN_KUBERNETES", programs.clone()),
        ("CORTEN_OPENSSL", openssl),
        (fuzz::TIME, fuzz::SHORT_MS.into()),
    ];
    skips::run_tests(&variables)
}

/// One folder with all programs that tests run, made from the kit.
fn programs() -> Result<PathBuf> {
    let mut steps = Steps::default();
    let folder = kit::repository().join("target/test-programs");
    let names: Vec<_> =
        TOOLS.iter().map(|(component, _)| *component).chain(LOOKED_FOR).chain([DEBIAN]).collect();
    let made = steps.run("programs for tests", || kit::open()?.make(&names))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (component, programs) in TOOLS {
        let made = made.get(component).with_context(|| format!("the kit did not make `{component}`"))?;
        for program in programs {
            let path = made.program(program);
            ensure!(path.is_file(), "`{component}` has no program {program}");
            std::os::unix::fs::symlink(&path, folder.join(program))
                .with_context(|| format!("cannot link {}", path.display()))?;
        }
    }
    let debian = made.get(DEBIAN).with_context(|| format!("the kit did not make `{DEBIAN}`"))?;
    std::os::unix::fs::symlink(debian.tree(), folder.join("debian"))
        .context("cannot link Debian's programs")?;
    Ok(folder)
}

fn roles() -> Result<Map<String, Value>> {
    figures::cargo(&["test", "--package", "corten-machined", "api::roles::", "--", "--nocapture"])
}

fn fleet_roles() -> Result<Map<String, Value>> {
    figures::cargo(&["test", "--package", "corten-fleet", "--test", "roles", "--", "--nocapture"])
}

fn resources() -> Result<Map<String, Value>> {
    scenario(&["e2e", "resources", "--qemu", "--json"])
}

fn container() -> Result<Map<String, Value>> {
    scenario(&["e2e", "node", "--container", "--json"])
}

fn qemu() -> Result<Map<String, Value>> {
    scenario(&["e2e", "ready", "--qemu", "--json"])
}

/// A scenario prints its figures itself.
fn scenario(arguments: &[&str]) -> Result<Map<String, Value>> {
    e2e::run(&E2e::parse_from(arguments))?;
    Ok(Map::new())
}
