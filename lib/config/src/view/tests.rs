//! What controllers see of a configuration.

use super::*;
use crate::Config;

fn view(text: &str) -> std::sync::Arc<MachineView> {
    Config::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}")).view()
}

#[test]
fn an_empty_configuration_has_defaults() {
    let view = MachineView::new(&[]);
    assert!(!view.complete && !view.is_control_plane());
    assert_eq!(view.machine.kubelet.image, "ghcr.io/siderolabs/kubelet:v1.36.3");
    assert_eq!(view.cluster.network.pod_subnets[0].to_string(), "10.244.0.0/16");
    assert_eq!(view.cluster.network.cni, Cni::Flannel(Flannel::default()));
    assert!(view.cluster.proxy.enabled && view.cluster.core_dns.enabled && view.machine.time.enabled);
    assert!(!view.cluster.discovery.enabled && view.machine.features.kube_prism_port.is_none());
    assert_eq!(view.cluster.api_server.port, 6443);
}

#[test]
fn a_partial_configuration_is_not_complete() {
    let view = view("apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: n1\n");
    assert!(!view.complete);
    assert_eq!(view.machine.network.hostname, "n1");
}

#[test]
fn the_machine_is_read_with_its_odd_values() {
    let view = view(
        "version: v1alpha1\nmachine:\n  type: init\n  kubelet:\n    extraArgs: {v: 2, feature-gates: [A=true, B=false]}\n    clusterDNS: [10.0.0.1, '']\n  files: [{path: /var/a, permissions: 0600, op: append, content: 'x: y'}, {path: /var/b}]\n  sysctls: {net.ipv4.ip_forward: 1, empty: ''}\n  features: {kubePrism: {enabled: yes}, stableHostname: false}\n  install: {disk: /dev/vda}\n  kernel: {modules: [{name: br_netfilter, parameters: [nf=1]}, {name: zfs}]}\n  time: {disabled: on, bootTimeout: 2m}\n  ca: {crt: YQ==, key: ''}\n  acceptedCAs: [{crt: Yg==}]\n",
    );
    let machine = &view.machine;
    assert!(view.is_control_plane());
    assert_eq!(machine.kubelet.extra_args["v"], ["2"]);
    assert_eq!(machine.kubelet.extra_args["feature-gates"], ["A=true", "B=false"]);
    assert_eq!(machine.kubelet.cluster_dns.len(), 1);
    assert_eq!((machine.files[0].permissions, machine.files[0].op), (0o600, FileOp::Append));
    assert_eq!((machine.files[1].permissions, machine.files[1].op), (0o644, FileOp::Create));
    assert_eq!(machine.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(machine.sysctls["empty"], "");
    assert_eq!(machine.features.kube_prism_port, Some(7445));
    assert_eq!(machine.network.hostname_mode, HostnameMode::Address);
    assert_eq!(machine.install.as_ref().unwrap().disk, "/dev/vda");
    assert_eq!(machine.kernel_modules.len(), 2);
    assert!(!machine.time.enabled);
    assert_eq!(machine.time.boot_timeout.unwrap().as_secs(), 120);
    assert!(!machine.ca.as_ref().unwrap().has_key());
    assert_eq!(machine.ca_bundle(), b"a\nb\n");
}

#[test]
fn links_come_from_both_forms() {
    let view = view(
        "version: v1alpha1\nmachine:\n  type: worker\n  network:\n    interfaces:\n      - interface: eth0\n        addresses: [10.0.0.2/24, 10.0.0.3]\n        routes: [{gateway: 10.0.0.1, metric: 7}]\n        dhcp: true\n        dhcpOptions: {ipv6: false, routeMetric: 0}\n        vlans: [{vlanId: 5, cidr: 10.5.0.1/24}]\n---\n{apiVersion: v1alpha1, kind: LinkConfig, name: eth1, up: false, addresses: [{address: fd00::2/64, routePriority: 9}], routes: [{destination: 10.0.0.0/8, gateway: 10.1.0.1, table: main}]}\n---\n{apiVersion: v1alpha1, kind: DHCPv4Config, name: eth1, clientIdentifier: duid, ignoreRoutes: true}\n",
    );
    let [eth0, eth1] = view.machine.network.interfaces.as_slice() else { panic!("two links") };
    assert_eq!(eth0.addresses[1].net.to_string(), "10.0.0.3/32");
    assert_eq!((eth0.routes[0].destination, eth0.routes[0].metric), (None, Some(7)));
    let dhcp = eth0.dhcp.as_ref().unwrap();
    assert!(dhcp.ipv4 && dhcp.route_metric.is_none());
    assert_eq!((eth0.vlans[0].id, eth0.vlans[0].addresses.len()), (5, 1));
    assert_eq!((eth1.up, eth1.addresses[0].net.to_string()), (Some(false), "fd00::2/64".to_owned()));
    assert_eq!((eth1.routes[0].table.as_str(), eth1.addresses[0].route_priority), ("main", Some(9)));
    let dhcp = eth1.dhcp.as_ref().unwrap();
    assert!(dhcp.ignore_routes && dhcp.client_identifier == "duid");
}

#[test]
fn dedicated_documents_come_first() {
    let view = view(
        "version: v1alpha1\nmachine:\n  type: worker\n  sysctls: {a: old, b: old}\n  kernel: {modules: [{name: m, parameters: [old]}]}\n  registries:\n    mirrors: {docker.io: {endpoints: ['http://old'], overridePath: true}, ghcr.io: {endpoints: ['http://g'], skipFallback: true}}\n    config: {docker.io: {tls: {insecureSkipVerify: true}}, ghcr.io: {tls: {ca: b2xk}}}\n---\n{apiVersion: v1alpha1, kind: SysctlConfig, params: {a: new}}\n---\n{apiVersion: v1alpha1, kind: KernelModuleConfig, name: m, parameters: [new]}\n---\n{apiVersion: v1alpha1, kind: RegistryMirrorConfig, name: docker.io, endpoints: [{url: 'http://new'}]}\n---\n{apiVersion: v1alpha1, kind: RegistryTLSConfig, name: docker.io, ca: new}\n---\n{apiVersion: v1alpha1, kind: ResolverConfig, nameservers: [{address: 9.9.9.9}], hostDNS: {enabled: true, forwardKubeDNSToHost: true}}\n---\n{apiVersion: v1alpha1, kind: TimeSyncConfig, enabled: false, ntp: {servers: [t]}}\n---\n{apiVersion: v1alpha1, kind: StaticHostConfig, name: 10.0.0.1, hostnames: [a]}\n",
    );
    let machine = &view.machine;
    assert_eq!((machine.sysctls["a"].as_str(), machine.sysctls["b"].as_str()), ("new", "old"));
    assert_eq!(machine.kernel_modules, [KernelModule { name: "m".into(), parameters: vec!["new".into()] }]);
    assert_eq!(machine.registries.mirrors["docker.io"].endpoints[0].url, "http://new");
    assert!(machine.registries.mirrors["ghcr.io"].skip_fallback);
    let tls = |host: &str| &machine.registries.tls[host];
    assert_eq!((tls("docker.io").ca.as_slice(), tls("ghcr.io").ca.as_slice()), (&b"new"[..], &b"old"[..]));
    assert!(!tls("docker.io").insecure_skip_verify, "the document stands for the whole host");
    assert_eq!(machine.network.nameservers[0].to_string(), "9.9.9.9");
    assert!(machine.network.host_dns.enabled && machine.network.host_dns.forward_kube_dns);
    assert_eq!((machine.time.enabled, machine.time.servers.as_slice()), (false, ["t".to_owned()].as_slice()));
    assert_eq!(machine.network.extra_hosts[0].aliases, ["a"]);
}

#[test]
fn the_cluster_is_read_with_its_defaults() {
    let view = view(
        "version: v1alpha1\nmachine: {type: controlplane}\ncluster:\n  clusterName: c\n  controlPlane: {endpoint: 'https://[fd00::1]:6443', localAPIServerPort: 7443}\n  network: {serviceSubnets: [10.96.0.0/12, fd00:10::/108], cni: {name: custom, urls: [u]}}\n  allowSchedulingOnMasters: true\n  discovery: {enabled: true, registries: {service: {}}}\n  externalCloudProvider: {enabled: true, manifests: [m1]}\n  extraManifests: [m2]\n  adminKubeconfig: {certLifetime: 1h}\n  etcd: {subnet: 10.0.0.0/8}\n  proxy: {disabled: true}\n  apiServer: {admissionControl: [{name: P, configuration: {a: 1}}], certSANs: [x], auditPolicy: {rules: []}}\n",
    );
    let cluster = &view.cluster;
    let url = cluster.endpoint_url.as_ref().unwrap();
    assert_eq!((url.host.as_str(), url.port_or_default()), ("fd00::1", 6443));
    assert_eq!(cluster.api_server.port, 7443);
    let texts = |ips: Vec<std::net::IpAddr>| ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(cluster.network.dns_service_ips()), ["10.96.0.10", "fd00:10::a"]);
    assert_eq!(texts(cluster.network.api_service_ips()), ["10.96.0.1", "fd00:10::1"]);
    assert_eq!(cluster.network.cni, Cni::Custom(vec!["u".to_owned()]));
    assert!(cluster.schedule_on_control_planes);
    let public = ("default".to_owned(), "https://discovery.talos.dev/".to_owned());
    assert_eq!(cluster.discovery.services, [public]);
    assert!(!cluster.discovery.kubernetes);
    assert_eq!(cluster.cloud_provider_manifests, ["m1"]);
    assert_eq!(cluster.external_manifests[0].url, "m2");
    assert_eq!(cluster.admin_kubeconfig.cert_lifetime.as_secs(), 3600);
    assert_eq!(cluster.etcd.advertised_subnets, ["10.0.0.0/8"]);
    assert!(!cluster.proxy.enabled);
    assert_eq!(cluster.api_server.admission[0].configuration["a"], 1);
}

