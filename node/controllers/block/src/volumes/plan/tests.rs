//! Plans of single moments, and whole lives with losses of power at any step.

use corten_resources::block::Disk;
use proptest::prelude::*;

use super::*;
use crate::device::Geometry;
use crate::gpt::{Guid, Health, LINUX_DATA, Table, Wanted, read, write};
use crate::probe::Found;
use crate::sysfs::KernelPartition;
use crate::volume_configs;
use crate::volumes::seen::SeenMount;

const GIB: u64 = 1 << 30;

/// A disk as it would really be: what is in the table, in the kernel, in the partitions.
#[derive(Clone, Debug)]
struct ModelDisk {
    name: &'static str,
    table: Option<Table>,
    health: Health,
    geometry: Geometry,
    announced: Vec<(u32, u64)>,
    contents: BTreeMap<u32, Content>,
    content: Content,
}

/// A machine with its disks, and what is mounted and swapped to.
#[derive(Clone, Debug)]
struct Model {
    disks: Vec<ModelDisk>,
    mounts: Vec<SeenMount>,
    swaps: Vec<String>,
    folders: Vec<String>,
    found: Vec<DiscoveredVolume>,
}

/// A table with META, read from bytes because that is how the first one comes.
fn image() -> Table {
    let geometry = Geometry::of(8 << 20, 512);
    let file = tempfile::tempfile().expect("a file");
    file.set_len(8 << 20).expect("a disk");
    gptman_table(&file);
    let mut table = read(&file, geometry).expect("read").expect("a table").table;
    let wanted = Wanted { label: "META", kind: LINUX_DATA, id: Guid([1; 16]), size: Size::Bytes(1 << 20) };
    table.add(&wanted, geometry).expect("room");
    write(&file, &table, geometry).expect("write");
    table
}

fn gptman_table(file: &std::fs::File) {
    let mut file = file;
    let mut table = gptman::GPT::new_from(&mut file, 512, [9; 16]).expect("a table");
    table.write_into(&mut file).expect("write");
}

impl ModelDisk {
    fn seen(&self) -> SeenDisk {
        let entries = self.table.iter().flat_map(|table| &table.entries);
        let partitions = entries.map(|entry| {
            let known = self.announced.iter().find(|(number, _)| *number == entry.number);
            let kernel = known.map(|(number, size_bytes)| KernelPartition {
                name: format!("{}{number}", self.name),
                number: *number,
                start_bytes: entry.start_bytes(self.geometry),
                size_bytes: *size_bytes,
                device: format!("254:{number}"),
                has_node: true,
            });
            let content = self.contents.get(&entry.number).cloned().unwrap_or(Content::Blank);
            let content = if kernel.is_some() { content } else { Content::Unknown };
            let dev_path = kernel.as_ref().map(|kernel| format!("/dev/{}", kernel.name)).unwrap_or_default();
            SeenPartition { entry: entry.clone(), kernel, dev_path, content }
        });
        let size = self.geometry.sectors * 512;
        SeenDisk {
            name: self.name.to_owned(),
            facts: Disk {
                dev_path: format!("/dev/{}", self.name),
                size,
                sector_size: 512,
                ..Disk::default()
            },
            is_system: self.name == "vda",
            geometry: self.geometry,
            table: self.table.clone(),
            health: self.health,
            partitions: partitions.collect(),
            content: if self.table.is_some() { Content::Unknown } else { self.content.clone() },
        }
    }

    fn number(&self, label: &str) -> Option<u32> {
        Some(self.table.as_ref()?.labelled(label)?.number)
    }
}

impl Model {
    fn new(size_bytes: u64) -> Self {
        let system = ModelDisk {
            name: "vda",
            table: Some(image()),
            health: Health::BackupAstray,
            geometry: Geometry::of(size_bytes, 512),
            announced: vec![(1, 1 << 20)],
            contents: BTreeMap::new(),
            content: Content::Unknown,
        };
        Self {
            disks: vec![system],
            mounts: Vec::new(),
            swaps: Vec::new(),
            folders: Vec::new(),
            found: Vec::new(),
        }
    }

