//! What to do about groups and volumes: pure. Nothing is made smaller or taken away.

use std::collections::BTreeMap;

use corten_resources::storage::{
    LvmLogicalVolumeSpec, LvmLogicalVolumeStatus, LvmLogicalVolumeType, LvmVolumeGroupSpec,
    LvmVolumeGroupStatus,
};

use super::report::{Report, bytes};
use super::specs::volume_id;

/// Sizes are rounded to extents: a difference of less than this part of the size, per cent, is none.
const SLACK_PERCENT: u64 = 1;

/// How large a volume is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes.
    Bytes(u64),
    /// So much of the group, per cent.
    Percent(u32),
    /// What is free.
    Free,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Make a group of blank volumes.
    CreateGroup { group: String, devices: Vec<String> },
    /// Give a group blank volumes, or physical volumes that are in no group.
    ExtendGroup { group: String, devices: Vec<String> },
    /// Make a logical volume.
    CreateVolume { group: String, name: String, layout: Layout, extent: Extent },
    /// Make a logical volume larger.
    ExtendVolume { group: String, name: String, extent: Extent },
}

/// Layout of a volume, with everything that was left open decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Kind.
    pub kind: LvmLogicalVolumeType,
    /// Copies besides the first; 0 when the layout has none.
    pub mirrors: u32,
    /// Stripes; 0 when the layout has none.
    pub stripes: u32,
}

impl Op {
    /// Id of the group or volume that it is about.
    pub fn id(&self) -> String {
        match self {
            Self::CreateGroup { group, .. } | Self::ExtendGroup { group, .. } => group.clone(),
            Self::CreateVolume { group, name, .. } | Self::ExtendVolume { group, name, .. } => {
                volume_id(group, name)
            }
        }
    }
}

/// What to do for a group, or why nothing can be done. `contents` tells what is recognized on devices; blank ones are
/// not in it.
pub fn group(
    spec: &LvmVolumeGroupSpec,
    report: &Report,
    contents: &BTreeMap<&str, &str>,
) -> Result<Option<Op>, String> {
    let mut missing = Vec::new();
    for device in &spec.physical_volumes {
        match report.on(device) {
            Some(volume) if volume.vg_name == spec.name => {}
            Some(volume) if volume.vg_name.is_empty() => missing.push(device.clone()),
            Some(volume) => {
                let other = &volume.vg_name;
                return Err(format!("{device} is in the volume group {other}; wipe it, or leave it out"));
            }
            None => match contents.get(device.as_str()) {
                Some(content) => {
                    return Err(format!("{device} is not empty ({content}); wipe it, or leave it out"));
                }
                None => missing.push(device.clone()),
            },
        }
    }
    let (group, devices) = (spec.name.clone(), missing);
    Ok(match (devices.is_empty(), report.group(&group)) {
        (true, _) => None,
        (false, None) => Some(Op::CreateGroup { group, devices }),
        (false, Some(_)) => Some(Op::ExtendGroup { group, devices }),
    })
}

/// What to do for a logical volume, or why nothing can be done.
pub fn volume(spec: &LvmLogicalVolumeSpec, report: &Report) -> Result<Option<Op>, String> {
    let Some(group) = report.group(&spec.vg_name) else { return Ok(None) };
    if !group.partial.is_empty() {
        return Err("physical volumes of the group are missing".to_owned());
    }
    match report.volume(&spec.vg_name, &spec.name) {
        Some(volume) => grown(spec, group, volume),
        None => {
            let (group_name, name) = (spec.vg_name.clone(), spec.name.clone());
            let layout = layout(spec, count(report, &spec.vg_name))?;
            let extent = extent(spec, bytes(&group.free));
            Ok(Some(Op::CreateVolume { group: group_name, name, layout, extent }))
        }
    }
}

/// How many times each byte of a volume is stored.
pub fn copies(spec: &LvmLogicalVolumeSpec) -> u64 {
    match spec.kind {
        LvmLogicalVolumeType::Raid1 | LvmLogicalVolumeType::Raid10 => u64::from(spec.mirrors.max(1)) + 1,
        LvmLogicalVolumeType::Linear | LvmLogicalVolumeType::Raid0 => 1,
    }
}

fn count(report: &Report, group: &str) -> u32 {
    let volumes =
        report.physical.iter().filter(|volume| volume.vg_name == group && volume.missing.is_empty());
    u32::try_from(volumes.count()).unwrap_or(u32::MAX)
}