#[test]
fn discovery_is_read_from_its_own_documents_and_from_v1alpha1_first() {
    let documents = "{apiVersion: v1alpha1, kind: DiscoveryIdentityConfig, clusterID: i, clusterSecret: s}\n---\n{apiVersion: v1alpha1, kind: DiscoveryServiceConfig, name: default, endpoint: 'https://d'}\n---\n{apiVersion: v1alpha1, kind: DiscoveryServiceConfig, name: own, endpoint: 'http://[fdae::1]:8093'}\n";
    let service = |name: &str, url: &str| (name.to_owned(), url.to_owned());
    let alone = view(documents);
    assert_eq!((alone.cluster.id.as_str(), alone.cluster.secret.reveal().as_str()), ("i", "s"));
    assert!(alone.cluster.discovery.enabled);
    let (default, own) = (service("default", "https://d"), service("own", "http://[fdae::1]:8093"));
    assert_eq!(alone.cluster.discovery.services, [default, own.clone()]);
    let both = view(&format!(
        "version: v1alpha1\nmachine: {{type: worker}}\ncluster:\n  id: first\n  controlPlane: {{endpoint: 'https://h'}}\n  discovery: {{enabled: true, registries: {{service: {{endpoint: 'https://e'}}}}}}\n---\n{documents}"
    ));
    assert_eq!((both.cluster.id.as_str(), both.cluster.secret.reveal().as_str()), ("first", "s"));
    assert_eq!(both.cluster.discovery.services, [service("default", "https://e"), own]);
}

#[test]
fn the_manager_is_read_from_its_own_documents() {
    let view = view(
        "{apiVersion: v1alpha1, kind: SideroLinkConfig, apiUrl: 'https://h?jointoken=t', uniqueToken: u}\n---\n{apiVersion: v1alpha1, kind: EventSinkConfig, endpoint: 'h:8090'}\n---\n{apiVersion: v1alpha1, kind: KmsgLogConfig, name: a, url: 'tcp://h:8092'}\n---\n{apiVersion: v1alpha1, kind: KmsgLogConfig, name: b, url: 'udp://h:1'}\n",
    );
    let management = &view.management;
    assert_eq!(management.join_url.reveal(), "https://h?jointoken=t");
    assert_eq!((management.unique_token.reveal().as_str(), management.event_sink.as_str()), ("u", "h:8090"));
    assert_eq!(management.kernel_logs, ["tcp://h:8092", "udp://h:1"]);
}

#[test]
fn arbitrary_bytes_become_a_view_or_problems() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(config) = Config::check(bytes, crate::Target::Metal) {
            let _ = (config.view(), config.redacted());
        }
    });
}
