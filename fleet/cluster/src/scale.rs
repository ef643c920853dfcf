//! Which machines of a set become members of the cluster now, and which leave (fleet.md 4.5).
//!
//! ```text
//! MachineSetNodes (wanted) ──┐
//! ClusterMachines (there) ───┼─plan─▶ create, tear down, destroy   now
//! strategy, quorum, locks ───┘    └─▶ held: each machine that cannot be changed now, why, and what would change that
//! ```
//!
//! A control plane grows before it shrinks, and shrinks by one machine at a time, never against etcd's quorum. Workers
//! come at once and go as many at a time as their set says.

use std::collections::BTreeSet;

use corten_fleet_resources::cluster::{MachineSetConfigStatus, UpdateStrategy, UpdateStrategyConfig};

use crate::Role;
use crate::quorum::{Etcd, can_scale_down};

/// A machine that is to be in the set.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// UUID of the machine.
    pub id: &'a str,
    /// A person wants it neither updated nor removed.
    pub is_locked: bool,
    /// Its MachineSetNode is going away, so it is not wanted any more.
    pub is_tearing_down: bool,
}

/// A machine that is in the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Its UUID.
    pub id: &'a str,
    /// It is leaving.
    pub is_tearing_down: bool,
    /// It left: nobody holds it any more.
    pub is_released: bool,
    /// A person asked to take it out without asking it: there is a NodeForceDestroyRequest.
    pub is_forced: bool,
}

/// What the control plane says about itself.
#[derive(Clone, Copy, Debug)]
pub struct ControlPlane<'a> {
    /// The load balancer has a healthy API server.
    pub is_reachable: bool,
    /// Its etcd; `None` when it could not be asked.
    pub etcd: Option<&'a Etcd>,
}

/// A machine set.
#[derive(Clone, Debug)]
pub struct Set<'a> {
    /// What its machines are; for a control plane with what it says about itself.
    pub role: Role,
    /// What the control plane says; only looked at for control planes.
    pub control_plane: ControlPlane<'a>,
    /// The machines that are to be in it.
    pub nodes: Vec<Node<'a>>,
    /// The machines that are in it.
    pub machines: Vec<Machine<'a>>,
    /// The set or its cluster is going away.
    pub is_tearing_down: bool,
    /// Nothing of the cluster is changed.
    pub is_locked: bool,
    /// Most removals at a time; `None` for no limit. Control planes always have one.
    pub deletions_max: Option<usize>,
}

/// Something to do with a ClusterMachine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Make it.
    Create(String),
    /// Ask it to leave.
    TearDown(String),
    /// Remove what nobody holds.
    Destroy(String),
}

/// A machine that cannot be changed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its UUID.
    pub machine: String,
    /// Why, and what would change that: a sentence without its end.
    pub reason: String,
}

/// What to do with the machines of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do now, in order.
    pub operations: Vec<Operation>,
    /// What has to wait.
    pub held: Vec<Held>,
    /// Changed configurations may go to the machines; not to a control plane that grows or shrinks.
    pub config_updates_allowed: bool,
    /// Machines that leave do so in order; not when all of the set goes.
    pub should_reset_graceful: bool,
}

impl Plan {
    /// Whether the machines are those that are wanted.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.operations.is_empty() && self.held.is_empty()
    }

    /// The resource that tells others what may be done.
    #[must_use]
    pub fn config_status(
        &self,
        strategy: UpdateStrategy,
        config: Option<UpdateStrategyConfig>,
    ) -> MachineSetConfigStatus {
        MachineSetConfigStatus {
            config_updates_allowed: self.config_updates_allowed,
            should_reset_graceful: self.should_reset_graceful,
            update_strategy: strategy,
            update_strategy_config: config,
        }
    }
}

