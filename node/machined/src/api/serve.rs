//! machined's sockets: the whole API, and the resources that apid and trustd may see.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use corten_api::MESSAGE_BYTES_MAX;
use corten_api::cluster::cluster_service_server::ClusterServiceServer;
use corten_api::inspect::inspect_service_server::InspectServiceServer;
use corten_api::machine::{
    debug_service_server::DebugServiceServer, image_service_server::ImageServiceServer,
    lifecycle_service_server::LifecycleServiceServer, lvm_service_server::LvmServiceServer,
    machine_service_server::MachineServiceServer, md_service_server::MdServiceServer,
    storage_service_server::StorageServiceServer as MachineStorageServer,
};
use corten_api::roles::Roles;
use corten_api::storage::storage_service_server::StorageServiceServer;
use corten_api::time::time_service_server::TimeServiceServer;
use corten_base::paths;
use corten_cosi::{Policy, Restricted};
use corten_relay::{CONNECTION_WINDOW, HEADERS_BYTES_MAX, Room, STREAM_WINDOW, STREAMS_MAX};
use corten_resource::{Registry, State, Store};
use corten_resources::network::{HostnameStatus, NodeAddress};
use corten_resources::runtime::ApiServiceConfig;
use corten_resources::secrets::{ApiCertificate, OsRoot, TrustdCertificate};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::health::Cluster;
use super::images::Images;
use super::inspect::Inspect;
use super::lifecycle::Lifecycle;
use super::local::{Authorize, Caller};
use super::machine::Machine;
use super::storage::Storage;
use super::storage_pools::Pools;
use super::time::Clock;
use super::{Mode, Parts};

/// What requests that are larger than usual may take together: several of the largest.
const REQUESTS_BYTES_MAX: usize = 3 * MESSAGE_BYTES_MAX;
/// What answers that are larger than usual may take together.
const ANSWERS_BYTES_MAX: usize = 3 * MESSAGE_BYTES_MAX;

/// Calls that end before this machine has looked at them. Many clients share apid's connections: one that gives up its
/// calls at once must not end those of others.
const RESETS_MAX: usize = 1024;

/// Serves the machine API on its socket for ever.
///
/// # Errors
/// When the socket cannot be made.
pub async fn machine(parts: Parts) -> anyhow::Result<()> {
    let listener = listen(paths::MACHINED_SOCKET, paths::APID_UID)?;
    on(listener, &parts, paths::APID_UID).await
}

/// Serves the machine API on a socket for ever; `apid` is the user who passes on the calls of others.
///
/// # Errors
/// When the socket breaks.
pub async fn on(listener: UnixListener, parts: &Parts, apid: u32) -> anyhow::Result<()> {
    let mode = Mode::new(parts.state.clone());
    let (requests, answers) = (Room::new(REQUESTS_BYTES_MAX), Room::new(ANSWERS_BYTES_MAX));
    server()
        .layer(Authorize { mode, apid, requests, answers })
        .add_routes(services(parts))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .context("the machine API ended")
}

/// A server of the machine's own programs, which are trusted with connections and bounded in calls.
fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
}

