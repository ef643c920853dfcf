//! Kubernetes on the machine: kubelet, node, static pods, the way to the API server.

use corten_resource::{ControllerState, ControllerStatus};
use corten_resources::kubernetes::{
    BootstrapManifestsConfig, KubePrismConfig, KubePrismStatus, NodeIp, NodeStatus, Nodename, StaticPodStatus,
};
use corten_resources::network::NodeAddress;
use corten_resources::service::Service;

use serde_json::Value;

use crate::{Diagnosis, Evidence, Facts, Severity, containers};

/// What the kubelet says when it cannot reach the API server.
const NO_API: &[&str] =
    &["no such host", "connection refused", "no route to host", "i/o timeout", "context deadline exceeded"];
/// What it says when the API server does not want it.
const NOT_WELCOME: &[&str] =
    &["x509: certificate signed by unknown authority", "Unauthorized", "x509: certificate is valid for"];
/// What it says when that is over: it was welcome after all, or has begun anew and came less far.
const WELCOME_OR_ANEW: &[&str] =
    &["Successfully registered node", "failed to parse kubelet flag", "failed to load kubelet config"];
/// What it says of a node that is not ready.
const NOT_READY: &[&str] = &[
    "KubeletNotReady",
    "NetworkPluginNotReady",
    "container runtime is down",
    "PLEG is not healthy",
    "Node not becoming ready in time",
];
/// Control plane without an API server: nothing there can be reached.
const CONTROL_PLANE: &[&str] =
    &["etcd-not-bootstrapped", "etcd-removed", "etcd-no-space", "etcd-no-quorum", "etcd-unwell"];

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "discovery-unreachable",
        title: "A discovery service does not answer.",
        why: "Machines that are new to the cluster are not found by others; those that are known stay known.",
        remedy: &[
            "See that the service is let through: TCP port 443 of its address.",
            "Where there is no way out, name a discovery service of your own (DiscoveryServiceConfig), or turn discovery off.",
        ],
        severity: Severity::Warning,
        after: &[
            "no-carrier",
            "no-address",
            "no-default-route",
            "no-resolvers",
            "dns-failing",
            "clock-wrong",
        ],
        find: discovery_unreachable,
    },
    Diagnosis {
        id: "stale-node-ip",
        title: "Kubernetes has an address for the node that the machine does not have.",
        why: "The address has changed since the kubelet began. Pods of other nodes, logs and exec go to the old one.",
        remedy: &[
            "Restart the kubelet with `corten service kubelet restart`.",
            "Say with `validSubnets` of the node's addresses (KubeNodeConfig) which one is meant, and keep leases of DHCP stable.",
        ],
        severity: Severity::Problem,
        after: &["no-address"],
        find: stale_node_ip,
    },
    Diagnosis {
        id: "wrong-endpoint",
        title: "The cluster's endpoint cannot be reached.",
        why: "The kubelet of a worker finds the control plane by it. It is wrong, or nobody listens there.",
        remedy: &[
            "See that the endpoint in the configuration (KubeClusterConfig, or cluster.controlPlane.endpoint) is the address of a control plane, a VIP or a load balancer in front of them.",
            "Ask it with `curl -k https://ENDPOINT/version`; port 6443 has to be let through.",
        ],
        severity: Severity::Problem,
        after: &["no-carrier", "no-address", "no-default-route", "no-resolvers", "dns-failing"],
        find: wrong_endpoint,
    },
    Diagnosis {
        id: "kubelet-refused",
        title: "The API server does not accept the kubelet.",
        why: "Machine and cluster have different authorities or tokens: the configuration is of another cluster, or a CA was changed on one side.",
        remedy: &[
            "Compare the cluster CA and token of this machine's configuration with those of a control plane.",
            "If a certificate is of the wrong time, correct the clock.",
        ],
        severity: Severity::Problem,
        after: &["clock-wrong", "certificate-expired", "certificate-not-yet-valid"],
        find: kubelet_refused,
    },
    Diagnosis {
        id: "kubelet-unwell",
        title: "The kubelet does not work.",
        why: "Pods are not started, stopped or reported.",
        remedy: &[
            "Read why with `corten service kubelet` and `corten logs kubelet`.",
            "An argument or a field of its configuration that it does not know ends it: correct machine.kubelet or KubeletConfig.",
        ],
        severity: Severity::Problem,
        after: &[
            "no-hostname",
            "no-address",
            "time-server-unreachable",
            "time-servers-missing",
            "image-not-pulled",
            "volume-failed",
            "volume-waits",
            "disk-full",
            "service-crash-loop",
        ],
        find: kubelet_unwell,
    },
    Diagnosis {
        id: "static-pod-crash-loop",
        title: "A component of the control plane starts and fails, again and again.",
        why: "It does not like its arguments, or cannot reach etcd.",
        remedy: &[
            "Read its last words with `corten logs -k`; `corten containers -k` has its name.",
            "Undo what was changed of its arguments in the configuration.",
        ],
        severity: Severity::Problem,
        after: CONTROL_PLANE,
        find: static_pod_crash_loop,
    },
    Diagnosis {
        id: "static-pod-not-ready",
        title: "A component of the control plane is not ready.",
        why: "It starts, or does not answer its probe.",
        remedy: &["See it with `corten containers -k`, and its log with `corten logs -k`."],
        severity: Severity::Problem,
        after: &[
            "static-pod-crash-loop",
            "image-not-pulled",
            "etcd-not-bootstrapped",
            "etcd-no-space",
            "etcd-no-quorum",
            "etcd-unwell",
            "kubelet-unwell",
        ],
        find: static_pod_not_ready,
    },
    Diagnosis {
        id: "kubeprism-down",
        title: "KubePrism reaches no API server.",
        why: "The kubelet and others on this machine talk to Kubernetes through it, at 127.0.0.1:7445.",
        remedy: &[
            "See with `corten get kubeprismendpoints -o yaml` whom it tries.",
            "See whether one of them answers, and that TCP port 6443 is let through.",
        ],
        severity: Severity::Problem,
        after: &[
            "no-carrier",
            "no-address",
            "no-default-route",
            "etcd-not-bootstrapped",
            "etcd-removed",
            "etcd-no-space",
            "etcd-no-quorum",
            "etcd-unwell",
            "wrong-endpoint",
            "static-pod-crash-loop",
            "static-pod-not-ready",
            "kubelet-unwell",
            "service-unwell",
        ],
        find: kubeprism_down,
    },
    Diagnosis {
        id: "node-not-registered",
        title: "The machine is no node of the cluster yet.",
        why: "Its kubelet has not registered it with an API server, or nobody approved its certificate.",
        remedy: &[
            "Read `corten logs kubelet`: it says what it waits for.",
            "See with kubectl whether a certificate signing request of the node is pending.",
        ],
        severity: Severity::Problem,
        after: &[
            "wrong-endpoint",
            "kubeprism-down",
            "kubelet-refused",
            "kubelet-unwell",
            "etcd-not-bootstrapped",
            "static-pod-not-ready",
            "duplicate-hostname",
        ],
        find: node_not_registered,
    },
    Diagnosis {
        id: "node-not-ready",
        title: "The node is not ready.",
        why: "Kubernetes places no pods on it, and moves away those that are there.",
        remedy: &[
            "Read what the kubelet says of it; `kubectl describe node` has the conditions.",
            "If it says nothing, it may not reach the API server: see the other findings.",
        ],
        severity: Severity::Problem,
        after: &[
            "disk-full",
            "memory-low",
            "cni-missing",
            "kubelet-unwell",
            "kubelet-refused",
            "wrong-endpoint",
            "kubeprism-down",
            "clock-wrong",
        ],
        find: node_not_ready,
    },
    Diagnosis {
        id: "node-cordoned",
        title: "The node takes no new pods.",
        why: "Somebody has cordoned it, or it was drained for a restart that has not come.",
        remedy: &["Allow them again with `kubectl uncordon NODE`."],
        severity: Severity::Note,
        after: &[],
        find: node_cordoned,
    },
];

