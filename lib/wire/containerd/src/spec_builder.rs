//! Builds a runtime specification: closed by default, opened by name.
//!
//! Without further words a container has own namespaces, no capabilities, no devices, a read-only root and
//! masked kernel files, and cannot gain privileges.

use crate::image_config::ImageConfig;
use crate::spec::{
    Capabilities, Cpu, DeviceRule, Linux, Memory, Mount, Namespace, Pids, Process, Resources, Rlimit, Root,
    Spec, User, VERSION,
};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PERIOD: u64 = 100_000;

/// Kernel files that tell about, or act on, the whole host.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Every capability of Linux 6.
pub(crate) const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A specification in the making.
#[derive(Clone, Debug)]
pub struct SpecBuilder {
    spec: Spec,
    image: ImageConfig,
    args: Option<Vec<String>>,
}

impl SpecBuilder {
    /// The closed container.
    #[must_use]
    pub fn new() -> Self {
        let process = Process { cwd: "/".to_owned(), no_new_privileges: true, ..Default::default() };
        let linux = Linux {
            namespaces: ["pid", "network", "ipc", "uts", "mount"].map(own).to_vec(),
            resources: Resources { devices: vec![device_rule(false)], ..Default::default() },
            masked_paths: owned(&MASKED),
            readonly_paths: owned(&READ_ONLY),
            ..Default::default()
        };
        let spec = Spec {
            oci_version: VERSION.to_owned(),
            process,
            root: Root { path: "rootfs".to_owned(), readonly: true },
            mounts: kernel_mounts(),
            linux,
            ..Default::default()
        };
        Self { spec, image: ImageConfig::default(), args: None }
    }

    /// Takes program, environment, working directory and numeric user from an image.
    #[must_use]
    pub fn image(mut self, image: &ImageConfig) -> Self {
        if let Some((uid, gid)) = image.numeric_user() {
            self.spec.process.user = User { uid, gid, additional_gids: Vec::new() };
        }
        if !image.working_dir.is_empty() {
            self.spec.process.cwd.clone_from(&image.working_dir);
        }
        self.spec.process.env.clone_from(&image.env);
        self.image = image.clone();
        self
    }

    /// Program and arguments, instead of the image's entrypoint and arguments.
    #[must_use]
    pub fn command<I: IntoIterator<Item: Into<String>>>(mut self, command: I) -> Self {
        self.image.entrypoint.clear();
        self.args(command)
    }

