//! `machine.LVMService` and `machine.MDService`: doors to the block domain. Volumes and arrays are made by documents; only
//! clients take them away.

use corten_api::machine::lvm_service_server::LvmService;
use corten_api::machine::md_service_server::MdService;
use corten_api::machine::{
    LvmServiceLogicalVolumeRemoveRequest, LvmServicePhysicalVolumeRemoveRequest,
    LvmServiceVolumeGroupRemoveRequest, MdDestroyRequest,
};
use corten_base::chain;
use corten_controllers_block::lvm::remove::{self, LvmError};
use corten_controllers_block::md::{self, MdError};
use tonic::{Request, Response, Status, async_trait};

use super::Parts;
use super::power::need_own_kernel;

/// Both services over the machine's parts.
#[derive(Clone)]
pub struct Pools(pub Parts);

fn needed<'a>(value: &'a str, field: &str) -> Result<&'a str, Status> {
    if value.is_empty() { Err(Status::invalid_argument(format!("{field} must be set"))) } else { Ok(value) }
}

#[async_trait]
impl LvmService for Pools {
    async fn logical_volume_remove(
        &self,
        request: Request<LvmServiceLogicalVolumeRemoveRequest>,
    ) -> Result<Response<()>, Status> {
        let request = request.get_ref();
        let group = needed(&request.volume_group, "volume_group")?;
        let volume = needed(&request.logical_volume, "logical_volume")?;
        need_own_kernel(&self.0)?;
        tracing::warn!(group, volume, "a client removes a logical volume");
        let removed = remove::logical_volume(&self.0.init, group, volume).await;
        removed.map(Response::new).map_err(|error| lvm_status(&error))
    }

    async fn volume_group_remove(
        &self,
        request: Request<LvmServiceVolumeGroupRemoveRequest>,
    ) -> Result<Response<()>, Status> {
        let group = needed(&request.get_ref().volume_group, "volume_group")?;
        need_own_kernel(&self.0)?;
        tracing::warn!(group, "a client removes a volume group");
        let removed = remove::volume_group(&self.0.init, group).await;
        removed.map(Response::new).map_err(|error| lvm_status(&error))
    }

    async fn physical_volume_remove(
        &self,
        request: Request<LvmServicePhysicalVolumeRemoveRequest>,
    ) -> Result<Response<()>, Status> {
        let device = needed(&request.get_ref().device, "device")?;
        need_own_kernel(&self.0)?;
        tracing::warn!(device, "a client removes a physical volume");
        let removed = remove::physical_volume(&self.0.init, device).await;
        removed.map(Response::new).map_err(|error| lvm_status(&error))
    }
}

#[async_trait]
impl MdService for Pools {
    async fn destroy(&self, request: Request<MdDestroyRequest>) -> Result<Response<()>, Status> {
        let device = needed(&request.get_ref().device, "device")?;
        need_own_kernel(&self.0)?;
        tracing::warn!(device, "a client destroys an array");
        let destroyed = md::destroy(&self.0.state, &self.0.init, device).await;
        destroyed.map(Response::new).map_err(|error| md_status(&error))
    }
}

fn lvm_status(error: &LvmError) -> Status {
    match error {
        LvmError::NoName(_) => Status::invalid_argument(error.to_string()),
        LvmError::NotFound { .. } => Status::not_found(error.to_string()),
        LvmError::InUse { .. } => Status::failed_precondition(error.to_string()),
        LvmError::Failed { .. } => Status::internal(chain(error)),
    }
}

fn md_status(error: &MdError) -> Status {
    match error {
        MdError::NoPath(_) | MdError::NoArray(_) => Status::invalid_argument(error.to_string()),
        MdError::NotFound(_) => Status::not_found(error.to_string()),
        MdError::InUse { .. } => Status::failed_precondition(error.to_string()),
        MdError::Failed { .. } => Status::internal(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Platform;
    use tonic::Code;

    use super::*;

    fn pools(platform: Platform) -> Pools {
        Pools(Parts { platform, ..Parts::for_tests() })
    }

    async fn destroy(platform: Platform, device: &str) -> Code {
        let request = Request::new(MdDestroyRequest { device: device.to_owned() });
        pools(platform).destroy(request).await.expect_err("there is no array").code()
    }

    #[tokio::test]
    async fn what_cannot_be_destroyed_has_the_code_that_clients_know() {
        assert_eq!(destroy(Platform::Metal, "").await, Code::InvalidArgument);
        assert_eq!(destroy(Platform::Metal, "md127").await, Code::InvalidArgument);
        assert_eq!(destroy(Platform::Metal, "/dev/md/nonexistent").await, Code::NotFound);
        assert_eq!(destroy(Platform::Container, "/dev/md/data").await, Code::FailedPrecondition);
    }

    #[tokio::test]
    async fn names_of_lvm_are_needed_and_checked() {
        let remove = |group: &str, volume: &str| {
            let request = LvmServiceLogicalVolumeRemoveRequest {
                volume_group: group.to_owned(),
                logical_volume: volume.to_owned(),
            };
            async move {
                let refused = pools(Platform::Metal).logical_volume_remove(Request::new(request)).await;
                refused.expect_err("there is no volume").code()
            }
        };
        assert_eq!(remove("", "data").await, Code::InvalidArgument);
        assert_eq!(remove("vg", "").await, Code::InvalidArgument);
        assert_eq!(remove("--force", "data").await, Code::InvalidArgument);
        let shared = pools(Platform::Container);
        let request = Request::new(LvmServiceVolumeGroupRemoveRequest { volume_group: "vg".to_owned() });
        let refused = shared.volume_group_remove(request).await.expect_err("the kernel is the host's");
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }

    #[test]
    fn errors_keep_their_kinds() {
        let in_use = LvmError::InUse { kind: "volume group", name: "vg".into(), user: "x".into() };
        assert_eq!(lvm_status(&in_use).code(), Code::FailedPrecondition);
        let absent = LvmError::NotFound { kind: "volume group", name: "vg".into() };
        assert_eq!(lvm_status(&absent).message(), "volume group \"vg\" not found");
        assert_eq!(md_status(&MdError::NoArray("/dev/sda".into())).code(), Code::InvalidArgument);
    }
}
