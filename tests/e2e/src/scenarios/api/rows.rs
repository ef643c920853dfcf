//! The commands that only ask, where they work, and words that are in each answer.

/// Part of a machine in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs etcd and the control plane.
    ControlPlane,
    /// Runs pods.
    Worker,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ControlPlane, Self::Worker];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control plane",
            Self::Worker => "worker",
        }
    }
}

/// A command and what it answers.
#[derive(Debug)]
pub struct Row {
    /// Words of the command line.
    pub command: &'static [&'static str],
    /// Where it works; everywhere when nothing is said, and elsewhere it is refused.
    pub only: Option<Role>,
    /// Words in its answer.
    pub words: &'static [&'static str],
    /// Whether talosctl 1.13.9 has it too.
    pub is_theirs: bool,
}

/// In which forms our own client answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forms {
    /// As a table, as JSON and as YAML.
    All,
    /// As it comes.
    One,
}

impl Forms {
    /// Of a command.
    pub fn of(command: &[&str]) -> Self {
        const ALL: [&str; 15] = [
            "containers",
            "diskfree",
            "etcd",
            "image",
            "list",
            "memory",
            "mounts",
            "netstat",
            "processes",
            "service",
            "stats",
            "time",
            "usage",
            "version",
            "df",
        ];
        let has = command.first().is_some_and(|name| ALL.contains(name));
        let is_one = matches!(command, ["time", "--check", ..] | ["netstat", "-k", ..]);
        if has && !is_one { Self::All } else { Self::One }
    }
}

const fn row(command: &'static [&'static str], words: &'static [&'static str]) -> Row {
    Row { command, only: None, words, is_theirs: true }
}

/// A command of later versions of talosctl, which our own client has.
const fn ours(command: &'static [&'static str], words: &'static [&'static str]) -> Row {
    Row { command, only: None, words, is_theirs: false }
}

const fn control_plane(command: &'static [&'static str], words: &'static [&'static str]) -> Row {
    Row { command, only: Some(Role::ControlPlane), words, is_theirs: true }
}

/// Every node command of talosctl that only asks and takes no name that a machine gives (node.md 8).
pub const COMMANDS: &[Row] = &[
    row(&["containers"], &["kubelet"]),
    row(&["containers", "-k"], &["kube-flannel", "k8s.io", "SANDBOX_READY", "CONTAINER_RUNNING"]),
    ours(&["diskfree"], &["EPHEMERAL"]),
    row(&["dmesg"], &["kern"]),
    row(&["get", "rd"], &["machineconfigs.config.talos.dev", "ResourceDefinition"]),
    row(&["get", "namespaces"], &["runtime", "network"]),
    row(&["get", "machinestatus"], &["running", "true"]),
    row(&["get", "addresses"], &["eth0"]),
    row(&["get", "links"], &["eth0"]),
    row(&["get", "routes"], &["inet4"]),
    row(&["get", "resolvers"], &["RESOLVERS"]),
    row(&["get", "services"], &["kubelet", "apid"]),
    row(&["get", "nodename"], &["Nodename"]),
    row(&["get", "machinetype"], &["MachineType"]),
    row(&["get", "kubeletspec"], &["kubelet"]),
    row(&["get", "staticpods"], &["NAMESPACE"]),
    row(&["image", "list"], &["flannel", "sha256:"]),
    row(&["image", "--namespace", "system", "list"], &["kubelet"]),
    row(&["inspect", "dependencies"], &["digraph", "MachineConfigs.config.talos.dev"]),
    row(&["list", "/"], &["etc", "usr", "var"]),
    row(&["list", "-l", "-d", "2", "-t", "d", "/usr"], &["bin"]),
    row(&["logs", "kubelet", "--tail", "5"], &["\"msg\":"]),
    row(&["logs", "machined", "--tail", "1"], &[]),
    row(&["memory"], &["TOTAL", "AVAILABLE"]),
    row(&["memory", "--verbose"], &["MemTotal", "MemAvailable"]),
    row(&["mounts"], &["/var", "MOUNTED ON"]),
    row(&["netstat"], &["tcp"]),
    row(&["netstat", "-l", "-t", "-p"], &["apid", "50000"]),
    row(&["netstat", "-k", "-a"], &["tcp"]),
    row(&["processes"], &["machined", "kubelet"]),
    row(&["processes", "--sort", "cpu"], &["machined"]),
    row(&["read", "/proc/sys/kernel/random/boot_id"], &["-"]),
    row(&["service"], &["apid", "kubelet", "Running"]),
    row(&["service", "kubelet"], &["Running", "Health check successful"]),
    row(&["stats"], &["kubelet"]),
    row(&["stats", "-k"], &["kube-flannel"]),
    row(&["time"], &["NTP-SERVER", "NODE-TIME"]),
    row(&["usage", "-H", "-d", "1", "/etc"], &["NAME"]),
    row(&["version"], &["v1."]),
    row(&["version", "--short"], &["v1."]),
    control_plane(&["etcd", "alarm", "list"], &[]),
    control_plane(&["etcd", "members"], &["2380", "false"]),
    control_plane(&["etcd", "status"], &["LEADER", "RAFT"]),
    control_plane(&["etcd", "downgrade", "validate", "3.6"], &["downgrade validate success"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_stands_twice() {
        let mut lines: Vec<String> = COMMANDS.iter().map(|row| row.command.join(" ")).collect();
        let count = lines.len();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), count);
        assert!(count >= 40, "only {count} commands");
    }
}
