//! Resources of Kubernetes on this machine: what is configured, what is rendered, what is observed.
//!
//! Intent (`*Configs`) comes from the machine configuration; controllers render it into files, static pods, the kubelet's specification and
//! the bootstrap manifests; statuses say what was observed afterwards.

mod manifests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use corten_resource::{Object, Record, Resource};
use ipnet::IpNet;

pub use manifests::{
    BootstrapManifestsConfig, ExtraManifest, ExtraManifestsConfig, FetchedManifest, Manifest, ManifestStatus,
    SingleManifest,
};

/// Namespace of everything that only control planes have.
pub const CONTROL_PLANE_NAMESPACE: &str = "controlplane";

/// Values of one command line argument that may be given several times.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ArgValues {
    /// The values, in order.
    #[field(1, "values")]
    pub values: Vec<String>,
}

/// Configuration of one admission plugin.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct AdmissionPlugin {
    /// Name of the plugin.
    #[field(1, "name")]
    pub name: String,
    /// Its configuration object.
    #[field(2, "configuration")]
    pub configuration: Object,
}

/// A directory of the machine mounted into a control plane component.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ExtraVolume {
    /// Name of the volume.
    #[field(1, "name")]
    pub name: String,
    /// Path on the machine.
    #[field(2, "hostPath")]
    pub host_path: String,
    /// Path in the container.
    #[field(3, "mountPath")]
    pub mount_path: String,
    /// Mounted read-only.
    #[field(4, "readonly")]
    pub read_only: bool,
}

/// Resource requests and limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Resources {
    /// Requests by resource name.
    #[field(1, "requests")]
    pub requests: BTreeMap<String, String>,
    /// Limits by resource name.
    #[field(2, "limits")]
    pub limits: BTreeMap<String, String>,
}

/// One authorizer of kube-apiserver.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Authorizer {
    /// `Node`, `RBAC` or `Webhook`.
    #[field(1, "type")]
    pub kind: String,
    /// Name of the authorizer.
    #[field(2, "name")]
    pub name: String,
    /// Settings of a webhook.
    #[field(3, "webhook")]
    pub webhook: Object,
}

/// An upstream of KubePrism.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct KubePrismEndpoint {
    /// Host or address.
    #[field(1, "host")]
    pub host: String,
    /// Port.
    #[field(2, "port")]
    pub port: u32,
}

/// Mapping of user or group ids of a mount.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct IdMapping {
    /// First id inside.
    #[field(1, "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[field(2, "hostID")]
    pub host_id: u32,
    /// How many.
    #[field(3, "size")]
    pub size: u32,
}

/// A mount of the kubelet's container.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Mount {
    /// Path inside.
    #[field(1, "destination")]
    pub destination: String,
    /// File system type.
    #[field(2, "type", omitempty)]
    pub kind: String,
    /// Path on the machine.
    #[field(3, "source", omitempty)]
    pub source: String,
    /// Mount options.
    #[field(4, "options", omitempty)]
    pub options: Vec<String>,
    /// User mappings.
    #[field(5, "uidMappings", omitempty)]
    pub uid_mappings: Vec<IdMapping>,
    /// Group mappings.
    #[field(6, "gidMappings", omitempty)]
    pub gid_mappings: Vec<IdMapping>,
}

/// Admission plugins of kube-apiserver and their configuration.
///
/// Written from the machine configuration; read by the renderer of configuration files.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AdmissionControlConfigs.kubernetes.talos.dev", namespace = "controlplane")]
pub struct AdmissionControlConfig {
    /// The plugins.
    #[field(1, "config")]
    pub config: Vec<AdmissionPlugin>,
}

impl AdmissionControlConfig {
    /// Id of the only one.
    pub const ID: &'static str = "admission-control";
}

