//! The control groups that every machine has, with what is reserved for them.

use corten_sys::cgroup::{Cgroups, Limits};

use crate::log::Log;

const MIB: u64 = 1 << 20;

/// Group of init and machined.
pub const INIT: &str = "init";

/// A group with its reservation and bound in MiB; zero is none.
struct Group {
    path: &'static str,
    reserved: u64,
    preferred: u64,
    most: u64,
}

const fn group(path: &'static str, reserved: u64) -> Group {
    Group { path, reserved, preferred: 0, most: 0 }
}

const fn bounded(path: &'static str, reserved: u64, most: u64) -> Group {
    Group { path, reserved, preferred: 0, most }
}

const GROUPS: [Group; 15] = [
    group(INIT, 96),
    group("system/runtime", 48),
    bounded("system/apid", 16, 128),
    bounded("system/trustd", 8, 128),
    bounded("system/dataplane", 16, 128),
    group("system/udevd", 8),
    group("system/extensions", 0),
    bounded("system/dashboard", 0, 128),
    group("system/installer", 0),
    group("system/debug", 0),
    group("system/sandbox", 32),
    group("podruntime/runtime", 196),
    group("podruntime/shim", 48),
    Group { path: "podruntime/etcd", reserved: 0, preferred: 256, most: 0 },
    group("podruntime/kubelet", 96),
];

/// Makes the groups and moves init into its own. Failures are logged: a host may give us less than we ask for.
pub fn create_all(cgroups: &Cgroups, log: &mut Log) {
    if let Err(error) = cgroups.create(INIT).and_then(|()| cgroups.join(INIT, std::process::id())) {
        log.failure("control groups", &error);
    }
    if let Err(error) = cgroups.enable_controllers() {
        log.failure("control groups", &error);
    }
    for group in GROUPS {
        let made = cgroups.create(group.path).and_then(|()| cgroups.limit(group.path, &limits(&group)));
        if let Err(error) = made {
            log.failure("control groups", &error);
        }
    }
    reserve_for_parents(cgroups, log);
}

/// A reservation holds only as far as all groups above it have it too.
fn reserve_for_parents(cgroups: &Cgroups, log: &mut Log) {
    for parent in ["system", "podruntime"] {
        let inside = |group: &&Group| group.path.split('/').next() == Some(parent);
        let reserved: u64 = GROUPS.iter().filter(inside).map(|group| group.reserved).sum();
        let limits = Limits { memory_min_bytes: Some(reserved * MIB), ..Limits::default() };
        if let Err(error) = cgroups.limit(parent, &limits) {
            log.failure("control groups", &error);
        }
    }
}

fn limits(group: &Group) -> Limits {
    let bytes = |mib: u64| (mib > 0).then_some(mib * MIB);
    Limits {
        memory_min_bytes: bytes(group.reserved),
        memory_low_bytes: bytes(group.preferred),
        memory_max_bytes: bytes(group.most),
        cpu_weight: None,
    }
}
