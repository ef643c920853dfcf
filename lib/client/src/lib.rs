//! Clients of the machine API: who to talk to, how to reach them, and the services behind one connection.
//!
//! ```text
//! talosconfig ──context──▶ Credentials + endpoints ──Endpoints::connect──▶ Client ──node("…")──▶ Client for another machine
//! ```
//!
//! Used by the command line, by tests and by the machine's own programs (over unix sockets). Nothing here prints.

mod client;
mod dial;
mod dns;
mod follow;
pub mod resolve;
pub mod talosconfig;
mod tls;
mod trust;

pub use client::{Client, Service};
pub use dial::{DialError, Endpoints};
pub use follow::{Followed, follow};
pub use talosconfig::{Context, Locations, TalosConfig};
pub use tls::{Credentials, Server, TlsError};
pub use trust::{Signed, TOKEN_KEY, TRUSTD_PORT, Trust, TrustError};
