//! `read`: the contents of a file.

use clap::Args;
use corten_api::machine::ReadRequest;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};

/// Print a file of a machine.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten read /etc/os-release")]
pub struct Read {
    /// The file.
    path: String,
}

impl Command for Read {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let node = cx.targets()?.one("read a file")?;
        let object = format!("cannot read {} on {}", self.path, node.name);
        let request = ReadRequest { path: self.path };
        let mut stream = node.client.machine().read(request).await.or_fail(&object)?.into_inner();
        while let Some(data) = stream.message().await.map_err(Cause::from).or_fail(&object)? {
            cx.print(&data.bytes)?;
        }
        Ok(())
    }
}
