//! The machine as a running system: configuration, memory, kernel, services, controllers.

use std::time::Duration;

use corten_resource::{ControllerState, ControllerStatus};
use corten_resources::runtime::{
    Diagnostic, KernelModuleSpec, KernelModuleStatus, KernelParamSpec, KernelParamStatus, MachineStage,
    MachineStatus,
};
use corten_resources::service::Service;

use crate::vitals::ServiceFact;
use crate::{Diagnosis, Evidence, Facts, Severity, table};

/// What the kernel keeps of a machine's memory for itself, MiB.
const KERNEL_MIB: u64 = 150;
/// Least memory of a control plane and of a worker, MiB (node.md 9).
const MEMORY_MIN: (u64, u64) = (1848 - KERNEL_MIB, 1024 - KERNEL_MIB);
/// A machine with less than this part of its memory left is about to kill something.
const MEMORY_PART_MIN: u64 = 20;
/// With so much left it is not low on memory however large it is.
const MEMORY_ENOUGH: u64 = 512 << 20;
/// What the kernel says when it kills for memory.
const KILLS: &[&str] = &["Out of memory: Killed process", "Memory cgroup out of memory: Killed process"];
/// A service that failed as often within its last changes does not come up.
const FAILURES_MIN: u32 = 3;
/// A failure that is older is history.
const FAILURES_AGE: Duration = Duration::from_secs(15 * 60);
/// A controller that failed as often in a row does not get over it.
const CONTROLLER_FAILURES_MIN: u32 = 4;
/// Services that diagnoses of their own are about.
const OWN: &[&str] = &["etcd", "kubelet"];

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "configuration-missing",
        title: "The machine waits for its configuration.",
        why: "It is blank, was reset, or what it found is not complete: there is no `v1alpha1` document. Nothing runs until it has one.",
        remedy: &[
            "Give it one with `corten apply-config --insecure -n ADDRESS -f FILE`.",
            "If it should have found one, see `corten dmesg --insecure` for what it tried and what was wrong.",
        ],
        severity: Severity::Problem,
        after: &["no-address"],
        find: configuration_missing,
    },
    Diagnosis {
        id: "configuration-staged",
        title: "A configuration waits for the next start.",
        why: "It was applied with the mode `staged`, or another one is being tried; the one in effect is not the one on disk.",
        remedy: &[
            "See both with `corten get mc -o yaml`, and restart the machine with `corten reboot` when it suits.",
        ],
        severity: Severity::Note,
        after: &[],
        find: configuration_staged,
    },
    Diagnosis {
        id: "memory-too-small",
        title: "The machine has too little memory.",
        why: "What its role needs does not fit: something will be killed, and often it is etcd or the API server.",
        remedy: &[
            "Give it at least 2 GiB as a control plane and 1 GiB as a worker; 4 and 2 GiB are comfortable.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: memory_too_small,
    },
    Diagnosis {
        id: "memory-low",
        title: "Memory is nearly used up.",
        why: "Everything becomes slow, then the kernel kills what it can spare least.",
        remedy: &[
            "See with `corten processes` and `corten stats -k` who uses it.",
            "Set limits on pods, move some to other machines, or give the machine more memory.",
        ],
        severity: Severity::Problem,
        after: &["memory-too-small"],
        find: memory_low,
    },
    Diagnosis {
        id: "out-of-memory",
        title: "The kernel killed a process for want of memory.",
        why: "A container reached its limit, or the machine had nothing left. What was killed starts again, and dies again.",
        remedy: &[
            "See in the line who was killed, and whether by the limit of its cgroup.",
            "Raise the limit of that container, or give the machine more memory.",
        ],
        severity: Severity::Warning,
        after: &["memory-too-small", "memory-low"],
        find: out_of_memory,
    },
    Diagnosis {
        id: "kernel-module-missing",
        title: "A kernel module that is asked for is not loaded.",
        why: "This kernel does not have it, or it refused its parameters. What needs the module does not work.",
        remedy: &[
            "See `corten get controllers runtime.KernelModuleLoad` for what the kernel said.",
            "Correct the name in the configuration, or use an image whose kernel has the module.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: module_missing,
    },
    Diagnosis {
        id: "kernel-parameter-refused",
        title: "A kernel parameter that is asked for cannot be set.",
        why: "This kernel does not have it, does not accept the value, or it is not the machine's own to set, as in a container.",
        remedy: &["Correct its name or value in the configuration, or take it out."],
        severity: Severity::Problem,
        after: &["kernel-module-missing"],
        find: parameter_refused,
    },
    Diagnosis {
        id: "service-crash-loop",
        title: "A service starts and fails, again and again.",
        why: "It does not like its configuration, or something it needs is not there. Between the attempts it does nothing.",
        remedy: &["Read why with `corten logs SERVICE`; its last words are the reason more often than not."],
        severity: Severity::Problem,
        after: &["disk-full", "disk-errors", "memory-low", "out-of-memory"],
        find: crash_loop,
    },
    Diagnosis {
        id: "service-unwell",
        title: "A service of the machine does not work.",
        why: "It is not running, or it runs and does not answer its health check.",
        remedy: &["Read why with `corten service SERVICE` and `corten logs SERVICE`."],
        severity: Severity::Problem,
        after: &["service-crash-loop", "disk-full"],
        find: service_unwell,
    },
    Diagnosis {
        id: "controller-failing",
        title: "A part of the configuration has no effect.",
        why: "The controller that is to bring it about fails each time it tries. The other parts are in effect.",
        remedy: &[
            "Read what it says; `corten get controllers` has all of them.",
            "Correct the part of the configuration that it names, or what is in its way.",
        ],
        severity: Severity::Problem,
        after: &[
            "disk-full",
            "disk-errors",
            "volume-failed",
            "no-address",
            "no-default-route",
            "dns-failing",
            "kernel-module-missing",
            "kernel-parameter-refused",
        ],
        find: controller_failing,
    },
    Diagnosis {
        id: "machine-warns",
        title: "The machine warns of something itself.",
        why: "It compares what it is told with what it is, and found a difference.",
        remedy: &["Read what it says; `corten get diagnostics` has the details."],
        severity: Severity::Warning,
        after: &[],
        find: machine_warns,
    },
];

fn when(is_so: bool, what: impl FnOnce() -> String) -> Vec<Evidence> {
    is_so.then(|| Evidence::new(what())).into_iter().collect()
}

fn configuration_missing(facts: &Facts) -> Vec<Evidence> {
    let waits = facts.list::<MachineStatus>().any(|machine| machine.stage == MachineStage::Maintenance);
    when(waits, || "the machine is in maintenance".to_owned())
}

fn configuration_staged(facts: &Facts) -> Vec<Evidence> {
    when(facts.vitals.staged_configuration, || {
        "the configuration on disk is not the one in effect".to_owned()
    })
}

fn memory_too_small(facts: &Facts) -> Vec<Evidence> {
    let minimum = if facts.is_control_plane() { MEMORY_MIN.0 } else { MEMORY_MIN.1 };
    let Some(memory) = &facts.vitals.memory else { return Vec::new() };
    let has = memory.total >> 20;
    when(has < minimum, || format!("it has {has} MiB, and needs {minimum} MiB"))
}

fn memory_low(facts: &Facts) -> Vec<Evidence> {
    let Some(memory) = &facts.vitals.memory else { return Vec::new() };
    let is_low = memory.available < MEMORY_ENOUGH && memory.available < memory.total / MEMORY_PART_MIN;
    when(is_low, || format!("{} MiB of {} MiB are left", memory.available >> 20, memory.total >> 20))
}

fn out_of_memory(facts: &Facts) -> Vec<Evidence> {
    let kills: Vec<&str> = facts.lines(Facts::KERNEL, KILLS).collect();
    let last = kills.first().copied().unwrap_or_default();
    let told = when(!kills.is_empty(), || format!("{} kills in the end of the kernel's log", kills.len()));
    told.into_iter().map(|evidence| evidence.with(last)).collect()
}

fn module_missing(facts: &Facts) -> Vec<Evidence> {
    // A kernel without modules, as that of a container's host, lists none.
    if facts.list::<KernelModuleStatus>().next().is_none() {
        return Vec::new();
    }
    let is_loaded = |name: &str| {
        let name = name.replace('-', "_");
        facts.list::<KernelModuleStatus>().any(|module| module.id().replace('-', "_") == name)
    };
    // What is built in is not in the kernel's list; the loader says so of what it could not load.
    let said = facts.controller("runtime.KernelModuleLoad");
    let missing =
        facts.list::<KernelModuleSpec>().filter(|spec| !is_loaded(&spec.name) && said.contains(&spec.name));
    missing.map(|spec| Evidence::new(format!("{} is not loaded", spec.name)).with(said)).collect()
}

fn parameter_refused(facts: &Facts) -> Vec<Evidence> {
    let wanted = facts.list::<KernelParamSpec>().filter(|spec| !spec.ignore_errors);
    let told = wanted.filter_map(|spec| {
        let status = facts.get::<KernelParamStatus>(spec.id())?;
        let name = spec.id().trim_start_matches("proc.sys.");
        let is_refused = status.unsupported;
        is_refused.then(|| Evidence::new(format!("{name} cannot be set to {:?}", spec.value)))
    });
    told.collect()
}

fn is_looping(facts: &Facts, service: &ServiceFact) -> bool {
    let is_down = service.state != "Running" || !service.illness.is_empty();
    is_down && service.failures >= FAILURES_MIN && facts.is_recent(service.failed, FAILURES_AGE)
}

fn crash_loop(facts: &Facts) -> Vec<Evidence> {
    let looping = facts.vitals.services.iter().filter(|service| is_looping(facts, service));
    let told = looping.map(|service| {
        let times = service.failures;
        let log = facts.lines(&service.id, &["error", "Error", "fatal", "panic", "failed"]).next();
        Evidence::new(format!("{} failed {times} times", service.id))
            .with(&service.last_failure)
            .with(log.unwrap_or_default())
    });
    told.collect()
}

fn service_unwell(facts: &Facts) -> Vec<Evidence> {
    let is_meant = |id: &str| {
        let is_told = facts.service(id).is_some_and(|service| is_looping(facts, service));
        facts.is_ill(id) && !OWN.contains(&id) && !is_told && !is_meant_to_rest(facts, id)
    };
    let ill = facts.list::<Service>().filter(|service| is_meant(service.id()));
    let told = ill.map(|service| {
        let verb = if service.running { "runs and is not well" } else { "does not run" };
        let said = facts.complaints(service.id());
        said.iter().fold(Evidence::new(format!("{} {verb}", service.id())), Evidence::with)
    });
    if facts.is_running() { told.collect() } else { Vec::new() }
}

/// Whether a service that does not run is as it should be: it ended well, waits for its use, or was stopped. What is
/// not known is not held against it.
fn is_meant_to_rest(facts: &Facts, id: &str) -> bool {
    let is_running = facts.get::<Service>(id).is_some_and(|service| service.running);
    let state = facts.service(id).map(|service| service.state.as_str());
    !is_running && matches!(state, None | Some("Finished" | "Skipped" | "Initialized"))
}

fn controller_failing(facts: &Facts) -> Vec<Evidence> {
    let is_stuck = |status: &ControllerStatus| {
        status.state == ControllerState::Failed && status.failures >= CONTROLLER_FAILURES_MIN
    };
    let stuck = facts.list::<ControllerStatus>().filter(|status| is_stuck(&status.spec));
    stuck
        .map(|status| {
            Evidence::new(format!("{} failed {} times in a row", status.id(), status.failures))
                .with(&status.reason)
        })
        .collect()
}

fn machine_warns(facts: &Facts) -> Vec<Evidence> {
    // What the machine found by this table is found here again, with more of its causes.
    let is_other = |id: &str| !table().any(|diagnosis| diagnosis.id == id);
    let others = facts.list::<Diagnostic>().filter(|diagnostic| is_other(diagnostic.id()));
    others
        .map(|diagnostic| diagnostic.details.iter().fold(Evidence::new(&diagnostic.message), Evidence::with))
        .collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;
    use corten_resources::config::Role;

    use super::*;
    use crate::testing::{asked, check, check_absent, facts, find, log, role, running, service, vitals};
    use crate::vitals::{MemoryFact, Vitals};

    fn memory(total_mib: u64, available_mib: u64, kind: Role) -> Facts {
        let memory = MemoryFact { total: total_mib << 20, available: available_mib << 20 };
        let mut facts = vitals(Vitals { memory: Some(memory), ..Vitals::default() });
        facts.read("MachineTypes.config.talos.dev", [role(kind)]);
        facts
    }

    #[test]
    fn memory_is_measured_against_the_role_and_what_is_left() {
        let small = memory(1200, 900, Role::ControlPlane);
        check(&small, "memory-too-small", "it has 1200 MiB, and needs 1698 MiB");
        check_absent(&memory(1200, 900, Role::Worker), "memory-too-small");
        check(&memory(4096, 100, Role::Worker), "memory-low", "100 MiB of 4096 MiB are left");
        check_absent(&memory(65536, 1024, Role::Worker), "memory-low");
        let killed = log(Facts::KERNEL, "x\nOut of memory: Killed process 7 (etcd)\n");
        check(&killed, "out-of-memory", "1 kills in the end of the kernel's log");
    }

    #[test]
    fn a_module_is_missing_when_the_loader_says_so() {
        let spec =
            |name: &str| resource(name, KernelModuleSpec { name: name.to_owned(), parameters: vec![] });
        let status = ControllerStatus {
            reason: "cannot load the kernel module no-such".to_owned(),
            ..Default::default()
        };
        let all = [
            spec("no-such"),
            spec("br-netfilter"),
            resource("br_netfilter", KernelModuleStatus::default()),
            resource("runtime.KernelModuleLoad", status),
        ];
        check(&facts(all), "kernel-module-missing", "no-such is not loaded");
    }

    #[test]
    fn a_parameter_that_may_not_fail_and_did_is_told() {
        let id = "proc.sys.no.such";
        let spec = |ignore_errors| resource(id, KernelParamSpec { value: "1".to_owned(), ignore_errors });
        let status = || resource(id, KernelParamStatus { unsupported: true, ..Default::default() });
        check(&facts([spec(false), status()]), "kernel-parameter-refused", "no.such cannot be set to \"1\"");
        check_absent(&facts([spec(true), status()]), "kernel-parameter-refused");
    }

    #[test]
    fn a_service_that_fails_again_and_again_says_what_it_said_last() {
        let looping = |age| {
            let fact = ServiceFact {
                failures: 4,
                last_failure: "Task exited with code 1".to_owned(),
                failed: Some(asked() - Duration::from_secs(age)),
                ..service("ext-x", "Waiting", "")
            };
            let mut facts = vitals(Vitals { services: vec![fact], ..Vitals::default() });
            facts.log("ext-x", "starting\nerror: no such file\n");
            facts
        };
        check(&looping(30), "service-crash-loop", "ext-x failed 4 times");
        let found = find(&looping(30), "service-crash-loop").expect("found");
        assert_eq!(found.evidence[0].details, ["Task exited with code 1", "error: no such file"]);
        check_absent(&looping(3600), "service-crash-loop");
    }

    #[test]
    fn a_service_that_is_down_is_told_of_unless_it_rests() {
        let seen = |state: &str| {
            let services = vec![service("trustd", state, "Waiting for network")];
            let mut facts = vitals(Vitals { services, ..Vitals::default() });
            facts.read("MachineStatuses.runtime.talos.dev", [running()]);
            facts.read("Services.v1alpha1.talos.dev", [resource("trustd", Service::default())]);
            facts
        };
        check(&seen("Waiting"), "service-unwell", "trustd does not run");
        check_absent(&seen("Finished"), "service-unwell");
    }

    #[test]
    fn a_controller_that_does_not_get_over_it_is_told_with_its_reason() {
        let status = |failures| {
            let (state, reason) = (ControllerState::Failed, "no link eth9".to_owned());
            resource("network.LinkApply", ControllerStatus { state, reason, failures })
        };
        check(&facts([status(9)]), "controller-failing", "network.LinkApply failed 9 times in a row");
        check_absent(&facts([status(1)]), "controller-failing");
    }

    #[test]
    fn what_the_machine_found_by_the_same_table_is_not_told_twice() {
        let diagnostic = |id: &str| {
            resource(id, Diagnostic { message: "the disk is another".to_owned(), details: vec![] })
        };
        check(&facts([diagnostic("install-disk")]), "machine-warns", "the disk is another");
        check_absent(&facts([diagnostic("disk-full")]), "machine-warns");
    }

    #[test]
    fn a_machine_in_maintenance_waits_and_one_with_two_configurations_says_so() {
        let stage = MachineStatus { stage: MachineStage::Maintenance, ..MachineStatus::default() };
        check(&facts([resource("machine", stage)]), "configuration-missing", "the machine is in maintenance");
        let staged = vitals(Vitals { staged_configuration: true, ..Vitals::default() });
        check(&staged, "configuration-staged", "the configuration on disk is not the one in effect");
    }
}
