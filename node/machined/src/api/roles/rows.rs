//! The table of methods as it is to be, written anew from node.md 1.2 and not taken from the program.

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use Maintenance::{Closed, Opened, Usual};

/// A method that everybody with a role of people may call.
pub const VERSION: &str = "/machine.MachineService/Version";
/// Guarded by a token, and not served by apid.
const BY_TOKEN: &str = "/securityapi.SecurityService/Certificate";
/// Services whose answers may come from several machines in one envelope.
const TO_MANY: [&str; 5] = [
    "cluster.ClusterService",
    "inspect.InspectService",
    "machine.MachineService",
    "storage.StorageService",
    "time.TimeService",
];

/// What a machine without configuration makes of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// The roles decide.
    Usual,
    /// Readers are let in too.
    Opened,
    /// Whom the roles let in is told to apply a configuration first.
    Closed,
}

/// A method.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Path, as in HTTP/2.
    pub method: &'static str,
    /// One letter per role that is let in: A admin, O operator, R reader, B etcd backup, V image verifier, M META
    /// writer.
    pub letters: &'static str,
    /// In maintenance.
    pub maintenance: Maintenance,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The method reads the request.
    In,
    /// `PermissionDenied`.
    Refused,
    /// `FailedPrecondition`: not without a configuration.
    Closed,
}

/// The letter of a role; none for names that mean nothing to a machine.
fn letter(role: &str) -> Option<char> {
    Some(match role {
        "os:admin" => 'A',
        "os:operator" => 'O',
        "os:reader" => 'R',
        "os:etcd:backup" => 'B',
        "os:image:verifier" => 'V',
        "os:meta:writer" => 'M',
        _ => return None,
    })
}

/// Whether one of the roles has one of the letters.
pub fn has(letters: &str, roles: &[&str]) -> bool {
    roles.iter().filter_map(|role| letter(role)).any(|letter| letters.contains(letter))
}

impl Row {
    /// What becomes of a call with these roles.
    pub fn verdict(&self, roles: &[&str], is_maintenance: bool) -> Verdict {
        let is_open = is_maintenance && self.maintenance == Opened && has("R", roles);
        match (has(self.letters, roles) || is_open, is_maintenance && self.maintenance == Closed) {
            (false, _) => Verdict::Refused,
            (true, true) => Verdict::Closed,
            (true, false) => Verdict::In,
        }
    }
}

/// How messages of a method flow: whether there are many requests, whether there are many answers.
pub type Flow = (bool, bool);

/// Every method of the descriptors that apid serves.
pub fn described() -> BTreeMap<String, Flow> {
    let set = FileDescriptorSet::decode(corten_api::DESCRIPTORS).expect("descriptors decode");
    let mut methods = BTreeMap::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                methods.insert(path, (method.client_streaming(), method.server_streaming()));
            }
        }
    }
    assert!(methods.remove(BY_TOKEN).is_some(), "trustd's method is described");
    methods
}

/// Whether a call may go to several machines at once.
pub fn to_many(method: &str, (many_requests, _): Flow) -> bool {
    let service = method.trim_start_matches('/').split('/').next().unwrap_or_default();
    TO_MANY.contains(&service) && !many_requests
}

/// A method without a row, and a row without a method, is an error.
pub fn compare_with_descriptors() {
    let described = described();
    let rows: Vec<&str> = ROWS.iter().map(|row| row.method).collect();
    let unruled: Vec<&String> = described.keys().filter(|method| !rows.contains(&method.as_str())).collect();
    let unknown: Vec<&&str> = rows.iter().filter(|method| !described.contains_key(**method)).collect();
    assert!(unruled.is_empty(), "without a row: {unruled:?}");
    assert!(unknown.is_empty(), "rows without a method: {unknown:?}");
    assert_eq!(rows.len(), described.len(), "a method has two rows");
}

const fn row(method: &'static str, letters: &'static str, maintenance: Maintenance) -> Row {
    Row { method, letters, maintenance }
}

