//! What a machine of the floor is told: everything that our machine makes for itself from its configuration, made here
//! beforehand.
//!
//! ```text
//! machine configuration ─▶ our own controllers, in memory ─▶ keys, certificates, static pods, bootstrap manifests,
//!                                                            pod network, command lines ─▶ papers
//! ```
//!
//! So the floor's Kubernetes has the flags, environment and files of ours, today's and tomorrow's. What differs:
//! static pods come from a folder instead of our data plane, there is no KubePrism (what asks it on our machine asks
//! the API server's own port here) and no host DNS, and etcd runs as root.
//!
//! The pod network's configuration depends on the subnet that flannel has at run time. Our controller is given one that
//! stands for it here, and what it renders is a template for the floor's script.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use corten_base::{Clock, Platform, Rng};
use corten_controllers_kubernetes as kubernetes;
use corten_controllers_kubernetes::{Disk, Machine};
use corten_controllers_runtime as runtime;
use corten_image_builder::Tree;
use corten_resource::{ControllerStatus, Runtime, State, StateOptions};
use corten_resources::config::{MachineConfig, MachineType, Role};
use corten_resources::etcd::EtcdPkiStatus;
use corten_resources::kubernetes::{
    ApiServerStatus, BootstrapManifestsConfig, ConfigStatus, Manifest, SecretStatus, StaticPod,
    StaticPodServerStatus,
};
use corten_resources::network::{HostnameStatus, NodeAddress, SortAlgorithm};
use corten_resources::secrets::{KubernetesRoot, KubernetesSecrets};
use corten_resources::service::{Runner, Service, ServiceSpec};
use serde_json::{Value, json};

/// Configuration of the floor, besides what ours has: what only our own programs serve is off. The API server itself
/// stands where KubePrism would, so that nothing waits for kube-proxy that does not on our machine.
pub const WITHOUT_OUR_PROGRAMS: &str =
    "machine:\n  features:\n    kubePrism:\n      port: 6443\n    hostDNS:\n      enabled: false\n";

/// Where the floor's script looks for what is for itself.
const FLOOR: &str = "system/floor";
/// The kubelet's configuration file, which names the source of static pods.
const KUBELET: &str = "etc/kubernetes/kubelet.yaml";
/// What flannel would say, and what the script puts in the place of its values.
const SUBNET_FILE: &str = "run/flannel/subnet.env";
const SUBNET: &str = "FLANNEL_SUBNET=192.0.2.1/24\nFLANNEL_MTU=1234\n";
const PLACEHOLDERS: [(&str, &str); 2] = [("192.0.2.0/24", "@SUBNET@"), ("1234", "@MTU@")];
/// What our machine makes of it.
const NETWORK: &str = "etc/cni/net.d/10-flannel.conflist";
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(20);
/// Controllers that have not settled by then wait for something that never comes.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Owner of what other domains of a machine would say: nobody.
const SURROUNDINGS: &str = "";

/// For whom papers are made.
#[derive(Clone, Debug)]
pub struct Addressee {
    /// Name of the node.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where the rest of its network is.
    pub gateway: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix_length: u8,
    /// Its platform.
    pub platform: Platform,
}

/// What was made.
#[derive(Debug)]
pub struct Papers {
    /// Files by their path in the machine.
    pub tree: Tree,
    /// Names of the images, by the stage that needs them.
    pub images: Vec<(Stage, BTreeSet<String>)>,
    /// An administrator's kubeconfig.
    pub admin: String,
}

/// Part of a boot, in order, before which images must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Static pods.
    ControlPlane,
    /// Pods of the bootstrap manifests that make the node Ready or run before it is.
    HostNetwork,
    /// Those that wait for a Ready node.
    Pods,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ControlPlane, Self::HostNetwork, Self::Pods];

    /// Name of the archive with the stage's images.
    #[must_use]
    pub const fn archive(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane.tar",
            Self::HostNetwork => "host-network.tar",
            Self::Pods => "pods.tar",
        }
    }
}

