//! What this version does not do yet: each method says so by its own name.

use corten_api::machine::{self, debug_service_server, lifecycle_service_server};
use corten_api::machine::{lvm_service_server, md_service_server};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::stream::Reply;

/// The answer of a method that does not exist yet.
#[must_use]
pub fn not_yet(method: &str) -> Status {
    Status::unimplemented(format!("{method} is not implemented by this version of Corten"))
}

/// Services without an implementation.
#[derive(Clone, Copy, Debug)]
pub struct NotYet;

#[async_trait]
impl lifecycle_service_server::LifecycleService for NotYet {
    type InstallStream = Reply<machine::LifecycleServiceInstallResponse>;
    async fn install(
        &self,
        _: Request<machine::LifecycleServiceInstallRequest>,
    ) -> Result<Response<Self::InstallStream>, Status> {
        Err(not_yet("machine.LifecycleService/Install"))
    }

    type UpgradeStream = Reply<machine::LifecycleServiceUpgradeResponse>;
    async fn upgrade(
        &self,
        _: Request<machine::LifecycleServiceUpgradeRequest>,
    ) -> Result<Response<Self::UpgradeStream>, Status> {
        Err(not_yet("machine.LifecycleService/Upgrade"))
    }
}

#[async_trait]
impl debug_service_server::DebugService for NotYet {
    type ContainerRunStream = Reply<machine::DebugContainerRunResponse>;
    async fn container_run(
        &self,
        _: Request<Streaming<machine::DebugContainerRunRequest>>,
    ) -> Result<Response<Self::ContainerRunStream>, Status> {
        Err(not_yet("machine.DebugService/ContainerRun"))
    }
}

#[async_trait]
impl lvm_service_server::LvmService for NotYet {
    async fn logical_volume_remove(
        &self,
        _: Request<machine::LvmServiceLogicalVolumeRemoveRequest>,
    ) -> Result<Response<()>, Status> {
        Err(not_yet("machine.LVMService/LogicalVolumeRemove"))
    }
    async fn volume_group_remove(
        &self,
        _: Request<machine::LvmServiceVolumeGroupRemoveRequest>,
    ) -> Result<Response<()>, Status> {
        Err(not_yet("machine.LVMService/VolumeGroupRemove"))
    }
    async fn physical_volume_remove(
        &self,
        _: Request<machine::LvmServicePhysicalVolumeRemoveRequest>,
    ) -> Result<Response<()>, Status> {
        Err(not_yet("machine.LVMService/PhysicalVolumeRemove"))
    }
}

#[async_trait]
impl md_service_server::MdService for NotYet {
    async fn destroy(&self, _: Request<machine::MdDestroyRequest>) -> Result<Response<()>, Status> {
        Err(not_yet("machine.MDService/Destroy"))
    }
}

#[cfg(test)]
mod tests {
    use corten_api::rules;

    #[test]
    fn the_names_are_those_of_methods() {
        let sources = [
            include_str!("images.rs"),
            include_str!("kubernetes.rs"),
            include_str!("machine.rs"),
            include_str!("reset.rs"),
            include_str!("storage.rs"),
            include_str!("unimplemented.rs"),
        ];
        let mut count = 0;
        for rest in sources.iter().flat_map(|source| source.split("not_yet(\"").skip(1)) {
            let name = rest.split(['"', ' ']).next().unwrap_or_default();
            assert!(rules::rule(&format!("/{name}")).is_some(), "{name} is no method");
            count += 1;
        }
        assert!(count > 10, "only {count} methods were found");
    }
}
