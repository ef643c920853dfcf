//! WireGuard inside gRPC, the machine's side (fleet.md 1.5).
//!
//! ```text
//! engine ─▶ queue ─▶ stream ─▶ manager        the queue outlives the stream, which is opened again when it breaks
//!        ◀────────── stream ◀─
//! ```

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use corten_api::sidero::link::PeerPacket;
use corten_api::sidero::link::wire_guard_over_grpc_service_client::WireGuardOverGrpcServiceClient;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use super::dial::{self, DialError};
use super::peer_address;
use crate::kernel_args::JoinUrl;
use crate::network::Port;
use crate::world::World;

/// Metadata key of the address that stands for the machine.
const ADDRESS_KEY: &str = "x-siderolink-ipv6-addr";
/// Datagrams that wait for the stream; more are dropped.
pub const QUEUE_MAX: usize = 100;

/// A stream that broke or did not come about.
#[derive(Debug, thiserror::Error)]
enum CarrierError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the manager does not carry: {}", .0.message())]
    Refused(#[from] Status),
    #[error("the address {0:?} cannot be sent")]
    Address(String),
    #[error("the manager ended the stream")]
    Ended,
}

/// Carries datagrams between a port and the manager for ever.
pub async fn run(
    world: Arc<World>,
    join: JoinUrl,
    address: String,
    mut queue: mpsc::Receiver<Bytes>,
    port: Arc<Port>,
) {
    loop {
        if let Err(error) = carry(&world, &join, &address, &mut queue, &port).await {
            tracing::debug!(address, error = corten_base::chain(&error), "the tunnel's stream broke");
        }
        sleep(world.options.timing.retry).await;
    }
}

async fn carry(
    world: &World,
    join: &JoinUrl,
    address: &str,
    queue: &mut mpsc::Receiver<Bytes>,
    port: &Port,
) -> Result<(), CarrierError> {
    let channel = dial::channel(join, &world.options.manager, &world.options.clock).await?;
    let (sender, outgoing) = mpsc::channel(QUEUE_MAX);
    let mut request = Request::new(ReceiverStream::new(outgoing));
    let value = MetadataValue::<Ascii>::try_from(address);
    let value = value.map_err(|_| CarrierError::Address(address.to_owned()))?;
    request.metadata_mut().insert(ADDRESS_KEY, value);
    let mut client = WireGuardOverGrpcServiceClient::new(channel);
    // The service may answer only after the first datagram, so that both directions run from the start.
    let incoming = async {
        let mut stream = client.create_stream(request).await?.into_inner();
        while let Some(packet) = stream.message().await? {
            port.receive(peer_address(), BytesMut::from(packet.data.as_ref()));
        }
        Err(CarrierError::Ended)
    };
    let sending = async {
        while let Some(data) = queue.recv().await {
            drop(sender.try_send(PeerPacket { data }));
        }
    };
    tokio::select! {
        end = incoming => end,
        () = sending => Ok(()),
    }
}
