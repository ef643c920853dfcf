//! `fleet cluster machine`: machines as members of clusters.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use corten_fleet_resources::cluster::MachineSetNode;
use corten_fleet_resources::labels::annotation;
use corten_fleet_resources::machine::NodeForceDestroyRequest;
use corten_resource::{Resource, StateError, Store as _};
use tokio::time::timeout;

use crate::command::{Command, Execute, verbs};
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::change::{Changes, Detail, Mode, modify, pointer};
use crate::units;

/// Manage machines as members of clusters.
#[derive(Args, Debug)]
pub struct Machine {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Delete(Delete),
    Lock(Lock),
    Unlock(Unlock),
}

impl Execute for Machine {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// Lock a machine: it is neither reconfigured nor upgraded nor removed until it is unlocked.
#[derive(Args, Debug)]
pub struct Lock {
    /// UUID of the machine.
    #[arg(value_name = "MACHINE")]
    machine: String,
}

/// Unlock a machine.
#[derive(Args, Debug)]
pub struct Unlock {
    /// UUID of the machine.
    #[arg(value_name = "MACHINE")]
    machine: String,
}

/// Take a machine out of its cluster, and wait until it is out.
#[derive(Args, Debug)]
pub struct Delete {
    /// UUID of the machine.
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// Do not ask the machine, and clean up neither its disk nor Kubernetes.
    #[arg(short, long)]
    force: bool,
    /// The same, also when etcd has one member less from then on.
    #[arg(long)]
    force_etcd_leave: bool,
    /// Do not ask before --force-etcd-leave.
    #[arg(short = 'y', long, requires = "force_etcd_leave")]
    yes_i_am_really_sure: bool,
    /// How long to wait.
    #[arg(short, long, default_value = "5m", value_parser = units::parse_duration, value_name = "DURATION")]
    timeout: Duration,
}

impl Command for Lock {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let locked = modify(&manager, &pointer::<MachineSetNode>(&self.machine), |metadata| {
            metadata.annotations.insert(annotation::LOCKED.to_owned(), String::new());
        })
        .await;
        locked.or_fail(format!("cannot lock the machine {}", self.machine))
    }
}

impl Command for Unlock {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let unlocked = modify(&manager, &pointer::<MachineSetNode>(&self.machine), |metadata| {
            metadata.annotations.remove(annotation::LOCKED);
        })
        .await;
        unlocked.or_fail(format!("cannot unlock the machine {}", self.machine))
    }
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let object = format!("cannot take the machine {} out of its cluster", self.machine);
        let question = "etcd may lose its majority, and what only this machine knows; go on?";
        if self.force_etcd_leave && !self.yes_i_am_really_sure && !cx.confirm(question) {
            return Err(Failure::new(object)
                .because("nobody said yes")
                .way_out("nothing was changed; --yes-i-am-really-sure does not ask"));
        }
        let manager = cx.manager().await?;
        if self.force || self.force_etcd_leave {
            let wish = Resource::new(&self.machine, NodeForceDestroyRequest {});
            match manager.store().create(wish.into(), "").await {
                Ok(_) | Err(StateError::AlreadyExists(_)) => {}
                Err(error) => return Err(error).or_fail(object),
            }
        }
        let changes = Changes::new(cx, &manager, Mode::Real, Detail::Names);
        let node = [pointer::<MachineSetNode>(&self.machine)];
        let late = Failure::new(object)
            .because(format!("it is still there after {}", units::short(self.timeout)))
            .way_out("the manager goes on with it; wait longer with --timeout");
        timeout(self.timeout, changes.delete(&node)).await.unwrap_or(Err(late))
    }
}
