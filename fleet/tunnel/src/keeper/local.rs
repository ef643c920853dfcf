//! The local socket between manager and keeper: whole packets, with a descriptor or without; it never waits.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use corten_supervisor::Connection;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// One end.
#[derive(Debug)]
pub struct Local(OwnedFd);

/// What was received into a buffer.
#[derive(Debug)]
pub struct Received {
    /// Length of the packet; an empty one says that the other end is gone.
    pub length: usize,
    /// What was attached. It is missing when this process may not have one more.
    pub attached: Option<OwnedFd>,
}

impl Local {
    /// Two ends that are connected with each other.
    ///
    /// # Errors
    /// When this process may not have two more descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = Connection::pair().map_err(io::Error::other)?;
        Ok((Self(ours.into()), Self(theirs.into())))
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// `WouldBlock` when the other end has to receive first, anything else when it is gone.
    pub fn send(&self, packet: &[u8], attached: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let attached = attached.as_slice();
        if !attached.is_empty() {
            // The space is for one.
            control.push(SendAncillaryMessage::ScmRights(attached));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(packet)], &mut control, flags)?;
        Ok(())
    }

    /// Receives a packet.
    ///
    /// # Errors
    /// `WouldBlock` when there is none, anything else when the socket or the packet is broken.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = recvmsg(&self.0, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
        let mut attached = None;
        for item in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = item {
                attached = descriptors.next();
            }
        }
        if message.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::other("a packet between manager and keeper is too long"));
        }
        Ok(Received { length: message.bytes, attached })
    }
}

impl From<OwnedFd> for Local {
    /// The end that was inherited.
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Local> for OwnedFd {
    fn from(local: Local) -> Self {
        local.0
    }
}

impl AsFd for Local {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Local {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
