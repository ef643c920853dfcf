//! What others still know of a machine that left: the discovery service, and Kubernetes.

use std::collections::BTreeSet;

use corten_fleet_resources::cluster::ClusterMachineIdentity;
use corten_fleet_resources::system::DiscoveryAffiliateDeleteTask;

/// A machine that left its cluster.
#[derive(Clone, Copy, Debug)]
pub struct Leaver<'a> {
    /// What it was called.
    pub identity: &'a ClusterMachineIdentity,
    /// What the machines that stay are called.
    pub others: &'a [&'a ClusterMachineIdentity],
    /// Id of the cluster at the discovery service.
    pub cluster_id: &'a str,
    /// A person asked to take it out without asking anybody.
    pub is_forced: bool,
    /// All of the cluster goes away.
    pub is_cluster_going: bool,
}

/// What is to be cleaned up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leftovers {
    /// Id of the affiliate, and the task that deletes it. Its peers would keep the machine for half an hour otherwise.
    pub affiliate: Option<(String, DiscoveryAffiliateDeleteTask)>,
    /// Name of the node to delete in Kubernetes.
    pub node: Option<String>,
}

/// What is to be cleaned up after a machine. Nothing when all of the cluster goes; nothing in Kubernetes when the
/// removal was forced, or when another machine has the same name.
#[must_use]
pub fn leftovers(leaver: &Leaver<'_>) -> Leftovers {
    if leaver.is_cluster_going {
        return Leftovers::default();
    }
    let name = &leaver.identity.nodename;
    let is_unique = leaver.others.iter().all(|other| other.nodename != *name);
    let is_known = !name.is_empty() && is_unique && !leaver.is_forced;
    Leftovers { affiliate: affiliate(leaver), node: is_known.then(|| name.clone()) }
}

fn affiliate(leaver: &Leaver<'_>) -> Option<(String, DiscoveryAffiliateDeleteTask)> {
    let identity = leaver.identity;
    let endpoints = identity.discovery_service_endpoints.iter().chain([&identity.discovery_service_endpoint]);
    let endpoints: BTreeSet<&String> = endpoints.filter(|endpoint| !endpoint.is_empty()).collect();
    if identity.node_identity.is_empty() || endpoints.is_empty() {
        return None;
    }
    let task = DiscoveryAffiliateDeleteTask {
        cluster_id: leaver.cluster_id.to_owned(),
        discovery_service_endpoint: String::new(),
        discovery_service_endpoints: endpoints.into_iter().cloned().collect(),
    };
    Some((identity.node_identity.clone(), task))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> ClusterMachineIdentity {
        ClusterMachineIdentity {
            node_identity: format!("id-{name}"),
            nodename: name.to_owned(),
            discovery_service_endpoint: "https://a:443".to_owned(),
            discovery_service_endpoints: vec!["https://b:443".to_owned(), "https://a:443".to_owned()],
            ..ClusterMachineIdentity::default()
        }
    }

    fn leaver<'a>(
        identity: &'a ClusterMachineIdentity,
        others: &'a [&'a ClusterMachineIdentity],
    ) -> Leaver<'a> {
        Leaver { identity, others, cluster_id: "cluster", is_forced: false, is_cluster_going: false }
    }

    #[test]
    fn the_affiliate_is_deleted_at_every_service_and_the_node_in_kubernetes() {
        let gone = identity("a");
        let left = leftovers(&leaver(&gone, &[]));
        assert_eq!(left.node.as_deref(), Some("a"));
        let (id, task) = left.affiliate.unwrap();
        assert_eq!((id.as_str(), task.cluster_id.as_str()), ("id-a", "cluster"));
        assert_eq!(task.discovery_service_endpoints, ["https://a:443", "https://b:443"]);
    }

    #[test]
    fn a_node_whose_name_another_machine_has_stays() {
        let (gone, twin) = (identity("a"), identity("a"));
        assert_eq!(leftovers(&leaver(&gone, &[&twin])).node, None);
    }

    #[test]
    fn a_forced_removal_leaves_kubernetes_alone() {
        let gone = identity("a");
        let left = leftovers(&Leaver { is_forced: true, ..leaver(&gone, &[]) });
        assert!(left.node.is_none() && left.affiliate.is_some());
    }

    #[test]
    fn nothing_is_left_of_a_cluster_that_goes_or_of_a_machine_that_was_never_known() {
        let gone = identity("a");
        assert_eq!(leftovers(&Leaver { is_cluster_going: true, ..leaver(&gone, &[]) }), Leftovers::default());
        let unknown = ClusterMachineIdentity::default();
        assert_eq!(leftovers(&leaver(&unknown, &[])), Leftovers::default());
    }
}