/// Restarts from which on a container that is not ready loops.
const RESTARTS_MIN: u64 = 2;

/// Whether the node is known, and not ready.
pub(crate) fn is_not_ready(facts: &Facts) -> bool {
    facts.list::<NodeStatus>().any(|node| !node.node_ready)
}

/// Whether the configuration leaves the network of pods to others.
pub(crate) fn has_no_cni(facts: &Facts) -> bool {
    let manifests = facts.list::<BootstrapManifestsConfig>().map(|config| config.cni_name.as_str());
    manifests.chain([facts.vitals.cni.as_str()]).any(|name| matches!(name, "none" | "custom"))
}

fn discovery_unreachable(facts: &Facts) -> Vec<Evidence> {
    let registry = facts.get::<ControllerStatus>("cluster.ServiceRegistry");
    let away =
        registry.filter(|status| status.state != ControllerState::Running && !status.reason.is_empty());
    // A machine that has just begun has not been answered yet.
    let away = away.filter(|_| facts.is_running());
    away.map(|status| Evidence::new("members are not learned from it").with(&status.reason))
        .into_iter()
        .collect()
}

fn stale_node_ip(facts: &Facts) -> Vec<Evidence> {
    let Some(current) = facts.get::<NodeAddress>(NodeAddress::CURRENT) else { return Vec::new() };
    let has = current.ips();
    let stale =
        facts.list::<NodeIp>().flat_map(|node| &node.addresses).filter(|address| !has.contains(address));
    let own: Vec<String> = has.iter().map(ToString::to_string).collect();
    stale
        .map(|address| Evidence::new(format!("the node has {address}, the machine {}", own.join(", "))))
        .collect()
}