/// What kube-apiserver shall run with; the final one also has the complete arguments.
///
/// Written from the machine configuration; read by the static pods and by clients that upgrade Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "APIServerConfigs.kubernetes.talos.dev", namespace = "controlplane", sensitive)]
pub struct ApiServerConfig {
    /// Image.
    #[field(1, "image")]
    pub image: String,
    /// `external` with an external cloud provider.
    #[field(2, "cloudProvider")]
    pub cloud_provider: String,
    /// Endpoint of the cluster.
    #[field(3, "controlPlaneEndpoint")]
    pub control_plane_endpoint: String,
    /// URLs of etcd.
    #[field(4, "etcdServers")]
    pub etcd_servers: Vec<String>,
    /// Port to serve on.
    #[field(5, "localPort")]
    pub local_port: i64,
    /// Subnets of services.
    #[field(6, "serviceCIDR")]
    pub service_cidrs: Vec<String>,
    /// Further arguments.
    #[field(13, "extraArgs")]
    pub extra_args: BTreeMap<String, ArgValues>,
    /// All arguments, in the final one.
    #[field(16, "args", omitempty)]
    pub args: Vec<String>,
    /// Further volumes.
    #[field(8, "extraVolumes")]
    pub extra_volumes: Vec<ExtraVolume>,
    /// Environment.
    #[field(9, "environmentVariables")]
    pub environment_variables: BTreeMap<String, String>,
    /// Address under which other components reach it.
    #[field(11, "advertisedAddress")]
    pub advertised_address: String,
    /// Requests and limits.
    #[field(12, "resources")]
    pub resources: Resources,
    /// The pod has startup probes.
    #[field(14, "startupProbesEnabled")]
    pub startup_probes_enabled: bool,
    /// Authentication comes from a configuration file.
    #[field(15, "useAuthenticationConfig")]
    pub use_authentication_config: bool,
}

impl ApiServerConfig {
    /// Id of the intent.
    pub const ID: &'static str = "kube-apiserver";
    /// Id of the rendered one.
    pub const FINAL_ID: &'static str = "final-kube-apiserver";
}

/// Audit policy of kube-apiserver.
///
/// Written from the machine configuration; read by the renderer of configuration files.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AuditPolicyConfigs.kubernetes.talos.dev", namespace = "controlplane", sensitive)]
pub struct AuditPolicyConfig {
    /// The policy.
    #[field(1, "config")]
    pub config: Object,
}

impl AuditPolicyConfig {
    /// Id of the only one.
    pub const ID: &'static str = "audit-policy";
}

/// Structured authentication configuration of kube-apiserver.
///
/// Written from the machine configuration; read by the renderer of configuration files.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AuthenticationConfigs.kubernetes.talos.dev", namespace = "controlplane", sensitive)]
pub struct AuthenticationConfig {
    /// The configuration.
    #[field(1, "config")]
    pub config: Object,
}

impl AuthenticationConfig {
    /// Id of the only one.
    pub const ID: &'static str = "authentication-config";
}

/// Authorizers of kube-apiserver.
///
/// Written from the machine configuration; read by the renderer of configuration files.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AuthorizationConfigs.kubernetes.talos.dev", namespace = "controlplane", sensitive)]
pub struct AuthorizationConfig {
    /// Image of kube-apiserver: decides the version of the file.
    #[field(1, "image")]
    pub image: String,
    /// The authorizers, in order.
    #[field(2, "config")]
    pub config: Vec<Authorizer>,
}

impl AuthorizationConfig {
    /// Id of the only one.
    pub const ID: &'static str = "authorization";
}

/// The configuration files of the control plane are in place.
///
/// Written by the controller that writes the files; read by the static pods.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ConfigStatuses.kubernetes.talos.dev", namespace = "controlplane", columns("Ready" => "{.ready}", "Secrets Version" => "{.version}"))]
pub struct ConfigStatus {
    /// All files are there.
    #[field(1, "ready")]
    pub ready: bool,
    /// Identifies their content.
    #[field(2, "version")]
    pub version: String,
}

impl ConfigStatus {
    /// Id of the only one.
    pub const ID: &'static str = "static-pods";
}

