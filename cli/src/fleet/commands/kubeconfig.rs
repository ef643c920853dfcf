//! `fleet kubeconfig`: access to the Kubernetes of a cluster, through the manager.

use std::time::Duration;

use clap::{Args, ValueEnum};
use corten_api::management::KubeconfigRequest;

use crate::command::Command;
use crate::commands::kubeconfig::Place;
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::fleet::answer::Answered as _;
use crate::units;

/// Get a kubeconfig of a cluster.
///
/// It is merged into $KUBECONFIG or ~/.kube/config, or into PATH; with --merge=false it is written to ./kubeconfig, or
/// to PATH, where `-` is standard output. Merging gives names that are taken a number, or overwrites with --force.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet kubeconfig -c home\n  corten fleet kubeconfig -c home --service-account --user ci --ttl 24h --merge=false ci.yaml"
)]
pub struct Kubeconfig {
    /// Name of the cluster.
    #[arg(short, long, value_name = "NAME")]
    cluster: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    account: Account,
    #[command(flatten)]
    login: Login,
    /// Access that goes around the manager; the cluster is marked for it.
    #[arg(long)]
    break_glass: bool,
}

/// A token for a program instead of a log-in.
#[derive(Args, Debug)]
struct Account {
    /// Put a token for a program into it, instead of the log-in of a person.
    #[arg(long, requires = "user")]
    service_account: bool,
    /// Name that the token has in Kubernetes.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Groups that the token has in Kubernetes.
    #[arg(long, value_delimiter = ',', default_value = "system:masters", value_name = "GROUP")]
    groups: Vec<String>,
    /// How long the token is valid.
    #[arg(long, default_value = "8760h", value_parser = units::parse_duration, value_name = "DURATION")]
    ttl: Duration,
}

/// How a person logs in.
#[derive(Args, Debug)]
struct Login {
    /// How the log-in reaches the waiting kubectl.
    #[arg(long, value_enum, value_name = "TYPE")]
    grant_type: Option<Grant>,
    /// Folder in which the log-in keeps its tokens.
    #[arg(long, value_name = "FOLDER")]
    oidc_cache_base_dir: Option<String>,
    /// Keep the tokens of clusters apart.
    #[arg(long)]
    oidc_cache_isolation: bool,
}

/// How a log-in comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Grant {
    /// As it is possible.
    Auto,
    /// To a port of this computer.
    #[value(name = "authcode")]
    AuthCode,
    /// By a code that a person types.
    #[value(name = "authcode-keyboard")]
    AuthCodeKeyboard,
}

impl Grant {
    const fn text(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::AuthCode => "authcode",
            Self::AuthCodeKeyboard => "authcode-keyboard",
        }
    }
}

impl Command for Kubeconfig {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let object = format!("cannot get a kubeconfig of the cluster {:?}", self.cluster);
        let request = request(&self.account, self.login, self.break_glass);
        let manager = cx.manager().await?;
        let answer = manager.management_of(&self.cluster)?.kubeconfig(request).await.answered(&object)?;
        let text = String::from_utf8(answer.kubeconfig).map_err(|_| "the manager's answer is not text");
        self.place.keep(cx, &text.or_fail(object)?)
    }
}

fn request(account: &Account, login: Login, break_glass: bool) -> KubeconfigRequest {
    let mut request = KubeconfigRequest {
        grant_type: login.grant_type.map(Grant::text).unwrap_or_default().to_owned(),
        break_glass,
        oidc_cache_base_dir: login.oidc_cache_base_dir.unwrap_or_default(),
        oidc_cache_isolation: login.oidc_cache_isolation,
        ..KubeconfigRequest::default()
    };
    if account.service_account {
        request.service_account = true;
        request.service_account_ttl = Some(units::wire_duration(account.ttl));
        request.service_account_user = account.user.clone().unwrap_or_default();
        request.service_account_groups.clone_from(&account.groups);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(service_account: bool) -> Account {
        let groups = vec!["system:masters".to_owned()];
        Account { service_account, user: Some("ci".to_owned()), groups, ttl: Duration::from_secs(60) }
    }

    fn login() -> Login {
        Login { grant_type: Some(Grant::AuthCode), oidc_cache_base_dir: None, oidc_cache_isolation: false }
    }

    #[test]
    fn only_a_program_gets_a_token() {
        let person = request(&account(false), login(), false);
        assert_eq!((person.service_account_ttl, person.grant_type.as_str()), (None, "authcode"));
        assert!(person.service_account_user.is_empty() && person.service_account_groups.is_empty());
        let program = request(&account(true), login(), false);
        assert_eq!((program.service_account_user.as_str(), program.service_account_groups.len()), ("ci", 1));
        assert_eq!(program.service_account_ttl.map(|ttl| ttl.seconds), Some(60));
    }
}
