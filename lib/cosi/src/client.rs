//! A store at the other end of a connection.

use std::sync::Arc;

use corten_api::MESSAGE_BYTES_MAX;
use corten_api::cosi::resource as wire;
use corten_resource::{
    Answer, AnyResource, Change, Event, Pointer, Query, Registry, Start, StateError, Store, UpdateOptions,
    Watch, WatchOptions,
};
use futures::stream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Bytes, StdError};
use tonic::{Code, Status, Streaming};
use wire::state_client::StateClient;

use crate::convert::{event_from_wire, from_wire, options_to_wire, query_to_wire, start_to_wire, to_wire};

/// Version of the protocol that this client speaks: with `BOOTSTRAPPED` and `ERRORED` events.
const API_VERSION: i32 = 1;

/// A remote store. Resources of types that the registry does not know stay encoded.
#[derive(Clone, Debug)]
pub struct Client<T> {
    client: StateClient<T>,
    registry: Arc<Registry>,
}

impl<T> Client<T>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: tonic::transport::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::transport::Body>::Error: Into<StdError> + Send,
{
    /// A client over a channel, which may have interceptors.
    pub fn new(channel: T, registry: Registry) -> Self {
        let client = StateClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { client, registry: Arc::new(registry) }
    }
}

/// What a status means; `precondition` is what the request failed on when the server says that it did.
fn refusal(status: &Status, pointer: &Pointer, precondition: StateError) -> StateError {
    let text = status.message().to_owned();
    match status.code() {
        Code::NotFound => StateError::NotFound(pointer.clone()),
        Code::AlreadyExists => StateError::AlreadyExists(pointer.clone()),
        Code::PermissionDenied => StateError::Denied(text),
        Code::FailedPrecondition => precondition,
        Code::InvalidArgument => StateError::Invalid(text),
        Code::Unimplemented => StateError::Unsupported(text),
        code => StateError::Unavailable(format!("{code:?}: {text}")),
    }
}

impl<T> Store for Client<T>
where
    T: GrpcService<Body> + Clone + Send + Sync + 'static,
    T::Future: Send,
    T::Error: Into<StdError>,
    T::ResponseBody: tonic::transport::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::transport::Body>::Error: Into<StdError> + Send,
{
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            let Pointer { namespace, kind, id } = pointer.clone();
            let request = wire::GetRequest { namespace, r#type: kind, id, options: None };
            let response = self.client.clone().get(request).await;
            let response = response.map_err(|status| refusal(&status, pointer, StateError::Bookmark))?;
            from_wire(response.into_inner().resource, &self.registry)
        })
    }

    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>> {
        Box::pin(async move {
            let (label_query, id_query) = query_to_wire(query);
            let request = wire::ListRequest {
                namespace: kind.namespace.clone(),
                r#type: kind.kind.clone(),
                options: Some(wire::ListOptions { label_query, id_query }),
            };
            let failed = |status: Status| refusal(&status, kind, StateError::Bookmark);
            let mut stream = self.client.clone().list(request).await.map_err(failed)?.into_inner();
            let mut resources = Vec::new();
            while let Some(message) = stream.message().await.map_err(failed)? {
                resources.push(from_wire(message.resource, &self.registry)?);
            }
            Ok(resources)
        })
    }

    fn create<'a>(&'a self, resource: AnyResource, owner: &'a str) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            let request = wire::CreateRequest {
                resource: Some(to_wire(&resource)),
                options: Some(wire::CreateOptions { owner: owner.to_owned() }),
            };
            let response = self.client.clone().create(request).await;
            let response =
                response.map_err(|status| refusal(&status, &resource.pointer(), StateError::Bookmark))?;
            from_wire(response.into_inner().resource, &self.registry)
        })
    }

    fn update<'a>(&'a self, resource: AnyResource, options: &'a UpdateOptions) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            let request = wire::UpdateRequest {
                new_resource: Some(to_wire(&resource)),
                options: Some(wire::UpdateOptions {
                    owner: options.owner.clone(),
                    expected_phase: options.expected_phase.map(|phase| phase.text().to_owned()),
                }),
            };
            let response = self.client.clone().update(request).await.map_err(|status| {
                let pointer = resource.pointer();
                let conflict = StateError::Version {
                    pointer: pointer.clone(),
                    expected: resource.metadata().version,
                    actual: 0,
                };
                refusal(&status, &pointer, conflict)
            })?;
            from_wire(response.into_inner().resource, &self.registry)
        })
    }

    fn destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let Pointer { namespace, kind, id } = pointer.clone();
            let options = Some(wire::DestroyOptions { owner: owner.to_owned() });
            let request = wire::DestroyRequest { namespace, r#type: kind, id, options };
            let held = StateError::Finalizers { pointer: pointer.clone(), finalizers: Vec::new() };
            let response = self.client.clone().destroy(request).await;
            response.map(drop).map_err(|status| refusal(&status, pointer, held))
        })
    }

    fn teardown<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let Pointer { namespace, kind, id } = pointer.clone();
            let options = Some(wire::TeardownOptions { owner: owner.to_owned() });
            let request = wire::TeardownRequest { namespace, r#type: kind, id, options };
            let response = self.client.clone().teardown(request).await;
            let response = response.map_err(|status| refusal(&status, pointer, StateError::Bookmark))?;
            Ok(response.into_inner().destroy_ready)
        })
    }

    fn watch<'a>(&'a self, pointer: &'a Pointer, start: Start) -> Answer<'a, Watch> {
        // Contents are what a watch by id starts with; naming them is not allowed.
        let options =
            if start == Start::Contents { wire::WatchOptions::default() } else { start_to_wire(&start) };
        Box::pin(async move {
            if start == Start::Now {
                return Err(StateError::Unsupported("a watch by id starts with what is there".to_owned()));
            }
            self.subscribe(pointer, Some(pointer.id.clone()), options).await
        })
    }

    fn watch_all<'a>(&'a self, kind: &'a Pointer, options: WatchOptions) -> Answer<'a, Watch> {
        Box::pin(async move { self.subscribe(kind, None, options_to_wire(&options)).await })
    }
}

