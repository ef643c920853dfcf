//! What of an applied configuration decides how a machine behaves; the text itself is a resource.
//!
//! ```text
//! bytes ─▶ documents that lib/config knows ─▶ checked ─▶ Applied
//!      └─▶ documents of later kinds: set aside, since a Talos machine takes them
//! ```

use std::borrow::Cow;

use corten_base::Secret;
use corten_config::node::Node;
use corten_config::schema::{LATER_KINDS, ROOT_KIND};
use corten_config::view::{Cluster as ClusterView, Machine as MachineView, MachineType, Management, Pair};
use corten_config::{Config, DocumentId, Problem, Target, yaml};
use corten_resources::config::Role;
use serde_json::Value;

/// Who certifies, and whom to believe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificate and key that certificates are made with; the key is there on control planes.
    pub issuer: Option<Pair>,
    /// Every authority that is believed, PEM.
    pub bundle: Vec<u8>,
}

impl Trust {
    /// The issuer, if its key is there.
    #[must_use]
    pub fn signer(&self) -> Option<&Pair> {
        self.issuer.as_ref().filter(|pair| pair.has_key())
    }
}

/// Images of Kubernetes, with their tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// kubelet.
    pub kubelet: String,
    /// kube-apiserver.
    pub api_server: String,
    /// kube-controller-manager.
    pub controller_manager: String,
    /// kube-scheduler.
    pub scheduler: String,
    /// kube-proxy.
    pub proxy: String,
}

/// What a configuration says about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Identity.
    pub id: String,
    /// Name.
    pub name: String,
    /// Host of the Kubernetes API, which with a manager is the manager.
    pub endpoint: String,
    /// Port of the Kubernetes API on this machine.
    pub port: u16,
    /// The Kubernetes CA.
    pub trust: Trust,
    /// Images of Kubernetes.
    pub images: Images,
}

/// What a configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether there is a `v1alpha1` document.
    pub complete: bool,
    /// Role in the cluster.
    pub role: Role,
    /// Host name; empty when the machine names itself.
    pub hostname: String,
    /// Whether it says where to install.
    pub installs: bool,
    /// Installer image; empty when none is given.
    pub image: String,
    /// The Talos CA.
    pub trust: Trust,
    /// What trustd asks for.
    pub token: Secret<String>,
    /// More names for the certificate of the API.
    pub cert_sans: Vec<String>,
    /// Labels of the node.
    pub labels: Vec<(String, String)>,
    /// The cluster.
    pub cluster: ClusterFacts,
    /// The manager.
    pub management: Management,
    /// What was accepted but should be known.
    pub warnings: Vec<String>,
}

impl Applied {
    /// Reads a configuration; `installed` is whether there is a system on the disk.
    ///
    /// # Errors
    /// Every problem, one per line.
    pub fn read(bytes: &[u8], installed: bool) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "the configuration is not UTF-8".to_owned())?;
        let known = known_documents(text)?;
        if known.trim().is_empty() {
            return Ok(Self::default());
        }
        let config = Config::check(known.as_bytes(), target(installed, &known))
            .map_err(|problems| problems.to_string())?;
        let view = config.view();
        let image = config
            .document(&DocumentId::of(ROOT_KIND))
            .and_then(|document| document.node.at_path(&["machine", "install", "image"]))
            .and_then(Node::as_text);
        let machine = &view.machine;
        Ok(Self {
            complete: config.is_complete(),
            role: role(machine.kind),
            hostname: machine.network.hostname.clone(),
            installs: machine.install.is_some(),
            image: image.unwrap_or_default().to_owned(),
            trust: Trust { issuer: machine.ca.clone(), bundle: machine.ca_bundle() },
            token: machine.token.clone(),
            cert_sans: machine.cert_sans.clone(),
            labels: machine.node_labels.clone().into_iter().collect(),
            cluster: cluster(&view.cluster, machine),
            management: view.management.clone(),
            warnings: config.warnings().iter().map(Problem::text).collect(),
        })
    }

    /// Whether etcd and the Kubernetes API run on the machine.
    #[must_use]
    pub const fn is_control_plane(&self) -> bool {
        self.complete && self.role.is_control_plane()
    }
}