    /// With a second disk that is blank.
    fn with_disk(mut self, size_bytes: u64) -> Self {
        self.disks.push(ModelDisk {
            name: "vdb",
            table: None,
            health: Health::Sound,
            geometry: Geometry::of(size_bytes, 512),
            announced: Vec::new(),
            contents: BTreeMap::new(),
            content: Content::Blank,
        });
        self
    }

    fn seen(&self) -> Seen {
        Seen {
            disks: self.disks.iter().map(ModelDisk::seen).collect(),
            mounts: self.mounts.clone(),
            swaps: self.swaps.clone(),
            folders: self.folders.clone(),
        }
    }

    fn system(&mut self) -> &mut ModelDisk {
        &mut self.disks[0]
    }

    fn disk(&mut self, path: &str) -> &mut ModelDisk {
        self.disks.iter_mut().find(|disk| path.ends_with(disk.name)).expect("a disk")
    }

    /// Where a device's content is.
    fn content(&mut self, device: &str) -> &mut Content {
        let disk = self.disks.iter_mut().find(|disk| device.starts_with(&format!("/dev/{}", disk.name)));
        let disk = disk.expect("a disk");
        match device.trim_start_matches("/dev/").trim_start_matches(disk.name).parse() {
            Ok(number) => disk.contents.entry(number).or_insert(Content::Blank),
            Err(_) => &mut disk.content,
        }
    }

    /// What the step does to the disks. Formatting what is whole, or unmounting what is asked for, is a bug.
    fn apply(&mut self, step: &Step) {
        match step {
            Step::WriteTable { disk, is_system, add, grow } => {
                let disk = self.disk(disk);
                assert!(
                    disk.table.is_some() || disk.content == Content::Blank,
                    "a table over {:?}",
                    disk.content
                );
                assert_eq!(*is_system, disk.name == "vda");
                let geometry = disk.geometry;
                let table = disk.table.get_or_insert_with(|| Table::empty(Guid([3; 16]), geometry));
                for Addition { label, size, .. } in add {
                    let wanted = Wanted { label, kind: LINUX_DATA, id: Guid([2; 16]), size: *size };
                    table.add(&wanted, geometry).expect("the plan knew that there is room");
                }
                if let Some((label, bytes_max)) = grow {
                    let number = table.labelled(label).expect("a partition").number;
                    table.grow(number, *bytes_max, geometry);
                }
                disk.health = Health::Sound;
            }
            Step::Announce { disk, number, size_bytes, .. } => {
                self.disk(disk).announced.push((*number, *size_bytes));
            }
            Step::Resize { disk, number, size_bytes, .. } => {
                let announced = &mut self.disk(disk).announced;
                announced.retain(|(other, _)| other != number);
                announced.push((*number, *size_bytes));
            }
            Step::Format { layout, device, size_bytes } => {
                let found = whole(layout, *size_bytes);
                let content = self.content(device);
                assert_eq!(*content, Content::Blank, "formatted {}", layout.id);
                *content = found;
            }
            Step::Mount { layout, source, fstype, .. } => {
                let parent = &layout.config.mount.parent_id;
                let has_parent = parent.is_empty() || self.mounts.iter().any(|mount| mount.target == "/var");
                assert!(has_parent, "{} before {parent}", layout.id);
                let entry = row(source, fstype);
                self.mounts.push(SeenMount { target: layout.target().to_owned(), entry });
            }
            Step::Unmount { layout } => {
                let below = format!("{}/", layout.target());
                assert!(!self.mounts.iter().any(|mount| mount.target.starts_with(&below)), "busy");
                self.mounts.retain(|mount| mount.target != layout.target());
            }
            Step::GrowFilesystem { layout, device, size_bytes } => {
                *self.content(device) = whole(layout, *size_bytes);
            }
            Step::MakeFolder { layout } => self.folders.push(layout.target().to_owned()),
            Step::SwapOn { device, .. } => self.swaps.push(device.clone()),
            Step::SwapOff { device, .. } => self.swaps.retain(|swap| swap != device),
        }
    }