/// The files with secrets of the control plane are in place.
///
/// Written by the controller that writes the files; read by the static pods.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SecretStatuses.kubernetes.talos.dev", namespace = "controlplane", columns("Ready" => "{.ready}", "Secrets Version" => "{.version}"))]
pub struct SecretStatus {
    /// All files are there.
    #[field(1, "ready")]
    pub ready: bool,
    /// Identifies their content.
    #[field(2, "version")]
    pub version: String,
}

impl SecretStatus {
    /// Id of the only one.
    pub const ID: &'static str = "static-pods";
}

/// What kube-controller-manager shall run with; the final one also has the complete arguments.
///
/// Written from the machine configuration; read by the static pods and by clients that upgrade Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ControllerManagerConfigs.kubernetes.talos.dev", namespace = "controlplane")]
pub struct ControllerManagerConfig {
    /// It runs at all.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// Image.
    #[field(2, "image")]
    pub image: String,
    /// `external` with an external cloud provider.
    #[field(3, "cloudProvider")]
    pub cloud_provider: String,
    /// Subnets of pods.
    #[field(4, "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    /// Subnets of services.
    #[field(5, "serviceCIDRs")]
    pub service_cidrs: Vec<String>,
    /// Further arguments.
    #[field(10, "extraArgs", omitempty)]
    pub extra_args: BTreeMap<String, ArgValues>,
    /// All arguments, in the final one.
    #[field(11, "args", omitempty)]
    pub args: Vec<String>,
    /// Further volumes.
    #[field(7, "extraVolumes")]
    pub extra_volumes: Vec<ExtraVolume>,
    /// Environment.
    #[field(8, "environmentVariables")]
    pub environment_variables: BTreeMap<String, String>,
    /// Requests and limits.
    #[field(9, "resources")]
    pub resources: Resources,
    /// Size of a node's IPv4 pod subnet; 0 means the default.
    #[field(12, "nodeCIDRMaskSizeIPv4")]
    pub node_cidr_mask_size_ipv4: i64,
    /// Size of a node's IPv6 pod subnet; 0 means the default.
    #[field(13, "nodeCIDRMaskSizeIPv6")]
    pub node_cidr_mask_size_ipv6: i64,
}

impl ControllerManagerConfig {
    /// Id of the intent.
    pub const ID: &'static str = "kube-controller-manager";
    /// Id of the rendered one.
    pub const FINAL_ID: &'static str = "final-kube-controller-manager";
}

/// Addresses of the control plane, one resource per way to know them.
///
/// Written by the watchers of the API and of discovery; read by KubePrism, the client of trustd and etcd's join.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Endpoints.kubernetes.talos.dev", namespace = "controlplane", columns("Addresses" => "{.addresses}", "Hosts" => "{.hosts}"))]
pub struct Endpoint {
    /// Addresses, sorted.
    #[field(1, "addresses")]
    pub addresses: Vec<IpAddr>,
    /// Host names.
    #[field(2, "hosts")]
    pub hosts: Vec<String>,
}

impl Endpoint {
    /// Known from the API server.
    pub const API_SERVER: &'static str = "kube-apiserver";
    /// Known from the members.
    pub const DISCOVERY: &'static str = "discovery";
    /// Known from the configuration.
    pub const CONTROL_PLANE: &'static str = "controlplane";
}

/// Encryption of secrets at rest, as the user gave it; there is none while it follows from the cluster's keys.
///
/// Written from the machine configuration on control planes; read by people.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdEncryptionConfigs.kubernetes.talos.dev", namespace = "k8s", sensitive)]
pub struct EtcdEncryptionConfig {
    /// The document.
    #[field(1, "configuration")]
    pub configuration: String,
}

impl EtcdEncryptionConfig {
    /// Id of the only one.
    pub const ID: &'static str = "k8s";
}