fn is_prism_down(facts: &Facts) -> bool {
    facts.list::<KubePrismConfig>().next().is_some()
        && !facts.list::<KubePrismStatus>().any(|prism| prism.healthy)
}

fn wrong_endpoint(facts: &Facts) -> Vec<Evidence> {
    if facts.is_control_plane() || !is_prism_down(facts) {
        return Vec::new();
    }
    let tried = facts.list::<KubePrismConfig>().flat_map(|config| &config.endpoints);
    let tried: Vec<String> = tried.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).collect();
    let line = facts.lines("kubelet", NO_API).next().unwrap_or_default();
    vec![Evidence::new(format!("none of {} answers", tried.join(", "))).with(line)]
}

fn kubelet_refused(facts: &Facts) -> Vec<Evidence> {
    let is_out = is_not_ready(facts) || facts.list::<NodeStatus>().next().is_none();
    let either = [NOT_WELCOME, WELCOME_OR_ANEW].concat();
    let last = facts.lines("kubelet", &either).next().filter(|_| is_out);
    let line = last.filter(|line| NOT_WELCOME.iter().any(|word| line.contains(word)));
    line.map(|line| Evidence::new("the kubelet is refused").with(line)).into_iter().collect()
}

fn kubelet_unwell(facts: &Facts) -> Vec<Evidence> {
    if !facts.is_ill("kubelet") || !facts.is_running() {
        return Vec::new();
    }
    let said = facts.complaints("kubelet");
    let log = facts
        .lines("kubelet", &["command failed", "failed to run Kubelet", "failed to load Kubelet config"])
        .next();
    let evidence =
        said.iter().fold(Evidence::new("the kubelet is not running, or not healthy"), Evidence::with);
    vec![evidence.with(log.unwrap_or_default())]
}

fn static_pod_crash_loop(facts: &Facts) -> Vec<Evidence> {
    containers::of_static_pods(facts)
        .filter_map(|(pod, container)| Some((pod, why_it_loops(container)?)))
        .map(|(pod, said)| Evidence::new(format!("{pod} does not stay up")).with(said))
        .collect()
}

/// What the kubelet says of a container that ends again and again. Between two waits such a container runs for a moment,
/// or has just ended.
fn why_it_loops(container: &Value) -> Option<String> {
    let (reason, message) = containers::waits(container);
    if reason == "CrashLoopBackOff" {
        return Some(message.to_owned());
    }
    let ends = ["state", "lastState"].into_iter().map(|state| &container[state]["terminated"]);
    let code = ends.filter_map(|end| end["exitCode"].as_i64()).find(|code| *code != 0)?;
    let restarts = container["restartCount"].as_u64().unwrap_or_default();
    let is_up = container["ready"] == true;
    (restarts >= RESTARTS_MIN && !is_up)
        .then(|| format!("it was restarted {restarts} times, and ended with {code} the last time"))
}

fn static_pod_not_ready(facts: &Facts) -> Vec<Evidence> {
    let condition = |pod: &StaticPodStatus| {
        let conditions = pod.pod_status.get("conditions").and_then(|list| list.as_array());
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        ready
            .filter(|ready| ready["status"] != "True")
            .map(|ready| ready["message"].as_str().unwrap_or_default().to_owned())
    };
    let missing = facts.list::<StaticPodStatus>().filter_map(|pod| Some((pod.id(), condition(&pod.spec)?)));
    missing.map(|(pod, said)| Evidence::new(format!("{pod} is not ready")).with(said)).collect()
}

