//! What several commands want of a cluster: its resources, its deletion, its status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use corten_fleet_resources::cluster::{Cluster, MachineSet, MachineSetNode};
use corten_fleet_resources::labels;
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::MachineStatus;
use corten_fleet_template::plan::{MACHINE_TYPES, TYPES};
use corten_fleet_template::{PlanError, Status, plan, status};
use corten_resource::{AnyResource, LabelTerm, Pointer, Query, Spec, StateError, Store as _};
use tokio::time::{sleep, timeout};

use super::answer::found;
use super::change::{Changes, Mode, pointer};
use super::connect::Manager;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::units;

/// How often a status that is waited for is looked at.
const POLL: Duration = Duration::from_secs(1);

/// Resources by where they are, each once.
type Found = BTreeMap<Pointer, AnyResource>;

/// Where resources of a type are, as the type says.
fn kind_pointer(manager: &Manager, kind: &str, id: &str) -> Pointer {
    let definition = manager.registry().definition(kind);
    Pointer::new(definition.map(|definition| definition.namespace).unwrap_or_default(), kind, id)
}

async fn add(manager: &Manager, pointer: &Pointer, all: &mut Found) -> Result<(), StateError> {
    if !all.contains_key(pointer)
        && let Some(resource) = found(manager.store().get(pointer).await)?
    {
        all.insert(pointer.clone(), resource);
    }
    Ok(())
}

async fn add_labeled(
    manager: &Manager,
    kind: &Pointer,
    cluster: &str,
    all: &mut Found,
) -> Result<(), StateError> {
    let query = Query::labels(vec![LabelTerm::equal(labels::CLUSTER, cluster)]);
    for resource in manager.store().list(kind, &query).await? {
        all.insert(resource.pointer(), resource);
    }
    Ok(())
}

/// What there is of a cluster that templates make, and of what a template wants: all that a plan compares.
pub async fn actual(
    manager: &Manager,
    cluster: &str,
    desired: &[AnyResource],
) -> Result<Vec<AnyResource>, StateError> {
    let mut all = Found::new();
    for kind in TYPES {
        add_labeled(manager, &kind_pointer(manager, kind, ""), cluster, &mut all).await?;
    }
    add(manager, &pointer::<Cluster>(cluster), &mut all).await?;
    for resource in desired {
        add(manager, &resource.pointer(), &mut all).await?;
    }
    let is_node = |resource: &&AnyResource| resource.metadata().kind == MachineSetNode::DEFINITION.kind;
    let nodes = all.values().chain(desired).filter(is_node);
    let machines: BTreeSet<String> = nodes.map(|node| node.id().to_owned()).collect();
    for kind in MACHINE_TYPES {
        for machine in &machines {
            add(manager, &kind_pointer(manager, kind, machine), &mut all).await?;
        }
    }
    Ok(all.into_values().collect())
}

/// How a cluster is.
pub async fn status_of(manager: &Manager, cluster: &str) -> Result<Status, StateError> {
    let control_planes = MachineSet::control_planes_of(cluster);
    let mut all = Found::new();
    for kind in status::TYPES {
        add_labeled(manager, &kind_pointer(manager, kind, ""), cluster, &mut all).await?;
        for id in [cluster, control_planes.as_str()] {
            add(manager, &kind_pointer(manager, kind, id), &mut all).await?;
        }
    }
    let all: Vec<AnyResource> = all.into_values().collect();
    Ok(status(cluster, &all))
}

/// Whether a status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It is.
    Loud,
    /// The exit status says enough.
    Quiet,
}

/// A cluster that is looked at.
pub struct Observed<'a> {
    cx: &'a Cx,
    manager: &'a Manager,
    cluster: &'a str,
    voice: Voice,
    shown: String,
}

impl<'a> Observed<'a> {
    /// A cluster of a manager.
    pub fn new(cx: &'a Cx, manager: &'a Manager, cluster: &'a str, voice: Voice) -> Self {
        Self { cx, manager, cluster, voice, shown: String::new() }
    }

    /// Prints how it is, and whenever that changes until it is healthy. With nothing to wait it is printed once.
    pub async fn report(mut self, wait: Duration) -> Result<(), Failure> {
        if self.look().await? || wait.is_zero() {
            return Ok(());
        }
        let late = Failure::new(format!("the cluster {:?} is not healthy", self.cluster))
            .because(format!("it did not become so within {}", units::short(wait)))
            .way_out("wait longer with --wait");
        timeout(wait, self.until_ready()).await.unwrap_or(Err(late))
    }

    async fn until_ready(&mut self) -> Result<(), Failure> {
        loop {
            sleep(POLL).await;
            if self.look().await? {
                return Ok(());
            }
        }
    }

    /// Whether it is healthy now.
    async fn look(&mut self) -> Result<bool, Failure> {
        let status = status_of(self.manager, self.cluster).await;
        let status = status.or_fail(format!("cannot look at the cluster {:?}", self.cluster))?;
        let text = status.render();
        if self.voice == Voice::Loud && text != self.shown {
            self.cx.print(&text)?;
            self.shown = text;
        }
        Ok(status.is_ready())
    }
}

/// What becomes of the machines of a cluster that are not reached, when the cluster is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnected {
    /// They stay known, and the deletion waits for them.
    Kept,
    /// The manager forgets them.
    Destroyed,
}

/// Deletes a cluster with all that belongs to it, and waits until it is gone.
pub async fn delete(changes: &Changes<'_>, cluster: &str, disconnected: Disconnected) -> Result<(), Failure> {
    let manager = changes.manager();
    let object = format!("cannot delete the cluster {cluster:?}");
    let links = match disconnected {
        Disconnected::Kept => Vec::new(),
        Disconnected::Destroyed => unreachable_links(manager, cluster).await.or_fail(&object)?,
    };
    let actual = actual(manager, cluster, &[]).await.or_fail(&object)?;
    let plan = plan(cluster, &[], &actual).map_err(conflicts).or_fail(&object)?;
    for link in &links {
        changes.announce("deleting", link);
    }
    if changes.mode() == Mode::Real {
        // The machines are let go of first: what waits for them would wait for ever.
        for link in &links {
            found(manager.store().teardown(link, "").await).or_fail(&object)?;
        }
    }
    changes.carry_out(plan).await?;
    changes.delete(&links).await
}

/// Why a plan cannot be made.
pub fn conflicts(error: PlanError) -> Cause {
    Cause { lines: error.to_string().lines().map(str::to_owned).collect(), way_out: None }
}

/// Links of the machines of a cluster that are not reached.
async fn unreachable_links(manager: &Manager, cluster: &str) -> Result<Vec<Pointer>, StateError> {
    let kind = pointer::<MachineStatus>("");
    let terms = vec![
        LabelTerm::equal(labels::CLUSTER, cluster),
        LabelTerm::exists(labels::machine_status::DISCONNECTED),
    ];
    let machines = manager.store().list(&kind, &Query::labels(terms)).await?;
    Ok(machines.iter().map(|machine| pointer::<Link>(machine.id())).collect())
}