/// The size in the words of LVM. What a group lacks of a size in bytes is left out; whoever asked has said that less
/// is enough.
fn extent(spec: &LvmLogicalVolumeSpec, free: u64) -> Extent {
    if spec.size_percent_vg > 0 {
        return Extent::Percent(spec.size_percent_vg);
    }
    if spec.size_bytes.saturating_mul(copies(spec)) > free {
        Extent::Free
    } else {
        Extent::Bytes(spec.size_bytes)
    }
}

/// The layout on so many physical volumes.
fn layout(spec: &LvmLogicalVolumeSpec, count: u32) -> Result<Layout, String> {
    let mirrors = spec.mirrors.max(1);
    let (mirrors, stripes, needed) = match spec.kind {
        LvmLogicalVolumeType::Linear => (0, 0, 1),
        LvmLogicalVolumeType::Raid0 => {
            let stripes = if spec.stripes == 0 { count.max(2) } else { spec.stripes };
            (0, stripes, stripes)
        }
        LvmLogicalVolumeType::Raid1 => (mirrors, 0, mirrors.saturating_add(1)),
        LvmLogicalVolumeType::Raid10 => {
            let copies = mirrors.saturating_add(1);
            let stripes = if spec.stripes == 0 { (count / copies).max(2) } else { spec.stripes };
            (mirrors, stripes, stripes.saturating_mul(copies))
        }
    };
    if count < needed {
        return Err(format!("the layout needs {needed} physical volumes, and the group has {count}"));
    }
    Ok(Layout { kind: spec.kind, mirrors, stripes })
}

/// Larger, if it should be and there is room.
fn grown(
    spec: &LvmLogicalVolumeSpec,
    group: &LvmVolumeGroupStatus,
    volume: &LvmLogicalVolumeStatus,
) -> Result<Option<Op>, String> {
    let (size, free) = (bytes(&volume.size), bytes(&group.free));
    let target = match spec.size_percent_vg {
        0 => spec.size_bytes,
        percent => bytes(&group.size).saturating_mul(percent.into()) / 100 / copies(spec),
    };
    let slack = size / 100 * SLACK_PERCENT;
    if size == 0 || target == 0 {
        return Ok(None);
    }
    if target < size.saturating_sub(slack) {
        return Err(format!(
            "{target} bytes are wished for; it has {size}, and volumes are not made smaller"
        ));
    }
    let more = target.saturating_sub(size).saturating_mul(copies(spec));
    if target <= size + slack || free < bytes(&group.extent_size).max(1) {
        return Ok(None);
    }
    let extent = match spec.size_percent_vg {
        0 if more > free => Extent::Free,
        0 => Extent::Bytes(target),
        percent => Extent::Percent(percent),
    };
    Ok(Some(Op::ExtendVolume { group: spec.vg_name.clone(), name: spec.name.clone(), extent }))
}

#[cfg(test)]
mod tests {
    use corten_resources::storage::LvmPhysicalVolumeStatus;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn report(physical: &[(&str, &str)], free: u64, volume: Option<u64>) -> Report {
        let physical = physical.iter().map(|(device, group)| LvmPhysicalVolumeStatus {
            device: (*device).to_owned(),
            vg_name: (*group).to_owned(),
            ..LvmPhysicalVolumeStatus::default()
        });
        let group = LvmVolumeGroupStatus {
            name: "vg".to_owned(),
            size: (10 * GIB).to_string(),
            free: free.to_string(),
            extent_size: (4_u64 << 20).to_string(),
            ..LvmVolumeGroupStatus::default()
        };
        let volume = volume.map(|size| LvmLogicalVolumeStatus {
            name: "data".to_owned(),
            vg_name: "vg".to_owned(),
            size: size.to_string(),
            ..LvmLogicalVolumeStatus::default()
        });
        Report { groups: vec![group], physical: physical.collect(), logical: volume.into_iter().collect() }
    }

    fn spec(kind: LvmLogicalVolumeType, size_bytes: u64, size_percent_vg: u32) -> LvmLogicalVolumeSpec {
        LvmLogicalVolumeSpec {
            vg_name: "vg".to_owned(),
            name: "data".to_owned(),
            kind,
            size_bytes,
            size_percent_vg,
            ..LvmLogicalVolumeSpec::default()
        }
    }

