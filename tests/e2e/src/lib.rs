//! Scenarios: stories of machines told from outside, by the clients that users have.
//!
//! ```text
//! xtask e2e NAME ─▶ registry ─▶ Cx (image, clients, figures) ─▶ a scenario ─▶ steps (cluster) ─▶ talosctl, kubectl
//!                                        ├──────────▶ machine (harness: container or QEMU)
//!                                        └──────────▶ fleet: a manager, emulated machines ─▶ omnictl, corten fleet
//! ```
//!
//! Invariants:
//! - What is claimed is asked by unmodified programs; own code only starts machines and compares answers.
//! - Waiting is for conditions with a deadline, and a missed deadline shows the machine's logs.
//! - A scenario leaves nothing on the host but its folder below `target/e2e`, which a failure needs.

#![allow(
    clippy::disallowed_methods,
    reason = "scenarios run on a developer's host, in real time, with real processes"
)]

pub mod cluster;
pub mod cx;
pub mod fleet;
pub mod host;
pub mod inside;
pub mod machine;
pub mod pair;
pub mod streams;
pub mod tool;
pub mod tpm;
pub mod wait;
pub mod workload;
pub mod writelog;

mod disk_check;
mod ntp;
pub mod scenarios;

use anyhow::{Context, Result, ensure};

pub use cx::{Client, Cx, Options, Report};
pub use machine::Mode;

/// How Corten Fleet takes part in a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed {
    /// Not at all.
    No,
    /// It manages machines, some of which run our image.
    Yes,
    /// It manages emulated machines only, so that no image is needed.
    Emulated,
}

/// A story, and on which kinds of machines it can be told.
#[derive(Debug)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Kinds of machines; the first is used when none is asked for.
    pub modes: &'static [Mode],
    /// Flavour of the image, where it is not the usual one of the kind of machine.
    pub flavour: Option<&'static str>,
    /// Container machines have a disk, too: that of an emulated machine's image.
    pub on_disks: bool,
    /// How Corten Fleet takes part.
    pub managed: Managed,
    /// It takes our own command line, whichever client it is told with.
    pub takes_corten: bool,
    run: fn(&mut Cx) -> Result<()>,
}

impl Scenario {
    /// Flavour of the image for such a machine.
    #[must_use]
    pub fn flavour(&self, mode: Mode) -> &'static str {
        self.flavour.unwrap_or_else(|| mode.flavour())
    }

    /// Flavours of all images that it takes.
    #[must_use]
    pub fn flavours(&self, mode: Mode) -> Vec<&'static str> {
        if self.managed == Managed::Emulated {
            return Vec::new();
        }
        let disk = self.on_disks.then_some(Mode::Qemu.flavour());
        std::iter::once(self.flavour(mode)).chain(disk).collect()
    }
}

/// All scenarios. A new one is a file in `scenarios` and a row here.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "node",
        about: "from a blank disk to a pod that serves and survives a reboot, by stock clients only",
        modes: &[Mode::Qemu, Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::node::run,
    },
    Scenario {
        name: "ready",
        about: "the shortest one: from a blank disk to a Ready node",
        modes: &[Mode::Qemu, Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::ready::run,
    },
    Scenario {
        name: "brain-kill",
        about: "ten kills of machined, a minute of standstill, kills of both containerds: nobody notices",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::brain_kill::run,
    },
    Scenario {
        name: "node-faults",
        about: "wrong configurations, strangers, rude clients, full disks, missing images: each one a case",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::node_faults::run,
    },
    Scenario {
        name: "api-abuse",
        about: "slow, many, silent, greedy and broken clients beside a polite one; certificates and the CA change under open streams",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::api_abuse::run,
    },
    Scenario {
        name: "api",
        about: "every node command of talosctl, unmodified, on a control plane and a worker, as text and as JSON, and the same by corten",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: true,
        run: scenarios::api::run,
    },
    Scenario {
        name: "documents",
        about: "every kind of document has an effect that is observed, or is refused by its name",
        modes: &[Mode::Container, Mode::Qemu],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::documents::run,
    },
    Scenario {
        name: "resources",
        about: "every type of Talos is listed, both encodings agree, Talos's own module decodes them, few are empty",
        modes: &[Mode::Qemu],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::resources::run,
    },
    Scenario {
        name: "doctor",
        about: "twenty faults, each named with its remedy on the machine and from its support bundle alone",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: true,
        run: scenarios::doctor::run,
    },
    Scenario {
        name: "evidence",
        about: "logs of earlier boots and how they ended; images that nobody has signed do not debug",
        modes: &[Mode::Container, Mode::Qemu],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::evidence::run,
    },
    Scenario {
        name: "metal",
        about: "the image for real hardware boots and takes a configuration",
        modes: &[Mode::Qemu],
        flavour: Some("metal"),
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::metal::run,
    },
    Scenario {
        name: "power-cut",
        about: "losses of power in the first boot, unflushed writes dropped: Ready, the same, clean disks",
        modes: &[Mode::Container, Mode::Qemu],
        flavour: None,
        on_disks: true,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::power_cut::run,
    },
    Scenario {
        name: "up-down",
        about: "the front door: up, once more without building, Ctrl-C, a host that lacks something; down leaves nothing",
        modes: &[Mode::Container, Mode::Qemu],
        flavour: None,
        on_disks: false,
        managed: Managed::No,
        takes_corten: false,
        run: scenarios::up_down::run,
    },
    Scenario {
        name: "siderolink",
        about: "machines dial home, ours and foreign ones; link, facts, events, logs; again after a restart; every branch of joining; strangers kept apart",
        modes: &[Mode::Qemu, Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::Yes,
        takes_corten: false,
        run: scenarios::siderolink::run,
    },
    Scenario {
        name: "fleet-cli",
        about: "the manager by unmodified omnictl and what it hands out to talosctl and kubectl; the same by corten fleet",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::Yes,
        takes_corten: false,
        run: scenarios::fleet_cli::run,
    },
    Scenario {
        name: "fleet-cluster",
        about: "two machines become a cluster that serves a page; the manager is killed in the middle, and stays away",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::Yes,
        takes_corten: false,
        run: scenarios::fleet_cluster::run,
    },
    Scenario {
        name: "fleet-faults",
        about: "kills of the manager while clusters of emulated machines change; bad stores, keys, clocks, calls, floods",
        modes: &[Mode::Container],
        flavour: None,
        on_disks: false,
        managed: Managed::Emulated,
        takes_corten: false,
        run: scenarios::fleet_faults::run,
    },
    Scenario {
        name: "media",
        about: "machines boot from an ISO, a disk and a kernel that the manager made, and join; downloads go on",
        modes: &[Mode::Qemu],
        flavour: None,
        on_disks: false,
        managed: Managed::Yes,
        takes_corten: false,
        run: scenarios::media::run,
    },
];

/// The scenario of that name.
pub fn find(name: &str) -> Result<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).with_context(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario `{name}`; there are {}", names.join(", "))
    })
}

/// Tells a scenario.
pub fn run(scenario: &'static Scenario, mut options: Options) -> Result<Report> {
    let flavour = scenario.flavour(options.mode);
    options.image.get_or_insert_with(|| options.repository.join("target/image").join(flavour));
    let mode = options.mode.name();
    ensure!(
        scenario.modes.contains(&options.mode),
        "`{}` cannot be told with {mode} machines",
        scenario.name
    );
    cx::say(&format!("{} ({mode}): {}", scenario.name, scenario.about));
    let mut cx = Cx::new(options, scenario.name)?;
    let result = (scenario.run)(&mut cx);
    Ok(cx.finish(result))
}
