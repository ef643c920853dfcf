//! A client of our own making, for what no program sends: good signatures over whatever a case wants.
//!
//! ```text
//! case ─▶ Raw ─▶ Calls sign ─▶ cosi.resource.State, management.ManagementService
//! ```

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use corten_api::cosi::resource as wire;
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_base::Secret;
use tokio::runtime::{Builder, Runtime};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, GrpcMethod, Request, Response, Status};
use wire::state_client::StateClient;

use crate::fleet::Manager;
use crate::fleet::wire::SignedHeaders;

/// What a call may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// A type of resources that people make and no controller holds.
pub const KIND: &str = "MachineClasses.omni.sidero.dev";
/// Namespace of everything that people make.
const NAMESPACE: &str = "default";
/// Protobuf of a class of the machines with the label `rack = a`.
const SPEC: &[u8] = b"\x0a\x08rack = a";
/// The phase of what is not about to go.
pub const RUNNING: &str = "running";

/// Client of resources.
pub type State = StateClient<InterceptedService<Channel, Calls>>;

/// Signs calls with a key.
#[derive(Clone, Debug)]
pub struct Calls(Secret<String>);

impl Interceptor for Calls {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let method = request.extensions().get::<GrpcMethod<'static>>();
        let method = method.map(|method| format!("/{}/{}", method.service(), method.method()));
        let method = method.ok_or_else(|| Status::internal("a call without a method"))?;
        let headers = SignedHeaders::new(self.0.reveal(), &method, SystemTime::now());
        let signed = headers.and_then(|headers| headers.put(&mut request));
        signed.map_err(|error| Status::internal(format!("{error:#}")))?;
        Ok(request)
    }
}

/// A client with a key. It only talks while it is asked, so each case makes its own.
pub struct Raw {
    runtime: Runtime,
    channel: Channel,
    calls: Calls,
}

impl Raw {
    /// Connects to a manager.
    pub fn connect(manager: &Manager, key: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        let (api, _) = manager.addresses();
        let endpoint = Endpoint::from_shared(format!("http://{api}")).context("no address of a manager")?;
        let endpoint = endpoint.connect_timeout(CALL_MAX).timeout(CALL_MAX);
        let channel = runtime.block_on(endpoint.connect());
        let channel = channel.with_context(|| format!("the manager does not answer at {api}"))?;
        Ok(Self { runtime, channel, calls: Calls(Secret::new(key.to_owned())) })
    }

    /// Connects with the key of the first administrator.
    pub fn administrator(manager: &Manager) -> Result<Self> {
        Self::connect(manager, &manager.fleet.administrator()?)
    }

    /// Client of resources.
    pub fn state(&self) -> State {
        StateClient::with_interceptor(self.channel.clone(), self.calls.clone())
    }

    /// Client of the manager's own calls.
    pub fn management(&self) -> ManagementServiceClient<InterceptedService<Channel, Calls>> {
        ManagementServiceClient::with_interceptor(self.channel.clone(), self.calls.clone())
    }