/// What the machine configuration asks of the kubelet.
///
/// Written from the machine configuration; read by the kubelet's specification.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeletConfigs.kubernetes.talos.dev", namespace = "k8s", sensitive)]
pub struct KubeletConfig {
    /// Image.
    #[field(1, "image")]
    pub image: String,
    /// Addresses of the cluster's DNS.
    #[field(2, "clusterDNS")]
    pub cluster_dns: Vec<String>,
    /// DNS domain of the cluster.
    #[field(3, "clusterDomain")]
    pub cluster_domain: String,
    /// Further arguments.
    #[field(15, "extraArgs", omitempty)]
    pub extra_args: BTreeMap<String, ArgValues>,
    /// Further mounts.
    #[field(5, "extraMounts", omitempty)]
    pub extra_mounts: Vec<Mount>,
    /// Fields merged into the kubelet's configuration.
    #[field(6, "extraConfig", omitempty)]
    pub extra_config: Object,
    /// A cloud controller manager initialises the node.
    #[field(7, "cloudProviderExternal")]
    pub cloud_provider_external: bool,
    /// Pods get the runtime's seccomp profile.
    #[field(8, "defaultRuntimeSeccompEnabled")]
    pub default_runtime_seccomp_enabled: bool,
    /// Run without an API server.
    #[field(9, "skipNodeRegistration")]
    pub skip_node_registration: bool,
    /// Where the kubelet reads static pods.
    #[field(10, "staticPodListURL")]
    pub static_pod_list_url: String,
    /// No static pods from a directory.
    #[field(11, "disableManifestsDirectory")]
    pub disable_manifests_directory: bool,
    /// Measure volumes by project quotas.
    #[field(12, "enableFSQuotaMonitoring")]
    pub enable_fs_quota_monitoring: bool,
    /// Configuration of credential providers.
    #[field(13, "credentialProviderConfig", omitempty)]
    pub credential_provider_config: Object,
    /// Taints at registration.
    #[field(16, "registerWithTaints", omitempty)]
    pub register_with_taints: BTreeMap<String, String>,
}

