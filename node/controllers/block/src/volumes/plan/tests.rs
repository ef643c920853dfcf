//! Plans of single moments, and whole lives with losses of power at any step.

use proptest::prelude::*;

use super::super::layout::LAYOUTS;
use super::*;
use crate::device::Geometry;
use crate::gpt::{Size, Table, read, write};
use crate::probe::Found;
use crate::sysfs::KernelPartition;

const GIB: u64 = 1 << 30;

/// A disk as it would really be: what is in the table, in the kernel, in the partitions, and mounted.
#[derive(Clone, Debug)]
struct Model {
    table: Table,
    health: Health,
    geometry: Geometry,
    announced: Vec<(u32, u64)>,
    contents: BTreeMap<u32, Content>,
    mounts: Vec<SeenMount>,
}

/// A table with META, read from bytes because there is no other way to get one.
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

impl Model {
    fn new(size_bytes: u64) -> Self {
        Self {
            table: image(),
            health: Health::BackupAstray,
            geometry: Geometry::of(size_bytes, 512),
            announced: vec![(1, 1 << 20)],
            contents: BTreeMap::new(),
            mounts: Vec::new(),
        }
    }

    fn seen(&self) -> Seen {
        let partitions = self.table.entries.iter().map(|entry| {
            let known = self.announced.iter().find(|(number, _)| *number == entry.number);
            let kernel = known.map(|(number, size_bytes)| KernelPartition {
                name: format!("vda{number}"),
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
        let disk = SeenDisk {
            dev_path: "/dev/vda".to_owned(),
            geometry: self.geometry,
            table: self.table.clone(),
            health: self.health,
            partitions: partitions.collect(),
        };
        Seen { disk: Some(disk), mounts: self.mounts.clone() }
    }

    fn number(&self, volume: &str) -> u32 {
        self.table.labelled(volume).expect("a partition").number
    }

    /// What the step does to the disk. Formatting what is whole, or unmounted what is asked for, is a bug.
    fn apply(&mut self, step: &Step) {
        match step {
            Step::WriteTable { add, grow, .. } => {
                for label in add {
                    let size = layout(label).size;
                    let wanted = Wanted { label, kind: LINUX_DATA, id: Guid([2; 16]), size };
                    self.table.add(&wanted, self.geometry).expect("the plan knew that there is room");
                }
                if let Some(volume) = grow {
                    let number = self.number(volume);
                    self.table.grow(number, self.geometry);
                }
                self.health = Health::Sound;
            }
            Step::Announce { number, size_bytes, .. } => self.announced.push((*number, *size_bytes)),
            Step::Resize { number, size_bytes, .. } => {
                self.announced.retain(|(other, _)| other != number);
                self.announced.push((*number, *size_bytes));
            }
            Step::Format { volume, size_bytes, .. } => {
                let number = self.number(volume);
                assert!(
                    !matches!(self.contents.get(&number), Some(Content::Xfs(_) | Content::Foreign(_))),
                    "formatted {volume}"
                );
                self.contents.insert(
                    number,
                    Content::Xfs(Found { name: "xfs", size: *size_bytes, ..Found::default() }),
                );
            }
            Step::Mount { volume, .. } => {
                self.mounts.push(SeenMount { target: layout(volume).target, entry: row(self.number(volume)) })
            }
            Step::Unmount { volume } => self.mounts.retain(|mount| mount.target != layout(volume).target),
            Step::GrowFilesystem { volume, size_bytes } => {
                let number = self.number(volume);
                self.contents.insert(
                    number,
                    Content::Xfs(Found { name: "xfs", size: *size_bytes, ..Found::default() }),
                );
            }
        }
    }

    /// The machine loses power: what was only in memory is gone.
    fn reboot(&mut self) {
        self.mounts.clear();
        let geometry = self.geometry;
        self.announced =
            self.table.entries.iter().map(|entry| (entry.number, entry.size_bytes(geometry))).collect();
    }
}

fn layout(volume: &str) -> &'static Layout {
    LAYOUTS.iter().find(|layout| layout.id == volume).expect("a volume")
}

fn row(number: u32) -> corten_sys::mountinfo::MountEntry {
    let line = format!("36 35 254:{number} / /x rw,nosuid - xfs /dev/vda{number} rw,prjquota\n");
    corten_sys::mountinfo::parse(&line).remove(0)
}

fn request(volume: &str) -> VolumeMountRequest {
    VolumeMountRequest {
        volume_id: volume.to_owned(),
        requester: "test".to_owned(),
        secure: true,
        ..VolumeMountRequest::default()
    }
}

static NOTHING: BTreeMap<&str, String> = BTreeMap::new();
static UNGROWN: BTreeMap<&str, u64> = BTreeMap::new();

fn wish<'a>(is_configured: bool, requests: &'a [VolumeMountRequest]) -> Wish<'a> {
    Wish {
        layouts: &LAYOUTS,
        is_configured,
        is_probed: true,
        requests: requests.iter().collect(),
        withdrawn: Vec::new(),
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
        let decision = decide(&model.seen(), wish);
        if decision.steps.is_empty() {
            return decision;
        }
        decision.steps.iter().for_each(|step| model.apply(step));
    }
    panic!("no end: {model:?}");
}

#[test]
fn an_image_without_configuration_is_left_as_it_is() {
    let mut model = Model::new(10 * GIB);
    let requests = [request("STATE")];
    let decision = decide(&model.seen(), &wish(false, &requests));
    assert_eq!(decision.steps, []);
    assert_eq!(phases(&decision), [VolumePhase::Ready, VolumePhase::Missing, VolumePhase::Missing]);
    assert_eq!(decision.statuses["META"].location, "/dev/vda1");
    model.health = Health::PrimaryDamaged;
    let repaired = settle(&mut model, &wish(false, &requests));
    assert_eq!((model.health, repaired.steps.len()), (Health::Sound, 0));
}

#[test]
fn a_configuration_makes_and_mounts_the_volumes() {
    let mut model = Model::new(10 * GIB);
    let requests = [request("STATE"), request("EPHEMERAL")];
    let decision = settle(&mut model, &wish(true, &requests));
    assert_eq!(phases(&decision), [VolumePhase::Ready; 3]);
    assert_eq!(decision.mounts.len(), 2);
    let state = model.table.labelled("STATE").expect("state");
    assert_eq!(state.size_bytes(model.geometry), 100 << 20);
    assert_eq!(model.table.growth_bytes(3, model.geometry), 0);
}

#[test]
fn a_grown_disk_grows_ephemeral_and_its_file_system() {
    let mut model = Model::new(10 * GIB);
    let requests = [request("STATE"), request("EPHEMERAL")];
    settle(&mut model, &wish(true, &requests));
    model.geometry = Geometry::of(20 * GIB, 512);
    let decision = settle(&mut model, &wish(true, &requests));
    assert!(decision.statuses["EPHEMERAL"].size > 19 * GIB);
    assert!(matches!(&model.contents[&3], Content::Xfs(found) if found.size > 19 * GIB));
}

#[test]
fn a_small_disk_fails_with_numbers_and_state_still_works() {
    let mut model = Model::new(GIB);
    let decision = settle(&mut model, &wish(true, &[request("STATE")]));
    assert_eq!(phases(&decision), [VolumePhase::Ready, VolumePhase::Ready, VolumePhase::Failed]);
    let message = &decision.statuses["EPHEMERAL"].error_message;
    assert!(message.contains("EPHEMERAL on /dev/vda") && message.contains("2147483648"), "{message}");
}

#[test]
fn foreign_contents_are_never_touched() {
    let mut model = Model::new(10 * GIB);
    settle(&mut model, &wish(true, &[]));
    model.contents.insert(2, Content::Foreign("luks".to_owned()));
    let decision = settle(&mut model, &wish(true, &[request("STATE")]));
    let status = &decision.statuses["STATE"];
    assert_eq!((status.phase, status.pre_fail_phase), (VolumePhase::Failed, VolumePhase::Located));
    assert!(status.error_message.contains("luks"), "{}", status.error_message);
}

#[test]
fn a_mount_stays_until_its_last_request_is_torn_down() {
    let mut model = Model::new(10 * GIB);
    let requests = [request("STATE")];
    settle(&mut model, &wish(true, &requests));
    let adopted = settle(&mut model, &wish(true, &[]));
    assert_eq!(adopted.mounts.len(), 1, "a new machined finds it mounted before anyone asks again");
    let torn = Wish { withdrawn: requests.iter().collect(), ..wish(true, &requests) };
    assert_eq!(settle(&mut model, &torn).mounts.len(), 1, "somebody else asks for it");
    let torn = Wish { withdrawn: requests.iter().collect(), ..wish(true, &[]) };
    assert_eq!(settle(&mut model, &torn).mounts.len(), 0);
}

#[test]
fn trouble_is_told_while_something_is_left_to_do() {
    let mut model = Model::new(10 * GIB);
    let trouble = BTreeMap::from([("STATE", "cannot make STATE: the disk is broken".to_owned())]);
    let troubled = Wish { trouble: &trouble, ..wish(true, &[]) };
    let decision = decide(&model.seen(), &troubled);
    assert_eq!(decision.statuses["STATE"].error_message, trouble["STATE"]);
    assert_eq!(phases(&settle(&mut model, &troubled))[1], VolumePhase::Ready);
}

proptest! {
    /// At any step of any life: what was whole is never formatted (the model asserts it), a complete STATE stays
    /// what it was, and a configured machine gets all its volumes in the end.
    #[test]
    fn losses_of_power_cost_nothing(cuts in proptest::collection::vec((0_usize..6, any::<bool>(), any::<bool>()), 0..12)) {
        let mut model = Model::new(10 * GIB);
        let requests = [request("STATE"), request("EPHEMERAL")];
        for (steps_done, is_configured, is_torn) in cuts {
            let steps: Vec<Step> = (0..3)
                .flat_map(|_| {
                    let steps = decide(&model.seen(), &wish(is_configured, &requests)).steps;
                    steps.iter().take(steps_done).for_each(|step| model.apply(step));
                    steps.into_iter().skip(steps_done).take(1)
                })
                .collect();
            // The step that was under way: a table write leaves the backup as the only whole copy.
            if is_torn && steps.iter().any(|step| matches!(step, Step::WriteTable { .. })) {
                model.health = Health::PrimaryDamaged;
            }
            model.reboot();
        }
        let decision = settle(&mut model, &wish(true, &requests));
        prop_assert_eq!(phases(&decision), [VolumePhase::Ready; 3]);
        prop_assert_eq!(decision.mounts.len(), 2);
        prop_assert_eq!(model.health, Health::Sound);
    }
}
