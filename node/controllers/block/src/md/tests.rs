//! From a document to an array, with loop devices as members and a kernel of files: needs root.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use corten_resource::testing::{TestRuntime, resource};
use corten_resources::storage::MdArrayPhase;
use corten_sys::loopdev::{LoopDevice, LoopOptions};

use super::*;
use crate::volumes::Run;

const CONFIG: &str = "\
version: v1alpha1
machine: {type: worker, token: abc}
cluster: {}
---
apiVersion: v1alpha1
kind: RAIDArrayConfig
name: data
level: raid1
metadata: \"1.2\"
provisioning: {volumeSelector: {match: \"disk.transport == 'virtio'\"}}
";

/// An mdadm that makes the files which the kernel would show.
struct Mdadm {
    sys: PathBuf,
    said: Mutex<Vec<String>>,
}

impl Mdadm {
    fn create(&self, members: &[String]) {
        let md = self.sys.join("block/md127/md");
        for member in members {
            let name = Path::new(member).file_name().expect("a name").to_string_lossy().into_owned();
            let entry = md.join(format!("dev-{name}"));
            fs::create_dir_all(&entry).expect("a member");
            symlink(format!("/sys/class/block/{name}"), entry.join("block")).expect("a link");
        }
        let files =
            [("level", "raid1"), ("raid_disks", "2"), ("metadata_version", "1.2"), ("array_state", "clean")];
        for (file, text) in files.into_iter().chain([("sync_action", "idle"), ("degraded", "0")]) {
            fs::write(md.join(file), text).expect("a file");
        }
    }
}

impl Programs for Mdadm {
    fn run<'a>(&'a self, _: &'a str, argv: &'a [String]) -> Run<'a> {
        Box::pin(async move {
            self.said.lock().expect("words").push(argv.join(" "));
            let members: Vec<String> =
                argv.iter().filter(|word| word.starts_with("/dev/loop")).cloned().collect();
            self.create(&members);
            Ok(())
        })
    }
}

struct Bench {
    devices: [LoopDevice; 2],
    mdadm: Arc<Mdadm>,
    runtime: TestRuntime,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            eprintln!("SKIPPED: root and loop devices are needed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let devices = ["a", "b"].map(|name| {
            let path = folder.path().join(name);
            let file =
                fs::File::options().read(true).write(true).create_new(true).open(path).expect("a file");
            file.set_len(16 << 20).expect("a volume");
            LoopDevice::attach(file.as_fd(), LoopOptions::default()).expect("a loop device")
        });
        let sysfs = Sysfs { sys: folder.path().join("sys"), dev: "/dev".into(), only: None };
        fs::create_dir_all(sysfs.sys.join("block")).expect("folders");
        let mdadm = Arc::new(Mdadm { sys: sysfs.sys.clone(), said: Mutex::default() });
        let programs: Arc<dyn Programs> = mdadm.clone();
        let runtime = TestRuntime::new(corten_resources::registry(), move |runtime| {
            runtime.register_transform(MdArraySpecs);
            runtime.register(MdArrays::new(sysfs, programs));
        });
        Some(Self { devices, mdadm, runtime, _folder: folder })
    }

    /// Lists the volumes with what is recognized on them.
    fn list(&self, content: &str) {
        for device in &self.devices {
            let dev_path = device.path().to_string_lossy().into_owned();
            let id = dev_path.trim_start_matches("/dev/").to_owned();
            let disk = Disk { transport: "virtio".to_owned(), dev_path: dev_path.clone(), ..Disk::default() };
            let name = content.to_owned();
            let volume = DiscoveredVolume { dev_path, name, size: 16 << 20, ..DiscoveredVolume::default() };
            self.runtime.put(resource(&id, disk));
            self.runtime.put(resource(&id, volume));
        }
        let system = SystemDisk { disk_id: "vda".to_owned(), dev_path: "/dev/vda".to_owned() };
        self.runtime.put(resource(SystemDisk::ID, system));
        self.runtime.put(resource(discovery::STATUS, DiscoveredVolumesStatus { ready: true }));
    }

    fn status(&self) -> MdArrayStatus {
        let status = self.runtime.state().get::<MdArrayStatus>("data");
        status.expect("a status").spec.clone()
    }
}

#[tokio::test]
async fn a_document_becomes_an_array_of_blank_volumes() {
    let Some(bench) = Bench::new() else { return };
    bench.list("");
    let config = MachineConfig { yaml: CONFIG.as_bytes().to_vec() };
    bench.runtime.put(resource(MachineConfig::ACTIVE, config));
    bench.runtime.quiet().await;
    let said = bench.mdadm.said.lock().expect("words").clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("/usr/sbin/mdadm --create /dev/md/data --run "), "{said:?}");
    let status = bench.status();
    assert_eq!((status.status, status.error.as_str()), (MdArrayPhase::Ready, ""));
    assert_eq!((status.members.len(), status.raid_devices, status.metadata.as_str()), (2, 2, "1.2"));
}

#[tokio::test]
async fn volumes_that_hold_something_are_left_alone_also_when_nobody_saw_it_before() {
    let Some(bench) = Bench::new() else { return };
    bench.list("xfs");
    let config = MachineConfig { yaml: CONFIG.as_bytes().to_vec() };
    bench.runtime.put(resource(MachineConfig::ACTIVE, config));
    bench.runtime.quiet().await;
    assert!(bench.status().error.contains("is not empty (xfs)"), "{}", bench.status().error);
    fs::write(bench.devices[0].path(), b"XFSB\0\0\x10\0").expect("a beginning");
    let mut head = vec![0; 4096];
    head[..8].copy_from_slice(b"XFSB\0\0\x10\0");
    head[102] = 2;
    // Nobody knows what the second is, and it is somebody's all the same.
    for head in [head, vec![1; 4096]] {
        fs::write(bench.devices[0].path(), &head).expect("a file system");
        bench.list("");
        bench.runtime.quiet().await;
        assert!(bench.status().error.contains("is not empty and is left alone"), "{}", bench.status().error);
    }
    assert_eq!(*bench.mdadm.said.lock().expect("words"), Vec::<String>::new());
}