fn kubeprism_down(facts: &Facts) -> Vec<Evidence> {
    if !is_prism_down(facts) {
        return Vec::new();
    }
    let endpoints = facts.list::<KubePrismConfig>().flat_map(|config| &config.endpoints);
    let names: Vec<String> =
        endpoints.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).collect();
    vec![Evidence::new(format!("none of its endpoints answers: {}", names.join(", ")))]
}

fn node_not_registered(facts: &Facts) -> Vec<Evidence> {
    let is_up = facts.get::<Service>("kubelet").is_some_and(|kubelet| kubelet.running) && facts.is_running();
    let name = facts.list::<Nodename>().next().filter(|name| !name.skip_node_registration);
    let is_known = facts.list::<NodeStatus>().next().is_some() || !facts.has_read::<NodeStatus>();
    let Some(name) = name.filter(|_| is_up && !is_known) else { return Vec::new() };
    let line = facts.lines("kubelet", NO_API).chain(facts.lines("kubelet", NOT_WELCOME)).next();
    vec![Evidence::new(format!("there is no node {} yet", name.nodename)).with(line.unwrap_or_default())]
}

fn node_not_ready(facts: &Facts) -> Vec<Evidence> {
    let ill = facts.list::<NodeStatus>().filter(|node| !node.node_ready);
    let line = facts.lines("kubelet", NOT_READY).next().unwrap_or_default();
    ill.map(|node| Evidence::new(format!("node {} is not ready", node.nodename)).with(line)).collect()
}

