//! Services that belong to the machine itself.
//!
//!     capabilities, MachineType, APIServiceConfig, file statuses ──▶ ServiceSpecs: apid, trustd, dataplane, containerd, cri, udevd

use std::time::Duration;

use corten_base::paths;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::{MachineConfig, MachineType};
use corten_resources::files::EtcFileStatus;
use corten_resources::network::NetworkStatus;
use corten_resources::runtime::ApiServiceConfig;
use corten_resources::service::{
    HealthCheck, HealthProbe, OnDemand, ProcessRun, Restart, Runner, ServiceSpec, UseProbe,
};

use crate::cri_files::{CRI_FILES, SYSTEM_FILES};
use crate::{Machine, api_service, trusted_roots};

/// How long the system's containerd stays after its last use: from a pull to what the image was pulled for, and what
/// is in memory costs little for so long.
const CONTAINERD_IDLE: Duration = Duration::from_secs(120);

/// Says which of the machine's own services should run, and what they wait for.
pub struct SystemServices {
    machine: Machine,
}

controller!(SystemServices, "runtime.SystemServices",
    inputs: [
        weak MachineConfig, weak MachineType, weak EtcFileStatus, weak NetworkStatus, weak ApiServiceConfig
    ],
    outputs: [shared ServiceSpec]);

impl SystemServices {
    /// For this machine.
    pub const fn new(machine: Machine) -> Self {
        Self { machine }
    }
}

impl Transform for SystemServices {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        plan.put("apid", apid(view)).put("dataplane", dataplane()).put("containerd", containerd(view));
        if self.machine.capabilities.udev {
            plan.put("udevd", udevd());
        }
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        if !config.is_some_and(|config| corten_config::is_complete(&config.spec.yaml)) {
            return plan;
        }
        plan.put("cri", cri(view));
        let control_plane =
            view.get::<MachineType>(MachineType::ID).is_some_and(|kind| kind.spec.role.is_control_plane());
        if control_plane {
            plan.put("trustd", trustd(view));
        }
        plan
    }
}

/// A program of ours under a user of its own, without privileges.
fn unprivileged(program: &str, uid: u32, cgroup: &str) -> ProcessRun {
    ProcessRun {
        args: vec![format!("/usr/bin/{program}")],
        uid,
        gid: uid,
        cgroup: cgroup.to_owned(),
        oom_score_adjust: -998,
        no_new_privileges: true,
        read_only_mounts: true,
        ..ProcessRun::default()
    }
}

fn process(process: ProcessRun, health: HealthCheck) -> ServiceSpec {
    ServiceSpec {
        runner: Runner::Process,
        process,
        health,
        restart: Restart::Always,
        ..ServiceSpec::default()
    }
}

fn check(probe: HealthProbe, target: &str, period_seconds: u64) -> HealthCheck {
    HealthCheck {
        probe,
        target: target.to_owned(),
        initial_delay: Duration::from_millis(100),
        period: Duration::from_secs(period_seconds),
        timeout: Duration::from_secs(1),
    }
}

/// apid, asked where it listens: by loopback when it listens on all addresses.
fn apid(view: &View<SystemServices>) -> ServiceSpec {
    let run = unprivileged("apid", paths::APID_UID, "/system/apid");
    let config = view.get::<ApiServiceConfig>(api_service::ID);
    let listens = config.map(|config| config.spec.listen_address.as_str());
    let target = listens.filter(|address| !address.starts_with(':')).unwrap_or("127.0.0.1:50000");
    process(run, check(HealthProbe::Tcp, target, 30))
}

fn trustd(view: &View<SystemServices>) -> ServiceSpec {
    let run = unprivileged("trustd", paths::TRUSTD_UID, "/system/trustd");
    let mut spec = process(run, check(HealthProbe::Tcp, "127.0.0.1:50001", 30));
    if !network_ready(view) {
        spec.waiting_for.push("network".to_owned());
    }
    spec
}

fn dataplane() -> ServiceSpec {
    let mut run = unprivileged("dataplane", paths::DATAPLANE_UID, "/system/dataplane");
    run.capabilities = vec!["CAP_NET_BIND_SERVICE".to_owned()];
    // It reports below /run/dataplane.
    run.read_only_mounts = false;
    process(run, HealthCheck::default())
}

fn udevd() -> ServiceSpec {
    let run = ProcessRun {
        args: vec!["/usr/lib/systemd/systemd-udevd".to_owned(), "--resolve-names=never".to_owned()],
        cgroup: "/system/udevd".to_owned(),
        oom_score_adjust: -1000,
        ..ProcessRun::default()
    };
    process(run, check(HealthProbe::Unix, "/run/udev/control", 60))
}

/// One of the two containerds, with a file of its own below `/etc`.
fn runtime(socket: &str, file: &str, cgroup: &str) -> ServiceSpec {
    let run = ProcessRun {
        args: ["/usr/bin/containerd", "--address", socket, "--config", file].map(str::to_owned).to_vec(),
        environment: vec![
            "PATH=/usr/bin:/usr/sbin:/opt/cni/bin".to_owned(),
            "GOGC=50".to_owned(),
            "NOTIFY_SOCKET=".to_owned(),
        ],
        cgroup: cgroup.to_owned(),
        oom_score_adjust: -999,
        keep_children: true,
        ..ProcessRun::default()
    };
    process(run, check(HealthProbe::Containerd, socket, 30))
}

