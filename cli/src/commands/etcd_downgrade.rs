//! `etcd downgrade`: back to an older minor version of etcd.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use corten_api::machine::{EtcdDowngradeEnableRequest, EtcdDowngradeValidateRequest};

use crate::command::{Command, Execute, Reported};
use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::pernode::PerNode;
use crate::table::{Column, Row};

/// Go back to an older minor version of etcd.
#[derive(Args, Debug)]
pub struct Downgrade {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Ask whether the cluster could go back to a version.
    Validate(Reported<Validate>),
    /// Let the cluster go back to a version; its machines are then given that version.
    Enable(Reported<Enable>),
    /// Let the cluster stay at the version that it has.
    Cancel(Reported<Cancel>),
}

impl Execute for Downgrade {
    async fn execute(self, cx: &Cx) -> ExitCode {
        match self.verb {
            Verb::Validate(command) => command.execute(cx).await,
            Verb::Enable(command) => command.execute(cx).await,
            Verb::Cancel(command) => command.execute(cx).await,
        }
    }
}

#[derive(Args, Debug)]
struct Validate {
    /// The version, such as 3.6.
    #[arg(value_name = "MAJOR.MINOR")]
    version: String,
}

#[derive(Args, Debug)]
struct Enable {
    /// The version, such as 3.6.
    #[arg(value_name = "MAJOR.MINOR")]
    version: String,
}

#[derive(Args, Debug)]
struct Cancel {}

/// A step that the cluster took.
#[derive(Debug)]
pub struct Step {
    name: &'static str,
    cluster_version: String,
}

impl Row for Step {
    const COLUMNS: &'static [Column<Self>] = &[Column::new("MESSAGE", "message", |step| {
        format!("downgrade {} success, cluster version {}", step.name, step.cluster_version).into()
    })];
}

/// The answer of the one machine that was asked: a step is taken once, whoever of the cluster is told.
fn report(name: String, step: &'static str, version: Option<String>) -> PerNode<Vec<Step>> {
    let cluster_version = version.unwrap_or_default();
    PerNode(vec![(name, Ok(vec![Step { name: step, cluster_version }]))])
}

impl Command for Validate {
    type Report = PerNode<Vec<Step>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let Node { name, client } = cx.targets()?.one("validate a downgrade of etcd")?;
        let request = EtcdDowngradeValidateRequest { version: self.version };
        let object = format!("cannot validate a downgrade of etcd on {name}");
        let answer = client.machine().etcd_downgrade_validate(request).await;
        let answer = answer.or_fail(object.clone())?;
        let downgrade = only(answer).or_fail(object)?.cluster_downgrade;
        Ok(report(name, "validate", downgrade.map(|downgrade| downgrade.cluster_version)))
    }
}

impl Command for Enable {
    type Report = PerNode<Vec<Step>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let Node { name, client } = cx.targets()?.one("enable a downgrade of etcd")?;
        let request = EtcdDowngradeEnableRequest { version: self.version };
        let object = format!("cannot enable a downgrade of etcd on {name}");
        let answer = client.machine().etcd_downgrade_enable(request).await;
        let answer = answer.or_fail(object.clone())?;
        let downgrade = only(answer).or_fail(object)?.cluster_downgrade;
        Ok(report(name, "enable", downgrade.map(|downgrade| downgrade.cluster_version)))
    }
}

impl Command for Cancel {
    type Report = PerNode<Vec<Step>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let Node { name, client } = cx.targets()?.one("cancel the downgrade of etcd")?;
        let object = format!("cannot cancel the downgrade of etcd on {name}");
        let answer = client.machine().etcd_downgrade_cancel(()).await;
        let answer = answer.or_fail(object.clone())?;
        let downgrade = only(answer).or_fail(object)?.cluster_downgrade;
        Ok(report(name, "cancel", downgrade.map(|downgrade| downgrade.cluster_version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Report as _;

    #[test]
    fn a_step_says_what_version_the_cluster_has() {
        let report = report("10.5.0.2".to_owned(), "validate", Some("3.6.0".to_owned()));
        let expected = "NODE       MESSAGE\n10.5.0.2   downgrade validate success, cluster version 3.6.0\n";
        assert_eq!(report.text(), expected);
    }
}