/// Makes the papers from a machine configuration; `scratch` is an empty folder that they stay in.
pub fn make(configuration: &[u8], addressee: &Addressee, scratch: &Path) -> Result<Papers> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rendered = tokio.block_on(render(configuration, addressee, scratch))?;
    let mut tree = Tree::of_folder(scratch)?;
    let kubelet = fs::read(scratch.join(KUBELET)).context("cannot read the kubelet's configuration")?;
    tree.file(KUBELET, 0o600, from_folder(&kubelet)?);
    for (name, service) in [("containerd", "cri"), ("etcd", "etcd"), ("kubelet", "kubelet")] {
        tree.file(&format!("{FLOOR}/{name}"), 0o555, rendered.command_line(service)?);
    }
    let containerd = runtime::containerd_options(restricts_oom_score(addressee.platform));
    for (name, pod) in &rendered.pods {
        tree.file(&format!("{FLOOR}/manifests/{name}.json"), 0o444, pod.to_string());
    }
    tree.file("etc/cri/containerd.toml", 0o400, corten_containerd::config::render(&containerd));
    let template = fs::read_to_string(scratch.join(NETWORK)).context("cannot read the pod network")?;
    tree.remove(NETWORK).remove(SUBNET_FILE);
    tree.file(&format!("{FLOOR}/cni.conflist"), 0o444, with_placeholders(&template)?);
    tree.file(&format!("{FLOOR}/bootstrap.json"), 0o400, list(&rendered.manifests).to_string());
    tree.file(&format!("{FLOOR}/kubeconfig"), 0o400, rendered.local_admin.as_str());
    tree.file(&format!("{FLOOR}/network"), 0o444, network(addressee));
    let sandbox = containerd.cri.iter().map(|cri| cri.sandbox_image.clone()).collect();
    Ok(Papers { tree, images: rendered.images(sandbox), admin: rendered.admin })
}

/// The pod network as a template for the script.
fn with_placeholders(configuration: &str) -> Result<String> {
    PLACEHOLDERS.iter().try_fold(configuration.to_owned(), |text, (value, placeholder)| {
        ensure!(text.matches(value).count() == 1, "the pod network does not have {value} once: {text}");
        Ok(text.replace(value, placeholder))
    })
}

/// The objects as one that clients apply in order.
fn list(objects: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects })
}

/// Images of the containers of a pod.
fn images_of(pod: &Value) -> impl Iterator<Item = String> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let containers = lists.into_iter().flatten().flatten();
    containers.filter_map(|container| container["image"].as_str().map(str::to_owned))
}

/// The script's own settings for a kernel of its own.
fn network(addressee: &Addressee) -> String {
    let Addressee { address, prefix_length, gateway, .. } = addressee;
    format!("ADDRESS={address}/{prefix_length}\nGATEWAY={gateway}\n")
}

/// The kubelet's configuration with static pods from a folder.
fn from_folder(configuration: &[u8]) -> Result<String> {
    let mut object: Value =
        serde_json::from_slice(configuration).context("the kubelet's configuration is not JSON")?;
    let fields = object.as_object_mut().context("the kubelet's configuration is no object")?;
    fields.remove("staticPodURL");
    fields.remove("httpCheckFrequency");
    fields.insert("staticPodPath".to_owned(), json!("/etc/kubernetes/manifests"));
    Ok(object.to_string())
}

/// Where OOM scores cannot be lowered, which is so in some containers.
fn restricts_oom_score(platform: Platform) -> bool {
    let has = |name: &str| {
        use corten_sys::process::capability::Set;
        let wanted = Set::from_names([name]).ok()?;
        Some(Set::effective().ok()?.contains(wanted))
    };
    platform == Platform::Container && !has("CAP_SYS_RESOURCE").unwrap_or(false)
}

/// What the controllers said.
struct Rendered {
    services: Vec<(String, ServiceSpec)>,
    pods: Vec<(String, Value)>,
    manifests: Vec<Value>,
    admin: String,
    local_admin: String,
}

impl Rendered {
    /// A shell script that becomes the service's program.
    fn command_line(&self, service: &str) -> Result<String> {
        let spec = self.services.iter().find(|(id, _)| id == service).map(|(_, spec)| spec);
        let spec = spec.with_context(|| format!("the configuration gives no service {service}"))?;
        let (args, environment) = match spec.runner {
            Runner::Process => (&spec.process.args, &spec.process.environment),
            Runner::Container => (&spec.container.args, &spec.container.environment),
        };
        Ok(script(args, environment))
    }

