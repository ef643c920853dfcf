//! A client that sees bytes, headers and trailers, nothing decoded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Task, spawn};
use corten_pki::{Authority, Identity as Certified};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::body::Body;

/// Long enough for any answer; passing means a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An open connection.
#[derive(Clone)]
pub struct Client {
    sender: SendRequest<Body>,
    address: SocketAddr,
    _driver: Arc<Task>,
}

/// What a call brought.
#[derive(Debug)]
pub struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub status: Status,
}

impl Client {
    /// Connects; with TLS 1.3 a refusal shows here or at the first call.
    pub async fn connect(
        address: SocketAddr,
        trusted: &Authority,
        own: Option<&Certified>,
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        Self::over(stream, address, trusted, own).await
    }

    /// The same on a connection that is there already.
    pub async fn over(
        stream: TcpStream,
        address: SocketAddr,
        trusted: &Authority,
        own: Option<&Certified>,
    ) -> Result<Self, String> {
        let tls = secured(stream, address, trusted, own).await?;
        // As in apid, the connection's window holds those of all streams: unread ones do not stop the others.
        let handshake = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(tls))
            .await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        let driver = spawn("client", async move {
            let _ = connection.await;
        });
        Ok(Self { sender, address, _driver: Arc::new(driver) })
    }

    /// Starts a call.
    pub async fn start(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        body: Body,
    ) -> Result<Response<Incoming>, String> {
        let raw: Vec<(&str, &[u8])> = metadata.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        self.start_raw(path, &raw, body).await
    }

    /// Starts a call whose metadata are bytes.
    pub async fn start_raw(
        &self,
        path: &str,
        metadata: &[(&str, &[u8])],
        body: Body,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::post(format!("https://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (key, value) in metadata {
            request = request.header(*key, *value);
        }
        let sent = self.sender.clone().send_request(request.body(body).expect("a request"));
        timeout(PATIENCE, sent).await.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())
    }

    /// A call with one message, to its end.
    pub async fn call(
        &self,
        path: &str,
        metadata: &[(&str, &str)],
        message: &[u8],
    ) -> Result<Answer, String> {
        let body = Body::new(Full::new(super::machined::framed(message)));
        let response = self.start(path, metadata, body).await?;
        finish(response).await
    }
}

/// TLS on a connection, with nothing said in it.
pub async fn secured(
    stream: TcpStream,
    address: SocketAddr,
    trusted: &Authority,
    own: Option<&Certified>,
) -> Result<TlsStream<TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.certificate().to_rustls()).expect("a CA");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let (chain, key) = own.to_rustls();
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::from(address.ip());
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| error.to_string())
}

/// Reads a response to its end.
pub async fn finish(response: Response<Incoming>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    let collected = timeout(PATIENCE, body.collect()).await.map_err(|_| "no end".to_owned())?;
    let collected = collected.map_err(|error| error.to_string())?;
    let trailers = collected.trailers().cloned().unwrap_or_else(|| parts.headers.clone());
    let status = Status::from_header_map(&trailers).ok_or("no status")?;
    Ok(Answer { headers: parts.headers, body: collected.to_bytes(), status })
}
