//! Which kernel parameters should have which value.
//!
//!     Corten's defaults (KSPP and function), MachineConfig (sysctls, sysfs) ──▶ KernelParamDefaultSpec, KernelParamSpec

use corten_base::Capabilities;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::{KernelParamDefaultSpec, KernelParamSpec};

/// Collects the wanted kernel parameters.
pub struct KernelParams {
    capabilities: Capabilities,
}

controller!(KernelParams, "runtime.KernelParam",
    inputs: [weak MachineConfig],
    outputs: [exclusive KernelParamSpec, exclusive KernelParamDefaultSpec]);

impl KernelParams {
    /// For a machine that allows this.
    pub const fn new(capabilities: Capabilities) -> Self {
        Self { capabilities }
    }
}

impl Transform for KernelParams {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        for (name, value) in defaults(self.capabilities) {
            let spec = KernelParamDefaultSpec { value: value.to_owned(), ignore_errors: true };
            plan.put(id(name), spec);
        }
        let Some(config) = view.get::<MachineConfig>(MachineConfig::ACTIVE) else { return plan };
        let config = match corten_config::load_cached(&config.spec.yaml) {
            Ok(config) => config,
            Err(error) => return plan.failed(corten_base::chain(&error)),
        };
        for (name, value) in &config.view().machine.sysctls {
            plan.put(id(name), KernelParamSpec { value: value.clone(), ignore_errors: false });
        }
        for (name, value) in &config.view().machine.sysfs {
            let id = format!("sys.{}", name.trim_start_matches("sys."));
            plan.put(id, KernelParamSpec { value: value.clone(), ignore_errors: false });
        }
        plan
    }
}

/// Sysctls are below `/proc/sys`.
fn id(sysctl: &str) -> String {
    format!("proc.sys.{sysctl}")
}

/// What a machine sets unless its configuration says otherwise (node.md 5.10).
fn defaults(capabilities: Capabilities) -> impl Iterator<Item = (&'static str, &'static str)> {
    let global: &[_] = if capabilities.global_sysctls { &GLOBAL } else { &[] };
    NAMESPACED.iter().chain(global).copied()
}

/// Parameters of the network namespace; a container machine has its own.
const NAMESPACED: [(&str, &str); 13] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv4.icmp_ignore_bogus_error_responses", "1"),
    ("net.ipv4.icmp_echo_ignore_broadcasts", "1"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    ("net.ipv4.ip_local_reserved_ports", "50000,50001"),
    ("net.bridge.bridge-nf-call-iptables", "1"),
    ("net.bridge.bridge-nf-call-ip6tables", "1"),
    ("net.ipv6.conf.default.forwarding", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.default.accept_ra", "2"),
    ("net.ipv4.tcp_keepalive_time", "600"),
    ("net.ipv4.tcp_keepalive_intvl", "60"),
];

/// Parameters of the whole kernel.
const GLOBAL: [(&str, &str); 24] = [
    ("kernel.kptr_restrict", "2"),
    ("kernel.dmesg_restrict", "1"),
    ("kernel.perf_event_paranoid", "3"),
    ("kernel.randomize_va_space", "2"),
    ("kernel.yama.ptrace_scope", "2"),
    ("user.max_user_namespaces", "0"),
    ("kernel.unprivileged_bpf_disabled", "1"),
    ("net.core.bpf_jit_harden", "2"),
    ("vm.unprivileged_userfaultfd", "0"),
    ("dev.tty.ldisc_autoload", "0"),
    ("dev.tty.legacy_tiocsti", "0"),
    ("fs.protected_symlinks", "1"),
    ("fs.protected_hardlinks", "1"),
    ("fs.protected_fifos", "2"),
    ("fs.protected_regular", "2"),
    ("fs.suid_dumpable", "0"),
    ("kernel.ctrl-alt-del", "0"),
    ("kernel.panic", "10"),
    ("kernel.panic_on_oops", "1"),
    ("kernel.pid_max", "262144"),
    ("vm.overcommit_memory", "1"),
    ("vm.panic_on_oom", "0"),
    ("fs.inotify.max_user_instances", "8192"),
    ("fs.aio-max-nr", "1048576"),
];
