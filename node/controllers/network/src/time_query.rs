//! Asks named time servers: the resolver's part and the choice among addresses.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, bail};
use corten_base::{Clock, Rng};
use corten_dataplane::dns::Resolver;
use corten_dataplane::files::Dns;
use tokio::sync::watch;

use crate::sntp::{TimeReply, query};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Port of name servers.
const DNS_PORT: u16 = 53;

/// Asks `server` (a name or an address) for the time, looking its name up at `name_servers`.
///
/// This is what the API's `TimeCheck` does; the clock is not set.
///
/// # Errors
/// When the name has no address or none of its addresses gives a usable answer.
pub async fn check(
    server: &str,
    name_servers: &[IpAddr],
    clock: &Clock,
    rng: &Rng,
) -> anyhow::Result<TimeReply> {
    let upstreams: Vec<SocketAddr> = name_servers.iter().map(|ip| (*ip, DNS_PORT).into()).collect();
    let (_wanted, dns) = watch::channel(Dns { upstreams, ..Dns::default() });
    let addresses = Resolver::new(dns, rng.clone()).addresses(server).await;
    if addresses.is_empty() {
        bail!("time server {server:?} has no address");
    }
    let mut last = None;
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        match query(address, clock, rng).await {
            Ok(reply) => return Ok(reply),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::NotFound.into()))
        .with_context(|| format!("time server {server:?} gave no usable answer"))
}