impl KubeletConfig {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

/// The kubelet's own kubeconfig exists; changes when it changes.
///
/// Written by the controller that watches the file; read by clients of the API server on workers.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeletKubeconfigs.kubernetes.talos.dev", namespace = "k8s")]
pub struct KubeletKubeconfig {
    /// Hash of the content.
    #[field(1, "hash")]
    pub hash: String,
}

impl KubeletKubeconfig {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

/// The kubelet runs. Whoever must let go of something before it stops holds it.
///
/// Written by the kubelet's service controller.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeletLifecycles.kubernetes.talos.dev", namespace = "k8s")]
pub struct KubeletLifecycle {}

impl KubeletLifecycle {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

/// The kubelet as it will run.
///
/// Written by the kubelet's specification controller; read by the kubelet's service and by clients that upgrade Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeletSpecs.kubernetes.talos.dev", namespace = "k8s", sensitive)]
pub struct KubeletSpec {
    /// Image.
    #[field(1, "image")]
    pub image: String,
    /// Arguments.
    #[field(2, "args", omitempty)]
    pub args: Vec<String>,
    /// Further mounts.
    #[field(3, "extraMounts", omitempty)]
    pub extra_mounts: Vec<Mount>,
    /// Name under which the node registers.
    #[field(4, "expectedNodename", omitempty)]
    pub expected_nodename: String,
    /// The kubelet's configuration.
    #[field(5, "config")]
    pub config: Object,
    /// Configuration of credential providers.
    #[field(6, "credentialProviderConfig", omitempty)]
    pub credential_provider_config: Object,
}

impl KubeletSpec {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

/// What the kubelet currently runs.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubeletStatuses.kubernetes.talos.dev", namespace = "k8s", columns("Image" => "{.image}"))]
pub struct KubeletStatus {
    /// Image.
    #[field(1, "image")]
    pub image: String,
}

impl KubeletStatus {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

/// Health of the local load balancer.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubePrismStatuses.kubernetes.talos.dev", namespace = "k8s", columns("Host" => "{.host}", "Healthy" => "{.healthy}"))]
pub struct KubePrismStatus {
    /// Where it listens.
    #[field(1, "host")]
    pub host: String,
    /// At least one upstream answers.
    #[field(2, "healthy")]
    pub healthy: bool,
}

impl KubePrismStatus {
    /// Id of the only one.
    pub const ID: &'static str = "k8s-loadbalancer";
}

/// Where KubePrism listens and what it balances over.
///
/// Written from configuration and endpoints; read by the writer of the data plane's file.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubePrismConfigs.kubernetes.talos.dev", namespace = "k8s")]
pub struct KubePrismConfig {
    /// Address to listen on.
    #[field(1, "host")]
    pub host: String,
    /// Port to listen on.
    #[field(2, "port")]
    pub port: i64,
    /// Upstreams.
    #[field(3, "endpoints")]
    pub endpoints: Vec<KubePrismEndpoint>,
}

impl KubePrismConfig {
    /// Id of the only one.
    pub const ID: &'static str = "k8s-loadbalancer-config";
}

/// Candidates for upstreams of KubePrism.
///
/// Written from configuration and members; read by KubePrism's configuration.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubePrismEndpoints.kubernetes.talos.dev", namespace = "k8s", columns("Endpoints" => "{.endpoints}"))]
pub struct KubePrismEndpoints {
    /// The candidates.
    #[field(1, "endpoints")]
    pub endpoints: Vec<KubePrismEndpoint>,
}

impl KubePrismEndpoints {
    /// Id of the only one.
    pub const ID: &'static str = "k8s-cluster";
}

/// An annotation of the Node that this machine owns.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeAnnotationSpecs.k8s.talos.dev", namespace = "k8s", columns("Value" => "{.value}"), sensitive)]
pub struct NodeAnnotationSpec {
    /// Key.
    #[field(1, "key")]
    pub key: String,
    /// Value.
    #[field(2, "value")]
    pub value: String,
}

/// The Node shall not receive pods.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeCordonedSpecs.k8s.talos.dev", namespace = "k8s", sensitive)]
pub struct NodeCordonedSpec {}

impl NodeCordonedSpec {
    /// Id of the only one.
    pub const ID: &'static str = "cordoned";
}

/// A label of the Node that this machine owns.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeLabelSpecs.k8s.talos.dev", namespace = "k8s", columns("Value" => "{.value}"), sensitive)]
pub struct NodeLabelSpec {
    /// Key.
    #[field(1, "key")]
    pub key: String,
    /// Value.
    #[field(2, "value")]
    pub value: String,
}

/// A taint of the Node that this machine owns.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeTaintSpecs.k8s.talos.dev", namespace = "k8s", columns("Effect" => "{.effect}", "Value" => "{.value}"), sensitive)]
pub struct NodeTaintSpec {
    /// Key.
    #[field(1, "key")]
    pub key: String,
    /// Effect.
    #[field(2, "effect")]
    pub effect: String,
    /// Value.
    #[field(3, "value")]
    pub value: String,
}

/// The Node object of this machine, as the API server has it. The id is the node's name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeStatuses.kubernetes.talos.dev", namespace = "k8s", columns("Ready" => "{.nodeReady}", "Unschedulable" => "{.unschedulable}"))]
pub struct NodeStatus {
    /// Name.
    #[field(1, "nodename")]
    pub nodename: String,
    /// The condition Ready is true.
    #[field(2, "nodeReady")]
    pub node_ready: bool,
    /// The node is cordoned.
    #[field(3, "unschedulable")]
    pub unschedulable: bool,
    /// Labels.
    #[field(4, "labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[field(5, "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Subnets of its pods.
    #[field(6, "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
}

/// Addresses that the kubelet registers.
///
/// Written from addresses and subnet filters; read by the kubelet's specification and certificates.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeIPs.kubernetes.talos.dev", namespace = "k8s", columns("Addresses" => "{.addresses}"))]
pub struct NodeIp {
    /// The addresses, at most one of each family.
    #[field(1, "addresses")]
    pub addresses: Vec<IpAddr>,
}

impl NodeIp {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

/// Subnet filters for the kubelet's addresses.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "NodeIPConfigs.kubernetes.talos.dev", namespace = "k8s")]
pub struct NodeIpConfig {
    /// Addresses out of these subnets only.
    #[field(1, "validSubnets", omitempty)]
    pub valid_subnets: Vec<String>,
    /// No addresses out of these subnets.
    #[field(2, "excludeSubnets")]
    pub exclude_subnets: Vec<String>,
}

impl NodeIpConfig {
    /// Id of the only one.
    pub const ID: &'static str = "kubelet";
}

/// Name of the Node of this machine.
///
/// Written from the hostname; read by the kubelet's specification and the clients of the API server.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Nodenames.kubernetes.talos.dev", namespace = "k8s", columns("Nodename" => "{.nodename}"))]
pub struct Nodename {
    /// The name, lower case.
    #[field(1, "nodename")]
    pub nodename: String,
    /// Version of the hostname it was made from.
    #[field(2, "hostnameVersion")]
    pub hostname_version: String,
    /// There will be no Node.
    #[field(3, "skipNodeRegistration")]
    pub skip_node_registration: bool,
}

impl Nodename {
    /// Id of the only one.
    pub const ID: &'static str = "nodename";
}

/// What kube-scheduler shall run with; the final one also has the complete arguments.
///
/// Written from the machine configuration; read by the static pods and by clients that upgrade Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SchedulerConfigs.kubernetes.talos.dev", namespace = "controlplane")]
pub struct SchedulerConfig {
    /// It runs at all.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// Image.
    #[field(2, "image")]
    pub image: String,
    /// Further arguments.
    #[field(8, "extraArgs", omitempty)]
    pub extra_args: BTreeMap<String, ArgValues>,
    /// All arguments, in the final one.
    #[field(9, "args", omitempty)]
    pub args: Vec<String>,
    /// Configuration file.
    #[field(7, "config")]
    pub config: Object,
    /// Further volumes.
    #[field(4, "extraVolumes")]
    pub extra_volumes: Vec<ExtraVolume>,
    /// Environment.
    #[field(5, "environmentVariables")]
    pub environment_variables: BTreeMap<String, String>,
    /// Requests and limits.
    #[field(6, "resources")]
    pub resources: Resources,
}

impl SchedulerConfig {
    /// Id of the intent.
    pub const ID: &'static str = "kube-scheduler";
    /// Id of the rendered one.
    pub const FINAL_ID: &'static str = "final-kube-scheduler";
}

/// A pod that the kubelet runs without asking the API server.
///
/// Written by the renderers of pods; read by the writer of the data plane's file.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "StaticPods.kubernetes.talos.dev", namespace = "k8s", scalar)]
pub struct StaticPod {
    /// The pod.
    #[field(1, "pod")]
    pub pod: Object,
}

/// Where the list of static pods is served.
///
/// Written by the watcher of the data plane's status; read by the kubelet's specification.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "StaticPodServerStatuses.kubernetes.talos.dev", namespace = "k8s", columns("URL" => "{.url}"))]
pub struct StaticPodServerStatus {
    /// URL of the list.
    #[field(1, "url")]
    pub url: String,
}

impl StaticPodServerStatus {
    /// Id of the only one.
    pub const ID: &'static str = "static-pod-server-status";
}

/// Status of a static pod as the kubelet reports it; id `namespace/name`.
///
/// Read by health checks and by clients that upgrade Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "StaticPodStatuses.kubernetes.talos.dev", namespace = "k8s", scalar, aliases("podstatus"), columns("Ready" => "{.conditions[?(@.type==\"Ready\")].status}"))]
pub struct StaticPodStatus {
    /// Status of the pod.
    #[field(1, "podStatus")]
    pub pod_status: Object,
}

/// Whether the API server on this machine answers that it is ready; id `local`. Ours only.
///
/// Written by the probe; read by everything that must start after the API server: the rest of the control plane and the manifests.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "APIServerStatuses.corten.dev", namespace = "k8s", internal)]
pub struct ApiServerStatus {
    /// It is ready.
    #[field(1, "ready")]
    pub ready: bool,
}

impl ApiServerStatus {
    /// Id of the only one.
    pub const ID: &'static str = "local";
}
