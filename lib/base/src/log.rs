//! Our own programs log to standard error, one line an event; init appends it to the service's file.

use tracing_subscriber::EnvFilter;

/// Sets up logging for a program; `debug` is the machine configuration's `debug` switch.
///
/// A second call in the same process is without effect.
pub fn init(debug: bool) {
    let default = if debug { "debug,h2=info,hyper=info,tower=info" } else { "info" };
    let filter = EnvFilter::try_from_env("CORTEN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(true)
        .with_writer(std::io::stderr)
        .try_init();
}
