//! Who wants what mounted, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_resources::block::{
    Filesystem, MountRequest, VolumeMount, VolumeMountRequest, VolumeMountStatus, VolumeStatus,
};
use corten_resources::runtime::MountStatus;

use super::{Decision, Mounted, Step, Wish, fail};
use crate::volumes::layout::{self, Layout};
use crate::volumes::seen::{Seen, SeenMount};

/// What a mount shows of where it comes from.
pub struct Source<'a> {
    /// `/dev/…`, or the name of a share.
    pub device: &'a str,
    /// `major:minor`, where it is known.
    pub numbers: Option<&'a str>,
}

/// All requests for each volume as one.
pub fn merge(wish: &Wish<'_>) -> Vec<MountRequest> {
    let mut merged: BTreeMap<&str, MountRequest> = BTreeMap::new();
    for (id, request) in &wish.requests {
        let volume = request.volume_id.as_str();
        let layout = wish.layouts.iter().find(|layout| layout.id == volume);
        let parent_id = layout.map(|layout| layout.config.mount.parent_id.clone()).unwrap_or_default();
        let all = merged.entry(volume).or_insert_with(|| MountRequest {
            volume_id: volume.to_owned(),
            parent_id,
            read_only: true,
            detached: true,
            ..MountRequest::default()
        });
        all.read_only &= request.read_only;
        all.detached &= request.detached;
        all.disable_access_time |= request.disable_access_time;
        all.secure |= request.secure;
        all.no_exec |= request.no_exec;
        all.requesters.push(request.requester.clone());
        all.requester_ids.push((*id).to_owned());
    }
    merged.into_values().collect()
}

fn requests<'a>(layout: &Layout, wish: &Wish<'a>) -> Vec<&'a VolumeMountRequest> {
    let all = wish.requests.iter().filter(|(_, request)| request.volume_id == layout.id);
    all.map(|(_, request)| *request).collect()
}

/// Whether nobody asks any more, and somebody did.
fn is_going(layout: &Layout, wish: &Wish<'_>) -> bool {
    let is_withdrawn = wish.withdrawn.iter().any(|request| request.volume_id == layout.id);
    layout.is_leaving || (is_withdrawn && requests(layout, wish).is_empty())
}

/// Whether the volume that the mount point lies in is mounted and stays so.
pub fn has_parent(layout: &Layout, seen: &Seen, wish: &Wish<'_>) -> bool {
    let parent_id = &layout.config.mount.parent_id;
    if parent_id.is_empty() {
        return true;
    }
    let parent = wish.layouts.iter().find(|other| other.id == *parent_id);
    parent.is_some_and(|parent| {
        !is_going(parent, wish) && seen.mounts.iter().any(|mount| mount.target == parent.target())
    })
}

/// Whether something is still mounted below.
fn has_children(layout: &Layout, seen: &Seen, wish: &Wish<'_>) -> bool {
    let is_child = |other: &&Arc<Layout>| other.config.mount.parent_id == layout.id;
    let mut children = wish.layouts.iter().filter(is_child);
    children.any(|child| seen.mounts.iter().any(|mount| mount.target == child.target()))
}

/// Mounts and unmounts a volume that is ready; tells whether it is mounted and stays so.
pub fn mounts(
    layout: &Arc<Layout>,
    seen: &Seen,
    source: &Source<'_>,
    wish: &Wish<'_>,
    decision: &mut Decision,
    status: &mut VolumeStatus,
) -> bool {
    let target = layout.target();
    if target.is_empty() {
        return false;
    }
    target.clone_into(&mut status.mount_spec.target_path);
    status.mount_spec.parent_id.clone_from(&layout.config.mount.parent_id);
    status.mount_spec.secure = layout.config.mount.secure;
    let requests = requests(layout, wish);
    let has_parent = has_parent(layout, seen, wish);
    let is_own = |mount: &SeenMount| {
        mount.entry.source == source.device
            || source.numbers.is_some_and(|numbers| mount.entry.device == numbers)
    };
    match seen.mounts.iter().find(|mount| mount.target == target) {
        Some(mount) if is_own(mount) => {
            let is_going = is_going(layout, wish) || !has_parent;
            if is_going && !has_children(layout, seen, wish) {
                decision.steps.push(Step::Unmount { layout: Arc::clone(layout) });
            }
            status.mount_spec.project_quota_support =
                mount.entry.super_options.split(',').any(|option| option == "prjquota");
            decision.mounts.push(mounted(layout, mount, &requests, source.device, status.filesystem));
            !is_going
        }
        Some(mount) => {
            if !requests.is_empty() {
                let text = format!(
                    "cannot mount {} at {target}: {} is mounted there; restart the machine",
                    layout.id, mount.entry.source
                );
                fail(status, text);
            }
            false
        }
        None => {
            if !requests.is_empty() && has_parent {
                let (source, flags) = (source.device.to_owned(), layout.flags(&requests));
                let (layout, fstype) = (Arc::clone(layout), layout::fstype(status.filesystem));
                decision.steps.push(Step::Mount { layout, source, fstype, flags });
            }
            false
        }
    }
}

fn mounted(
    layout: &Layout,
    mount: &SeenMount,
    requests: &[&VolumeMountRequest],
    device: &str,
    filesystem: Filesystem,
) -> Mounted {
    let has = |option: &str| mount.entry.options.split(',').any(|other| other == option);
    let status = VolumeMountStatus {
        volume_id: layout.id.clone(),
        requester: requests.first().map(|request| request.requester.clone()).unwrap_or_default(),
        target: layout.target().to_owned(),
        read_only: has("ro"),
        disable_access_time: has("noatime"),
        secure: has("nosuid") && has("nodev"),
        no_exec: has("noexec"),
        detached: false,
    };
    let options = mount.entry.options.split(',').chain(mount.entry.super_options.split(','));
    let row = MountStatus {
        source: device.to_owned(),
        target: layout.target().to_owned(),
        filesystem_type: mount.entry.fstype.clone(),
        options: options.map(str::to_owned).collect(),
        ..MountStatus::default()
    };
    let mount = VolumeMount {
        spec: spec(layout, &status, requests),
        source: device.to_owned(),
        target: layout.target().to_owned(),
        filesystem,
        read_only: status.read_only,
        project_quota_support: row.options.iter().any(|option| option == "prjquota"),
        ..VolumeMount::default()
    };
    Mounted { volume: layout.id.clone(), status, mount, row: Some(row) }
}

fn spec(layout: &Layout, status: &VolumeMountStatus, requests: &[&VolumeMountRequest]) -> MountRequest {
    MountRequest {
        volume_id: layout.id.clone(),
        parent_id: layout.config.mount.parent_id.clone(),
        read_only: status.read_only,
        disable_access_time: status.disable_access_time,
        secure: status.secure,
        no_exec: status.no_exec,
        requesters: requests.iter().map(|request| request.requester.clone()).collect(),
        ..MountRequest::default()
    }
}

/// The answer to who asks for a folder of another volume: it is there as soon as it exists.
pub fn folder(layout: &Layout, wish: &Wish<'_>) -> Option<Mounted> {
    let requests = requests(layout, wish);
    let first = requests.first()?;
    let status = VolumeMountStatus {
        volume_id: layout.id.clone(),
        requester: first.requester.clone(),
        target: layout.target().to_owned(),
        ..VolumeMountStatus::default()
    };
    let mount = VolumeMount {
        spec: spec(layout, &status, &requests),
        source: layout.target().to_owned(),
        target: layout.target().to_owned(),
        ..VolumeMount::default()
    };
    Some(Mounted { volume: layout.id.clone(), status, mount, row: None })
}
