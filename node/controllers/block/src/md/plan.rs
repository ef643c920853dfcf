//! What to do about an array, and what to report of it: pure.

use std::collections::{BTreeMap, BTreeSet};

use corten_resources::storage::{MdArrayPhase, MdArrayStatus, MdLevel};

use super::seen::{Array, Seen};
use super::superblock::Superblock;

/// Fewer members are no array.
const MEMBERS_MIN: usize = 2;
/// The only level that can be wished for.
const LEVEL: &str = "raid1";

/// An array that should exist.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Format of its metadata.
    pub metadata: &'static str,
    /// The volumes that it should be made of, in order, or why that cannot be told.
    pub members: Result<Vec<Member>, String>,
}

/// A volume that should be a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// `/dev/…`.
    pub dev_path: String,
    /// What is recognized on it; empty when it is blank.
    pub content: String,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Make an array of blank volumes.
    Create { name: String, metadata: &'static str, members: Vec<String> },
    /// Put together what udev has not.
    Assemble { name: String, members: Vec<String> },
    /// Use an array although members are missing.
    Run { name: String, device: String },
    /// Add a blank volume, or one that was a member before.
    Add { name: String, device: String, member: String },
    /// Let the array have more members.
    Grow { name: String, device: String, raid_devices: usize },
}

impl Op {
    /// The array that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Create { name, .. }
            | Self::Assemble { name, .. }
            | Self::Run { name, .. }
            | Self::Add { name, .. }
            | Self::Grow { name, .. } => name,
        }
    }
}

/// What else decides.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Arrays by name that udev had time enough to put together.
    pub overdue: &'a BTreeSet<String>,
    /// Why the last attempt at an array failed, by name.
    pub trouble: &'a BTreeMap<String, String>,
}

/// The status of an array that should exist, and what brings it nearer.
pub fn decide(wish: &Wish, seen: &Seen, around: Circumstances<'_>) -> (MdArrayStatus, Vec<Op>) {
    let members = match &wish.members {
        Ok(members) => members,
        Err(error) => return (failed(MdArrayStatus::default(), error.clone()), Vec::new()),
    };
    let has_member = |array: &&Array| members.iter().any(|member| array.members.contains(&member.dev_path));
    let arrays: Vec<&Array> = seen.arrays.values().filter(has_member).collect();
    let (mut status, ops) = match arrays.as_slice() {
        [] => absent(wish, members, seen, around),
        [array] => present(wish, members, array, seen, around),
        [one, other, ..] => {
            let text = format!("the selector matches members of {} and of {}", one.dev_path, other.dev_path);
            (failed(MdArrayStatus::default(), text), Vec::new())
        }
    };
    if let Some(trouble) = around.trouble.get(&wish.name).filter(|_| !ops.is_empty()) {
        status = failed(status, trouble.clone());
    }
    (status, ops)
}

/// There is no such array yet, or not any more.
fn absent(
    wish: &Wish,
    members: &[Member],
    seen: &Seen,
    around: Circumstances<'_>,
) -> (MdArrayStatus, Vec<Op>) {
    let paths: Vec<String> = members.iter().map(|member| member.dev_path.clone()).collect();
    let status = MdArrayStatus {
        level: MdLevel::Raid1,
        device: stable_path(&wish.name),
        members: paths.clone(),
        metadata: wish.metadata.to_owned(),
        ..MdArrayStatus::default()
    };
    let stamped: BTreeMap<&str, Vec<String>> = stamped(&paths, seen);
    if let Some((uuid, parts)) = stamped.iter().next() {
        if let Some(other) = stamped.keys().nth(1) {
            let text = format!("the selector matches members of the arrays {uuid} and {other}");
            return (failed(status, text), Vec::new());
        }
        if !around.overdue.contains(&wish.name) {
            return (waiting(status, "waiting for the array to be put together".to_owned()), Vec::new());
        }
        return (status, vec![Op::Assemble { name: wish.name.clone(), members: parts.clone() }]);
    }
    if members.len() < MEMBERS_MIN {
        let text = format!("waiting for members: {} of at least {MEMBERS_MIN} are there", members.len());
        return (waiting(status, text), Vec::new());
    }
    match members.iter().find_map(|member| occupied(member, seen, None)) {
        Some(text) => (failed(status, text), Vec::new()),
        None => {
            let create = Op::Create { name: wish.name.clone(), metadata: wish.metadata, members: paths };
            (status, vec![create])
        }
    }
}

