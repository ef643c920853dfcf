//! `machineconfig`: configurations in files.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::gen_config;
use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::machineconfig::{patched, read_file, read_patches, write_file};

/// Work on machine configurations in files.
#[derive(Args, Debug)]
pub struct MachineConfig {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Make the machine configurations of a new cluster, like `corten gen config`.
    #[command(name = "gen")]
    Generate {
        #[command(flatten)]
        config: Box<gen_config::GenConfig>,
        /// Overwrite existing files.
        #[arg(short, long)]
        force: bool,
    },
    /// Apply patches to a configuration.
    #[command(
        after_help = "Examples:\n  corten machineconfig patch worker.yaml -p @labels.yaml -o worker-a.yaml"
    )]
    Patch {
        /// The configuration; `-` reads standard input.
        file: PathBuf,
        /// The patch: text, or @FILE. May be repeated.
        #[arg(short, long, value_name = "PATCH", required = true)]
        patch: Vec<String>,
        /// File to write instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Command for MachineConfig {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let (file, patch, output) = match self.verb {
            Verb::Generate { config, force } => return config.write(cx, force),
            Verb::Patch { file, patch, output } => (file, patch, output),
        };
        let name = file.display().to_string();
        let text = String::from_utf8_lossy(&read_file(&file)?).into_owned();
        let text = patched(&text, &read_patches(&patch)?, &name).or_fail(format!("cannot patch `{name}`"))?;
        match output.filter(|output| output != Path::new("-")) {
            None => cx.print(text),
            Some(output) => write_file(&output, &text, true),
        }
    }
}