impl<T> Client<T>
where
    T: GrpcService<Body> + Clone + Send + Sync + 'static,
    T::Future: Send,
    T::Error: Into<StdError>,
    T::ResponseBody: tonic::transport::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::transport::Body>::Error: Into<StdError> + Send,
{
    async fn subscribe(
        &self,
        kind: &Pointer,
        id: Option<String>,
        options: wire::WatchOptions,
    ) -> Result<Watch, StateError> {
        let request = wire::WatchRequest {
            namespace: kind.namespace.clone(),
            r#type: kind.kind.clone(),
            id,
            options: Some(options),
            api_version: API_VERSION,
        };
        let failed = |status: Status| refusal(&status, kind, StateError::Bookmark);
        let mut stream = self.client.clone().watch(request).await.map_err(failed)?.into_inner();
        let ready = stream.message().await.map_err(failed)?.unwrap_or_default();
        let registry = Arc::clone(&self.registry);
        let first = decode(ready, &registry);
        Ok(Watch::new(stream::unfold((Some(stream), first), move |(stream, ready)| {
            let registry = Arc::clone(&registry);
            async move { next(stream, ready, &registry).await }
        })))
    }
}

type Cursor = (Option<Streaming<wire::WatchResponse>>, Vec<Event>);

/// The next batch: what came with the first message, then one per message. A broken stream ends with an error event.
async fn next(
    stream: Option<Streaming<wire::WatchResponse>>,
    ready: Vec<Event>,
    registry: &Registry,
) -> Option<(Vec<Event>, Cursor)> {
    if !ready.is_empty() {
        return Some((ready, (stream, Vec::new())));
    }
    let mut stream = stream?;
    loop {
        let events = match stream.message().await {
            Ok(Some(message)) => decode(message, registry),
            Ok(None) => {
                return Some((vec![errored("the server ended the watch".to_owned())], (None, Vec::new())));
            }
            Err(status) => return Some((vec![errored(status.message().to_owned())], (None, Vec::new()))),
        };
        let is_over = events.iter().any(|event| matches!(event.change, Change::Errored(_)));
        if !events.is_empty() {
            return Some((events, ((!is_over).then_some(stream), Vec::new())));
        }
    }
}

fn errored(text: String) -> Event {
    Event { change: Change::Errored(text), bookmark: None }
}

/// The events of a message; one that cannot be decoded becomes an error.
fn decode(message: wire::WatchResponse, registry: &Registry) -> Vec<Event> {
    let event = |event| event_from_wire(event, registry).unwrap_or_else(|error| errored(error.to_string()));
    message.event.into_iter().map(event).collect()
}