/// There is an array of at least one of the members.
fn present(
    wish: &Wish,
    members: &[Member],
    array: &Array,
    seen: &Seen,
    around: Circumstances<'_>,
) -> (MdArrayStatus, Vec<Op>) {
    let (name, device) = (wish.name.clone(), array.dev_path.clone());
    let status = observed(array, seen);
    if array.is_inactive() {
        if !around.overdue.contains(&wish.name) {
            return (waiting(status, "waiting for its members".to_owned()), Vec::new());
        }
        return (status, vec![Op::Run { name, device }]);
    }
    if array.level != LEVEL {
        return (status, Vec::new());
    }
    let uuid = superblock(array, seen).map(|superblock| superblock.uuid.as_str());
    let more: Vec<&Member> =
        members.iter().filter(|member| !array.members.contains(&member.dev_path)).collect();
    if let Some(text) = more.iter().find_map(|member| occupied(member, seen, uuid)) {
        return (failed(status, text), Vec::new());
    }
    if array.is_syncing() {
        return (status, Vec::new());
    }
    let add = |member: &&Member| Op::Add {
        name: name.clone(),
        device: device.clone(),
        member: member.dev_path.clone(),
    };
    let mut ops: Vec<Op> = more.iter().map(add).collect();
    // A new member takes the place of one that failed.
    let raid_devices = array.members.len() - array.failed.len() + more.len();
    if raid_devices > array.raid_devices as usize {
        ops.push(Op::Grow { name, device, raid_devices });
    }
    (status, ops)
}

/// Status of an array that no configuration is about, under the id that it gets.
pub fn unclaimed(kernel_name: &str, array: &Array, seen: &Seen) -> (String, MdArrayStatus) {
    let name = superblock(array, seen).map(Superblock::short_name).filter(|name| !name.is_empty());
    (name.unwrap_or(kernel_name).to_owned(), observed(array, seen))
}

/// What the kernel says of an array.
pub fn observed(array: &Array, seen: &Seen) -> MdArrayStatus {
    let superblock = superblock(array, seen);
    let name = superblock.map(|superblock| superblock.name.clone()).unwrap_or_default();
    let device = if name.is_empty() { array.dev_path.clone() } else { stable_path(&name) };
    let status = MdArrayStatus {
        level: MdLevel::Raid1,
        device,
        members: array.members.clone(),
        raid_devices: array.raid_devices.into(),
        uuid: superblock.map(|superblock| superblock.uuid.clone()).unwrap_or_default(),
        name,
        metadata: array.metadata.clone(),
        array_state: array.state.clone(),
        sync_action: array.sync_action.clone(),
        ..MdArrayStatus::default()
    };
    if array.is_inactive() {
        return failed(status, "it is not in use: members are missing".to_owned());
    }
    if array.level != LEVEL {
        return failed(status, format!("its level is {}; only {LEVEL} is managed", array.level));
    }
    if array.is_syncing() {
        return MdArrayStatus { status: MdArrayPhase::Rebuilding, ..status };
    }
    if array.degraded > 0 {
        let mut text = format!("{} of {} members are missing or behind", array.degraded, array.raid_devices);
        if !array.failed.is_empty() {
            text += &format!(
                "; failed: {}; a blank volume that the selector matches takes over",
                array.failed.join(", ")
            );
        }
        return failed(status, text);
    }
    MdArrayStatus { status: MdArrayPhase::Ready, ..status }
}

fn superblock<'a>(array: &Array, seen: &'a Seen) -> Option<&'a Superblock> {
    array.members.iter().find_map(|member| seen.superblocks.get(member))
}

/// Members by the array that they say they are of.
fn stamped<'a>(paths: &[String], seen: &'a Seen) -> BTreeMap<&'a str, Vec<String>> {
    let mut stamped: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for path in paths {
        if let Some(superblock) = seen.superblocks.get(path) {
            stamped.entry(&superblock.uuid).or_default().push(path.clone());
        }
    }
    stamped
}

