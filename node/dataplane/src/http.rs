//! A minimal HTTP/1.1 server for loopback clients.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Task, spawn};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Clients at one time; further ones wait to be accepted.
const CLIENTS_MAX: usize = 64;
/// A client gets this long to send its request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Body of a response.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves until the listener fails.
///
/// # Errors
/// When no further client can be accepted.
pub async fn serve<H, F>(socket: TcpListener, handler: H) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CLIENTS_MAX));
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (client, _) = socket.accept().await?;
        tasks.retain(|task| !task.is_finished());
        let handler = handler.clone();
        tasks.push(spawn("http", async move {
            let service = service_fn(move |request| {
                let response = handler(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .serve_connection(TokioIo::new(client), service)
                .await;
            drop(permit);
        }));
    }
}

/// A whole body.
#[must_use]
pub fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A JSON response.
#[must_use]
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(body(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
