//! Documents about Kubernetes and the old fields say the same, each in its form.

use corten_base::{Clock, Rng};

use crate::generate::{GenerateOptions, Generated, generate};
use crate::view::{Cni, Flannel, MachineView};
use crate::{Audience, Config, Contract, SecretsBundle};

fn of_contract(minor: u64, secrets: &SecretsBundle) -> Generated {
    let mut options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
    options.contract = Contract::new(1, minor);
    options.additional_sans.push("api.example.com".to_owned());
    options.pod_subnets = vec!["10.1.0.0/16".to_owned()];
    generate(&options, secrets)
}

fn view(text: &str) -> std::sync::Arc<MachineView> {
    Config::parse_for(text.as_bytes(), Audience::Manager).unwrap_or_else(|error| panic!("{error}")).view()
}

#[test]
fn both_forms_of_a_new_cluster_say_the_same() {
    let secrets = SecretsBundle::generate(Clock::fixed(1_800_000_000).now(), &Rng::seeded(1)).unwrap();
    let (old, new) = (of_contract(13, &secrets), of_contract(14, &secrets));
    for (old, new) in [(&old.controlplane, &new.controlplane), (&old.worker, &new.worker)] {
        let (old, new) = (view(old.reveal()), view(new.reveal()));
        let (before, after) = (&old.cluster, &new.cluster);
        assert_eq!((&after.name, &after.endpoint), (&before.name, &before.endpoint));
        assert_eq!((&after.endpoint_url, &after.network), (&before.endpoint_url, &before.network));
        assert_eq!(after.ca_bundle(), before.ca_bundle());
        assert_eq!(
            after.ca.as_ref().map(|ca| &ca.key),
            before.ca.as_ref().filter(|ca| ca.has_key()).map(|ca| &ca.key)
        );
        assert_eq!(after.aggregator_ca, before.aggregator_ca);
        assert_eq!(after.service_accounts, before.service_accounts);
        assert_eq!(
            (&after.api_server.image, after.api_server.port),
            (&before.api_server.image, before.api_server.port)
        );
        assert_eq!(after.api_server.cert_sans, before.api_server.cert_sans);
        assert_eq!(after.api_server.admission, before.api_server.admission);
        assert_eq!(after.api_server.audit_policy, before.api_server.audit_policy);
        assert_eq!(after.controller_manager, before.controller_manager);
        assert_eq!((&after.scheduler, &after.core_dns), (&before.scheduler, &before.core_dns));
        assert_eq!((after.proxy.enabled, &after.proxy.image), (before.proxy.enabled, &before.proxy.image));
        assert_eq!(new.machine.kubelet, old.machine.kubelet);
        assert_eq!(new.machine.features.kube_prism_port, old.machine.features.kube_prism_port);
        if new.is_control_plane() {
            let encryption = after.etcd_encryption.reveal();
            assert!(encryption.contains(secrets.secretbox_secret.reveal().as_str()));
            let kinds: Vec<&str> = after.api_server.authorizers.iter().map(|one| one.kind.as_str()).collect();
            assert_eq!(
                (kinds.as_slice(), after.api_server.only_given_authorizers),
                (&["Node", "RBAC"][..], true)
            );
        }
    }
}

