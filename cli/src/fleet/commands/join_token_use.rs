//! `fleet jointoken kernel-args`, `machine-config`, `omni-endpoint`: what machines must be given so that they join.

use clap::Args;
use corten_api::management::{GetMachineJoinConfigRequest, GetMachineJoinConfigResponse};

use crate::command::Command;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::Answered as _;
use crate::fleet::tokens;

/// Kernel argument with the address that machines call, and the token.
const API_ARGUMENT: &str = "siderolink.api=";

// Which token is meant. A documentation comment would become the command's help.
#[derive(Args, Debug)]
pub struct Which {
    /// Id of the token instead of the default one.
    #[arg(long, value_name = "ID", conflicts_with = "token_name")]
    token_id: Option<String>,
    /// Name of the token instead of the default one.
    #[arg(long, value_name = "NAME")]
    token_name: Option<String>,
}

// How machines reach the manager. A documentation comment would become the command's help.
#[derive(Args, Debug)]
pub struct Way {
    /// Let the machine tunnel through gRPC, for networks without UDP.
    #[arg(long)]
    use_grpc_tunnel: bool,
}

impl Which {
    async fn ask(self, cx: &Cx, use_grpc_tunnel: bool) -> Result<GetMachineJoinConfigResponse, Failure> {
        let object = "cannot get what lets machines join";
        let manager = cx.manager().await?;
        let join_token = match (self.token_id, self.token_name) {
            (Some(id), _) => id,
            (None, Some(name)) => {
                tokens::named(&tokens::all(&manager).await.or_fail(object)?, &name).or_fail(object)?
            }
            // The manager takes its default.
            (None, None) => String::new(),
        };
        let request = GetMachineJoinConfigRequest { use_grpc_tunnel, join_token };
        manager.management().get_machine_join_config(request).await.answered(object)
    }
}

/// Print the kernel arguments that let a machine join.
#[derive(Args, Debug)]
pub struct KernelArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    way: Way,
}

impl Command for KernelArgs {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let answer = self.which.ask(cx, self.way.use_grpc_tunnel).await?;
        Ok(answer.kernel_args.join(" ") + "\n")
    }
}

/// Print the documents of a machine configuration that let a machine join.
#[derive(Args, Debug)]
pub struct MachineConfig {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    way: Way,
}

impl Command for MachineConfig {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let answer = self.which.ask(cx, self.way.use_grpc_tunnel).await?;
        Ok(answer.config.trim_end().to_owned() + "\n")
    }
}

/// Print the address that machines call, with the token in it.
#[derive(Args, Debug)]
pub struct OmniEndpoint {
    #[command(flatten)]
    which: Which,
}

impl Command for OmniEndpoint {
    type Report = String;

    async fn run(self, cx: &Cx) -> Result<String, Failure> {
        let answer = self.which.ask(cx, false).await?;
        let endpoint = endpoint(&answer.kernel_args).ok_or("no kernel argument names it");
        Ok(endpoint.or_fail("cannot tell the address that machines call")?.to_owned() + "\n")
    }
}

fn endpoint(arguments: &[String]) -> Option<&str> {
    arguments.iter().find_map(|argument| argument.strip_prefix(API_ARGUMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_out_of_the_kernel_arguments() {
        let arguments = ["talos.events.sink=[fd00::1]:8090", "siderolink.api=https://fleet:8090?jointoken=t"];
        let arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        assert_eq!(endpoint(&arguments), Some("https://fleet:8090?jointoken=t"));
        assert_eq!(endpoint(&[]), None);
    }
}