/// The service with the revision of its files, for which it waits. Authorities are read once, when it starts.
fn with_files(mut spec: ServiceSpec, view: &View<SystemServices>, files: &str) -> ServiceSpec {
    match view.get::<EtcFileStatus>(files) {
        Some(files) => spec.revision = files.spec.spec_version.clone(),
        None => spec.waiting_for.push(format!("{files} to be written")),
    }
    if let Some(roots) = view.get::<EtcFileStatus>(trusted_roots::BUNDLE) {
        spec.revision.push('-');
        spec.revision.push_str(&roots.spec.spec_version);
    }
    spec
}

/// containerd for the machine's own images, in every stage, while somebody uses it.
fn containerd(view: &View<SystemServices>) -> ServiceSpec {
    let mut spec = runtime(paths::CONTAINERD_SOCKET, "/etc/cri/system.toml", "/system/runtime");
    spec.on_demand = Some(OnDemand {
        idle_time: CONTAINERD_IDLE,
        probe: UseProbe::Containerd,
        target: paths::CONTAINERD_SOCKET.to_owned(),
    });
    with_files(spec, view, SYSTEM_FILES)
}

/// containerd for Kubernetes.
fn cri(view: &View<SystemServices>) -> ServiceSpec {
    let spec = runtime(paths::CRI_SOCKET, "/etc/cri/containerd.toml", "/podruntime/runtime");
    let mut spec = with_files(spec, view, CRI_FILES);
    if !network_ready(view) {
        spec.waiting_for.push("network".to_owned());
    }
    spec
}

fn network_ready(view: &View<SystemServices>) -> bool {
    view.get::<NetworkStatus>("status")
        .is_some_and(|status| status.spec.address_ready && status.spec.etc_files_ready)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_base::Platform;
    use corten_resource::AnyResource;
    use corten_resource::testing::resource;

    use super::*;

    fn planned(resources: &[AnyResource]) -> Plan<SystemServices> {
        let platform = Platform::Container;
        let machine = Machine { platform, capabilities: platform.capabilities(), restrict_oom_score: true };
        SystemServices::new(machine).plan(&View::of(resources.to_vec(), SystemTime::UNIX_EPOCH))
    }

    fn configuration(yaml: &str) -> AnyResource {
        resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() })
    }

    fn service(plan: &Plan<SystemServices>, id: &str) -> ServiceSpec {
        plan.output::<ServiceSpec>(id).cloned().expect("a specification")
    }

    #[test]
    fn the_systems_containerd_is_there_without_a_configuration_and_runs_on_demand() {
        let waiting = service(&planned(&[]), "containerd");
        assert_eq!(waiting.waiting_for, ["cri/system.toml to be written"]);
        let files = resource(SYSTEM_FILES, EtcFileStatus { spec_version: "1".into() });
        let plan = planned(&[files]);
        let containerd = service(&plan, "containerd");
        assert!(containerd.waiting_for.is_empty() && containerd.revision == "1");
        let on_demand = containerd.on_demand.expect("on demand");
        assert_eq!((on_demand.idle_time, on_demand.probe), (CONTAINERD_IDLE, UseProbe::Containerd));
        assert!(plan.output::<ServiceSpec>("cri").is_none());
    }

    #[test]
    fn a_containerd_starts_again_when_other_authorities_are_trusted() {
        let files = resource(SYSTEM_FILES, EtcFileStatus { spec_version: "1".into() });
        let roots = resource(trusted_roots::BUNDLE, EtcFileStatus { spec_version: "7".into() });
        let revision = |resources: &[AnyResource]| service(&planned(resources), "containerd").revision;
        assert_eq!(revision(std::slice::from_ref(&files)), "1");
        assert_eq!(revision(&[files, roots]), "1-7");
    }

    #[test]
    fn the_two_containerds_share_no_socket_file_or_group() {
        let plan = planned(&[configuration("version: v1alpha1\n")]);
        let (system, cri) = (service(&plan, "containerd"), service(&plan, "cri"));
        assert!(cri.on_demand.is_none());
        assert_ne!(system.process.args[2], cri.process.args[2]);
        assert_ne!(system.process.args[4], cri.process.args[4]);
        assert_eq!(system.process.cgroup, "/system/runtime");
        assert_eq!(cri.process.cgroup, "/podruntime/runtime");
    }

    #[test]
    fn kubernetes_waits_for_a_complete_configuration() {
        let partial = "{apiVersion: v1alpha1, kind: EventSinkConfig, endpoint: 'h:1'}";
        assert!(planned(&[configuration(partial)]).output::<ServiceSpec>("cri").is_none());
        assert!(planned(&[configuration("version: v1alpha1\n")]).output::<ServiceSpec>("cri").is_some());
    }

    #[test]
    fn apid_is_asked_where_it_listens() {
        let target = |listen_address: &str| {
            let config =
                ApiServiceConfig { listen_address: listen_address.into(), ..ApiServiceConfig::default() };
            service(&planned(&[resource(api_service::ID, config)]), "apid").health.target
        };
        assert_eq!(target(":50000"), "127.0.0.1:50000");
        assert_eq!(target("[fdae::2]:50000"), "[fdae::2]:50000");
        assert_eq!(service(&planned(&[]), "apid").health.target, "127.0.0.1:50000");
    }
}
