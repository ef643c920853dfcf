//! The machine's API: the same services for all machines of a version, and a door for each machine.
//!
//! ```text
//! listener.rs: [machine]:50000 ─TLS (tls.rs)─▶ door.rs: roles, rules, faults ─▶ Routes of the version
//!                                                  │ who calls, and which machine is meant: an extension of the call
//!                                                  └─ metadata `node`: another machine of the process
//! ```
//!
//! Services know no machine: each call says which one it is for. A thousand machines cost one set of services.

mod caller;
mod door;
mod etcd;
mod facts;
mod image;
mod lifecycle;
mod listener;
mod logs;
mod machine;
mod storage;
mod stream;
pub(crate) mod tls;

use std::sync::Arc;

use corten_api::Envelope;
use corten_api::MESSAGE_BYTES_MAX;
use corten_api::machine::image_service_server::ImageServiceServer;
use corten_api::machine::lifecycle_service_server::LifecycleServiceServer;
use corten_api::machine::machine_service_server::MachineServiceServer;
use corten_api::machine::storage_service_server::StorageServiceServer as MachineStorageServer;
use corten_api::roles::Roles;
use corten_api::storage::storage_service_server::StorageServiceServer;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::machine::Machine as Emulated;
use crate::schema::{Schema, machine_state};

pub use listener::run;

/// Port of the API.
pub const PORT: u16 = 50_000;

/// Who calls, and whom.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The machine that is meant.
    pub machine: Arc<Emulated>,
    /// What the caller may do.
    pub roles: Roles,
}

impl Caller {
    /// The caller of a request that came through the door.
    ///
    /// # Errors
    /// When it came another way, which is an error of the program.
    fn of<T>(request: &Request<T>) -> Result<&Self, Status> {
        let caller = request.extensions().get::<Self>();
        caller.ok_or_else(|| Status::internal("the call did not come through the door"))
    }
}

/// The machine that a request is for.
fn machine_of<T>(request: &Request<T>) -> Result<Arc<Emulated>, Status> {
    Caller::of(request).map(|caller| Arc::clone(&caller.machine))
}

/// The reply of one machine: its message in the envelope of the method's response.
fn one<R: Envelope>(message: R::Message) -> Response<R> {
    Response::new(R::from(message))
}

/// The answer of a method that has no emulation.
fn absent(method: &str) -> Status {
    Status::unimplemented(format!("{method} is not emulated"))
}

/// A service that takes and gives messages as large as those of a machine.
macro_rules! bounded {
    ($service:expr) => {
        $service.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
}

/// Every service of a version. Those that the version lacks are refused at the door.
#[must_use]
pub fn routes(schema: &Arc<Schema>) -> Routes {
    let registry = schema.registry().clone();
    let shared = Arc::clone(schema);
    let nowhere = machine_state(&corten_base::Clock::system(), &corten_base::Rng::kernel());
    let cosi = corten_cosi::service(registry, move |extensions| match extensions.get::<Caller>() {
        Some(caller) => shared.view(caller.machine.state(), caller.roles),
        None => shared.view(&nowhere, Roles::NONE),
    });
    let mut routes = Routes::builder();
    routes
        .add_service(cosi)
        .add_service(bounded!(MachineServiceServer::new(machine::Machine)))
        .add_service(bounded!(ImageServiceServer::new(image::Images)))
        .add_service(bounded!(LifecycleServiceServer::new(lifecycle::Lifecycle)))
        .add_service(bounded!(MachineStorageServer::new(storage::Storage)))
        .add_service(bounded!(StorageServiceServer::new(storage::Storage)));
    routes.routes().prepare()
}

#[cfg(test)]
mod tests;
