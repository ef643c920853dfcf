//! `reboot`: restarts machines and sees them come back.

use clap::{Args, ValueEnum};
use corten_api::machine::{RebootRequest, reboot_request};

use crate::command::Command;
use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::track::{End, Wait, act};

/// Restart machines, and wait until they are up and ready again.
#[derive(Args, Debug)]
pub struct Reboot {
    /// How to restart.
    #[arg(short, long, value_enum, default_value_t)]
    mode: Mode,
    #[command(flatten)]
    wait: Wait,
}

/// Ways to restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Stop everything in order, then restart the fastest way.
    #[default]
    Default,
    /// Stop everything in order, then go through the firmware.
    Powercycle,
    /// At once, without stopping anything.
    Force,
}

impl Command for Reboot {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let mode = match self.mode {
            Mode::Default => reboot_request::Mode::Default,
            Mode::Powercycle => reboot_request::Mode::Powercycle,
            Mode::Force => reboot_request::Mode::Force,
        };
        let wait = &self.wait;
        let reboot = |node: Node| async move {
            let start = async {
                let answer = node.client.machine().reboot(RebootRequest { mode: mode.into() }).await?;
                Ok(only(answer)?.actor_id)
            };
            act(cx, &node, wait, End::Running, start).await
        };
        Ok(cx.targets()?.each("reboot", reboot).await)
    }
}
