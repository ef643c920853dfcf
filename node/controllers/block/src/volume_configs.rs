//! Which volumes there should be.
//!
//!     MachineConfig ──▶ VolumeConfig, VolumeMountRequest (of what is mounted without anybody asking)
//!     VolumeConfig, VolumeMountStatus ──▶ UserDiskConfigStatus
//!
//! Those of the system are there whatever the configuration says; they are made when there is one.

use corten_base::paths;
use corten_config::view::{Storage, UserDisk, Volume, VolumeDocument, VolumeType};
use corten_config::{load_cached, values};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::block::{
    DiskSelectorSpec, Filesystem, FilesystemSpec, LocatorSpec, MountSpec, PartitionSpec, ProvisioningSpec,
    UserDiskConfigStatus, VolumeConfig, VolumeKind, VolumeMountRequest, VolumeMountStatus, VolumeStatus,
};
use corten_resources::config::MachineConfig;
use sha2::{Digest, Sha256};

use crate::gpt::LINUX_DATA;

/// Volumes of the system come first, those of `machine.disks` last (node.md 5.5).
const WAVE_SYSTEM: i64 = -1;
const WAVE_USER_DISKS: i64 = 1_000_000;
/// Least size of a volume that does not say, bytes.
const SIZE_MIN: u64 = 100 << 20;
/// Least size of EPHEMERAL unless the configuration says otherwise, bytes.
const EPHEMERAL_MIN: u64 = 2 << 30;
/// Size of STATE, bytes.
const STATE_SIZE: u64 = 100 << 20;
/// Longest label of XFS, bytes; those of other file systems may be longer.
const XFS_LABEL_BYTES_MAX: usize = 12;
/// Folder in which volumes for workloads appear.
const MOUNTS: &str = "/var/mnt";
/// Selects the system disk.
pub const SYSTEM_DISK: &str = "system_disk";
/// Requester of mounts that nobody asks for.
const REQUESTER: &str = "volumes";

/// Says which volumes there should be.
pub struct VolumeConfigs;

controller!(VolumeConfigs, "block.VolumeConfigs",
    inputs: [weak MachineConfig],
    outputs: [exclusive VolumeConfig, shared VolumeMountRequest]);

impl Transform for VolumeConfigs {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let config = config.and_then(|config| load_cached(&config.spec.yaml).ok());
        let storage = config.map(|config| config.view().storage.clone()).unwrap_or_default();
        for (id, volume, request) in volumes(&storage) {
            plan.put(&id, volume);
            if let Some(request) = request {
                plan.put(format!("{REQUESTER}-{id}"), request);
            }
        }
        plan
    }
}

/// Volumes by id, with the request for their mounts.
pub fn volumes(storage: &Storage) -> Vec<(String, VolumeConfig, Option<VolumeMountRequest>)> {
    let mut all = vec![
        (VolumeStatus::META.to_owned(), meta(), None),
        (VolumeStatus::STATE.to_owned(), state(&storage.state()), None),
        (VolumeStatus::EPHEMERAL.to_owned(), ephemeral(&storage.ephemeral()), None),
    ];
    for volume in storage.volumes.iter().filter(|volume| volume.document != VolumeDocument::System) {
        let id = format!("{}{}", prefix(volume.document), volume.name);
        let config = of_document(volume, &id);
        let is_mounted = !config.mount.target_path.is_empty();
        let request = is_mounted.then(|| VolumeMountRequest {
            volume_id: id.clone(),
            requester: REQUESTER.to_owned(),
            read_only: volume.read_only,
            disable_access_time: volume.disable_access_time,
            secure: volume.secure.unwrap_or(true),
            ..VolumeMountRequest::default()
        });
        all.push((id, config, request));
    }
    for disk in &storage.user_disks {
        all.extend(of_user_disk(disk));
    }
    all
}