/// Every method, once.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("/machine.MachineService/ApplyConfiguration", "A", Opened),
    row("/machine.MachineService/Bootstrap", "A", Closed),
    row("/machine.MachineService/Containers", "AOR", Usual),
    row("/machine.MachineService/Copy", "A", Usual),
    row("/machine.MachineService/CPUFreqStats", "AOR", Usual),
    row("/machine.MachineService/CPUInfo", "AOR", Usual),
    row("/machine.MachineService/DiskStats", "AOR", Usual),
    row("/machine.MachineService/DiskUsage", "AOR", Usual),
    row("/machine.MachineService/Dmesg", "AOR", Usual),
    row("/machine.MachineService/EtcdAlarmDisarm", "AO", Closed),
    row("/machine.MachineService/EtcdAlarmList", "AORB", Closed),
    row("/machine.MachineService/EtcdDefragment", "AO", Closed),
    row("/machine.MachineService/EtcdDowngradeCancel", "A", Closed),
    row("/machine.MachineService/EtcdDowngradeEnable", "A", Closed),
    row("/machine.MachineService/EtcdDowngradeValidate", "A", Closed),
    row("/machine.MachineService/EtcdForfeitLeadership", "A", Closed),
    row("/machine.MachineService/EtcdLeaveCluster", "A", Closed),
    row("/machine.MachineService/EtcdMemberList", "AORB", Closed),
    row("/machine.MachineService/EtcdRecover", "A", Closed),
    row("/machine.MachineService/EtcdRemoveMemberByID", "A", Closed),
    row("/machine.MachineService/EtcdSnapshot", "AOB", Closed),
    row("/machine.MachineService/EtcdStatus", "AORB", Closed),
    row("/machine.MachineService/Events", "AOR", Usual),
    row("/machine.MachineService/GenerateClientConfiguration", "A", Closed),
    row("/machine.MachineService/Hostname", "AOR", Usual),
    row("/machine.MachineService/ImageList", "AOR", Usual),
    row("/machine.MachineService/ImagePull", "AO", Usual),
    row("/machine.MachineService/Kubeconfig", "A", Closed),
    row("/machine.MachineService/List", "AOR", Usual),
    row("/machine.MachineService/LoadAvg", "AOR", Usual),
    row("/machine.MachineService/Logs", "AOR", Usual),
    row("/machine.MachineService/LogsContainers", "AOR", Usual),
    row("/machine.MachineService/Memory", "AOR", Usual),
    row("/machine.MachineService/MetaDelete", "AM", Usual),
    row("/machine.MachineService/MetaWrite", "AM", Usual),
    row("/machine.MachineService/Mounts", "AOR", Usual),
    row("/machine.MachineService/Netstat", "AOR", Usual),
    row("/machine.MachineService/NetworkDeviceStats", "AOR", Usual),
    row("/machine.MachineService/PacketCapture", "AO", Usual),
    row("/machine.MachineService/Processes", "AOR", Usual),
    row("/machine.MachineService/Read", "A", Usual),
    row("/machine.MachineService/Reboot", "AO", Usual),
    row("/machine.MachineService/Reset", "A", Usual),
    row("/machine.MachineService/Restart", "AO", Usual),
    row("/machine.MachineService/Rollback", "A", Closed),
    row("/machine.MachineService/ServiceList", "AOR", Usual),
    row("/machine.MachineService/ServiceRestart", "AO", Usual),
    row("/machine.MachineService/ServiceStart", "AO", Usual),
    row("/machine.MachineService/ServiceStop", "AO", Usual),
    row("/machine.MachineService/Shutdown", "AO", Usual),
    row("/machine.MachineService/Stats", "AOR", Usual),
    row("/machine.MachineService/SystemStat", "AOR", Usual),
    row("/machine.MachineService/Upgrade", "A", Usual),
    row("/machine.MachineService/Version", "AOR", Usual),
    row("/machine.ImageService/Import", "A", Usual),
    row("/machine.ImageService/List", "AOR", Usual),
    row("/machine.ImageService/Pull", "AO", Usual),
    row("/machine.ImageService/Remove", "A", Usual),
    row("/machine.ImageService/Verify", "AORV", Usual),
    row("/machine.LifecycleService/Install", "A", Usual),
    row("/machine.LifecycleService/Upgrade", "A", Closed),
    row("/machine.DebugService/ContainerRun", "A", Closed),
    row("/machine.StorageService/Statfs", "AOR", Usual),
    row("/machine.LVMService/LogicalVolumeRemove", "A", Opened),
    row("/machine.LVMService/PhysicalVolumeRemove", "A", Opened),
    row("/machine.LVMService/VolumeGroupRemove", "A", Opened),
    row("/machine.MDService/Destroy", "A", Opened),
    row("/storage.StorageService/BlockDeviceWipe", "A", Opened),
    row("/storage.StorageService/Disks", "AOR", Usual),
    row("/cluster.ClusterService/HealthCheck", "AOR", Closed),
    row("/inspect.InspectService/ControllerRuntimeDependencies", "AOR", Usual),
    row("/time.TimeService/Time", "AOR", Usual),
    row("/time.TimeService/TimeCheck", "AOR", Usual),
    row("/cosi.resource.State/Create", "A", Usual),
    row("/cosi.resource.State/Destroy", "A", Usual),
    row("/cosi.resource.State/Get", "AOR", Usual),
    row("/cosi.resource.State/List", "AOR", Usual),
    row("/cosi.resource.State/Teardown", "A", Usual),
    row("/cosi.resource.State/TeardownAndDestroy", "A", Usual),
    row("/cosi.resource.State/Update", "A", Usual),
    row("/cosi.resource.State/Watch", "AOR", Usual),
];

