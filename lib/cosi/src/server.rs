//! The server: requests in, a store asked, messages out.

use std::pin::Pin;
use std::sync::Arc;

use corten_api::MESSAGE_BYTES_MAX;
use corten_api::cosi::resource as wire;
use corten_resource::{
    AnyResource, Event, Pointer, Query, Registry, Start, StateError, Store, UpdateOptions, Watch,
};
use futures::stream::{self, Stream, StreamExt as _};
use tonic::{Extensions, Request, Response, Status};
use wire::state_server::{State, StateServer};

use crate::convert::{
    event_to_wire, from_wire, options_from_wire, query_from_wire, start_from_wire, to_status, to_wire,
};
use crate::told::Told;

type Open = dyn Fn(&Extensions) -> Arc<dyn Store> + Send + Sync;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// `cosi.resource.State` over a store.
#[derive(Clone)]
pub struct Service {
    open: Arc<Open>,
    registry: Arc<Registry>,
    told: Arc<Told>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// The service over the store that `open` gives for the extensions of a request, where a layer before has left
/// who calls. `registry` decodes what callers write.
pub fn service(
    registry: Registry,
    open: impl Fn(&Extensions) -> Arc<dyn Store> + Send + Sync + 'static,
) -> StateServer<Service> {
    StateServer::new(Service { open: Arc::new(open), registry: Arc::new(registry), told: Arc::default() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Service {
    fn open<T>(&self, request: Request<T>) -> (Arc<dyn Store>, T) {
        let store = (self.open)(request.extensions());
        (store, request.into_inner())
    }
}

#[tonic::async_trait]
impl State for Service {
    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::GetResponse>, Status> {
        let (store, request) = self.open(request);
        let pointer = Pointer::new(request.namespace, request.r#type, request.id);
        let resource = store.get(&pointer).await.map_err(to_status)?;
        Ok(Response::new(wire::GetResponse { resource: Some(to_wire(&resource)) }))
    }

    type ListStream = Messages<wire::ListResponse>;

    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let (store, request) = self.open(request);
        let kind = Pointer::to_kind(request.namespace, request.r#type);
        let query = match request.options {
            Some(options) => query_from_wire(options.label_query, options.id_query).map_err(to_status)?,
            None => Query::default(),
        };
        let resources = store.list(&kind, &query).await.map_err(to_status)?;
        let messages = resources
            .into_iter()
            .map(|resource| Ok(wire::ListResponse { resource: Some(to_wire(&resource)) }));
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }

    async fn create(
        &self,
        request: Request<wire::CreateRequest>,
    ) -> Result<Response<wire::CreateResponse>, Status> {
        let (store, request) = self.open(request);
        let resource = from_wire(request.resource, &self.registry).map_err(to_status)?;
        let owner = request.options.unwrap_or_default().owner;
        let created = store.create(resource, &owner).await.map_err(to_status)?;
        Ok(Response::new(wire::CreateResponse { resource: Some(to_wire(&created)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateRequest>,
    ) -> Result<Response<wire::UpdateResponse>, Status> {
        let (store, request) = self.open(request);
        let resource = from_wire(request.new_resource, &self.registry).map_err(to_status)?;
        let wire = request.options.unwrap_or_default();
        let phase = wire.expected_phase.map(|phase| phase.parse()).transpose();
        let expected_phase = phase.map_err(|error| to_status(StateError::Invalid(format!("{error}"))))?;
        let options = UpdateOptions { owner: wire.owner, expected_phase };
        let updated = store.update(resource, &options).await.map_err(to_status)?;
        Ok(Response::new(wire::UpdateResponse { resource: Some(to_wire(&updated)) }))
    }

    async fn destroy(
        &self,
        request: Request<wire::DestroyRequest>,
    ) -> Result<Response<wire::DestroyResponse>, Status> {
        let (store, request) = self.open(request);
        let pointer = Pointer::new(request.namespace, request.r#type, request.id);
        let owner = request.options.unwrap_or_default().owner;
        store.destroy(&pointer, &owner).await.map_err(to_status)?;
        Ok(Response::new(wire::DestroyResponse {}))
    }

    async fn teardown(
        &self,
        request: Request<wire::TeardownRequest>,
    ) -> Result<Response<wire::TeardownResponse>, Status> {
        let (store, request) = self.open(request);
        let pointer = Pointer::new(request.namespace, request.r#type, request.id);
        let owner = request.options.unwrap_or_default().owner;
        let destroy_ready = store.teardown(&pointer, &owner).await.map_err(to_status)?;
        Ok(Response::new(wire::TeardownResponse { destroy_ready }))
    }

    async fn teardown_and_destroy(
        &self,
        request: Request<wire::TeardownAndDestroyRequest>,
    ) -> Result<Response<wire::TeardownAndDestroyResponse>, Status> {
        let (store, request) = self.open(request);
        let pointer = Pointer::new(request.namespace, request.r#type, request.id);
        let owner = request.options.unwrap_or_default().owner;
        store.teardown_and_destroy(&pointer, &owner).await.map_err(to_status)?;
        Ok(Response::new(wire::TeardownAndDestroyResponse {}))
    }

    type WatchStream = Messages<wire::WatchResponse>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (store, request) = self.open(request);
        let kind = Pointer::to_kind(&request.namespace, &request.r#type);
        let options = request.options.unwrap_or_default();
        let is_aggregated = options.aggregated;
        let watch = match request.id {
            None => store.watch_all(&kind, options_from_wire(options).map_err(to_status)?).await,
            Some(id) => {
                let start = start_of_one(&options).map_err(to_status)?;
                store.watch(&Pointer::new(request.namespace, request.r#type, id), start).await
            }
        };
        let watch = watch.map_err(to_status)?;
        let told = Arc::clone(&self.told);
        let changes = messages(watch, kind, is_aggregated, request.api_version, told);
        // The first message is empty: it tells that the subscription stands.
        let first = stream::iter([Ok(wire::WatchResponse::default())]);
        Ok(Response::new(Box::pin(first.chain(changes))))
    }
}

/// Where a watch by id starts.
fn start_of_one(options: &wire::WatchOptions) -> Result<Start, StateError> {
    let unsupported =
        |what: &str| StateError::Unsupported(format!("{what} is not implemented for resource watch"));
    if options.bootstrap_contents {
        return Err(unsupported("bootstrap contents"));
    }
    if !options.label_query.is_empty() {
        return Err(unsupported("label query"));
    }
    start_from_wire(options, Start::Contents)
}

/// Messages with the events of a watch: one each, or all that are ready together.
fn messages(
    watch: Watch,
    kind: Pointer,
    is_aggregated: bool,
    api_version: i32,
    told: Arc<Told>,
) -> impl Stream<Item = Result<wire::WatchResponse, Status>> + Send {
    let batches = stream::unfold(watch, move |mut watch| async move {
        let batch: Vec<Event> =
            if is_aggregated { watch.next_batch().await? } else { vec![watch.next().await?] };
        Some((batch, watch))
    });
    batches.filter_map(move |batch| {
        let to_wire = |resource: &AnyResource| told.to_wire(resource);
        let events = batch.iter().filter_map(|event| event_to_wire(event, &kind, api_version, to_wire));
        let event: Vec<_> = events.collect();
        std::future::ready((!event.is_empty()).then_some(Ok(wire::WatchResponse { event })))
    })
}
