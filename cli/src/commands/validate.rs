//! `validate`: checks a configuration without a machine.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use corten_config::{Config, Target};

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::machineconfig::read_file;

/// Check a machine configuration without a machine.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten validate -c controlplane.yaml -m metal")]
pub struct Validate {
    /// The configuration; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Kind of machine that it is for.
    #[arg(short, long, value_enum)]
    mode: Mode,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
}

/// Kinds of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Installs itself to a disk.
    Metal,
    /// Runs from an image of a cloud.
    Cloud,
    /// Runs in a container.
    Container,
}

impl Command for Validate {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let file = self.config.display().to_string();
        let target = match self.mode {
            Mode::Metal => Target::Metal,
            Mode::Cloud => Target::Installed,
            Mode::Container => Target::Container,
        };
        let wrong = |cause| Failure::new(format!("`{file}` is not a valid configuration")).because(cause);
        let bytes = read_file(&self.config)?;
        let config =
            Config::check(&bytes, target).map_err(|problems| wrong(Cause::problems(&problems, &file)))?;
        if self.strict && !config.warnings().is_empty() {
            return Err(wrong(Cause::problems(config.warnings(), &file)));
        }
        for warning in config.warnings().in_file(&file) {
            cx.say(format!("warning: {warning}"));
        }
        cx.say(format!("{file} is valid"));
        Ok(())
    }
}