/// How many machines are treated at a time; `None` for all. `usual` holds when no strategy is set.
#[must_use]
pub fn parallelism(
    strategy: UpdateStrategy,
    config: Option<&UpdateStrategyConfig>,
    usual: Option<usize>,
) -> Option<usize> {
    match strategy {
        UpdateStrategy::Unset => usual,
        UpdateStrategy::Rolling => {
            let rolling = config.and_then(|config| config.rolling.as_ref());
            let most = rolling.map_or(0, |rolling| rolling.max_parallelism);
            Some(usize::try_from(most).unwrap_or(usize::MAX).max(1))
        }
    }
}

/// Decides what to do with the machines of a set.
#[must_use]
pub fn plan(set: &Set<'_>) -> Plan {
    let mut plan = Plan { should_reset_graceful: !set.is_tearing_down, ..Plan::default() };
    if set.is_tearing_down {
        dissolve(set, &mut plan);
        return plan;
    }
    if set.is_locked {
        let reason = "the cluster is locked; unlock it to change its machines";
        hold(&mut plan, missing(set).into_iter().chain(unwanted(set).map(|machine| machine.id)), reason);
        return plan;
    }
    match set.role {
        Role::ControlPlane => control_planes(set, &mut plan),
        Role::Worker => workers(set, &mut plan),
    }
    let is_leaving = set.machines.iter().any(|machine| machine.is_tearing_down);
    plan.config_updates_allowed = match set.role {
        Role::ControlPlane => plan.is_settled() && !is_leaving,
        Role::Worker => true,
    };
    plan
}

/// All machines leave at once: nothing has to be kept running.
fn dissolve(set: &Set<'_>, plan: &mut Plan) {
    for machine in &set.machines {
        if !machine.is_tearing_down {
            plan.operations.push(Operation::TearDown(machine.id.to_owned()));
        } else if machine.is_released {
            plan.operations.push(Operation::Destroy(machine.id.to_owned()));
        }
    }
    plan.operations.sort();
}

/// Machines that are wanted and not there, by id.
fn missing<'a>(set: &Set<'a>) -> BTreeSet<&'a str> {
    let there: BTreeSet<&str> = set.machines.iter().map(|machine| machine.id).collect();
    let wanted = set.nodes.iter().filter(|node| !node.is_tearing_down);
    wanted.map(|node| node.id).filter(|id| !there.contains(id)).collect()
}

/// Machines that are there, do not leave yet, and are not wanted.
fn unwanted<'s, 'a>(set: &'s Set<'a>) -> impl Iterator<Item = &'s Machine<'a>> {
    let is_wanted = move |id: &str| set.nodes.iter().any(|node| node.id == id && !node.is_tearing_down);
    set.machines.iter().filter(move |machine| !machine.is_tearing_down && !is_wanted(machine.id))
}

fn is_locked(set: &Set<'_>, machine: &Machine<'_>) -> bool {
    set.nodes.iter().any(|node| node.id == machine.id && node.is_locked)
}

fn released<'s, 'a>(set: &'s Set<'a>) -> impl Iterator<Item = &'s Machine<'a>> {
    set.machines.iter().filter(|machine| machine.is_tearing_down && machine.is_released)
}

fn leaving<'s, 'a>(set: &'s Set<'a>) -> impl Iterator<Item = &'s Machine<'a>> {
    set.machines.iter().filter(|machine| machine.is_tearing_down && !machine.is_released)
}

fn hold<'a>(plan: &mut Plan, machines: impl Iterator<Item = &'a str>, reason: &str) {
    plan.held.extend(machines.map(|id| Held { machine: id.to_owned(), reason: reason.to_owned() }));
}

/// Says of machines that are wanted again while they leave why they are not back yet.
fn hold_returning(set: &Set<'_>, plan: &mut Plan) {
    let is_wanted = |id: &str| set.nodes.iter().any(|node| node.id == id && !node.is_tearing_down);
    let returning = leaving(set).map(|machine| machine.id).filter(|id| is_wanted(id));
    hold(plan, returning, "it is still leaving; it comes in again once it is reset");
}

