//! `gen secrets`: the secrets of a new cluster.

use std::path::{Path, PathBuf};

use clap::Args;
use corten_base::Secret;
use corten_config::SecretsBundle;

use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::machineconfig::{expect_free, write_file};

/// Make the secrets of a new cluster, to keep and to generate configurations from.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten gen secrets\n  corten gen config home https://10.5.0.2:6443 --with-secrets secrets.yaml"
)]
pub struct GenSecrets {
    /// File to write; `-` is standard output.
    #[arg(short, long, default_value = "secrets.yaml", value_name = "FILE")]
    output_file: PathBuf,
    /// Bootstrap token of Kubernetes to use instead of a random one.
    #[arg(short = 't', long, value_name = "TOKEN")]
    kubernetes_bootstrap_token: Option<String>,
}

impl GenSecrets {
    /// Makes and writes them.
    pub fn write(self, cx: &Cx, force: bool) -> Result<(), Failure> {
        expect_free(&self.output_file, force)?;
        let mut secrets = new_secrets(cx)?;
        if let Some(token) = self.kubernetes_bootstrap_token {
            secrets.bootstrap_token = Secret::new(token);
        }
        let text = secrets.to_yaml();
        if self.output_file == Path::new("-") {
            return cx.print(text.reveal());
        }
        write_file(&self.output_file, text.reveal(), force)?;
        cx.say(format!(
            "Created {}; keep it safe, it is the root of all access to the cluster",
            self.output_file.display()
        ));
        Ok(())
    }
}

/// Secrets as new clusters need them.
pub fn new_secrets(cx: &Cx) -> Result<SecretsBundle, Failure> {
    cx.say("generating PKI and tokens");
    SecretsBundle::generate(cx.clock.now(), &cx.rng).or_fail("cannot generate the secrets")
}