    /// Does work with clients of this connection.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Waits for an answer.
    pub fn ask<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        self.run(call).map(Response::into_inner)
    }

    /// A resource as it is.
    pub fn get(&self, kind: &str, id: &str) -> Result<wire::Resource, Status> {
        present(self.ask(self.state().get(get(kind, id)))?.resource)
    }

    /// Creates a resource under the name of a controller, or of nobody.
    pub fn create(&self, resource: wire::Resource, owner: &str) -> Result<wire::Resource, Status> {
        let options = Some(wire::CreateOptions { owner: owner.to_owned() });
        let request = wire::CreateRequest { resource: Some(resource), options };
        present(self.ask(self.state().create(request))?.resource)
    }

    /// Changes a resource, and gives it as it is then.
    pub fn update(
        &self,
        new: wire::Resource,
        options: wire::UpdateOptions,
    ) -> Result<wire::Resource, Status> {
        present(self.ask(self.state().update(update(new, options)))?.resource)
    }

    /// Tears a class of machines down; true when nobody holds it.
    pub fn teardown(&self, id: &str) -> Result<bool, Status> {
        let (namespace, kind, id) = (NAMESPACE.to_owned(), KIND.to_owned(), id.to_owned());
        let request = wire::TeardownRequest { namespace, r#type: kind, id, options: None };
        self.ask(self.state().teardown(request)).map(|answer| answer.destroy_ready)
    }

    /// Destroys a resource under the name of a controller, or of nobody.
    pub fn destroy(&self, kind: &str, id: &str, owner: &str) -> Result<(), Status> {
        let (namespace, kind, id) = (NAMESPACE.to_owned(), kind.to_owned(), id.to_owned());
        let options = Some(wire::DestroyOptions { owner: owner.to_owned() });
        let request = wire::DestroyRequest { namespace, r#type: kind, id, options };
        self.ask(self.state().destroy(request)).map(drop)
    }

    /// Takes a class of machines away; one that is gone is as good.
    pub fn remove(&self, id: &str) -> Result<(), Status> {
        match self.ask(self.state().teardown_and_destroy(removal(id))) {
            Err(status) if status.code() != Code::NotFound => Err(status),
            _ => Ok(()),
        }
    }
}

/// The request for a resource.
pub fn get(kind: &str, id: &str) -> wire::GetRequest {
    let (namespace, kind, id) = (NAMESPACE.to_owned(), kind.to_owned(), id.to_owned());
    wire::GetRequest { namespace, r#type: kind, id, options: None }
}

/// The request to change a resource.
pub fn update(new: wire::Resource, options: wire::UpdateOptions) -> wire::UpdateRequest {
    wire::UpdateRequest { new_resource: Some(new), options: Some(options) }
}

/// The request to create a class of machines.
pub fn creation(id: &str) -> wire::CreateRequest {
    wire::CreateRequest { resource: Some(class(id)), options: None }
}

/// The request to take a class of machines away.
pub fn removal(id: &str) -> wire::TeardownAndDestroyRequest {
    let (namespace, kind, id) = (NAMESPACE.to_owned(), KIND.to_owned(), id.to_owned());
    wire::TeardownAndDestroyRequest { namespace, r#type: kind, id, options: None }
}

/// A class of machines to be.
pub fn class(id: &str) -> wire::Resource {
    let metadata = wire::Metadata {
        namespace: NAMESPACE.to_owned(),
        r#type: KIND.to_owned(),
        id: id.to_owned(),
        version: "undefined".to_owned(),
        phase: RUNNING.to_owned(),
        ..wire::Metadata::default()
    };
    let spec = wire::Spec { proto_spec: SPEC.into(), yaml_spec: String::new() };
    wire::Resource { metadata: Some(metadata), spec: Some(spec) }
}

/// The metadata of a resource.
pub fn metadata(resource: &mut wire::Resource) -> &mut wire::Metadata {
    resource.metadata.get_or_insert_default()
}

/// A resource with one more label.
pub fn labelled(mut resource: wire::Resource, label: &str) -> wire::Resource {
    metadata(&mut resource).labels.insert(label.to_owned(), String::new());
    resource
}

/// As everybody changes what is not about to go.
pub fn in_order() -> wire::UpdateOptions {
    wire::UpdateOptions { owner: String::new(), expected_phase: Some(RUNNING.to_owned()) }
}

/// Fails unless it was refused with one of these codes and a reason.
pub fn refused<T>(answer: Result<T, Status>, codes: &[Code]) -> Result<()> {
    let status = answer.err().context("it was carried out")?;
    ensure!(codes.contains(&status.code()), "it was refused for another reason: {status}");
    ensure!(!status.message().is_empty(), "the refusal has no reason");
    Ok(())
}

fn present(resource: Option<wire::Resource>) -> Result<wire::Resource, Status> {
    resource.ok_or_else(|| Status::internal("an answer without a resource"))
}
