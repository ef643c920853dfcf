//! One connection to the control socket with what is still to be sent over it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_supervisor::{Connection, Event, Frame, Received, encode_frame};

/// A client that reads this slowly is cut off; it connects again and asks for the state.
const QUEUE_MAX: usize = 512;

/// A connection with its queue.
#[derive(Debug)]
pub struct Peer {
    connection: Connection,
    queue: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    /// Whether it said hello in our version.
    pub greeted: bool,
    /// Whether it wants events.
    pub subscribed: bool,
    /// To be closed once the queue is empty, or at once if sending fails.
    pub closing: bool,
}

impl Peer {
    /// A fresh connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection, queue: VecDeque::new(), greeted: false, subscribed: false, closing: false }
    }

    /// Queues an event if it is wanted.
    pub fn notify(&mut self, event: &Event) {
        if self.subscribed {
            self.send(&Frame::Event { event: event.clone() }, None);
        }
    }

    /// Queues a frame. A frame that cannot be queued costs the connection, never the frame alone.
    pub fn send(&mut self, frame: &Frame, attached: Option<OwnedFd>) {
        match encode_frame(frame) {
            Ok(packet) if self.queue.len() < QUEUE_MAX => self.queue.push_back((packet, attached)),
            _ => {
                self.queue.clear();
                self.closing = true;
            }
        }
    }

    /// Sends as much as the socket takes.
    pub fn flush(&mut self) {
        while let Some((packet, attached)) = self.queue.front() {
            match self.connection.send(packet, attached.as_ref().map(AsFd::as_fd)) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(error) if error.would_block() => return,
                Err(_) => {
                    self.queue.clear();
                    self.closing = true;
                }
            }
        }
    }

    /// The next packet, `None` if there is none now.
    pub fn receive(&mut self) -> Option<Received> {
        match self.connection.receive() {
            Ok(received) => Some(received),
            Err(error) if error.would_block() => None,
            Err(_) => {
                self.queue.clear();
                self.closing = true;
                None
            }
        }
    }

    /// Whether something waits for the socket to take it.
    pub fn has_unsent(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.closing && self.queue.is_empty()
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
