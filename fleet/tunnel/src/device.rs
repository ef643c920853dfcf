//! The kernel's TCP for the tunnel, without privilege: a child in a user and network namespace of its own.
//!
//! ```text
//! manager ──start──▶ child: user and network namespace, TUN link with the tunnel's address
//!         ◀─descriptor of the link──
//!         ──"address A"─▶                                the link has one address more
//!         ──"socket", "socket A", "listen PORT", "listen [A]:PORT"─▶
//!         ◀─descriptor of a socket that lives in the namespace──
//! ```
//!
//! The child holds the namespace and ends with the manager. It sees no packet and no data. The manager has one address;
//! a program that stands for many machines gives the link one for each of them.

use std::fs::File;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use corten_base::blocking;
use corten_supervisor::Connection;
use corten_sys::namespace::{Namespaces, unshare};
use corten_sys::network::Links;
use corten_sys::tun;
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Name of the command that makes the manager's program the child.
pub const CHILD: &str = "tunnel-device";
/// Name of the link in the namespace.
const LINK: &str = "siderolink";
/// Largest packet in the tunnel, bytes (the machines' end has the same).
const MTU: u32 = 1280;
/// Prefix of the tunnel's network.
const PREFIX_LENGTH: u8 = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// What the child takes for an answer at most.
const DEADLINE: Duration = Duration::from_secs(10);
/// Says of an answer that what was asked for comes with it.
const DONE: u8 = 0;

/// The namespace cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The child does not start.
    #[error("cannot start the child that holds the tunnel's namespace")]
    Start(#[source] io::Error),
    /// The child cannot do what it is for.
    #[error(
        "the tunnel's namespace cannot be made: {0}; the host may forbid user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces) or lack /dev/net/tun; allow them, or let a stack in user space do it (services.siderolink.tunnelStack: userspace)"
    )]
    Refused(String),
    /// The child is gone or does not answer.
    #[error("the child that holds the tunnel's namespace does not answer")]
    Gone,
}

impl From<DeviceError> for io::Error {
    fn from(error: DeviceError) -> Self {
        Self::other(error)
    }
}

/// The namespace with the tunnel's link.
#[derive(Debug)]
pub struct Device {
    connection: Arc<Mutex<Connection>>,
    child: Child,
    packets: File,
}

impl Drop for Device {
    fn drop(&mut self) {
        // It ends by itself when the connection does; nothing is lost if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Device {
    /// Starts `program`, which is the manager's own, as the child of a tunnel with this address.
    ///
    /// # Errors
    /// When the host does not allow it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the manager is no machine; this child is all that it starts"
    )]
    pub async fn start(program: &Path, address: Ipv6Addr) -> Result<Self, DeviceError> {
        let (ours, theirs) =
            Connection::pair().map_err(|error| DeviceError::Start(io::Error::other(error)))?;
        let mut command = Command::new(program);
        command.arg(CHILD).arg(address.to_string()).stdin(Stdio::from(OwnedFd::from(theirs)));
        let mut child = command.spawn().map_err(DeviceError::Start)?;
        let connection = Arc::new(Mutex::new(ours));
        let packets = socket(&connection, None).await.inspect_err(|_| {
            // The manager may go on without it.
            let _ = child.kill();
            let _ = child.wait();
        })?;
        Ok(Self { connection, child, packets: File::from(packets) })
    }

    /// The packets of the link.
    #[must_use]
    pub const fn packets(&self) -> &File {
        &self.packets
    }

    /// Connects to a machine.
    ///
    /// # Errors
    /// When the child is gone or the machine does not answer.
    pub async fn connect(&self, to: SocketAddrV6) -> io::Result<TcpStream> {
        self.dial("socket".to_owned(), to).await
    }

    /// Connects from one of the link's addresses, which the other end sees.
    ///
    /// # Errors
    /// When the child is gone, the link does not have the address, or the other end does not answer.
    pub async fn connect_from(&self, from: Ipv6Addr, to: SocketAddrV6) -> io::Result<TcpStream> {
        self.dial(format!("socket {from}"), to).await
    }

    async fn dial(&self, request: String, to: SocketAddrV6) -> io::Result<TcpStream> {
        let socket = StdStream::from(socket(&self.connection, Some(request)).await?);
        TcpSocket::from_std_stream(socket).connect(SocketAddr::V6(to)).await
    }

    /// Gives the link an address more, in a network of the tunnel's prefix length; one that it has already is fine.
    ///
    /// # Errors
    /// When the child is gone or the kernel refuses.
    pub async fn add_address(&self, address: Ipv6Addr) -> io::Result<()> {
        answer(&self.connection, Some(format!("address {address}"))).await?;
        Ok(())
    }

    /// Listens on the tunnel's address.
    ///
    /// # Errors
    /// When the child is gone or the port is taken.
    pub async fn listen(&self, port: u16) -> io::Result<TcpListener> {
        let socket = socket(&self.connection, Some(format!("listen {port}"))).await?;
        TcpListener::from_std(StdListener::from(socket))
    }

    /// Listens on one of the link's addresses.
    ///
    /// # Errors
    /// When the child is gone, the link does not have the address, or the port is taken.
    pub async fn listen_at(&self, at: SocketAddrV6) -> io::Result<TcpListener> {
        let socket = socket(&self.connection, Some(format!("listen {at}"))).await?;
        TcpListener::from_std(StdListener::from(socket))
    }
}

/// Sends a request, if there is one, and waits for the descriptor that answers it.
async fn socket(
    connection: &Arc<Mutex<Connection>>,
    request: Option<String>,
) -> Result<OwnedFd, DeviceError> {
    answer(connection, request).await?.ok_or(DeviceError::Gone)
}

