//! `fleet configure machine`: how machines reach the manager, and how they are known.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use corten_api::management::ResetNodeUniqueTokenRequest;
use corten_fleet_resources::link::GrpcTunnelConfig;
use corten_resource::{AnyResource, Resource};

use crate::command::{Command, Execute, verbs};
use crate::context::Cx;
use crate::failure::Failure;
use crate::fleet::answer::Answered as _;
use crate::fleet::change::{Changes, Detail, Mode, pointer};

/// Change how machines reach the manager, and how they are known.
#[derive(Args, Debug)]
pub struct Configure {
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Machine(Machine),
}

impl Execute for Configure {
    async fn execute(self, cx: &Cx) -> ExitCode {
        self.verb.execute(cx).await
    }
}

/// Change how machines reach the manager, and how they are known.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet configure machine UUID --siderolink-connection http-tunnel"
)]
pub struct Machine {
    /// UUIDs of the machines.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    /// How they reach the manager.
    #[arg(long, value_enum, value_name = "MODE", required_unless_present = "reset_node_unique_token")]
    siderolink_connection: Option<Connection>,
    /// Forget by which token they are known, so that they may join with another.
    #[arg(long)]
    reset_node_unique_token: bool,
}

/// How machines reach the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Connection {
    /// Over UDP.
    Udp,
    /// Through gRPC, for networks without UDP.
    HttpTunnel,
    /// As it is usual at this manager.
    Auto,
}

/// The resource that says so; nothing for what is usual.
fn wish(machine: &str, connection: Connection) -> Option<AnyResource> {
    let enabled = match connection {
        Connection::Udp => false,
        Connection::HttpTunnel => true,
        Connection::Auto => return None,
    };
    Some(Resource::new(machine, GrpcTunnelConfig { enabled }).into())
}

impl Command for Machine {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        let changes = Changes::new(cx, &manager, Mode::Real, Detail::Names);
        for machine in self.machines {
            match self.siderolink_connection.map(|connection| wish(&machine, connection)) {
                None => {}
                Some(Some(wish)) => changes.apply(wish).await?,
                Some(None) => changes.delete(&[pointer::<GrpcTunnelConfig>(&machine)]).await?,
            }
            if self.reset_node_unique_token {
                let object = format!("cannot forget the token of the machine {machine}");
                let request = ResetNodeUniqueTokenRequest { id: machine };
                manager.management().reset_node_unique_token(request).await.answered(object)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_needs_no_resource() {
        let enabled = |connection| {
            wish("m1", connection).and_then(|wish| Some(wish.spec::<GrpcTunnelConfig>()?.enabled))
        };
        assert_eq!(enabled(Connection::HttpTunnel), Some(true));
        assert_eq!(enabled(Connection::Udp), Some(false));
        assert_eq!(enabled(Connection::Auto), None);
    }
}