    /// The images that pods need, with those that every pod needs.
    fn images(&self, sandbox: BTreeSet<String>) -> Vec<(Stage, BTreeSet<String>)> {
        let templates = self.manifests.iter().map(|object| &object["spec"]["template"]);
        let (host, others): (Vec<&Value>, Vec<&Value>) =
            templates.partition(|pod| pod["spec"]["hostNetwork"] == true);
        let of = |pods: Vec<&Value>| pods.into_iter().flat_map(images_of).collect();
        let control_plane = self.pods.iter().flat_map(|(_, pod)| images_of(pod)).chain(sandbox).collect();
        Stage::ALL.into_iter().zip([control_plane, of(host), of(others)]).collect()
    }
}

/// The program is looked up by its name: where it is differs from our machine.
fn script(args: &[String], environment: &[String]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut text = String::new();
    for variable in environment {
        // The floor has a path of its own.
        if let Some((name, value)) = variable.split_once('=').filter(|(name, _)| *name != "PATH") {
            text += &format!("export {name}={}\n", quoted(value));
        }
    }
    let name = args.first().map(|program| program.rsplit('/').next().unwrap_or(program));
    let rest = args.iter().skip(1).map(String::as_str);
    let words: Vec<String> = name.into_iter().chain(rest).map(quoted).collect();
    text + &format!("exec {}\n", words.join(" "))
}

/// Runs our controllers on the configuration until everything is there.
async fn render(configuration: &[u8], addressee: &Addressee, folder: &Path) -> Result<Rendered> {
    let options = StateOptions { clock: Clock::system(), rng: Rng::kernel(), ..StateOptions::default() };
    let state = State::open(corten_resources::registry(), options).context("cannot make a state")?;
    surround(&state, configuration, addressee)?;
    let mut controllers = Runtime::new(state.clone());
    register(&mut controllers, addressee.platform, &Disk::below(folder));
    let subnet = folder.join(SUBNET_FILE);
    subnet.parent().map_or(Ok(()), fs::create_dir_all).context("cannot make flannel's folder")?;
    fs::write(&subnet, SUBNET).context("cannot write flannel's subnet")?;
    let _running = controllers.start().context("the controllers do not fit together")?;
    if tokio::time::timeout(SETTLE_MAX, settled(&state, folder)).await.is_err() {
        let waiting: Vec<String> = state
            .list::<ControllerStatus>()
            .iter()
            .filter(|status| !status.reason.is_empty())
            .map(|status| format!("{}: {}", status.id(), status.reason))
            .collect();
        bail!("the configuration does not become a control plane: {}", waiting.join("; "));
    }
    let secrets =
        state.get::<KubernetesSecrets>(KubernetesSecrets::ID).context("there are no kubeconfigs")?;
    let pods = state.list::<StaticPod>();
    let services = state.list::<ServiceSpec>();
    let manifests = state.list::<Manifest>();
    Ok(Rendered {
        services: services.into_iter().map(|one| (one.id().to_owned(), one.spec.clone())).collect(),
        pods: pods
            .into_iter()
            .map(|one| (one.id().to_owned(), Value::Object(one.spec.pod.clone())))
            .collect(),
        manifests: manifests
            .into_iter()
            .flat_map(|one| one.spec.items.clone())
            .map(|item| Value::Object(item.object))
            .collect(),
        admin: secrets.spec.admin_kubeconfig.clone(),
        local_admin: secrets.spec.localhost_admin_kubeconfig.clone(),
    })
}