    #[test]
    fn groups_take_blank_volumes_and_those_of_nobody() {
        let devices = ["/dev/vdb", "/dev/vdc"].map(str::to_owned).to_vec();
        let wish = LvmVolumeGroupSpec { name: "vg".to_owned(), physical_volumes: devices.clone() };
        let blank = BTreeMap::new();
        let create = Op::CreateGroup { group: "vg".to_owned(), devices: devices.clone() };
        assert_eq!(group(&wish, &Report::default(), &blank), Ok(Some(create)));
        let half = report(&[("/dev/vdb", "vg"), ("/dev/vdc", "")], GIB, None);
        let extend = Op::ExtendGroup { group: "vg".to_owned(), devices: vec!["/dev/vdc".to_owned()] };
        assert_eq!(group(&wish, &half, &blank), Ok(Some(extend)));
        let whole = report(&[("/dev/vdb", "vg"), ("/dev/vdc", "vg")], GIB, None);
        assert_eq!(group(&wish, &whole, &BTreeMap::from([("/dev/vdb", "lvm2-pv")])), Ok(None));
        let foreign = report(&[("/dev/vdb", "other")], GIB, None);
        assert!(group(&wish, &foreign, &blank).is_err_and(|error| error.contains("volume group other")));
        let full = group(&wish, &Report::default(), &BTreeMap::from([("/dev/vdc", "xfs")]));
        assert!(full.is_err_and(|error| error.starts_with("/dev/vdc is not empty (xfs)")));
    }

    #[test]
    fn volumes_are_made_when_their_group_has_what_they_need() {
        use LvmLogicalVolumeType::{Linear, Raid0, Raid1, Raid10};
        let two = report(&[("/dev/vdb", "vg"), ("/dev/vdc", "vg")], 10 * GIB, None);
        let made = |kind, count: Option<(u32, u32)>| {
            let result = volume(&spec(kind, GIB, 0), &two);
            let layout = result.ok().flatten().map(|op| match op {
                Op::CreateVolume { layout, .. } => (layout.mirrors, layout.stripes),
                other => panic!("{other:?}"),
            });
            assert_eq!(layout, count, "{kind:?}");
        };
        made(Linear, Some((0, 0)));
        made(Raid0, Some((0, 2)));
        made(Raid1, Some((1, 0)));
        made(Raid10, None);
        assert_eq!(volume(&spec(Linear, GIB, 0), &Report::default()), Ok(None), "the group is awaited");
        let full = report(&[("/dev/vdb", "vg")], GIB, None);
        let Ok(Some(Op::CreateVolume { extent, .. })) = volume(&spec(Linear, 2 * GIB, 0), &full) else {
            panic!()
        };
        assert_eq!(extent, Extent::Free);
        let mut partial = full;
        partial.groups[0].partial = "partial".to_owned();
        assert!(volume(&spec(Linear, GIB, 0), &partial).is_err());
    }

    #[test]
    fn volumes_grow_and_never_shrink() {
        use LvmLogicalVolumeType::{Linear, Raid1};
        let at = |size: u64, free: u64, wish: LvmLogicalVolumeSpec| {
            volume(&wish, &report(&[("/dev/vdb", "vg")], free, Some(size)))
        };
        let extend =
            |extent| Ok(Some(Op::ExtendVolume { group: "vg".to_owned(), name: "data".to_owned(), extent }));
        assert_eq!(at(GIB, 5 * GIB, spec(Linear, 2 * GIB, 0)), extend(Extent::Bytes(2 * GIB)));
        assert_eq!(at(GIB, GIB / 2, spec(Linear, 2 * GIB, 0)), extend(Extent::Free));
        assert_eq!(at(GIB, 0, spec(Linear, 2 * GIB, 0)), Ok(None));
        assert_eq!(at(GIB, 5 * GIB, spec(Linear, 0, 50)), extend(Extent::Percent(50)));
        assert_eq!(at(5 * GIB - (4 << 20), 5 * GIB, spec(Linear, 0, 50)), Ok(None), "rounded to extents");
        assert_eq!(at(5 * GIB / 2, 5 * GIB, spec(Raid1, 0, 50)), Ok(None), "two copies");
        assert!(
            at(3 * GIB, 5 * GIB, spec(Linear, GIB, 0)).is_err_and(|error| error.contains("made smaller"))
        );
    }
}
