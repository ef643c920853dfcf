//! The whole domain on a loop device in a mount namespace of its own: needs root, loop devices and xfsprogs.

#![allow(clippy::disallowed_methods, reason = "judged by the disk tools of the host")]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use corten_base::Rng;
use corten_resource::Runtime;
use corten_resource::testing::{TestRuntime, resource};
use corten_resources::block::{DiscoveredVolume, Filesystem};
use corten_resources::runtime::DevicesStatus;
use corten_sys::Kernel;
use corten_sys::loopdev::{LoopDevice, LoopOptions};
use corten_sys::mount::{Depth, Mounts, Propagation};
use corten_sys::namespace;

use super::programs::Run;
use super::*;
use crate::devices;
use crate::discovery::Discovery;
use crate::disks::Disks;
use crate::system_disk::FindSystemDisk;
use crate::volume_configs::VolumeConfigs;

/// Runs programs directly, as init would.
struct Workshop;

impl Programs for Workshop {
    fn run<'a>(&'a self, name: &'a str, argv: &'a [String]) -> Run<'a> {
        Box::pin(async move {
            anyhow::ensure!(name != "mkfs-u-bad", "told to fail");
            let output = Command::new(&argv[0]).args(&argv[1..]).output()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            anyhow::ensure!(output.status.success(), "{name} ended with {}: {text}", output.status);
            Ok(())
        })
    }
}

