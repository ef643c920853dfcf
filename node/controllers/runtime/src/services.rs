//! Services that belong to the machine itself.
//!
//!     capabilities, MachineType, APIServiceConfig, file statuses ──▶ ServiceSpecs: apid, trustd, dataplane, cri, udevd

use std::time::Duration;

use corten_base::paths;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::{MachineConfig, MachineType};
use corten_resources::files::EtcFileStatus;
use corten_resources::network::NetworkStatus;
use corten_resources::service::{HealthCheck, HealthProbe, ProcessRun, Restart, Runner, ServiceSpec};

use crate::Machine;
use crate::cri_files::CRI_FILES;

/// Says which of the machine's own services should run, and what they wait for.
pub struct SystemServices {
    machine: Machine,
}

controller!(SystemServices, "runtime.SystemServices",
    inputs: [weak MachineConfig, weak MachineType, weak EtcFileStatus, weak NetworkStatus],
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
        plan.put("apid", apid()).put("dataplane", dataplane());
        if self.machine.capabilities.udev {
            plan.put("udevd", udevd());
        }
        if view.get::<MachineConfig>(MachineConfig::ACTIVE).is_none() {
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

fn apid() -> ServiceSpec {
    let run = unprivileged("apid", paths::APID_UID, "/system/apid");
    process(run, check(HealthProbe::Tcp, "127.0.0.1:50000", 30))
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

fn cri(view: &View<SystemServices>) -> ServiceSpec {
    let run = ProcessRun {
        args: ["/usr/bin/containerd", "--address", paths::CRI_SOCKET, "--config", "/etc/cri/containerd.toml"]
            .map(str::to_owned)
            .to_vec(),
        environment: vec![
            "PATH=/usr/bin:/usr/sbin:/opt/cni/bin".to_owned(),
            "GOGC=50".to_owned(),
            "NOTIFY_SOCKET=".to_owned(),
        ],
        cgroup: "/podruntime/runtime".to_owned(),
        oom_score_adjust: -999,
        keep_children: true,
        ..ProcessRun::default()
    };
    let mut spec = process(run, check(HealthProbe::Containerd, paths::CRI_SOCKET, 30));
    match view.get::<EtcFileStatus>(CRI_FILES) {
        Some(files) => spec.revision = files.spec.spec_version.clone(),
        None => spec.waiting_for.push("cri configuration files".to_owned()),
    }
    if !network_ready(view) {
        spec.waiting_for.push("network".to_owned());
    }
    spec
}

fn network_ready(view: &View<SystemServices>) -> bool {
    view.get::<NetworkStatus>("status")
        .is_some_and(|status| status.spec.address_ready && status.spec.etc_files_ready)
}
