//! Connections to the Kubernetes API.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use super::objects;
use super::request::{Asked, read};
use crate::cluster::Cluster;

/// What a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a watch lasts; clients begin another one.
const WATCH: Duration = Duration::from_secs(300);
/// Largest request, bytes.
const REQUEST_MAX: usize = 1 << 20;
/// Events in flight per watch.
const IN_FLIGHT_MAX: usize = 16;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves one connection.
///
/// # Errors
/// When the handshake fails or the connection breaks.
pub async fn connection(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    cluster: Arc<Cluster>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await??;
    let service = service_fn(move |request: Request<Incoming>| {
        let cluster = Arc::clone(&cluster);
        async move { Ok::<_, Infallible>(answer(cluster, request).await) }
    });
    let served = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
    served.map_err(io::Error::other)
}

async fn answer(cluster: Arc<Cluster>, request: Request<Incoming>) -> Response<Body> {
    if !cluster.is_available() {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "etcdserver: no leader");
    }
    let asked = read(request.method(), request.uri());
    match asked {
        Asked::Ready => respond(StatusCode::OK, "text/plain", Bytes::from_static(b"ok")),
        Asked::Version => {
            let image = cluster.read(|members| {
                let mut images = members.nodes.iter().map(|(_, _, node)| &node.images.api_server);
                images.find(|image| !image.is_empty()).cloned()
            });
            object(StatusCode::OK, &objects::version(&image.unwrap_or_default()))
        }
        Asked::Groups => object(StatusCode::OK, &json!({ "kind": "APIVersions", "versions": ["v1"] })),
        Asked::Resources => object(StatusCode::OK, &resources()),
        Asked::Nodes => object(StatusCode::OK, &cluster.read(|members| objects::node_list(&members.nodes))),
        Asked::Node(name) => node(&cluster, &name),
        Asked::PatchNode(name) => patch(&cluster, &name, request.into_body()).await,
        Asked::DeleteNode(name) => {
            if cluster.change(|members| members.nodes.remove(&name)) {
                object(StatusCode::OK, &objects::status(200, "", "deleted"))
            } else {
                unknown(&name)
            }
        }
        Asked::Pods { namespace, node } => {
            let is_system = namespace.is_none_or(|namespace| namespace == objects::SYSTEM);
            let pods = cluster.read(|members| {
                let items =
                    if is_system { objects::pods(&members.nodes, node.as_deref()) } else { Vec::new() };
                objects::list("PodList", members.nodes.revision(), items)
            });
            object(StatusCode::OK, &pods)
        }
        Asked::WatchNodes(from) => watch(cluster, from),
        Asked::WatchPods => stream(|sender| async move { sender.closed().await }),
        Asked::Else => refusal(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the emulated Kubernetes API has nodes and static pods, and nothing else",
        ),
    }
}

fn resources() -> Value {
    let resource = |name: &str, singular: &str, kind: &str, namespaced: bool| {
        json!({
            "name": name,
            "singularName": singular,
            "namespaced": namespaced,
            "kind": kind,
            "verbs": ["get", "list", "watch"],
        })
    };
    json!({
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [resource("nodes", "node", "Node", false), resource("pods", "pod", "Pod", true)],
    })
}

fn node(cluster: &Cluster, name: &str) -> Response<Body> {
    let found = cluster
        .read(|members| members.nodes.get(name).map(|(revision, node)| objects::node(name, revision, node)));
    found.map_or_else(|| unknown(name), |node| object(StatusCode::OK, &node))
}

async fn patch(cluster: &Cluster, name: &str, body: Incoming) -> Response<Body> {
    let body = match Limited::new(body, REQUEST_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refusal(StatusCode::BAD_REQUEST, "BadRequest", &error.to_string()),
    };
    match serde_json::from_slice::<Value>(&body) {
        Ok(changes @ Value::Object(_)) => {
            cluster.change(|members| members.nodes.edit(name, |node| objects::patch(node, &changes)));
            node(cluster, name)
        }
        _ => refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            "only merge patches are emulated, as JSON",
        ),
    }
}

/// Changes of nodes, from a revision on or all that come.
fn watch(cluster: Arc<Cluster>, from: Option<u64>) -> Response<Body> {
    let mut position = from.unwrap_or_else(|| cluster.read(|members| members.nodes.revision()));
    stream(move |sender| async move {
        let mut changes = cluster.changes();
        loop {
            changes.borrow_and_update();
            let Some(events) = cluster.read(|members| members.nodes.since(position)) else {
                let _ = sender.send(objects::expired()).await;
                return;
            };
            for event in events {
                position = event.revision;
                if sender.send(objects::event(&event)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    })
}

/// An answer that a task writes line by line, until it has lasted long enough or nobody reads it.
fn stream<F, Fut>(write: F) -> Response<Body>
where
    F: FnOnce(mpsc::Sender<String>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel::<String>(IN_FLIGHT_MAX);
    let work = write(sender);
    let task = corten_base::spawn("watch", async move {
        // The end of its time is the end of the watch, which is no failure.
        let _ = timeout(WATCH, work).await;
    });
    let lines = futures::StreamExt::map(ReceiverStream::new(receiver), move |line| {
        // The task ends with the stream.
        let _ = &task;
        Ok::<_, Infallible>(Frame::data(Bytes::from(line)))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn respond(status: StatusCode, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

fn object(status: StatusCode, value: &Value) -> Response<Body> {
    respond(status, "application/json", Bytes::from(value.to_string()))
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    object(code, &objects::status(code.as_u16(), reason, message))
}

fn unknown(name: &str) -> Response<Body> {
    refusal(StatusCode::NOT_FOUND, "NotFound", &format!("nodes {name:?} not found"))
}