#[test]
fn every_document_is_read_with_its_own_keys() {
    let view = view(
        "version: v1alpha1\nmachine: {type: controlplane}\ncluster: {extraManifests: [m], inlineManifests: [{name: b, contents: x}]}\n---\n\
        {apiVersion: v1alpha1, kind: KubeletConfig, image: k, config: {maxPods: 5}, clusterDNS: [10.0.0.1]}\n---\n\
        {apiVersion: v1alpha1, kind: KubeNodeConfig, registerWithFQDN: true, labels: {l: v}, taints: {t: NoSchedule}}\n---\n\
        {apiVersion: v1alpha1, kind: KubePrismConfig, port: 7446, tlsServerName: api.test}\n---\n\
        {apiVersion: v1alpha1, kind: KubeSchedulerConfig, enabled: false}\n---\n\
        {apiVersion: v1alpha1, kind: KubeControllerManagerConfig, image: c, env: {A: b}}\n---\n\
        {apiVersion: v1alpha1, kind: KubeCoreDNSConfig, enabled: false}\n---\n\
        {apiVersion: v1alpha1, kind: KubeProxyConfig, image: p, config: {bindAddressHardFail: true}}\n---\n\
        {apiVersion: v1alpha1, kind: KubeNetworkConfig, podSubnets: [10.2.0.0/16], serviceSubnets: [10.3.0.0/16], nodeCIDRMaskSizeIPv4: 25}\n---\n\
        {apiVersion: v1alpha1, kind: KubeExternalManifestConfig, name: e, url: 'https://h/m', headers: {H: hunter2}}\n---\n\
        {apiVersion: v1alpha1, kind: KubeInlineManifestConfig, name: a, manifest: y}\n---\n\
        {apiVersion: v1alpha1, kind: KubeStaticPodConfig, name: s, pod: {metadata: {name: s}}}\n---\n\
        {apiVersion: v1alpha1, kind: KubeAuthenticationConfig, configuration: {jwt: []}}\n---\n\
        {apiVersion: v1alpha1, kind: KubeAPIServerConfig, image: a, apiPort: 7443, startupProbes: false}\n",
    );
    let (machine, cluster) = (&view.machine, &view.cluster);
    assert_eq!((machine.kubelet.image.as_str(), &machine.kubelet.extra_config["maxPods"]), ("k", &5.into()));
    assert!(machine.kubelet.register_with_fqdn && machine.kubelet.disable_manifests_directory);
    assert!(machine.node_is_explicit && machine.scheduler_disabled && !machine.controller_manager_disabled);
    assert_eq!((machine.node_labels["l"].as_str(), machine.node_taints["t"].as_str()), ("v", "NoSchedule"));
    assert_eq!(machine.features.kube_prism_port, Some(7446));
    assert_eq!(machine.features.kube_prism_server_name, "api.test");
    assert_eq!(machine.pods.len(), 1);
    assert_eq!(cluster.controller_manager.env["A"], "b");
    assert!(!cluster.core_dns.enabled && cluster.proxy.uses_file);
    assert_eq!(cluster.proxy.config["bindAddressHardFail"], true);
    assert_eq!((cluster.network.node_mask_ipv4, cluster.network.node_mask_ipv6), (Some(25), None));
    assert_eq!(cluster.network.cni, Cni::None, "a control plane without the document about Flannel has none");
    let names: Vec<&str> = cluster.external_manifests.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["e", "m"]);
    assert!(!format!("{:?}", cluster.external_manifests).contains("hunter2"));
    let names: Vec<&str> = cluster.inline_manifests.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(cluster.api_server.authentication.contains_key("jwt") && !cluster.api_server.startup_probes);
    assert_eq!(cluster.api_server.port, 7443);
}

#[test]
fn flannel_is_whatever_its_document_says() {
    let network = "{apiVersion: v1alpha1, kind: KubeNetworkConfig, podSubnets: [10.2.0.0/16], serviceSubnets: [10.3.0.0/16]}";
    let of = |kind: &str, more: &str| {
        let root = format!("version: v1alpha1\nmachine: {{type: {kind}}}\n---\n{network}\n{more}");
        view(&root).cluster.network.cni.clone()
    };
    assert_eq!(of("worker", ""), Cni::default(), "a worker follows what Flannel writes");
    assert_eq!(of("controlplane", ""), Cni::None);
    let document =
        "---\n{apiVersion: v1alpha1, kind: KubeFlannelCNIConfig, backendType: host-gw, extraArgs: [x]}\n";
    let expected = Flannel {
        backend: "host-gw".to_owned(),
        backend_port: 0,
        extra_args: vec!["x".to_owned()],
        ..Flannel::default()
    };
    assert_eq!(of("controlplane", document), Cni::Flannel(expected));
}
