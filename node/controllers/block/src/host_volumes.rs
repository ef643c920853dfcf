//! Volumes of a machine whose disks belong to its host: folders that the launcher put in place.

use corten_base::paths;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::block::{
    MountSpec, VolumeKind, VolumeMountRequest, VolumeMountStatus, VolumePhase, VolumeStatus,
};

/// Reports the launcher's folders as volumes.
pub struct HostVolumes;

controller!(HostVolumes, "block.HostVolumes",
    inputs: [weak VolumeMountRequest],
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
