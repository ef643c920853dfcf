//! Every kind of document that Talos has: its effect is seen on the machine, or the machine refuses it by its name. None
//! is taken and ignored.
//!
//! ```text
//! row: kind, example, where, what is seen ─┬─ refused by this version ─▶ apply ─▶ the error names the kind
//!                                          └─ otherwise ─▶ patch ─▶ seen within a minute ─▶ the old configuration again
//! ```
//!
//! What needs hardware is seen on an emulated machine; on one in a container it is told that it was not looked at.

mod kubernetes;
mod network;
mod system;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_config::schema::LATER_KINDS;
use corten_config::{Config, Patch};
use corten_pki::PrivateKey;

use crate::cluster::{Cluster, ClusterPlan, Files, write_secret};
use crate::cx::Cx;
use crate::machine::Mode;
use crate::tool::Tool;

/// Stands for the version of Kubernetes in an example.
const VERSION: &str = "@KUBERNETES@";
/// Stands for a new private key in an example.
const KEY: &str = "@KEY@";

/// What a kind needs to have an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any machine.
    Machine,
    /// A kernel, disks and firmware of its own.
    Hardware,
}

/// Where the effect of a document is seen.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// In the answer of the machine's client to a command.
    Machine(&'static [&'static str], &'static [&'static str]),
    /// In the answer of kubectl.
    Kubernetes(&'static [&'static str], &'static [&'static str]),
    /// In the machine's first configuration already: the cluster would not work without it.
    Always,
}

/// A kind of document.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The kind.
    pub kind: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// The document, without `apiVersion` and `kind`.
    pub body: &'static str,
    /// Where its effect is seen.
    pub seen: Seen,
}

/// A row of a kind whose effect any machine shows in a resource.
const fn row(
    kind: &'static str,
    body: &'static str,
    command: &'static [&'static str],
    words: &'static [&'static str],
) -> Row {
    Row { kind, needs: Needs::Machine, body, seen: Seen::Machine(command, words) }
}

/// The same for one that needs hardware.
const fn hardware(
    kind: &'static str,
    body: &'static str,
    command: &'static [&'static str],
    words: &'static [&'static str],
) -> Row {
    Row { kind, needs: Needs::Hardware, body, seen: Seen::Machine(command, words) }
}

/// Every kind (node.md 4.3).
fn rows() -> impl Iterator<Item = &'static Row> {
    system::ROWS.iter().chain(network::ROWS).chain(kubernetes::ROWS)
}

impl Row {
    fn document(&self) -> Result<String> {
        let mut body = self.body.replace(VERSION, corten_config::defaults::KUBERNETES_VERSION);
        if body.contains(KEY) {
            let key = PrivateKey::ecdsa_p256(&Rng::kernel())?.to_pem();
            let lines: String = key.reveal().lines().map(|line| format!("    {line}\n")).collect();
            body = body.replace(KEY, &lines);
        }
        Ok(format!("apiVersion: v1alpha1\nkind: {}\n{body}", self.kind))
    }
}

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let mut options = cx.machine(0)?;
    options.further_disks = further_disks(cx)?;
    if cx.mode() == Mode::Qemu {
        // Its link is called as that of a container.
        options.kernel_arguments = vec!["net.ifnames=0".to_owned()];
    }
    let plan = ClusterPlan::of(&options).by_documents();
    let files = Files::write(&plan, cx.folder())?;
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, std::time::Instant::now())?;
    cluster.wait_maintenance()?;
    cluster.apply()?;
    cluster.wait_api()?;
    cluster.bootstrap()?;
    cluster.fetch_kubeconfig()?;
    cluster.wait_node_ready()?;
    let (mut effects, mut refusals, mut elsewhere) = (0, 0, 0);
    for row in rows() {
        if LATER_KINDS.contains(&row.kind) {
            refusals += 1;
            refused(cx, &cluster, row);
        } else if row.needs == Needs::Hardware && cx.mode() == Mode::Container {
            elsewhere += 1;
        } else {
            effects += 1;
            effective(cx, &cluster, row);
        }
    }
    cx.figure("kinds", rows().count());
    cx.figure("effects", effects);
    cx.figure("refusals", refusals);
    cx.figure("on_hardware_only", elsewhere);
    let grace = cluster.limit(60);
    drop(cluster);
    machine.stop(grace)
}

/// Empty disks of an emulated machine: three for groups and arrays, the last for volumes.
fn further_disks(cx: &Cx) -> Result<Vec<PathBuf>> {
    if cx.mode() == Mode::Container {
        return Ok(Vec::new());
    }
    (0..4)
        .map(|number| {
            let path = cx.folder().join(format!("disk-{number}.raw"));
            let file =
                std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            file.set_len(2 << 30)?;
            Ok(path)
        })
        .collect()
}