/// Types that only administrators read, from node.md 3.5; the program may keep more from others, but none of these
/// less.
pub const SENSITIVE: &[&str] = &[
    "VolumeConfigs.block.talos.dev",
    "DiscoveryConfigs.cluster.talos.dev",
    "MachineConfigs.config.talos.dev",
    "CustomizationConfigs.cri.talos.dev",
    "RegistryConfigs.cri.talos.dev",
    "EtcFileSpecs.files.talos.dev",
    "APIServerConfigs.kubernetes.talos.dev",
    "AuditPolicyConfigs.kubernetes.talos.dev",
    "AuthenticationConfigs.kubernetes.talos.dev",
    "AuthorizationConfigs.kubernetes.talos.dev",
    "EtcdEncryptionConfigs.kubernetes.talos.dev",
    "KubeletConfigs.kubernetes.talos.dev",
    "KubeletSpecs.kubernetes.talos.dev",
    "NodeAnnotationSpecs.k8s.talos.dev",
    "NodeCordonedSpecs.k8s.talos.dev",
    "NodeLabelSpecs.k8s.talos.dev",
    "NodeTaintSpecs.k8s.talos.dev",
    "KubeSpanConfigs.kubespan.talos.dev",
    "KubeSpanIdentities.kubespan.talos.dev",
    "DeviceConfigSpecs.net.talos.dev",
    "LinkSpecs.net.talos.dev",
    "OperatorSpecs.net.talos.dev",
    "ExtensionServiceConfigs.runtime.talos.dev",
    "OOMActions.talos.dev",
    "ApiCertificates.secrets.talos.dev",
    "CertSANs.secrets.talos.dev",
    "EncryptionSalts.secrets.talos.dev",
    "EtcdSecrets.secrets.talos.dev",
    "EtcdRootSecrets.secrets.talos.dev",
    "KubeletSecrets.secrets.talos.dev",
    "KubernetesSecrets.secrets.talos.dev",
    "KubernetesDynamicCerts.secrets.talos.dev",
    "KubernetesRootSecrets.secrets.talos.dev",
    "MaintenanceRootSecrets.secrets.talos.dev",
    "OSRootSecrets.secrets.talos.dev",
    "TrustdCertificates.secrets.talos.dev",
    "SiderolinkConfigs.siderolink.talos.dev",
    "SiderolinkTunnels.siderolink.talos.dev",
];
