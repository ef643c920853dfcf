//! `bench boot`: our image against the *floor*, from the kernel's first line to a Ready node.
//!
//! The floor is the least that makes a node Ready: the same kernel, kernel command line, UKI stub, firmware, QEMU flags
//! and disk format, the same containerd, runc, CNI plugins, etcd, Kubernetes and OCI images with the flags, environment
//! and files that our machine gives them ([`papers`]), started by a short shell script (`bench/floor`) instead of our
//! programs. Control plane: static pods under the kubelet. Bootstrap manifests, taints and pod network are ours, too:
//! the node is Ready when flannel, started by its DaemonSet, has told its subnet. What our programs do on top is what
//! the ratio shows.
//!
//! ```text
//! round:  floor first boot ─ ours first boot ─ floor later boot ─ ours later boot      (every other round ours first)
//!            └─ console, one connection to the API server (watch) ─▶ Timeline ─▶ Pair ─▶ Comparison ─▶ ratio, budget
//! ```
//!
//! **Zero** is the kernel's first line: on QEMU from the kernel's own time stamps on the console ([`console`]), so that
//! firmware and boot loader count for nobody; for a container machine the start of process 1.
//!
//! **Clients.** Our machine finds its configuration at its first boot, on a volume or in its folder. The only client is
//! the one that bootstraps, over one kept connection every 100 ms. Time for which etcd waited for nothing but that call
//! is the client's; it is printed and left out.
//!
//! **Seen** the same way on both sides: the API server, the node's registration and Ready, by one connection from
//! outside. What cannot be seen there each side says itself: the floor by lines on its console, our machine by the
//! history of its services (when their health checks first passed), asked for afterwards.
//!
//! **Chance.** A kubelet that starts reports Ready as soon as the pod network is there, unless it still reads Ready of the
//! boot before from the API server: then it looks again only ten seconds after its registration. Which of the two happens
//! at a later boot is chance on both sides and can be worth six seconds: one round says little there.
//!
//! **Not the same**, and why:
//! - *Images.* The floor imports tars by containerd's `ctr`: those of the control plane before it, those of flannel and
//!   kube-proxy while the API server starts, CoreDNS at the end. Ours pulls each, and those of etcd and kubelet, from its
//!   image cache when a pod or service needs it. Layers and store are the same.
//! - *kubelet and etcd* are plain programs on the floor, laid beside the images; ours runs them in containers.
//! - *Bootstrap manifests.* The floor applies them by kubectl, at the first boot only; ours does it itself, and asks at
//!   later boots whether one is missing.
//! - *Node.* Ours also puts its labels and annotations on the node; the floor leaves the node as its kubelet makes it.
//! - *Disk.* The floor's EPHEMERAL partition is in its table already and only formatted; ours makes STATE and EPHEMERAL.
//! - *Papers.* The floor unpacks ready-made keys and files from its second disk; ours reads its configuration there and
//!   makes them.
//! - The floor has no udevd, no DHCP, no host DNS, no API, and no KubePrism: who asks it on ours asks the API server.

mod console;
mod floor;
mod history;
mod images;
mod papers;
mod subject;
pub(crate) mod timeline;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use corten_base::Arch;
use corten_e2e::Mode;
use corten_e2e::machine::MachineOptions;
use corten_image_kit::{Kit, recipes};
use serde_json::{Map, Value, json};

use crate::{Report, say};
use floor::Plan;
use subject::{Boot, Side, Subject};
use timeline::{Comparison, Pair, Timeline};

/// Ours to the floor at most, by kind of machine: first boot, later boot.
const BUDGETS: [(Mode, f64, f64); 2] = [(Mode::Container, 1.5, 1.5), (Mode::Qemu, 1.25, 1.1)];

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Root of the repository.
    pub repository: PathBuf,
    /// Folder with our images, one folder for each flavour.
    pub images: PathBuf,
    /// Kinds of machines.
    pub modes: Vec<Mode>,
    /// Pairs of each kind.
    pub rounds: usize,
    /// Print the history of our services for each boot.
    pub history: bool,
    /// First of four ports of the loopback.
    pub first_port: u16,
}

/// Runs the benchmark. Our images must be built.
pub fn run(options: &Options) -> Result<Report> {
    let kit = Kit::open(&recipes(&options.repository), Arch::current())?;
    let (mut text, mut object, mut ok) = (String::new(), Map::new(), true);
    object.insert("ok".to_owned(), Value::Null);
    object.insert("bench".to_owned(), json!("boot"));
    object.insert("rounds".to_owned(), json!(options.rounds));
    for &(mode, first, later) in BUDGETS.iter().filter(|(mode, ..)| options.modes.contains(mode)) {
        let [first, later] = Course { options, kit: &kit, mode }.run([first, later])?;
        text += &format!("{}\n{}\n", first.table(), later.table());
        ok &= first.holds() && later.holds();
        object.insert(mode.name().to_owned(), json!({ "first": first.json(), "later": later.json() }));
    }
    object.insert("ok".to_owned(), json!(ok));
    Ok(Report { ok, text, json: Value::Object(object) })
}

