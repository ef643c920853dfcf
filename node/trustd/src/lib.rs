//! trustd: signs serving certificates for machines that do not hold the CA's key.
//!
//! ```text
//! worker ──TLS :50001, token──▶ trustd (control planes)          OSRootSecrets, TrustdCertificates ◀── machined
//!        ◀── certificate, CAs ──┘
//! ```
//!
//! Invariants: nothing is signed without the machine token; organizations (roles) of a request are dropped; what is
//! signed serves and never authenticates a client.

mod listener;
mod service;
mod source;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use corten_base::{Clock, Rng, Secret, paths};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Everything trustd needs to know about its machine and cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Serving certificate, PEM.
    pub certificates: Vec<u8>,
    /// Its key, PEM.
    pub key: Secret<Vec<u8>>,
    /// CA that signs, PEM.
    pub issuing_certificate: Vec<u8>,
    /// Its key, PEM.
    pub issuing_key: Secret<Vec<u8>>,
    /// CAs that are handed out besides the issuing one, PEM.
    pub accepted_cas: Vec<Vec<u8>>,
    /// The machine token.
    pub token: Secret<String>,
}

/// The current identity; `None` until machined has told one.
pub type Feed = watch::Receiver<Option<Arc<Identity>>>;

/// What differs between a machine and a test.
pub struct Options {
    /// Address to listen on; the unspecified IPv6 address means all of both families.
    pub listen: SocketAddr,
    /// Dates certificates.
    pub clock: Clock,
    /// Serial numbers.
    pub rng: Rng,
    /// Told the address that is listened on.
    pub bound: Box<dyn Fn(SocketAddr) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        let listen = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, corten_client::TRUSTD_PORT));
        Self { listen, clock: Clock::system(), rng: Rng::kernel(), bound: Box::new(|_| ()) }
    }
}

/// Serves with the identity that `feed` gives; ends when the feed's other side is dropped.
pub async fn run(options: Options, feed: Feed) {
    let signer = service::Signer::new(feed.clone(), options.clock.clone(), options.rng.clone());
    listener::serve(&options, feed, signer).await;
}

/// The program `trustd`: follows its identity from machined and serves until it is told to stop.
#[must_use]
pub fn main() -> ExitCode {
    corten_base::log::init(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = corten_base::chain(&error), "cannot start");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let (feed, _source) = source::start(Path::new(paths::TRUSTD_SOCKET));
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
