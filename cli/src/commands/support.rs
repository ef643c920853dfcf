//! `support`: what machines tell of themselves, in one file for those who are asked for help.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use corten_base::fs::{Durability, write_atomic};
use corten_bundle::kubernetes::{self, Listing};
use corten_bundle::machine::Scope;
use corten_bundle::{Archive, Packed};
use corten_client::resolve::lookup;
use corten_kubernetes::{Kubeconfig, Resolver};
use futures::StreamExt as _;
use serde_json::json;
use tokio::time::Instant;

use super::kubeconfig;
use crate::bundle::{self, Machine};
use crate::command::Command;
use crate::connect::{Maintenance, Node};
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};

/// Name of the file when none is given.
const FILE: &str = "support.zip";
/// Largest bundle.
const BYTES_MAX: usize = 2 << 30;
/// Machines that are asked at a time, at most.
const WORKERS_MAX: u16 = 64;
/// How long Kubernetes may take.
const KUBERNETES_MAX: Duration = Duration::from_secs(60);
/// Largest file of Kubernetes.
const KUBERNETES_BYTES_MAX: usize = 16 << 20;
/// The file for the version of Kubernetes.
const VERSION: &str = "kubernetesResources/version.yaml";
/// What is asked of Kubernetes.
const LISTINGS: [Listing; 2] = [
    Listing { kind: "Node", namespace: None, file: "kubernetesResources/nodes.yaml" },
    Listing { kind: "Pod", namespace: Some("kube-system"), file: "kubernetesResources/systemPods.yaml" },
];

/// Collect what machines tell of themselves into a file, for those who are asked for help.
///
/// It holds logs, states of services, resources, and what `corten doctor --bundle` needs. Secrets are taken out: of
/// types that hold them it is only told that they are there, and those of the configuration stand nowhere. The file is
/// not encrypted.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten support -n 10.5.0.2,10.5.0.3
  corten support -n 10.5.0.2 -O home.zip
  corten doctor --bundle support.zip")]
pub struct Support {
    /// File to write.
    #[arg(short = 'O', long, default_value = FILE, value_name = "FILE")]
    output: PathBuf,
    /// Machines that are asked at a time.
    #[arg(short = 'w', long, default_value_t = 8, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=i64::from(WORKERS_MAX)))]
    num_workers: u16,
    /// Tell every step.
    #[arg(short, long)]
    verbose: bool,
    /// Do not encrypt the file, which is never done.
    #[arg(long)]
    no_encryption: bool,
    /// Who may read the file: age keys, or SSH public keys. They are refused: files are not encrypted.
    #[arg(long, value_delimiter = ',', value_name = "KEY", conflicts_with = "no_encryption")]
    encryption_recipients: Vec<String>,
    /// Leave out the readers that others would add; none are added.
    #[arg(long)]
    encryption_no_default_recipients: bool,
    #[command(flatten)]
    maintenance: Maintenance,
}

impl Command for Support {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        if !self.encryption_recipients.is_empty() {
            return Err(Failure::new("cannot encrypt the support bundle")
                .because("this program does not encrypt files")
                .way_out(
                    "leave --encryption-recipients out, and encrypt the file with `age` before it is sent",
                ));
        }
        let targets = cx.targets_in(&self.maintenance)?;
        let verbose = self.verbose;
        let ask = |node: &Node| {
            let (node, name) = (node.clone(), node.name.clone());
            async move {
                let tell = |what: &str| {
                    if verbose {
                        cx.say(format!("{name}: {what}"));
                    }
                };
                bundle::collect(cx, &node, Scope::Everything, &tell).await
            }
        };
        let asked: Vec<_> = targets.0.iter().map(ask).collect();
        let workers = usize::from(self.num_workers);
        let mut machines: Vec<Machine> = futures::stream::iter(asked).buffered(workers).collect().await;
        if !self.maintenance.insecure {
            machines.push(cluster(&targets.0).await);
        }
        for Machine { folder, problems, .. } in &machines {
            problems.iter().for_each(|(what, why)| cx.say(format!("{folder}: {what}: {why}")));
        }
        let archive = pack(&machines, cx.clock.now()).or_fail("cannot make the support bundle")?;
        let path = place(&self.output);
        let object = format!("cannot write `{}`", path.display());
        let whole = std::path::absolute(&path).or_fail(&object)?;
        write_atomic(&whole, &archive, 0o600, Durability::Durable).or_fail(object)?;
        cx.say(format!("wrote {}", path.display()));
        Ok(())
    }
}

