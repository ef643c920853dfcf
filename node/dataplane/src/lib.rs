//! Dataplane: what workloads touch every second, alive while the rest of the control software is not.
//!
//! ```text
//! machined ──files in /run/dataplane──▶ dataplane ──▶ KubePrism   127.0.0.1:7445
//!                                                 ──▶ host DNS    127.0.0.53:53, 169.254.116.108:53
//!                                                 ──▶ static pods 127.0.0.1:<status file>
//!                                                 ──▶ image cache 127.0.0.1:3172
//! machined ◀──status/*.json────────────  dataplane
//! ```
//! Invariants: it needs no other process to keep serving; it holds no secret and needs no privilege but binding
//! port 53; it reads only whole documents (see [`files`]); it rests when nobody asks (inotify, no polling).

pub mod dns;
pub mod files;
mod follow;
mod http;
mod kubeprism;
mod net;
pub mod registry;
mod static_pods;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Rng, paths};

/// Threads for file reads of the image cache.
const FILE_THREADS: usize = 2;

/// The program: serves until the process is told to end.
#[must_use]
pub fn run() -> ExitCode {
    corten_base::log::init(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .thread_keep_alive(Duration::from_secs(1))
        .build();
    let result = runtime.and_then(|runtime| runtime.block_on(serve(Path::new(paths::DATAPLANE))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = corten_base::chain(&error), "dataplane failed");
            ExitCode::FAILURE
        }
    }
}

/// Serves from the documents in `folder` until a signal to end arrives.
///
/// # Errors
/// When the folder cannot be watched or the static pods cannot be served.
pub async fn serve(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder.join(files::STATUS))?;
    let mut documents = follow::Folder::watch(folder)?;
    let dns = documents.follow();
    let kubeprism = documents.follow();
    let image_cache = documents.follow();
    let pods = documents.follow();
    let resolver = Arc::new(dns::Resolver::new(dns.clone(), Rng::kernel()));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    // All arms run for the life of the process; the first that ends, ends it, and init starts it again.
    tokio::select! {
        result = documents.run() => result,
        result = static_pods::serve(pods, folder) => result,
        () = dns::serve(dns, resolver.clone(), folder) => Ok(()),
        () = resolver.watch_upstreams() => Ok(()),
        () = kubeprism::serve(kubeprism, resolver.clone(), folder) => Ok(()),
        () = registry::serve(image_cache, folder) => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
