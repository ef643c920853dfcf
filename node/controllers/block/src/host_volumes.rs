//! Volumes of a machine whose disks belong to its host: folders that the launcher put in place.

use corten_base::paths;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::block::{
    MountSpec, VolumeConfig, VolumeKind, VolumeMountRequest, VolumeMountStatus, VolumePhase, VolumeStatus,
};

/// Reports the launcher's folders as volumes.
pub struct HostVolumes;

controller!(HostVolumes, "block.HostVolumes",
    inputs: [weak VolumeMountRequest, weak VolumeConfig],
    outputs: [exclusive VolumeStatus, exclusive VolumeMountStatus]);

const FOLDERS: [(&str, &str); 2] =
    [(VolumeStatus::STATE, paths::STATE), (VolumeStatus::EPHEMERAL, paths::EPHEMERAL)];

impl Transform for HostVolumes {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        plan.put(VolumeStatus::META, ready(paths::META_FILE, ""));
        for (volume, folder) in FOLDERS {
            plan.put(volume, ready(folder, folder));
        }
        for volume in view.list::<VolumeConfig>() {
            let id = volume.id();
            if id != VolumeStatus::META && FOLDERS.iter().all(|(known, _)| *known != id) {
                plan.put(id, refused(volume.spec.kind));
            }
        }
        for request in view.list::<VolumeMountRequest>() {
            let Some((volume, folder)) = FOLDERS.iter().find(|(volume, _)| *volume == request.spec.volume_id)
            else {
                continue;
            };
            let status = VolumeMountStatus {
                volume_id: (*volume).to_owned(),
                requester: request.spec.requester.clone(),
                target: (*folder).to_owned(),
                ..VolumeMountStatus::default()
            };
            plan.put(*volume, status);
        }
        plan
    }
}

fn ready(location: &str, target: &str) -> VolumeStatus {
    VolumeStatus {
        phase: VolumePhase::Ready,
        location: location.to_owned(),
        mount_location: target.to_owned(),
        mount_spec: MountSpec { target_path: target.to_owned(), ..MountSpec::default() },
        kind: VolumeKind::Directory,
        ..VolumeStatus::default()
    }
}

fn refused(kind: VolumeKind) -> VolumeStatus {
    VolumeStatus {
        phase: VolumePhase::Failed,
        error_message: "disks and mounts of this machine are those of its host; mount it there".to_owned(),
        kind,
        ..VolumeStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn volumes_of_the_host_are_ready_and_others_are_not_made() {
        let rows = [
            resource(VolumeStatus::STATE, VolumeConfig::default()),
            resource("u-data", VolumeConfig::default()),
        ];
        let plan = HostVolumes.plan(&View::of(rows, UNIX_EPOCH));
        let phase = |id: &str| plan.output::<VolumeStatus>(id).map(|status| status.phase);
        assert_eq!(phase(VolumeStatus::STATE), Some(VolumePhase::Ready));
        assert_eq!(phase("u-data"), Some(VolumePhase::Failed));
    }
}
