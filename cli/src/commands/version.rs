//! `version`: ours and the machines'.

use clap::Args;
use corten_api::machine::Version as Answered;
use corten_base::{Arch, version};
use serde_json::{Map, Value, json};

use crate::command::{Command, Report};
use crate::connect::{Maintenance, only};
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::{Answer, PerNode};

/// Show the version of this program and of machines.
#[derive(Args, Debug)]
pub struct Version {
    /// Only of this program.
    #[arg(long)]
    client: bool,
    /// Only the versions.
    #[arg(long)]
    short: bool,
    #[command(flatten)]
    maintenance: Maintenance,
}

/// Ours, and the machines'.
pub struct Versions {
    is_short: bool,
    server: Option<PerNode<Server>>,
}

/// A machine's.
pub struct Server {
    version: Answered,
    is_short: bool,
}

fn client(is_short: bool) -> String {
    if is_short {
        return format!("Client:\nCorten {} (Talos {})\n", version::CORTEN, version::TAG);
    }
    let rows = [
        ("Tag:", version::TAG.to_owned()),
        ("SHA:", version::sha()),
        ("OS/Arch:", format!("{}/{}", std::env::consts::OS, Arch::current())),
    ];
    format!("Client:\n{}", lines(&rows))
}

fn lines(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("\t{name:<12} {value}").trim_end().to_owned() + "\n").collect()
}

impl Answer for Server {
    fn text(answers: &[(&str, &Self)]) -> String {
        let one = |(node, server): &(&str, &Self)| {
            let info = server.version.version.clone().unwrap_or_default();
            if server.is_short {
                return format!("\tNODE: {node} Talos {}\n", info.tag);
            }
            let rbac = server.version.features.is_some_and(|features| features.rbac);
            let platform = server.version.platform.clone().unwrap_or_default();
            lines(&[
                ("NODE:", (*node).to_owned()),
                ("Tag:", info.tag),
                ("SHA:", info.sha),
                ("Built:", info.built),
                ("OS/Arch:", format!("{}/{}", info.os, info.arch)),
                ("Platform:", format!("{} ({})", platform.name, platform.mode)),
                ("Enabled:", if rbac { "RBAC".to_owned() } else { String::new() }),
            ])
        };
        answers.iter().map(one).collect()
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        let info = self.version.version.clone().unwrap_or_default();
        let platform = self.version.platform.clone().unwrap_or_default();
        let data = json!({
            "tag": info.tag, "sha": info.sha, "built": info.built, "os": info.os, "arch": info.arch,
            "platform": platform.name, "mode": platform.mode, "rbac": self.version.features.is_some_and(|f| f.rbac),
        });
        data.as_object().cloned().into_iter().collect()
    }
}

impl Report for Versions {
    fn text(&self) -> String {
        let server = self.server.as_ref().map(|server| format!("Server:\n{}", server.text()));
        client(self.is_short) + &server.unwrap_or_default()
    }

    fn data(&self) -> Value {
        json!({
            "client": {"tag": version::TAG, "sha": version::sha(), "arch": Arch::current().as_str()},
            "server": self.server.as_ref().map(Report::data),
        })
    }

    fn failures(&self) -> Vec<Failure> {
        self.server.as_ref().map(Report::failures).unwrap_or_default()
    }
}

impl Command for Version {
    type Report = Versions;

    async fn run(self, cx: &Cx) -> Result<Versions, Failure> {
        let is_short = self.short;
        if self.client {
            return Ok(Versions { is_short, server: None });
        }
        let ask = |node: crate::connect::Node| async move {
            let version = only(node.client.machine().version(()).await?)?;
            Ok(Server { version, is_short })
        };
        let targets = cx.targets_in(&self.maintenance)?;
        Ok(Versions { is_short, server: Some(targets.each("ask for the version of", ask).await) })
    }
}

#[cfg(test)]
mod tests {
    use corten_api::machine::{FeaturesInfo, PlatformInfo, VersionInfo};

    use super::*;

    #[test]
    fn long_and_short() {
        let version = Answered {
            version: Some(VersionInfo {
                tag: "v1.14.1".into(),
                sha: "corten-0.1.0".into(),
                os: "linux".into(),
                arch: "amd64".into(),
                ..VersionInfo::default()
            }),
            platform: Some(PlatformInfo { name: "metal".into(), mode: "metal".into() }),
            features: Some(FeaturesInfo { rbac: true }),
            metadata: None,
        };
        let report =
            |is_short| PerNode(vec![("10.5.0.2".into(), Ok(Server { version: version.clone(), is_short }))]);
        crate::snapshot::check("version", &(report(false).text() + &report(true).text()));
    }
}