/// The machine refuses the kind by its name, and is none the worse.
fn refused(cx: &mut Cx, cluster: &Cluster<'_>, row: &Row) {
    let file = cx.folder().join("refused.yaml");
    cx.case(&format!("{} is refused by its name", row.kind), || {
        let good = std::fs::read_to_string(&cluster.files.controlplane)?;
        write_secret(&file, &format!("{good}\n---\n{}", row.document()?))?;
        let command = ["apply-config", "--mode=no-reboot", "--file", &file.to_string_lossy()];
        let said = cluster.admin().refuse(&command)?;
        ensure!(said.contains(row.kind) && said.contains("not yet supported"), "{said}");
        Ok(())
    });
}

/// The kind is taken, its effect is seen, and it goes with the document.
fn effective(cx: &mut Cx, cluster: &Cluster<'_>, row: &Row) {
    let changed = cx.folder().join("changed.yaml");
    let admin = cluster.admin();
    cx.case(&format!("{} has an effect", row.kind), || {
        let (tool, command, words): (Tool, _, _) = match row.seen {
            Seen::Always => return is_there(cluster, row),
            Seen::Machine(command, words) => (admin.clone(), command, words),
            Seen::Kubernetes(command, words) => (cluster.kubectl(), command, words),
        };
        write_secret(&changed, &with(&cluster.files.controlplane, &row.document()?)?)?;
        let file = changed.to_string_lossy().into_owned();
        admin.run(&["apply-config", "--mode=no-reboot", "--file", &file])?;
        let seen = cluster.step(&format!("the effect of {}", row.kind), 90, || {
            let text = tool.run(command)?;
            let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
            ensure!(missing.is_empty(), "{missing:?} is not in:\n{text}");
            Ok(())
        });
        // Whatever was seen: the next kind begins with the machine as it was.
        let file = cluster.files.controlplane.to_string_lossy().into_owned();
        admin.run(&["apply-config", "--mode=no-reboot", "--file", &file])?;
        cluster.wait_node_ready()?;
        seen.map(drop)
    });
}

/// A configuration with a document more. It is put in here, since a client need not know the kind.
fn with(file: &Path, document: &str) -> Result<String> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let config = Config::parse(&text).map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let patch = Patch::parse(document.as_bytes()).context("cannot read an example")?;
    Ok(config.patched(&[patch]).context("cannot add an example")?.text().to_owned())
}

/// A document that the cluster was made with is in the configuration, and the cluster works.
fn is_there(cluster: &Cluster<'_>, row: &Row) -> Result<()> {
    let text = cluster.admin().run(&["get", "machineconfig", "v1alpha1", "-o", "yaml"])?;
    ensure!(text.contains(&format!("kind: {}", row.kind)), "it is not in the configuration");
    cluster.wait_node_ready().map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::net::Ipv4Addr;

    use corten_config::{Contract, Target, schema};

    use super::*;

    /// Every kind of node.md 4.3.
    const KINDS: usize = 89;

    #[test]
    fn every_kind_has_one_row() {
        let kinds: BTreeSet<&str> = rows().map(|row| row.kind).collect();
        assert_eq!(kinds.len(), rows().count(), "a kind stands twice");
        assert_eq!(kinds.len(), KINDS);
        let known =
            schema::DOCUMENTS.iter().map(|document| document.kind).filter(|kind| kind.ends_with("Config"));
        for kind in known.chain(LATER_KINDS.iter().copied()) {
            assert!(kinds.contains(kind), "{kind} has no row");
        }
    }

    #[test]
    fn every_example_fits_the_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = ClusterPlan {
            name: "e2e".to_owned(),
            mode: Mode::Qemu,
            node: Ipv4Addr::new(10, 5, 0, 2),
            api_port: 50_000,
            kubernetes_port: 6443,
            kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
            contract: Contract::OURS,
            patches: Vec::new(),
            worker_patches: Vec::new(),
        }
        .by_documents();
        let files = Files::write(&plan, folder.path()).expect("files");
        let mut wrong = Vec::new();
        for row in rows().filter(|row| !LATER_KINDS.contains(&row.kind)) {
            let document = row.document().expect("an example");
            let told = match with(&files.controlplane, &document) {
                Ok(text) => Config::check(text.as_bytes(), Target::Installed).err().map(|it| it.to_string()),
                Err(error) => Some(format!("{error:#}")),
            };
            wrong.extend(told.map(|told| format!("{}: {told}", row.kind)));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_example_is_read() {
        let mut wrong = Vec::new();
        for row in rows().filter(|row| !LATER_KINDS.contains(&row.kind)) {
            let document = row.document().expect("an example");
            if let Err(problems) = Config::parse(document.as_bytes()) {
                wrong.push(format!("{document}\n{problems}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