struct Bench {
    device: LoopDevice,
    root: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// A disk of 4 GiB with the image of a machine: META only, and the backup table where the image ends.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root()
            || !Path::new("/usr/sbin/mkfs.xfs").exists()
            || !Path::new("/dev/loop-control").exists()
        {
            eprintln!("SKIPPED: root, loop devices and xfsprogs are needed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("disk");
        let file = fs::File::options().read(true).write(true).create_new(true).open(&image).expect("a file");
        file.set_len(4 << 20).expect("an image");
        write_image(&file);
        file.set_len(4 << 30).expect("a larger disk");
        let options = LoopOptions { scan_partitions: true, ..LoopOptions::default() };
        let device = LoopDevice::attach(file.as_fd(), options).expect("a loop device");
        announce_meta(device.path());
        let root = fs::canonicalize(folder.path()).expect("a path").join("root");
        fs::create_dir(&root).expect("a root");
        Some(Self { device, root, _folder: folder })
    }

    fn name(&self) -> String {
        self.device.path().file_name().expect("a name").to_string_lossy().into_owned()
    }

    fn runtime(&self) -> TestRuntime {
        let only = only(&self.root, &self.name());
        let places = Places { sysfs: only, root: self.root.clone(), ..Places::default() };
        let runtime = TestRuntime::new(corten_resources::registry(), move |runtime: &mut Runtime| {
            runtime.register(Disks::new(places.sysfs.clone()));
            runtime.register(Discovery::new(places.sysfs.clone()));
            runtime.register_transform(FindSystemDisk);
            runtime.register_transform(VolumeConfigs);
            runtime.register(Volumes::new(places, Arc::new(Workshop), Rng::seeded(1)));
        });
        runtime.put(resource(devices::STATUS, DevicesStatus { ready: true }));
        runtime
    }
}

/// The workshop's kernel may be built without GUID tables; a machine's own reads META by itself.
fn announce_meta(device: &Path) {
    let meta = corten_sys::block::Partition { number: 1, start_bytes: 1 << 20, size_bytes: 1 << 20 };
    let known = corten_sys::block::add_partition(&fs::File::open(device).expect("the disk"), meta);
    assert!(known.is_ok() || Path::new(&format!("{}p1", device.display())).exists(), "{known:?}");
}

/// A sysfs that shows the bench's disk and none of the workshop's.
fn only(root: &Path, disk: &str) -> Sysfs {
    let sys = root.with_file_name("sys");
    fs::create_dir_all(sys.join("block")).expect("folders");
    // A second runtime finds the link of the first.
    let _ = std::os::unix::fs::symlink(format!("/sys/block/{disk}"), sys.join("block").join(disk));
    Sysfs { sys, dev: "/dev".into(), only: Some(disk.to_owned()) }
}

fn write_image(mut file: &fs::File) {
    let mut table = gptman::GPT::new_from(&mut file, 512, [9; 16]).expect("a table");
    table[1] = gptman::GPTPartitionEntry {
        partition_type_guid: crate::gpt::LINUX_DATA.0,
        unique_partition_guid: [8; 16],
        starting_lba: 2048,
        ending_lba: 4095,
        attribute_bits: 0,
        partition_name: "META".into(),
    };
    gptman::GPT::write_protective_mbr_into(&mut file, 512).expect("a record");
    table.write_into(&mut file).expect("write");
}

fn request(volume: &str) -> VolumeMountRequest {
    VolumeMountRequest {
        volume_id: volume.to_owned(),
        requester: "test".to_owned(),
        secure: true,
        ..VolumeMountRequest::default()
    }
}

fn configuration() -> corten_resource::AnyResource {
    resource(MachineConfig::ACTIVE, MachineConfig { yaml: b"version: v1alpha1\n".to_vec() })
}

/// Disk work runs on threads that virtual time does not wait for, so this one waits in real time.
async fn until(runtime: &TestRuntime, what: &str, done: impl Fn(&corten_resource::State) -> bool) {
    for _ in 0..600 {
        runtime.quiet().await;
        if done(runtime.state()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen:\n{}", runtime.outputs());
}

fn phase(state: &corten_resource::State, volume: &str) -> Option<VolumePhase> {
    state.get::<VolumeStatus>(volume).map(|status| status.spec.phase)
}

/// Runs a story with a machine's disk in a mount namespace of its own.
fn on_a_bench<F: Future<Output = ()>>(story: impl FnOnce(Bench) -> F + Send + 'static) {
    let Some(bench) = Bench::new() else { return };
    let work = std::thread::Builder::new().spawn(move || {
        namespace::unshare(namespace::Namespaces::MOUNT).expect("a mount namespace");
        Kernel.propagate(Path::new("/"), Propagation::Private, Depth::Recursive).expect("private mounts");
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio.block_on(story(bench));
    });
    work.expect("a thread").join().expect("the story went well");
}

#[test]
fn a_machine_is_configured_when_its_volumes_are_those_of_the_configuration() {
    let yaml = DOCUMENTS.as_bytes().to_vec();
    let config = corten_config::load_cached(&yaml).expect("a configuration");
    let volumes = |storage: &corten_config::view::Storage| -> Vec<corten_resource::AnyResource> {
        let volumes = volume_configs::volumes(storage).into_iter();
        volumes.map(|(id, config, _)| resource(&id, config)).collect()
    };
    let is_configured = |mut rows: Vec<corten_resource::AnyResource>| {
        rows.push(resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.clone() }));
        is_configured(&View::of(rows, std::time::UNIX_EPOCH))
    };
    let without = volumes(&corten_config::view::Storage::default());
    assert!(!is_configured(without), "EPHEMERAL would take the whole disk");
    assert!(is_configured(volumes(&config.view().storage)));
}

#[test]
fn a_blank_image_becomes_a_machine_and_survives() {
    on_a_bench(|bench| async move { life(&bench).await });
}

const DOCUMENTS: &str = "version: v1alpha1
---
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
provisioning: {minSize: 512MiB, maxSize: 1GiB}
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: data
provisioning: {diskSelector: {match: system_disk}, minSize: 512MiB, maxSize: 512MiB}
filesystem: {type: ext4}
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: bad
provisioning: {diskSelector: {match: system_disk}, minSize: 320MiB, maxSize: 320MiB}
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: cache
volumeType: directory
---
apiVersion: v1alpha1
kind: RawVolumeConfig
name: raw
provisioning: {diskSelector: {match: 'disk.size > 1u * GB'}, minSize: 16MiB, maxSize: 16MiB}
";

#[test]
fn volumes_of_documents_are_made_mounted_and_given_back() {
    on_a_bench(|bench| async move { documents(&bench).await });
}

async fn documents(bench: &Bench) {
    let runtime = bench.runtime();
    let configure = |yaml: &str| {
        runtime.put(resource(MachineConfig::ACTIVE, MachineConfig { yaml: yaml.as_bytes().to_vec() }));
    };
    runtime.put(resource("test-EPHEMERAL", request("EPHEMERAL")));
    configure(DOCUMENTS);
    let ready = |state: &corten_resource::State| {
        ["u-data", "u-cache", "r-raw"].iter().all(|volume| phase(state, volume) == Some(VolumePhase::Ready))
            && state.get::<VolumeMountStatus>("u-data").is_some()
    };
    until(&runtime, "the volumes", ready).await;
    let status = |id: &str| runtime.state().get::<VolumeStatus>(id).expect("a status").spec;
    assert_eq!(status("EPHEMERAL").size, 1 << 30);
    assert_eq!((status("u-data").size, status("u-data").filesystem), (512 << 20, Filesystem::Ext4));
    assert_eq!(status("r-raw").size, 16 << 20);
    let bad = status("u-bad");
    assert_eq!(bad.phase, VolumePhase::Failed, "one that cannot be made does not keep others from it");
    assert!(bad.error_message.contains("told to fail"), "{}", bad.error_message);
    let (data, cache) = (bench.root.join("var/mnt/data"), bench.root.join("var/mnt/cache"));
    assert!(cache.is_dir());
    assert_ne!(fs::metadata(&data).expect("data").dev(), fs::metadata(&cache).expect("cache").dev());
    fs::write(data.join("kept"), "1").expect("a file");
    until(&runtime, "discovery", |state| {
        state.list::<DiscoveredVolume>().iter().any(|volume| volume.spec.label == "u-data")
    })
    .await;
    let root = fs::File::open(&data).expect("a folder");
    match corten_sys::filesystem::trim(&root) {
        Ok(bytes) => assert!(bytes > 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error:?}"),
    }
    drop(root);
    configure("version: v1alpha1\n");
    until(&runtime, "unmounting", |state| state.get::<VolumeStatus>("u-data").is_none()).await;
    assert!(!data.join("kept").exists());
    configure(DOCUMENTS);
    until(&runtime, "the volumes again", ready).await;
    assert_eq!(fs::read_to_string(data.join("kept")).expect("the file"), "1");
    runtime.state().remove::<VolumeMountRequest>("", "test-EPHEMERAL").expect("teardown");
    until(&runtime, "unmounting", |state| state.list::<VolumeMountStatus>().is_empty()).await;
    assert!(!bench.root.join("var/mnt").exists());
}

async fn life(bench: &Bench) {
    let runtime = bench.runtime();
    until(&runtime, "META", |state| phase(state, "META") == Some(VolumePhase::Ready)).await;
    assert_eq!(phase(runtime.state(), "STATE"), Some(VolumePhase::Missing));
    runtime.put(resource("test-STATE", request("STATE")));
    runtime.put(resource("test-EPHEMERAL", request("EPHEMERAL")));
    runtime.put(configuration());
    until(&runtime, "mounts", |state| state.list::<VolumeMountStatus>().len() == 2).await;

    let state = bench.root.join("system/state");
    let info = fs::metadata(&state).expect("STATE");
    assert_eq!(info.permissions().mode() & 0o777, 0o700);
    fs::write(state.join("kept"), "1").expect("a file in STATE");
    assert!(bench.root.join("var/run").symlink_metadata().expect("a link").is_symlink());
    let status = runtime.state().get::<VolumeStatus>("STATE").expect("a status").spec;
    assert_eq!((status.size, status.filesystem, status.partition_index), (100 << 20, Filesystem::Xfs, 2));
    let mount = runtime.state().get::<MountStatus>("EPHEMERAL").expect("a mount").spec;
    if fs::read_to_string("/proc/fs/xfs/xqmstat").is_ok() {
        assert!(mount.options.iter().any(|option| option == "prjquota"), "{:?}", mount.options);
    }
    assert!(!mount.options.iter().any(|option| option == "noexec"), "{:?}", mount.options);
    until(&runtime, "discovery", |state| {
        state
            .list::<DiscoveredVolume>()
            .iter()
            .any(|volume| volume.spec.label == "EPHEMERAL" && volume.spec.name == "xfs")
    })
    .await;
    drop(runtime);
    adopted(bench, info.dev()).await;
    judged(bench);
    wiped(bench).await;
}

/// A new machined finds everything in place and formats nothing; then the requests go.
async fn adopted(bench: &Bench, device: u64) {
    let runtime = bench.runtime();
    runtime.put(configuration());
    runtime.put(resource("test-STATE", request("STATE")));
    until(&runtime, "adoption", |state| state.list::<VolumeMountStatus>().len() == 2).await;
    let state = bench.root.join("system/state");
    assert_eq!(fs::metadata(&state).expect("STATE").dev(), device);
    assert_eq!(fs::read_to_string(state.join("kept")).expect("the file"), "1");
    until(&runtime, "a hold", |state| {
        state
            .get::<VolumeMountRequest>("test-STATE")
            .is_some_and(|request| !request.metadata.finalizers.is_empty())
    })
    .await;
    runtime.state().remove::<VolumeMountRequest>("", "test-STATE").expect("teardown");
    until(&runtime, "unmounting", |state| state.list::<VolumeMountStatus>().len() == 1).await;
    assert!(!state.join("kept").exists());
    Kernel.unmount(&bench.root.join("var"), corten_sys::mount::Unmount::Plain).expect("unmount");
}

/// After a reset the machine is as blank as its image, with the partitions where they were.
async fn wiped(bench: &Bench) {
    let runtime = bench.runtime();
    let located = |state: &corten_resource::State| {
        ["STATE", "EPHEMERAL"].iter().all(|volume| phase(state, volume) == Some(VolumePhase::Ready))
    };
    until(&runtime, "the volumes", located).await;
    for volume in ["EPHEMERAL", "STATE"] {
        crate::wipe::wipe(runtime.state(), volume).await.expect("wiped");
    }
    drop(runtime);
    let runtime = bench.runtime();
    until(&runtime, "META", |state| phase(state, "META") == Some(VolumePhase::Ready)).await;
    for volume in ["STATE", "EPHEMERAL"] {
        assert_eq!(phase(runtime.state(), volume), Some(VolumePhase::Missing), "{volume}");
    }
    let status = runtime.state().get::<VolumeStatus>("STATE").expect("a status").spec;
    assert!(status.error_message.contains("empty"), "{}", status.error_message);
}

fn judged(bench: &Bench) {
    let device = bench.device.path().to_string_lossy().into_owned();
    if let Ok(output) = Command::new("sgdisk").args(["--verify", &device]).output() {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("No problems found"), "{text}");
    }
    for partition in ["p2", "p3"] {
        let checked = Command::new("xfs_repair")
            .args(["-n", &format!("{device}{partition}")])
            .output()
            .expect("xfs_repair");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn a_device_is_swapped_to_and_given_back() {
    const BYTES: u64 = 1 << 20;
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("SKIPPED: root and loop devices are needed");
        return;
    }
    let file = tempfile::tempfile().expect("a file");
    file.set_len(BYTES).expect("a size");
    let device = LoopDevice::attach(file.as_fd(), LoopOptions::default()).expect("a loop device");
    let open = fs::File::options().read(true).write(true).open(device.path()).expect("the device");
    swaps::format(&open, BYTES, [5; 16], "s-one").expect("made");
    drop(open);
    let content = seen::content_of(device.path(), BYTES);
    assert!(
        matches!(&content, seen::Content::Whole(found) if found.name == "swap" && found.label == "s-one")
    );
    let name = device.path().to_string_lossy().into_owned();
    let swapped = || {
        let table = fs::read_to_string(swaps::TABLE).expect("the table");
        swaps::parse(&table).into_iter().find(|swap| swap.device == name)
    };
    match corten_sys::swap::on(device.path()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("SKIPPED: this kernel lets nobody here swap");
            return;
        }
        on => on.expect("swapped to"),
    }
    let swap = swapped();
    corten_sys::swap::off(device.path()).expect("given back");
    assert_eq!(swap.map(|swap| (swap.kind, swap.size)), Some(("partition".to_owned(), BYTES - 4096)));
    assert!(swapped().is_none());
}