    /// The machine loses power: what was only in memory is gone.
    fn reboot(&mut self) {
        self.mounts.clear();
        self.swaps.clear();
        for disk in &mut self.disks {
            let geometry = disk.geometry;
            let entries = disk.table.iter().flat_map(|table| &table.entries);
            disk.announced = entries.map(|entry| (entry.number, entry.size_bytes(geometry))).collect();
        }
    }
}

fn whole(layout: &Layout, size: u64) -> Content {
    let label = layout.config.provisioning.filesystem.label.clone();
    Content::Whole(Found { name: layout::fstype(layout.filesystem()), label, size, ..Found::default() })
}

fn row(source: &str, fstype: &str) -> corten_sys::mountinfo::MountEntry {
    let line = format!("36 35 0:77 / /x rw,nosuid - {fstype} {source} rw,prjquota\n");
    corten_sys::mountinfo::parse(&line).remove(0)
}

/// The volumes of the system, and those of documents, in their order.
fn layouts(documents: &str) -> Vec<Arc<Layout>> {
    let storage = if documents.is_empty() {
        corten_config::view::Storage::default()
    } else {
        let config = corten_config::load_cached(documents.as_bytes());
        config.unwrap_or_else(|error| panic!("{error:?}")).view().storage.clone()
    };
    let mut all: Vec<Layout> = volume_configs::volumes(&storage)
        .into_iter()
        .filter(|(id, ..)| id != VolumeStatus::META)
        .map(|(id, config, _)| Layout { id, config, is_leaving: false })
        .collect();
    crate::volumes::sort(&mut all);
    all.into_iter().map(Arc::new).collect()
}

fn leaving(layouts: &[Arc<Layout>], id: &str) -> Vec<Arc<Layout>> {
    let leave = |layout: &Arc<Layout>| {
        let is_leaving = layout.id == id;
        Arc::new(Layout { is_leaving, ..Layout::clone(layout) })
    };
    layouts.iter().map(leave).collect()
}

fn request(volume: &str) -> VolumeMountRequest {
    VolumeMountRequest {
        volume_id: volume.to_owned(),
        requester: "test".to_owned(),
        secure: true,
        ..VolumeMountRequest::default()
    }
}

static NOTHING: BTreeMap<String, String> = BTreeMap::new();
static UNGROWN: BTreeMap<String, u64> = BTreeMap::new();

fn wish<'a>(layouts: &'a [Arc<Layout>], is_configured: bool, requests: &'a [VolumeMountRequest]) -> Wish<'a> {
    Wish {
        layouts,
        is_configured,
        is_probed: true,
        requests: requests.iter().map(|request| ("a-request", request)).collect(),
        withdrawn: Vec::new(),
        discovered: Vec::new(),
        trouble: &NOTHING,
        grown: &UNGROWN,
    }
}

fn phases(decision: &Decision) -> [VolumePhase; 3] {
    [VolumeStatus::META, VolumeStatus::STATE, VolumeStatus::EPHEMERAL]
        .map(|volume| decision.statuses[volume].phase)
}

/// Runs to the end; fails when there is none within the rounds that the runtime gives.
fn settle(model: &mut Model, wish: &Wish<'_>) -> Decision {
    for _ in 0..8 {
        let found = model.found.clone();
        let wish = Wish {
            discovered: found.iter().collect(),
            requests: wish.requests.clone(),
            withdrawn: wish.withdrawn.clone(),
            ..*wish
        };
        let decision = decide(&model.seen(), &wish);
        if decision.steps.is_empty() {
            return decision;
        }
        decision.steps.iter().for_each(|step| model.apply(step));
    }
    panic!("no end: {model:?}");
}

