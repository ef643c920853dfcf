//! What of an applied configuration decides how a machine behaves; the text itself is a resource.
//!
//! ```text
//! bytes ─▶ documents ─┬─▶ documents.rs: what they say of installing and of the cluster ─▶ Applied
//!                     └─▶ rules.rs: what this version lacks, what contradicts, what is missing
//! ```
//!
//! The machine is one of Talos, so it takes all that a manager may send to one, also what Corten does not support yet.

mod documents;
mod rules;

use corten_base::Secret;
use corten_config::view::{MachineType, Management, Pair};
use corten_config::{Audience, Config, Problem};
use corten_resources::config::Role;

use self::documents::{Documents, cluster};
use crate::profile::Profile;

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
    /// Reads a configuration as a machine of a version does.
    ///
    /// # Errors
    /// Every problem, one per line.
    pub fn read(bytes: &[u8], profile: Profile) -> Result<Self, String> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let config = Config::parse_for(bytes, Audience::Manager).map_err(|problems| problems.to_string())?;
        let applied = Self::of(&config);
        let problems = rules::problems(&config, &applied, profile);
        if problems.is_empty() { Ok(applied) } else { Err(problems.join("\n")) }
    }

    fn of(config: &Config) -> Self {
        let (view, documents) = (config.view(), Documents(config));
        let machine = &view.machine;
        Self {
            complete: config.is_complete(),
            role: role(machine.kind),
            hostname: machine.network.hostname.clone(),
            installs: machine.install.is_some() || documents.installs(),
            image: documents.image().unwrap_or_default().to_owned(),
            trust: Trust { issuer: machine.ca.clone(), bundle: machine.ca_bundle() },
            token: machine.token.clone(),
            cert_sans: machine.cert_sans.clone(),
            labels: machine.node_labels.clone().into_iter().collect(),
            cluster: cluster(&view.cluster, machine),
            management: view.management.clone(),
            warnings: config.warnings().iter().map(Problem::text).collect(),
        }
    }

    /// Whether etcd and the Kubernetes API run on the machine.
    #[must_use]
    pub const fn is_control_plane(&self) -> bool {
        self.complete && self.role.is_control_plane()
    }
}

const fn role(kind: MachineType) -> Role {
    match kind {
        MachineType::Unknown => Role::Unknown,
        MachineType::ControlPlane => Role::ControlPlane,
        MachineType::Worker => Role::Worker,
    }
}

#[cfg(test)]
mod tests {
    use corten_config::Contract;

    use super::*;
    use crate::testing::{control_plane, of_contract, worker};

    const SINK: &str = "apiVersion: v1alpha1\nkind: EventSinkConfig\nendpoint: '[fd00::1]:8090'\n";

    fn read(text: &str, profile: Profile) -> Applied {
        Applied::read(text.as_bytes(), profile).expect("valid")
    }

    #[test]
    fn a_generated_configuration_says_who_the_machine_is() {
        let applied = read(&control_plane(), Profile::V13);
        assert!(applied.is_control_plane() && applied.installs);
        assert!(applied.trust.signer().is_some());
        assert_eq!(applied.cluster.endpoint, "fdae:41e4:649b:9303::1");
        assert!(applied.image.contains("installer"), "{}", applied.image);
        let worker = read(&worker(), Profile::V13);
        assert_eq!(worker.role, Role::Worker);
        assert!(worker.trust.signer().is_none());
        assert_eq!(worker.cluster.id, applied.cluster.id);
    }

    #[test]
    fn the_forms_of_all_versions_say_the_same() {
        let old = of_contract(Contract::new(1, 12), "1.14.0");
        let new = of_contract(Contract::new(1, 14), "1.14.0");
        let pairs = [(&old.controlplane, &new.controlplane), (&old.worker, &new.worker)];
        for (old, new) in pairs.map(|(old, new)| (old.reveal(), new.reveal())) {
            assert!(new.contains("kind: KubeClusterConfig") && !old.contains("kind: KubeClusterConfig"));
            let (before, after) = (read(old, Profile::V12), read(new, Profile::V14));
            assert_eq!(after.cluster, ClusterFacts { trust: after.cluster.trust.clone(), ..before.cluster });
            assert_eq!(after.cluster.trust.signer(), before.cluster.trust.signer());
            assert_eq!(after.cluster.trust.bundle, before.cluster.trust.bundle);
            assert_eq!((after.installs, after.image), (before.installs, before.image));
            assert_eq!((after.role, after.trust), (before.role, before.trust));
        }
    }

    #[test]
    fn a_version_refuses_the_documents_that_came_later_by_name() {
        let new = of_contract(Contract::new(1, 14), "1.14.0");
        let refused = Applied::read(new.worker.reveal().as_bytes(), Profile::V13).expect_err("too new");
        assert!(refused.contains("\"KubeClusterConfig\": not registered"), "{refused}");
        assert!(refused.contains("ResolverConfig: unknown key hostDNS"), "{refused}");
        let span = "apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n";
        assert!(Applied::read(span.as_bytes(), Profile::V12).is_err());
        assert!(!read(&format!("{span}---\n{SINK}"), Profile::V13).complete);
        assert_eq!(read(SINK, Profile::V12).management.event_sink, "[fd00::1]:8090");
        assert_eq!(Applied::read(b" \n", Profile::V12), Ok(Applied::default()));
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_its_problems() {
        let problems = |text: &str| Applied::read(text.as_bytes(), Profile::V14).expect_err("wrong");
        let nonsense = problems("version: v1alpha1\nmachine: {type: worker}\ncluster: {nonsense: 1}\n");
        assert!(nonsense.contains("nonsense"), "{nonsense}");
        let bare = problems("version: v1alpha1\nmachine: {type: controlplane}\ncluster: {}\n");
        for missing in ["machine.ca.crt", "machine.ca.key", "endpoint", "Kubernetes CA"] {
            assert!(bare.contains(missing), "{missing}: {bare}");
        }
        let new = of_contract(Contract::new(1, 14), "1.14.0");
        let twice = new.worker.reveal().replace("cluster:\n", "cluster:\n    clusterName: other\n");
        let twice = problems(&twice);
        assert!(twice.contains("KubeClusterConfig") && twice.contains("cluster.clusterName"), "{twice}");
    }
}
