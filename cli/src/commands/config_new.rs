//! `config new`: a client configuration for somebody else.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use corten_api::machine::GenerateClientConfigurationRequest;

use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::machineconfig::write_file;
use crate::units;

/// Let a control plane make a client configuration with chosen rights.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten config new --roles os:reader --crt-ttl 24h reader.talosconfig")]
pub struct ConfigNew {
    /// File to write.
    #[arg(default_value = "talosconfig")]
    path: PathBuf,
    /// Rights of the new certificate.
    #[arg(long, value_delimiter = ',', default_value = "os:admin", value_name = "ROLE")]
    roles: Vec<String>,
    /// How long it is valid.
    #[arg(long, default_value = "8760h", value_parser = units::parse_duration, value_name = "DURATION")]
    crt_ttl: Duration,
}

impl Command for ConfigNew {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let node = cx.targets()?.one("make a client configuration")?;
        let object = format!("cannot make a client configuration on {}", node.name);
        let request = GenerateClientConfigurationRequest {
            roles: self.roles,
            crt_ttl: Some(units::wire_duration(self.crt_ttl)),
        };
        let answer = node.client.machine().generate_client_configuration(request).await.or_fail(&object)?;
        let made = only(answer).or_fail(&object)?;
        let text = String::from_utf8(made.talosconfig)
            .map_err(|_| "the machine's answer is not text")
            .or_fail(object)?;
        write_file(&self.path, &text, false)?;
        cx.say(format!("Created {}", self.path.display()));
        Ok(())
    }
}