#[test]
fn an_image_without_configuration_is_left_as_it_is() {
    let (mut model, layouts) = (Model::new(10 * GIB), layouts(""));
    let requests = [request("STATE")];
    let decision = decide(&model.seen(), &wish(&layouts, false, &requests));
    assert_eq!(decision.steps, []);
    assert_eq!(phases(&decision), [VolumePhase::Ready, VolumePhase::Missing, VolumePhase::Missing]);
    assert_eq!(decision.statuses["META"].location, "/dev/vda1");
    model.system().health = Health::PrimaryDamaged;
    let repaired = settle(&mut model, &wish(&layouts, false, &requests));
    assert_eq!((model.system().health, repaired.steps.len()), (Health::Sound, 0));
}

#[test]
fn a_configuration_makes_and_mounts_the_volumes() {
    let (mut model, layouts) = (Model::new(10 * GIB), layouts(""));
    let requests = [request("STATE"), request("EPHEMERAL")];
    let decision = settle(&mut model, &wish(&layouts, true, &requests));
    assert_eq!(phases(&decision), [VolumePhase::Ready; 3]);
    assert_eq!(decision.mounts.len(), 2);
    let asked: Vec<&str> = decision.requests.iter().map(|request| request.volume_id.as_str()).collect();
    assert_eq!(asked, ["EPHEMERAL", "STATE"]);
    let system = model.system();
    let table = system.table.as_ref().expect("a table");
    let state = table.labelled("STATE").expect("state");
    assert_eq!((state.number, state.size_bytes(system.geometry)), (2, 100 << 20));
    assert_eq!(table.growth_bytes(3, u64::MAX, system.geometry), 0);
}

#[test]
fn a_grown_disk_grows_ephemeral_and_its_file_system() {
    let (mut model, layouts) = (Model::new(10 * GIB), layouts(""));
    let requests = [request("STATE"), request("EPHEMERAL")];
    settle(&mut model, &wish(&layouts, true, &requests));
    model.system().geometry = Geometry::of(20 * GIB, 512);
    let decision = settle(&mut model, &wish(&layouts, true, &requests));
    assert!(decision.statuses["EPHEMERAL"].size > 19 * GIB);
    assert!(matches!(&model.system().contents[&3], Content::Whole(found) if found.size > 19 * GIB));
}

#[test]
fn a_small_disk_fails_with_numbers_and_state_still_works() {
    let (mut model, layouts) = (Model::new(GIB), layouts(""));
    let decision = settle(&mut model, &wish(&layouts, true, &[request("STATE")]));
    assert_eq!(phases(&decision), [VolumePhase::Ready, VolumePhase::Ready, VolumePhase::Failed]);
    let message = &decision.statuses["EPHEMERAL"].error_message;
    assert!(message.contains("EPHEMERAL on /dev/vda") && message.contains("2147483648"), "{message}");
}

#[test]
fn foreign_contents_are_never_touched() {
    let (mut model, layouts) = (Model::new(10 * GIB), layouts(""));
    settle(&mut model, &wish(&layouts, true, &[]));
    let luks = Content::Whole(Found { name: "luks", ..Found::default() });
    model.system().contents.insert(2, luks);
    let decision = settle(&mut model, &wish(&layouts, true, &[request("STATE")]));
    let status = &decision.statuses["STATE"];
    assert_eq!((status.phase, status.pre_fail_phase), (VolumePhase::Failed, VolumePhase::Located));
    assert!(status.error_message.contains("luks"), "{}", status.error_message);
}

#[test]
fn a_mount_stays_until_its_last_request_is_torn_down() {
    let (mut model, layouts) = (Model::new(10 * GIB), layouts(""));
    let requests = [request("STATE")];
    settle(&mut model, &wish(&layouts, true, &requests));
    let adopted = settle(&mut model, &wish(&layouts, true, &[]));
    assert_eq!(adopted.mounts.len(), 1, "a new machined finds it mounted before anyone asks again");
    let torn = Wish { withdrawn: requests.iter().collect(), ..wish(&layouts, true, &requests) };
    assert_eq!(settle(&mut model, &torn).mounts.len(), 1, "somebody else asks for it");
    let torn = Wish { withdrawn: requests.iter().collect(), ..wish(&layouts, true, &[]) };
    assert_eq!(settle(&mut model, &torn).mounts.len(), 0);
}

