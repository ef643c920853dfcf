//! `corten-bench`: parts of a machine's programs alone, to be measured beside others.
//!
//! ```text
//! corten-bench state SOCKET                       resources over gRPC
//! corten-bench apid FOLDER SOCKET ADDRESS PORT    apid, with the certificates in FOLDER, in front of SOCKET
//! ```
//!
//! Each runs as the machine's programs do: one thread, a small pool for what blocks, memory that is given back.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use corten_apid::{Identity, KeyPair, LocalNames};
use corten_base::Secret;
use corten_resource::{Registry, Resource, State, Store};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// What each resource holds: a little of everything, as resources of a machine have it.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BenchItems.bench.corten.dev", namespace = "bench")]
pub struct BenchItem {
    /// The id once more.
    #[field(1, "name")]
    pub name: String,
    /// Its number.
    #[field(2, "number")]
    pub number: u64,
    /// Always.
    #[field(3, "ready")]
    pub ready: bool,
    /// Two of them.
    #[field(4, "addresses")]
    pub addresses: Vec<String>,
    /// What changes.
    #[field(5, "note")]
    pub note: String,
}

fn main() -> ExitCode {
    corten_sys::memory::stay_small();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["state", socket] => alone(state(socket)),
        ["apid", folder, socket, address, port] => alone(apid(folder, socket, address, port)),
        _ => Err(anyhow::anyhow!("usage: corten-bench state SOCKET | apid FOLDER SOCKET ADDRESS PORT")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the program's log is its standard error")]
fn tell_error(error: &anyhow::Error) {
    eprintln!("{error:#}");
}

/// Says that calls may come.
#[expect(clippy::print_stdout, reason = "the benchmark waits for this line")]
fn ready() {
    println!("ready");
}

fn alone(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(2).build().context("cannot start")?.block_on(work)
}

async fn state(socket: &str) -> Result<()> {
    let mut registry = Registry::new();
    registry.register::<BenchItem>().namespace("bench", "what is measured");
    let state = State::new(registry.clone());
    let store: Arc<dyn Store> = Arc::new(state.store().clone());
    let service = corten_cosi::service(registry, move |_| Arc::clone(&store));
    let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {socket}"))?;
    ready();
    let server = Server::builder().add_service(service);
    server.serve_with_incoming(UnixListenerStream::new(listener)).await.context("the server has ended")
}

async fn apid(folder: &str, socket: &str, address: &str, port: &str) -> Result<()> {
    let address: SocketAddr = address.parse().context("no address")?;
    let file = |name: &str| {
        let path = Path::new(folder).join(name);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let pair = |name: &str| -> Result<KeyPair> {
        let key = Secret::new(file(&format!("{name}-key.pem"))?);
        Ok(KeyPair { certificates: file(&format!("{name}.pem"))?, key })
    };
    let identity = Identity {
        listen: address.to_string(),
        routing: true,
        verify_clients: true,
        server: pair("server")?,
        client: Some(pair("client")?),
        accepted_cas: file("ca.pem")?,
        local: LocalNames { addresses: [address.ip()].into(), ..LocalNames::default() },
        ..Identity::default()
    };
    let (_feed, follow) = watch::channel(Some(Arc::new(identity)));
    let options = corten_apid::Options {
        machined: socket.into(),
        port: port.parse().context("no port")?,
        bound: Box::new(|_| ready()),
        ..corten_apid::Options::default()
    };
    corten_apid::run(options, follow).await;
    bail!("apid has ended")
}
