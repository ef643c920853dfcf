//! From documents to volumes, with loop devices and an lvm that remembers: needs root.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;

use corten_resource::testing::{TestRuntime, resource};
use corten_resources::block::{Disk, SystemDisk};
use corten_resources::config::MachineConfig;
use corten_sys::loopdev::{LoopDevice, LoopOptions};

use super::programs::Reporting;
use super::*;
use crate::volumes::{Programs, Run};

const CONFIG: &str = "\
version: v1alpha1
machine: {type: worker, token: abc}
cluster: {}
---
apiVersion: v1alpha1
kind: LVMVolumeGroupConfig
name: vg0
provisioning: {volumeSelector: {match: \"disk.transport == 'virtio'\"}}
---
apiVersion: v1alpha1
kind: LVMLogicalVolumeConfig
name: data
type: linear
provisioning: {volumeGroup: vg0, maxSize: 8MiB}
";

/// An lvm whose volumes are a list.
#[derive(Default)]
struct Remembered {
    said: Mutex<Vec<String>>,
    report: Mutex<Report>,
}

impl Programs for Remembered {
    fn run<'a>(&'a self, _: &'a str, argv: &'a [String]) -> Run<'a> {
        Box::pin(async move {
            self.said.lock().expect("words").push(argv[1..].join(" "));
            let mut report = self.report.lock().expect("volumes");
            match argv[1].as_str() {
                "vgcreate" => {
                    let sizes = ("16777216".to_owned(), "16777216".to_owned());
                    report.groups.push(LvmVolumeGroupStatus {
                        name: argv[2].clone(),
                        size: sizes.0,
                        free: sizes.1,
                        ..LvmVolumeGroupStatus::default()
                    });
                    report.physical.push(LvmPhysicalVolumeStatus {
                        device: argv[3].clone(),
                        vg_name: argv[2].clone(),
                        ..LvmPhysicalVolumeStatus::default()
                    });
                }
                "lvcreate" => report.logical.push(LvmLogicalVolumeStatus {
                    name: "data".to_owned(),
                    vg_name: "vg0".to_owned(),
                    size: "8388608".to_owned(),
                    ..LvmLogicalVolumeStatus::default()
                }),
                other => anyhow::bail!("{other} was not expected"),
            }
            Ok(())
        })
    }
}

impl Lvm for Remembered {
    fn report(&self) -> Reporting<'_> {
        Box::pin(async { Ok(self.report.lock().expect("volumes").clone()) })
    }
}

#[tokio::test]
async fn documents_become_a_group_and_a_volume() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("SKIPPED: root and loop devices are needed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk");
    let file = fs::File::options().read(true).write(true).create_new(true).open(path).expect("a file");
    file.set_len(16 << 20).expect("a volume");
    let device = LoopDevice::attach(file.as_fd(), LoopOptions::default()).expect("a loop device");
    let lvm = Arc::new(Remembered::default());
    let of_controller: Arc<dyn Lvm> = lvm.clone();
    let runtime = TestRuntime::new(corten_resources::registry(), move |runtime| {
        runtime.register_transform(LvmSpecs);
        runtime.register(LvmVolumes::new(of_controller));
    });
    let dev_path = device.path().to_string_lossy().into_owned();
    let name = dev_path.trim_start_matches("/dev/").to_owned();
    let disk = Disk { transport: "virtio".to_owned(), dev_path: dev_path.clone(), ..Disk::default() };
    runtime.put(resource(&name, disk));
    let volume =
        DiscoveredVolume { dev_path: dev_path.clone(), size: 16 << 20, ..DiscoveredVolume::default() };
    runtime.put(resource(&name, volume));
    let system = SystemDisk { disk_id: "vda".to_owned(), dev_path: "/dev/vda".to_owned() };
    runtime.put(resource(SystemDisk::ID, system));
    let config = MachineConfig { yaml: CONFIG.as_bytes().to_vec() };
    runtime.put(resource(MachineConfig::ACTIVE, config));
    runtime.quiet().await;
    assert_eq!(lvm.said.lock().expect("words").len(), 0, "disks were not looked at");
    runtime.put(resource(discovery::STATUS, DiscoveredVolumesStatus { ready: true }));
    runtime.quiet().await;
    let expected = [
        format!("vgcreate vg0 {dev_path}"),
        "lvcreate --yes --type linear --size 8388608b --name data vg0".to_owned(),
    ];
    assert_eq!(*lvm.said.lock().expect("words"), expected);
    let state = runtime.state();
    assert!(state.get::<LvmVolumeGroupStatus>("vg0").is_some());
    assert_eq!(state.get::<LvmPhysicalVolumeStatus>(&name).expect("a volume").spec.vg_name, "vg0");
    assert!(state.get::<LvmLogicalVolumeStatus>("vg0-data").is_some());
    assert!(state.list::<LvmValidationError>().is_empty());
}
