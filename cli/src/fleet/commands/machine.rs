//! `fleet machine`: the power of machines.

use std::process::ExitCode;

use clap::Args;
use corten_api::management::{MachinePowerOffRequest, MachinePowerOnRequest};

use crate::command::{Command, Execute, verbs};
use crate::context::Cx;
use crate::failure::Failure;
use crate::fleet::answer::Answered as _;

/// Switch machines on and off.
#[derive(Args, Debug)]
pub struct Machine {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    PowerOn(PowerOn),
    Shutdown(Shutdown),
}

impl Execute for Machine {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// Switch a machine on, where its provider can.
#[derive(Args, Debug)]
pub struct PowerOn {
    /// UUID of the machine.
    #[arg(value_name = "MACHINE")]
    machine: String,
}

impl Command for PowerOn {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let object = format!("cannot switch the machine {} on", self.machine);
        let request = MachinePowerOnRequest { machine_id: self.machine };
        manager.management().machine_power_on(request).await.answered(object).map(drop)
    }
}

/// Shut a machine down.
#[derive(Args, Debug)]
pub struct Shutdown {
    /// UUID of the machine.
    #[arg(value_name = "MACHINE")]
    machine: String,
}

impl Command for Shutdown {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let object = format!("cannot shut the machine {} down", self.machine);
        let request = MachinePowerOffRequest { machine_id: self.machine };
        manager.management().machine_power_off(request).await.answered(object).map(drop)
    }
}
