//! `fleet cluster delete`: deletes clusters.

use clap::Args;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::Failure;
use crate::fleet::change::Telling;
use crate::fleet::cluster::{Disconnected, delete};

/// Delete a cluster with all that belongs to it, and wait until it is gone.
#[derive(Args, Debug)]
pub struct Delete {
    /// Name of the cluster.
    #[arg(value_name = "CLUSTER")]
    name: String,
    #[command(flatten)]
    deleting: Deleting,
}

// Flags of commands that delete clusters. A documentation comment would become the command's help.
#[derive(Args, Clone, Copy, Debug)]
pub struct Deleting {
    /// Let the manager forget the machines of the cluster that it does not reach.
    #[arg(long)]
    destroy_disconnected_machines: bool,
    #[command(flatten)]
    pub telling: Telling,
}

impl Deleting {
    /// What becomes of machines that are not reached.
    pub fn disconnected(self) -> Disconnected {
        if self.destroy_disconnected_machines { Disconnected::Destroyed } else { Disconnected::Kept }
    }
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let changes = self.deleting.telling.changes(cx, &manager);
        delete(&changes, &self.name, self.deleting.disconnected()).await
    }
}
