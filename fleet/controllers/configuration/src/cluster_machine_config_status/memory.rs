//! What is remembered of machines between two looks: what was done and is not published, and when to look again.

use std::time::Duration;

use corten_fleet_cluster::apply::{Answer, Restart, taken};
use corten_fleet_cluster::teardown::{Outcome, Progress, Step};
use corten_fleet_resources::config::ClusterMachineConfigStatus;
use tokio::time::Instant;

use super::Apply;
use super::scene::Scene;
use crate::calls::Probe;
use crate::texts::{redacted, same};

/// How often a machine is looked at by itself for what it has.
pub const LOOK_EVERY: Duration = Duration::from_secs(30 * 60);
/// How long a machine in maintenance may take to begin with its configuration before it is sent again.
pub const BEGIN_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a configuration that was refused is not sent again.
pub const REFUSED_FOR: Duration = Duration::from_secs(2 * 60);

/// What is known of the configuration that a machine has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Version of the resource that it took.
    pub version: String,
    /// Hash of it, as far as that is proven.
    pub sha256: String,
    /// The documents that it has, secrets masked.
    pub redacted: String,
    /// Id of the boot before a restart that it makes for a configuration; empty when it makes none.
    pub pre_reboot_boot_id: String,
}

impl Known {
    /// What a status says.
    #[must_use]
    pub fn of(status: &ClusterMachineConfigStatus) -> Self {
        Self {
            version: status.cluster_machine_config_version.clone(),
            sha256: status.cluster_machine_config_sha256.clone(),
            redacted: status.redacted_current_machine_config.clone(),
            pre_reboot_boot_id: status.pre_reboot_boot_id.clone(),
        }
    }

    /// Has a status say it.
    pub fn write(&self, status: &mut ClusterMachineConfigStatus) {
        status.cluster_machine_config_version.clone_from(&self.version);
        status.cluster_machine_config_sha256.clone_from(&self.sha256);
        status.redacted_current_machine_config.clone_from(&self.redacted);
        status.compressed_redacted_machine_config.clear();
        status.pre_reboot_boot_id.clone_from(&self.pre_reboot_boot_id);
    }
}

/// A configuration that was sent to a machine in maintenance. What becomes of it is seen when the machine is a member.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Hash of it.
    pub sha256: String,
    /// Key of the machine, which lasts as long as its boot.
    pub public_key: String,
    /// When.
    pub at: Instant,
}

/// A configuration that a machine will not take.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Hash of it.
    pub sha256: String,
    /// Its words.
    pub why: String,
    /// When.
    pub at: Instant,
}

/// Looks at what a machine has.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// When the next is due.
    pub next: Option<Instant>,
    /// Key of the machine at the last one.
    pub public_key: Option<String>,
    /// What it has was not what is wanted.
    pub is_drifting: bool,
    /// Why the last one failed.
    pub missed: Option<String>,
}

impl Look {
    /// Whether it is time to look; `boot_id` is that of the boot that the machine is in, empty when it is not known.
    #[must_use]
    pub fn is_due(&self, scene: &Scene<'_>, known: &Known, boot_id: &str, now: Instant) -> bool {
        if !scene.is_member() || scene.wanted.is_none() {
            return false;
        }
        match Restart::of(&known.pre_reboot_boot_id, boot_id) {
            Restart::Awaited => false,
            Restart::Done => true,
            Restart::None => {
                let is_first = known.sha256.is_empty() && self.public_key.is_none();
                let has_booted = self.public_key.as_deref().is_some_and(|key| key != scene.public_key);
                is_first || has_booted || self.next.is_some_and(|next| next <= now)
            }
        }
    }
}

/// How the leaving of a machine goes in this run of the manager. How long a dead one is away also outlives it, see
/// [`Scene::away_for`].
#[derive(Clone, Debug)]
pub struct Leaving {
    /// When it began.
    pub began: Instant,
    /// Since when the machine cannot be reached.
    pub unreachable_since: Option<Instant>,
    /// When it took the last reset.
    pub reset_at: Option<Instant>,
    /// What was done.
    pub progress: Progress,
    /// It was told that the machine is let go as it is.
    pub is_let_go: bool,
}

/// What is remembered of a machine.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What is known and not published yet.
    pub known: Option<Known>,
    /// What was sent in maintenance.
    pub sent: Option<Sent>,
    /// What it refused.
    pub refused: Option<Refused>,
    /// Looks at it.
    pub look: Look,
    /// Its leaving.
    pub leaving: Option<Leaving>,
}

