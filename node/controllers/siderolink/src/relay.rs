//! Datagrams inside gRPC, for networks in which UDP does not pass.
//!
//! ```text
//! engine ──datagram──▶ queue ──▶ stream of the manager's service ──datagram──▶ engine
//! ```
//! One message of the stream is one datagram. What waits while the stream is broken is lost, as on any line.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use corten_api::sidero::link::PeerPacket;
use corten_api::sidero::link::wire_guard_over_grpc_service_client::WireGuardOverGrpcServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;

use crate::api;
use crate::url::ApiAddress;

/// Datagrams that wait for the stream; more are dropped (fleet.md 1.5).
pub const QUEUE_MAX: usize = 100;
/// Pause before a broken stream is opened again (fleet.md 1.5).
const PAUSE: Duration = Duration::from_secs(5);
/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Metadata key by which the manager knows whose stream it is (fleet.md 1.5).
const IDENTITY: &str = "x-siderolink-ipv6-addr";

/// Carries datagrams until the task is dropped; `deliver` takes those of the manager.
pub async fn run(
    api: ApiAddress,
    virtual_address: SocketAddr,
    mut outgoing: mpsc::Receiver<Bytes>,
    deliver: impl Fn(Bytes) + Send + Sync,
) {
    let mut is_told = false;
    loop {
        match carry(&api, virtual_address, &mut outgoing, &deliver).await {
            Ok(()) => is_told = false,
            Err(error) if !is_told => {
                let host = &api.host;
                tracing::warn!(%host, error = %format_args!("{error:#}"), "WireGuard is not carried by gRPC");
                is_told = true;
            }
            Err(error) => tracing::debug!(error = %format_args!("{error:#}"), "it is not carried yet"),
        }
        tokio::time::sleep(PAUSE).await;
        while outgoing.try_recv().is_ok() {}
    }
}

/// Carries datagrams over one stream until it ends.
async fn carry(
    api: &ApiAddress,
    virtual_address: SocketAddr,
    outgoing: &mut mpsc::Receiver<Bytes>,
    deliver: &(impl Fn(Bytes) + Send + Sync),
) -> anyhow::Result<()> {
    let channel = tokio::time::timeout(CONNECT_TIMEOUT, api::connect(api)).await;
    let channel = channel.with_context(|| format!("no connection within {CONNECT_TIMEOUT:?}"))??;
    let mut client = WireGuardOverGrpcServiceClient::new(channel);
    let (sender, queue) = mpsc::channel(1);
    let mut request = tonic::Request::new(ReceiverStream::new(queue));
    let identity: AsciiMetadataValue =
        virtual_address.to_string().parse().context("the address of the tunnel is no text")?;
    request.metadata_mut().insert(IDENTITY, identity);
    // The service may answer only after the first datagram, so that both directions run from the start.
    let incoming = async {
        let mut stream = client.create_stream(request).await?.into_inner();
        while let Some(packet) = stream.message().await? {
            deliver(packet.data);
        }
        Ok::<(), anyhow::Error>(())
    };
    let sending = async {
        while let Some(data) = outgoing.recv().await {
            if sender.send(PeerPacket { data }).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        end = incoming => end,
        // The service takes nothing any more, or nobody sends: the datagram in hand is lost.
        () = sending => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;

    use corten_api::sidero::link::wire_guard_over_grpc_service_server::{
        WireGuardOverGrpcService, WireGuardOverGrpcServiceServer,
    };
    use parking_lot::Mutex;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tokio_stream::{Stream, StreamExt as _};
    use tonic::transport::Server;
    use tonic::{Request, Response, Status, Streaming};

    use super::*;
    use crate::address::HostPort;

    /// A service that sends every datagram back and notes who calls.
    #[derive(Clone, Default)]
    struct Echo(Arc<Mutex<Vec<String>>>);

    #[tonic::async_trait]
    impl WireGuardOverGrpcService for Echo {
        type CreateStreamStream = Pin<Box<dyn Stream<Item = Result<PeerPacket, Status>> + Send>>;

        async fn create_stream(
            &self,
            request: Request<Streaming<PeerPacket>>,
        ) -> Result<Response<Self::CreateStreamStream>, Status> {
            let caller = request.metadata().get(IDENTITY).and_then(|value| value.to_str().ok());
            self.0.lock().push(caller.unwrap_or_default().to_owned());
            // The stream ends after each datagram, so that the machine has to open it again.
            Ok(Response::new(Box::pin(request.into_inner().take(1))))
        }
    }

    #[tokio::test]
    async fn datagrams_come_back_under_the_machines_name_also_after_the_stream_broke() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = HostPort::parse(&listener.local_addr().expect("an address").to_string(), None);
        let echo = Echo::default();
        let serve = Server::builder()
            .add_service(WireGuardOverGrpcServiceServer::new(echo.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let _server = corten_base::spawn("manager", serve);
        let api = ApiAddress { host: host.expect("a host"), is_tls: false };
        let virtual_address = "[fdae::5]:50889".parse().expect("an address");
        let (delivered, mut received) = mpsc::unbounded_channel();
        let deliver = move |datagram: Bytes| drop(delivered.send(datagram));
        for text in ["one", "two"] {
            let (sender, mut outgoing) = mpsc::channel(QUEUE_MAX);
            sender.try_send(Bytes::from_static(text.as_bytes())).expect("room");
            // Whether a stream that is ended early is an error is the library's business.
            let _ = carry(&api, virtual_address, &mut outgoing, &deliver).await;
            assert_eq!(received.recv().await.as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(*echo.0.lock(), ["[fdae::5]:50889", "[fdae::5]:50889"]);
    }
}
