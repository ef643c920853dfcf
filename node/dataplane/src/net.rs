//! Listening sockets of dataplane.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Binds before the address is on a link: the resolver's address comes and goes with the configuration.
fn bound(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// A listening TCP socket, not blocking.
///
/// # Errors
/// When the address is taken or may not be used.
pub fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, SocketType::STREAM)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// A bound UDP socket, not blocking.
///
/// # Errors
/// When the address is taken or may not be used.
pub fn listen_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    Ok(bound(address, SocketType::DGRAM)?.into())
}
