//! Sends a machine's kernel log to its manager: TCP, a JSON object in each line (fleet.md 1.9).
//!
//! When nothing happens, a line a minute says so; a flood is a fault.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::kernel_log::Line;
use crate::machine::Machine;

/// Between two bursts of a flood.
const BURST_INTERVAL: Duration = Duration::from_millis(100);
/// Bursts in a second.
const BURSTS: u32 = 10;
/// Bytes of a line of a flood, about.
const FLOOD_LINE: usize = 200;

/// Sends the log for as long as the boot lasts.
pub async fn run(machine: Arc<Machine>) {
    let mut places = machine.places();
    let mut next = 0;
    loop {
        let from = places.borrow_and_update().as_ref().map(|place| place.address());
        let route = from.zip(machine.log_destination()).filter(|_| machine.world().network.has_link());
        tokio::select! {
            () = deliver(&machine, route, &mut next) => {}
            _ = places.changed() => {}
        }
    }
}

/// Delivers lines; returns after a failure, when it was time to wait a little.
async fn deliver(machine: &Machine, route: Option<(Ipv6Addr, SocketAddrV6)>, next: &mut u64) {
    let retry = machine.world().options.timing.retry;
    if let Some((from, to)) = route
        && let Err(error) = send(machine, from, to, next).await
    {
        tracing::debug!(machine = machine.spec().number, error = %error, "the log is not sent");
    }
    sleep(retry).await;
}

async fn send(machine: &Machine, from: Ipv6Addr, to: SocketAddrV6, next: &mut u64) -> io::Result<()> {
    let mut stream = machine.world().network.connect(from, to).await?;
    let mut bursts = interval(BURST_INTERVAL);
    bursts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heartbeat = interval(machine.world().options.timing.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let flood = machine.faults().borrow().log_flood;
        tokio::select! {
            line = machine.log().next(next) => stream.write_all(line.to_json().as_bytes()).await?,
            _ = heartbeat.tick() => machine.note(format!("up for {} s", machine.uptime().as_secs())),
            _ = bursts.tick(), if flood > 0 => burst(machine, &mut stream, flood.div_ceil(BURSTS)).await?,
            // A flood that begins is seen at the next change of the faults.
            () = changed(machine), if flood == 0 => {}
        }
    }
}

async fn changed(machine: &Machine) {
    let mut faults = machine.faults();
    if faults.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Lines that say nothing, as fast as they are taken.
async fn burst(machine: &Machine, stream: &mut TcpStream, count: u32) -> io::Result<()> {
    let end = machine.log().end();
    for index in 0..count {
        let line = Line {
            number: end,
            at: machine.now(),
            since_boot: machine.uptime(),
            text: format!("flood {index}: {}", "x".repeat(FLOOD_LINE)),
        };
        stream.write_all(line.to_json().as_bytes()).await?;
    }
    Ok(())
}