#[test]
fn trouble_is_told_while_something_is_left_to_do() {
    let (mut model, layouts) = (Model::new(10 * GIB), layouts(""));
    let trouble = BTreeMap::from([("STATE".to_owned(), "cannot make STATE: the disk is broken".to_owned())]);
    let troubled = Wish { trouble: &trouble, ..wish(&layouts, true, &[]) };
    let decision = decide(&model.seen(), &troubled);
    assert_eq!(decision.statuses["STATE"].error_message, trouble["STATE"]);
    assert_eq!(phases(&settle(&mut model, &troubled))[1], VolumePhase::Ready);
}

const DATA: &str = "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\nprovisioning: {diskSelector: {match: '!system_disk'}, minSize: 1GiB, maxSize: 2GiB}\nfilesystem: {type: ext4}\n";

const WHOLE: &str = "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\nvolumeType: disk\nprovisioning: {diskSelector: {match: '!system_disk'}}\n";

#[test]
fn a_user_volume_is_made_on_a_blank_disk_and_mounted_in_ephemeral() {
    let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(DATA));
    let requests = [request("u-data")];
    let waiting = settle(&mut model, &wish(&layouts, true, &requests));
    assert_eq!(waiting.statuses["u-data"].phase, VolumePhase::Ready);
    assert!(waiting.mounts.is_empty(), "EPHEMERAL is not mounted");
    let requests = [request("u-data"), request("EPHEMERAL")];
    let decision = settle(&mut model, &wish(&layouts, true, &requests));
    let status = &decision.statuses["u-data"];
    assert_eq!((status.location.as_str(), status.size), ("/dev/vdb1", 2 * GIB));
    assert_eq!((status.filesystem, status.parent_location.as_str()), (Filesystem::Ext4, "/dev/vdb"));
    let mount = decision.mounts.iter().find(|mount| mount.volume == "u-data").expect("mounted");
    assert_eq!((mount.status.target.as_str(), mount.mount.source.as_str()), ("/var/mnt/data", "/dev/vdb1"));
    assert_eq!(mount.mount.spec.parent_id, "EPHEMERAL");
}

#[test]
fn a_user_volume_waits_for_a_disk_and_touches_none_that_holds_something() {
    let layouts = layouts(DATA);
    let none = settle(&mut Model::new(10 * GIB), &wish(&layouts, true, &[]));
    let status = &none.statuses["u-data"];
    assert_eq!(status.phase, VolumePhase::Waiting);
    assert!(status.error_message.contains("!system_disk"), "{}", status.error_message);
    for content in [Content::Foreign, Content::Whole(Found { name: "lvm2-pv", ..Found::default() })] {
        let mut model = Model::new(10 * GIB).with_disk(5 * GIB);
        model.disks[1].content = content;
        let decision = settle(&mut model, &wish(&layouts, true, &[]));
        let status = &decision.statuses["u-data"];
        assert_eq!(status.phase, VolumePhase::Failed);
        assert!(status.error_message.contains("/dev/vdb: it holds"), "{}", status.error_message);
        assert!(model.disks[1].table.is_none());
    }
}

#[test]
fn nothing_is_made_on_other_disks_before_all_were_looked_at() {
    for document in [DATA, WHOLE] {
        let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(document));
        let unprobed = Wish { is_probed: false, ..wish(&layouts, true, &[]) };
        let decision = settle(&mut model, &unprobed);
        assert_eq!(phases(&decision), [VolumePhase::Ready; 3], "those of the system disk need not wait");
        assert_eq!(decision.statuses["u-data"].phase, VolumePhase::Waiting, "{document}");
        assert!(model.disks[1].table.is_none() && model.disks[1].content == Content::Blank);
        settle(&mut model, &wish(&layouts, true, &[]));
        let decision = settle(&mut model, &unprobed);
        assert_eq!(decision.statuses["u-data"].phase, VolumePhase::Ready, "what is there is used at once");
    }
}