/// What the other domains of a machine, and its running parts, would say.
fn surround(state: &State, configuration: &[u8], addressee: &Addressee) -> Result<()> {
    let addresses = NodeAddress {
        addresses: vec![format!("{}/{}", addressee.address, addressee.prefix_length).parse()?],
        sort_algorithm: SortAlgorithm::default(),
    };
    let healthy = || Service { running: true, healthy: true, unknown: false };
    let hostname = HostnameStatus { hostname: addressee.name.clone(), domainname: String::new() };
    // The floor's script replaces it by a folder.
    let pods = StaticPodServerStatus { url: "http://127.0.0.1/".to_owned() };
    state.put(SURROUNDINGS, MachineConfig::ACTIVE, MachineConfig { yaml: configuration.to_vec() })?;
    state.put(SURROUNDINGS, MachineType::ID, MachineType { role: Role::ControlPlane })?;
    state.put(SURROUNDINGS, HostnameStatus::ID, hostname)?;
    state.put(SURROUNDINGS, NodeAddress::ROUTED, addresses.clone())?;
    state.put(SURROUNDINGS, NodeAddress::ACCUMULATIVE, addresses)?;
    state.put(SURROUNDINGS, StaticPodServerStatus::ID, pods)?;
    state.put(SURROUNDINGS, ApiServerStatus::ID, ApiServerStatus { ready: true })?;
    state.put(SURROUNDINGS, "cri", healthy())?;
    state.put(SURROUNDINGS, "etcd", healthy())?;
    Ok(())
}

/// The controllers between a configuration and a control plane; none of them touches this host outside of `disk`.
fn register(controllers: &mut Runtime, platform: Platform, disk: &Disk) {
    use kubernetes::{cni, control_plane, etcd, kubelet, manifests, node};
    let rng = Rng::kernel();
    let capabilities = platform.capabilities();
    corten_controllers_secrets::register(controllers, &rng);
    // A machine with its own kernel has only the second generation of control groups.
    let cgroup_v2 = capabilities.global_sysctls || Machine::detect(capabilities).cgroup_v2;
    let machine = Machine { shares_kernel: !capabilities.global_sysctls, cgroup_v2 };
    let services =
        runtime::Machine { platform, capabilities, restrict_oom_score: restricts_oom_score(platform) };
    controllers
        .register_transform(runtime::SystemServices::new(services))
        .register_transform(control_plane::intent::ControlPlaneConfig)
        .register(control_plane::render::SecretFiles::new(disk.clone()))
        .register(control_plane::render::ConfigFiles::new(disk.clone()))
        .register_transform(control_plane::static_pods::ControlPlanePods)
        .register_transform(etcd::spec::EtcdIntent)
        .register_transform(etcd::spec::EtcdSpecification)
        .register(etcd::pki::EtcdPki::new(disk.clone()))
        .register(etcd::service::EtcdService::new(disk.clone()))
        .register_transform(kubelet::intent::KubeletIntent)
        .register_transform(kubelet::spec_controller::KubeletSpecification::new(machine))
        .register(kubelet::lifecycle::KubeletService::new(disk.clone(), rng))
        .register_transform(node::identity::NodeNaming)
        .register_transform(node::identity::NodeAddresses)
        .register_transform(manifests::intent::ManifestIntent)
        .register_transform(manifests::rendering::ManifestRendering)
        .register(cni::FlannelNetwork::new(disk.clone()));
}