/// Sends a request, if there is one, and waits for the answer, which has a descriptor if one was asked for.
async fn answer(
    connection: &Arc<Mutex<Connection>>,
    request: Option<String>,
) -> Result<Option<OwnedFd>, DeviceError> {
    let connection = Arc::clone(connection);
    let exchange = move || {
        let connection = connection.lock();
        if let Some(request) = request {
            connection.send(request.as_bytes(), None).map_err(|_| DeviceError::Gone)?;
        }
        let received = connection.receive().map_err(|_| DeviceError::Gone)?;
        match received.packet.split_first() {
            Some((&DONE, _)) => Ok(received.fd),
            Some((_, text)) => Err(DeviceError::Refused(String::from_utf8_lossy(text).into_owned())),
            None => Err(DeviceError::Gone),
        }
    };
    blocking(DEADLINE, exchange).await.map_err(|_| DeviceError::Gone)?
}

/// What the child does until the manager is gone. Its standard input is the connection; it must be the first thing that
/// the program does, before it has a second thread.
///
/// # Errors
/// When the connection breaks; the manager is told of everything else.
pub fn child(address: &str) -> io::Result<()> {
    let connection = Connection::from(io::stdin().as_fd().try_clone_to_owned()?);
    let tell = |text: &str| {
        let packet = [&[1], text.as_bytes()].concat();
        connection.send(&packet, None).map_err(io::Error::other)
    };
    let Ok(address) = address.parse::<Ipv6Addr>() else { return tell("its address is none") };
    let mut links = match namespace(address) {
        Ok((link, links)) => {
            connection.send(&[DONE], Some(link.as_fd())).map_err(io::Error::other)?;
            links
        }
        Err(error) => return tell(&corten_base::chain(&error)),
    };
    while let Ok(received) = connection.receive() {
        match serve(&received.packet, address, &mut links) {
            Ok(socket) => {
                let attached = socket.as_ref().map(AsFd::as_fd);
                connection.send(&[DONE], attached).map_err(io::Error::other)?;
            }
            Err(error) => tell(&corten_base::chain(&error))?,
        }
    }
    Ok(())
}

/// Makes the namespaces and the link in them.
fn namespace(address: Ipv6Addr) -> corten_sys::Result<(File, Links)> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let failed =
        |error: io::Error| corten_sys::Error::new("map the users of", "the tunnel's namespace", error);
    unshare(Namespaces::USER.and(Namespaces::NET))?;
    std::fs::write("/proc/self/setgroups", "deny").map_err(failed)?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).map_err(failed)?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1")).map_err(failed)?;
    let link = tun::open(LINK)?;
    let mut links = Links::open()?;
    links.set_up("lo")?;
    links.set_mtu(LINK, MTU)?;
    links.add_address(LINK, address, PREFIX_LENGTH)?;
    links.set_up(LINK)?;
    Ok((link, links))
}

/// What the manager asks of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// A socket that connects, from this address if there is one.
    Socket(Option<Ipv6Addr>),
    /// A socket that listens.
    Listen(SocketAddrV6),
    /// One address more.
    Address(Ipv6Addr),
}

impl Request {
    /// Reads a request; a port alone means `own`, the tunnel's first address.
    fn parse(bytes: &[u8], own: Ipv6Addr) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        match text.split_once(' ') {
            None if text == "socket" => Ok(Self::Socket(None)),
            Some(("socket", from)) => Ok(Self::Socket(Some(from.parse().map_err(io::Error::other)?))),
            Some(("address", address)) => Ok(Self::Address(address.parse().map_err(io::Error::other)?)),
            Some(("listen", at)) => {
                let port = at.parse::<u16>().map(|port| SocketAddrV6::new(own, port, 0, 0));
                let at = port.or_else(|_| at.parse::<SocketAddrV6>()).map_err(io::Error::other)?;
                Ok(Self::Listen(at))
            }
            _ => Err(io::Error::other(format!("{text:?} is no request"))),
        }
    }
}

/// Does what is asked for, in the namespace; the answer to a request for a socket is the socket.
fn serve(request: &[u8], own: Ipv6Addr, links: &mut Links) -> io::Result<Option<OwnedFd>> {
    let new = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None)
    };
    match Request::parse(request, own)? {
        Request::Socket(from) => {
            let socket = new()?;
            if let Some(from) = from {
                bind(&socket, &SocketAddrV6::new(from, 0, 0, 0))?;
            }
            Ok(Some(socket))
        }
        Request::Listen(at) => {
            let socket = new()?;
            set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &at)?;
            listen(&socket, BACKLOG)?;
            Ok(Some(socket))
        }
        Request::Address(address) => {
            links.add_address(LINK, address, PREFIX_LENGTH).map_err(io::Error::other)?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);

    #[test]
    fn a_request_names_an_address_or_means_the_first_one() {
        let read = |text: &str| Request::parse(text.as_bytes(), OWN).expect("a request");
        assert_eq!(read("socket"), Request::Socket(None));
        assert_eq!(read("socket fd00::9"), Request::Socket(Some(OTHER)));
        assert_eq!(read("address fd00::9"), Request::Address(OTHER));
        assert_eq!(read("listen 8090"), Request::Listen(SocketAddrV6::new(OWN, 8090, 0, 0)));
        assert_eq!(read("listen [fd00::9]:50000"), Request::Listen(SocketAddrV6::new(OTHER, 50_000, 0, 0)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "socket ", "listen", "listen x", "address", "listen fd00::9", "reboot"] {
            assert!(Request::parse(text.as_bytes(), OWN).is_err(), "{text}");
        }
    }
}
