//! `edit`: changes the configuration of machines in an editor.

use clap::Args;

use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::editor::{in_editor, with_notes, without_notes};
use crate::failure::{Cause, Failure};
use crate::machineconfig::{Applied, Apply, expect_machine_config, fetch};
use crate::pernode::PerNode;

/// Change the configuration of machines in an editor, one machine after the other.
///
/// The editor is $TALOS_EDITOR, else $EDITOR, else vi. A configuration that the machine refuses is opened again with
/// the reasons on top; leaving it unchanged, or empty, gives up.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten edit mc -n 10.5.0.2")]
pub struct Edit {
    /// What to change: machineconfig, or mc.
    kind: String,
    #[command(flatten)]
    apply: Apply,
}

/// Variables that name the editor.
const EDITORS: [&str; 2] = ["TALOS_EDITOR", "EDITOR"];

impl Command for Edit {
    type Report = PerNode<Applied>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        expect_machine_config(&self.kind)?;
        let mut results = Vec::new();
        for node in cx.targets()?.0 {
            let edited = edit(cx, &node, &self.apply).await;
            let failed = |cause| {
                Failure::new(format!("cannot edit the configuration of {}", node.name)).because(cause)
            };
            match edited.map_err(failed) {
                Ok(None) => cx.say(format!("{}: nothing changed", node.name)),
                Ok(Some(applied)) => results.push((node.name, Ok(applied))),
                Err(failure) => results.push((node.name, Err(failure))),
            }
        }
        Ok(PerNode(results))
    }
}

async fn edit(cx: &Cx, node: &Node, apply: &Apply) -> Result<Option<Applied>, Cause> {
    let original = fetch(&node.client).await?;
    let mut shown = original.clone();
    let mut notes =
        vec![format!("Configuration of {}. Lines that begin like this one are left out.", node.name)];
    loop {
        let edited = without_notes(&in_editor(&with_notes(&notes, &shown), &EDITORS).await?);
        if edited.trim().is_empty() || edited == shown {
            return Ok(None);
        }
        match apply.send(&node.client, &edited).await {
            Ok(applied) => return Ok(Some(applied)),
            Err(refused) => {
                cx.say(format!("{}: refused: {}", node.name, refused.lines.join("\n")));
                notes.truncate(1);
                notes.extend(refused.lines);
                shown = edited;
            }
        }
    }
}
