//! apid: the machine API's door to the network.
//!
//! ```text
//! client ──mTLS :50000──▶ apid ──unix socket──▶ machined          (roles go along as metadata)
//!                          └──mTLS :50000──▶ apid of another machine ──▶ its machined
//! ```
//!
//! apid authenticates, adds the caller's roles and routes; it authorizes nothing and understands no message. Bytes pass
//! through unchanged, and the answers of several machines are put into one envelope (`lib/relay`).
//!
//! Invariants:
//! 1. Roles come from the client certificate; metadata of a client that is not another apid never adds any.
//! 2. A slow or silent peer costs a bounded amount of memory and never delays another one.
//! 3. Certificates, CAs, mode and names of the machine are followed live.

mod bounds;
mod caller;
mod dial;
mod identity;
mod listener;
mod proxy;
mod remotes;
mod route;
mod source;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use corten_base::{Clock, paths};
use tokio::signal::unix::{SignalKind, signal};

pub use identity::{Access, Feed, Identity, KeyPair, LocalNames};

/// Port of the machine API.
pub const PORT: u16 = 50000;

/// What differs between a machine and a test.
pub struct Options {
    /// machined's socket.
    pub machined: PathBuf,
    /// Port of apid on other machines.
    pub port: u16,
    /// Judges certificates.
    pub clock: Clock,
    /// Told about each address that is listened on.
    pub bound: Box<dyn Fn(SocketAddr) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            machined: paths::MACHINED_SOCKET.into(),
            port: PORT,
            clock: Clock::system(),
            bound: Box::new(|_| ()),
        }
    }
}

/// Serves the API with the identity that `feed` gives; ends when the feed's other side is dropped.
pub async fn run(options: Options, feed: Feed) {
    let proxy = Arc::new(proxy::Proxy::new(feed.clone(), options.machined, options.port));
    listener::serve(feed, proxy, options.clock, options.bound).await;
}

/// The program `apid`: follows its identity from machined and serves until it is told to stop.
#[must_use]
pub fn main() -> ExitCode {
    corten_base::log::init(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = corten_base::chain(&error), "cannot start");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let (feed, _source) = source::start(Path::new(paths::APID_SOCKET));
        let mut stop = match signal(SignalKind::terminate()) {
            Ok(stop) => stop,
            Err(error) => {
                tracing::error!(error = corten_base::chain(&error), "cannot listen for signals");
                return ExitCode::FAILURE;
            }
        };
        tokio::select! {
            () = run(Options::default(), feed) => ExitCode::FAILURE,
            _ = stop.recv() => ExitCode::SUCCESS,
        }
    })
}