/// A machine with a system on its disk needs not be told where to install, and documents without the root never are.
fn target(installed: bool, text: &str) -> Target {
    let has_root = text.lines().any(|line| line.starts_with("machine:"));
    if installed || !has_root { Target::Installed } else { Target::Metal }
}

const fn role(kind: MachineType) -> Role {
    match kind {
        MachineType::Unknown => Role::Unknown,
        MachineType::ControlPlane => Role::ControlPlane,
        MachineType::Worker => Role::Worker,
    }
}

fn cluster(cluster: &ClusterView, machine: &MachineView) -> ClusterFacts {
    ClusterFacts {
        id: cluster.id.clone(),
        name: cluster.name.clone(),
        endpoint: cluster.endpoint_url.as_ref().map(|url| url.host.clone()).unwrap_or_default(),
        port: cluster.api_server.port,
        trust: Trust { issuer: cluster.ca.clone(), bundle: cluster.ca_bundle() },
        images: Images {
            kubelet: machine.kubelet.image.clone(),
            api_server: cluster.api_server.image.clone(),
            controller_manager: cluster.controller_manager.image.clone(),
            scheduler: cluster.scheduler.image.clone(),
            proxy: cluster.proxy.image.clone(),
        },
    }
}

/// The kind that a line of a document names.
fn kind_of(line: &str) -> Option<&str> {
    line.strip_prefix("kind:").map(|kind| kind.trim().trim_matches(['"', '\'']))
}

/// The text without documents of kinds that come later to Corten.
fn known_documents(text: &str) -> Result<Cow<'_, str>, String> {
    let is_later = |kind: &str| LATER_KINDS.contains(&kind);
    if !text.lines().filter_map(kind_of).any(is_later) {
        return Ok(Cow::Borrowed(text));
    }
    let documents = yaml::parse(text).map_err(|problem| problem.to_string())?;
    let kept = documents
        .iter()
        .filter(|document| !document.get("kind").and_then(Value::as_str).is_some_and(is_later))
        .map(yaml::render);
    Ok(Cow::Owned(kept.collect::<Vec<_>>().join("---\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{control_plane, worker};

    #[test]
    fn a_generated_configuration_says_who_the_machine_is() {
        let applied = Applied::read(control_plane().as_bytes(), false).expect("valid");
        assert!(applied.is_control_plane() && applied.installs);
        assert!(applied.trust.signer().is_some());
        assert_eq!(applied.cluster.endpoint, "fdae:41e4:649b:9303::1");
        assert!(applied.image.contains("installer"), "{}", applied.image);
        let worker = Applied::read(worker().as_bytes(), false).expect("valid");
        assert_eq!(worker.role, Role::Worker);
        assert!(worker.trust.signer().is_none());
        assert_eq!(worker.cluster.id, applied.cluster.id);
    }

    #[test]
    fn documents_of_later_kinds_are_set_aside() {
        let sink = "apiVersion: v1alpha1\nkind: EventSinkConfig\nendpoint: '[fd00::1]:8090'\n";
        let later = "apiVersion: v1alpha1\nkind: WatchdogTimerConfig\ndevice: /dev/watchdog0\n";
        let applied = Applied::read(format!("{later}---\n{sink}").as_bytes(), false).expect("valid");
        assert_eq!(applied.management.event_sink, "[fd00::1]:8090");
        assert!(!applied.complete);
        assert_eq!(Applied::read(later.as_bytes(), false), Ok(Applied::default()));
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_its_problems() {
        let wrong = "version: v1alpha1\nmachine: {type: worker}\ncluster: {nonsense: 1}\n";
        let problems = Applied::read(wrong.as_bytes(), false).expect_err("wrong");
        assert!(problems.contains("nonsense"), "{problems}");
    }
}
