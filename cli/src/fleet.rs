//! `fleet`: clusters and machines of many places, through their manager.
//!
//! ```text
//!  omniconfig ──context──▶ Address ─────────────────┐
//!  OMNI_ENDPOINT ──────────▶ (instead)              ├──▶ Manager ──▶ management API, resources
//!  OMNI_SERVICE_ACCOUNT_KEY ──▶ Calls: signs each ──┘
//! ```
//!
//! Names, flags and files are those of `omnictl`. People do not log in with this program: it calls as a service account.

mod access;
mod address;
mod answer;
mod change;
mod cluster;
mod commands;
mod connect;
mod dial;
mod document;
mod download;
mod omniconfig;
mod selector;
mod sign;
mod tokens;
mod which;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Args, value_parser};

use self::commands::*;
use crate::command::{Execute, verbs};
use crate::context::Cx;
use crate::failure::Failure;

const MANAGER: &str = "Manager and access";

/// Flags that count for every command of the manager.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Client configuration of the manager [default: $OMNICONFIG, else ~/.talos/omni/config].
    #[arg(long, global = true, value_name = "FILE", help_heading = MANAGER)]
    pub omniconfig: Option<PathBuf>,
    /// Accept any certificate of the manager and of the image factory.
    #[arg(long, global = true, help_heading = MANAGER)]
    pub insecure_skip_tls_verify: bool,
    /// Taken for scripts that pass it; keys of people are not used.
    #[arg(long, global = true, hide = true, value_name = "FOLDER")]
    pub siderov1_keys_dir: Option<PathBuf>,
}

/// Manage clusters and machines of many places through their manager.
///
/// The manager is Corten Fleet, or Omni. Calls are made as a service account: put its key into
/// $OMNI_SERVICE_ACCOUNT_KEY, and the address of the manager into $OMNI_ENDPOINT or into a client configuration.
#[derive(Args, Debug)]
#[command(
    args = of_machines(),
    after_help = "Examples:\n  corten fleet get clusters\n  corten fleet cluster template sync -f home.yaml\n  corten fleet cluster status home\n  corten fleet kubeconfig -c home\n  corten fleet media download iso"
)]
pub struct Fleet {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

verbs! {
    Apply(apply::Apply),
    AuditLog(audit_log::AuditLog),
    #[command(visible_alias = "c")]
    Cluster(cluster_verbs::Cluster),
    Config(config::Config),
    Configure(configure::Configure),
    #[command(visible_alias = "d")]
    Delete(delete::Delete),
    Edit(edit::Edit),
    #[command(visible_alias = "g")]
    Get(get::Get),
    #[command(name = "infraprovider", visible_alias = "ip")]
    InfraProvider(infra_provider::InfraProvider),
    #[command(name = "jointoken", visible_alias = "jt")]
    JoinToken(join_token::JoinToken),
    Kubeconfig(kubeconfig::Kubeconfig),
    Machine(machine::Machine),
    #[command(visible_alias = "l")]
    MachineLogs(machine_logs::MachineLogs),
    #[command(visible_aliases = ["installation-media", "im"])]
    Media(media::Media),
    #[command(name = "serviceaccount", visible_alias = "sa")]
    ServiceAccount(service_account::ServiceAccount),
    Support(support::Support),
    Talosconfig(talosconfig::Talosconfig),
    #[command(visible_alias = "u")]
    User(user::User),
}

/// Flags of the commands for machines. They stand here, hidden, so that they do not go on to the commands below: there
/// they mean nothing, and their letters are taken.
fn of_machines() -> [Arg; 4] {
    let hidden = |name: &'static str| Arg::new(name).long(name).hide(true);
    [
        hidden("talosconfig").value_parser(value_parser!(PathBuf)),
        hidden("endpoints").value_delimiter(',').action(ArgAction::Append),
        hidden("nodes").value_delimiter(',').action(ArgAction::Append),
        hidden("cluster"),
    ]
}

impl Execute for Fleet {
    async fn execute(self, cx: &Cx) -> ExitCode {
        if !cx.globals.nodes.is_empty() || !cx.globals.endpoints.is_empty() {
            let failure = Failure::new("cannot tell what --nodes and --endpoints mean for `fleet`")
                .because("they name machines, and these commands talk to the manager of many")
                .way_out("leave them out; the manager is named by --context, or by $OMNI_ENDPOINT");
            cx.say(failure.render().trim_end());
            return ExitCode::from(2);
        }
        let cx = Cx { fleet: self.options, ..cx.clone() };
        self.verb.execute(&cx).await
    }
}

#[cfg(test)]
mod tests;