    /// Arguments after the image's entrypoint.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<String>>>(mut self, args: I) -> Self {
        self.args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let prefix = format!("{name}=");
        self.spec.process.env.retain(|it| !it.starts_with(&prefix));
        self.spec.process.env.push(format!("{prefix}{value}"));
        self
    }

    /// Working directory.
    #[must_use]
    pub fn working_dir(mut self, path: &str) -> Self {
        path.clone_into(&mut self.spec.process.cwd);
        self
    }

    /// User and group.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.spec.process.user = User { uid, gid, additional_gids: Vec::new() };
        self
    }

    /// Whether the first process has a terminal.
    #[must_use]
    pub const fn terminal(mut self, terminal: bool) -> Self {
        self.spec.process.terminal = terminal;
        self
    }

    /// Supplementary groups.
    #[must_use]
    pub fn groups(mut self, groups: &[u32]) -> Self {
        self.spec.process.user.additional_gids = groups.to_vec();
        self
    }

    /// Hostname, in the container's own UTS namespace.
    #[must_use]
    pub fn hostname(mut self, name: &str) -> Self {
        name.clone_into(&mut self.spec.hostname);
        self
    }

    /// Shares namespaces with the host: `network`, `pid`, `ipc`, `uts`, `cgroup`.
    #[must_use]
    pub fn host_namespaces(mut self, kinds: &[&str]) -> Self {
        self.spec.linux.namespaces.retain(|it| !kinds.contains(&it.kind.as_str()));
        self
    }

    /// Capabilities in all sets; `CAP_…` names.
    #[must_use]
    pub fn capabilities(mut self, names: &[&str]) -> Self {
        let names = owned(names);
        let ambient = if self.spec.process.user.uid == 0 { Vec::new() } else { names.clone() };
        self.spec.process.capabilities =
            Capabilities { bounding: names.clone(), effective: names.clone(), permitted: names, ambient };
        self
    }

    /// Everything the host's root may do: all capabilities and devices, nothing masked, /sys writable.
    #[must_use]
    pub fn privileged(mut self) -> Self {
        self = self.capabilities(&CAPABILITIES);
        self.spec.process.no_new_privileges = false;
        self.spec.linux.masked_paths.clear();
        self.spec.linux.readonly_paths.clear();
        self.spec.linux.resources.devices = vec![device_rule(true)];
        for mount in &mut self.spec.mounts {
            if mount.destination.starts_with("/sys") {
                mount.options.retain(|it| it != "ro");
                mount.options.push("rw".to_owned());
            }
        }
        self
    }

    /// Leaves out capabilities that the program starting containers does not have itself.
    #[must_use]
    pub fn without_capabilities(mut self, names: &[&str]) -> Self {
        let sets = &mut self.spec.process.capabilities;
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted, &mut sets.ambient] {
            set.retain(|it| !names.contains(&it.as_str()));
        }
        self
    }

    /// Adds a mount, in place of an earlier one at the same destination.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.spec.mounts.retain(|it| it.destination != mount.destination);
        self.spec.mounts.push(mount);
        self
    }

    /// Makes the root file system writable.
    #[must_use]
    pub fn writable_root(mut self) -> Self {
        self.spec.root.readonly = false;
        self
    }

    /// How mounts travel between host and root: `shared`, `slave` or `private`.
    #[must_use]
    pub fn propagation(mut self, mode: &str) -> Self {
        mode.clone_into(&mut self.spec.linux.rootfs_propagation);
        self
    }

    /// Replaces the hidden and the read-only kernel files.
    #[must_use]
    pub fn kernel_files(mut self, masked: Vec<String>, read_only: Vec<String>) -> Self {
        self.spec.linux.masked_paths = masked;
        self.spec.linux.readonly_paths = read_only;
        self
    }

    /// cgroup below the root of the hierarchy.
    #[must_use]
    pub fn cgroup(mut self, path: &str) -> Self {
        path.clone_into(&mut self.spec.linux.cgroups_path);
        self
    }

    /// Who dies first when memory runs out.
    #[must_use]
    pub fn oom_score(mut self, adjust: i32) -> Self {
        self.spec.process.oom_score_adj = Some(adjust.clamp(-1000, 1000));
        self
    }

    /// A resource limit, soft and hard; `RLIMIT_…`.
    #[must_use]
    pub fn rlimit(mut self, kind: &str, value: u64) -> Self {
        self.spec.process.rlimits.retain(|it| it.kind != kind);
        self.spec.process.rlimits.push(Rlimit { kind: kind.to_owned(), hard: value, soft: value });
        self
    }

    /// Memory limit in bytes.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.spec.linux.resources.memory = Some(Memory { limit: Some(limit), reservation: None });
        self
    }

    /// Processor limit in thousandths of a core.
    #[must_use]
    pub fn cpu_limit(mut self, millicores: u64) -> Self {
        let quota = i64::try_from(millicores.saturating_mul(PERIOD / 1000)).unwrap_or(i64::MAX);
        self.spec.linux.resources.cpu = Some(Cpu { quota: Some(quota), period: Some(PERIOD), shares: None });
        self
    }

    /// Limit of processes.
    #[must_use]
    pub fn pids_limit(mut self, limit: i64) -> Self {
        self.spec.linux.resources.pids = Some(Pids { limit });
        self
    }

    /// SELinux labels of process and mounts.
    #[must_use]
    pub fn selinux(mut self, process: &str, mounts: &str) -> Self {
        process.clone_into(&mut self.spec.process.selinux_label);
        mounts.clone_into(&mut self.spec.linux.mount_label);
        self
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.spec.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The finished specification.
    #[must_use]
    pub fn build(mut self) -> Spec {
        let process = &mut self.spec.process;
        process.args = self.image.entrypoint;
        process.args.extend(self.args.unwrap_or(self.image.cmd));
        if !process.env.iter().any(|it| it.starts_with("PATH=")) {
            process.env.insert(0, PATH.to_owned());
        }
        let host_network = !self.spec.linux.namespaces.iter().any(|it| it.kind == "network");
        if host_network && let Some(sys) = self.spec.mounts.iter_mut().find(|it| it.destination == "/sys") {
            // sysfs shows the network namespace of whoever mounts it; a shared one is bound, not mounted again.
            let mode = if sys.options.iter().any(|it| it == "rw") { "rw" } else { "ro" };
            if sys.kind == "sysfs" {
                *sys = Mount {
                    destination: "/sys".to_owned(),
                    kind: "bind".to_owned(),
                    source: "/sys".to_owned(),
                    options: owned(&["rbind", mode, "nosuid", "noexec", "nodev"]),
                };
            }
        }
        self.spec
    }
}

