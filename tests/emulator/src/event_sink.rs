//! Sends a machine's events to its manager (fleet.md 1.9).
//!
//! The whole ring is sent at the beginning of a boot; after a failure the machine connects again and repeats the event.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use corten_api::events::EventRequest;
use corten_api::events::event_sink_service_client::EventSinkServiceClient;
use corten_base::chain;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::machine::Machine;
use crate::network::Network;

/// Events cannot be handed over.
#[derive(Debug, thiserror::Error)]
enum SinkError {
    #[error("the event sink is out of reach")]
    Connect(#[from] tonic::transport::Error),
    #[error("the event sink refuses: {}", .0.message())]
    Refused(#[from] Status),
}

/// Sends events for as long as the boot lasts.
pub async fn run(machine: Arc<Machine>) {
    let mut places = machine.places();
    let mut position = machine.events().position(-1);
    loop {
        let from = places.borrow_and_update().as_ref().map(|place| place.address());
        let sink = machine.event_sink();
        let route = from.zip(sink).filter(|_| machine.world().network.has_link());
        tokio::select! {
            () = deliver(&machine, route, &mut position) => {}
            _ = places.changed() => {}
            () = goes_elsewhere(&machine, sink) => {}
        }
    }
}

/// Returns when events are to go elsewhere than they do now.
async fn goes_elsewhere(machine: &Machine, now: Option<SocketAddrV6>) {
    let mut changes = machine.configurations();
    while machine.event_sink() == now {
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Delivers events, one after the other; returns after a failure, when it was time to wait a little.
async fn deliver(machine: &Machine, route: Option<(Ipv6Addr, SocketAddrV6)>, position: &mut u64) {
    let Some((from, to)) = route else { return std::future::pending().await };
    if let Err(error) = send(machine, from, to, position).await {
        tracing::debug!(machine = machine.spec().number, error = chain(&error), "events are not sent");
    }
    sleep(machine.world().options.timing.retry).await;
}

async fn send(
    machine: &Machine,
    from: Ipv6Addr,
    to: SocketAddrV6,
    position: &mut u64,
) -> Result<(), SinkError> {
    let mut sink = EventSinkServiceClient::new(connect(&machine.world().network, from, to).await?);
    loop {
        let mut next = *position;
        let event = machine.events().next(&mut next).await;
        let data = Some(event.to_any());
        sink.publish(EventRequest { data, id: event.id, actor_id: event.actor }).await?;
        *position = next;
    }
}

async fn connect(
    network: &Network,
    from: Ipv6Addr,
    to: SocketAddrV6,
) -> Result<Channel, tonic::transport::Error> {
    let network = network.clone();
    let connect = move |_: Uri| {
        let network = network.clone();
        async move { network.connect(from, to).await.map(TokioIo::new) }
    };
    Endpoint::from_shared(format!("http://{to}"))?.connect_with_connector(service_fn(connect)).await
}
