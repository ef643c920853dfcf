//! `patch`: changes the configuration that machines run with.

use clap::Args;

use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::Failure;
use crate::machineconfig::{Applied, Apply, expect_machine_config, fetch, patched, read_patches};
use crate::pernode::PerNode;

/// Change the configuration that machines run with by patches.
///
/// A patch is part of a configuration, merged into it, or a JSON patch (RFC 6902).
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten patch mc -p @labels.yaml\n  corten patch mc -p '{\"machine\": {\"nodeLabels\": {\"zone\": \"a\"}}}' --dry-run"
)]
pub struct Patch {
    /// What to change: machineconfig, or mc.
    kind: String,
    /// The patch: text, or @FILE. May be repeated.
    #[arg(short, long, value_name = "PATCH", required_unless_present = "patch_file")]
    patch: Vec<String>,
    /// A file with a patch.
    #[arg(long, value_name = "FILE")]
    patch_file: Option<String>,
    #[command(flatten)]
    apply: Apply,
}

impl Command for Patch {
    type Report = PerNode<Applied>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        expect_machine_config(&self.kind)?;
        let named: Vec<String> =
            self.patch.into_iter().chain(self.patch_file.map(|file| format!("@{file}"))).collect();
        let patches = read_patches(&named)?;
        let (apply, patches) = (&self.apply, patches.as_slice());
        let change = |node: Node| async move {
            let before = fetch(&node.client).await?;
            let after = patched(&before, patches, "the machine's configuration")?;
            apply.send(&node.client, &after).await
        };
        Ok(cx.targets()?.each("patch the configuration of", change).await)
    }
}
