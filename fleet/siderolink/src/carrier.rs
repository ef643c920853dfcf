//! `sidero.link.WireGuardOverGRPCService`: datagrams of machines that cannot send UDP.
//!
//! ```text
//! metadata x-siderolink-ipv6-addr ─▶ Tunnel::attach ─▶ Carrier
//! stream of the machine ──datagram──▶ Tunnel::receive
//!                       ◀─datagram──  Carrier::outgoing
//! ```
//!
//! A stream is read while it is written to, by whoever asks it for the next datagram: nothing runs beside the
//! connection, and all of it ends with the connection. A newer stream with the same address ends an older one.

use std::net::SocketAddrV6;
use std::pin::Pin;

use bytes::Bytes;
use corten_api::sidero::link::PeerPacket;
use corten_api::sidero::link::wire_guard_over_grpc_service_server::{
    WireGuardOverGrpcService, WireGuardOverGrpcServiceServer,
};
use corten_base::chain;
use corten_fleet_tunnel::{Carrier, Tunnel};
use futures::stream::{self, Stream};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

/// Metadata key of the address and port that stand for the machine (fleet.md 1.5).
const ADDRESS_KEY: &str = "x-siderolink-ipv6-addr";
/// Longest datagram that is taken, in bytes; longer ones are lost, as where a line's packets are shorter.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Largest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Carriers(Tunnel);

impl Carriers {
    /// A service over a tunnel.
    pub const fn new(tunnel: Tunnel) -> Self {
        Self(tunnel)
    }

    /// The service for a router.
    pub fn into_service(self) -> WireGuardOverGrpcServiceServer<Self> {
        WireGuardOverGrpcServiceServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl WireGuardOverGrpcService for Carriers {
    type CreateStreamStream = Pin<Box<dyn Stream<Item = Result<PeerPacket, Status>> + Send>>;

    async fn create_stream(
        &self,
        request: Request<Streaming<PeerPacket>>,
    ) -> Result<Response<Self::CreateStreamStream>, Status> {
        let from = virtual_address(request.metadata())?;
        let carrier = self.0.attach(*from.ip()).map_err(|error| Status::permission_denied(chain(&error)))?;
        let relay = Relay { tunnel: self.0.clone(), carrier, from, incoming: request.into_inner() };
        Ok(Response::new(Box::pin(datagrams(relay))))
    }
}

/// Both directions of one stream.
struct Relay {
    tunnel: Tunnel,
    carrier: Carrier,
    from: SocketAddrV6,
    incoming: Streaming<PeerPacket>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tunnel.detach(&self.carrier);
    }
}

impl Relay {
    /// Takes in what the machine sends until there is something for it; `None` when it has ended the stream.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            tokio::select! {
                // Either may be dropped at any time: what was not taken out stays queued.
                outgoing = self.carrier.outgoing.recv() => {
                    return Some(outgoing.ok_or_else(|| Status::aborted("a newer stream has taken over")));
                }
                incoming = self.incoming.message() => match incoming {
                    Ok(Some(packet)) if packet.data.len() <= DATAGRAM_BYTES_MAX => {
                        self.tunnel.receive(&self.carrier, self.from, &packet.data);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(status) => return Some(Err(status)),
                },
            }
        }
    }
}

/// What goes to the machine; it ends with the first error.
fn datagrams(relay: Relay) -> impl Stream<Item = Result<PeerPacket, Status>> + Send {
    stream::unfold(Some(relay), |relay| async move {
        let mut relay = relay?;
        match relay.next().await? {
            Ok(data) => Some((Ok(PeerPacket { data }), Some(relay))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

/// What stands for the machine, as the manager told it.
fn virtual_address(metadata: &MetadataMap) -> Result<SocketAddrV6, Status> {
    let text = metadata.get(ADDRESS_KEY).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Status::invalid_argument(format!(
            "metadata {ADDRESS_KEY} is not the IPv6 address with its port that Provision answered"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_as_provision_writes_it() {
        let mut metadata = MetadataMap::new();
        assert_eq!(virtual_address(&metadata).unwrap_err().code(), tonic::Code::InvalidArgument);
        metadata.insert(ADDRESS_KEY, "[fdae:41e4:649b:9304::9]:50889".parse().unwrap());
        let address = virtual_address(&metadata).unwrap();
        assert_eq!((address.ip().to_string().as_str(), address.port()), ("fdae:41e4:649b:9304::9", 50_889));
        for wrong in ["", "fdae::9", "10.0.0.1:1", "x"] {
            metadata.insert(ADDRESS_KEY, wrong.parse().unwrap());
            assert!(virtual_address(&metadata).is_err(), "{wrong}");
        }
    }
}
