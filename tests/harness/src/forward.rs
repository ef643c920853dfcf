//! Ports on the host's loopback that lead into a lab.
//!
//! A forwarder is a process: it listens on the host, then moves into the lab's network and connects from there.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use corten_sys::namespace::{NamedNetwork, enter_network};
use serde::{Deserialize, Serialize};

use crate::wait::wait_for;

const CONNECTIONS_MAX: usize = 256;
const CONNECT_MAX: Duration = Duration::from_secs(5);
const LAB_MAX: Duration = Duration::from_secs(10);

/// One forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Port on 127.0.0.1 of the host.
    pub host_port: u16,
    /// Port of the machine.
    pub machine_port: u16,
}

/// Starts a forwarder; it ends when the returned child's standard input is closed.
pub(crate) fn start(lab: &str, address: Ipv4Addr, forwards: &[Forward]) -> Result<Option<Child>> {
    if forwards.is_empty() {
        return Ok(None);
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args([crate::ROLE_ARGUMENT, "forward", lab, &address.to_string()]);
    command.args(forwards.iter().map(|forward| format!("{}:{}", forward.host_port, forward.machine_port)));
    let child = command.stdin(Stdio::piped()).spawn().context("cannot start the port forwarder")?;
    Ok(Some(child))
}

/// The forwarder: lab, address, `HOST:MACHINE` port pairs.
pub(crate) fn forward_main(arguments: &[OsString]) -> Result<()> {
    let texts: Vec<String> = arguments.iter().map(|text| text.to_string_lossy().into_owned()).collect();
    let [lab, address, pairs @ ..] = texts.as_slice() else {
        anyhow::bail!("usage: LAB ADDRESS HOST:MACHINE…")
    };
    let address: Ipv4Addr = address.parse().context("the address is not IPv4")?;
    let mut listeners = Vec::new();
    for pair in pairs {
        let (host, machine) = pair.split_once(':').context("a pair of ports has a colon")?;
        let (host, machine): (u16, u16) = (host.parse()?, machine.parse()?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, host))
            .with_context(|| format!("port {host} of 127.0.0.1 is not free"))?;
        listeners.push((listener, SocketAddrV4::new(address, machine)));
    }
    // The launcher, which started us in the host's network, makes the lab right after.
    let network = wait_for("the lab", LAB_MAX, String::new, || NamedNetwork::open(lab).ok())?;
    enter_network(network)?;
    let count = Arc::new(AtomicUsize::new(0));
    for (listener, target) in listeners {
        let count = count.clone();
        std::thread::spawn(move || serve(&listener, target.into(), &count));
    }
    // Until whoever started us is gone.
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot wait for the launcher")?;
    Ok(())
}

fn serve(listener: &TcpListener, target: SocketAddr, count: &Arc<AtomicUsize>) {
    for incoming in listener.incoming().flatten() {
        if count.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            count.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let count = count.clone();
        std::thread::spawn(move || {
            if let Ok(outgoing) = TcpStream::connect_timeout(&target, CONNECT_MAX) {
                relay(&incoming, &outgoing);
            }
            count.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Copies both ways until both ends have finished.
fn relay(a: &TcpStream, b: &TcpStream) {
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        // A broken connection ends the copy; its other end learns of it by the shutdown.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.flush();
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(a, b));
        copy(b, a);
    });
}
