//! `fleet cluster`: whole clusters and the machines in them.

use std::process::ExitCode;

use clap::Args;
use corten_fleet_resources::cluster::Cluster as ClusterSpec;
use corten_fleet_resources::labels::annotation;

use super::cluster_delete::Delete;
use super::cluster_machine::Machine;
use super::cluster_status::Status;
use super::cluster_template::Template;
use crate::command::{Command, Execute, verbs};
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::change::{modify, pointer};

/// Manage clusters: keep them as files say, look after them, delete them.
#[derive(Args, Debug)]
pub struct Cluster {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Delete(Delete),
    Lock(Lock),
    Machine(Machine),
    Status(Status),
    #[command(visible_alias = "t")]
    Template(Template),
    Unlock(Unlock),
}

impl Execute for Cluster {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// Lock a cluster: its machines are neither reconfigured nor upgraded until it is unlocked.
#[derive(Args, Debug)]
pub struct Lock {
    /// Name of the cluster.
    #[arg(value_name = "CLUSTER")]
    name: String,
}

/// Unlock a cluster.
#[derive(Args, Debug)]
pub struct Unlock {
    /// Name of the cluster.
    #[arg(value_name = "CLUSTER")]
    name: String,
}

impl Command for Lock {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let locked = modify(&manager, &pointer::<ClusterSpec>(&self.name), |metadata| {
            metadata.annotations.insert(annotation::CLUSTER_LOCKED.to_owned(), String::new());
        })
        .await;
        locked.or_fail(format!("cannot lock the cluster {:?}", self.name))
    }
}

impl Command for Unlock {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let unlocked = modify(&manager, &pointer::<ClusterSpec>(&self.name), |metadata| {
            metadata.annotations.remove(annotation::CLUSTER_LOCKED);
        })
        .await;
        unlocked.or_fail(format!("cannot unlock the cluster {:?}", self.name))
    }
}
