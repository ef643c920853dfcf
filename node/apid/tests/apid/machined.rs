//! A machined that answers a few methods with fixed bytes and obeys the role table.

use std::convert::Infallible;
use std::path::Path;

use bytes::Bytes;
use corten_api::roles::{METADATA_KEY, Roles};
use corten_api::rules;
use corten_base::{Task, spawn};
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tonic::Status;
use tonic::body::Body;

/// `HostnameResponse { messages: [{ hostname }] }` with a field 100 that no descriptor knows.
pub fn hostname_response(name: &str) -> Vec<u8> {
    let mut inner = vec![0x12, u8::try_from(name.len()).expect("short")];
    inner.extend(name.bytes());
    inner.extend([0xa2, 0x06, 0x01, b'?']);
    let mut message = vec![0x0a, u8::try_from(inner.len()).expect("short")];
    message.extend(inner);
    message
}

/// Serves on `socket` until dropped.
pub fn start(socket: &Path, name: &'static str) -> Task {
    let listener = UnixListener::bind(socket).expect("bind");
    spawn("machined", async move {
        let mut connections = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.expect("accept");
            connections.push(spawn("connection", async move {
                let service =
                    service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, request)) });
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }));
        }
    })
}

fn answer(name: &str, request: Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let roles: Vec<_> =
        headers.get_all(METADATA_KEY).iter().filter_map(|value| value.to_str().ok()).collect();
    let seen = roles.join(",");
    let from = headers.get("proxyfrom").cloned().unwrap_or(HeaderValue::from_static("-"));
    if !rules::allows(request.uri().path(), Roles::parse(roles), false) {
        return Status::permission_denied(rules::NOT_AUTHORIZED).into_http();
    }
    let mut response = match request.uri().path() {
        "/machine.MachineService/Hostname" => finite(vec![hostname_response(name)], &Status::ok("")),
        "/machine.MachineService/Dmesg" => finite(
            vec![b"\x12\x03one".to_vec(), b"\x12\x03two".to_vec()],
            &Status::not_found("the log is gone"),
        ),
        "/machine.MachineService/Events" => endless(),
        "/machine.DebugService/ContainerRun" | "/machine.MachineService/ApplyConfiguration" => Response::new(
            Body::new(request.into_body().with_trailers(async { Some(Ok(trailers(&Status::ok("")))) })),
        ),
        _ => return Status::unimplemented("not here").into_http(),
    };
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("seen-roles", HeaderValue::from_str(&seen).expect("roles"));
    headers.insert("seen-proxyfrom", from);
    response
}

fn finite(messages: Vec<Vec<u8>>, status: &Status) -> Response<Body> {
    let frames = messages.into_iter().map(|message| Frame::data(framed(&message)));
    let frames = frames.chain([Frame::trailers(trailers(status))]).map(Ok::<_, Infallible>);
    Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames))))
}

fn endless() -> Response<Body> {
    let frames = std::iter::repeat_with(|| Ok::<_, Infallible>(Frame::data(framed(&[0; 16 * 1024]))));
    Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames))))
}

/// A message with gRPC's prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).expect("length").to_be_bytes());
    frame.extend(message);
    frame.into()
}

fn trailers(status: &Status) -> http::HeaderMap {
    let mut map = http::HeaderMap::new();
    status.add_header(&mut map).expect("headers");
    map
}
