//! What a machine is called by others, read from its resources.

use corten_client::Client;
use corten_fleet_controllers_machine::calls::{self, CallError};
use corten_fleet_resources::cluster::ClusterMachineIdentity;
use corten_resource::Spec;
use corten_resources::cluster::{DiscoveryConfig, Identity};
use corten_resources::etcd::EtcdMember;
use corten_resources::kubernetes::{NodeIp, Nodename};
use tonic::Code;

/// What a machine tells. It cannot be printed: the key of discovery is in it.
#[derive(Default)]
struct Told {
    identity: Option<Identity>,
    member: Option<EtcdMember>,
    nodename: Option<Nodename>,
    ips: Option<NodeIp>,
    discovery: Option<DiscoveryConfig>,
}

/// Asks a machine.
pub(super) async fn read(client: &Client) -> Result<ClusterMachineIdentity, CallError> {
    let told = Told {
        identity: only(client, Identity::ID).await?,
        member: only(client, EtcdMember::ID).await?,
        nodename: only(client, Nodename::ID).await?,
        ips: only(client, NodeIp::ID).await?,
        discovery: only(client, DiscoveryConfig::ID).await?,
    };
    Ok(identity(&told))
}

/// The resource of a type with this id; nothing as well when the machine does not know the type.
async fn only<S: Spec>(client: &Client, id: &str) -> Result<Option<S>, CallError> {
    match calls::resources::<S>(client).await {
        Ok(all) => Ok(all.into_iter().find(|(found, _)| found == id).map(|(_, spec)| spec)),
        Err(error) if error.has_code(Code::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(told: &Told) -> ClusterMachineIdentity {
    let endpoints = told.discovery.as_ref().map(endpoints).unwrap_or_default();
    let node = |nodename: &Nodename| match nodename.skip_node_registration {
        true => String::new(),
        false => nodename.nodename.clone(),
    };
    let member = told.member.as_ref().and_then(|member| u64::from_str_radix(&member.member_id, 16).ok());
    let ips = told.ips.as_ref().map(|ips| ips.addresses.as_slice()).unwrap_or_default();
    ClusterMachineIdentity {
        node_identity: told.identity.as_ref().map(|identity| identity.node_id.clone()).unwrap_or_default(),
        etcd_member_id: member.unwrap_or_default(),
        nodename: told.nodename.as_ref().map(node).unwrap_or_default(),
        node_ips: ips.iter().map(ToString::to_string).collect(),
        discovery_service_endpoint: endpoints.first().cloned().unwrap_or_default(),
        discovery_service_endpoints: endpoints,
    }
}

/// The discovery services of a machine, URLs. Older machines know one.
fn endpoints(config: &DiscoveryConfig) -> Vec<String> {
    if !config.discovery_enabled || !config.registry_service_enabled {
        return Vec::new();
    }
    let all = config.service_endpoints.iter().map(|service| url(&service.endpoint, service.insecure));
    let mut all: Vec<String> = all.collect();
    if all.is_empty() {
        all.push(url(&config.service_endpoint, config.service_endpoint_insecure));
    }
    all.retain(|url| !url.is_empty());
    all
}

fn url(endpoint: &str, is_insecure: bool) -> String {
    match (endpoint, is_insecure) {
        ("", _) => String::new(),
        (url, _) if url.contains("://") => url.to_owned(),
        (address, true) => format!("http://{address}"),
        (address, false) => format!("https://{address}"),
    }
}

#[cfg(test)]
mod tests {
    use corten_resources::cluster::ServiceEndpoint;

    use super::*;

    fn discovery() -> DiscoveryConfig {
        DiscoveryConfig {
            discovery_enabled: true,
            registry_service_enabled: true,
            service_endpoint: "a:443".to_owned(),
            ..DiscoveryConfig::default()
        }
    }

    #[test]
    fn a_machine_is_known_by_what_it_tells() {
        let told = Told {
            identity: Some(Identity { node_id: "id".to_owned() }),
            member: Some(EtcdMember { member_id: "00000000000000ff".to_owned() }),
            nodename: Some(Nodename { nodename: "a".to_owned(), ..Nodename::default() }),
            ips: Some(NodeIp { addresses: vec!["10.0.0.1".parse().expect("an address")] }),
            discovery: Some(discovery()),
        };
        let expected = ClusterMachineIdentity {
            node_identity: "id".to_owned(),
            etcd_member_id: 255,
            nodename: "a".to_owned(),
            node_ips: vec!["10.0.0.1".to_owned()],
            discovery_service_endpoint: "https://a:443".to_owned(),
            discovery_service_endpoints: vec!["https://a:443".to_owned()],
        };
        assert_eq!(identity(&told), expected);
        assert_eq!(identity(&Told::default()), ClusterMachineIdentity::default());
        let broken = Told { member: Some(EtcdMember { member_id: "x".to_owned() }), ..Told::default() };
        assert_eq!(identity(&broken).etcd_member_id, 0);
    }

    #[test]
    fn all_services_of_a_machine_are_told_and_none_when_it_asks_none() {
        let service = |endpoint: &str, insecure| ServiceEndpoint {
            name: String::new(),
            endpoint: endpoint.to_owned(),
            insecure,
        };
        let services = vec![service("b:443", false), service("[fdae::1]:8093", true)];
        let several = DiscoveryConfig { service_endpoints: services, ..discovery() };
        assert_eq!(endpoints(&several), ["https://b:443", "http://[fdae::1]:8093"]);
        let off = DiscoveryConfig { registry_service_enabled: false, ..discovery() };
        assert!(endpoints(&off).is_empty());
    }
}