/// All rounds with one kind of machine.
struct Course<'a> {
    options: &'a Options,
    kit: &'a Kit,
    mode: Mode,
}

impl Course<'_> {
    fn run(&self, budgets: [f64; 2]) -> Result<[Comparison; 2]> {
        self.build_floor()?;
        let mode = self.mode.name();
        let title = |boot: &str| format!("{mode}, {boot} boot");
        let mut all = [("first", budgets[0]), ("later", budgets[1])].map(|(boot, budget)| Comparison {
            title: title(boot),
            budget,
            pairs: Vec::new(),
        });
        for round in 1..=self.options.rounds {
            say(&format!("{mode}: round {round} of {}", self.options.rounds));
            for (comparison, pair) in all.iter_mut().zip(self.round(round)?) {
                comparison.pairs.push(pair);
            }
        }
        fs::remove_dir_all(self.folder())
            .with_context(|| format!("cannot empty {}", self.folder().display()))?;
        Ok(all)
    }

    /// A first and a later boot of each side. Who goes first changes from round to round.
    fn round(&self, number: usize) -> Result<[Pair; 2]> {
        let mut order = [Side::Floor, Side::Ours];
        if number.is_multiple_of(2) {
            order.reverse();
        }
        let subjects = order.map(|side| Subject::prepare(side, self.machine(side)?));
        let [one, two] = subjects;
        let subjects = [(order[0], one?), (order[1], two?)];
        let mut pairs = [Pair::default(), Pair::default()];
        for (pair, boot) in pairs.iter_mut().zip([Boot::First, Boot::Later]) {
            for (side, subject) in &subjects {
                let timeline = self.boot(subject, *side, boot)?;
                match side {
                    Side::Floor => pair.floor = timeline,
                    Side::Ours => pair.ours = timeline,
                }
            }
        }
        Ok(pairs)
    }

    fn boot(&self, subject: &Subject, side: Side, boot: Boot) -> Result<Timeline> {
        let (timeline, history) = subject.boot(boot).with_context(|| format!("{side:?}, {boot:?} boot"))?;
        let (name, when) = match (side, boot) {
            (Side::Floor, Boot::First) => ("floor", "first"),
            (Side::Floor, Boot::Later) => ("floor", "later"),
            (Side::Ours, Boot::First) => ("ours ", "first"),
            (Side::Ours, Boot::Later) => ("ours ", "later"),
        };
        say(&format!("  {name}, {when} boot: {timeline}"));
        if self.options.history && side == Side::Ours {
            say(&format!("history of the services:\n{}", history.table()));
        }
        Ok(timeline)
    }

    fn folder(&self) -> PathBuf {
        self.options.repository.join("target/bench/boot").join(self.mode.name())
    }

    fn image(&self, side: Side) -> PathBuf {
        match side {
            Side::Floor => self.folder().join("image"),
            Side::Ours => self.options.images.join(self.mode.flavour()),
        }
    }

    fn machine(&self, side: Side) -> Result<MachineOptions> {
        let (name, number) = match side {
            Side::Floor => ("bench-floor", 0),
            Side::Ours => ("bench-ours", 1),
        };
        let mut machine = MachineOptions::new(self.mode, name, self.image(side), self.folder().join(name));
        machine.api_port = self.options.first_port + number * 2;
        machine.kubernetes_port = machine.api_port + 1;
        machine.subnet = 90;
        if self.mode == Mode::Qemu
            && let Some(qemu) = self.kit.make(&["debian/qemu"])?.remove("debian/qemu")
        {
            machine.qemu = vec![qemu.tree()];
        }
        Ok(machine)
    }

    /// The image of the floor, with the images that its papers name.
    fn build_floor(&self) -> Result<()> {
        say(&format!("{}: building the floor", self.mode.name()));
        empty(&self.folder())?;
        let machine = self.machine(Side::Floor)?;
        let (_, papers) = subject::papers(Side::Floor, &machine)?;
        let (image, target) = (self.image(Side::Ours), self.image(Side::Floor));
        let plan = Plan {
            mode: self.mode,
            repository: &self.options.repository,
            image: &image,
            images: &papers.images,
            target: &target,
        };
        floor::build(&plan, self.kit).context("cannot build the floor")
    }
}

/// An empty folder at this path.
fn empty(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot empty {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}