const fn prefix(document: VolumeDocument) -> &'static str {
    match document {
        VolumeDocument::System => "",
        VolumeDocument::User => VolumeConfig::USER,
        VolumeDocument::Raw => VolumeConfig::RAW,
        VolumeDocument::Swap => VolumeConfig::SWAP,
        VolumeDocument::Existing => VolumeConfig::EXISTING,
        VolumeDocument::External => VolumeConfig::EXTERNAL,
    }
}

fn labelled(label: &str) -> LocatorSpec {
    LocatorSpec { expression: format!("volume.partition_label == \"{label}\""), ..LocatorSpec::default() }
}

fn on(expression: &str) -> DiskSelectorSpec {
    DiskSelectorSpec { expression: expression.to_owned(), ..DiskSelectorSpec::default() }
}

fn meta() -> VolumeConfig {
    VolumeConfig {
        locator: labelled(VolumeStatus::META),
        provisioning: ProvisioningSpec { wave: WAVE_SYSTEM, ..ProvisioningSpec::default() },
        ..VolumeConfig::default()
    }
}

fn state(wish: &Volume) -> VolumeConfig {
    let label = VolumeStatus::STATE.to_owned();
    let partition = PartitionSpec {
        size_min: STATE_SIZE,
        size_max: STATE_SIZE,
        label: label.clone(),
        type_uuid: LINUX_DATA.to_string(),
        ..PartitionSpec::default()
    };
    let mount = MountSpec {
        target_path: paths::STATE.to_owned(),
        file_mode: 0o700,
        secure: true,
        no_exec: true,
        ..MountSpec::default()
    };
    let mut config = VolumeConfig {
        provisioning: ProvisioningSpec {
            wave: WAVE_SYSTEM,
            disk_selector: on(SYSTEM_DISK),
            partition,
            filesystem: FilesystemSpec { kind: Filesystem::Xfs, label, ..FilesystemSpec::default() },
        },
        locator: labelled(VolumeStatus::STATE),
        mount,
        ..VolumeConfig::default()
    };
    upkeep(&mut config, wish);
    config
}

/// Programs of containers and plug-ins run from it, so it is not noexec.
fn ephemeral(wish: &Volume) -> VolumeConfig {
    let label = VolumeStatus::EPHEMERAL;
    let selector = if wish.disk_selector.is_empty() { SYSTEM_DISK } else { &wish.disk_selector };
    let mut partition = partition(wish, label);
    partition.size_min = wish.size_min.unwrap_or(EPHEMERAL_MIN);
    partition.grow = wish.grow.unwrap_or(true);
    let filesystem = FilesystemSpec {
        kind: Filesystem::Xfs,
        label: label.to_owned(),
        allocation_group_min: wish.allocation_group_min.unwrap_or(0),
    };
    let mount = MountSpec {
        target_path: paths::EPHEMERAL.to_owned(),
        project_quota_support: true,
        file_mode: 0o755,
        secure: wish.secure.unwrap_or(true),
        ..MountSpec::default()
    };
    let mut config = VolumeConfig {
        provisioning: ProvisioningSpec {
            wave: WAVE_SYSTEM,
            disk_selector: on(selector),
            partition,
            filesystem,
        },
        locator: labelled(label),
        mount,
        ..VolumeConfig::default()
    };
    upkeep(&mut config, wish);
    config
}

fn partition(wish: &Volume, label: &str) -> PartitionSpec {
    let (size_max, percent_max, is_negative) = match values::size_max(&wish.size_max) {
        None => (0, 0, false),
        Some(values::SizeMax::Bytes(bytes)) => (bytes, 0, false),
        Some(values::SizeMax::Percent(percent)) => (0, percent, false),
        Some(values::SizeMax::Free(bytes)) => (bytes, 0, true),
    };
    PartitionSpec {
        size_min: wish.size_min.unwrap_or(SIZE_MIN),
        size_max,
        percent_max,
        is_negative,
        grow: wish.grow.unwrap_or(false),
        label: label.to_owned(),
        type_uuid: LINUX_DATA.to_string(),
    }
}