/// Waits until everything that papers are made of is there, and on disk.
async fn settled(state: &State, folder: &Path) {
    use kubernetes::control_plane::{API_SERVER, CONTROLLER_MANAGER, SCHEDULER};
    use kubernetes::manifests::rendering;
    state
        .wait_for::<SecretStatus>(SecretStatus::ID, |status| status.is_some_and(|status| status.ready))
        .await;
    state
        .wait_for::<ConfigStatus>(ConfigStatus::ID, |status| status.is_some_and(|status| status.ready))
        .await;
    state
        .wait_for::<EtcdPkiStatus>(EtcdPkiStatus::ID, |status| status.is_some_and(|status| status.ready))
        .await;
    state.wait_for::<KubernetesSecrets>(KubernetesSecrets::ID, |secrets| secrets.is_some()).await;
    for pod in [API_SERVER, CONTROLLER_MANAGER, SCHEDULER] {
        state.wait_for::<StaticPod>(pod, |pod| pod.is_some()).await;
    }
    for service in ["cri", "etcd", "kubelet"] {
        state.wait_for::<ServiceSpec>(service, |service| service.is_some()).await;
    }
    let root = state.wait_for::<KubernetesRoot>(KubernetesRoot::ID, |root| root.is_some()).await;
    let config = state
        .wait_for::<BootstrapManifestsConfig>(BootstrapManifestsConfig::ID, |config| config.is_some())
        .await;
    for (manifest, _) in rendering::bootstrap(&config.spec, &root.spec) {
        state.wait_for::<Manifest>(manifest, |manifest| manifest.is_some()).await;
    }
    // The only one of these that no resource tells of.
    while !folder.join(NETWORK).exists() {
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use corten_config::{GenerateOptions, SecretsBundle};
    use corten_image_builder::tree::Content;

    use super::*;

    #[test]
    fn a_command_line_survives_the_shell() {
        let args = ["/usr/bin/etcd", "--name=a'b", "--x=$(Y) z"].map(str::to_owned);
        let environment = ["GOGC=50", "PATH=/usr/bin", "NOTIFY_SOCKET="].map(str::to_owned);
        assert_eq!(
            script(&args, &environment),
            "export GOGC='50'\nexport NOTIFY_SOCKET=''\nexec 'etcd' '--name=a'\\''b' '--x=$(Y) z'\n"
        );
    }

    #[test]
    fn static_pods_come_from_a_folder() {
        let text =
            from_folder(br#"{"kind":"K","staticPodURL":"u","httpCheckFrequency":"1s"}"#).expect("JSON");
        let object: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(object, json!({ "kind": "K", "staticPodPath": "/etc/kubernetes/manifests" }));
    }

    #[test]
    fn a_configuration_becomes_papers() {
        let secrets = SecretsBundle::generate(Clock::system().now(), &Rng::kernel()).expect("secrets");
        let options = GenerateOptions::new("demo", "https://10.5.0.2:6443");
        let config = corten_config::generate::generate(&options, &secrets);
        let addressee = Addressee {
            name: "floor".into(),
            address: Ipv4Addr::new(10, 5, 0, 2),
            gateway: Ipv4Addr::new(10, 5, 0, 1),
            prefix_length: 24,
            platform: Platform::Metal,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let papers =
            make(config.controlplane.reveal().as_bytes(), &addressee, folder.path()).expect("papers");
        let text = |path: &str| {
            let node = papers.tree.get(path).unwrap_or_else(|| panic!("{path} is missing"));
            let mut bytes = Vec::new();
            node.stream(&mut bytes).expect("content");
            String::from_utf8(bytes).expect("text")
        };
        assert!(text("system/floor/etcd").contains("exec 'etcd' "));
        assert!(text("system/floor/kubelet").contains("'--hostname-override=floor'"));
        assert!(text("system/floor/containerd").contains("exec 'containerd' "));
        assert!(text("etc/kubernetes/kubelet.yaml").contains("staticPodPath"));
        assert_eq!(text("system/floor/network"), "ADDRESS=10.5.0.2/24\nGATEWAY=10.5.0.1\n");
        for path in ["system/secrets/etcd/server.crt", "system/floor/manifests/kube-scheduler.json"] {
            assert!(!text(path).is_empty(), "{path}");
        }
        let link =
            papers.tree.get("var/lib/kubelet/pki/kubelet-client-current.pem").map(|node| &node.content);
        assert!(matches!(link, Some(Content::Link(_))), "{link:?}");
        let counts: Vec<(Stage, usize)> =
            papers.images.iter().map(|(stage, names)| (*stage, names.len())).collect();
        let expected = [(Stage::ControlPlane, 4), (Stage::HostNetwork, 2), (Stage::Pods, 1)];
        assert_eq!(counts, expected, "{:?}", papers.images);
        let network: Value = serde_json::from_str(&text("system/floor/cni.conflist").replace("@MTU@", "9"))
            .expect("a template of JSON");
        assert_eq!(network["plugins"][0]["ipam"]["ranges"], json!([[{ "subnet": "@SUBNET@" }]]));
        assert!(papers.tree.get(NETWORK).is_none() && papers.tree.get(SUBNET_FILE).is_none());
        let list: Value = serde_json::from_str(&text("system/floor/bootstrap.json")).expect("JSON");
        let is_flannel =
            |object: &Value| object["kind"] == "DaemonSet" && object["metadata"]["name"] == "kube-flannel";
        assert!(list["items"].as_array().expect("a list").iter().any(is_flannel), "{list}");
        assert!(text("system/floor/kubeconfig").contains("client-certificate-data"));
        assert!(papers.admin.contains("client-certificate-data"));
    }
}
