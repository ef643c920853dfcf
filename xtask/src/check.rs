//! `cargo xtask check`, the fast loop, and `cargo xtask test`, what CI runs.

use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::build::cargo;
use crate::{e2e, host, kit, tidy};

/// Runs the fast loop: format, clippy, tidy, and the tests of the crates that are named (all fast ones otherwise).
///
/// # Errors
/// When anything is not as it should be.
pub fn run(args: &[String]) -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run(&[])?;
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    let packages: Vec<&str> = match args {
        [] => vec!["--package", "xtask"],
        named => named.iter().flat_map(|name| ["--package", name.as_str()]).collect(),
    };
    cargo(&[&["test", "--quiet"], packages.as_slice()].concat())
}

/// One layer of tests.
struct Layer {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<()>,
}

/// Weakest that can fail first.
const LAYERS: &[Layer] = &[
    Layer { name: "tidy", about: "format and the rules of the house", run: house },
    Layer { name: "unit", about: "unit, property, conformance, fuzz and namespace tests", run: unit },
    Layer { name: "container", about: "a container machine to Ready, by stock clients", run: container },
];

/// Runs all layers, or those that are named.
///
/// # Errors
/// When a layer fails.
pub fn test(args: &[String]) -> Result<()> {
    if let Some(unknown) = args.iter().find(|name| !LAYERS.iter().any(|layer| layer.name == **name)) {
        let known: Vec<String> =
            LAYERS.iter().map(|layer| format!("{} ({})", layer.name, layer.about)).collect();
        bail!("there is no layer `{unknown}`; layers: {}", known.join(", "));
    }
    host::ensure_packages(host::BUILD)?;
    let (mut passed, mut failed) = (0, Vec::new());
    for layer in LAYERS.iter().filter(|layer| args.is_empty() || args.iter().any(|name| name == layer.name)) {
        eprintln!("== {}: {}", layer.name, layer.about);
        let began = Instant::now();
        match (layer.run)() {
            Ok(()) => passed += 1,
            Err(error) => {
                crate::report(&error);
                failed.push(layer.name);
            }
        }
        eprintln!("== {}: {:.0} s", layer.name, began.elapsed().as_secs_f64());
    }
    println!("layers: {passed} passed, {} failed", failed.len());
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn house() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run(&[])
}

fn unit() -> Result<()> {
    cargo(&["test", "--workspace", "--no-fail-fast"])
}

fn container() -> Result<()> {
    kit::open()?.make(&["kubernetes", "clients/talosctl"])?;
    crate::build::image("container", corten_config::defaults::KUBERNETES_VERSION)?;
    e2e::run(&["node", "--container", "--json"].map(str::to_owned))
}