fn upkeep(config: &mut VolumeConfig, wish: &Volume) {
    config.trim_enabled = wish.trim_interval.is_some();
    config.trim_interval = wish.trim_interval.unwrap_or_default();
    config.scrub_enabled = wish.scrub_interval.is_some();
    config.scrub_interval = wish.scrub_interval.unwrap_or_default();
}

fn of_document(wish: &Volume, id: &str) -> VolumeConfig {
    let kind = match (wish.document, wish.made_of) {
        (VolumeDocument::External, _) => VolumeKind::External,
        (VolumeDocument::User, VolumeType::Directory) => VolumeKind::Directory,
        (VolumeDocument::User, VolumeType::Disk) => VolumeKind::Disk,
        _ => VolumeKind::Partition,
    };
    let mut config = VolumeConfig { kind, ..VolumeConfig::default() };
    let provisioning = &mut config.provisioning;
    provisioning.disk_selector = on(&wish.disk_selector);
    provisioning.filesystem = filesystem(wish, id);
    match kind {
        VolumeKind::External => provisioning.disk_selector.external.clone_from(&wish.tag),
        VolumeKind::Partition if wish.document == VolumeDocument::Existing => {
            config.locator.expression.clone_from(&wish.volume_selector);
        }
        VolumeKind::Partition => {
            provisioning.partition = partition(wish, id);
            config.locator = labelled(id);
        }
        VolumeKind::Disk => config.locator.disk_expression.clone_from(&wish.disk_selector),
        _ => {}
    }
    let is_mounted = !matches!(wish.document, VolumeDocument::Raw | VolumeDocument::Swap);
    if is_mounted {
        config.parent_id =
            if kind == VolumeKind::Directory { VolumeStatus::EPHEMERAL.into() } else { String::new() };
        config.mount = MountSpec {
            target_path: format!("{MOUNTS}/{}", wish.name),
            parent_id: VolumeStatus::EPHEMERAL.to_owned(),
            project_quota_support: wish.project_quota,
            // Anything that runs as somebody may use it; what it keeps apart is its own business.
            file_mode: if wish.document == VolumeDocument::User { 0o755 } else { 0 },
            secure: wish.secure.unwrap_or(true),
            ..MountSpec::default()
        };
        upkeep(&mut config, wish);
    }
    config
}

fn filesystem(wish: &Volume, id: &str) -> FilesystemSpec {
    let kind = match (wish.document, wish.made_of, wish.filesystem.as_str()) {
        (VolumeDocument::Raw | VolumeDocument::Existing, ..)
        | (VolumeDocument::User, VolumeType::Directory, _) => Filesystem::None,
        (VolumeDocument::Swap, ..) => Filesystem::Swap,
        (VolumeDocument::External, ..) => Filesystem::Virtiofs,
        (_, _, "ext4") => Filesystem::Ext4,
        _ => Filesystem::Xfs,
    };
    let label: &str = if kind == Filesystem::None || kind == Filesystem::Virtiofs { "" } else { id };
    FilesystemSpec {
        kind,
        label: short_label(label),
        allocation_group_min: wish.allocation_group_min.unwrap_or(0),
    }
}

/// A label that fits. Whole disks are known by it, so that no two volumes have the same one.
fn short_label(label: &str) -> String {
    const DIGEST_CHARACTERS: usize = 6;
    if label.len() <= XFS_LABEL_BYTES_MAX {
        return label.to_owned();
    }
    let digest: String = Sha256::digest(label).iter().map(|byte| format!("{byte:02x}")).collect();
    let start: String = label.chars().take(XFS_LABEL_BYTES_MAX - DIGEST_CHARACTERS).collect();
    start + digest.get(..DIGEST_CHARACTERS).unwrap_or_default()
}