/// A service that takes and gives messages as large as apid passes on.
macro_rules! bounded {
    ($service:expr) => {
        $service.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
}

/// Every service of the machine API.
fn services(parts: &Parts) -> Routes {
    let store: Arc<dyn Store> = Arc::new(parts.state.store().clone());
    let policy = Arc::new(Policy::new(parts.state.registry()));
    let registry = parts.state.registry().clone();
    let cosi = corten_cosi::service(registry, move |extensions| {
        let roles = extensions.get::<Caller>().map_or(Roles::NONE, |caller| caller.0);
        Arc::new(Restricted::new(store.clone(), policy.clone(), roles))
    });
    let (storage, pools) = (Storage(parts.clone()), Pools(parts.clone()));
    let mut routes = Routes::builder();
    routes
        .add_service(cosi)
        .add_service(bounded!(MachineServiceServer::new(Machine(parts.clone()))))
        .add_service(bounded!(ImageServiceServer::new(Images(parts.services.clone()))))
        .add_service(bounded!(LifecycleServiceServer::new(Lifecycle(parts.clone()))))
        .add_service(bounded!(DebugServiceServer::new(parts.debug.clone())))
        .add_service(bounded!(LvmServiceServer::new(pools.clone())))
        .add_service(bounded!(MdServiceServer::new(pools)))
        .add_service(bounded!(MachineStorageServer::new(storage.clone())))
        .add_service(bounded!(StorageServiceServer::new(storage)))
        .add_service(bounded!(TimeServiceServer::new(Clock(parts.clone()))))
        .add_service(bounded!(InspectServiceServer::new(Inspect(parts.clone()))))
        .add_service(bounded!(ClusterServiceServer::new(Cluster(parts.clone()))));
    routes.routes()
}

/// Serves apid the resources it may see.
///
/// # Errors
/// When the socket cannot be made.
pub async fn apid(state: State) -> anyhow::Result<()> {
    let mut visible = Registry::new();
    visible.register::<ApiServiceConfig>().register::<ApiCertificate>();
    visible.register::<NodeAddress>().register::<HostnameStatus>();
    resources(state, visible, paths::APID_SOCKET, paths::APID_UID).await
}

/// Serves trustd the resources it may see.
///
/// # Errors
/// When the socket cannot be made.
pub async fn trustd(state: State) -> anyhow::Result<()> {
    let mut visible = Registry::new();
    visible.register::<OsRoot>().register::<TrustdCertificate>();
    resources(state, visible, paths::TRUSTD_SOCKET, paths::TRUSTD_UID).await
}

/// The socket's owner reads exactly the types of `visible`, secrets included.
async fn resources(state: State, mut visible: Registry, socket: &str, uid: u32) -> anyhow::Result<()> {
    let namespaces: Vec<&str> = visible.types().map(|kind| kind.definition.namespace).collect();
    for namespace in namespaces {
        visible.namespace(namespace, "");
    }
    let policy = Arc::new(Policy::new(&visible));
    let store: Arc<dyn Store> = Arc::new(state.store().clone());
    let service = corten_cosi::service(visible, move |_| {
        Arc::new(Restricted::new(store.clone(), policy.clone(), Roles::ADMIN))
    });
    let listener = listen(socket, uid)?;
    server()
        .add_service(service)
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .with_context(|| format!("{socket} ended"))
}

/// A socket that root and one user may connect to. A stale one of a machined before us is replaced.
fn listen(path: &str, uid: u32) -> anyhow::Result<UnixListener> {
    let make = || {
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        chown(path, Some(uid), Some(uid))?;
        Ok(listener)
    };
    make().with_context(|| format!("cannot listen on {path}"))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes, BytesMut};
    use corten_api::rules::RULES;
    use http::Request;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;
    use tonic::body::Body;
    use tonic::{Code, Status};
    use tower_service::Service;

    use super::*;

    /// A message of this size that no type has.
    fn nonsense(bytes: usize) -> Bytes {
        let mut frame = BytesMut::with_capacity(bytes + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(bytes).expect("a small message"));
        frame.put_bytes(0xff, bytes);
        frame.freeze()
    }

    /// A frame of HTTP/2.
    fn http2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[tokio::test]
    async fn many_calls_that_are_given_up_at_once_do_not_end_the_connection() {
        const CANCEL: [u8; 4] = [0, 0, 0, 8];
        // POST, http, `/`, from the table that HPACK begins with.
        const HEAD: [u8; 3] = [0x83, 0x86, 0x84];
        let (headers, reset, settings, ping, goodbye) = (1, 3, 4, 6, 7);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let parts = Parts::for_tests();
        let _serving = corten_base::spawn("serving", async move { on(listener, &parts, 0).await });
        let mut stream = UnixStream::connect(&path).await.expect("connected");
        let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &http2(settings, 0, 0, &[])].concat();
        for call in 0..200 {
            bytes.extend(http2(headers, 4, 2 * call + 1, &HEAD));
            bytes.extend(http2(reset, 0, 2 * call + 1, &CANCEL));
        }
        bytes.extend(http2(ping, 0, 0, &[7; 8]));
        stream.write_all(&bytes).await.expect("written");
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("the connection goes on");
            let mut payload = vec![0; (usize::from(head[1]) << 8) | usize::from(head[2])];
            stream.read_exact(&mut payload).await.expect("a frame");
            assert_ne!(head[3], goodbye, "{}", String::from_utf8_lossy(&payload));
            if head[3] == ping {
                break;
            }
        }
    }

    #[tokio::test]
    async fn every_method_is_served_and_takes_large_messages() {
        let mut routes = services(&Parts::for_tests()).prepare();
        let body = nonsense(5 << 20);
        for rule in RULES {
            let request = Request::post(rule.method)
                .header("content-type", "application/grpc")
                .body(Body::new(Full::new(body.clone())))
                .expect("a request");
            let response = routes.call(request).await.expect("an answer");
            // A stream of requests is refused when it is read, in the trailers of the response.
            let Some(status) = Status::from_header_map(response.headers()) else { continue };
            let is_served = status.code() != Code::Unimplemented || !status.message().is_empty();
            assert!(is_served, "{} is not served", rule.method);
            assert_ne!(status.code(), Code::OutOfRange, "{}: {}", rule.method, status.message());
        }
    }
}
