//! What a machine of the floor is told: everything that our machine makes for itself from its configuration, made here
//! beforehand.
//!
//! ```text
//! machine configuration ─▶ our own controllers, in memory ─▶ keys, certificates, static pods, command lines ─▶ papers
//! ```
//!
//! So the floor's Kubernetes has the flags, environment and files of ours, today's and tomorrow's. What differs:
//! static pods come from a folder instead of our data plane, there is no KubePrism and no host DNS (the configuration
//! switches them off), and etcd runs as root.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use corten_base::{Clock, Platform, Rng};
use corten_controllers_kubernetes as kubernetes;
use corten_controllers_kubernetes::{Disk, Machine};
use corten_controllers_runtime as runtime;
use corten_image_builder::Tree;
use corten_resource::{ControllerStatus, Runtime, State, StateOptions};
use corten_resources::config::{MachineConfig, MachineType, Role};
use corten_resources::etcd::EtcdPkiStatus;
use corten_resources::kubernetes::{
    ApiServerStatus, ConfigStatus, SecretStatus, StaticPod, StaticPodServerStatus,
};
use corten_resources::network::{HostnameStatus, NodeAddress, SortAlgorithm};
use corten_resources::secrets::KubernetesSecrets;
use corten_resources::service::{Runner, Service, ServiceSpec};
use serde_json::{Value, json};

/// Configuration of the floor, besides what ours has: what only our own programs serve is off.
pub const WITHOUT_OUR_PROGRAMS: &str =
    "machine:\n  features:\n    kubePrism:\n      enabled: false\n    hostDNS:\n      enabled: false\n";

/// Where the floor's script looks for what is for itself.
const FLOOR: &str = "system/floor";
/// The kubelet's configuration file, which names the source of static pods.
const KUBELET: &str = "etc/kubernetes/kubelet.yaml";
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
    /// Names of the images that must be there before the API server can start.
    pub images: BTreeSet<String>,
    /// An administrator's kubeconfig.
    pub admin: String,
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
    let mut images: BTreeSet<String> = containerd.cri.iter().map(|cri| cri.sandbox_image.clone()).collect();
    for (name, pod) in &rendered.pods {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        images.extend(containers.filter_map(|container| container["image"].as_str().map(str::to_owned)));
        tree.file(&format!("{FLOOR}/manifests/{name}.json"), 0o444, pod.to_string());
    }
    tree.file("etc/cri/containerd.toml", 0o400, corten_containerd::config::render(&containerd));
    tree.file("etc/cni/net.d/10-floor.conflist", 0o444, include_str!("../../floor/cni.conflist"));
    tree.file(&format!("{FLOOR}/network"), 0o444, network(addressee));
    Ok(Papers { tree, images, admin: rendered.admin })
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
    admin: String,
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
    let _running = controllers.start().context("the controllers do not fit together")?;
    if tokio::time::timeout(SETTLE_MAX, settled(&state)).await.is_err() {
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
    Ok(Rendered {
        services: services.into_iter().map(|one| (one.id().to_owned(), one.spec.clone())).collect(),
        pods: pods
            .into_iter()
            .map(|one| (one.id().to_owned(), Value::Object(one.spec.pod.clone())))
            .collect(),
        admin: secrets.spec.admin_kubeconfig.clone(),
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
    use kubernetes::{control_plane, etcd, kubelet, node};
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
        .register_transform(node::identity::NodeAddresses);
}

/// Waits until everything that papers are made of is there, and on disk.
async fn settled(state: &State) {
    use kubernetes::control_plane::{API_SERVER, CONTROLLER_MANAGER, SCHEDULER};
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
        assert_eq!(papers.images.len(), 4, "{:?}", papers.images);
        assert!(papers.admin.contains("client-certificate-data"));
    }
}
