//! What a configuration says of installing and of the cluster, in whatever documents it says it (node.md 4.2, 4.3).

use corten_config::node::Node;
use corten_config::schema::ROOT_KIND;
use corten_config::view::{Cluster as ClusterView, Machine as MachineView};
use corten_config::{Config, DocumentId};

use super::{ClusterFacts, Images, Trust};

/// Where to install, since 1.14.
const INSTALL: &str = "UnattendedInstallConfig";

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

    /// Whether a document says where to install.
    pub fn installs(&self) -> bool {
        self.0.document(&DocumentId::of(INSTALL)).is_some()
    }

    /// The installer image, if one is given.
    pub fn image(&self) -> Option<&'a str> {
        let document = self.text(INSTALL, &["installer", "image"]);
        document.or_else(|| self.text(ROOT_KIND, &["machine", "install", "image"]))
    }
}

/// What is said about the cluster.
pub fn cluster(cluster: &ClusterView, machine: &MachineView) -> ClusterFacts {
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
