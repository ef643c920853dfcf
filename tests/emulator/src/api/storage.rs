//! Disks, in their older form, and the usage of file systems.

use corten_api::machine::storage_service_server::StorageService as MachineStorage;
use corten_api::machine::{StorageServiceStatfsRequest, StorageServiceStatfsResponse};
use corten_api::storage::storage_service_server::StorageService;
use corten_api::storage::{
    BlockDeviceWipeRequest, BlockDeviceWipeResponse, Disk, Disks, DisksResponse, disk,
};
use tonic::{Request, Response, Status, async_trait};

use super::{absent, machine_of, one};
use crate::machine::Machine;

/// Both services.
#[derive(Clone, Copy, Debug)]
pub struct Storage;

fn disks(machine: &Machine) -> Vec<Disk> {
    let is_installed = machine.with_facts(|facts| facts.installed);
    let model = &machine.spec().model;
    let disk = |(index, spec): (usize, &crate::spec::DiskSpec)| Disk {
        size: spec.size,
        device_name: spec.path(),
        name: spec.name.clone(),
        serial: format!("{}-{index}", machine.spec().serial()),
        r#type: disk::DiskType::Ssd.into(),
        bus_path: format!("/pci0000:00/0000:00:0{index}.0/virtio{index}"),
        system_disk: is_installed && index == 0,
        subsystem: "/sys/class/block".to_owned(),
        ..Disk::default()
    };
    model.disks.iter().enumerate().map(disk).collect()
}

#[async_trait]
impl StorageService for Storage {
    async fn disks(&self, request: Request<()>) -> Result<Response<DisksResponse>, Status> {
        let disks = disks(machine_of(&request)?.as_ref());
        Ok(one(Disks { metadata: None, disks }))
    }

    async fn block_device_wipe(
        &self,
        _: Request<BlockDeviceWipeRequest>,
    ) -> Result<Response<BlockDeviceWipeResponse>, Status> {
        Err(absent("BlockDeviceWipe"))
    }
}

#[async_trait]
impl MachineStorage for Storage {
    async fn statfs(
        &self,
        _: Request<StorageServiceStatfsRequest>,
    ) -> Result<Response<StorageServiceStatfsResponse>, Status> {
        Err(absent("Statfs"))
    }
}
