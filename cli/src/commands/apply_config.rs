//! `apply-config`: gives machines a configuration.

use std::path::PathBuf;

use clap::Args;

use crate::command::Command;
use crate::connect::{Maintenance, Node};
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::machineconfig::{Applied, Apply, patched, read_file, read_patches};
use crate::pernode::PerNode;

/// Give machines a configuration: their first one, or another one.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten apply-config --insecure -n 10.5.0.2 -f controlplane.yaml\n  corten apply-config -f worker.yaml -p @mirror.yaml --dry-run\n  corten apply-config -f worker.yaml --mode try --timeout 2m"
)]
pub struct ApplyConfig {
    /// The configuration; `-` reads standard input.
    #[arg(short, long)]
    file: PathBuf,
    /// Patch to apply to the file first: text, or @FILE. May be repeated.
    #[arg(short = 'p', long = "config-patch", value_name = "PATCH")]
    config_patch: Vec<String>,
    #[command(flatten)]
    apply: Apply,
    #[command(flatten)]
    maintenance: Maintenance,
}

impl Command for ApplyConfig {
    type Report = PerNode<Applied>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let file = self.file.display().to_string();
        let bytes = read_file(&self.file)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| "it is not UTF-8")
            .or_fail(format!("cannot use `{file}`"))?;
        let patches = read_patches(&self.config_patch)?;
        let text = patched(&text, &patches, &file).or_fail(format!("cannot patch `{file}`"))?;
        let (apply, text) = (&self.apply, text.as_str());
        let targets = cx.targets_in(&self.maintenance)?;
        let send = |node: Node| async move { apply.send(&node.client, text).await };
        Ok(targets.each("apply the configuration to", send).await)
    }
}