impl Memory {
    /// What is known of a machine.
    #[must_use]
    pub fn known(&self, scene: &Scene<'_>) -> Known {
        self.known.clone().unwrap_or_else(|| scene.last.map(Known::of).unwrap_or_default())
    }

    /// Forgets what is published, and what a machine has behind it.
    pub fn settle(&mut self, scene: &Scene<'_>) {
        if self.known.is_some() && self.known == scene.last.map(Known::of) {
            self.known = None;
        }
        if scene.is_member() {
            self.sent = None;
        }
    }

    /// Notes what a machine has.
    pub fn looked(&mut self, scene: &Scene<'_>, current: &str, now: Instant) {
        let Some(wanted) = &scene.wanted else { return };
        let mut known = self.known(scene);
        let is_same = same(current, &wanted.text);
        if is_same {
            known.sha256.clone_from(&wanted.sha256);
            known.version.clone_from(&wanted.version);
            self.refused = None;
        } else if !known.pre_reboot_boot_id.is_empty() {
            let why = "the machine restarted for it and came back without it".to_owned();
            self.refused = Some(Refused { sha256: wanted.sha256.clone(), why, at: now });
        }
        known.pre_reboot_boot_id.clear();
        known.redacted = redacted(current);
        self.known = Some(known);
        self.look = Look {
            next: Some(now + LOOK_EVERY),
            public_key: Some(scene.public_key.to_owned()),
            is_drifting: !is_same,
            missed: None,
        };
    }

    /// Notes that a machine took a configuration; `boot_id` is that of its boot.
    pub fn took(&mut self, apply: &Apply, answer: Answer, boot_id: &str, now: Instant) {
        self.refused = None;
        if apply.at.target.cluster.is_none() {
            let (sha256, public_key) = (apply.sha256.clone(), apply.at.target.public_key.clone());
            self.sent = Some(Sent { sha256, public_key, at: now });
            return;
        }
        let taken = taken(answer, &apply.sha256, boot_id);
        let mut known = apply.before.clone();
        known.pre_reboot_boot_id = taken.pre_reboot_boot_id;
        if let Some(sha256) = taken.sha256 {
            known.sha256 = sha256;
            known.version.clone_from(&apply.version);
            known.redacted = redacted(apply.documents.reveal());
        }
        self.known = Some(known);
        self.look.next = Some(now + LOOK_EVERY);
        self.look.public_key = Some(apply.at.target.public_key.clone());
        self.look.is_drifting = false;
    }

    /// Notes how a machine that leaves was found.
    pub fn probed(&mut self, probe: Option<&Probe>, now: Instant) {
        let is_reached = matches!(probe, Some(Probe::Member | Probe::Maintenance | Probe::Configuring));
        let leaving = self.leaving.get_or_insert_with(|| Leaving {
            began: now,
            unreachable_since: None,
            reset_at: None,
            progress: Progress::default(),
            is_let_go: false,
        });
        leaving.unreachable_since = match leaving.unreachable_since {
            _ if is_reached => None,
            since => since.or(Some(now)),
        };
    }

    /// Notes how a step of leaving went.
    pub fn stepped(&mut self, step: &Step, outcome: Outcome, now: Instant) {
        let Some(leaving) = &mut self.leaving else { return };
        leaving.progress = leaving.progress.after(step, outcome);
        if matches!(step, Step::Reset { .. }) && outcome == Outcome::Succeeded {
            leaving.reset_at = Some(now);
        }
    }

    /// Whether this configuration was sent in this boot of a machine that is in maintenance still, and when it is sent
    /// again.
    #[must_use]
    pub fn sent_until(&self, scene: &Scene<'_>, now: Instant) -> Option<Instant> {
        let sent = self.sent.as_ref()?;
        let wanted = scene.wanted.as_ref()?;
        let until = sent.at + BEGIN_MAX;
        let is_now = sent.sha256 == wanted.sha256 && sent.public_key == scene.public_key && now < until;
        is_now.then_some(until)
    }

    /// Why the wanted configuration is not sent now, and when it is again.
    #[must_use]
    pub fn refused(&self, scene: &Scene<'_>) -> Option<(&str, Instant)> {
        let refused = self.refused.as_ref()?;
        let is_wanted = scene.wanted.as_ref().is_some_and(|wanted| wanted.sha256 == refused.sha256);
        is_wanted.then(|| (refused.why.as_str(), refused.at + REFUSED_FOR))
    }
}
