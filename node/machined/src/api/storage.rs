//! Disks, file systems and META.

use std::path::Path;
use std::time::Duration;

use corten_api::machine::storage_service_server::StorageService as MachineStorage;
use corten_api::machine::{
    MetaDelete, MetaDeleteRequest, MetaWrite, MetaWriteRequest, StorageServiceStatfsRequest,
    StorageServiceStatfsResponse,
};
use corten_api::storage::storage_service_server::StorageService;
use corten_api::storage::{
    BlockDeviceWipeRequest, BlockDeviceWipeResponse, Disk, Disks, DisksResponse, disk,
};
use corten_controllers_block::meta::{self, MetaError};
use corten_resources::block;
use tonic::{Request, Response, Status, async_trait};

use super::{Parts, one, status, storage_wipe};

const DEADLINE: Duration = Duration::from_secs(10);

/// Both storage services over the machine's parts.
#[derive(Clone)]
pub struct Storage(pub Parts);

#[async_trait]
impl StorageService for Storage {
    async fn disks(&self, _: Request<()>) -> Result<Response<DisksResponse>, Status> {
        let system = self
            .0
            .state
            .get::<block::SystemDisk>(block::SystemDisk::ID)
            .map(|disk| disk.spec.disk_id.clone());
        let disks = self.0.state.list::<block::Disk>();
        let disks =
            disks.iter().map(|found| disk(&found.metadata.id, &found.spec, system.as_deref())).collect();
        Ok(one(Disks { disks, ..Disks::default() }))
    }

    async fn block_device_wipe(
        &self,
        request: Request<BlockDeviceWipeRequest>,
    ) -> Result<Response<BlockDeviceWipeResponse>, Status> {
        storage_wipe::wipe(&self.0, request.get_ref()).await.map(one)
    }
}

fn disk(id: &str, found: &block::Disk, system: Option<&str>) -> Disk {
    let kind = match (found.transport.as_str(), found.cdrom, found.rotational) {
        (_, true, _) => disk::DiskType::Cd,
        ("nvme", ..) => disk::DiskType::Nvme,
        ("mmc", ..) => disk::DiskType::Sd,
        (.., true) => disk::DiskType::Hdd,
        _ => disk::DiskType::Ssd,
    };
    Disk {
        size: found.size,
        model: found.model.clone(),
        device_name: found.dev_path.clone(),
        name: id.to_owned(),
        serial: found.serial.clone(),
        modalias: found.modalias.clone(),
        uuid: found.uuid.clone(),
        wwid: found.wwid.clone(),
        r#type: kind.into(),
        bus_path: found.bus_path.clone(),
        system_disk: system == Some(id),
        subsystem: found.sub_system.clone(),
        readonly: found.readonly,
    }
}

#[async_trait]
impl MachineStorage for Storage {
    async fn statfs(
        &self,
        request: Request<StorageServiceStatfsRequest>,
    ) -> Result<Response<StorageServiceStatfsResponse>, Status> {
        let path = request.into_inner().path;
        let named = path.clone();
        let facts = &self.0.lanes.facts;
        let statfs = facts.run(DEADLINE, move || rustix::fs::statvfs(Path::new(&path)));
        let statfs = statfs
            .await
            .map_err(|error| status::blocking(&error))?
            .map_err(|error| Status::not_found(format!("{named}: {error}")))?;
        let used = statfs.f_blocks.saturating_sub(statfs.f_bfree);
        Ok(Response::new(StorageServiceStatfsResponse {
            size: statfs.f_blocks.saturating_mul(statfs.f_frsize),
            used: used.saturating_mul(statfs.f_frsize),
            available: statfs.f_bavail.saturating_mul(statfs.f_frsize),
            inodes: statfs.f_files,
            inodes_used: statfs.f_files.saturating_sub(statfs.f_ffree),
            inodes_free: statfs.f_ffree,
        }))
    }
}

fn key(key: u32) -> Result<u8, Status> {
    u8::try_from(key)
        .map_err(|_| Status::invalid_argument(format!("META key {key} does not fit into one byte")))
}

fn to_status(error: &MetaError) -> Status {
    match error {
        MetaError::Full { .. } => Status::resource_exhausted(error.to_string()),
        MetaError::NoSuchKey(_) => Status::not_found(error.to_string()),
        MetaError::NoVolume => Status::unavailable(error.to_string()),
        _ => Status::internal(corten_base::chain(error)),
    }
}

/// Writes a META tag.
pub async fn meta_write(parts: &Parts, request: &MetaWriteRequest) -> Result<MetaWrite, Status> {
    let (key, value) = (key(request.key)?, request.value.clone());
    meta::write(&parts.state, key, Some(value)).await.map_err(|error| to_status(&error))?;
    Ok(MetaWrite::default())
}

/// Deletes a META tag.
pub async fn meta_delete(parts: &Parts, request: &MetaDeleteRequest) -> Result<MetaDelete, Status> {
    meta::write(&parts.state, key(request.key)?, None).await.map_err(|error| to_status(&error))?;
    Ok(MetaDelete::default())
}