/// Partitions of a disk of `machine.disks`, in order.
fn of_user_disk(disk: &UserDisk) -> Vec<(String, VolumeConfig, Option<VolumeMountRequest>)> {
    let name = disk.device.rsplit('/').next().unwrap_or_default();
    let numbered = (1..).zip(&disk.partitions);
    let volumes = numbered.map(|(number, partition)| {
        let id = format!("{}-{number}", disk.device);
        let label: String = format!("{name}-{number}").chars().take(36).collect();
        let spec = PartitionSpec {
            size_min: partition.partition_size.unwrap_or(SIZE_MIN),
            size_max: partition.partition_size.unwrap_or(0),
            label: label.clone(),
            type_uuid: LINUX_DATA.to_string(),
            ..PartitionSpec::default()
        };
        let selector = format!("disk.dev_path == \"{0}\" || \"{0}\" in disk.symlinks", disk.device);
        let config = VolumeConfig {
            provisioning: ProvisioningSpec {
                wave: WAVE_USER_DISKS + number,
                disk_selector: on(&selector),
                partition: spec,
                filesystem: FilesystemSpec { kind: Filesystem::Xfs, ..FilesystemSpec::default() },
            },
            locator: labelled(&label),
            mount: MountSpec {
                target_path: partition.mount_point.clone(),
                parent_id: VolumeStatus::EPHEMERAL.to_owned(),
                file_mode: 0o700,
                ..MountSpec::default()
            },
            ..VolumeConfig::default()
        };
        let request = VolumeMountRequest {
            volume_id: id.clone(),
            requester: REQUESTER.to_owned(),
            ..VolumeMountRequest::default()
        };
        (id, config, Some(request))
    });
    volumes.collect()
}

/// Says whether the partitions of `machine.disks` are there.
pub struct UserDisks;

controller!(UserDisks, "block.UserDisks",
    inputs: [weak VolumeConfig, weak VolumeMountStatus],
    outputs: [exclusive UserDiskConfigStatus]);

impl Transform for UserDisks {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let is_of_user_disk = |config: &VolumeConfig| config.provisioning.wave >= WAVE_USER_DISKS;
        let is_mounted = |id: &str| view.get::<VolumeMountStatus>(id).is_some();
        let wanted = view.list::<VolumeConfig>();
        let mut wanted = wanted.iter().filter(|volume| is_of_user_disk(&volume.spec));
        let ready = wanted.all(|volume| is_mounted(volume.id()));
        let leaving = view.tearing_down::<VolumeConfig>();
        let mut leaving = leaving.iter().filter(|volume| is_of_user_disk(&volume.spec));
        let torn_down = leaving.all(|volume| !is_mounted(volume.id()));
        plan.put(UserDiskConfigStatus::ID, UserDiskConfigStatus { ready, torn_down });
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use corten_resource::testing::resource;

    use super::*;

    fn plan(yaml: &str) -> Plan<VolumeConfigs> {
        let yaml = yaml.as_bytes().to_vec();
        assert!(load_cached(&yaml).is_ok(), "{:?}", load_cached(&yaml).err());
        let rows = [resource(MachineConfig::ACTIVE, MachineConfig { yaml })];
        VolumeConfigs.plan(&View::of(rows, UNIX_EPOCH))
    }

    #[test]
    fn the_system_has_its_volumes_without_a_configuration() {
        let plan = VolumeConfigs.plan(&View::of([], UNIX_EPOCH));
        let state = plan.output::<VolumeConfig>(VolumeStatus::STATE).expect("STATE");
        assert_eq!((state.provisioning.partition.size_max, state.mount.file_mode), (100 << 20, 0o700));
        let ephemeral = plan.output::<VolumeConfig>(VolumeStatus::EPHEMERAL).expect("EPHEMERAL");
        assert_eq!(
            (ephemeral.provisioning.partition.size_min, ephemeral.provisioning.partition.grow),
            (2 << 30, true)
        );
        assert_eq!(plan.outputs::<VolumeConfig>().len(), 3);
        assert!(plan.outputs::<VolumeMountRequest>().is_empty());
    }