/// Machines whose removal is forced leave whatever else goes on, and tell nobody.
fn tear_down_forced(set: &Set<'_>, plan: &mut Plan) {
    let forced = unwanted(set).filter(|machine| machine.is_forced);
    plan.operations.extend(forced.map(|machine| Operation::TearDown(machine.id.to_owned())));
}

fn control_planes(set: &Set<'_>, plan: &mut Plan) {
    hold_returning(set, plan);
    tear_down_forced(set, plan);
    let waiting = || unwanted(set).filter(|machine| !machine.is_forced);
    let ids = || waiting().map(|machine| machine.id);
    let missing = missing(set);
    if !missing.is_empty() {
        plan.operations.extend(missing.into_iter().map(|id| Operation::Create(id.to_owned())));
        hold(plan, ids(), "new control planes come in first; it leaves after them");
        return;
    }
    if released(set).next().is_some() {
        plan.operations.extend(released(set).map(|machine| Operation::Destroy(machine.id.to_owned())));
        hold(plan, ids(), "another control plane is just gone; it leaves next");
        return;
    }
    let other = leaving(set).map(|machine| machine.id).chain(forced(plan)).next().map(ToOwned::to_owned);
    if let Some(other) = other {
        hold(plan, ids(), &format!("control plane {other} is leaving; only one leaves at a time"));
        return;
    }
    shrink_control_plane(set, plan);
}

/// Machines that the plan tears down already.
fn forced(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.operations.iter().filter_map(|operation| match operation {
        Operation::TearDown(id) => Some(id.as_str()),
        _ => None,
    })
}

/// Lets the first machine go that may, and says of the others why they may not.
fn shrink_control_plane(set: &Set<'_>, plan: &mut Plan) {
    let mut is_one_leaving = false;
    let mut waiting: Vec<&Machine<'_>> = unwanted(set).collect();
    waiting.sort_by_key(|machine| machine.id);
    for machine in waiting {
        let verdict = if is_one_leaving {
            Err("another control plane leaves first; only one leaves at a time".to_owned())
        } else {
            may_leave(set, machine)
        };
        match verdict {
            Ok(()) => {
                is_one_leaving = true;
                plan.operations.push(Operation::TearDown(machine.id.to_owned()));
            }
            Err(reason) => plan.held.push(Held { machine: machine.id.to_owned(), reason }),
        }
    }
}

fn may_leave(set: &Set<'_>, machine: &Machine<'_>) -> Result<(), String> {
    if is_locked(set, machine) {
        return Err("it is locked; unlock it".to_owned());
    }
    if !set.control_plane.is_reachable {
        return Err("no API server of the cluster answers; bring one back, or force the removal".to_owned());
    }
    let Some(etcd) = set.control_plane.etcd else {
        return Err("etcd does not answer; bring a control plane back, or force the removal".to_owned());
    };
    can_scale_down(etcd, machine.id)
}

fn workers(set: &Set<'_>, plan: &mut Plan) {
    hold_returning(set, plan);
    plan.operations.extend(missing(set).into_iter().map(|id| Operation::Create(id.to_owned())));
    plan.operations.extend(released(set).map(|machine| Operation::Destroy(machine.id.to_owned())));
    tear_down_forced(set, plan);
    let mut free = set.deletions_max.map(|most| most.saturating_sub(leaving(set).count()));
    let mut waiting: Vec<&Machine<'_>> = unwanted(set).filter(|machine| !machine.is_forced).collect();
    waiting.sort_by_key(|machine| machine.id);
    for machine in waiting {
        let reason = match (is_locked(set, machine), free) {
            (true, _) => "it is locked; unlock it".to_owned(),
            (false, Some(0)) => {
                let most = set.deletions_max.unwrap_or_default();
                format!("{most} machines of the set leave at a time; it is next, or raise its limit")
            }
            (false, _) => {
                free = free.map(|free| free.saturating_sub(1));
                plan.operations.push(Operation::TearDown(machine.id.to_owned()));
                continue;
            }
        };
        plan.held.push(Held { machine: machine.id.to_owned(), reason });
    }
}

#[cfg(test)]
mod tests;