/// What Kubernetes tells, as an administrator of the first machine that lets one in.
async fn cluster(nodes: &[Node]) -> Machine {
    let folder = "cluster".to_owned();
    let mut refusals = Vec::new();
    for node in nodes {
        match client(node).await {
            Ok(client) => {
                // What Kubernetes tells is written by people too, who may have put a secret of the machine into it.
                let collected = bundle::Collected::new(bundle::secrets(&node.client).await, &|_: &str| {});
                let until = Instant::now() + KUBERNETES_MAX;
                kubernetes::collect(&client, (VERSION, &LISTINGS), KUBERNETES_BYTES_MAX, until, &collected)
                    .await;
                return collected.finish(folder);
            }
            Err(Cause { lines, .. }) => refusals.push((node.name.clone(), lines.join("; "))),
        }
    }
    Machine { folder, problems: refusals, ..Machine::default() }
}

async fn client(node: &Node) -> Result<corten_kubernetes::Client, Cause> {
    let text = kubeconfig::fetch(node).await?;
    let failed = |error: corten_kubernetes::Error| Cause::new(corten_base::chain(&error));
    let config = Kubeconfig::parse(&text).map_err(failed)?.config(Path::new("/")).await.map_err(failed)?;
    let resolver: Resolver = Arc::new(|name| Box::pin(async move { lookup(&name).await }));
    corten_kubernetes::Client::with_resolver(&config, resolver).map_err(failed)
}

/// The archive of all files, and a manifest of what is missing.
fn pack(machines: &[Machine], now: std::time::SystemTime) -> Result<Vec<u8>, Cause> {
    let mut archive = Archive::new(BYTES_MAX, now);
    let mut left = Vec::new();
    let mut add =
        |name: &str, bytes: &[u8]| -> Result<bool, Cause> { Ok(archive.add(name, &Packed::of(bytes)?)) };
    for machine in machines {
        for (name, bytes) in machine.files.iter() {
            if !add(name, bytes)? {
                left.push(json!({"source": machine.folder, "what": name, "why": "there is no room for it"}));
            }
        }
    }
    let missing = machines.iter().flat_map(|machine| {
        machine.problems.iter().map(|(what, why)| json!({"source": machine.folder, "what": what, "why": why}))
    });
    let missing: Vec<_> = missing.chain(left).collect();
    let manifest = json!({
        "collected": crate::units::rfc3339(now),
        "version": corten_base::version::TAG,
        "missing": missing,
    });
    add("manifest.yaml", corten_config::yaml::render(&manifest).as_bytes())?;
    Ok(archive.finish())
}

/// The file to write; a folder gets the usual one.
fn place(output: &Path) -> PathBuf {
    if output.is_dir() { output.join(FILE) } else { output.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_bundle::{Files, facts, unpack};

    use super::*;

    #[test]
    fn a_bundle_has_its_files_and_says_what_is_missing() {
        let mut files = Files::default();
        files.insert("10.5.0.2/vitals.yaml", b"machine: 10.5.0.2\n".to_vec());
        let problems = vec![("kernel log".to_owned(), "not authorized".to_owned())];
        let machine = Machine { folder: "10.5.0.2".to_owned(), files, problems };
        let read = unpack(&pack(&[machine], UNIX_EPOCH).expect("packed"), 1 << 20).expect("an archive");
        assert_eq!(facts::folders(&read), ["10.5.0.2"]);
        let manifest = read.text("manifest.yaml").expect("a manifest");
        assert!(manifest.contains("not authorized") && manifest.contains("1970-01-01"), "{manifest}");
    }

    #[test]
    fn a_folder_gets_the_usual_file() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(place(folder.path()), folder.path().join(FILE));
        assert_eq!(place(Path::new("x.zip")), Path::new("x.zip"));
    }
}