    #[test]
    fn documents_are_volumes_with_letters_in_front_and_what_has_a_place_is_mounted() {
        let plan = plan(
            "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\nprovisioning: {diskSelector: {match: '!system_disk'}, minSize: 1GiB, maxSize: 80%}\nfilesystem: {type: ext4, projectQuotaSupport: true}\ntrim: {enabled: true, interval: 1h}\n---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: cache\nvolumeType: directory\n---\napiVersion: v1alpha1\nkind: SwapVolumeConfig\nname: one\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GiB, maxSize: 1GiB}\n---\napiVersion: v1alpha1\nkind: ExistingVolumeConfig\nname: old\ndiscovery: {volumeSelector: {match: \"volume.label == 'old'\"}}\nmount: {readOnly: true, secure: false}\n---\napiVersion: v1alpha1\nkind: ExternalVolumeConfig\nname: share\nfilesystemType: virtiofs\nmount: {virtiofs: {tag: Data}}\n---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {maxSize: 10GiB, grow: false}\n",
        );
        let volume = |id: &str| plan.output::<VolumeConfig>(id).unwrap_or_else(|| panic!("{id}"));
        let data = volume("u-data");
        let partition = &data.provisioning.partition;
        assert_eq!((partition.size_min, partition.size_max, partition.percent_max), (1 << 30, 0, 80));
        assert_eq!(
            (data.provisioning.filesystem.kind, data.mount.target_path.as_str()),
            (Filesystem::Ext4, "/var/mnt/data")
        );
        assert_eq!((data.trim_enabled, data.trim_interval), (true, Duration::from_secs(3600)));
        assert!(data.mount.project_quota_support && data.mount.secure);
        assert_eq!(
            (volume("u-cache").kind, volume("u-cache").parent_id.as_str()),
            (VolumeKind::Directory, "EPHEMERAL")
        );
        assert_eq!(volume("s-one").provisioning.filesystem.kind, Filesystem::Swap);
        assert!(volume("s-one").mount.target_path.is_empty());
        assert_eq!(volume("e-old").locator.expression, "volume.label == 'old'");
        assert_eq!(volume("x-share").provisioning.disk_selector.external, "Data");
        let ephemeral = &volume("EPHEMERAL").provisioning.partition;
        assert_eq!((ephemeral.size_max, ephemeral.grow), (10 << 30, false));
        let asked: Vec<String> = plan
            .outputs::<VolumeMountRequest>()
            .iter()
            .map(|request| request.spec.volume_id.clone())
            .collect();
        assert_eq!(asked.len(), 4, "{asked:?}");
        let old = plan.output::<VolumeMountRequest>("volumes-e-old").expect("a request");
        assert!(old.read_only && !old.secure);
    }

    #[test]
    fn labels_fit_and_are_of_one_volume_each() {
        assert_eq!(short_label("u-data"), "u-data");
        let (one, two) = (short_label("u-longhorn-one"), short_label("u-longhorn-two"));
        assert!(one.starts_with("u-long") && one.len() == XFS_LABEL_BYTES_MAX, "{one}");
        assert_ne!(one, two);
    }

    #[test]
    fn partitions_of_user_disks_come_in_their_order() {
        let disk = UserDisk {
            device: "/dev/sdb".to_owned(),
            partitions: [(Some(1 << 30), "/var/a"), (None, "/var/b")]
                .map(|(partition_size, mount_point)| corten_config::view::UserDiskPartition {
                    partition_size,
                    mount_point: mount_point.to_owned(),
                })
                .into(),
        };
        let volumes = of_user_disk(&disk);
        assert_eq!(volumes[0].0, "/dev/sdb-1");
        assert_eq!(volumes[1].1.provisioning.partition.label, "sdb-2");
        assert!(volumes[0].1.provisioning.wave < volumes[1].1.provisioning.wave);
        assert_eq!(
            (volumes[0].1.provisioning.partition.size_max, volumes[1].1.provisioning.partition.size_max),
            (1 << 30, 0)
        );
    }
}
