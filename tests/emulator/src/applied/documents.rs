//! What the documents of a configuration say: the `v1alpha1` document, and since 1.14 those that stand beside it
//! (node.md 4.2, 4.3).
//!
//! A document of its own comes first, except for the identity of the cluster, where `v1alpha1` does (node.md 4.1).

use corten_base::Secret;
use corten_config::node::{Kind, Node};
use corten_config::schema::ROOT_KIND;
use corten_config::values;
use corten_config::view::{Cluster as ClusterView, Machine as MachineView, Pair};
use corten_config::{Config, DocumentId};

use super::{ClusterFacts, Images, Trust};

/// Where to install, since 1.14.
const INSTALL: &str = "UnattendedInstallConfig";
/// The Kubernetes CA, since 1.14.
const AUTHORITY: &str = "KubeAPIServerCAConfig";

/// The documents of a configuration, to be asked for what they say.
pub struct Documents<'a>(pub &'a Config);

impl<'a> Documents<'a> {
    /// A value of a document that has no name.
    pub fn node(&self, kind: &str, path: &[&str]) -> Option<&'a Node> {
        self.0.document(&DocumentId::of(kind))?.node.at_path(path)
    }

    fn text(&self, kind: &str, path: &[&str]) -> Option<&'a str> {
        self.node(kind, path).and_then(Node::as_text).filter(|text| !text.is_empty())
    }

    fn port(&self, kind: &str, path: &[&str]) -> Option<u16> {
        match self.node(kind, path)?.as_scalar()?.kind {
            Kind::Integer(value) => u16::try_from(value).ok().filter(|port| *port != 0),
            _ => None,
        }
    }

    /// Whether a document says where to install.
    pub fn installs(&self) -> bool {
        self.0.document(&DocumentId::of(INSTALL)).is_some()
    }

    /// The installer image, if one is given.
    pub fn image(&self) -> Option<&'a str> {
        let document = self.text(INSTALL, &["installer", "image"]);
        document.or_else(|| self.text(ROOT_KIND, &["machine", "install", "image"]))
    }

    /// Labels of the node that stand in the document about it.
    pub fn labels(&self) -> Vec<(String, String)> {
        let labels = self.node("KubeNodeConfig", &["labels"]).and_then(Node::as_map);
        let entries = labels.into_iter().flat_map(|map| map.iter());
        entries
            .map(|entry| (entry.key.clone(), entry.value.as_text().unwrap_or_default().to_owned()))
            .collect()
    }

    /// What is said about the cluster.
    pub fn cluster(&self, cluster: &ClusterView, machine: &MachineView) -> ClusterFacts {
        let endpoint = self.text("KubeClusterConfig", &["endpoint"]).and_then(values::url);
        let endpoint = endpoint.or_else(|| cluster.endpoint_url.clone());
        let id = Some(cluster.id.as_str()).filter(|id| !id.is_empty());
        let id = id.or_else(|| self.text("DiscoveryIdentityConfig", &["clusterID"]));
        let name = self.text("KubeClusterConfig", &["clusterName"]).unwrap_or(&cluster.name);
        let port = self.port("KubeAPIServerConfig", &["apiPort"]);
        let image = |kind: &str, root: &str| self.text(kind, &["image"]).unwrap_or(root).to_owned();
        ClusterFacts {
            id: id.unwrap_or_default().to_owned(),
            name: name.to_owned(),
            endpoint: endpoint.map(|url| url.host).unwrap_or_default(),
            port: port.unwrap_or(cluster.api_server.port),
            trust: self.kubernetes(cluster),
            images: Images {
                kubelet: image("KubeletConfig", &machine.kubelet.image),
                api_server: image("KubeAPIServerConfig", &cluster.api_server.image),
                controller_manager: image("KubeControllerManagerConfig", &cluster.controller_manager.image),
                scheduler: image("KubeSchedulerConfig", &cluster.scheduler.image),
                proxy: image("KubeProxyConfig", &cluster.proxy.image),
            },
        }
    }

    /// The Kubernetes CA: PEM as it is in its document, base64 of it in `v1alpha1`.
    fn kubernetes(&self, cluster: &ClusterView) -> Trust {
        let issuer = self.text(AUTHORITY, &["issuingCA", "cert"]).map(|cert| {
            let key = self.text(AUTHORITY, &["issuingCA", "key"]).unwrap_or_default();
            Pair { crt: cert.as_bytes().to_vec(), key: Secret::new(key.as_bytes().to_vec()) }
        });
        let mut bundle = Vec::new();
        let accepted = self.node(AUTHORITY, &["acceptedCAs"]).and_then(Node::as_list).unwrap_or_default();
        let certificates = issuer.iter().map(|pair| pair.crt.as_slice());
        let accepted = accepted.iter().filter_map(Node::as_text).map(str::as_bytes);
        for pem in certificates.chain(accepted) {
            bundle.extend_from_slice(pem);
            if !pem.ends_with(b"\n") {
                bundle.push(b'\n');
            }
        }
        bundle.extend(cluster.ca_bundle());
        Trust { issuer: issuer.or_else(|| cluster.ca.clone()), bundle }
    }
}