impl Default for SpecBuilder {
    fn default() -> Self {
        Self::new()
    }
}

fn own(kind: &str) -> Namespace {
    Namespace { kind: kind.to_owned(), path: String::new() }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|it| (*it).to_owned()).collect()
}

fn device_rule(allow: bool) -> DeviceRule {
    DeviceRule { allow, access: "rwm".to_owned() }
}

fn kernel_mounts() -> Vec<Mount> {
    let mount = |kind: &str, destination: &str, options: &[&str]| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: kind.to_owned(),
        options: owned(options),
    };
    vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
        mount("tmpfs", "/run", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/etcd".into()],
            cmd: vec!["--help".into()],
            env: vec!["A=1".into(), "B=2".into()],
            user: "60".into(),
            ..Default::default()
        }
    }

    #[test]
    fn is_closed_unless_opened() {
        let spec = SpecBuilder::new().command(["/bin/true"]).build();
        assert_eq!(spec.process.capabilities, Capabilities::default());
        assert!(spec.root.readonly && spec.process.no_new_privileges);
        assert_eq!(spec.linux.namespaces.len(), 5);
        assert_eq!(spec.linux.resources.devices, [device_rule(false)]);
        assert!(spec.linux.masked_paths.contains(&"/proc/kcore".to_owned()));
    }

    #[test]
    fn takes_defaults_from_the_image_and_lets_callers_replace_them() {
        let defaults = SpecBuilder::new().image(&image()).build();
        assert_eq!(defaults.process.args, ["/etcd", "--help"]);
        assert_eq!((defaults.process.user.uid, defaults.process.user.gid), (60, 0));
        let own = SpecBuilder::new().image(&image()).args(["--name", "a"]).env("A", "3").build();
        assert_eq!(own.process.args, ["/etcd", "--name", "a"]);
        assert_eq!(own.process.env, [PATH, "B=2", "A=3"]);
        assert_eq!(SpecBuilder::new().image(&image()).command(["sh"]).build().process.args, ["sh"]);
    }

    #[test]
    fn a_host_network_gets_the_hosts_sysfs_by_bind() {
        let spec = SpecBuilder::new().host_namespaces(&["network"]).build();
        let sys = spec.mounts.iter().find(|it| it.destination == "/sys").unwrap();
        assert_eq!((sys.kind.as_str(), sys.options.contains(&"ro".to_owned())), ("bind", true));
        let open = SpecBuilder::new().host_namespaces(&["network", "pid"]).privileged().build();
        let sys = open.mounts.iter().find(|it| it.destination == "/sys").unwrap();
        assert!(sys.options.contains(&"rw".to_owned()) && !sys.options.contains(&"ro".to_owned()));
        assert_eq!(open.process.capabilities.effective.len(), CAPABILITIES.len());
    }

    #[test]
    fn a_later_mount_wins_and_the_json_has_the_standards_names() {
        let mount = Mount::writable("/var/lib/etcd", "/run");
        let spec = SpecBuilder::new().mount(mount.clone()).cgroup("/podruntime/etcd").cpu_limit(500).build();
        assert_eq!(spec.mounts.iter().filter(|it| it.destination == "/run").collect::<Vec<_>>(), [&mount]);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(json["linux"]["cgroupsPath"], "/podruntime/etcd");
        assert_eq!(json["linux"]["resources"]["cpu"]["quota"], 50_000);
        assert_eq!(json["process"]["noNewPrivileges"], true);
        assert_eq!(json["mounts"][0]["type"], "proc");
        assert_eq!(serde_json::from_value::<Spec>(json).unwrap(), spec);
    }
}
