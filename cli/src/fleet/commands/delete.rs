//! `fleet delete`: deletes resources of the manager.

use clap::Args;
use corten_resource::Pointer;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::change::{Changes, Detail, Mode};
use crate::fleet::document;
use crate::fleet::which::Which;

/// Delete resources of the manager, and wait until they are gone.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet delete machineclass large\n  corten fleet delete configpatches -l omni.sidero.dev/cluster=home"
)]
pub struct Delete {
    #[command(flatten)]
    which: Which,
    /// All resources of the type.
    #[arg(long, conflicts_with_all = ["id", "selector", "id_match_regexp"])]
    all: bool,
}

impl Command for Delete {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let object = format!("cannot delete {}", self.which.kind);
        if self.which.is_all() && !self.all {
            return Err(Failure::new(object)
                .because("it is not said which of them")
                .way_out("name one by its id, some with --selector or --id-match-regexp, or --all"));
        }
        let manager = cx.manager().await?;
        let definition = self.which.definition(&manager).await.or_fail(&object)?;
        let found = self.which.find(&manager, &definition).await.or_fail(object)?;
        if found.is_empty() {
            cx.say("there is nothing to delete");
        }
        let pointers: Vec<Pointer> = found.iter().map(document::pointer).collect();
        Changes::new(cx, &manager, Mode::Real, Detail::Names).delete(&pointers).await
    }
}
