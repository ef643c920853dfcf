//! `gen`: secrets and configurations of a new cluster, made here.

use clap::{Args, Subcommand};

use super::{gen_config, gen_secrets};
use crate::command::Command;
use crate::context::Cx;
use crate::failure::Failure;

/// Make the secrets and configurations of a new cluster.
#[derive(Args, Debug)]
pub struct Generate {
    /// Overwrite existing files.
    #[arg(short, long, global = true)]
    force: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one value, for a moment")]
enum Verb {
    Config(gen_config::GenConfig),
    Secrets(gen_secrets::GenSecrets),
}

impl Command for Generate {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        match self.verb {
            Verb::Config(config) => config.write(cx, self.force),
            Verb::Secrets(secrets) => secrets.write(cx, self.force),
        }
    }
}
