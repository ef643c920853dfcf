//! The configuration that a machine is to have, made of everything that has a say in it (fleet.md 4.3).
//!
//! ```text
//! ClusterMachine, MemberScope, ClusterMachineSecrets ─┐
//! MachineConfigGenOptions, MachineInstallDiskStatus ──┼─parts─▶ hash ─┬─ as before ─▶ nothing is made
//! ClusterMachineConfigPatches, MachineJoinConfig ─────┘               └─ another ─generate─▶ ClusterMachineConfig
//! ```
//!
//! The hash of what a configuration was made of stands as an annotation on it: nothing is made anew when the manager
//! starts, or when something changes that has no say in it. What cannot be made leaves the former documents and says
//! why.

mod parts;

use corten_fleet_resources::cluster::ClusterMachine;
use corten_fleet_resources::config::{ClusterMachineConfig, ClusterMachineConfigPatches};
use corten_fleet_resources::link::MachineJoinConfig;
use corten_fleet_resources::machine::{
    MachineConfigGenOptions, MachineInstallDiskConfig, MachineInstallDiskStatus, MachineStatus,
};
use corten_fleet_resources::secrets::ClusterMachineSecrets;
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, View, controller};

use self::parts::{Made, Parts};
use crate::labor::Labor;
use crate::member_scope::MemberScope;
use crate::tags::{MADE_OF, any, copy_place, is_made_of};

/// Makes the configurations of machines.
#[derive(Debug)]
pub struct ClusterMachineConfigController {
    /// Installer of machines whose image no factory made, without a version.
    plain_installer: String,
    labor: Labor,
}

impl ClusterMachineConfigController {
    /// A controller that has machines whose image no factory made install `plain_installer`, a reference without a tag.
    #[must_use]
    pub fn new(plain_installer: String) -> Self {
        Self { plain_installer, labor: Labor::default() }
    }
}

controller!(ClusterMachineConfigController, "ClusterMachineConfigController",
    inputs: [weak ClusterMachine, weak MemberScope, weak ClusterMachineSecrets,
        weak ClusterMachineConfigPatches, weak MachineConfigGenOptions, weak MachineInstallDiskStatus,
        weak MachineInstallDiskConfig, weak MachineJoinConfig, weak MachineStatus,
        weak ClusterMachineConfig],
    outputs: [exclusive ClusterMachineConfig]);

/// What is there for the configuration of a machine. It cannot be printed, for there are secrets in it.
pub enum Seen {
    /// The machine is in no cluster, or on its way out of one: it is reset now, and what it had goes with it.
    Leaving,
    /// Something is missing.
    Missing(Vec<&'static str>),
    /// The former configuration is of the same parts, which have this hash.
    Same(String),
    /// The parts have this hash, and this was made of them.
    Other(String, Made),
}

impl ItemDriver for ClusterMachineConfigController {
    type Observed = Seen;
    type Op = Never;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Seen> {
        let member = any::<ClusterMachine, _>(view, item);
        let Some(member) = member.filter(|member| !member.metadata.is_tearing_down()) else {
            return Ok(Seen::Leaving);
        };
        let parts = match Parts::gather(item, member, view) {
            Ok(parts) => parts,
            Err(missing) => return Ok(Seen::Missing(missing)),
        };
        let hash = parts.hash(&self.plain_installer);
        let former = view.get::<ClusterMachineConfig>(item);
        if former.is_some_and(|former| is_made_of(&former.metadata, &hash)) {
            return Ok(Seen::Same(hash));
        }
        let job = parts.job(&self.plain_installer);
        Ok(Seen::Other(hash, self.labor.of(move || job.make()).await?))
    }

    fn plan(&self, item: &str, view: &View<Self>, seen: &Seen) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let Some(member) = any::<ClusterMachine, _>(view, item) else { return plan };
        let former = || view.get::<ClusterMachineConfig>(item).map(|former| former.spec.clone());
        let (made_of, spec) = match seen {
            Seen::Same(hash) => (hash, former().unwrap_or_default()),
            Seen::Other(hash, Made::Whole(spec)) => (hash, spec.as_ref().clone()),
            Seen::Other(hash, Made::Failed(why)) => {
                let kept = former().unwrap_or_default();
                (hash, ClusterMachineConfig { generation_error: why.clone(), ..kept })
            }
            Seen::Leaving | Seen::Missing(_) | Seen::Other(_, Made::Waits(_)) => {
                plan.keep::<ClusterMachineConfig>();
                tell(&mut plan, seen);
                return plan;
            }
        };
        if !spec.generation_error.is_empty() {
            plan.missing(format!("a configuration that can be made: {}", spec.generation_error));
        }
        plan.put_with(item, spec, |metadata| {
            copy_place(&member.metadata, metadata);
            metadata.annotations.insert(MADE_OF.to_owned(), made_of.clone());
        });
        plan
    }

    async fn apply(&self, _: &str, never: Never) -> anyhow::Result<()> {
        match never {}
    }
}

/// Says for what a configuration waits.
fn tell(plan: &mut Plan<ClusterMachineConfigController, Never>, seen: &Seen) {
    match seen {
        Seen::Missing(missing) => {
            for what in missing {
                plan.missing(*what);
            }
        }
        Seen::Other(_, Made::Waits(why)) => {
            plan.missing(why.as_str());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
