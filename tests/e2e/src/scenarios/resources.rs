//! Every type of resource: all of Talos's are listed, those that the machine has something of say the same in both
//! encodings, Talos's own module decodes what it knows, and types without any resource are those that may be empty.
//!
//! ```text
//! QEMU machine: two links, a TPM, a volume group, a mirror ─┬▶ talosctl get rd ─▶ the list of types
//!                                                           ├▶ our codec: protobuf ─▶ YAML = the YAML that was sent
//!                                                           └▶ machinery (Go): typed, and as it was written
//! ```

mod encodings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use corten_resources::empty::MAY_BE_EMPTY;
use corten_resources::talos::TYPES;
use serde_json::Value;

use crate::cluster::{Cluster, ClusterPlan, Files, write_patched};
use crate::cx::Cx;
use crate::tool::Tool;
use crate::tpm::Tpm;

/// The component with the program that decodes with Talos's own module.
const MACHINERY: &str = "clients/machinery";
/// Types that its version of the module knows.
const KNOWN_MIN: usize = 165;
/// The type of the machine's configuration.
const CONFIGURATION: &str = "MachineConfigs.config.talos.dev";
/// Types that may have no resource.
const EMPTY_MAX: usize = 50;
/// How long every type may take to be filled.
const FILLED_MAX: u64 = 120;
/// What makes a machine have a resource of nearly every type. Pools are on its further disks.
const WISHES: &str = include_str!("resources/wishes.yaml");
/// The same of the node, in the words of the contract that this cluster has.
const NODE_WISHES: &str = "machine:\n  nodeAnnotations: {e2e.corten.dev/why: resources}\n  nodeTaints: {e2e: 'yes:PreferNoSchedule'}\n";
/// What stands in it for a link of the machine.
const LINK: &str = "LINK";
/// How links that the machine's firmware names begin.
const FIRMWARE_NAME: &str = "enp";
/// A key of META for users, and what is written there.
const META: [&str; 2] = ["0x0c", "e2e"];
/// A second link, without a way anywhere.
const SECOND_LINK: [&str; 4] =
    ["-netdev", "user,id=second,restrict=on,net=192.168.76.0/24", "-device", "virtio-net-pci,netdev=second"];

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let mut options = cx.machine(0)?;
    let tpm = Tpm::start(&cx.folder().join("tpm"))?;
    options.further_disks = further_disks(cx)?;
    options.qemu_arguments = SECOND_LINK.map(str::to_owned).to_vec();
    options.qemu_arguments.extend(tpm.qemu_arguments());
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, cx.folder())?;
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, Instant::now())?;
    cluster.bring_up()?;
    let count = listed(cx, &cluster);
    cx.figure("types", count);
    let machinery = Tool::new(cx.component(MACHINERY)?.join("bin/machinery"), "machinery");
    let found = look(&machinery, &cluster)?;
    decoded(cx, "Talos's own module decodes every type that it knows, as protobuf and as YAML", &found);
    wish(cx, &cluster)?;
    filled(cx, &machinery, &cluster);
    let mut found = look(&machinery, &cluster)?;
    // The module decodes the configuration, too, which now has documents that are younger than it.
    found.remove(CONFIGURATION);
    decoded(cx, "the same of types that are filled by wish", &found);
    cx.case("both encodings of every resource say the same", || {
        let compared = encodings::compare(&cluster)?;
        ensure!(compared > TYPES.len(), "only {compared} resources were compared");
        Ok(())
    });
    let grace = cluster.limit(60);
    drop(cluster);
    machine.stop(grace)
}

/// Wishes for what a machine has only when somebody wants it.
fn wish(cx: &Cx, cluster: &Cluster<'_>) -> Result<()> {
    let admin = cluster.admin();
    let links = admin.run(&["get", "links", "-o", "jsonpath={.metadata.id}"])?;
    let link = links.lines().rfind(|link| link.starts_with(FIRMWARE_NAME)).context("there is no link")?;
    let text =
        std::fs::read_to_string(&cluster.files.controlplane).context("cannot read the configuration")?;
    let file = cx.folder().join("wishes.yaml");
    write_patched(&file, &text, [WISHES.replace(LINK, link).as_str(), NODE_WISHES].into_iter())?;
    admin.run(&["apply-config", "--mode=no-reboot", "--file", &file.to_string_lossy()])?;
    admin.run(&[["meta", "write"].as_slice(), &META].concat())?;
    Ok(())
}