/// Why a volume cannot become a member of the array with this identity.
fn occupied(member: &Member, seen: &Seen, uuid: Option<&str>) -> Option<String> {
    let path = &member.dev_path;
    let way_out = "wipe it, or leave it out of the selector";
    match seen.superblocks.get(path) {
        Some(superblock) if Some(superblock.uuid.as_str()) == uuid => None,
        Some(superblock) => Some(format!("{path} is a member of the array {}; {way_out}", superblock.uuid)),
        None if member.content.is_empty() => None,
        None => Some(format!("{path} is not empty ({}); {way_out}", member.content)),
    }
}

/// The path that an array of this name has at every boot.
fn stable_path(name: &str) -> String {
    format!("/dev/disk/by-id/md-name-{name}")
}

fn failed(status: MdArrayStatus, error: String) -> MdArrayStatus {
    MdArrayStatus { status: MdArrayPhase::Error, error, ..status }
}

fn waiting(status: MdArrayStatus, error: String) -> MdArrayStatus {
    MdArrayStatus { status: MdArrayPhase::Waiting, error, ..status }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &str) -> Member {
        Member { dev_path: format!("/dev/{name}"), content: content.to_owned() }
    }

    fn wish(members: &[(&str, &str)]) -> Wish {
        let members = members.iter().map(|(name, content)| member(name, content)).collect();
        Wish { name: "data".to_owned(), metadata: "1.2", members: Ok(members) }
    }

    fn array(members: &[&str]) -> Array {
        Array {
            dev_path: "/dev/md127".to_owned(),
            level: LEVEL.to_owned(),
            raid_devices: members.len().try_into().expect("few"),
            metadata: "1.2".to_owned(),
            state: "clean".to_owned(),
            sync_action: "idle".to_owned(),
            degraded: 0,
            members: members.iter().map(|name| format!("/dev/{name}")).collect(),
            failed: Vec::new(),
        }
    }

    fn seen(array: Option<Array>, stamped: &[(&str, &str)]) -> Seen {
        let superblock = |uuid: &str| Superblock {
            uuid: uuid.to_owned(),
            name: "data".to_owned(),
            ..Superblock::default()
        };
        Seen {
            arrays: array.map(|array| ("md127".to_owned(), array)).into_iter().collect(),
            superblocks: stamped
                .iter()
                .map(|(name, uuid)| (format!("/dev/{name}"), superblock(uuid)))
                .collect(),
        }
    }

    fn run(wish: &Wish, seen: &Seen, is_overdue: bool) -> (MdArrayStatus, Vec<Op>) {
        let overdue = is_overdue.then(|| wish.name.clone()).into_iter().collect();
        decide(wish, seen, Circumstances { overdue: &overdue, trouble: &BTreeMap::new() })
    }

    #[test]
    fn an_array_is_made_of_two_blank_volumes_and_of_nothing_else() {
        let none = seen(None, &[]);
        let (status, ops) = run(&wish(&[("vdb", ""), ("vdc", "")]), &none, false);
        let members = vec!["/dev/vdb".to_owned(), "/dev/vdc".to_owned()];
        assert_eq!(ops, [Op::Create { name: "data".to_owned(), metadata: "1.2", members }]);
        assert_eq!(status.device, "/dev/disk/by-id/md-name-data");
        let (status, ops) = run(&wish(&[("vdb", "")]), &none, true);
        assert_eq!((status.status, ops.len()), (MdArrayPhase::Waiting, 0));
        let (status, ops) = run(&wish(&[("vdb", ""), ("vdc", "xfs")]), &none, true);
        assert_eq!((status.status, ops.len()), (MdArrayPhase::Error, 0));
        assert!(status.error.starts_with("/dev/vdc is not empty (xfs)"), "{}", status.error);
        let unclear = Wish { members: Err("no".to_owned()), ..wish(&[]) };
        assert_eq!(run(&unclear, &none, true).0.error, "no");
    }

    #[test]
    fn members_of_an_array_are_put_together_once_udev_had_its_time() {
        let parts = seen(None, &[("vdb", "1"), ("vdc", "1")]);
        let both = wish(&[("vdb", ""), ("vdc", "")]);
        assert_eq!(run(&both, &parts, false).0.status, MdArrayPhase::Waiting);
        let (_, ops) = run(&both, &parts, true);
        assert!(matches!(ops.as_slice(), [Op::Assemble { members, .. }] if members.len() == 2), "{ops:?}");
        let (status, ops) = run(&both, &seen(None, &[("vdb", "1"), ("vdc", "2")]), true);
        assert_eq!((status.status, ops.len()), (MdArrayPhase::Error, 0));
        let inactive = Array { state: "inactive".to_owned(), ..array(&["vdb"]) };
        let inactive = seen(Some(inactive), &[("vdb", "1")]);
        assert_eq!(run(&both, &inactive, false).1, []);
        assert!(matches!(run(&both, &inactive, true).1.as_slice(), [Op::Run { .. }]));
    }

    #[test]
    fn an_array_grows_when_it_has_nothing_else_to_do() {
        let three = wish(&[("vdb", ""), ("vdc", ""), ("vdd", "")]);
        let (_, ops) = run(&three, &seen(Some(array(&["vdb", "vdc"])), &[("vdb", "1")]), false);
        assert!(
            matches!(ops.as_slice(), [Op::Add { member, .. }, Op::Grow { raid_devices: 3, .. }] if member == "/dev/vdd"),
            "{ops:?}"
        );
        let busy = Array { sync_action: "resync".to_owned(), ..array(&["vdb", "vdc"]) };
        let (status, ops) = run(&three, &seen(Some(busy), &[]), false);
        assert_eq!((status.status, ops.len()), (MdArrayPhase::Rebuilding, 0));
        let (status, _) = run(&three, &seen(Some(array(&["vdb", "vdc"])), &[("vdd", "2")]), false);
        assert!(status.error.contains("member of the array 2"), "{}", status.error);
        // A member that was lost comes back in its old place.
        let degraded = Array { degraded: 1, raid_devices: 2, ..array(&["vdb"]) };
        let lost = seen(Some(degraded), &[("vdb", "1"), ("vdc", "1")]);
        let (status, ops) = run(&wish(&[("vdb", ""), ("vdc", "")]), &lost, false);
        assert!(matches!(ops.as_slice(), [Op::Add { .. }]), "{ops:?}");
        assert_eq!(
            (status.status, status.error.as_str()),
            (MdArrayPhase::Error, "1 of 2 members are missing or behind")
        );
    }

    #[test]
    fn a_new_member_takes_the_place_of_one_that_failed() {
        let failed = vec!["/dev/vdc".to_owned()];
        let degraded = Array { degraded: 1, failed, ..array(&["vdb", "vdc"]) };
        let three = wish(&[("vdb", ""), ("vdc", ""), ("vdd", "")]);
        let (status, ops) = run(&three, &seen(Some(degraded.clone()), &[("vdb", "1")]), false);
        assert!(matches!(ops.as_slice(), [Op::Add { member, .. }] if member == "/dev/vdd"), "{ops:?}");
        assert!(status.error.contains("failed: /dev/vdc;"), "{}", status.error);
        let members = ["vdb", "vdc", "vdd"].map(|name| format!("/dev/{name}")).to_vec();
        let whole = Array { degraded: 0, members, ..degraded };
        let (status, ops) = run(&three, &seen(Some(whole), &[("vdb", "1")]), false);
        assert_eq!((status.status, ops.len()), (MdArrayPhase::Ready, 0));
    }

    #[test]
    fn what_failed_is_told_until_it_works_and_other_arrays_are_listed() {
        let both = wish(&[("vdb", ""), ("vdc", "")]);
        let trouble = [("data".to_owned(), "mdadm ended".to_owned())].into();
        let around = Circumstances { overdue: &BTreeSet::new(), trouble: &trouble };
        assert_eq!(decide(&both, &seen(None, &[]), around).0.error, "mdadm ended");
        let made = seen(Some(array(&["vdb", "vdc"])), &[("vdb", "1")]);
        let (status, _) = decide(&both, &made, around);
        assert_eq!((status.status, status.error.as_str()), (MdArrayPhase::Ready, ""));
        assert_eq!((status.uuid.as_str(), status.raid_devices), ("1", 2));
        let (id, status) = unclaimed("md127", &array(&["vdx"]), &made);
        assert_eq!((id.as_str(), status.device.as_str()), ("md127", "/dev/md127"));
        let other = Array { level: "raid5".to_owned(), ..array(&["vdb"]) };
        let (id, status) = unclaimed("md127", &other, &made);
        assert_eq!((id.as_str(), status.status), ("data", MdArrayPhase::Error));
    }
}
