//! Installing, upgrading and rolling back: what is asked for is judged here, the work itself does not exist yet.
//!
//! A machine without a system disk runs from memory and is not installed. Texts and codes are those that clients of
//! machines that can do the work already know, so that a refusal now reads like one later.

use corten_api::machine::lifecycle_service_server::LifecycleService;
use corten_api::machine::{
    LifecycleServiceInstallRequest, LifecycleServiceInstallResponse, LifecycleServiceUpgradeRequest,
    LifecycleServiceUpgradeResponse, Rollback, Upgrade, UpgradeRequest,
};
use corten_resources::block::SystemDisk;
use tonic::{Request, Response, Status, async_trait};

use super::Parts;
use super::power::need_own_kernel;
use super::stream::Reply;
use super::unimplemented::not_yet;

/// `machine.LifecycleService` over the machine's parts.
#[derive(Clone)]
pub struct Lifecycle(pub Parts);

const NO_IMAGE: &str = "installer image name is required";

fn is_installed(parts: &Parts) -> bool {
    parts.state.get::<SystemDisk>(SystemDisk::ID).is_some()
}

/// Whether a blank machine may be installed as the request says.
fn check_install(parts: &Parts, request: &LifecycleServiceInstallRequest) -> Result<(), Status> {
    if !parts.platform.capabilities().power {
        return Err(Status::failed_precondition("installation is not supported in container mode"));
    }
    if is_installed(parts) {
        return Err(Status::already_exists("machine is already installed"));
    }
    if request.source.as_ref().is_none_or(|source| source.image_name.is_empty()) {
        return Err(Status::invalid_argument(NO_IMAGE));
    }
    let disk = request.destination.as_ref().map(|destination| destination.disk.as_str()).unwrap_or_default();
    if disk.is_empty() {
        return Err(Status::invalid_argument("destination disk is required"));
    }
    let disk = std::fs::canonicalize(disk);
    disk.map(drop).map_err(|error| Status::invalid_argument(format!("invalid disk path: {error}")))
}

/// Whether a machine may be upgraded as the request says.
fn check_upgrade(parts: &Parts, request: &LifecycleServiceUpgradeRequest) -> Result<(), Status> {
    if !parts.platform.capabilities().power {
        return Err(Status::failed_precondition("upgrade is not supported in container mode"));
    }
    if !is_installed(parts) {
        return Err(Status::failed_precondition("machine is not installed"));
    }
    if request.source.as_ref().is_none_or(|source| source.image_name.is_empty()) {
        return Err(Status::invalid_argument(NO_IMAGE));
    }
    Ok(())
}

#[async_trait]
impl LifecycleService for Lifecycle {
    type InstallStream = Reply<LifecycleServiceInstallResponse>;
    async fn install(
        &self,
        request: Request<LifecycleServiceInstallRequest>,
    ) -> Result<Response<Self::InstallStream>, Status> {
        check_install(&self.0, request.get_ref())?;
        Err(not_yet("machine.LifecycleService/Install"))
    }

    type UpgradeStream = Reply<LifecycleServiceUpgradeResponse>;
    async fn upgrade(
        &self,
        request: Request<LifecycleServiceUpgradeRequest>,
    ) -> Result<Response<Self::UpgradeStream>, Status> {
        check_upgrade(&self.0, request.get_ref())?;
        Err(not_yet("machine.LifecycleService/Upgrade"))
    }
}

/// The upgrade of older clients, which restarts the machine.
///
/// # Errors
/// Always; where it would be legal, `Unimplemented`.
pub fn upgrade(parts: &Parts, request: &UpgradeRequest) -> Result<Upgrade, Status> {
    need_own_kernel(parts)?;
    if request.image.is_empty() {
        return Err(Status::invalid_argument(NO_IMAGE));
    }
    if !is_installed(parts) {
        return Err(Status::failed_precondition("machine is not installed"));
    }
    Err(not_yet("machine.MachineService/Upgrade"))
}

/// Goes back to the system that ran before.
///
/// # Errors
/// Always; where it would be legal, `Unimplemented`.
pub fn rollback(parts: &Parts) -> Result<Rollback, Status> {
    need_own_kernel(parts)?;
    if !is_installed(parts) {
        return Err(Status::failed_precondition("system disk not found"));
    }
    Err(not_yet("machine.MachineService/Rollback"))
}

#[cfg(test)]
mod tests {
    use corten_api::machine::{InstallArtifactsSource, InstallDestination};
    use corten_base::Platform;
    use tonic::Code;

    use super::*;

    fn parts(platform: Platform, has_disk: bool) -> Parts {
        let parts = Parts { platform, ..Parts::for_tests() };
        if has_disk {
            parts.state.put("", SystemDisk::ID, SystemDisk::default()).expect("a disk");
        }
        parts
    }

    fn source(image: &str) -> Option<InstallArtifactsSource> {
        Some(InstallArtifactsSource { image_name: image.to_owned() })
    }

    #[tokio::test]
    async fn upgrades_are_refused_for_the_reason_that_there_is() {
        let request =
            |image: &str| LifecycleServiceUpgradeRequest { source: source(image), ..Default::default() };
        for (platform, has_disk, image, code) in [
            (Platform::Container, true, "i", Code::FailedPrecondition),
            (Platform::Metal, false, "i", Code::FailedPrecondition),
            (Platform::Metal, true, "", Code::InvalidArgument),
            (Platform::Metal, true, "i", Code::Unimplemented),
        ] {
            let lifecycle = Lifecycle(parts(platform, has_disk));
            let refused = lifecycle.upgrade(Request::new(request(image))).await.err().expect("refused");
            assert_eq!(refused.code(), code, "{platform:?} {has_disk} {image:?}");
            let legacy = UpgradeRequest { image: image.to_owned(), ..UpgradeRequest::default() };
            assert_eq!(upgrade(&lifecycle.0, &legacy).expect_err("refused").code(), code);
        }
    }

    #[tokio::test]
    async fn a_machine_is_installed_once() {
        let request = |image: &str, disk: &str| LifecycleServiceInstallRequest {
            source: source(image),
            destination: Some(InstallDestination { disk: disk.to_owned() }),
            ..Default::default()
        };
        for (platform, has_disk, request, code) in [
            (Platform::Container, false, request("i", "/dev/null"), Code::FailedPrecondition),
            (Platform::Metal, true, request("i", "/dev/null"), Code::AlreadyExists),
            (Platform::Metal, false, request("", "/dev/null"), Code::InvalidArgument),
            (Platform::Metal, false, request("i", ""), Code::InvalidArgument),
            (Platform::Metal, false, request("i", "/dev/nonexistent"), Code::InvalidArgument),
            (Platform::Metal, false, request("i", "/dev/null"), Code::Unimplemented),
        ] {
            let lifecycle = Lifecycle(parts(platform, has_disk));
            let refused = lifecycle.install(Request::new(request)).await.err().expect("refused");
            assert_eq!(refused.code(), code, "{platform:?} {has_disk}: {}", refused.message());
        }
    }

    #[tokio::test]
    async fn there_is_nothing_to_go_back_to_without_a_disk() {
        let code = |platform, has_disk| rollback(&parts(platform, has_disk)).expect_err("refused").code();
        assert_eq!(code(Platform::Container, true), Code::FailedPrecondition);
        assert_eq!(code(Platform::Metal, false), Code::FailedPrecondition);
        assert_eq!(code(Platform::Metal, true), Code::Unimplemented);
    }
}