/// Four empty disks.
fn further_disks(cx: &Cx) -> Result<Vec<PathBuf>> {
    let disk = |name: &str| {
        let path = cx.folder().join(name);
        std::fs::File::create(&path)?.set_len(1 << 30)?;
        Ok(path)
    };
    ["vdb.raw", "vdc.raw", "vdd.raw", "vde.raw"]
        .into_iter()
        .map(disk)
        .collect::<Result<_>>()
        .context("cannot make a disk")
}

/// All types of Talos are listed, under their names.
fn listed(cx: &mut Cx, cluster: &Cluster<'_>) -> usize {
    let mut count = 0;
    cx.case("all types of Talos are listed", || {
        let text = cluster.admin().run(&["get", "rd", "-o", "jsonpath={.spec.type}"])?;
        let types: BTreeSet<&str> = text.lines().map(str::trim).collect();
        let missing: Vec<&&str> = TYPES.iter().filter(|kind| !types.contains(**kind)).collect();
        count = TYPES.len() - missing.len();
        ensure!(missing.is_empty(), "{missing:?}");
        Ok(())
    });
    count
}

/// What came of a type.
#[derive(Debug)]
struct Kind {
    count: u64,
    is_known: bool,
    problems: Vec<String>,
}

/// What the program says of each type.
fn look(machinery: &Tool, cluster: &Cluster<'_>) -> Result<BTreeMap<String, Kind>> {
    let talosconfig = cluster.files.talosconfig.to_string_lossy();
    let command = ["-talosconfig", &talosconfig, "-node", &cluster.plan.node.to_string()];
    let text = machinery.run_for(&command, cluster.limit(60))?;
    let all: Value = serde_json::from_str(&text).context("no JSON")?;
    let kind = |row: &Value| {
        let problems = row["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let kind = Kind {
            count: row["count"].as_u64().context("no count")?,
            is_known: row["known"].as_bool().context("not known whether it is known")?,
            problems: problems.map(str::to_owned).collect(),
        };
        Ok((row["type"].as_str().context("no type")?.to_owned(), kind))
    };
    all["types"].as_array().context("no types")?.iter().map(kind).collect()
}

/// Types that the module knows are decoded, and say the same as what was written.
fn decoded(cx: &mut Cx, case: &str, found: &BTreeMap<String, Kind>) {
    let known = found.values().filter(|kind| kind.is_known).count();
    cx.figure("decoded_by_talos", known);
    cx.case(case, || {
        let wrong: Vec<_> = found.iter().filter(|(_, kind)| !kind.problems.is_empty()).collect();
        ensure!(wrong.is_empty(), "{wrong:#?}");
        ensure!(known >= KNOWN_MIN, "it knows {known} of them, and should know {KNOWN_MIN}");
        Ok(())
    });
}

/// Types without a resource are those that may be empty.
fn filled(cx: &mut Cx, machinery: &Tool, cluster: &Cluster<'_>) {
    let mut figures = (0, 0);
    cx.case("types without any resource are those that may be empty", || {
        let may_be = |kind: &str| MAY_BE_EMPTY.iter().any(|(known, _)| *known == kind);
        cluster.step("every other type to be filled", FILLED_MAX, || {
            let found = look(machinery, cluster)?;
            let empty: Vec<&str> = TYPES
                .iter()
                .copied()
                .filter(|kind| found.get(*kind).is_none_or(|found| found.count == 0))
                .collect();
            figures = (TYPES.len() - empty.len(), empty.len());
            let wrong: Vec<&&str> = empty.iter().filter(|kind| !may_be(kind)).collect();
            ensure!(wrong.is_empty(), "{wrong:?}");
            Ok(())
        })?;
        ensure!(figures.1 <= EMPTY_MAX, "{} types are empty", figures.1);
        Ok(())
    });
    cx.figure("filled", figures.0);
    cx.figure("empty", figures.1);
}
