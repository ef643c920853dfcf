//! Installing and upgrading: a little progress, then what the installer's exit code would be.

use std::sync::Arc;

use corten_api::machine::lifecycle_service_install_progress::Response as Progress;
use corten_api::machine::lifecycle_service_server::LifecycleService;
use corten_api::machine::{
    LifecycleServiceInstallProgress, LifecycleServiceInstallRequest, LifecycleServiceInstallResponse,
    LifecycleServiceUpgradeRequest, LifecycleServiceUpgradeResponse,
};
use tokio::time::sleep;
use tonic::{Request, Response, Status, async_trait};

use super::machine_of;
use super::stream::{Reply, from_task};
use crate::machine::Machine;

/// The service.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle;

/// Ends what was begun. An installer goes on without its client: when that goes away, the system is on the disk too.
struct Writing(Arc<Machine>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.end_write();
    }
}

/// Writes a system, telling how far it is.
fn write<T: Send + 'static>(
    machine: Arc<Machine>,
    wrap: fn(LifecycleServiceInstallProgress) -> T,
) -> Reply<T> {
    let time = machine.world().options.timing.write;
    let writing = Writing(machine);
    let message = |progress: Progress| wrap(LifecycleServiceInstallProgress { response: Some(progress) });
    let begins = message(Progress::Message("writing the system to the disk".to_owned()));
    let ends = message(Progress::ExitCode(0));
    from_task(move |sender| async move {
        if sender.send(Ok(begins)).await.is_ok() {
            sleep(time).await;
        }
        drop(writing);
        // A client that went away needs no answer.
        let _ = sender.send(Ok(ends)).await;
    })
}

#[async_trait]
impl LifecycleService for Lifecycle {
    type InstallStream = Reply<LifecycleServiceInstallResponse>;
    async fn install(
        &self,
        request: Request<LifecycleServiceInstallRequest>,
    ) -> Result<Response<Self::InstallStream>, Status> {
        let machine = machine_of(&request)?;
        let LifecycleServiceInstallRequest { source, destination, .. } = request.into_inner();
        let disk = destination.unwrap_or_default().disk;
        if !machine.spec().model.disks.iter().any(|known| known.path() == disk) {
            return Err(Status::invalid_argument(format!("the machine has no disk {disk:?}")));
        }
        machine.begin_write(&source.unwrap_or_default().image_name, true)?;
        let wrap = |progress| LifecycleServiceInstallResponse { progress: Some(progress) };
        Ok(Response::new(write(machine, wrap)))
    }

    type UpgradeStream = Reply<LifecycleServiceUpgradeResponse>;
    async fn upgrade(
        &self,
        request: Request<LifecycleServiceUpgradeRequest>,
    ) -> Result<Response<Self::UpgradeStream>, Status> {
        let machine = machine_of(&request)?;
        let source = request.into_inner().source.unwrap_or_default();
        machine.begin_write(&source.image_name, false)?;
        let wrap = |progress| LifecycleServiceUpgradeResponse { progress: Some(progress) };
        Ok(Response::new(write(machine, wrap)))
    }
}
