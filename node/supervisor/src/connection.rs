//! Sequenced-packet sockets with descriptor passing, in their blocking and non-blocking forms.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, chmod, unlink};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, socket_with, socketpair,
};

use crate::{CodecError, Frame, MESSAGE_BYTES_MAX, RequestFrame, decode_reply, encode_request};

/// One end of the control socket.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
}

/// A packet with what was attached to it.
#[derive(Debug)]
pub struct Received {
    /// The packet.
    pub packet: Vec<u8>,
    /// The attached descriptor.
    pub fd: Option<OwnedFd>,
}

/// Why a packet could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed.
    #[error("cannot {action} on the control socket")]
    Socket {
        /// The failed action.
        action: &'static str,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
    /// The packet is no message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The other end is gone.
    #[error("the control socket was closed by the other end")]
    Closed,
    /// A packet larger than the bound, or with more than one descriptor.
    #[error("a packet or its descriptors were cut off")]
    Truncated,
}

impl ConnectionError {
    /// Whether a non-blocking operation has to wait.
    pub fn would_block(&self) -> bool {
        matches!(self, Self::Socket { source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Connection {
    /// Connects; later operations block.
    pub fn open(path: &Path) -> Result<Self, ConnectionError> {
        Self::open_with(path, SocketFlags::CLOEXEC)
    }

    /// Connects; later operations report [`ConnectionError::would_block`] instead of blocking.
    pub fn open_nonblocking(path: &Path) -> Result<Self, ConnectionError> {
        Self::open_with(path, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }

    /// Two ends that are connected with each other; operations of both block.
    pub fn pair() -> Result<(Self, Self), ConnectionError> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(failed("make a pair"))?;
        Ok((Self { fd: one }, Self { fd: other }))
    }

    fn open_with(path: &Path, flags: SocketFlags) -> Result<Self, ConnectionError> {
        let fd =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("open"))?;
        let address = SocketAddrUnix::new(path).map_err(failed("connect"))?;
        connect(&fd, &address).map_err(failed("connect"))?;
        Ok(Self { fd })
    }

    /// Sends one packet.
    pub fn send(&self, packet: &[u8], attached: Option<BorrowedFd<'_>>) -> Result<(), ConnectionError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let attached = attached.as_slice();
        if !attached.is_empty() && !control.push(SendAncillaryMessage::ScmRights(attached)) {
            return Err(ConnectionError::Truncated);
        }
        sendmsg(&self.fd, &[io::IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)
            .map_err(failed("send"))?;
        Ok(())
    }

    /// Receives one packet.
    pub fn receive(&self) -> Result<Received, ConnectionError> {
        let mut packet = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message =
            recvmsg(&self.fd, &mut [io::IoSliceMut::new(&mut packet)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .map_err(failed("receive"))?;
        let mut attached = Vec::new();
        for item in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = item {
                attached.extend(descriptors);
            }
        }
        let is_cut = message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        // Alignment leaves room for a second descriptor, so the kernel's truncation flag alone is not enough.
        if is_cut || attached.len() > 1 {
            return Err(ConnectionError::Truncated);
        }
        if message.bytes == 0 {
            return Err(ConnectionError::Closed);
        }
        packet.truncate(message.bytes);
        Ok(Received { packet, fd: attached.pop() })
    }

    /// Sends one request; for blocking use.
    pub fn send_request(
        &self,
        frame: &RequestFrame,
        attached: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionError> {
        self.send(&encode_request(frame)?, attached)
    }

    /// Receives one reply or event; for blocking use.
    pub fn receive_frame(&self) -> Result<(Frame, Option<OwnedFd>), ConnectionError> {
        let received = self.receive()?;
        Ok((decode_reply(&received.packet)?, received.fd))
    }
}

impl From<OwnedFd> for Connection {
    /// The end that was inherited from whoever started this program.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> Self {
        connection.fd
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl std::os::fd::AsRawFd for Connection {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.fd)
    }
}

/// The serving end; removes its socket file when dropped.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Binds at `path`, replacing a stale socket. Only root may connect, by the mode of the file. Accepted connections do
    /// not block.
    pub fn bind(path: &Path) -> Result<Self, ConnectionError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("open"))?;
        let address = SocketAddrUnix::new(path).map_err(failed("bind"))?;
        match unlink(path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(failed("replace the file")(errno)),
        }
        bind(&fd, &address).map_err(failed("bind"))?;
        chmod(path, Mode::RUSR | Mode::WUSR).map_err(failed("restrict access"))?;
        listen(&fd, 8).map_err(failed("listen"))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Accepts one connection.
    pub fn accept(&self) -> Result<Connection, ConnectionError> {
        let fd =
            accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).map_err(failed("accept"))?;
        Ok(Connection { fd })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A file that is already gone is what was wanted.
        let _ = unlink(&self.path);
    }
}

fn failed(action: &'static str) -> impl Fn(rustix::io::Errno) -> ConnectionError {
    move |errno| ConnectionError::Socket { action, source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn pair() -> (tempfile::TempDir, Connection, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = Listener::bind(&path).unwrap();
        let client = Connection::open(&path).unwrap();
        let server = listener.accept().unwrap();
        (dir, client, server)
    }

    #[test]
    fn packets_keep_their_borders_and_descriptors() {
        let (_dir, client, server) = pair();
        let (mut reader, mut writer) = io::pipe().unwrap();
        client.send(b"first", None).unwrap();
        client.send(b"second", Some(writer.as_fd())).unwrap();
        writer.write_all(b"x").unwrap();
        drop(writer);
        let first = server.receive().unwrap();
        assert_eq!((first.packet.as_slice(), first.fd.is_none()), (b"first".as_slice(), true));
        let second = server.receive().unwrap();
        assert_eq!(second.packet, b"second");
        std::fs::File::from(second.fd.unwrap()).write_all(b"y").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "xy");
    }

    #[test]
    fn a_closed_end_and_an_idle_one_are_told_apart() {
        let (_dir, client, server) = pair();
        assert!(server.receive().unwrap_err().would_block());
        drop(client);
        assert!(matches!(server.receive(), Err(ConnectionError::Closed)));
    }

    #[test]
    fn more_than_one_descriptor_is_refused_and_nothing_leaks() {
        let (_dir, client, server) = pair();
        let (reader, writer) = io::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let both = [reader.as_fd(), writer.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&both)));
        sendmsg(&client, &[io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        drop(writer);
        assert!(server.receive().is_err());
        let mut text = String::new();
        let mut reader = reader;
        reader.read_to_string(&mut text).unwrap();
    }

    #[test]
    fn only_root_may_open_the_socket_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = Listener::bind(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }
}