#[test]
fn ephemeral_that_belongs_on_another_disk_waits_for_it() {
    let document = "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {diskSelector: {match: '!system_disk'}}\n";
    let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(document));
    let unprobed = Wish { is_probed: false, ..wish(&layouts, true, &[]) };
    assert_eq!(settle(&mut model, &unprobed).statuses["EPHEMERAL"].phase, VolumePhase::Waiting);
    assert!(model.disks[1].table.is_none());
    let decision = settle(&mut model, &wish(&layouts, true, &[]));
    assert_eq!(decision.statuses["EPHEMERAL"].location, "/dev/vdb1");
}

#[test]
fn a_volume_is_not_made_elsewhere_while_a_disk_that_may_have_it_cannot_be_read() {
    for document in [DATA, WHOLE] {
        let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(document));
        let mut broken = model.disks[1].clone();
        (broken.name, broken.content) = ("vdc", Content::Unreadable("it fails".to_owned()));
        model.disks.push(broken);
        let decision = settle(&mut model, &wish(&layouts, true, &[]));
        let status = &decision.statuses["u-data"];
        assert_eq!(status.phase, VolumePhase::Failed);
        assert!(status.error_message.contains("may be on /dev/vdc"), "{}", status.error_message);
        assert!(model.disks[1].table.is_none() && model.disks[1].content == Content::Blank);
    }
}

#[test]
fn what_is_unmounted_with_its_document_stays_on_the_disk() {
    let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(DATA));
    let requests = [request("u-data"), request("EPHEMERAL")];
    settle(&mut model, &wish(&layouts, true, &requests));
    let leaving = leaving(&layouts, "u-data");
    let first = decide(&model.seen(), &wish(&leaving, true, &requests[1..]));
    assert!(first.gone.is_empty() && matches!(first.steps[..], [Step::Unmount { .. }]), "{:?}", first.steps);
    let decision = settle(&mut model, &wish(&leaving, true, &requests[1..]));
    assert_eq!((decision.gone, decision.mounts.len()), (vec!["u-data".to_owned()], 1));
    assert!(model.disks[1].number("u-data").is_some());
    let back = settle(&mut model, &wish(&layouts, true, &requests));
    assert_eq!(back.mounts.len(), 2, "the document is back, and so is what was in the volume");
}

#[test]
fn ephemeral_is_unmounted_after_what_is_mounted_in_it() {
    let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(DATA));
    let requests = [request("u-data"), request("EPHEMERAL")];
    settle(&mut model, &wish(&layouts, true, &requests));
    let torn = Wish { withdrawn: vec![&requests[1]], ..wish(&layouts, true, &requests[..1]) };
    assert_eq!(settle(&mut model, &torn).mounts, []);
}

#[test]
fn folders_disks_swap_and_raw_volumes_are_made() {
    let documents = "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: cache\nvolumeType: directory\n---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: all\nvolumeType: disk\nprovisioning: {diskSelector: {match: '!system_disk'}}\n---\napiVersion: v1alpha1\nkind: SwapVolumeConfig\nname: one\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GiB, maxSize: 1GiB}\n---\napiVersion: v1alpha1\nkind: RawVolumeConfig\nname: raw\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GiB, maxSize: 1GiB}\n---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {maxSize: 5GiB}\n";
    let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(documents));
    let requests = [request("u-cache"), request("u-all"), request("EPHEMERAL")];
    let decision = settle(&mut model, &wish(&layouts, true, &requests));
    for volume in ["u-cache", "u-all", "s-one", "r-raw", "EPHEMERAL"] {
        let status = &decision.statuses[volume];
        assert_eq!(status.phase, VolumePhase::Ready, "{volume}: {}", status.error_message);
    }
    assert_eq!(decision.statuses["EPHEMERAL"].size, 5 * GIB);
    assert_eq!(decision.statuses["u-all"].location, "/dev/vdb");
    assert_eq!((decision.mounts.len(), model.folders.len(), model.swaps.len()), (3, 1, 1));
    let swap = decision.statuses["s-one"].location.clone();
    assert_eq!(model.swaps, [swap]);
    let leaving = leaving(&layouts, "s-one");
    assert_eq!(settle(&mut model, &wish(&leaving, true, &requests)).gone, ["s-one"]);
    assert!(model.swaps.is_empty());
}