fn node_cordoned(facts: &Facts) -> Vec<Evidence> {
    let closed = facts.list::<NodeStatus>().filter(|node| node.unschedulable);
    closed.map(|node| Evidence::new(format!("node {} is cordoned", node.nodename))).collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;
    use corten_resource::{AnyResource, Metadata};
    use corten_resources::config::Role;
    use corten_resources::kubernetes::KubePrismEndpoint;

    use super::*;
    use crate::testing::{check, check_absent, facts, find, ids, role, running, service, vitals};
    use crate::vitals::{ServiceFact, Vitals};

    fn node(node_ready: bool, unschedulable: bool) -> AnyResource {
        let nodename = "w-1".to_owned();
        resource("w-1", NodeStatus { nodename, node_ready, unschedulable, ..NodeStatus::default() })
    }

    fn prism(healthy: bool, kind: Role) -> Facts {
        let endpoints = vec![KubePrismEndpoint { host: "kube.test".to_owned(), port: 6443 }];
        let config = KubePrismConfig { endpoints, ..KubePrismConfig::default() };
        facts([
            resource("k8s-loadbalancer", config),
            resource("k8s-loadbalancer", KubePrismStatus { healthy, ..KubePrismStatus::default() }),
            role(kind),
        ])
    }

    #[test]
    fn a_worker_that_reaches_no_api_server_has_a_wrong_endpoint() {
        check(&prism(false, Role::Worker), "wrong-endpoint", "none of kube.test:6443 answers");
        let down = find(&prism(false, Role::Worker), "kubeprism-down").expect("found");
        assert_eq!(down.because, ["wrong-endpoint"]);
        check(
            &prism(false, Role::ControlPlane),
            "kubeprism-down",
            "none of its endpoints answers: kube.test:6443",
        );
        check_absent(&prism(false, Role::ControlPlane), "wrong-endpoint");
        assert!(ids(&prism(true, Role::Worker)).is_empty());
    }

    #[test]
    fn an_address_that_is_gone_is_stale() {
        let node_ip = |address: &str| {
            resource("kubelet", NodeIp { addresses: vec![address.parse().expect("an address")] })
        };
        let addresses = vec!["10.5.0.2/24".parse().expect("an address")];
        let current = resource(NodeAddress::CURRENT, NodeAddress { addresses, ..NodeAddress::default() });
        check(
            &facts([node_ip("10.5.0.9"), current.clone()]),
            "stale-node-ip",
            "the node has 10.5.0.9, the machine 10.5.0.2",
        );
        check_absent(&facts([node_ip("10.5.0.2"), current]), "stale-node-ip");
    }

    #[test]
    fn why_a_kubelet_is_not_running_is_told() {
        let services = vec![service("kubelet", "Waiting", "Waiting for time sync")];
        let mut ill = vitals(Vitals { services, ..Vitals::default() });
        ill.read("MachineStatuses.runtime.talos.dev", [running()]);
        ill.read("Services.v1alpha1.talos.dev", [resource("kubelet", Service::default())]);
        check(&ill, "kubelet-unwell", "the kubelet is not running, or not healthy");
        let found = find(&ill, "kubelet-unwell").expect("found");
        assert_eq!(found.evidence[0].details, ["Waiting: Waiting for time sync"]);
    }

    #[test]
    fn a_kubelet_that_starts_and_fails_is_unwell_between_its_attempts_and_not_refused() {
        let kubelet = ServiceFact { failures: 3, ..service("kubelet", "Waiting", "task failed") };
        let mut failing = vitals(Vitals { services: vec![kubelet], ..Vitals::default() });
        failing.read("MachineStatuses.runtime.talos.dev", [running()]);
        failing.log("kubelet", "E0101 Unauthorized\nE0102 failed to parse kubelet flag: unknown flag: --x\n");
        check(&failing, "kubelet-unwell", "the kubelet is not running, or not healthy");
        check_absent(&failing, "kubelet-refused");
    }

    #[test]
    fn a_node_is_not_there_not_ready_or_closed() {
        check(&facts([node(false, false)]), "node-not-ready", "node w-1 is not ready");
        check(&facts([node(true, true)]), "node-cordoned", "node w-1 is cordoned");
        let name = Nodename { nodename: "w-1".to_owned(), ..Nodename::default() };
        let kubelet = Service { running: true, healthy: true, unknown: false };
        let mut nobody = facts([running(), resource("nodename", name), resource("kubelet", kubelet)]);
        check_absent(&nobody, "node-not-registered");
        nobody.read("NodeStatuses.kubernetes.talos.dev", []);
        check(&nobody, "node-not-registered", "there is no node w-1 yet");
        nobody.log("kubelet", "E0101 x509: certificate signed by unknown authority\n");
        check(&nobody, "kubelet-refused", "the kubelet is refused");
    }

    #[test]
    fn a_component_that_loops_explains_that_it_is_not_ready() {
        let yaml = "conditions:\n    - type: Ready\n      status: \"False\"\n      message: not up\n\
                    containerStatuses:\n    - name: a\n      state:\n          waiting:\n              reason: CrashLoopBackOff\n";
        let metadata = Metadata::new("k8s", "StaticPodStatuses.kubernetes.talos.dev", "kube-system/a");
        let pod = AnyResource::from_yaml::<StaticPodStatus>(metadata, yaml).expect("YAML");
        let found = facts([pod]);
        check(&found, "static-pod-crash-loop", "kube-system/a does not stay up");
        check(&found, "static-pod-not-ready", "kube-system/a is not ready");
        assert_eq!(find(&found, "static-pod-not-ready").expect("found").because, ["static-pod-crash-loop"]);
    }

    #[test]
    fn a_component_that_loops_is_known_also_while_it_runs_for_a_moment() {
        let pod = |ready: bool, restarts: u32, code: u32| {
            let yaml = format!(
                "containerStatuses:\n    - name: a\n      ready: {ready}\n      restartCount: {restarts}\n      \
                 state:\n          running: {{}}\n      lastState:\n          terminated:\n              exitCode: {code}\n"
            );
            let metadata = Metadata::new("k8s", "StaticPodStatuses.kubernetes.talos.dev", "kube-system/a");
            facts([AnyResource::from_yaml::<StaticPodStatus>(metadata, &yaml).expect("YAML")])
        };
        check(&pod(false, 2, 1), "static-pod-crash-loop", "kube-system/a does not stay up");
        for well in [pod(true, 2, 1), pod(false, 1, 1), pod(false, 2, 0)] {
            check_absent(&well, "static-pod-crash-loop");
        }
    }

    #[test]
    fn a_discovery_service_that_is_away_is_told_of_once_the_machine_runs() {
        let (state, reason) = (ControllerState::Failed, "it has not answered yet".to_owned());
        let status = resource("cluster.ServiceRegistry", ControllerStatus { state, reason, failures: 1 });
        check(
            &facts([status.clone(), running()]),
            "discovery-unreachable",
            "members are not learned from it",
        );
        check_absent(&facts([status]), "discovery-unreachable");
    }
}
