//! Where things are on a machine. Paths that clients see are Talos's; the others are ours.

/// STATE volume: configuration, node identity.
pub const STATE: &str = "/system/state";
/// EPHEMERAL volume.
pub const EPHEMERAL: &str = "/var";
/// Sockets and small runtime files of our own programs (tmpfs).
pub const RUN: &str = "/system/run";
/// Sources of the files that are bound over `/etc` (tmpfs).
pub const ETC: &str = "/system/etc";
/// Where `/etc` can be written, on a machine whose root cannot: new files are made here, and bound over there.
pub const ETC_WRITABLE: &str = "/run/etc/merged";
/// What was made there.
pub const ETC_ADDED: &str = "/run/etc/upper";
/// Rendered keys and certificates (tmpfs).
pub const SECRETS: &str = "/system/secrets";
/// Rendered configuration of services and static pods (tmpfs).
pub const CONFIG: &str = "/system/config";
/// The machine API on the machine itself.
pub const MACHINED_SOCKET: &str = "/system/run/machined/machine.sock";
/// Resource versions and secrets that must outlive machined within one boot.
pub const JOURNAL: &str = "/system/run/machined/journal";
/// apid's filtered view of the resources.
pub const APID_SOCKET: &str = "/system/run/apid/runtime.sock";
/// trustd's filtered view of the resources.
pub const TRUSTD_SOCKET: &str = "/system/run/trustd/runtime.sock";
/// init's control socket.
pub const INIT_SOCKET: &str = "/run/init/control.sock";
/// Files that machined writes and dataplane follows.
pub const DATAPLANE: &str = "/run/dataplane";
/// containerd for Kubernetes.
pub const CRI_SOCKET: &str = "/run/containerd/containerd.sock";
/// Its images and containers.
pub const IMAGE_STORE: &str = "/var/lib/containerd";
/// containerd for the system's own images, started on demand.
pub const CONTAINERD_SOCKET: &str = "/system/run/containerd/containerd.sock";
/// Its images and containers: a bounded tmpfs of its own.
pub const CONTAINERD: &str = "/run/system-containerd";
/// Service logs once EPHEMERAL is mounted.
pub const LOG: &str = "/var/log";
/// Service logs before that.
pub const EARLY_LOG: &str = "/run/log";
/// OCI images that came with the machine.
pub const IMAGE_CACHE: &str = "/system/imagecache";
/// META of a machine without disks of its own.
pub const META_FILE: &str = "/system/state/meta";
/// Rendered Kubernetes files that kubelet reads.
pub const KUBERNETES: &str = "/etc/kubernetes";

/// User of apid.
pub const APID_UID: u32 = 50;
/// User of trustd.
pub const TRUSTD_UID: u32 = 51;
/// User of dataplane.
pub const DATAPLANE_UID: u32 = 52;
/// User of etcd.
pub const ETCD_UID: u32 = 60;