#[test]
fn what_is_there_already_and_shares_of_the_host_are_mounted() {
    let documents = "apiVersion: v1alpha1\nkind: ExistingVolumeConfig\nname: old\ndiscovery: {volumeSelector: {match: \"volume.label == 'old'\"}}\n---\napiVersion: v1alpha1\nkind: ExternalVolumeConfig\nname: share\nfilesystemType: virtiofs\nmount: {virtiofs: {tag: Data}}\n";
    let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(documents));
    let requests = [request("e-old"), request("x-share"), request("EPHEMERAL")];
    let decision = settle(&mut model, &wish(&layouts, true, &requests));
    assert_eq!(decision.statuses["e-old"].phase, VolumePhase::Missing);
    let mut found = DiscoveredVolume {
        name: "xfs".to_owned(),
        label: "old".to_owned(),
        kind: "disk".to_owned(),
        dev_path: "/dev/vdb".to_owned(),
        ..DiscoveredVolume::default()
    };
    model.found = vec![found.clone()];
    let decision = settle(&mut model, &wish(&layouts, true, &requests));
    let sources: Vec<&str> = decision.mounts.iter().map(|mount| mount.mount.source.as_str()).collect();
    assert_eq!(sources, ["/dev/vda3", "/dev/vdb", "Data"]);
    found.name = "luks".to_owned();
    let mut model = Model::new(10 * GIB).with_disk(5 * GIB);
    model.found = vec![found];
    let decision = settle(&mut model, &wish(&layouts, true, &requests));
    assert!(decision.statuses["e-old"].error_message.contains("luks"), "{:?}", decision.statuses["e-old"]);
}

#[test]
fn labels_on_other_disks_do_not_make_them_volumes_of_the_system() {
    let (mut other, layouts) = (Model::new(10 * GIB), layouts(""));
    settle(&mut other, &wish(&layouts, true, &[]));
    let mut model = Model::new(10 * GIB);
    let mut second = other.disks.remove(0);
    second.name = "vdb";
    model.disks.push(second);
    let decision = settle(&mut model, &wish(&layouts, true, &[]));
    assert_eq!(decision.statuses["STATE"].parent_location, "/dev/vda");
}

proptest! {
    /// At any step of any life: what was whole is never formatted (the model asserts it), a complete STATE stays
    /// what it was, and a configured machine gets all its volumes in the end.
    #[test]
    fn losses_of_power_cost_nothing(cuts in proptest::collection::vec((0_usize..6, any::<bool>(), any::<bool>()), 0..12)) {
        let (mut model, layouts) = (Model::new(10 * GIB).with_disk(5 * GIB), layouts(DATA));
        let requests = [request("STATE"), request("EPHEMERAL"), request("u-data")];
        for (steps_done, is_configured, is_torn) in cuts {
            let steps: Vec<Step> = (0..3)
                .flat_map(|_| {
                    let steps = decide(&model.seen(), &wish(&layouts, is_configured, &requests)).steps;
                    steps.iter().take(steps_done).for_each(|step| model.apply(step));
                    steps.into_iter().skip(steps_done).take(1)
                })
                .collect();
            // The step that was under way: a table write leaves the backup as the only whole copy.
            if is_torn && steps.iter().any(|step| matches!(step, Step::WriteTable { is_system: true, .. })) {
                model.system().health = Health::PrimaryDamaged;
            }
            model.reboot();
        }
        let decision = settle(&mut model, &wish(&layouts, true, &requests));
        prop_assert_eq!(phases(&decision), [VolumePhase::Ready; 3]);
        prop_assert_eq!(decision.mounts.len(), 3);
        prop_assert_eq!(model.system().health, Health::Sound);
    }
}
